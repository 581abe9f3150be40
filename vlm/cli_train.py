"""``vlm train`` and ``vlm eval``: the commands that made and that score the embedded model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

if TYPE_CHECKING:
    from vlm.evaluation.scores import Score

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
    seed: SeedOption = 2,
) -> None:
    """Stage two: projector and decoder learn to answer."""
    with _with_extra("train"):
        from vlm.training.checkpoint import write_skeleton
        from vlm.training.reader import ReaderStage, train_reader

        folder = out / "mini"
        write_skeleton(folder)
        stage = ReaderStage(folder, start, out, minutes, seed=seed)
        train_reader(replace(stage, encoder_share=encoder_share, projector_share=projector_share))


@train_app.command()
def data(
    preview: Annotated[Path, typer.Option(help="Picture to write: a contact sheet of pages and questions.")],
    split: Annotated[_Split, typer.Option(help="Whose fonts, words and templates.")] = _Split.train,
    count: Annotated[int, typer.Option(min=1, max=600, help="Number of pages.")] = 48,
    seed: SeedOption = 1,
) -> None:
    """Show what the model is trained on."""
    with _with_extra("train"):
        from vlm.training.preview import contact_sheet

        sheet = contact_sheet(cast(Any, split.value), count, seed)
    _saved(preview, lambda: sheet.save(preview))


@train_app.command()
def plot(
    logs: Annotated[list[Path], typer.Argument(help="The .jsonl logs of the stages, in order.")],
    out: Annotated[Path, typer.Option(help="Picture to write.")],
) -> None:
    """Draw losses and scores of training."""
    with _with_extra("train"):
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
) -> None:
    """Write the checkpoint in the Hub's format."""
    with _with_extra("train"):
        from vlm.training.checkpoint import write_record, write_skeleton, write_weights
        from vlm.training.reader import load_reader

        config = write_skeleton(folder)
        trained = load_reader(reader, config)
        print(write_weights(folder, trained.vision, trained.decoder))
        if log:
            write_record(folder, log)


_ModelOption = Annotated[str, typer.Option("--model", "-m", help="mini, a Hub id or a folder.")]
_LimitOption = Annotated[int, typer.Option(min=1, help="Images a task.")]
_SplitOption = Annotated[_Split, typer.Option(help="Whose fonts, words and templates.")]
_TaskOption = Annotated[list[str] | None, typer.Option("--task", help="Only these tasks; repeat to add.")]
_ShowOption = Annotated[int, typer.Option(min=0, help="Print the first answers beside the truth.")]
_JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@eval_app.command()
def reading(
    model: _ModelOption = "mini",
    limit: _LimitOption = 500,
    split: _SplitOption = _Split.heldout,
    task: _TaskOption = None,
    seed: SeedOption = 20261122,
    show: _ShowOption = 0,
    as_json: _JsonOption = False,
) -> None:
    """Transcribe printed lines; print character and word error rates."""
    _evaluate("READING", _Asked(model, limit, split.value, task, seed, show, as_json))


@eval_app.command()
def docvqa(
    model: _ModelOption = "mini",
    limit: _LimitOption = 300,
    split: _SplitOption = _Split.heldout,
    task: _TaskOption = None,
    seed: SeedOption = 20261122,
    show: _ShowOption = 0,
    as_json: _JsonOption = False,
) -> None:
    """Answer questions on documents, shapes, charts, strips and scans; print the share right."""
    _evaluate("DOCVQA", _Asked(model, limit, split.value, task, seed, show, as_json))


@eval_app.command()
def card(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Folder of the checkpoint, for README.md.")
    ],
    limit: _LimitOption = 300,
    split: _SplitOption = _Split.heldout,
    seed: SeedOption = 20261122,
) -> None:
    """Run every task and write the model card."""
    asked = _Asked(str(folder), limit, split.value, None, seed, 0, False)
    found = [*_scores("READING", asked), *_scores("DOCVQA", asked)]
    from vlm.evaluation.card import CARD, write_card

    write_card(folder, found, {"split": split.value, "seed": seed, "limit": limit})
    print(folder / CARD)


@dataclass(frozen=True)
class _Asked:
    model: str
    limit: int
    split: str
    tasks: list[str] | None
    seed: int
    show: int
    as_json: bool


def _scores(table: str, asked: _Asked) -> list[Score]:
    """Run the tasks of a table."""
    from rich.console import Console
    from rich.progress import Progress

    from vlm.errors import UsageError
    from vlm.session import VLM

    with _with_extra("train"):
        from vlm.evaluation import scores

    known: tuple[scores.Task, ...] = getattr(scores, table)
    wanted = asked.tasks or [task.name for task in known]
    unknown = set(wanted) - {task.name for task in known}
    if unknown:
        raise UsageError(f"unknown task {', '.join(sorted(unknown))}: {', '.join(t.name for t in known)}")
    tasks = [task for task in known if task.name in wanted]
    model = VLM.load(asked.model)
    console = Console(stderr=True)
    found: list[scores.Score] = []
    with Progress(console=console, disable=not console.is_terminal) as progress, _with_extra("train"):
        for task in tasks:
            advance = partial(progress.advance, progress.add_task(task.title, total=asked.limit))
            split = cast(Any, asked.split)
            score = scores.run(model, task, split, asked.limit, asked.seed, on_answer=advance)
            found.append(score)
    return found


def _evaluate(table: str, asked: _Asked) -> None:
    """Run the tasks of a table and print it."""
    found = _scores(table, asked)
    from vlm.evaluation import scores

    sure = scores.auroc(scores.fairly_asked(found))
    if asked.as_json:
        rows = [score.to_json() for score in found]
        head = {"model": asked.model, "split": asked.split, "seed": asked.seed}
        print(json.dumps(head | {"tasks": rows, "auroc": None if math.isnan(sure) else round(sure, 4)}))
        return
    for score in found:
        for outcome in score.outcomes[: asked.show]:
            print(f"asked {outcome.case.question!r}\ntruth {outcome.case.answer!r}\n said {outcome.said!r}")
    print(f"{asked.model}, {asked.split} split, {asked.limit} images a task")
    for score in found:
        rate = f"CER {score.cer:6.1%}  WER {score.wer:6.1%}  " if table == "READING" else ""
        print(
            f"{score.task.title:<40} {rate}right {score.right:6.1%}  "
            f"refused {score.refused:5.1%}  {score.seconds:.2f} s an image"
        )
    print(f"confidence: AUROC of right against wrong {sure:.2f}")
