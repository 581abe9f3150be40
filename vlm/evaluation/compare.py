"""One folder, several policies, one table: the comparison of arXiv 2503.19786, table 8, on any data.

A way to run a case is a function ``(item, policy) -> Outcome``; ``docvqa``, ``fields``, ``reading`` and
``windows`` differ in that alone. An image or a question that fails counts as wrong and keeps its
error, because a run of hours must not end at one damaged file and a set must not get easier by what
could not be asked. A server that goes away ends the run: that is no case's fault.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from pan_and_scan import ImageError, Window, named_policy, windows_of
from vlm.answer import Answer
from vlm.asking import Model
from vlm.errors import OutageError, VlmError
from vlm.evaluation import metrics
from vlm.evaluation.folder import Item
from vlm.evaluation.metrics import Box, Fields
from vlm.options import Options
from vlm.parallel import in_order

MAX_TOKENS = 260  # of an answer, as in ``scores``


@dataclass(frozen=True)
class Outcome:
    """What came of one item under one policy.

    Attributes:
        item: what was asked.
        policy: name of the policy, or of another reader.
        said: the answer.
        scores: by the name of a column; those that don't apply are missing.
        right: whether all was right.
        quality: 0 to 1, for the order of a report.
        confidence: of the answer, 0 to 1.
        windows: what the image was cut into, in its pixels.
        evidence: boxes of the answer, the best first.
        told: fields of the answer.
        tokens: of the image in the prompt.
        seconds: from the file to the answer.
        error: why there is no answer; empty otherwise.
    """

    item: Item
    policy: str
    said: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    right: bool = False
    quality: float = 0.0
    confidence: float = 0.0
    windows: tuple[Window, ...] = ()
    evidence: tuple[Box, ...] = ()
    told: Fields = field(default_factory=dict)
    tokens: int = 0
    seconds: float = 0.0
    error: str = ""

    @property
    def encoded(self) -> int:
        """Windows the encoder saw; blank ones it did not."""
        return sum(window.kind != "blank" for window in self.windows)


Case = Callable[[Item, str], Outcome]


def run(
    case: Case,
    items: Sequence[Item],
    policies: Sequence[str],
    on_case: Callable[[], None] | None = None,
    at_once: int = 1,
) -> list[Outcome]:
    """Run every item under every policy.

    Args:
        case: how one is run.
        items: what to run.
        policies: names, in the order of the table.
        on_case: called after each case.
        at_once: cases under way at the same time, by which the seconds of each become more.
    """

    def outcome(asked: tuple[Item, str]) -> Outcome:
        item, policy = asked
        try:
            return case(item, policy)
        except OutageError:  # every later case would fail as well
            raise
        except (VlmError, ImageError) as error:
            nothing = dict.fromkeys(("exact", "anls", "valid", item.measure), 0.0)
            return Outcome(item, policy, scores=nothing, error=str(error))

    outcomes: list[Outcome] = []
    with closing(in_order(product(items, policies), outcome, at_once)) as found:
        for _, one in found:
            outcomes.append(one)
            if on_case is not None:
                on_case()
    return outcomes


def known_policies(policies: Iterable[str]) -> tuple[str, ...]:
    """The policies, each once.

    Raises:
        UsageError: a name that is none.
    """
    names = tuple(dict.fromkeys(policies))
    for name in names:
        Options(policy=name)
    return names


# Questions


@dataclass(frozen=True)
class Asking:
    """Asks an item's question.

    Attributes:
        vlm: the model.
        suffix: put after every question, such as how short an answer should be.
    """

    vlm: Model
    suffix: str = ""

    @staticmethod
    def fits(item: Item) -> bool:
        """Whether there is something to ask and something to compare with."""
        return bool(item.question and item.answers)

    def __call__(self, item: Item, policy: str) -> Outcome:
        """Ask and score."""
        question = f"{item.question} {self.suffix}" if self.suffix else item.question
        self.vlm.forget()  # what another policy has read would make this one look fast
        started = time.perf_counter()
        image = item.open()
        answer = self.vlm.ask(image, question, Options(policy=policy, max_tokens=MAX_TOKENS))
        seconds = time.perf_counter() - started
        boxes = tuple(found.box for found in answer.evidence if found.image == 0)
        value = getattr(metrics, item.measure)(item.answers, answer.text)
        found = {"exact": metrics.exact(item.answers, answer.text), item.measure: value}
        if item.measure != "anls":
            found["anls"] = metrics.anls(item.answers, answer.text)
        right = bool(found["exact"]) or (item.measure != "anls" and value == 1)
        if item.boxes and right:  # where a wrong answer was read is nobody's truth
            found["hit"] = metrics.evidence_hit(item.boxes, boxes[0]) if boxes else 0.0
            if boxes:
                found["area"] = _share(boxes[0], image)
        return Outcome(
            item, policy, answer.text, found, right, max(value, found["exact"]), answer.confidence,
            tuple(used.window for used in answer.windows), boxes,
            tokens=answer.usage.image_tokens, seconds=seconds,
        )  # fmt: skip


def _share(box: Box, image: Image.Image) -> float:
    """Of the image that a box covers."""
    return (box[2] - box[0]) * (box[3] - box[1]) / (image.width * image.height)


# Fields


def schema_of(fields: Fields) -> dict[str, Any]:
    """The JSON schema of a document's fields: each a text or null, all present, no others."""
    return {
        "type": "object",
        "properties": {key: {"type": ["string", "null"]} for key in fields},
        "required": list(fields),
        "additionalProperties": False,
    }


class Structured(Protocol):
    """A way to ask for JSON of a schema."""

    def __call__(self, image: Image.Image, question: str, schema: dict[str, Any], policy: str) -> Answer:
        """Answer with JSON that fits the schema."""
        ...


@dataclass(frozen=True)
class Constrained:
    """Asks under the constraint of a schema."""

    vlm: Model

    def __call__(self, image: Image.Image, question: str, schema: dict[str, Any], policy: str) -> Answer:
        """Answer with JSON that fits the schema."""
        from vlm.constrain import Constraint

        constraint = Constraint.schema(schema)
        self.vlm.forget()
        return self.vlm.ask(
            image, question, Options(policy=policy, max_tokens=2 * MAX_TOKENS, constraint=constraint)
        )


@dataclass(frozen=True)
class Filling:
    """Asks for an item's fields as JSON."""

    ask: Structured

    @staticmethod
    def fits(item: Item) -> bool:
        """Whether the fields are known."""
        return bool(item.fields)

    def __call__(self, item: Item, policy: str) -> Outcome:
        """Ask and score."""
        from vlm.reading.extract import ask_for  # what ``vlm read --schema`` asks

        question = ask_for(item.fields)
        started = time.perf_counter()
        answer = self.ask(item.open(), question, schema_of(item.fields), policy)
        seconds = time.perf_counter() - started
        told = _told(answer)
        valid = told is not None and told.keys() == item.fields.keys()
        f1 = metrics.field_f1([item.fields], [told or {}])
        whole = valid and f1 == 1
        return Outcome(
            item, policy, answer.text, {"exact": float(whole), "valid": float(valid)}, whole, f1,
            answer.confidence, tuple(used.window for used in answer.windows), told=told or {},
            tokens=answer.usage.image_tokens, seconds=seconds,
        )  # fmt: skip


def _told(answer: Answer) -> dict[str, str | None] | None:
    """The object an answer gives; None where it gives none."""
    data = getattr(answer, "data", None)
    if data is None:
        try:
            data = json.loads(answer.text)
        except ValueError:
            return None
    if not isinstance(data, dict):
        return None
    return {key: None if value is None else str(value) for key, value in data.items()}


# Pages


@dataclass(frozen=True)
class Read:
    """A page as some reader read it."""

    text: str
    windows: tuple[Window, ...] = ()
    confidence: float = 0.0
    tokens: int = 0
    error: str = ""


Reader = Callable[[Path, str], Read]  # file of a page and name of the policy


@dataclass(frozen=True)
class Reading:
    """Transcribes an item's page."""

    reader: Reader

    @staticmethod
    def fits(item: Item) -> bool:
        """Whether the transcription is known."""
        return bool(item.text.strip())

    def __call__(self, item: Item, policy: str) -> Outcome:
        """Read and score."""
        started = time.perf_counter()
        page = self.reader(item.image, policy)
        seconds = time.perf_counter() - started
        errors = metrics.cer([item.text], [page.text])
        return Outcome(
            item, policy, page.text, {"exact": float(errors == 0)}, errors == 0, max(0.0, 1 - errors),
            page.confidence, page.windows, tokens=page.tokens, seconds=seconds, error=page.error,
        )  # fmt: skip


def page_reader(vlm: Model, density: float | None = None, letter: float | None = None) -> Reader:
    """The package's own reader of pages, which decides windows, retries and order by itself.

    Args:
        vlm: the model.
        density: letters it may read at once for each soft token; None: what it does by itself.
        letter: pixels of the encoder's square that it gives a capital; likewise.
    """
    from vlm.reading.sources import SourceOptions, list_pages
    from vlm.reading.transcribe import PageReader, ReadOptions

    usual = ReadOptions(text_layer="never")
    usual = replace(usual, density=density or usual.density, letter=letter or usual.letter)

    def read(file: Path, policy: str) -> Read:
        vlm.forget()
        page = next(iter(list_pages([file], SourceOptions())))
        reader, seen = PageReader(vlm, replace(usual, policy=policy)), list[int]()
        reader.on_try = seen.append
        got = reader.read(page)
        return Read(got.text, got.windows, got.confidence, sum(seen) * vlm.tokens_per_image, got.error)

    return read


# Windows


@dataclass(frozen=True)
class Cutting:
    """Cuts an item's image and asks nothing.

    Attributes:
        window_size: side of the encoder's square in pixels.
        tokens: of a window.
    """

    window_size: int
    tokens: int

    def __call__(self, item: Item, policy: str) -> Outcome:
        """Cut and count."""
        started = time.perf_counter()
        planned = windows_of(item.open(), named_policy(policy, window_size=self.window_size))
        seconds = time.perf_counter() - started
        tokens = self.tokens * sum(window.kind != "blank" for window in planned)
        return Outcome(item, policy, right=True, windows=planned, tokens=tokens, seconds=seconds)
