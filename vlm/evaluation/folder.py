"""A folder of images and questions -> items to ask, whoever published it.

Our own folders (``write``) and anybody's: images beside a ``questions.jsonl`` in DocVQA's field names,
one question a line. The published sets are read as they are downloaded: the one JSON of DocVQA and
InfographicVQA, TextVQA's and ChartQA's. Lines are read one at a time and images only when an item is
opened, so a set of a million costs nothing before it is asked; what a line holds is checked when it
is reached, and a wrong one is named.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from PIL import Image

from pan_and_scan import load_image
from vlm.errors import UsageError
from vlm.evaluation.metrics import Box

Measure = Literal["anls", "textvqa", "relaxed"]  # what a set is scored by, besides exact match
QUESTIONS = "questions.jsonl"
CHARTS = "charts"  # the kind of our own folders that is scored as ChartQA is

# Folders the published sets keep their images in, beside the JSON or one above it.
_HOMES = ("", "documents", "spdocvqa_images", "images", "infographicsvqa_images", "train_images", "png")
_SUFFIXES = (".jpg", ".png")  # of TextVQA's images, which are named by their id


@dataclass(frozen=True)
class Item:
    """One question about one image, with its truth.

    Attributes:
        id: the set's own number of the question.
        image: file of the image.
        question: empty where a page is only there to be read.
        answers: every one is right; empty where the set keeps them secret.
        kind: row of the table it belongs to.
        measure: how the set is scored.
        text: full transcription; empty where it isn't known.
        fields: of the document; null for what it doesn't tell.
        boxes: of the answer, in pixels of the upright image.
    """

    id: str
    image: Path
    question: str
    answers: tuple[str, ...]
    kind: str
    measure: Measure
    text: str = ""
    fields: Mapping[str, str | None] = field(default_factory=dict)
    boxes: tuple[Box, ...] = ()

    def open(self) -> Image.Image:
        """The upright RGB image.

        Raises:
            ImageError: it can't be read.
        """
        return load_image(self.image)


def read_folder(path: Path) -> Iterator[Item]:
    """Read the items of a folder, or of one of its files.

    Args:
        path: a folder with a ``questions.jsonl`` or a single ``.json``, or such a file itself.

    Raises:
        UsageError: no such folder, no questions in it, or a line that is none; names file and line.
    """
    file = _questions_of(path)
    entries = _lines(file) if file.suffix == ".jsonl" else _entries(file)
    empty = True
    for where, entry, name in entries:
        empty = False
        yield _item(_Entry(where, entry, file.parent, name))
    if empty:
        raise UsageError(f"{file}: holds no questions")


def _questions_of(path: Path) -> Path:
    if path.is_file():
        if path.suffix not in (".json", ".jsonl"):
            raise UsageError(f"{path}: questions stand in a .jsonl or a .json; name that or its folder")
        return path
    if not path.is_dir():
        raise UsageError(f"{path}: no such folder")
    if (path / QUESTIONS).is_file():
        return path / QUESTIONS
    found = sorted(path.glob("*.json"))
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{path}: holds {len(found)} .json files; name one ({found[0].name}, ...)")
    raise UsageError(f"{path}: holds no {QUESTIONS} and no .json of questions")


def _lines(file: Path) -> Iterator[tuple[str, Any, str]]:
    """Each line of a JSONL: where it stands, what it holds, name of the set."""
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    where = f"{file}, line {number}"
                    yield where, _parsed(line, where), "all"
    except UnicodeDecodeError:
        raise UsageError(f"{file}: is not UTF-8; save it so") from None
    except OSError as error:
        raise UsageError(f"{file}: can't be read ({error.strerror})") from None


def _entries(file: Path) -> Iterator[tuple[str, Any, str]]:
    """Each entry of a published set's one JSON."""
    try:
        whole = _parsed(file.read_text(encoding="utf-8-sig"), str(file))
    except UnicodeDecodeError:
        raise UsageError(f"{file}: is not UTF-8; save it so") from None
    except OSError as error:
        raise UsageError(f"{file}: can't be read ({error.strerror})") from None
    name = ""
    if isinstance(whole, dict):
        given = whole.get("dataset_name")
        name = given.lower() if isinstance(given, str) else ""
        whole = whole.get("data")
    if not isinstance(whole, list):
        raise UsageError(f'{file}: is no set of questions: a list, or an object with a list "data"')
    for number, entry in enumerate(whole, 1):
        yield f"{file}, entry {number}", entry, name


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # nested too deeply for the parser
        raise UsageError(f"{where}: is not valid JSON") from None


@dataclass(frozen=True)
class _Entry:
    """One entry as it stands in the file, taken apart with complaints that say where."""

    where: str
    held: Any
    root: Path  # folder of the file
    name: str  # of the set; may be empty

    def wrong(self, why: str) -> UsageError:
        return UsageError(f"{self.where}: {why}")

    def text(self, key: str, default: str | None = None) -> str:
        """A text; numbers are taken as they are printed."""
        value = self.held.get(key, default)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.wrong(f'"{key}" is missing' if value is None else f'"{key}" must be a text')
        return str(value)

    def answers(self) -> tuple[str, ...]:
        value = self.held.get("answers", [])
        if not isinstance(value, list) or not all(isinstance(answer, str) for answer in value):
            raise self.wrong('"answers" must be a list of texts')
        return tuple(value)

    def image(self, name: str) -> Path:
        """File of an image, where the sets keep theirs."""
        inside = PurePosixPath(name)
        if not inside.name or inside.is_absolute() or ".." in inside.parts:
            raise self.wrong(f"{name!r} names no image inside the folder")
        if (self.root / inside).is_file():
            return self.root / inside
        names = [inside.name] if inside.suffix else [inside.name + suffix for suffix in _SUFFIXES]
        for base in (self.root, self.root.parent):
            for home in _HOMES:
                for file in names:
                    if (base / home / file).is_file():
                        return base / home / file
        raise self.wrong(f"there is no image {name} in {self.root}")

    def fields(self) -> dict[str, str | None]:
        value = self.held.get("fields", {})
        if not isinstance(value, dict):
            raise self.wrong('"fields" must be an object')
        if any(isinstance(v, dict | list | bool) for v in value.values()):
            raise self.wrong('a value in "fields" must be a text, a number or null')
        return {key: None if v is None else str(v) for key, v in value.items()}

    def boxes(self) -> tuple[Box, ...]:
        value = self.held.get("boxes", [])
        if not isinstance(value, list):
            raise self.wrong('"boxes" must be a list')
        return tuple(self._box(box) for box in value)

    def _box(self, box: Any) -> Box:
        numbers = isinstance(box, list) and all(type(edge) in (int, float) for edge in box)
        if numbers and len(box) == 4 and all(map(math.isfinite, box)):
            left, top, right, bottom = map(round, box)
            if 0 <= left < right and 0 <= top < bottom:
                return left, top, right, bottom
        raise self.wrong('a box in "boxes" must be [left, top, right, bottom] in pixels')


def _item(entry: _Entry) -> Item:
    if not isinstance(entry.held, dict):
        raise entry.wrong("is not an object")
    if "imgname" in entry.held:
        return _chartqa(entry)
    if "image_id" in entry.held and "image" not in entry.held:
        return _textvqa(entry)
    return _docvqa(entry)


def _docvqa(entry: _Entry) -> Item:
    """DocVQA's fields and ours; InfographicVQA calls the image ``image_local_name``."""
    local = entry.text("image_local_name", "")
    kind = entry.text("kind", entry.name or "docvqa")
    return Item(
        id=entry.text("questionId", ""),
        image=entry.image(local or entry.text("image")),
        question=entry.text("question", ""),
        answers=entry.answers(),
        kind=kind,
        measure="relaxed" if kind == CHARTS else "anls",
        text=entry.text("text", ""),
        fields=entry.fields(),
        boxes=entry.boxes(),
    )


def _textvqa(entry: _Entry) -> Item:
    return Item(
        id=entry.text("question_id", ""),
        image=entry.image(entry.text("image_id")),
        question=entry.text("question"),
        answers=entry.answers(),
        kind="textvqa",
        measure="textvqa",
    )


def _chartqa(entry: _Entry) -> Item:
    return Item(
        id=entry.text("imgname"),
        image=entry.image(entry.text("imgname")),
        question=entry.text("query"),
        answers=(entry.text("label"),),
        kind="chartqa",
        measure="relaxed",
    )


def one_per_image(items: Iterable[Item]) -> Iterator[Item]:
    """The first item of each image: a page is read once, however many questions it has."""
    seen: set[Path] = set()
    for item in items:
        if item.image not in seen:
            seen.add(item.image)
            yield item


def first_of_each_kind(items: Iterable[Item], limit: int | None) -> Iterator[Item]:
    """The first ``limit`` items of each kind; all for None."""
    taken: dict[str, int] = {}
    for item in items:
        taken[item.kind] = taken.get(item.kind, 0) + 1
        if limit is None or taken[item.kind] <= limit:
            yield item
