"""How an image is cut into windows: frozen settings, each number with its source.

A window is what the encoder sees at once, stretched to its square input; the whole image is always
the first. Every window costs the same (256 tokens and one pass of the encoder in Gemma 3), so each
policy has a bound on their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

MAX_WINDOWS = 13  # InternVL 1.5 (arXiv 2404.16821, section 3.3): 12 tiles and a thumbnail


def at_least(name: str, value: object, low: int) -> int:
    """Return ``value`` if it is an integer of ``low`` or more.

    Raises:
        ValueError: it isn't; the message names the setting.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ValueError(f"{name} must be an integer of at least {low}, not {value!r}")
    return value


@dataclass(frozen=True)
class Off:
    """The whole image alone."""

    @property
    def name(self) -> Literal["off"]:
        """As it is called on the command line."""
        return "off"


@dataclass(frozen=True)
class Gemma3:
    """Pan and scan as published: cut along the longer axis only, and only when it's long enough.

    Source: arXiv 2503.19786, section 2.1; numbers and order of ``transformers``
    ``image_processing_gemma3.py``. google/gemma_pytorch is ``Gemma3(min_ratio=1.5)``.
    """

    min_crop_size: int = 256  # pixels; an image whose crops would have a shorter side gets none
    max_crops: int = 4  # besides the whole image; below 2 there are none (one would be the whole again)
    min_ratio: float = 1.2  # longer side / shorter side from which on the image is cut

    def __post_init__(self) -> None:
        at_least("min_crop_size", self.min_crop_size, 1)
        at_least("max_crops", self.max_crops, 0)
        if not (math.isfinite(self.min_ratio) and self.min_ratio >= 1):
            raise ValueError(f"min_ratio must be a number of at least 1, not {self.min_ratio!r}")

    @property
    def name(self) -> Literal["gemma3"]:
        """As it is called on the command line."""
        return "gemma3"


@dataclass(frozen=True)
class Adaptive:
    """A grid of equal windows over the whole image, as fine as its resolution is worth.

    The published pan and scan never cuts a square image, however large, and one axis of the others.
    This one looks at the pixels along each axis; ``plan.py`` says how the grid is chosen.
    """

    max_windows: int = MAX_WINDOWS  # the whole image included
    window_size: int = 896  # pixels a side the encoder sees (Gemma 3's SigLIP); a cut axis never gets fewer
    skip_blank: bool = True  # windows that hold nothing are reported, but not encoded
    tolerance: int = 10  # percent of the best grid's detail given up for fewer windows

    def __post_init__(self) -> None:
        at_least("max_windows", self.max_windows, 1)
        at_least("window_size", self.window_size, 1)
        if at_least("tolerance", self.tolerance, 0) // 100:
            raise ValueError(f"tolerance must be 0 to 99 percent, not {self.tolerance}")

    @property
    def name(self) -> Literal["adaptive"]:
        """As it is called on the command line."""
        return "adaptive"


Policy = Off | Gemma3 | Adaptive
POLICY_NAMES = ("off", "gemma3", "adaptive")


def named_policy(name: str, *, max_windows: int | None = None, window_size: int = 896) -> Policy:
    """A policy by its name, within a budget.

    Args:
        name: One of ``POLICY_NAMES``.
        max_windows: Windows the encoder may see, the whole image included; None for the policy's own
            number. ``gemma3`` keeps its 4 crops at most, and makes none below 3 windows, because a
            single crop would be the whole image again.
        window_size: Side of the encoder's input in pixels (``adaptive`` alone depends on it).

    Raises:
        ValueError: unknown name, or a number out of range.
    """
    if max_windows is not None:
        at_least("max_windows", max_windows, 1)
    at_least("window_size", window_size, 1)
    match name:
        case "off":
            return Off()
        case "gemma3":
            crops = Gemma3.max_crops
            return Gemma3(max_crops=crops if max_windows is None else min(crops, max_windows - 1))
        case "adaptive":
            budget = MAX_WINDOWS if max_windows is None else max_windows
            return Adaptive(max_windows=budget, window_size=window_size)
    raise ValueError(f"unknown policy {name!r}; choose one of {', '.join(POLICY_NAMES)}")
