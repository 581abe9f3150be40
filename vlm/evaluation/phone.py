"""A page as a phone sees it: tilted up to 8 degrees, unevenly lit, a little out of focus.

Apart from ``training.degrade`` so that a score on worn pages isn't one on wear the model was trained
to. The fourth part, JPEG at quality 40, is done where the picture is saved. The picture grows with
the tilt, so letters keep about the size they were set in.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from vlm.training.page import Glyph, Mark, Page

_PlacedT = TypeVar("_PlacedT", Glyph, Mark)


LARGEST_TILT = 8.0  # degrees of the paper against the lens
LARGEST_TURN = 2.0  # degrees in the plane of the picture
DISTANCE = 1.8  # of the lens, in longer sides of the page: about that of a main camera
DARKEST = 0.55  # light in the darkest corner, of that in the brightest
BLUR = (0.02, 0.06)  # sigma in ems
JPEG_QUALITY = 40

Array = npt.NDArray[np.floating[Any]]


def photographed(page: Page, rng: random.Random) -> Page:
    """Tilt, light and blur a page.

    Args:
        page: a clean one.
        rng: the only source of chance.

    Returns:
        A page with the same lines and facts; its glyphs lie where their ink went.
    """
    view, size = _view(page.image.size, rng)
    table = tuple(rng.randint(40, 150) for _ in range(3))
    to_page = np.linalg.inv(view)
    coefficients = (to_page / to_page[2, 2]).ravel()[:8].tolist()
    image = page.image.transform(
        size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BICUBIC, fillcolor=table
    )
    image = _lit(image, rng)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(*BLUR) * _em(page)))
    return replace(page, image=image, glyphs=_moved(page.glyphs, view), marks=_moved(page.marks, view))


def _view(size: tuple[int, int], rng: random.Random) -> tuple[Array, tuple[int, int]]:
    """The homography from page to picture by a lens over the middle, and the picture's size."""
    width, height = size
    tilt, towards = math.radians(rng.uniform(2.0, LARGEST_TILT)), rng.uniform(0, 2 * math.pi)
    turn = math.radians(rng.uniform(-LARGEST_TURN, LARGEST_TURN))
    # Turned in its plane, then tilted about an axis in that plane (Rodrigues).
    ax, ay, cos, sin = math.cos(towards), math.sin(towards), math.cos(tilt), math.sin(tilt)
    tilted = np.array(
        [
            (cos + ax * ax * (1 - cos), ax * ay * (1 - cos)),
            (ax * ay * (1 - cos), cos + ay * ay * (1 - cos)),
            (-ay * sin, ax * sin),
        ]
    )
    c, s = math.cos(turn), math.sin(turn)
    plane = tilted @ np.array([(c, -s), (s, c)])  # [3, 2]
    far = DISTANCE * max(size)
    lens = np.diag((far, far, 1.0)) @ np.column_stack((plane, (0.0, 0.0, far)))
    centred = lens @ np.array([(1, 0, -width / 2), (0, 1, -height / 2), (0, 0, 1)])
    corners = _projected(centred, np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=float))
    low, high = corners.min(axis=0), corners.max(axis=0)
    margin = rng.uniform(0.005, 0.03) * min(size)
    shift = np.array([(1, 0, margin - low[0]), (0, 1, margin - low[1]), (0, 0, 1)])
    seen = np.ceil(high - low + 2 * margin).astype(int).tolist()
    return shift @ centred, (seen[0], seen[1])


def _projected(view: Array, points: Array) -> Array:
    """Points [N, 2] through a homography."""
    homogeneous = points @ view[:, :2].T + view[:, 2]
    return np.asarray(homogeneous[:, :2] / homogeneous[:, 2:])


def _moved(placed: tuple[_PlacedT, ...], view: Array) -> tuple[_PlacedT, ...]:
    if not placed:
        return placed
    places = _projected(view, np.array([(one.x, one.y) for one in placed])).tolist()
    return tuple(replace(one, x=x, y=y) for one, (x, y) in zip(placed, places, strict=True))


def _lit(image: Image.Image, rng: random.Random) -> Image.Image:
    """Light that falls off to one side and around a spot."""
    across, down = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64))
    angle = rng.uniform(0, 2 * math.pi)
    slope = (across * math.cos(angle) + down * math.sin(angle)) / math.sqrt(2)
    spot = np.hypot(across - rng.uniform(-1, 1), down - rng.uniform(-1, 1)) / math.sqrt(8)
    share = rng.uniform(0.3, 0.7)
    dark = share * (slope + 1) / 2 + (1 - share) * spot
    dark = (dark - dark.min()) / (dark.max() - dark.min())
    light = (1 - (1 - DARKEST) * rng.uniform(0.5, 1.0) * dark).astype(np.float32)
    whole = np.asarray(Image.fromarray(light).resize(image.size, Image.Resampling.BILINEAR))
    pixels = np.asarray(image, dtype=np.float32) * whole[:, :, None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _em(page: Page) -> float:
    """Size of the text in pixels; of a page without known letters, that of a chart's."""
    steps = [math.hypot(b.x - a.x, b.y - a.y) for a, b in pairwise(page.glyphs)]
    return 2 * median(steps) if len(steps) >= 3 else max(page.image.size) / 16
