"""Windows to the encoder's pixels.

Stretched to a square, bilinear with antialias, on uint8 like ``transformers``' image processor, so
that both see the same levels; then RGB / 255 with mean and standard deviation 0.5. Letterboxing,
nearest neighbour or a resize without antialias are known ways to get this wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as tvF


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
    pixels = tvF.pil_to_tensor(crop)
    return tvF.resize(pixels, [side, side], interpolation=tvF.InterpolationMode.BILINEAR, antialias=True)
