"""Windows cut out of an image, and the ones with nothing in them left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import cast

from PIL import Image

from pan_and_scan.plan import Window, plan
from pan_and_scan.policy import Adaptive, Policy

BLANK_LEVELS = 8  # of 255: paper under JPEG and scanner noise, but no ink, however thin or faint


def windows_of(image: Image.Image, policy: Policy) -> tuple[Window, ...]:
    """The plan for an image, blank crops marked where the policy asks for it.

    Raises:
        ValueError: the image isn't RGB (``load_image`` makes it so).
    """
    windows = plan(*image.size, policy)
    if isinstance(policy, Adaptive) and policy.skip_blank:
        return mark_blank(image, windows)
    return windows


def mark_blank(image: Image.Image, windows: Iterable[Window]) -> tuple[Window, ...]:
    """Crops without content become kind ``"blank"``; the whole image always stays.

    A crop is blank when no channel spreads over more than ``BLANK_LEVELS`` levels. All of its pixels
    are looked at, because a line one pixel thin may be the only ink.

    Raises:
        ValueError: the image isn't RGB, or a window reaches outside it.
    """
    windows = tuple(windows)
    require_inside(image, windows)
    return tuple(
        replace(window, kind="blank") if window.kind == "crop" and _blank(image, window) else window
        for window in windows
    )


def _blank(image: Image.Image, window: Window) -> bool:
    ranges = cast(tuple[tuple[int, int], ...], image.crop(window.box).getextrema())  # one a channel
    return all(high - low <= BLANK_LEVELS for low, high in ranges)


def crop(image: Image.Image, windows: Iterable[Window]) -> list[Image.Image]:
    """Pixels of each window that isn't blank, in order, at the image's own resolution.

    Raises:
        ValueError: the image isn't RGB, or a window reaches outside it (Pillow would add black).
    """
    windows = tuple(windows)
    require_inside(image, windows)
    return [image.crop(window.box) for window in windows if window.kind != "blank"]


def require_inside(image: Image.Image, windows: Iterable[Window]) -> None:
    """Refuse an image that isn't RGB, and windows made for another image.

    Raises:
        ValueError: one of both.
    """
    if image.mode != "RGB":
        raise ValueError(f"windows are cut from RGB images, not {image.mode}; load_image() makes one")
    for window in windows:
        if window.right > image.width or window.bottom > image.height:
            raise ValueError(
                f"window {window.box} reaches outside the {image.width}x{image.height} image; "
                "plan the windows for this image"
            )
