"""Pages and readers for what lies behind them: outputs and jobs. Imports no torch, as it runs in
processes that are killed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from vlm.errors import ImageError
from vlm.reading.record import Block, Box, Line, PageText


@dataclass(frozen=True)
class FakeOpened:
    image: Image.Image
    layer: None = None
    dpi: float | None = None


@dataclass(frozen=True)
class FakePage:
    """What ``vlm.reading.sources.SourcePage`` is to the others."""

    file: str
    number: int = 1
    count: int = 1
    sha256: str = "0" * 64
    damaged: bool = False
    size: tuple[int, int] = (600, 400)
    dpi: float | None = None

    def open(self) -> FakeOpened:
        if self.damaged:
            raise ImageError(f"{self.file}: is cut off")
        return FakeOpened(Image.new("RGB", self.size, "white"), dpi=self.dpi)


def fake_pages(count: int, file: str = "scan.pdf", content: str = "") -> Iterator[Any]:
    """The pages of one file; other content, other hash."""
    sha256 = hashlib.sha256(f"{file}{content}".encode()).hexdigest()
    return (FakePage(file, number, count, sha256) for number in range(1, count + 1))


def line(text: str, box: Box = (10, 10, 210, 40), confidence: float = 0.9) -> Line:
    return Line(text, box, confidence)


def page(*lines: Line | str, **changes: Any) -> PageText:
    """A page of one block."""
    held = tuple(line(at) if isinstance(at, str) else at for at in lines)
    fields = {"file": "scan.pdf", "number": 1, "width": 600, "height": 400, "sha256": "0" * 64}
    fields |= {"blocks": (Block(held),) if held else (), "source": "model", "model": "mini"}
    return PageText(**(fields | changes))


def read_fake(source: Any) -> PageText:
    """Read a fake page: its name and number."""
    where = {"file": source.file, "number": source.number, "sha256": source.sha256}
    if source.damaged:
        return page(**where, source="failed", error="is cut off")
    return page(f"{source.file} page {source.number}", **where)
