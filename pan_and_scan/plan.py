"""(width, height) and a policy -> windows. Integers only, no pixels: a plan costs microseconds.

How ``adaptive`` chooses its grid
    A window of w x h pixels is shrunk to S x S, so of the image's detail a grid of C columns and R
    rows keeps min(1, C*S/W) along x and min(1, R*S/H) along y. Text is as legible as its worse axis,
    so that one is the score. InternVL (arXiv 2404.16821, ``find_closest_aspect_ratio``) and
    LLaVA-UHD (arXiv 2403.11703, section 3.1) score the windows' shape instead; theirs keep the
    aspect ratio that the encoder was trained on, but can enlarge a small image and cut a large one
    along the wrong axis. Gemma 3 stretches every window anyway, so shape has no say of its own here.

    - Never magnified: at most W // S columns and H // S rows (one where an axis is shorter than S).
    - Cheapest grid that is good enough: of all grids within the budget, the fewest windows whose
      score is within ``tolerance`` percent of the best; 3x3 instead of 3x4 for a huge square. There
      is always exactly one such grid, so nothing is left to tie-breaking.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

from pan_and_scan.policy import Adaptive, Gemma3, Off, Policy, at_least

Kind = Literal["whole", "crop", "blank"]
Box = tuple[int, int, int, int]
_FEWEST_CROPS = 2  # of an image that is cut at all


@dataclass(frozen=True, order=True)
class Window:
    """A part of the image in its pixels; left and top included, right and bottom not."""

    left: int
    top: int
    right: int
    bottom: int
    kind: Kind = "crop"  # "blank": a crop that holds nothing and is left out

    def __post_init__(self) -> None:
        if not (0 <= self.left < self.right and 0 <= self.top < self.bottom):
            raise ValueError(f"a window needs 0 <= left < right and 0 <= top < bottom, not {self.box}")

    @property
    def box(self) -> Box:
        """(left, top, right, bottom), as Pillow's ``crop`` takes it."""
        return self.left, self.top, self.right, self.bottom

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.right - self.left, self.bottom - self.top


def plan(width: int, height: int, policy: Policy) -> tuple[Window, ...]:
    """Windows of an image: the whole first, then the crops row by row.

    The crops cover the image without overlap. Those of ``adaptive`` differ by at most one pixel a
    side; those of ``gemma3`` are equal but for the last, which ends at the image's edge.

    Args:
        width: Pixels.
        height: Pixels.
        policy: How to cut.

    Raises:
        ValueError: width or height below 1.
    """
    at_least("width", width, 1)
    at_least("height", height, 1)
    whole = Window(0, 0, width, height, "whole")
    match policy:
        case Off():
            xs, ys = [0, width], [0, height]
        case Gemma3():
            xs, ys = _gemma3_edges(width, height, policy)
        case Adaptive():
            columns, rows = _grid(width, height, policy)
            xs = [i * width // columns for i in range(columns + 1)]
            ys = [i * height // rows for i in range(rows + 1)]
    crops = [
        Window(left, top, right, bottom)
        for (top, bottom), (left, right) in itertools.product(itertools.pairwise(ys), itertools.pairwise(xs))
    ]
    return (whole, *crops) if len(crops) > 1 else (whole,)  # one would be the whole again


def _gemma3_edges(width: int, height: int, policy: Gemma3) -> tuple[list[int], list[int]]:
    """Edges along x and y; the float expressions are ``pan_and_scan_batched``'s own."""
    along, across = max(width, height), min(width, height)
    uncut = [0, width], [0, height]
    if policy.max_crops < _FEWEST_CROPS or along / across < policy.min_ratio:
        return uncut
    count = min(math.floor(along / policy.min_crop_size), math.floor(along / across + 0.5))
    count = min(policy.max_crops, max(_FEWEST_CROPS, count))
    step = math.ceil(along / count)
    if min(step, across) < policy.min_crop_size:
        return uncut
    # Slicing ends at the edge. Where a crop would start there (many tiny crops: 4 of 5 pixels are
    # 2 wide), transformers fails on an empty one; it is dropped.
    edges = [*range(0, along, step), along]
    return (edges, uncut[1]) if width >= height else (uncut[0], edges)


def _grid(width: int, height: int, policy: Adaptive) -> tuple[int, int]:
    """Columns and rows, by the rules above. Kept detail is counted in units of 1 / (width * height)."""
    side, budget = policy.window_size, policy.max_windows - 1
    most_columns, most_rows = max(1, width // side), max(1, height // side)

    def kept(columns: int, rows: int) -> int:
        return min(min(width, columns * side) * height, min(height, rows * side) * width)

    columns_tried = range(1, min(most_columns, budget) + 1)
    best = max((kept(columns, min(most_rows, budget // columns)) for columns in columns_tried), default=0)
    enough = best * (100 - policy.tolerance)  # in hundredths
    # Each axis must keep that much on its own, so the smallest count on each is the cheapest grid,
    # and no other grid costs as little.
    columns = max(1, -(-enough // (100 * side * height)))
    rows = max(1, -(-enough // (100 * side * width)))
    return columns, rows
