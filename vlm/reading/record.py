"""What was read of a page: lines with their places, how sure the reader was, and where it all came from.

Every way to read a page (a model, a PDF's own text) gives this, and every output is made of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pan_and_scan import Window

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the page; the last two not included
Source = Literal["model", "text layer", "failed"]


@dataclass(frozen=True)
class Line:
    """One line of text."""

    text: str
    box: Box  # on the page as it was given, whatever was turned to read it
    confidence: float  # mean probability of its tokens, 0 to 1; 1 for a text layer


@dataclass(frozen=True)
class Block:
    """Lines that belong together, in reading order; at least one."""

    lines: tuple[Line, ...]

    @property
    def box(self) -> Box:
        """The smallest box around its lines."""
        return around(line.box for line in self.lines)

    @property
    def text(self) -> str:
        """Its lines, one below the other."""
        return "\n".join(line.text for line in self.lines)


@dataclass(frozen=True)
class FieldText:
    """One value that a schema asked a page for."""

    path: str  # JSON Pointer (RFC 6901): /items/0/price
    value: Any  # text, a number, true, false or null
    confidence: float  # mean probability of its tokens, 0 to 1
    box: Box | None  # on the page, where it was read; None for null and where nothing was looked at


@dataclass(frozen=True)
class PageText:
    """A page as it was read, or the reason why it was not.

    Attributes:
        file: name of the file, as the user gave it.
        number: page of the file, from 1.
        width: of the page in pixels; its boxes count in these.
        height: as ``width``.
        sha256: of the file's bytes, in hex.
        blocks: in reading order; none on an empty page and on one that failed.
        source: who read it.
        model: name of the model; empty for a text layer.
        windows: what the encoder saw, in pixels of the page.
        turned: degrees the page was turned counter-clockwise to be upright.
        attempts: how often the page was tried.
        error: why it failed, or how much of it could not be read; empty otherwise.
        lost: lines that are seen but could not be read, or parts of such.
        data: JSON by the schema that was asked for; None where the text was.
        fields: its values, each with its place.
    """

    file: str
    number: int
    width: int
    height: int
    sha256: str
    blocks: tuple[Block, ...]
    source: Source
    model: str = ""
    windows: tuple[Window, ...] = ()
    turned: float = 0.0
    attempts: int = 1
    error: str = ""
    data: Any = None
    fields: tuple[FieldText, ...] = ()
    lost: tuple[Box, ...] = ()

    @property
    def text(self) -> str:
        """The whole page, an empty line between blocks."""
        return "\n\n".join(block.text for block in self.blocks)

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines of all blocks."""
        return tuple(line for block in self.blocks for line in block.lines)

    @property
    def confidence(self) -> float:
        """Mean over its characters, or over the fields that were found; 0 where there are none."""
        if self.fields:
            sure = [field.confidence for field in self.fields if field.value is not None]
            return sum(sure) / len(sure) if sure else 0.0
        weights = [len(line.text) for line in self.lines]
        total = sum(weights)
        pairs = zip(self.lines, weights, strict=True)
        return sum(line.confidence * weight for line, weight in pairs) / total if total else 0.0


def around(boxes: Iterable[Box]) -> Box:
    """The smallest box that holds all of them; there is at least one."""
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)
