"""Coordinates of a window <-> coordinates of the page.

The encoder sees a window of w x h pixels stretched to S x S, so a point (x, y) it names lies at
(left + x * w / S, top + y * h / S) of the page. Those are rationals: computed as fractions, there and
back gives the very same numbers, whatever the sizes. Only ``outward`` rounds.

Points are (x, y), boxes (left, top, right, bottom); edges of pixels, so a window covers 0..S.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import overload

from pan_and_scan.plan import Box, Window
from pan_and_scan.policy import at_least

Number = int | float | Fraction
Point = tuple[Number, Number]
AnyBox = tuple[Number, Number, Number, Number]
ExactPoint = tuple[Fraction, Fraction]
ExactBox = tuple[Fraction, Fraction, Fraction, Fraction]


@overload
def to_page(place: Point, window: Window, side: int = 896) -> ExactPoint: ...
@overload
def to_page(place: AnyBox, window: Window, side: int = 896) -> ExactBox: ...
def to_page(place: Point | AnyBox, window: Window, side: int = 896) -> ExactPoint | ExactBox:
    """A point or box the encoder saw in a window -> pixels of the page, exactly.

    Args:
        place: (x, y) or (left, top, right, bottom) at the encoder's scale, 0 to ``side``; places
            outside are mapped all the same.
        window: Where the window lies on the page.
        side: Side of the encoder's input in pixels.

    Raises:
        ValueError: neither point nor box, numbers that aren't finite, ``side`` below 1.
    """
    at_least("side", side, 1)
    width, height = window.size
    return _mapped(place, (window.left, Fraction(width, side)), (window.top, Fraction(height, side)))


@overload
def to_window(place: Point, window: Window, side: int = 896) -> ExactPoint: ...
@overload
def to_window(place: AnyBox, window: Window, side: int = 896) -> ExactBox: ...
def to_window(place: Point | AnyBox, window: Window, side: int = 896) -> ExactPoint | ExactBox:
    """The inverse of ``to_page``: pixels of the page -> the encoder's scale in a window.

    Raises:
        ValueError: as ``to_page``.
    """
    at_least("side", side, 1)
    width, height = window.size
    x, y = Fraction(side, width), Fraction(side, height)
    return _mapped(place, (-window.left * x, x), (-window.top * y, y))


def outward(box: AnyBox) -> Box:
    """The smallest box of whole pixels that holds ``box``.

    Raises:
        ValueError: numbers that aren't finite.
    """
    left, top, right, bottom = _exact(box)
    return math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)


Axis = tuple[Number, Fraction]  # offset, scale


def _mapped(place: Point | AnyBox, x_axis: Axis, y_axis: Axis) -> ExactPoint | ExactBox:
    values = _exact(place)
    if len(values) not in (2, 4):
        raise ValueError(f"a point has 2 numbers and a box 4, not {len(values)}")
    axes = (x_axis, y_axis) * 2
    mapped = tuple(offset + value * scale for value, (offset, scale) in zip(values, axes, strict=False))
    return mapped  # type: ignore[return-value]  # as long as place was


def _exact(place: Sequence[Number]) -> tuple[Fraction, ...]:
    try:
        return tuple(Fraction(value) for value in place)  # a float is a rational, too
    except (OverflowError, ValueError):
        raise ValueError(f"coordinates must be finite numbers, not {tuple(place)}") from None
