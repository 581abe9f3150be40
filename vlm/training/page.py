"""A page and its truth: what stands there, where each character is, and what it can be asked.

Every way of making a page (lines of text, typeset documents, drawn pictures) ends here, so that
degradation, questions and training know only this.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from vlm.answer import NOT_IN_IMAGE

ABSENT = NOT_IN_IMAGE
Color = tuple[int, int, int]  # red, green, blue, 0 to 255


@dataclass(frozen=True)
class Glyph:
    """One character and its centre, in pixels from the left and the top."""

    char: str
    x: float
    y: float


@dataclass(frozen=True)
class Mark:
    """A coloured shape that is seen and not read: its centre and half its size, in pixels."""

    color: str
    kind: str
    x: float
    y: float
    half_width: float
    half_height: float


@dataclass(frozen=True)
class Fact:
    """One thing a page tells.

    ``key`` names what is told (``"total"``, ``"price"``: see ``questions.WORDINGS``), ``subject``
    what it is told of where there can be several (the item a price belongs to).
    """

    key: str
    answer: str
    subject: str = ""
    at: tuple[int | None, ...] = ()  # glyph of each answer character; empty: not read from one place
    marks: tuple[int, ...] = ()  # those to look at, where the answer is not read from glyphs


@dataclass(frozen=True)
class Level:
    """How large what a chart's label names is drawn."""

    share: float  # of the axis, or of the largest slice; in (0, 1]
    at: tuple[int | None, ...]  # glyph of each character of the label


@dataclass(frozen=True)
class Page:
    """An image and its truth."""

    image: Image.Image  # RGB
    lines: tuple[str, ...]  # in reading order
    glyphs: tuple[Glyph, ...]  # of the lines, in reading order, interior spaces included
    facts: tuple[Fact, ...] = ()
    marks: tuple[Mark, ...] = ()
    levels: tuple[Level, ...] = ()


@dataclass(frozen=True)
class Question:
    """A question, its answer, and the glyph each character of the answer was read from.

    Attributes:
        sources: one a character of the answer; None: not read from a place.
        image: which of the images the sources and marks lie in.
        seen: what is looked at where the answer is not read: shapes, the word that is asked for.
    """

    text: str
    answer: str
    sources: tuple[Glyph | None, ...]
    image: int = 0
    seen: tuple[Mark, ...] = ()

    @property
    def is_read(self) -> bool:
        """Whether the answer stands on the page letter by letter."""
        return any(glyph is not None for glyph in self.sources)
