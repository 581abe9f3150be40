"""Pages of text lines with exact truth: what stands there, and where each character is.

The truth is exact because the page is drawn from it. Positions are in pixels of the finished
image, after its stretch to the encoder's square.
"""

from __future__ import annotations

import functools
import itertools
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vlm.training.fonts import Split, find_fonts
from vlm.training.page import Color, Glyph, Page
from vlm.training.text import TextSampler


@dataclass(frozen=True)
class PageStyle:
    """What a page may look like; the training stages widen it step by step."""

    letter_px: tuple[float, float] = (15.0, 40.0)  # em width on the finished image
    lines: tuple[int, int] = (1, 12)
    tall: float = 0.15  # share of pages stretched up to 4 times in height, as windows of a strip are
    squeeze: float = 0.5  # share of the others stretched or squeezed a little
    noise: float = 0.3  # share of pages with noise, uneven ground or blur


@functools.cache
def _families(split: Split) -> tuple[tuple[Path, ...], ...]:
    """Font files grouped by folder and first word, so that large families are not drawn more often."""

    def key(path: Path) -> str:
        return path.stem.replace("_", "-").split("-")[0][:9]

    files = sorted(find_fonts(split), key=key)
    return tuple(tuple(group) for _, group in itertools.groupby(files, key))


@functools.lru_cache(maxsize=4096)
def _font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    # Basic layout: the shaping engine may join letters ("Does" as "Dœs"), which the truth would not say.
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


class PageSampler:
    """Endless pages of one split.

    Args:
        split: whose fonts and words.
        seed: same seed, same pages.
    """

    def __init__(self, split: Split, seed: int) -> None:
        self.rng = random.Random(seed)
        self.noise_rng = np.random.default_rng(seed)
        self.text = TextSampler(split, self.rng)
        self.families = _families(split)

    def page(self, style: PageStyle, width: int, height: int) -> Page:
        """Draw one page: lines from the top down, as many as drawn and as fit.

        Args:
            style: what it may look like.
            width: of the finished image in pixels; the page is drawn at another scale and stretched.
            height: likewise.
        """
        rng = self.rng
        em_x, em_y = self._em(style)
        size = max(8, round((em_x * em_y) ** 0.5 * rng.uniform(0.8, 1.5)))
        drawn_width, drawn_height = round(width * size / em_x), round(height * size / em_y)
        ground, ink = self._colors()
        image = Image.new("RGB", (drawn_width, drawn_height), ground)
        draw = ImageDraw.Draw(image)
        font = self._random_font(size)
        one_font = rng.random() < 0.5
        wanted = rng.randint(*style.lines)
        pitch = size * rng.uniform(1.15, 1.9)
        room = max(0.0, drawn_height - wanted * pitch)
        top = rng.uniform(0, min(1.0, 0.05 + rng.random()) * room)
        lines: list[str] = []
        glyphs: list[Glyph] = []
        while len(lines) < wanted:
            if not one_font:
                font = self._random_font(size)
            if lines and top + sum(font.getmetrics()) > drawn_height:
                break
            left = rng.uniform(0.01, 0.3 if rng.random() < 0.5 else 0.06) * drawn_width
            text = self._fitting_text(font, drawn_width - left - 2)
            if text:
                draw.text((left, top), text, font=font, fill=ink)
                lines.append(text)
                glyphs.extend(_glyphs(font, text, left, top))
            top += pitch
        if rng.random() < style.noise:
            image = self._degrade(image)
        finished = image.resize((width, height), Image.Resampling.BILINEAR)
        ratio_x, ratio_y = width / drawn_width, height / drawn_height
        placed = tuple(Glyph(g.char, g.x * ratio_x, g.y * ratio_y) for g in glyphs)
        return Page(finished, tuple(lines), placed)

    def _em(self, style: PageStyle) -> tuple[float, float]:
        """Em width and height on the finished image: mostly alike, some stretched."""
        rng = self.rng
        low, high = style.letter_px
        em_x = low * (high / low) ** rng.random()
        if rng.random() < style.tall:
            return em_x, em_x * 1.5 * (4.0 / 1.5) ** rng.random()
        if rng.random() >= style.squeeze:
            return em_x, em_x
        return em_x, max(low, em_x * 0.6 * (1.7 / 0.6) ** rng.random())

    def _random_font(self, size: int) -> ImageFont.FreeTypeFont:
        return _font(self.rng.choice(self.rng.choice(self.families)), size)

    def _fitting_text(self, font: ImageFont.FreeTypeFont, room: float) -> str:
        """Strings joined by spaces, as many whole words as the room holds."""
        target = room * self.rng.uniform(0.3, 1.0)
        text = self.text.string()
        while font.getlength(text) < target and len(text) < 60:
            text += " " + self.text.string()
        while text and font.getlength(text) > room:
            shorter, _, _ = text.rpartition(" ")
            text = shorter or text[:-1]
        return text.strip()

    def _colors(self) -> tuple[Color, Color]:
        """Ground and ink at least 90 grey levels apart; dark on light four times in five."""
        rng = self.rng
        if rng.random() < 0.5:
            light, dark = (rng.randint(225, 255),) * 3, (rng.randint(0, 60),) * 3
        else:
            light = (rng.randint(170, 255), rng.randint(170, 255), rng.randint(170, 255))
            most = min(110, min(light) - 90)
            dark = (rng.randint(0, most), rng.randint(0, most), rng.randint(0, most))
        return (light, dark) if rng.random() < 0.8 else (dark, light)

    def _degrade(self, image: Image.Image) -> Image.Image:
        rng = self.rng
        pixels = np.asarray(image).astype(np.float64)
        if rng.random() < 0.5:
            pixels = pixels + self.noise_rng.normal(0, rng.uniform(2, 14), pixels.shape)
        if rng.random() < 0.5:
            ramp = np.linspace(-1, 1, pixels.shape[1]) * rng.uniform(-25, 25)
            pixels = pixels + ramp[None, :, None]
        degraded = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        if rng.random() < 0.4:
            smaller = rng.uniform(0.7, 1.0)
            size = (round(image.width * smaller), round(image.height * smaller))
            degraded = degraded.resize(size, Image.Resampling.BILINEAR)
            degraded = degraded.resize(image.size, Image.Resampling.BILINEAR)
        return degraded


def _glyphs(font: ImageFont.FreeTypeFont, text: str, left: float, top: float) -> list[Glyph]:
    """Centre of each character from the advance widths of the prefixes (kerning included)."""
    ascent, _ = font.getmetrics()
    middle = top + ascent * 0.62
    ends = [font.getlength(text[:i]) for i in range(len(text) + 1)]
    return [Glyph(char, left + (a + b) / 2, middle) for char, a, b in zip(text, ends, ends[1:], strict=False)]
