"""Charts drawn with Pillow: one style for training, another for validation."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

from vlm.training.chart_data import Room, Series
from vlm.training.chart_lettering import Anchor, Lettering
from vlm.training.fonts import Split
from vlm.training.hues import distance, from_hsv
from vlm.training.page import Color

_FINER = 3  # lines and slices are drawn so many times larger


@dataclass(frozen=True)
class _Look:
    ground: Color
    ink: Color
    grid: Color | None
    fills: tuple[Color, ...]  # one an entry
    share: float  # of a slot that its bar fills
    rim: bool  # bars are pale with a dark rim
    frame: str  # none, corner or box
    axis: bool  # ticks are printed
    values_inside: bool
    legend: bool  # of a pie


@dataclass(frozen=True)
class _Plot:
    """Where values lie: pixels of the area between the axes."""

    left: float
    top: float
    right: float
    bottom: float


def drawn(rng: random.Random, space: Room, shown: Series, split: Split) -> Lettering:
    """Draw a chart; the lettering says whether all its texts found room."""
    look = _look(rng, shown, split)
    image = Image.new("RGB", (space.width, space.height), look.ground)
    letters = Lettering(image, space, look.ground)
    top = 0.5 * space.em
    if shown.title:
        scale = rng.uniform(1.0, 1.25)
        x: tuple[float, Anchor] = (space.width / 2, "m") if rng.random() < 0.7 else (0.6 * space.em, "l")
        letters.put(shown.title, (x[0], top + 0.6 * scale * space.em, x[1]), look.ink, ("title", 0), scale)
        top += (scale + 0.5) * space.em
    if shown.round:
        _pie(rng, letters, shown, look, top)
    elif shown.kind == "bars":
        _bars(letters, shown, look, top)
    else:
        _upright(rng, letters, shown, look, top)
    return letters


def _look(rng: random.Random, shown: Series, split: Split) -> _Look:
    validation = split == "validation"
    dark = rng.random() < 0.2
    ground = (255, 255, 255) if rng.random() < 0.5 and not validation else from_hsv(
        rng.uniform(0, 360), rng.uniform(0, 0.12), rng.uniform(0.92, 1.0))  # fmt: skip
    ink = rng.choice(((0, 0, 0), (40, 40, 40), (60, 60, 70), (30, 40, 80)))
    if dark:
        ground = from_hsv(rng.uniform(0, 360), rng.uniform(0, 0.5), rng.uniform(0.06, 0.2))
        ink = (235, 235, 235)
    faint = tuple(round(g + (i - g) * rng.uniform(0.12, 0.3)) for g, i in zip(ground, ink, strict=True))
    assert len(faint) == 3
    one = not shown.round and (shown.kind == "line" or rng.random() < 0.6)
    return _Look(
        ground, ink, faint if rng.random() < 0.6 else None,
        _fills(rng, 1, ground, validation) * len(shown.labels) if one
        else _fills(rng, len(shown.labels), ground, validation),
        rng.uniform(0.4, 0.9), validation and rng.random() < 0.6,
        rng.choice(("none", "corner", "corner", "box")),
        not shown.printed or rng.random() < 0.6, rng.random() < 0.4, rng.random() < 0.6,
    )  # fmt: skip


def _fills(rng: random.Random, count: int, ground: Color, validation: bool) -> tuple[Color, ...]:
    """Colours that can be told from one another and from the ground."""
    while True:
        start = rng.uniform(0, 360)
        hues = [start + 360 * i / count + rng.uniform(-9, 9) for i in range(count)]
        rng.shuffle(hues)
        low = (0.3, 0.75) if validation else (0.55, 0.5)
        fills = tuple(from_hsv(h, rng.uniform(low[0], low[0] + 0.4), rng.uniform(low[1], 0.95)) for h in hues)
        pairs = [(a, b) for i, a in enumerate(fills) for b in fills[:i]]
        if all(distance(a, b) > 22 for a, b in pairs) and all(distance(f, ground) > 30 for f in fills):
            return fills


def _readable_on(color: Color) -> Color:
    bright = 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2]
    return (0, 0, 0) if bright > 125 else (255, 255, 255)


def _darker(color: Color) -> Color:
    return color[0] // 2, color[1] // 2, color[2] // 2


def _lines(letters: Lettering, look: _Look, plot: _Plot, ticks: list[float], upright: bool) -> None:
    """Grid and frame."""
    pen = ImageDraw.Draw(letters.image)
    thick = max(1, round(letters.space.em / 14))
    for at in ticks if look.grid else ():
        ends = (plot.left, at, plot.right, at) if upright else (at, plot.top, at, plot.bottom)
        pen.line(ends, fill=look.grid, width=thick)
    if look.frame == "box":
        pen.rectangle((plot.left, plot.top, plot.right, plot.bottom), outline=look.ink, width=thick)
    elif look.frame == "corner":
        corner = ((plot.left, plot.top), (plot.left, plot.bottom), (plot.right, plot.bottom))
        pen.line(corner, fill=look.ink, width=thick)
    elif upright:
        pen.line((plot.left, plot.bottom, plot.right, plot.bottom), fill=look.ink, width=thick)
    else:
        pen.line((plot.left, plot.top, plot.left, plot.bottom), fill=look.ink, width=thick)


def _bar(letters: Lettering, look: _Look, fill: Color, box: tuple[float, float, float, float]) -> None:
    pen = ImageDraw.Draw(letters.image)
    left, top, right, bottom = map(round, box)
    if look.rim:
        thick = max(2, round(letters.space.em / 8))
        pen.rounded_rectangle((left, top, right, bottom), thick * 2, fill, _darker(fill), thick)
    else:
        pen.rectangle((left, top, right, bottom), fill=fill)


def _upright(rng: random.Random, letters: Lettering, shown: Series, look: _Look, top: float) -> None:
    """Columns or a line over a horizontal axis."""
    space, em = letters.space, letters.space.em
    left = 0.6 * em
    if look.axis:
        left += max(map(space.measure, shown.ticked)) + 0.4 * em
    headroom = 1.3 * em if shown.printed else 0.5 * em
    plot = _Plot(left, top + headroom, space.width - 0.6 * em, space.height - 2.0 * em)
    per_unit = (plot.bottom - plot.top) / shown.span
    heights = [plot.bottom - tick * per_unit for tick in shown.ticks]
    _lines(letters, look, plot, heights, upright=True)
    for at, text in zip(heights, shown.ticked, strict=True) if look.axis else ():
        letters.put(text, (left - 0.4 * em, at, "r"), look.ink)
    slot = (plot.right - plot.left) / len(shown.labels)
    points = [(plot.left + (i + 0.5) * slot, plot.bottom - v * per_unit) for i, v in enumerate(shown.values)]
    for index, (x, _) in enumerate(points):
        letters.put(shown.labels[index], (x, plot.bottom + 0.95 * em, "m"), look.ink, ("label", index))
    if shown.kind == "line":
        _curve(rng, letters, look, points, plot)
    else:
        for fill, (x, y) in zip(look.fills, points, strict=True):
            half = slot * look.share / 2
            _bar(letters, look, fill, (x - half, y, x + half, plot.bottom))
    for index, (x, y) in enumerate(points) if shown.printed else ():
        text = shown.said[index]
        room_inside = plot.bottom - y > 1.6 * em and space.measure(text) < slot * look.share
        if shown.kind == "line":
            around = [points[i][1] for i in (index - 1, index + 1) if 0 <= i < len(points)]
            under = sum(around) / len(around) < y and y + 1.5 * em < plot.bottom
            letters.put(
                text, (x, y + (0.95 if under else -0.95) * em, "m"), look.ink, ("value", index), halo=True
            )
        elif look.values_inside and room_inside:
            ink = _readable_on(look.fills[index])
            letters.put(text, (x, y + 0.85 * em, "m"), ink, ("value", index))
        else:
            letters.put(text, (x, y - 0.7 * em, "m"), look.ink, ("value", index), halo=True)


def _curve(
    rng: random.Random, letters: Lettering, look: _Look, points: list[tuple[float, float]], plot: _Plot
) -> None:
    """A line with a mark at each point."""
    em = letters.space.em
    left, top = int(plot.left), max(0, int(plot.top - em))
    size = (round(plot.right) - left) * _FINER, (round(plot.bottom + em) - top) * _FINER
    mask = Image.new("L", size)
    pen = ImageDraw.Draw(mask)
    finer = [((x - left) * _FINER, (y - top) * _FINER) for x, y in points]
    pen.line(finer, fill=255, width=round(rng.uniform(0.1, 0.22) * em * _FINER), joint="curve")
    radius = rng.uniform(0.2, 0.32) * em * _FINER
    for x, y in finer:
        mark = (x - radius, y - radius, x + radius, y + radius)
        (pen.rectangle if look.rim else pen.ellipse)(mark, fill=255)
    letters.image.paste(look.fills[0], (left, top), mask.reduce(_FINER))


def _bars(letters: Lettering, shown: Series, look: _Look, top: float) -> None:
    """Bars that lie, their labels to the left."""
    space, em = letters.space, letters.space.em
    left = max(map(space.measure, shown.labels)) + 1.1 * em
    beyond = max(map(space.measure, shown.said)) + 0.9 * em if shown.printed else 0.6 * em
    if look.axis:
        beyond = max(beyond, space.measure(shown.ticked[-1]) / 2 + 0.2 * em)
    plot = _Plot(left, top + 0.2 * em, space.width - beyond, space.height - (2.0 if look.axis else 0.6) * em)
    per_unit = (plot.right - plot.left) / shown.span
    ats = [plot.left + tick * per_unit for tick in shown.ticks]
    _lines(letters, look, plot, ats, upright=False)
    for at, text in zip(ats, shown.ticked, strict=True) if look.axis else ():
        letters.put(text, (at, plot.bottom + 0.95 * em, "m"), look.ink)
    slot = (plot.bottom - plot.top) / len(shown.labels)
    for index, (label, value) in enumerate(zip(shown.labels, shown.values, strict=True)):
        y, half = plot.top + (index + 0.5) * slot, slot * look.share / 2
        end = plot.left + value * per_unit
        _bar(letters, look, look.fills[index], (plot.left, y - half, end, y + half))
        letters.put(label, (left - 0.45 * em, y, "r"), look.ink, ("label", index))
        text = shown.said[index]
        if not shown.printed:
            continue
        if look.values_inside and space.measure(text) + em < end - plot.left and 2 * half > em:
            ink = _readable_on(look.fills[index])
            letters.put(text, (end - 0.4 * em, y, "r"), ink, ("value", index))
        else:
            letters.put(text, (end + 0.4 * em, y, "l"), look.ink, ("value", index), halo=True)


def _pie(rng: random.Random, letters: Lettering, shown: Series, look: _Look, top: float) -> None:
    """Slices with a legend, or with their labels around them."""
    space, em = letters.space, letters.space.em
    widest = max(map(space.measure, shown.labels))
    below = look.legend and space.height > 1.25 * space.width
    middle_x, bottom = space.width / 2, space.height - 0.6 * em
    reach = space.width / 2 - 0.6 * em
    in_legend = shown.printed and not look.values_inside and look.legend
    if below:
        bottom -= 1.45 * em * len(shown.labels)
    elif look.legend:
        wide = widest + 2.2 * em + (max(map(space.measure, shown.said)) + 0.5 * em if in_legend else 0)
        reach = (space.width - wide - 1.2 * em) / 2
        middle_x = 0.6 * em + reach
    else:
        reach -= widest + 0.2 * em
    radius = min(reach, (bottom - top) / 2 - (0 if look.legend else 1.3 * em))
    middle_y = (top + bottom) / 2
    if radius < 2.6 * em:
        letters.clear = False
        return
    middles = _slices(rng, letters, shown, look, (middle_x, middle_y, radius))
    start = bottom + 0.7 * em if below else middle_y - 0.75 * em * (len(shown.labels) - 1)
    for index, (label, angle) in enumerate(zip(shown.labels, middles, strict=True)):
        text, fill = shown.said[index], look.fills[index]
        x, y = math.cos(angle), math.sin(angle)
        if look.legend:
            legend_x = middle_x + reach + 0.8 * em if not below else middle_x - widest / 2 - em
            legend_y = start + 1.45 * em * index if below else start + 1.5 * em * index
            swatch = (legend_x, legend_y - 0.35 * em, legend_x + 0.7 * em, legend_y + 0.35 * em)
            ImageDraw.Draw(letters.image).rectangle(swatch, fill=fill)
            letters.put(label, (legend_x + em, legend_y, "l"), look.ink, ("label", index))
            if in_legend:
                after = legend_x + 1.5 * em + space.measure(label)
                letters.put(text, (after, legend_y, "l"), look.ink, ("value", index), halo=True)
        else:
            side: Anchor = "l" if x > 0.25 else "r" if x < -0.25 else "m"
            at = (middle_x + (radius + 0.35 * em) * x, middle_y + (radius + 0.8 * em) * y, side)
            letters.put(label, at, look.ink, ("label", index))
        if shown.printed and not in_legend:
            inner = 0.8 if shown.kind == "donut" else 0.66
            at = (middle_x + inner * radius * x, middle_y + inner * radius * y, "m")
            letters.put(text, at, _readable_on(fill), ("value", index))


def _slices(
    rng: random.Random, letters: Lettering, shown: Series, look: _Look, circle: tuple[float, float, float]
) -> list[float]:
    """Draw the slices; the angle of the middle of each, clockwise from the right."""
    x, y, radius = circle
    side = 2 * math.ceil(radius) * _FINER
    disc = Image.new("RGB", (side, side), look.ground)
    mask = Image.new("L", (side, side))
    edge = radius * _FINER
    box = (side / 2 - edge, side / 2 - edge, side / 2 + edge, side / 2 + edge)
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    pen = ImageDraw.Draw(disc)
    turn = rng.choice((-90.0, -90.0, rng.uniform(0, 360)))
    way = rng.choice((1, -1))
    gap = round(letters.space.em / 8) * _FINER if rng.random() < 0.6 else 0
    middles, ends = [], []
    for value, fill in zip(shown.values, look.fills, strict=True):
        extent = 360 * value / sum(shown.values) * way
        pen.pieslice(box, min(turn, turn + extent), max(turn, turn + extent), fill=fill)
        middles.append(math.radians(turn + extent / 2))
        ends.append(math.radians(turn))
        turn += extent
    for end in ends if gap else ():
        rim = (side / 2 + edge * math.cos(end), side / 2 + edge * math.sin(end))
        pen.line(((side / 2, side / 2), rim), fill=look.ground, width=gap)
    if shown.kind == "donut":
        hole = edge * rng.uniform(0.45, 0.58)
        pen.ellipse((side / 2 - hole, side / 2 - hole, side / 2 + hole, side / 2 + hole), fill=look.ground)
    corner = round(x - side / 2 / _FINER), round(y - side / 2 / _FINER)
    letters.image.paste(disc.reduce(_FINER), corner, mask.reduce(_FINER))
    return middles
