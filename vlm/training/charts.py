"""Pictures of charts: bars, lines and pies, with their facts.

Training and validation charts are drawn here, in two styles, with the place of every letter; the
held-out ones are made by matplotlib, which training never sees.
"""

from __future__ import annotations

import random

from vlm.training.chart_data import facts, room, series
from vlm.training.chart_drawing import drawn
from vlm.training.fonts import Split
from vlm.training.page import Level, Page
from vlm.training.text import TextSampler


def chart(rng: random.Random, width: int, height: int, split: Split, text: TextSampler) -> Page:
    """Draw one chart.

    Args:
        rng: the only source of chance, besides that of ``text``.
        width: of the picture in pixels; letters are legible once the picture is 224 px.
        height: likewise.
        split: whose fonts, labels and style.
        text: draws words of the same split.

    Returns:
        The chart. Lines and glyphs are empty in the held-out split.
    """
    while True:
        space = room(rng, width, height, split)
        shown = series(rng, text, split, space)
        if split == "heldout":
            from vlm.training.chart_plotting import plotted

            return Page(plotted(rng, space, shown), (), (), facts(rng, shown, lambda place: ()))
        letters = drawn(rng, space, shown, split)
        if letters.clear:
            lines, glyphs, where = letters.read()
            told = facts(rng, shown, where.__getitem__)
            levels = tuple(
                Level(value / shown.span, where["label", index]) for index, value in enumerate(shown.values)
            )
            return Page(letters.image, lines, glyphs, told, levels=levels)
