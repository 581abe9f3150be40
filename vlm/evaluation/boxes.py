"""Where an answer stands on a page, from the centres of its glyphs: a box a line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from vlm.evaluation.metrics import Box
from vlm.training.page import Glyph, Page


def answer_boxes(page: Page, sources: Sequence[Glyph | None]) -> list[Box]:
    """Boxes around the glyphs of an answer.

    Half a pitch beside the outer centres is where their letters end; a whole pitch (about half an em)
    above and below holds capitals and what hangs under the line.

    Args:
        page: the page, worn or not.
        sources: the page's glyph of each character of the answer; None where a character has none.

    Returns:
        (left, top, right, bottom) in pixels of the image, one a line; none where no glyph is known.
    """
    where: dict[Glyph | None, int] = {glyph: index for index, glyph in enumerate(page.glyphs)}
    known = [where[glyph] for glyph in sources if glyph in where]
    boxes = (_box(page, line) for line in _lines(page, known)) if known else ()
    return [box for box in boxes if box is not None]


def _lines(page: Page, indices: Sequence[int]) -> list[list[int]]:
    """Glyphs by line: a new one begins where the next glyph lies back, or well above or below."""
    pitch = _pitch(page, indices)
    lines = [[indices[0]]]
    for index, following in pairwise(indices):
        here, there = page.glyphs[index], page.glyphs[following]
        if there.x < here.x - pitch / 2 or abs(there.y - here.y) > 1.5 * pitch:
            lines.append([])
        lines[-1].append(following)
    return lines


def _box(page: Page, line: Sequence[int]) -> Box | None:
    """The box of one line, as far as it lies on the image."""
    pitch = _pitch(page, line)
    xs, ys = [page.glyphs[index].x for index in line], [page.glyphs[index].y for index in line]
    left, right = max(0, round(min(xs) - pitch / 2)), min(page.image.width, round(max(xs) + pitch / 2))
    top, bottom = max(0, round(min(ys) - pitch)), min(page.image.height, round(max(ys) + pitch))
    return (left, top, right, bottom) if left < right and top < bottom else None


def _pitch(page: Page, indices: Sequence[int]) -> float:
    """Distance of neighbouring glyphs there; of a single one, from the nearer of its neighbours."""
    steps = [_apart(page.glyphs[a], page.glyphs[b]) for a, b in pairwise(indices)]
    if not steps:
        (index,) = indices
        beside = [other for other in (index - 1, index + 1) if 0 <= other < len(page.glyphs)]
        steps = [min((_apart(page.glyphs[index], page.glyphs[other]) for other in beside), default=8.0)]
        whole = [_apart(a, b) for a, b in pairwise(page.glyphs)]
        # A glyph alone in its line has its neighbours elsewhere.
        steps = [min(steps[0], 2 * median(whole))] if whole else steps
    return median(steps)


def _apart(a: Glyph, b: Glyph) -> float:
    return math.hypot(b.x - a.x, b.y - a.y)
