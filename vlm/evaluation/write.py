"""The generator writes an evaluation folder: images and ``questions.jsonl``, as ``folder`` reads them.

Everything follows from the seed. A folder worn as by a phone holds the same documents with the same
questions as the clean one of that seed, so two tables differ by the wear alone. It is written beside
its place and moved there whole: a folder is complete or absent.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TextIO

from vlm.errors import UsageError
from vlm.evaluation.boxes import answer_boxes
from vlm.evaluation.folder import CHARTS, QUESTIONS
from vlm.evaluation.kinds import KINDS, pages
from vlm.evaluation.phone import JPEG_QUALITY, photographed
from vlm.training.fonts import Split
from vlm.training.page import Page, Question
from vlm.training.questions import fact_question, untold

Wear = Literal["none", "phone"]
IMAGES = "documents"  # DocVQA's name for the folder of images
_SCANNER_QUALITY = 90  # of its JPEG
_QUESTIONS = 2  # of a document at most
_PLAIN = str.maketrans("", "", ",$%k ")  # what stands around a chart's numbers


@dataclass(frozen=True)
class Made:
    """What a folder is made of.

    Attributes:
        kinds: names out of ``KINDS``, in order.
        count: documents of each.
        split: whose fonts, words and templates; training's own would only flatter.
        seed: same seed, same folder.
        wear: "phone" for pictures as a phone takes them.
    """

    kinds: tuple[str, ...] = tuple(KINDS)
    count: int = 300
    split: Split = "heldout"
    seed: int = 20261122
    wear: Wear = "none"

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown:
            raise UsageError(f"unknown kind {', '.join(unknown)}: kinds are {', '.join(KINDS)}")
        if self.split == "train":
            raise UsageError("a score on training's own pages says nothing: use heldout or validation")
        if self.count < 1:
            raise UsageError(f"count must be 1 or more, not {self.count}")


def write_folder(folder: Path, made: Made, on_document: Callable[[], None] | None = None) -> int:
    """Write a folder of documents and questions.

    Args:
        folder: must not exist, or be empty; the one it stands in is there.
        made: what goes into it.
        on_document: called after each document.

    Returns:
        Number of lines in its ``questions.jsonl``.

    Raises:
        UsageError: the folder holds something or can't be written, or the split lacks a kind.
        FileNotFoundError: the fonts are not installed.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: is there already; name a new folder or remove it")
    if not folder.absolute().parent.is_dir():
        raise UsageError(f"{folder.parent}: no such folder to write in; make it first")
    beside = folder.absolute().with_name(f".{folder.name}.{os.getpid()}")
    try:
        (beside / IMAGES).mkdir(parents=True)
        with (beside / QUESTIONS).open("w", encoding="utf-8") as lines:
            written = _write(beside / IMAGES, lines, made, on_document)
        os.replace(beside, folder)
    except OSError as error:
        if error.errno is None:  # not the disk: fonts that are not installed
            raise
        raise UsageError(f"{folder}: can't be written ({error.strerror})") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return written


def _write(images: Path, lines: TextIO, made: Made, on_document: Callable[[], None] | None) -> int:
    written = 0
    for offset, name in enumerate(made.kinds):
        rng = random.Random(f"{made.seed}/{name}/questions")
        phone = random.Random(f"{made.seed}/{name}/phone")
        suffix, saving = _saving(name, made.wear)
        for number, clean in enumerate(islice(pages(name, made.split, made.seed), made.count), 1):
            page = photographed(clean, phone) if made.wear == "phone" else clean
            file = f"{name}-{number:04}{suffix}"
            page.image.save(images / file, **saving)
            head = {"docId": offset * made.count + number, "image": f"{IMAGES}/{file}"}
            for record in _records(page, name, rng):
                written += 1
                whole = {"questionId": written} | head | record | {"data_split": made.split}
                lines.write(json.dumps(whole, ensure_ascii=False) + "\n")
            if on_document is not None:
                on_document()
    return written


def _saving(kind: str, wear: Wear) -> tuple[str, dict[str, Any]]:
    """How images of a kind are saved: the end of their name, and what Pillow is told."""
    if wear == "phone":
        return ".jpg", {"quality": JPEG_QUALITY}
    if KINDS[kind].scanned:
        return ".jpg", {"quality": _SCANNER_QUALITY}
    return ".png", {}


def _records(page: Page, kind: str, rng: random.Random) -> Iterator[dict[str, Any]]:
    """The lines of one document: one a question, or one without where there is only text to read."""
    truth: dict[str, Any] = {"ucsf_document_page_no": "1", "kind": kind}
    if page.lines:
        truth["text"] = "\n".join(page.lines)
    fields = _fields(page, rng)
    if fields:
        truth["fields"] = fields
    questions = _asked(page, rng) if KINDS[kind].asked else []
    if not questions:
        yield {"question": "", "answers": []} | truth
    for question in questions:
        boxes = answer_boxes(page, question.sources)
        placed = {"boxes": boxes} if boxes else {}
        yield {"question": question.text, "answers": _answers(question.answer, kind)} | truth | placed


def _asked(page: Page, rng: random.Random) -> list[Question]:
    """One or two questions on different facts."""
    wanted = rng.randint(1, _QUESTIONS)
    found: dict[str, Question] = {}
    for _ in range(6 * _QUESTIONS):
        question = fact_question(page, rng)
        if question is not None and len(found) < wanted:
            found.setdefault(question.answer, question)
    return list(found.values())


def _answers(answer: str, kind: str) -> list[str]:
    """The answer as printed, and a chart's number as one would type it."""
    plain = answer.translate(_PLAIN)
    return [answer, plain] if kind == CHARTS and plain != answer and plain.isdigit() else [answer]


def _fields(page: Page, rng: random.Random) -> dict[str, str | None]:
    """What the document tells once, by key or by a form's label; and one thing that it doesn't."""
    told: dict[str, set[str]] = {}
    for fact in page.facts:
        if fact.at and (fact.key == "field" or not fact.subject):
            told.setdefault(fact.subject if fact.key == "field" else fact.key, set()).add(fact.answer)
    fields: dict[str, str | None] = {key: min(answers) for key, answers in told.items() if len(answers) == 1}
    if not fields:
        return {}
    absent = _absent(page, rng)
    return fields | ({absent: None} if absent else {})


def _absent(page: Page, rng: random.Random) -> str:
    """A key that the page tells nothing of, by no name; empty where none was drawn."""
    free = untold(page)
    return rng.choice(free) if free else ""
