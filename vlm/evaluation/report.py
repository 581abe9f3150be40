"""Outcomes -> one HTML file that needs nothing else: the table, then every case with its picture.

Wrong answers come first, the worst of them foremost: that is what a report is opened for. Pictures
are made one at a time while the file is written, so a report of a thousand pages holds one page in
memory. The file is written beside its place and moved there whole.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import jinja2
from PIL import Image

from pan_and_scan import ImageError, draw_boxes, draw_windows
from vlm.errors import UsageError
from vlm.evaluation.compare import Outcome
from vlm.evaluation.metrics import Box
from vlm.evaluation.table import Row, columns_of, head

MOST = 600  # cases of a report; a browser must still open it
_SIDE = 720  # pixels of a picture's longer side
_QUALITY = 70  # of its JPEG


@dataclass(frozen=True)
class _Shown:
    """One case as the template prints it."""

    outcome: Outcome
    number: int
    question: str  # empty where none was asked
    truth: str
    picture: str  # data URL; empty where there is none


def write_report(path: Path, title: str, made: Sequence[Row], outcomes: Sequence[Outcome]) -> None:
    """Write the report of a run.

    Args:
        path: file to write; its folder exists.
        title: what was run.
        made: rows of the table.
        outcomes: all cases; those that were only cut into windows are shown as such.

    Raises:
        UsageError: it can't be written.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    source = (files("vlm.evaluation") / "report.html").read_text(encoding="utf-8")
    order = sorted(outcomes, key=lambda outcome: (outcome.right, outcome.quality, outcome.confidence))
    columns = columns_of(made)
    pieces = environment.from_string(source).generate(
        title=title,
        head=head(columns),
        rows=[row.cells(columns) for row in made],
        wrong=sum(not outcome.right for outcome in outcomes),
        total=len(outcomes),
        shown=min(MOST, len(order)),
        cases=_cases(order[:MOST]),
    )
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.writelines(pieces)
        os.replace(beside, path)
    except OSError as error:
        raise UsageError(f"{path}: can't be written ({error.strerror or error})") from None
    finally:
        beside.unlink(missing_ok=True)


def _cases(outcomes: Sequence[Outcome]) -> Iterator[_Shown]:
    for number, outcome in enumerate(outcomes, 1):
        item = outcome.item
        question = item.question if item.measure in outcome.scores else ""
        yield _Shown(outcome, number, question, _truth(outcome), _picture(outcome))


def _truth(outcome: Outcome) -> str:
    """What would have been right, for the command the outcome is of."""
    item = outcome.item
    if outcome.told or "valid" in outcome.scores:
        pairs = item.fields.items()
        return "\n".join(f"{key}: {'null' if value is None else value}" for key, value in pairs)
    if item.measure in outcome.scores:
        return " | ".join(dict.fromkeys(item.answers))
    return item.text if "exact" in outcome.scores else ""


def _picture(outcome: Outcome) -> str:
    """The image with windows, the answer's true places and the evidence, small, as a data URL."""
    try:
        image = outcome.item.open()
    except ImageError:
        return ""
    if len(outcome.windows) > 1:
        image = draw_windows(image, outcome.windows)
    scale = min(1.0, _SIDE / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size, Image.Resampling.LANCZOS)
    labelled = [(box, str(number)) for number, box in enumerate(outcome.evidence[:3], 1)]
    if "exact" in outcome.scores and outcome.item.boxes:
        labelled += [(box, "truth") for box in outcome.item.boxes]
    placed = [(_scaled(box, scale, size), label) for box, label in labelled]
    if placed:
        small = draw_boxes(small, [box for box, _ in placed], [label for _, label in placed])
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _scaled(box: Box, scale: float, size: tuple[int, int]) -> Box:
    """A box on the small picture: inside it and at least a pixel large."""
    left, top = (min(max(0, int(edge * scale)), most - 1) for edge, most in zip(box[:2], size, strict=True))
    right, bottom = (min(round(edge * scale), most) for edge, most in zip(box[2:], size, strict=True))
    return left, top, max(left + 1, right), max(top + 1, bottom)
