"""Colours by hue, and how far apart the eye sees them."""

from __future__ import annotations

import colorsys
import math

from vlm.training.page import Color


def from_hsv(hue: float, saturation: float, value: float) -> Color:
    """A colour from a hue in degrees (of any turn), saturation and value in 0..1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 360 / 360, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def distance(a: Color, b: Color) -> float:
    """Distance in CIELAB (D65); 100 lies between black and white, and 2 can just be seen."""
    return math.dist(_lab(a), _lab(b))


def _lab(color: Color) -> tuple[float, float, float]:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in color)]
    rows = ((0.4339, 0.3762, 0.1899), (0.2126, 0.7152, 0.0722), (0.0178, 0.1095, 0.8727))
    x, y, z = (sum(a * b for a, b in zip(row, linear, strict=True)) for row in rows)
    fx, fy, fz = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)
