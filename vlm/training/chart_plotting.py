"""Charts by matplotlib: the held-out style, drawn by another hand than the training charts."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import cos, radians, sin
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from PIL import Image

from vlm.training.chart_data import Room, Series

_DPI = 100
_PALETTES = (
    ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2"),
    ("#66c2a5", "#fc8d62", "#8da0cb", "#e78ac3", "#a6d854", "#ffd92f", "#b3b3b3"),
    ("#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1"),
    ("#003f5c", "#ffa600", "#bc5090", "#58508d", "#ff6361", "#2f9e8f", "#9ecae1"),
)
_GROUNDS = (("white", "black"), ("white", "#333333"), ("#eaeaf2", "#222222"), ("#fbf7ee", "#3b2f2f"),
            ("#20242c", "#e8e8e8"))  # fmt: skip


class _Canvas:
    """A figure of the exact size, and how its texts look."""

    def __init__(self, rng: random.Random, space: Room) -> None:
        self.rng, self.space = rng, space
        self.ground, self.ink = rng.choice(_GROUNDS)
        self.figure = Figure(
            figsize=(space.width / _DPI, space.height / _DPI), dpi=_DPI, facecolor=self.ground
        )
        self.canvas = FigureCanvasAgg(self.figure)
        palette = list(rng.choice(_PALETTES))
        rng.shuffle(palette)
        self.palette = palette

    def font(self, scale: float = 1.0) -> FontProperties:
        """The room's font; matplotlib measures in points."""
        return FontProperties(fname=Path(self.space.font), size=self.space.em * scale * 72 / _DPI)

    def text(self, scale: float = 1.0) -> dict[str, Any]:
        """Keywords of every text; ``$`` is a currency here, not mathematics."""
        return {"fontproperties": self.font(scale), "color": self.ink, "parse_math": False}

    def image(self) -> Image.Image:
        """The finished picture."""
        draw: Callable[[], None] = self.canvas.draw
        pixels: Callable[[], memoryview] = self.canvas.buffer_rgba
        draw()
        return Image.fromarray(np.asarray(pixels())[..., :3].copy())


def plotted(rng: random.Random, space: Room, shown: Series) -> Image.Image:
    """Draw a chart, without the place of its letters."""
    canvas = _Canvas(rng, space)
    if shown.round:
        _pie(canvas, shown)
    else:
        _axes(canvas, shown)
    return canvas.image()


def _axes(canvas: _Canvas, shown: Series) -> None:
    rng, space, em = canvas.rng, canvas.space, canvas.space.em
    lying = shown.kind == "bars"
    names, numbers = (max(map(space.measure, texts)) for texts in (shown.labels, shown.ticked))
    left = (names if lying else numbers) + 1.1 * em
    right = 0.6 * em + (
        max(map(space.measure, shown.said)) if lying and shown.printed else 0.4 * numbers * lying
    )
    top = (2.2 if shown.title else 0.8) * em
    axes = canvas.figure.add_axes((
        left / space.width, 2.0 * em / space.height,
        (space.width - left - right) / space.width, (space.height - 2.0 * em - top) / space.height,
    ), facecolor=canvas.ground)  # fmt: skip
    places = range(len(shown.labels))
    colors = canvas.palette[: len(places)] if rng.random() < 0.4 else [canvas.palette[0]] * len(places)
    thick = rng.uniform(0.45, 0.85)
    style: dict[str, Any] = rng.choice(
        ({}, {"edgecolor": canvas.ink}, {"hatch": "//", "edgecolor": canvas.ground})
    )
    if lying:
        axes.barh(places, shown.values, thick, color=colors, zorder=2, **style)
        axes.invert_yaxis()
    elif shown.kind == "columns":
        axes.bar(places, shown.values, thick, color=colors, zorder=2, **style)
    else:
        mark = rng.choice(("o", "s", "D", "^"))
        axes.plot(places, shown.values, color=colors[0], marker=mark, lw=rng.uniform(1, 2.5) * em / 14,
                  ls=rng.choice(("-", "-", "--")), markersize=0.35 * em, clip_on=False, zorder=2)  # fmt: skip
        axes.set_xlim(-0.5, len(places) - 0.5)
    low_high = (0, shown.span * (1.12 if shown.printed and not lying else 1.02))
    (axes.set_xlim if lying else axes.set_ylim)(*low_high)
    value_axis, name_axis = (axes.xaxis, axes.yaxis) if lying else (axes.yaxis, axes.xaxis)
    value_axis.set_ticks(shown.ticks, shown.ticked, **canvas.text())
    name_axis.set_ticks(places, shown.labels, **canvas.text())
    axes.tick_params(length=0.25 * em, pad=0.15 * em, color=canvas.ink)
    if rng.random() < 0.6:
        value_axis.grid(True, ls=rng.choice(("-", ":", "--")), color=canvas.ink, alpha=0.3, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_color(canvas.ink)
    if rng.random() < 0.5:
        axes.spines[["top", "right"]].set_visible(False)
    _numbers(canvas, axes, shown, lying)
    if shown.title:
        canvas.figure.text(
            0.5, 1 - 0.4 * em / space.height, shown.title, ha="center", va="top", **canvas.text(1.15)
        )


def _numbers(canvas: _Canvas, axes: Any, shown: Series, lying: bool) -> None:
    """The value beside each mark, on ground of its own so that no line crosses it."""
    behind = {"facecolor": canvas.ground, "edgecolor": "none", "pad": 0.2, "alpha": 0.75}
    gap = 0.3 * canvas.space.em * 72 / _DPI
    for index, (value, text) in (
        enumerate(zip(shown.values, shown.said, strict=True)) if shown.printed else ()
    ):
        at, offset = ((value, index), (gap, 0)) if lying else ((index, value), (0, gap))
        across, up = ("left", "center") if lying else ("center", "bottom")
        axes.annotate(text, at, offset, textcoords="offset points", ha=across, va=up, zorder=4, bbox=behind,
                      **canvas.text(0.95))  # fmt: skip


def _pie(canvas: _Canvas, shown: Series) -> None:
    rng, space, em = canvas.rng, canvas.space, canvas.space.em
    top = (2.0 if shown.title else 0.4) * em
    widest = max(map(space.measure, shown.labels)) + 2.4 * em
    tall = space.height - top - 0.4 * em
    side = min(space.width - widest - 0.8 * em, tall)
    left, bottom = 0.4 * em / space.width, (0.4 * em + (tall - side) / 2) / space.height
    axes = canvas.figure.add_axes((left, bottom, side / space.width, side / space.height))
    hole = rng.uniform(0.42, 0.55)
    start = rng.choice((0, 90, 90, rng.uniform(0, 360)))
    wedges, _ = axes.pie(
        shown.values, radius=1.2, colors=canvas.palette, startangle=start,
        counterclock=rng.random() < 0.5,
        wedgeprops={"edgecolor": canvas.ground, "linewidth": rng.choice((0, 1, 2)),
                    **({"width": 1.2 * (1 - hole)} if shown.kind == "donut" else {})},
    )  # fmt: skip
    legend = canvas.figure.legend(
        wedges, shown.labels, loc="center right", bbox_to_anchor=(1, (0.4 * em + tall / 2) / space.height),
        prop=canvas.font(), frameon=rng.random() < 0.4, facecolor=canvas.ground, labelcolor=canvas.ink,
        handlelength=0.8, handletextpad=0.4, borderaxespad=0.3,
    )  # fmt: skip
    legend.set_zorder(1)
    if shown.printed:
        _shares(canvas, axes, wedges, shown)
    if shown.title:
        canvas.figure.text(
            0.5, 1 - 0.4 * em / space.height, shown.title, ha="center", va="top", **canvas.text(1.15)
        )


def _shares(canvas: _Canvas, axes: Any, wedges: Any, shown: Series) -> None:
    for wedge, text in zip(wedges, shown.said, strict=True):
        angle = radians((wedge.theta1 + wedge.theta2) / 2)
        out = 0.95 if shown.kind == "donut" else 0.8
        red, green, blue, _ = wedge.get_facecolor()
        look = {
            **canvas.text(0.95),
            "color": "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white",
        }
        axes.text(out * cos(angle), out * sin(angle), text, ha="center", va="center", **look)
