"""Images to windows: read, plan, cut, draw, and map places back. Pillow and nothing else."""

from pan_and_scan.crop import crop, mark_blank, windows_of
from pan_and_scan.draw import draw_boxes, draw_windows
from pan_and_scan.image import MAX_PIXELS, ImageError, ImageSource, load_image
from pan_and_scan.plan import Window, plan
from pan_and_scan.policy import (
    MAX_WINDOWS,
    POLICY_NAMES,
    Adaptive,
    Gemma3,
    Off,
    Policy,
    named_policy,
)
from pan_and_scan.stitch import outward, to_page, to_window

__all__ = [
    "MAX_PIXELS",
    "MAX_WINDOWS",
    "POLICY_NAMES",
    "Adaptive",
    "Gemma3",
    "ImageError",
    "ImageSource",
    "Off",
    "Policy",
    "Window",
    "crop",
    "draw_boxes",
    "draw_windows",
    "load_image",
    "mark_blank",
    "named_policy",
    "outward",
    "plan",
    "to_page",
    "to_window",
    "windows_of",
]
