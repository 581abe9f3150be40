"""``vlm train`` and ``vlm eval``: the commands that made and that score the embedded model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

train_app = typer.Typer(help="Train the embedded model.", no_args_is_help=True, rich_markup_mode=None)
eval_app = typer.Typer(help="Score a model on generated images.", no_args_is_help=True, rich_markup_mode=None)

OutOption = Annotated[Path, typer.Option(help="Folder for checkpoints and logs.")]
MinutesOption = Annotated[float, typer.Option(min=0.1, help="Time to train; rates decay towards its end.")]
SeedOption = Annotated[int, typer.Option(help="Same seed, same pages.")]


class _Split(StrEnum):
    train = "train"
    validation = "validation"
    heldout = "heldout"


@contextmanager
def _with_extra(name: str) -> Iterator[None]:
    """Say which extra to install where a package is missing."""
    from vlm.errors import UsageError

    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(f"this needs {error.name}: pip install 'vlm[{name}]'") from None
    except FileNotFoundError as error:  # no fonts
        raise UsageError(str(error)) from None


@train_app.command()
def encoder(
    out: OutOption,
    minutes: MinutesOption = 75.0,
    resume: Annotated[Path | None, typer.Option(help="An encoder.pt to go on from.")] = None,
    seed: SeedOption = 1,
) -> None:
    """Stage one: the encoder learns to see letters (dense and contrastive losses)."""
    with _with_extra("train"):
        from vlm.training.checkpoint import write_skeleton
        from vlm.training.encoder import EncoderStage, train_encoder

        vision = write_skeleton(out / "mini").vision
        assert vision is not None
        train_encoder(vision, EncoderStage(out=out, minutes=minutes, resume=resume, seed=seed))


@train_app.command()
def vlm(
    start: Annotated[Path, typer.Argument(help="encoder.pt of stage one, or a reader.pt to go on from.")],
    out: OutOption,
    minutes: MinutesOption = 60.0,
    encoder_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Of the rates, for the encoder; 0 keeps it frozen.")
    ] = 0.0,
    seed: SeedOption = 2,
) -> None:
    """Stage two: projector and decoder learn to answer."""
    with _with_extra("train"):
        from vlm.training.checkpoint import write_skeleton
        from vlm.training.reader import ReaderStage, train_reader

        folder = out / "mini"
        write_skeleton(folder)
        train_reader(ReaderStage(folder, start, out, minutes, encoder_share=encoder_share, seed=seed))


@train_app.command()
def export(
    reader: Annotated[Path, typer.Argument(help="reader.pt of stage two.")],
    folder: Annotated[Path, typer.Argument(help="Folder to write the checkpoint into.")],
) -> None:
    """Write the checkpoint in the Hub's format."""
    with _with_extra("train"):
        from vlm.training.checkpoint import write_skeleton, write_weights
        from vlm.training.reader import load_reader

        config = write_skeleton(folder)
        trained = load_reader(reader, config)
        print(write_weights(folder, trained.vision, trained.decoder))


@eval_app.command()
def reading(
    model: Annotated[str, typer.Option("--model", "-m", help="mini, a Hub id or a folder.")] = "mini",
    limit: Annotated[int, typer.Option(min=1, help="Number of images.")] = 500,
    split: Annotated[_Split, typer.Option(help="Whose fonts and words.")] = _Split.heldout,
    seed: SeedOption = 20261122,
    show: Annotated[int, typer.Option(min=0, help="Print the first readings beside the truth.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Read one or two clean printed lines; print character and word error rates."""
    from rich.console import Console
    from rich.progress import track

    from vlm.session import VLM

    console = Console(stderr=True)
    bar = iter(track(range(limit), "reading", console=console, disable=not console.is_terminal))
    shown: list[tuple[str, str]] = []

    def on_read(index: int, truth: str, read: str) -> None:
        next(bar, None)
        if index < show:
            shown.append((truth, read))

    with _with_extra("train"):
        from vlm.evaluation import evaluate_reading

        score = evaluate_reading(
            VLM.load(model),
            split=split.value,
            count=limit,
            seed=seed,
            on_read=on_read,
        )
    next(bar, None)
    if as_json:
        print(json.dumps(score.to_json()))
        return
    for truth, read in shown:
        print(f"truth {truth!r}\n read {read!r}")
    print(
        f"{score.model} on {score.images} {score.split} images: CER {score.cer:.1%}, WER {score.wer:.1%}, "
        f"exact {score.exact:.1%}, {score.seconds_per_image:.2f} s an image"
    )
