"""Wear: what paper, light, lens and compression do to a page before a model sees it.

Everything that moves ink is gathered in one map, so that glyphs follow it exactly and pixels are
resampled once. Everything that softens or drowns ink is measured against the size and the contrast
of the text, so that what could be read before can be read after.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from vlm.training.page import Glyph, Mark, Page

_PlacedT = TypeVar("_PlacedT", Glyph, Mark)

Floats = npt.NDArray[np.float32]
Array = npt.NDArray[np.floating[Any]]
Points = npt.NDArray[np.floating[Any]]  # [N, 2], x and y in pixels, pixel centres at halves

LARGEST_TURN = 6.0  # degrees
LEAST_SCALE = 0.86  # of a page that is turned or seen at an angle
LEAST_CONTRAST = 60.0  # grey levels between ink and ground, where there were as many


def degrade(page: Page, rng: random.Random, strength: float = 1.0) -> Page:
    """Wear a page: a random few of the ways in which pictures of documents are bad.

    Args:
        page: a clean page.
        rng: the only source of chance.
        strength: of every effect; 0 leaves the page as it is.

    Returns:
        A page of the same size, lines and facts; its glyphs lie where their ink went.
    """
    if strength <= 0:
        return page
    wear = _Wear(rng, np.random.default_rng(rng.getrandbits(64)), strength)
    image, glyphs, marks = page.image.convert("RGB"), page.glyphs, page.marks
    ground, contrast = _ground(image), _contrast(image)
    if wear.happens(0.2):
        image = _fade(image, ground, wear)
        contrast *= 0.8
    if wear.happens(0.55):
        bend = _random_bend(image.size, wear)
        image = _moved(image, bend, ground, wear)
        glyphs, marks = _followed(glyphs, bend), _followed(marks, bend)
    image = _soften(image, _em(glyphs, image), wear)
    image = _relight(image, contrast, wear)
    if wear.happens(0.5):
        image = _compress(image, round(90 - min(1.0, wear.strength) * 70 * wear.unit()))
    return replace(page, image=image, glyphs=glyphs, marks=marks)


@dataclass(frozen=True)
class _Wear:
    """Chance and strength, handed from effect to effect."""

    rng: random.Random
    noise: np.random.Generator
    strength: float

    def happens(self, share: float) -> bool:
        return self.rng.random() < share

    def unit(self) -> float:
        return self.rng.random()

    def some(self, most: float) -> float:
        """An amount from a quarter of ``most`` up to it, scaled by the strength."""
        return most * self.strength * self.rng.uniform(0.25, 1.0)

    def either(self, most: float) -> float:
        """``some``, up or down."""
        return self.some(most) * self.rng.choice((-1, 1))

    def cloud(self, size: tuple[int, int], cells: tuple[int, int]) -> Floats:
        """A smooth random field in 0 to 1, [height, width]; ``cells`` across and down."""
        coarse = self.noise.random((cells[1] + 1, cells[0] + 1), dtype=np.float32)
        return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR))


def _ground(image: Image.Image) -> tuple[int, int, int]:
    """Colour of the paper: the middle one along the edge."""
    pixels = np.asarray(image)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = np.median(edge, axis=0).astype(int).tolist()
    return red, green, blue


def _contrast(image: Image.Image) -> float:
    """Grey levels between dark and light, without the rarest 1 % at either end."""
    counts = np.cumsum(image.convert("L").histogram())
    low, high = np.searchsorted(counts, (0.01 * counts[-1], 0.99 * counts[-1]))
    return float(high - low)


def _em(glyphs: Sequence[Glyph], image: Image.Image) -> float:
    """Size of the text in pixels, from the distance of neighbouring characters."""
    pairs = pairwise(glyphs)
    steps = [math.hypot(b.x - a.x, b.y - a.y) for a, b in pairs]
    return 2 * median(steps) if len(steps) >= 3 else min(image.size) / 16


# Where ink goes


@dataclass(frozen=True)
class _Bend:
    """Paper that waves and curls along one axis, then is seen at an angle."""

    size: tuple[int, int]  # of the image, width and height
    axis: int  # along which it waves: 0 across, 1 down
    wave: float  # pixels to either side
    waves: float  # in the length of the page
    phase: float
    curl: float  # share of the length; below 1 / 2 pi, so that paper does not fold
    view: Array  # [3, 3], flat paper to picture

    def to_picture(self, points: Points) -> Points:
        """Where points of the page come to lie."""
        along, aside = points[:, self.axis], points[:, 1 - self.axis]
        length = self.size[self.axis]
        table = np.linspace(-0.25, 1.25, 769) * length
        flat = np.empty_like(points)
        flat[:, self.axis] = np.interp(along, self._curled(table), table)
        flat[:, 1 - self.axis] = aside - self._waved(flat[:, self.axis])
        return _projected(self.view, flat)

    def to_page(self, points: Points) -> Points:
        """Which points of the page are seen at points of the picture."""
        flat = _projected(np.linalg.inv(self.view), points)
        page = np.empty_like(flat)
        along = flat[:, self.axis]
        page[:, self.axis] = self._curled(along)
        page[:, 1 - self.axis] = flat[:, 1 - self.axis] + self._waved(along)
        return page

    def _curled(self, along: Array) -> Array:
        length = self.size[self.axis]
        return along + self.curl * length * np.sin(2 * np.pi * along / length) / 2

    def _waved(self, along: Array) -> Array:
        return self.wave * np.sin(2 * np.pi * (self.waves * along / self.size[self.axis] + self.phase))


def _projected(view: Array, points: Points) -> Points:
    homogeneous = points @ view[:, :2].T + view[:, 2]
    return homogeneous[:, :2] / homogeneous[:, 2:]


def _random_bend(size: tuple[int, int], wear: _Wear) -> _Bend:
    width, height = size
    bent = wear.happens(0.4)
    wave = wear.some(0.014) * min(size) if bent else 0.0
    turn = math.radians(max(-LARGEST_TURN, min(LARGEST_TURN, wear.either(LARGEST_TURN))))
    tilt = wear.some(0.05) if wear.happens(0.6) else 0.0
    pulls = [(wear.unit() * tilt, wear.unit() * tilt) for _ in range(4)]
    margin = wave + wear.some(0.02) * min(size)
    while True:
        corners = _corners(size, turn, pulls)
        low, high = corners.min(axis=0), corners.max(axis=0)
        room = np.array(size, dtype=float) - 2 * margin
        scale = min(1.0, *(room / (high - low)))
        if scale >= LEAST_SCALE or abs(turn) < 1e-3:
            break
        turn, margin = turn * 0.7, margin * 0.7
        pulls = [(x * 0.7, y * 0.7) for x, y in pulls]
    slack = room - (high - low) * scale
    placed = (corners - low) * scale + margin + slack * (wear.unit(), wear.unit())
    return _Bend(
        size=size,
        axis=wear.rng.randrange(2),
        wave=wave,
        waves=wear.rng.uniform(0.3, 1.1),
        phase=wear.unit(),
        curl=wear.either(0.03) if bent else 0.0,
        view=_view(np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=float), placed),
    )


def _corners(size: tuple[int, int], turn: float, pulls: list[tuple[float, float]]) -> Points:
    """Corners of the turned page, each pulled inwards by shares of the sides."""
    half = np.array(size) / 2
    signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=float)
    square = signs * half * (1 - 2 * np.array(pulls))
    cos, sin = math.cos(turn), math.sin(turn)
    return square @ np.array([(cos, sin), (-sin, cos)])


def _view(before: Points, after: Points) -> Array:
    """The homography that takes four points to four others."""
    rows = []
    for (x, y), (u, v) in zip(before, after, strict=True):
        rows += [(x, y, 1, 0, 0, 0, -u * x, -u * y), (0, 0, 0, x, y, 1, -v * x, -v * y)]
    solved = np.linalg.solve(np.array(rows), after.ravel())
    return np.append(solved, 1.0).reshape(3, 3)


def _moved(image: Image.Image, bend: _Bend, ground: tuple[int, int, int], wear: _Wear) -> Image.Image:
    """The page as bent, on more of its own ground as from a scanner, or on a table."""
    counts = [6, 6]
    if bend.wave:
        counts[bend.axis] = 20
    columns, rows = (
        np.linspace(0, length, count + 1).round().astype(int)
        for length, count in zip(bend.size, counts, strict=True)
    )
    nodes = np.stack(np.meshgrid(columns, rows), axis=-1)  # [rows, columns, 2]
    seen = bend.to_page(nodes.reshape(-1, 2).astype(float)).reshape(nodes.shape)
    mesh = []
    for j in range(len(rows) - 1):
        for i in range(len(columns) - 1):
            box = (int(columns[i]), int(rows[j]), int(columns[i + 1]), int(rows[j + 1]))
            around = (seen[j, i], seen[j + 1, i], seen[j + 1, i + 1], seen[j, i + 1])
            mesh.append((box, tuple(float(value) for point in around for value in point)))
    method, resample = Image.Transform.MESH, Image.Resampling.BILINEAR
    paper = image.transform(image.size, method, mesh, resample, fillcolor=ground)
    if wear.happens(0.5):
        return paper
    return _on_table(paper, bend, wear)


def _on_table(paper: Image.Image, bend: _Bend, wear: _Wear) -> Image.Image:
    """Lay the bent page on a table, with its shadow."""
    width, height = bend.size
    steps = np.linspace(0, 1, 25)[:-1, None]
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=float)
    edge = np.concatenate(
        [a + (b - a) * steps for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)]
    )
    outline = bend.to_picture(edge)
    mask = Image.new("L", paper.size)
    ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in outline], fill=255)
    table = _table(paper.size, wear)
    if wear.happens(0.7):
        reach = max(1.0, wear.some(0.03) * min(paper.size))
        shift = np.array([wear.either(1.0), wear.either(1.0)]) * reach
        shadow = Image.new("L", paper.size)
        dropped = [(float(x), float(y)) for x, y in outline + shift]
        ImageDraw.Draw(shadow).polygon(dropped, fill=round(255 * wear.rng.uniform(0.2, 0.6)))
        table.paste((0, 0, 0), mask=shadow.filter(ImageFilter.BoxBlur(reach)))
    table.paste(paper, mask=mask)
    return table


def _table(size: tuple[int, int], wear: _Wear) -> Image.Image:
    """Wood, cloth or stone: a colour with a grain."""
    rng = wear.rng
    across, down = rng.choice(((3, 60), (60, 3), (12, 12), (70, 70)))
    grain = wear.cloud(size, (across, down)) * wear.cloud(size, (3, 3)) - 0.25
    color = np.array(
        rng.choice(
            (
                (150 + rng.randint(-40, 40), 110 + rng.randint(-30, 20), 75 + rng.randint(-30, 20)),
                (rng.randint(30, 200),) * 3,
                (rng.randint(20, 220), rng.randint(20, 220), rng.randint(20, 220)),
            )
        ),
        dtype=np.float32,
    )
    return _image(color + grain[:, :, None] * np.float32(rng.uniform(10, 90)))


def _followed(placed: tuple[_PlacedT, ...], bend: _Bend) -> tuple[_PlacedT, ...]:
    if not placed:
        return placed
    places = bend.to_picture(np.array([(one.x, one.y) for one in placed]))
    return tuple(replace(one, x=x, y=y) for one, (x, y) in zip(placed, places.tolist(), strict=True))


# What becomes of it


def _image(pixels: Array) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _fade(image: Image.Image, ground: tuple[int, int, int], wear: _Wear) -> Image.Image:
    """Ink that loses colour in patches or in stripes, as thermal paper and dry ribbons do."""
    cells = wear.rng.choice(((1, 1), (4, 4), (30, 1), (1, 12)))
    kept = 1 - wear.some(0.5) * wear.cloud(image.size, cells)[:, :, None]
    paper = np.array(ground, dtype=np.float32)
    return _image(paper + (np.asarray(image, dtype=np.float32) - paper) * kept)


def _soften(image: Image.Image, em: float, wear: _Wear) -> Image.Image:
    """At most one of: out of focus, shaken, scanned too small."""
    kind = wear.rng.choices(("sharp", "blur", "shake", "small"), (35, 30, 15, 20))[0]
    if kind == "blur":
        return image.filter(ImageFilter.GaussianBlur(wear.some(0.055) * em))
    if kind == "shake":
        return _shaken(image, wear.some(0.16) * em, wear.unit() * math.pi)
    if kind == "small":
        least = min(1.0, max(0.45, 9.5 / em))
        share = 1 - (1 - least) * min(1.0, wear.some(1.0))
        smaller = (max(1, round(image.width * share)), max(1, round(image.height * share)))
        down, up = wear.rng.choice(((Image.Resampling.BOX, Image.Resampling.BILINEAR),
                                    (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)))  # fmt: skip
        return image.resize(smaller, down).resize(image.size, up)
    return image


def _shaken(image: Image.Image, length: float, angle: float) -> Image.Image:
    """The mean of the image along a stroke of ``length`` pixels, centred."""
    reach = length / 2
    count = max(1, math.ceil(reach))
    border = count + 1
    padded = np.pad(np.asarray(image), ((border, border), (border, border), (0, 0)), mode="edge")
    offsets = [step / count * reach for step in range(-count, count + 1)]
    summed = np.zeros((image.height, image.width, 3), dtype=np.float32)
    for offset in offsets:
        top = border + round(offset * math.sin(angle))
        left = border + round(offset * math.cos(angle))
        summed += padded[top : top + image.height, left : left + image.width]
    return _image(summed / len(offsets))


def _relight(image: Image.Image, contrast: float, wear: _Wear) -> Image.Image:
    """Light, lens and sensor, in one pass over the pixels."""
    pixels = np.asarray(image, dtype=np.float32)
    if wear.happens(0.5):
        pixels = pixels * _light(image.size, wear)[:, :, None]
    if wear.happens(0.3):
        cast = [1 + wear.either(0.14) for _ in range(3)]
        pixels = pixels * np.array(cast, dtype=np.float32)
    kept = 1.0
    if wear.happens(0.3):
        kept = min(1.0, max(1 - wear.some(0.6), LEAST_CONTRAST / max(contrast, 1.0)))
        level = np.float32(wear.rng.uniform(60, 225))
        pixels = level + (pixels - level) * np.float32(kept)
    if wear.happens(0.5):
        pixels = pixels + _noise(pixels, wear.some(0.1) * min(contrast * kept, 140.0), wear)
    return _image(pixels)


def _light(size: tuple[int, int], wear: _Wear) -> Floats:
    """Brightness [height, width]: a slope, a spot, or the edge of a shadow."""
    # Light has no detail: drawn at a quarter of the size.
    width, height = max(2, size[0] // 4), max(2, size[1] // 4)
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    angle = wear.unit() * 2 * math.pi
    slope = across * np.float32(math.cos(angle)) + down * np.float32(math.sin(angle))
    kind = wear.rng.choice(("slope", "spot", "shadow", "shadow"))
    light: Array
    if kind == "slope":
        light = 1 - np.float32(wear.some(0.3)) * (slope + 1) / 2
    elif kind == "spot":
        far = (across - wear.rng.uniform(-1, 1)) ** 2 + (down - wear.rng.uniform(-1, 1)) ** 2
        light = np.float32(1.05) - np.float32(wear.some(0.12)) * far
    else:
        softness = wear.rng.choice((0.02, 0.08, 0.3))
        inside = np.clip((slope - wear.rng.uniform(-0.7, 0.7)) / softness, -6, 6)
        light = 1 - np.float32(wear.some(0.45)) / (1 + np.exp(-inside))
    light = np.maximum(light, np.float32(0.5)).astype(np.float32)
    return np.asarray(Image.fromarray(light).resize(size, Image.Resampling.BILINEAR))


def _noise(pixels: Floats, sigma: float, wear: _Wear) -> Floats:
    """Grain to add: the sensor's, grey or coloured; speckle, stronger where it is light; or specks."""
    height, width, _ = pixels.shape
    kind = wear.rng.choice(("grey", "grey", "colour", "speckle", "specks"))
    if kind == "specks":
        grain = np.zeros((height, width, 1), dtype=np.float32)
        count = round(wear.some(0.0012) * height * width)
        at = wear.noise.integers(0, height * width, count)
        grain.reshape(-1)[at] = wear.noise.uniform(-160, 160, count)
        return grain
    channels = 3 if kind == "colour" else 1
    grain = wear.noise.standard_normal((height, width, channels), dtype=np.float32) * np.float32(sigma)
    return grain * pixels / np.float32(160) if kind == "speckle" else grain


def _compress(image: Image.Image, quality: int) -> Image.Image:
    """Once through a JPEG file, colour at half the detail as most cameras store it."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=max(20, min(90, quality)))
    return Image.open(file).convert("RGB")
