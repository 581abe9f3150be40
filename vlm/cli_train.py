"""``vlm train``: the commands that made the embedded model."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from vlm.cli_common import SeedOption, SplitName, with_extra

train_app = typer.Typer(help="Train the embedded model.", no_args_is_help=True, rich_markup_mode=None)

OutOption = Annotated[Path, typer.Option(help="Folder for checkpoints and logs.")]
MinutesOption = Annotated[float, typer.Option(min=0.1, help="Time to train; rates decay towards its end.")]


@train_app.command()
def encoder(
    out: OutOption,
    minutes: MinutesOption = 75.0,
    resume: Annotated[Path | None, typer.Option(help="An encoder.pt to go on from.")] = None,
    seed: SeedOption = 1,
) -> None:
    """Stage one: the encoder learns to see letters (dense and contrastive losses)."""
    with with_extra("train"):
        from vlm.training.checkpoint import write_skeleton
        from vlm.training.encoder import EncoderStage, train_encoder

        with _taken_back(out):
            vision = write_skeleton(out / "mini").vision
            assert vision is not None
            train_encoder(vision, EncoderStage(out=out, minutes=minutes, resume=resume, seed=seed))


@contextmanager
def _taken_back(out: Path) -> Iterator[None]:
    """Remove what a run wrote that failed before it began; what was there before stays."""
    from vlm.errors import VlmError

    made = [folder for folder in (out / "mini", out) if not folder.exists()]
    try:
        yield
    except (OSError, VlmError):
        if made and not any(out.glob("*.jsonl")):
            shutil.rmtree(made[-1], ignore_errors=True)
        raise


@train_app.command()
def vlm(
    start: Annotated[
        Path, typer.Argument(help="encoder.pt of stage one, a reader.pt or an exported folder.")
    ],
    out: OutOption,
    minutes: MinutesOption = 60.0,
    encoder_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Of the rates, for the encoder; 0 keeps it frozen.")
    ] = 0.0,
    projector_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Of the time, for the projector alone at the beginning.")
    ] = 0.0,
    encoder_alone: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Of the time, for the encoder alone at the beginning.")
    ] = 0.0,
    replays: Annotated[
        int, typer.Option(min=0, max=9, help="Batches the encoder sees again, alone, after each new one.")
    ] = 0,
    rate: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Share of the full rates; less to finish a good model.")
    ] = 1.0,
    heads: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="reader.pt of the run before START, for its heads."),
    ] = None,
    seed: SeedOption = 2,
) -> None:
    """Stage two: projector and decoder learn to answer."""
    from vlm.errors import UsageError

    if (encoder_alone > 0 or replays > 0) and encoder_share == 0:
        raise UsageError(
            "--encoder-alone and --replays need --encoder-share: a frozen encoder learns nothing"
        )
    with with_extra("train"):
        from vlm.training.checkpoint import write_skeleton
        from vlm.training.reader import ReaderStage, train_reader

        folder = out / "mini"
        stage = ReaderStage(folder, start, out, minutes, seed=seed)
        stage = replace(stage, muon_rate=stage.muon_rate * rate, adam_rate=stage.adam_rate * rate)
        stage = replace(stage, encoder_share=encoder_share, encoder_alone=encoder_alone, replays=replays)
        with _taken_back(out):
            write_skeleton(folder)
            train_reader(replace(stage, projector_share=projector_share, heads=heads))


@train_app.command()
def data(
    preview: Annotated[Path, typer.Option(help="Picture to write: a contact sheet of pages and questions.")],
    split: Annotated[SplitName, typer.Option(help="Whose fonts, words and templates.")] = SplitName.train,
    count: Annotated[int, typer.Option(min=1, max=600, help="Number of pages.")] = 48,
    seed: SeedOption = 1,
) -> None:
    """Show what the model is trained on."""
    with with_extra("train"):
        from vlm.training.preview import contact_sheet

        sheet = contact_sheet(cast(Any, split.value), count, seed)
    _saved(preview, lambda: sheet.save(preview))


@train_app.command()
def plot(
    logs: Annotated[list[Path], typer.Argument(help="The .jsonl logs of the stages, in order.")],
    out: Annotated[Path, typer.Option(help="Picture to write.")],
) -> None:
    """Draw losses and scores of training."""
    with with_extra("train"):
        from vlm.training.plots import plot_logs

        _saved(out, lambda: plot_logs(logs, out))


def _saved(path: Path, write: Callable[[], None]) -> None:
    """Write a picture, or say in one line why not."""
    from vlm.errors import UsageError

    try:
        write()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: can't be written ({error})") from None
    print(path)


@train_app.command()
def export(
    reader: Annotated[Path, typer.Argument(help="reader.pt of stage two.")],
    folder: Annotated[Path, typer.Argument(help="Folder to write the checkpoint into.")],
    log: Annotated[
        list[Path] | None, typer.Option(help="A stage's .jsonl log, for the card; repeat in order.")
    ] = None,
    began_with: Annotated[
        Path | None, typer.Option(help="The exported folder the first log began with: its hours count.")
    ] = None,
) -> None:
    """Write the checkpoint in the Hub's format."""
    if began_with is not None and not log:
        from vlm.errors import UsageError

        raise UsageError("--began-with adds to the hours of a --log: give that, too")
    with with_extra("train"):
        from vlm.training.checkpoint import whole, write_record, write_skeleton, write_weights
        from vlm.training.reader import load_reader

        with whole(folder) as beside:
            trained = load_reader(reader, write_skeleton(beside))
            weights = write_weights(beside, trained.vision, trained.decoder)
            if log:
                write_record(beside, log, began_with)
        print(folder / weights.name)


@train_app.command()
def blend(
    first: Annotated[Path, typer.Argument(help="An exported folder.")],
    second: Annotated[Path, typer.Argument(help="What further training made of it, exported.")],
    out: Annotated[Path, typer.Argument(help="Folder to write the best mean of both into.")],
    share: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Of the second; without it, the best of several is taken."),
    ] = None,
) -> None:
    """Write the mean of two models of one line that answers validation pages best."""
    with with_extra("train"):
        from vlm.training.blend import SHARES
        from vlm.training.blend import blend as blended

        shares = SHARES if share is None else (share,)
        best = blended(
            first, second, out, lambda at, loss: print(f"{at:.3f} of the second: loss {loss:.4f}"), shares
        )
        print(f"{out}: {best:.3f} of {second}")
