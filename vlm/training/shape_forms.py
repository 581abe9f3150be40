"""The shapes a picture may hold: their edges, and how one is drawn so that its outline is smooth."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from vlm.training.page import Color

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


@dataclass(frozen=True)
class _Form:
    """How a kind of shape is drawn: its edge, and how far it may be turned without losing its name."""

    edge: Callable[[random.Random], list[Point]]
    turn: float  # degrees either way
    hollow: bool = True  # may be drawn as an outline


@dataclass(frozen=True)
class Shape:
    """A shape as it was drawn."""

    kind: str
    color: str
    box: Box
    area: float  # inked pixels

    @property
    def name(self) -> str:
        """Colour and kind, as one calls it."""
        return f"{self.color} {self.kind}"

    @property
    def middle(self) -> Point:
        """Centre of its box."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


def _round(aspect: Callable[[random.Random], float]) -> Callable[[random.Random], list[Point]]:
    def edge(rng: random.Random) -> list[Point]:
        tall = aspect(rng)
        return [(math.cos(a), math.sin(a) * tall) for a in np.linspace(0, math.tau, 72, endpoint=False)]

    return edge


def _regular(corners: int, start: float, dent: Callable[[random.Random], float] | None = None) -> Callable[
    [random.Random], list[Point]
]:  # fmt: skip
    """Corners on a circle; with ``dent`` every second one is nearer the middle, as in a star."""

    def edge(rng: random.Random) -> list[Point]:
        radii = (1.0,) if dent is None else (1.0, dent(rng))
        count = corners * len(radii)
        angles = [math.radians(start) + math.tau * i / count for i in range(count)]
        return [(radii[i % len(radii)] * math.cos(a), radii[i % len(radii)] * math.sin(a))
                for i, a in enumerate(angles)]  # fmt: skip

    return edge


def _rectangle(rng: random.Random) -> list[Point]:
    long = rng.uniform(0.25, 0.36)  # no square, however its picture is stretched to the encoder's square
    x, y = (1.0, long) if rng.random() < 0.6 else (long, 1.0)
    return [(-x, -y), (x, -y), (x, y), (-x, y)]


def _square(rng: random.Random) -> list[Point]:
    return [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]


def _triangle(rng: random.Random) -> list[Point]:
    tall = rng.uniform(1.5, 2.1)
    return [(0.0, -tall / 2), (1.0, tall / 2), (-1.0, tall / 2)]


def _diamond(rng: random.Random) -> list[Point]:
    wide = rng.uniform(0.62, 1.0)
    return [(0.0, -1.0), (wide, 0.0), (0.0, 1.0), (-wide, 0.0)]


def _cross(rng: random.Random) -> list[Point]:
    a = rng.uniform(0.22, 0.38)
    quarter = [(a, -1.0), (a, -a), (1.0, -a), (1.0, a), (a, a), (a, 1.0)]
    return quarter + [(-x, -y) for x, y in quarter]


def _heart(rng: random.Random) -> list[Point]:
    angles = np.linspace(0, math.tau, 72, endpoint=False)
    return [(16 * math.sin(a) ** 3,
             -(13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)))
            for a in angles]  # fmt: skip


def _arrow(rng: random.Random) -> list[Point]:
    shaft, head = rng.uniform(0.2, 0.35), rng.uniform(-0.1, 0.3)
    upper = [(-1.0, -shaft), (head, -shaft), (head, -0.75)]
    return _turned([*upper, (1.0, 0.0), *((x, -y) for x, y in reversed(upper))], 90 * rng.randrange(4))


def _moon(rng: random.Random) -> list[Point]:
    outer = [(math.cos(a), math.sin(a)) for a in np.linspace(0.9, math.tau - 0.9, 48)]
    tip = outer[0]
    center = rng.uniform(0.45, 0.6)  # of the circle that cuts the inside away
    radius = math.hypot(tip[0] - center, tip[1])
    end = math.atan2(tip[1], tip[0] - center)
    return outer + [(center + radius * math.cos(a), radius * math.sin(a))
                    for a in np.linspace(math.tau - end, end, 32)]  # fmt: skip


FORMS: dict[str, _Form] = {
    "circle": _Form(_round(lambda rng: 1.0), 0),
    "ellipse": _Form(_round(lambda rng: rng.uniform(0.28, 0.4)), 90),
    "ring": _Form(_round(lambda rng: 1.0), 0, hollow=False),
    "square": _Form(_square, 9),
    "rectangle": _Form(_rectangle, 9),
    "triangle": _Form(_triangle, 14),
    "diamond": _Form(_diamond, 4),
    "star": _Form(_regular(5, -90, lambda rng: rng.uniform(0.38, 0.5)), 36),
    "hexagon": _Form(_regular(6, 0), 30),
    "cross": _Form(_cross, 9),
    "heart": _Form(_heart, 14, hollow=False),
    "arrow": _Form(_arrow, 9),
    "moon": _Form(_moon, 180, hollow=False),
}


def _turned(points: Sequence[Point], degrees: float) -> list[Point]:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [(x * cos - y * sin, x * sin + y * cos) for x, y in points]


def _fitted(points: Sequence[Point], radius: float) -> list[Point]:
    """Moved and scaled so that the longer side spans ``[-radius, radius]`` around 0."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    scale = 2 * radius / max(max(xs) - min(xs), max(ys) - min(ys))
    middle_x, middle_y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    return [((x - middle_x) * scale, (y - middle_y) * scale) for x, y in points]


def draw(rng: random.Random, image: Image.Image, name: tuple[str, str], shade: Color, place: Box) -> Shape:
    """Draw one shape, named by colour and kind, into its square; antialiased by drawing larger."""
    color, kind = name
    form = FORMS[kind]
    radius = (place[2] - place[0]) / 2
    points = _fitted(_turned(form.edge(rng), rng.uniform(-form.turn, form.turn)), radius)
    finer = 4 if radius < 60 else 2
    left, top = math.floor(place[0]), math.floor(place[1])
    size = math.ceil(2 * radius) + 2
    shift_x, shift_y = place[0] + radius - left, place[1] + radius - top
    corners = [((x + shift_x) * finer, (y + shift_y) * finer) for x, y in points]
    filled = Image.new("L", (size * finer, size * finer))
    pen = ImageDraw.Draw(filled)
    pen.polygon(corners, fill=255)
    if kind == "ring":
        inner = rng.uniform(0.5, 0.68)
        hole = [((x * inner + shift_x) * finer, (y * inner + shift_y) * finer) for x, y in points]
        pen.polygon(hole, fill=0)
    style = rng.random() if form.hollow and radius >= 14 else 0.0
    if style > 0.82:
        thinnest = max(2.0, 0.012 * max(image.size))  # so that the encoder still sees its colour
        filled = _edge(filled, corners, max(thinnest, radius * rng.uniform(0.08, 0.14)) * finer)
    image.paste(shade, (left, top), filled.reduce(finer))
    if 0.65 < style <= 0.82:  # so thin that it does not change what colour the shape is said to have
        rim = _edge(filled, corners, max(1.0, radius * 0.04) * finer)
        image.paste(_rim(rng, shade), (left, top), rim.reduce(finer))
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    middle_x, middle_y = place[0] + radius, place[1] + radius
    box = (middle_x + min(xs), middle_y + min(ys), middle_x + max(xs), middle_y + max(ys))
    return Shape(kind, color, box, float(np.count_nonzero(np.asarray(filled))) / finer**2)


def _edge(filled: Image.Image, corners: list[Point], width: float) -> Image.Image:
    """The rim of a filled shape, inside its edge."""
    rim = Image.new("L", filled.size)
    ImageDraw.Draw(rim).line([*corners, *corners[:2]], fill=255, width=round(2 * width), joint="curve")
    inside = Image.new("L", filled.size)
    inside.paste(rim, (0, 0), filled)
    return inside


def _rim(rng: random.Random, shade: Color) -> Color:
    if rng.random() < 0.5:
        return 20, 20, 20
    return shade[0] * 3 // 5, shade[1] * 3 // 5, shade[2] * 3 // 5
