"""Text on a drawn chart: put where it belongs, and read back in the order a person would."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw

from vlm.training.chart_data import Place, Room
from vlm.training.page import Color, Glyph

Anchor = Literal["l", "m", "r"]  # which part of the text stands at the given x


@dataclass(frozen=True)
class _Text:
    text: str
    place: Place | None
    left: float
    long: float
    middle: float
    scale: float


class Lettering:
    """An image and the texts put on it."""

    def __init__(self, image: Image.Image, space: Room, halo: Color) -> None:
        self.image = image
        self.space = space
        self.halo = halo  # keeps text off lines that pass behind it
        self.texts: list[_Text] = []
        self.clear = True  # no text has met another or the border
        self._boxes: list[tuple[float, float, float, float]] = []

    def put(
        self, text: str, at: tuple[float, float, Anchor], fill: Color, place: Place | None = None,
        scale: float = 1.0, halo: bool = False,
    ) -> None:  # fmt: skip
        """Draw a text with its middle at the height given."""
        x, middle, anchor = at
        font = self.space.sized(scale)
        long = font.getlength(text)
        left = x - {"l": 0.0, "m": 0.5, "r": 1.0}[anchor] * long
        tall = 0.5 * self.space.em * scale
        self._claim((left, middle - tall, left + long, middle + tall))
        ImageDraw.Draw(self.image).text(
            (left, middle), text, font=font, fill=fill, anchor="lm",
            stroke_width=round(self.space.em / 9) if halo else 0, stroke_fill=self.halo,
        )  # fmt: skip
        self.texts.append(_Text(text, place, left, long, middle, scale))

    def _claim(self, box: tuple[float, float, float, float]) -> None:
        inside = box[0] >= 0 and box[1] >= 0 and box[2] <= self.image.width and box[3] <= self.image.height
        met = any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in self._boxes)
        self.clear = self.clear and inside and not met
        self._boxes.append(box)

    def read(self) -> tuple[tuple[str, ...], tuple[Glyph, ...], dict[Place, tuple[int | None, ...]]]:
        """Lines from the top, each from the left; their glyphs; and the glyphs of each placed text."""
        rows: list[list[_Text]] = []
        for text in sorted(self.texts, key=lambda t: (t.middle, t.left)):
            if rows and text.middle - rows[-1][0].middle < 0.45 * self.space.em:
                rows[-1].append(text)
            else:
                rows.append([text])
        lines: list[str] = []
        glyphs: list[Glyph] = []
        where: dict[Place, tuple[int | None, ...]] = {}
        for row in rows:
            row.sort(key=lambda t: t.left)
            lines.append(" ".join(text.text for text in row))
            for index, text in enumerate(row):
                letters = self._glyphs(text)
                if index:
                    before = glyphs[-1]
                    glyphs.append(Glyph(" ", (before.x + letters[0].x) / 2, before.y))
                if text.place is not None:
                    where[text.place] = tuple(range(len(glyphs), len(glyphs) + len(letters)))
                glyphs.extend(letters)
        return tuple(lines), tuple(glyphs), where

    def _glyphs(self, text: _Text) -> list[Glyph]:
        """Centre of each character: the width as it was set, shared out by the characters' own."""
        ascent, descent = self.space.sized(text.scale).getmetrics()
        y = text.middle - (ascent + descent) / 2 + ascent * 0.62
        widths = [self.space.measure(char) for char in text.text]
        ratio = text.long / sum(widths)
        ends = [text.left + ratio * end for end in itertools.accumulate(widths, initial=0.0)]
        pairs = itertools.pairwise(ends)
        return [Glyph(char, (a + b) / 2, y) for char, (a, b) in zip(text.text, pairs, strict=True)]
