"""``vlm eval``: score a model on generated tasks, or on any folder of questions."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from vlm.cli_common import SeedOption, SplitName, progress, with_extra
from vlm.cli_model import Wanted, asked_by, window_of
from vlm.cli_options import ApiKeyOption, NamedModelOption, UrlOption

if TYPE_CHECKING:
    from vlm.asking import Model
    from vlm.evaluation.compare import Case, Outcome
    from vlm.evaluation.folder import Item
    from vlm.evaluation.scores import Score
    from vlm.evaluation.table import Figure

eval_app = typer.Typer(
    help="Score a model on generated images or on a folder of questions.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_ALL = ("off", "gemma3", "adaptive")
_SEED = 20261122
_PUBLISHED = (896, 256)  # side of the square and tokens a window of google/gemma-3-*-it

_ModelOption = Annotated[str, typer.Option("--model", "-m", help="mini, a Hub id or a folder.")]
_LimitOption = Annotated[int, typer.Option(min=1, help="Images a task.")]
_AnyLimitOption = Annotated[
    int | None, typer.Option(min=1, help="Images a task; with --data, cases a kind (all without it).")
]
_KindLimitOption = Annotated[int | None, typer.Option(min=1, help="Cases a kind; all without it.")]
_SplitOption = Annotated[SplitName, typer.Option(help="Whose fonts, words and templates.")]
_TaskOption = Annotated[list[str] | None, typer.Option("--task", help="Only these tasks; repeat to add.")]
_ShowOption = Annotated[int, typer.Option(min=0, help="Print the first answers beside the truth.")]
_JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
_DataHelp = "Folder of images and questions (ours, DocVQA, InfographicVQA, TextVQA, ChartQA), or its JSON."
_DataOption = Annotated[Path | None, typer.Option(help=_DataHelp)]
_FolderOption = Annotated[Path, typer.Option("--data", help=_DataHelp)]
_PolicyOption = Annotated[
    list[str] | None, typer.Option("--policy", help="off, gemma3, adaptive; repeat to compare.")
]
_ReportOption = Annotated[Path | None, typer.Option(help="HTML file to write, with a picture of each case.")]

_AtOnceOption = Annotated[
    int, typer.Option(min=1, max=256, help="With --data: cases asked at the same time, each a little slower.")
]


class _Wear(StrEnum):
    none = "none"
    phone = "phone"


@eval_app.command()
def reading(
    model: NamedModelOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    limit: _AnyLimitOption = None,
    split: _SplitOption = SplitName.heldout,
    task: _TaskOption = None,
    seed: SeedOption = _SEED,
    show: _ShowOption = 0,
    as_json: _JsonOption = False,
    data: _DataOption = None,
    policy: _PolicyOption = None,
    report: _ReportOption = None,
    at_once: _AtOnceOption = 1,
    against: Annotated[
        str | None, typer.Option(help="With --data: tesseract, for rows of its own in the table.")
    ] = None,
    density: Annotated[
        float | None,
        typer.Option(min=0.1, help="With --data: letters read at once for each soft token."),
    ] = None,
    letter: Annotated[
        float | None,
        typer.Option(min=4, help="With --data: pixels of the encoder's square a capital gets."),
    ] = None,
) -> None:
    """Transcribe generated lines or the pages of a folder; print character and word error rates.

    Without --data: 500 images a task of the generated split.
    """
    wanted = Wanted(model, url, api_key)
    if data is None:
        _only_with_data(
            {
                "--policy": policy, "--report": report, "--against": against, "--at-once": at_once > 1,
                "--density": density, "--letter": letter,
            }
        )  # fmt: skip
        return _evaluate("READING", _Asked(wanted, limit or 500, split.value, task, seed, show, as_json))
    _only_without_data(task, show)
    asked = _Run(data, wanted, policy or ["adaptive"], limit, as_json, report, at_once)
    _compare_readings(asked, against, density, letter)


@eval_app.command()
def docvqa(
    model: NamedModelOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    limit: _AnyLimitOption = None,
    split: _SplitOption = SplitName.heldout,
    task: _TaskOption = None,
    seed: SeedOption = _SEED,
    show: _ShowOption = 0,
    as_json: _JsonOption = False,
    data: _DataOption = None,
    policy: _PolicyOption = None,
    report: _ReportOption = None,
    at_once: _AtOnceOption = 1,
    suffix: Annotated[
        str, typer.Option(help="With --data: put after every question, as in 'Answer in a few words.'")
    ] = "",
) -> None:
    """Answer generated questions or those of a folder; print the share right, policies side by side.

    Without --data: 300 images a task of the generated split.
    """
    wanted = Wanted(model, url, api_key)
    if data is None:
        _only_with_data(
            {"--policy": policy, "--report": report, "--suffix": suffix, "--at-once": at_once > 1}
        )
        return _evaluate("DOCVQA", _Asked(wanted, limit or 300, split.value, task, seed, show, as_json))
    _only_without_data(task, show)
    with with_extra("eval"):
        from vlm.evaluation import table
        from vlm.evaluation.compare import Asking

    asked = _Run(data, wanted, policy or list(_ALL), limit, as_json, report, at_once)
    items = asked.items(Asking.fits, "questions with answers", lambda items: items)
    with asked.model() as vlm:
        found = asked.outcomes("asking", Asking(vlm, suffix), items)
    asked.finish(found, table.DOCVQA)


@eval_app.command()
def fields(
    data: _FolderOption,
    model: NamedModelOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    policy: _PolicyOption = None,
    limit: _KindLimitOption = None,
    as_json: _JsonOption = False,
    report: _ReportOption = None,
    at_once: _AtOnceOption = 1,
) -> None:
    """Ask for the fields of each document as JSON of their schema; print F1 over keys and values."""
    with with_extra("eval"):
        from vlm.evaluation import table
        from vlm.evaluation.compare import Constrained, Filling
        from vlm.evaluation.folder import one_per_image

    wanted = Wanted(model, url, api_key)
    asked = _Run(data, wanted, policy or ["adaptive"], limit, as_json, report, at_once)
    items = asked.items(Filling.fits, "fields", one_per_image)
    with asked.model() as vlm:
        found = asked.outcomes("asking", Filling(Constrained(vlm)), items)
    asked.finish(found, table.FIELDS)


@eval_app.command()
def windows(
    data: _FolderOption,
    model: _ModelOption = "mini",
    policy: _PolicyOption = None,
    limit: _KindLimitOption = None,
    as_json: _JsonOption = False,
    report: _ReportOption = None,
    published: Annotated[
        bool, typer.Option("--published", help="Count for the published Gemma 3 (896 px, 256 tokens).")
    ] = False,
) -> None:
    """Count windows and tokens of each policy; no model answers."""
    with with_extra("eval"):
        from vlm.evaluation import table
        from vlm.evaluation.compare import Cutting
        from vlm.evaluation.folder import one_per_image

    asked = _Run(data, Wanted(model), policy or list(_ALL), limit, as_json, report)
    asked.cut_only()
    items = asked.items(lambda item: True, "images", one_per_image)
    case = Cutting(*(_PUBLISHED if published else window_of(model)))
    asked.finish(asked.outcomes("cutting", case, items), table.WINDOWS)


@eval_app.command()
def pages(
    model: _ModelOption = "mini",
    limit: _LimitOption = 100,
    split: _SplitOption = SplitName.heldout,
    seed: SeedOption = _SEED,
    as_json: _JsonOption = False,
) -> None:
    """Find the page of a bundle that answers a question; print how often it comes first."""
    from vlm.session import VLM

    with with_extra("train"):
        from vlm.evaluation.finding import PAGES, bundles, rank_bundles
        from vlm.reading.choose import MOST

    vlm = VLM.load(model)
    with with_extra("train"), progress("bundles of pages", limit) as advance:
        found = rank_bundles(vlm, list(bundles(cast(Any, split.value), limit, seed)), advance)
    if as_json:
        head = {"model": model, "split": split.value, "seed": seed}
        print(json.dumps(head | {"ways": [way.to_json() for way in found]}))
        return
    print(f"{model}, {split.value} split, {limit} bundles of {PAGES} pages")
    for way in found:
        among = f"among the first {MOST} {way.within(MOST):6.1%}"
        print(f"ranked by {way.by:<11} first {way.within(1):6.1%}  {among}")


@eval_app.command()
def make(
    folder: Annotated[Path, typer.Argument(help="Folder to write; it must not be there yet.")],
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only these; repeat to add.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Documents a kind.")] = 300,
    split: _SplitOption = SplitName.heldout,
    seed: SeedOption = _SEED,
    wear: Annotated[_Wear, typer.Option(help="phone: tilted, unevenly lit, blurred, JPEG 40.")] = _Wear.none,
) -> None:
    """Write a folder of generated documents with questions, transcriptions, fields and places."""
    with with_extra("train"):
        from vlm.evaluation.kinds import KINDS
        from vlm.evaluation.write import Made, write_folder

        kinds = tuple(dict.fromkeys(kind)) if kind else tuple(KINDS)
        made = Made(kinds, count, cast(Any, split.value), seed, wear.value)
        with progress("writing", count * len(kinds)) as advance:
            written = write_folder(folder, made, advance)
    print(f"{folder}: {count * len(kinds)} documents, {written} questions")


@eval_app.command()
def card(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Folder of the checkpoint, for README.md.")
    ],
    limit: _LimitOption = 300,
    split: _SplitOption = SplitName.heldout,
    seed: SeedOption = 20261122,
) -> None:
    """Run every task and write the model card."""
    asked = _Asked(Wanted(str(folder)), limit, split.value, None, seed, 0, False)
    found = [*_scores("READING", asked), *_scores("DOCVQA", asked)]
    from vlm.evaluation.card import CARD, write_card

    write_card(folder, found, {"split": split.value, "seed": seed, "limit": limit})
    print(folder / CARD)


@dataclass(frozen=True)
class _Run:
    """A comparison of policies over a folder."""

    data: Path
    wanted: Wanted
    policies: list[str]
    limit: int | None
    as_json: bool
    report: Path | None
    at_once: int = 1

    def model(self) -> AbstractContextManager[Model]:
        """The model, which may be asked ``at_once``."""
        return asked_by(self.wanted.load(), self.at_once)

    def items(
        self,
        fits: Callable[[Item], bool],
        what: str,
        of_all: Callable[[Iterable[Item]], Iterable[Item]],
    ) -> list[Item]:
        """The items to run; everything a user can have wrong is found here, before a model is loaded."""
        from vlm.errors import UsageError
        from vlm.evaluation.compare import known_policies
        from vlm.evaluation.folder import first_of_each_kind, read_folder

        known_policies(self.policies)
        if self.report is not None and not self.report.absolute().parent.is_dir():
            raise UsageError(f"{self.report}: no such folder to write in; make it first")
        if self.report is not None and self.report.is_dir():
            raise UsageError(f"{self.report}: is a folder; name a file in it")
        fitting: Iterator[Item] = filter(fits, read_folder(self.data))
        chosen = list(first_of_each_kind(of_all(fitting), self.limit))
        if not chosen:
            raise UsageError(f"{self.data}: holds no {what}")
        return chosen

    def cut_only(self) -> None:
        """Refuse policies that don't say their windows without a model's look."""
        from pan_and_scan import POLICY_NAMES
        from vlm.errors import UsageError

        unknown = [name for name in self.policies if name not in POLICY_NAMES]
        if unknown:
            raise UsageError(f"{unknown[0]} can't be counted without a model: {', '.join(POLICY_NAMES)}")

    def outcomes(
        self, title: str, case: Case, items: Sequence[Item], policies: Sequence[str] | None = None
    ) -> list[Outcome]:
        """Run all cases."""
        from vlm.evaluation.compare import known_policies, run

        names = known_policies(self.policies) if policies is None else policies
        with progress(title, len(items) * len(names)) as advance:
            return run(case, items, names, advance, self.at_once)

    def finish(self, found: Sequence[Outcome], figures: Mapping[str, Figure]) -> None:
        """Print the table and write the report."""
        from vlm.evaluation.table import rows, to_text

        made = rows(found, figures)
        failed = [outcome for outcome in found if outcome.error]
        if self.as_json:
            head = {"model": self.wanted.name, "data": str(self.data), "failed": len(failed)}
            print(json.dumps(head | {"rows": [row.to_json() for row in made]}))
        else:
            print(f"{self.wanted.name}, {self.data}\n{to_text(made)}")
        if failed:
            first = failed[0]
            print(f"vlm: {len(failed)} of {len(found)} cases failed and count as wrong, the first: "
                  f"{first.item.image.name}: {first.error}", file=sys.stderr)  # fmt: skip
        if self.report is not None:
            with with_extra("eval"):
                from vlm.evaluation.report import write_report

            write_report(self.report, f"{self.wanted.name} on {self.data.name}", made, found)
            print(self.report, file=sys.stderr)


def _compare_readings(asked: _Run, against: str | None, density: float | None, letter: float | None) -> None:
    """Read every page of a folder."""
    from vlm.errors import UsageError

    with with_extra("eval"):
        from vlm.evaluation import table
        from vlm.evaluation.against import NAME, find_tesseract, read_with_tesseract
        from vlm.evaluation.compare import Reading, page_reader
        from vlm.evaluation.folder import one_per_image

    if against is not None:
        if against != NAME:
            raise UsageError(f"unknown reader {against!r}: {NAME} is the one to compare with")
        find_tesseract()
    items = asked.items(Reading.fits, "transcriptions", one_per_image)
    with asked.model() as vlm:
        found = asked.outcomes("reading", Reading(page_reader(vlm, density, letter)), items)
    if against is not None:
        found += asked.outcomes(against, Reading(read_with_tesseract), items, (against,))
    asked.finish(found, table.READING)


def _only_with_data(given: Mapping[str, object]) -> None:
    from vlm.errors import UsageError

    for name, value in given.items():
        if value:
            raise UsageError(f"{name} belongs to a folder: name it with --data (vlm eval make writes one)")


def _only_without_data(task: list[str] | None, show: int) -> None:
    from vlm.errors import UsageError

    if task or show:
        raise UsageError("--task and --show are of the generated tasks: leave them out with --data")


@dataclass(frozen=True)
class _Asked:
    """What to ask of the generated tasks."""

    wanted: Wanted
    limit: int
    split: str
    tasks: list[str] | None
    seed: int
    show: int
    as_json: bool


def _scores(table: str, asked: _Asked) -> list[Score]:
    """Run the tasks of a table."""
    from vlm.errors import UsageError
    from vlm.session import AT_ONCE

    with with_extra("train"):
        from vlm.evaluation import scores

    known: tuple[scores.Task, ...] = getattr(scores, table)
    wanted = asked.tasks or [task.name for task in known]
    unknown = set(wanted) - {task.name for task in known}
    if unknown:
        raise UsageError(f"unknown task {', '.join(sorted(unknown))}: {', '.join(t.name for t in known)}")
    tasks = [task for task in known if task.name in wanted]
    split = cast(Any, asked.split)
    found: list[scores.Score] = []
    with asked_by(asked.wanted.load(), AT_ONCE) as model:
        for task in tasks:
            with progress(task.title, asked.limit) as advance, with_extra("train"):
                found.append(scores.run(model, task, split, asked.limit, asked.seed, on_answer=advance))
    return found


def _evaluate(table: str, asked: _Asked) -> None:
    """Run the tasks of a table and print it."""
    found = _scores(table, asked)
    from vlm.evaluation import scores

    fair = scores.fairly_asked(found)
    sure, whole = scores.auroc(fair), scores.auroc(fair, lambda outcome: outcome.probability)
    if asked.as_json:
        rows = [score.to_json() for score in found]
        head = {"model": asked.wanted.name, "split": asked.split, "seed": asked.seed}
        told = {"auroc": sure, "auroc_of_probability": whole}
        figures = {name: None if math.isnan(value) else round(value, 4) for name, value in told.items()}
        print(json.dumps(head | {"tasks": rows} | figures))
        return
    for score in found:
        for outcome in score.outcomes[: asked.show]:
            print(f"asked {outcome.case.question!r}\ntruth {outcome.case.answer!r}\n said {outcome.said!r}")
    print(f"{asked.wanted.name}, {asked.split} split, {asked.limit} images a task")
    for score in found:
        rate = f"CER {score.cer:6.1%}  WER {score.wer:6.1%}  " if table == "READING" else ""
        print(
            f"{score.task.title:<40} {rate}right {score.right:6.1%}  "
            f"refused {score.refused:5.1%}  {score.seconds:.2f} s an image"
        )
    print(
        f"confidence: AUROC of right against wrong {sure:.2f}, of the whole answer's probability {whole:.2f}"
    )
