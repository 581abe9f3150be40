"""Windows to the encoder's pixels.

Stretched to a square, bilinear with antialias, on uint8 like ``transformers``' image processor, so
that both see the same levels; then RGB / 255 with mean and standard deviation 0.5. Letterboxing,
nearest neighbour or a resize without antialias are known ways to get this wrong.

The processor calls torchvision, whose resize is torch's ``interpolate`` with a choice of types before
it (``torchvision.transforms.v2.functional.resize_image``). Both are here, because importing torchvision
brings its detectors, sympy and the whole compiler along: longer than torch itself takes, and longer than
an answer. Tests hold the result to torchvision's, bit by bit.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate


def to_pixels(crops: Sequence[Image.Image], side: int) -> Tensor:
    """Resize and normalise windows.

    Args:
        crops: RGB images of any size.
        side: the encoder's ``image_size`` in pixels.

    Returns:
        float32 [N, 3, side, side] in [-1, 1], RGB.
    """
    squares = [resize_square(crop, side) for crop in crops]
    stacked = torch.stack(squares) if squares else torch.empty((0, 3, side, side), dtype=torch.uint8)
    return (stacked.float() - 127.5) / 127.5


def resize_square(crop: Image.Image, side: int) -> Tensor:
    """One window stretched to the square: uint8 [3, side, side]."""
    assert crop.mode == "RGB", crop.mode
    pixels_NHWC = torch.from_numpy(np.array(crop))[None]
    pixels_NCHW = pixels_NHWC.permute(0, 3, 1, 2)  # a view: with the channels last it is resized quickest
    if crop.size == (side, side):
        return pixels_NCHW[0]
    levels = pixels_NCHW if _resizes_bytes() else pixels_NCHW.float()
    square_3SS = interpolate(levels, (side, side), mode="bilinear", antialias=True)[0]
    return square_3SS if square_3SS.dtype == torch.uint8 else square_3SS.round_().to(torch.uint8)


def _resizes_bytes() -> bool:
    """Whether torchvision leaves the levels bytes on this processor: the two ways differ by a level."""
    fast = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    return fast or platform.machine() in ("aarch64", "arm64")
