"""How answers are judged, and the table of what a model can do."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import jiwer
import numpy as np

from vlm.asking import Model
from vlm.evaluation import tasks
from vlm.evaluation.metrics import same
from vlm.evaluation.tasks import Case, Maker, cases
from vlm.options import Options
from vlm.parallel import in_order
from vlm.scheduler import SharedEngine
from vlm.session import AT_ONCE, VLM
from vlm.training.fonts import Split
from vlm.training.page import ABSENT

MAX_TOKENS = 260


@dataclass(frozen=True)
class Outcome:
    """What was said to one case."""

    case: Case
    said: str
    right: bool
    confidence: float
    probability: float = 0.0  # of the whole answer


def within_five_percent(truth: str, said: str) -> bool:
    """Numbers within 5 % of each other; where one holds no number, equal texts."""
    wanted, got = _number(truth), _number(said)
    if wanted is None or got is None:
        return same(truth, said)
    return abs(got - wanted) <= 0.05 * abs(wanted)


def _number(text: str) -> float | None:
    found = re.search(r"-?\d[\d,]*(?:\.\d+)?", text)
    return float(found[0].replace(",", "")) if found else None


@dataclass(frozen=True)
class Task:
    """A kind of question, how it is judged, and what is wanted of ``mini``."""

    name: str
    title: str
    make: Maker
    bar: float  # CER at most for transcription, else share right at least (above that of ``over``)
    right: Callable[[str, str], bool] = same
    policy: str = "adaptive"
    over: str = ""  # name of the task whose share is to be exceeded by ``bar``
    seed: int = 0  # tasks of one seed ask the same cases


READING = (
    Task("short", "1-2 clean lines, 20-32 px", tasks.short_lines, 0.15),
    Task("clean", "up to 6 clean lines", tasks.clean_lines, 0.03),
    Task("degraded", "up to 6 degraded lines", tasks.degraded_lines, 0.08),
)
DOCVQA = (
    Task("documents", "questions on clean documents", tasks.clean_documents, 0.85),
    Task("degraded", "questions on degraded documents", tasks.degraded_documents, 0.70),
    Task("shapes", "shapes: colour, count, place, yes / no", tasks.shapes, 0.95),
    Task("extremes", "charts: largest, smallest", tasks.chart_extremes, 0.85),
    Task("values", "charts: value within 5 %", tasks.chart_values, 0.60, within_five_percent),
    Task("absent", "not in the image: says so", tasks.absent, 0.90),
    Task("off", "strips and scans, policy off", tasks.strips_and_scans, 0.0, policy="off", seed=9),
    Task("gemma3", "strips and scans, policy gemma3", tasks.strips_and_scans, 0.0, policy="gemma3", seed=9),
    Task("adaptive", "strips and scans, policy adaptive", tasks.strips_and_scans, 0.25, over="off", seed=9),
    Task("two", "two images: in which image", tasks.two_images, 0.80),
)


@dataclass(frozen=True)
class Score:
    """Outcomes of one task."""

    task: Task
    outcomes: tuple[Outcome, ...]
    seconds: float  # an image

    @property
    def cer(self) -> float:
        """Character errors over characters of truth."""
        return float(jiwer.cer(self._truths, self._said))

    @property
    def wer(self) -> float:
        """Word errors over words of truth."""
        return float(jiwer.wer(self._truths, self._said))

    @property
    def right(self) -> float:
        """Share of right answers."""
        return sum(outcome.right for outcome in self.outcomes) / len(self.outcomes)

    @property
    def refused(self) -> float:
        """Share answered with "Not in the image."."""
        return sum(outcome.said == ABSENT for outcome in self.outcomes) / len(self.outcomes)

    @property
    def _truths(self) -> list[str]:
        return [outcome.case.answer for outcome in self.outcomes]

    @property
    def _said(self) -> list[str]:
        return [outcome.said for outcome in self.outcomes]

    def to_json(self) -> dict[str, Any]:
        """One row of ``--json``."""
        row: dict[str, Any] = {"task": self.task.name, "images": len(self.outcomes)}
        if self.task in READING:
            row |= {"cer": round(self.cer, 4), "wer": round(self.wer, 4)}
        row |= {"right": round(self.right, 4), "refused": round(self.refused, 4), "bar": self.task.bar}
        if self.task.over:
            row["over"] = self.task.over
        return row | {"seconds_per_image": round(self.seconds, 3)}


def run(
    vlm: Model, task: Task, split: Split, count: int, seed: int,
    on_answer: Callable[[], None] | None = None,
) -> Score:  # fmt: skip
    """Ask the cases of a task, greedily.

    Args:
        vlm: the model; one that is shared is asked several cases at once.
        task: what to ask.
        split: whose fonts, words and templates.
        count: number of cases.
        seed: same seed, same cases.
        on_answer: called after each case.

    Raises:
        FileNotFoundError: the fonts are not installed.
    """
    options = Options(max_tokens=MAX_TOKENS, policy=task.policy)
    asked = list(cases(task.make, split, count, seed + task.seed))

    def outcome(case: Case) -> Outcome:
        answer = vlm.ask(case.images, case.question, options)
        right = task.right(case.answer, answer.text)
        return Outcome(case, answer.text, right, answer.confidence, answer.probability)

    outcomes: list[Outcome] = []
    started = time.perf_counter()
    shared = isinstance(vlm, VLM) and isinstance(vlm.engine, SharedEngine)
    with closing(in_order(asked, outcome, AT_ONCE if shared else 1)) as answered:
        for _, done in answered:
            outcomes.append(done)
            if on_answer is not None:
                on_answer()
    return Score(task, tuple(outcomes), (time.perf_counter() - started) / count)


def fairly_asked(scores: Sequence[Score]) -> list[Outcome]:
    """Outcomes under the default policy: the others are meant to be unreadable now and then."""
    return [outcome for score in scores if score.task.policy == "adaptive" for outcome in score.outcomes]


def auroc(
    outcomes: Sequence[Outcome], sure: Callable[[Outcome], float] = lambda outcome: outcome.confidence
) -> float:
    """Chance that a right answer was given with more confidence than a wrong one (Mann-Whitney).

    Args:
        outcomes: right and wrong ones.
        sure: what to sort by.

    Returns:
        0.5 where that says nothing; nan where all are right or all wrong.
    """
    right = np.array([sure(outcome) for outcome in outcomes if outcome.right])
    wrong = np.array([sure(outcome) for outcome in outcomes if not outcome.right])
    if not len(right) or not len(wrong):
        return float("nan")
    difference = right[:, None] - wrong[None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())
