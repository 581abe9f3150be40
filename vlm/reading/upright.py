"""How a page lies: the small angle of a scan laid in askew, and text that runs up or down.

Lines of text make a page's row profile jump: full where a line is, empty between. The angle at which
it jumps most is the one to undo (Postl 1986, as unpaper and Leptonica do it). Upside down looks the
same to a profile; who reads the page finds that out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from vlm.reading.ink import rows_of
from vlm.reading.record import Box

WIDEST = 12.0  # degrees; a page turned further counts as lying on its side
COARSE, FINE = 1.0, 0.1  # degrees a step of the search
SMALLEST = 0.3  # degrees that are worth a resampling
GAIN = 1.15  # how much better the profile must be: short lines lean by chance
LEAN = 2.0  # pixels a line must rise from end to end
POINTS = 20_000  # of the ink that are looked at
FEWEST = 100  # pixels of ink that say anything
ON_ITS_SIDE = 45.0  # degrees, from which a page lies on its side
SIDEWAYS = 1.5  # how much longer rows must be on its side, as most pages stand upright


_QUARTERS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True)
class Turn:
    """A page turned counter-clockwise about its centre, the canvas grown to hold it."""

    degrees: float
    before: tuple[int, int]  # width, height in pixels
    after: tuple[int, int]

    def back(self, box: Box) -> Box:
        """A box on the turned page -> the smallest upright box around it on the page as it was."""
        angle = np.deg2rad(self.degrees)
        left, top, right, bottom = box
        xs = np.array([left, right, right, left]) - self.after[0] / 2
        ys = np.array([top, top, bottom, bottom]) - self.after[1] / 2
        # y points down: turning back is clockwise on the screen.
        x = np.cos(angle) * xs - np.sin(angle) * ys + self.before[0] / 2
        y = np.sin(angle) * xs + np.cos(angle) * ys + self.before[1] / 2
        width, height = self.before
        return (
            int(np.clip(np.floor(x.min() + 1e-6), 0, width - 1)),
            int(np.clip(np.floor(y.min() + 1e-6), 0, height - 1)),
            int(np.clip(np.ceil(x.max() - 1e-6), 1, width)),
            int(np.clip(np.ceil(y.max() - 1e-6), 1, height)),
        )


def turned(image: Image.Image, degrees: float) -> tuple[Image.Image, Turn]:
    """Turn a page counter-clockwise; quarter turns are exact, others are resampled on its paper."""
    if degrees % 90 == 0:
        turn = _QUARTERS.get(round(degrees) % 360)
        result = image.transpose(turn) if turn is not None else image
    else:
        result = image.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=paper_of(image))
    return result, Turn(degrees, image.size, result.size)


def ways_up(degrees: float) -> tuple[float, ...]:
    """How a page whose lines run at ``angle_of`` may have to be turned: on its side, it has two ways."""
    return (degrees,) if degrees < ON_ITS_SIDE else (degrees, degrees - 180.0)


def paper_of(image: Image.Image) -> tuple[int, int, int]:
    """The colour most of a page has: the median of each channel."""
    small = image.resize((64, 64), Image.Resampling.BOX)
    red, green, blue = np.median(np.asarray(small).reshape(-1, 3), axis=0)
    return int(red), int(green), int(blue)


def angle_of(ink: np.ndarray) -> float:
    """Degrees to turn a page counter-clockwise so that its lines run level, sideways pages included.

    Args:
        ink: bool [height, width].

    Returns:
        0 where nothing better is found; about 90 for text that runs up or down (or -90: who reads
        must try).
    """
    if ink.sum() < FEWEST:
        return 0.0
    side = np.rot90(ink)
    if _together(side) > SIDEWAYS * _together(ink):
        return 90.0 + _skew(side)
    return _skew(ink)


def _together(ink: np.ndarray) -> float:
    """Letters in the row of a typical letter: many where lines are level, few where they stand on end."""
    counts = np.array([row.letters for row in rows_of(ink)], dtype=float)
    return float((counts**2).sum() / counts.sum()) if counts.size else 0.0


def _skew(ink: np.ndarray) -> float:
    ys, xs = np.nonzero(ink)
    random = np.random.default_rng(0)
    if len(xs) > POINTS:
        picked = random.choice(len(xs), POINTS, replace=False)
        xs, ys = xs[picked], ys[picked]
    # Somewhere within the pixel: bins of now one, now two rows of pixels would jump by themselves.
    across, down = xs + random.random(len(xs)), ys + random.random(len(ys))
    size = max(1.0, max(ink.shape) / 600)
    angle = _search(across, down, size)
    better = _jumps(across, down, angle, size) > GAIN * _jumps(across, down, 0.0, size)
    lean = float(np.ptp(across)) * abs(np.tan(np.deg2rad(angle)))
    return angle if better and lean >= LEAN and abs(angle) >= SMALLEST else 0.0


def _search(xs: np.ndarray, ys: np.ndarray, bin_size: float) -> float:
    """The angle whose row profile jumps most."""
    coarse = np.arange(-WIDEST, WIDEST + COARSE / 2, COARSE)
    best = max(coarse, key=lambda angle: _jumps(xs, ys, angle, bin_size))
    fine = np.arange(best - COARSE, best + COARSE + FINE / 2, FINE)
    best = max(fine, key=lambda angle: _jumps(xs, ys, angle, bin_size))
    return round(float(best), 1)


def _jumps(xs: np.ndarray, ys: np.ndarray, degrees: float, bin_size: float) -> float:
    """Sum of squared differences between neighbouring rows of the page turned by an angle."""
    angle = np.deg2rad(degrees)
    down = ys * np.cos(angle) - xs * np.sin(angle)
    rows = np.floor((down - down.min()) / bin_size).astype(int)
    return float((np.diff(np.bincount(rows).astype(float)) ** 2).sum())
