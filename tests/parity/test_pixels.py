"""Our pixels are the levels transformers' image processor gives, from every size and kind of file."""

import io
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers.models.gemma3.image_processing_gemma3 import Gemma3ImageProcessor

from pan_and_scan import Gemma3, Off, crop, load_image, windows_of
from tests.parity.checkpoints import picture
from vlm.pixels import to_pixels
from vlm.verify import LEVELS, PAN_AND_SCAN

EDGES = [
    (1, 1), (1, 5000), (5000, 1), (2, 3), (13, 14), (895, 897), (896, 896), (897, 895),
    (448, 1792), (1792, 448), (3000, 100), (701, 400), (1203, 401), (400, 1599),
]  # fmt: skip


def theirs(image: Image.Image, side: int, *, crops: bool) -> Tensor:
    processor = Gemma3ImageProcessor(size={"height": side, "width": side})
    more: dict[str, Any] = PAN_AND_SCAN if crops else {}
    pixels: Tensor = processor(image, return_tensors="pt", **more)["pixel_values"]
    return pixels


def ours(image: Image.Image, side: int, *, crops: bool) -> Tensor:
    return to_pixels(crop(image, windows_of(image, Gemma3() if crops else Off())), side)


def levels_apart(image: Image.Image, side: int, *, crops: bool = False) -> Tensor:
    """Difference of every value, in uint8 levels."""
    a, b = theirs(image, side, crops=crops), ours(image, side, crops=crops)
    assert a.shape == b.shape
    assert a.dtype == b.dtype == torch.float32
    return (a - b).abs() * LEVELS


def sizes(count: int) -> list[tuple[int, int]]:
    rng = random.Random(8)
    return [(int(2000 ** rng.uniform(0.2, 1)), int(2000 ** rng.uniform(0.2, 1))) for _ in range(count)]


@pytest.mark.parametrize("crops", [False, True], ids=["whole", "crops"])
def test_many_sizes(crops: bool, record_property: Callable[[str, object], None]) -> None:
    apart = [levels_apart(picture(*size), 224, crops=crops).flatten() for size in EDGES + sizes(30)]
    apart += [levels_apart(picture(*size), 896, crops=crops).flatten() for size in EDGES[3:9]]
    every = torch.cat(apart)
    share = float((every > 0.5).float().mean())
    record_property("largest difference in levels", float(every.max()))
    record_property("share of values a level apart", share)
    assert every.max() < 1.001  # one level at most
    assert share == 0.0  # and with the torchvision we both call, not even that


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "F", "I;16"])
def test_modes(mode: str) -> None:
    """A file of any mode is read by us, then both resize the same RGB."""
    grey = picture(300, 200).convert("L")
    raw = grey.convert("I;16") if mode == "I;16" else picture(300, 200).convert(mode)
    assert levels_apart(load_image(raw), 224).max() < 1.001


def test_range_and_layout() -> None:
    image = Image.new("RGB", (4, 2), (255, 0, 51))
    pixels = to_pixels([image, image], 28)
    assert pixels.shape == (2, 3, 28, 28)
    assert pixels[0, :, 5, 5].tolist() == pytest.approx([1.0, -1.0, -0.6])


def test_jpeg_file_to_pixels() -> None:
    stored = io.BytesIO()
    picture(640, 480).save(stored, "JPEG", quality=80)
    assert levels_apart(load_image(stored.getvalue()), 896).max() < 1.001
