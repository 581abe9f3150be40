import random

import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as tvF

from vlm.pixels import resize_square, to_pixels


def test_shape_and_range() -> None:
    crops = [Image.new("RGB", size, colour) for size, colour in (((5, 9), "black"), ((30, 2), "white"))]
    pixels = to_pixels(crops, 14)
    assert pixels.shape == (2, 3, 14, 14)
    assert pixels.dtype == torch.float32
    assert (pixels[0] == -1.0).all() and (pixels[1] == 1.0).all()


def test_no_windows() -> None:
    assert to_pixels([], 14).shape == (0, 3, 14, 14)


def test_stretched_not_letterboxed() -> None:
    """Left half red, right half blue: so is every row of the square."""
    image = Image.new("RGB", (40, 10), "red")
    image.paste("blue", (20, 0, 40, 10))
    square = resize_square(image, 20)
    assert square.dtype == torch.uint8
    assert (square[0, :, 2] == 255).all() and (square[2, :, 17] == 255).all()
    assert (square[:, 0] == square[:, -1]).all()


def test_antialias() -> None:
    """A fine checkerboard becomes grey when made smaller, not black or white by chance."""
    board = Image.new("L", (64, 64))
    board.putdata([255 * ((x + y) % 2) for y in range(64) for x in range(64)])
    square = resize_square(board.convert("RGB"), 8)
    assert ((square.int() - 128).abs() <= 2).all()


@pytest.mark.parametrize("capability", ["AVX512", "AVX2", "DEFAULT"])
@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 2), (13, 14), (28, 28), (27, 29), (640, 431)])
def test_levels_are_those_of_torchvision(
    size: tuple[int, int], capability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit by bit, whichever way it goes on a processor."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    noise = Image.frombytes("RGB", size, random.Random(3).randbytes(3 * size[0] * size[1]))
    theirs = tvF.resize(tvF.pil_to_tensor(noise), [28, 28])
    ours = resize_square(noise, 28)
    assert ours.dtype == theirs.dtype
    assert torch.equal(ours, theirs)


def test_the_two_ways_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a level here and there: or there would be no need for both."""
    noise = Image.frombytes("RGB", (640, 431), random.Random(3).randbytes(3 * 640 * 431))
    squares = []
    for capability in ("AVX2", "DEFAULT"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda named=capability: named)
        monkeypatch.setattr("platform.machine", lambda: "x86_64")
        squares.append(resize_square(noise, 28).int())
    apart = (squares[0] - squares[1]).abs()
    assert apart.max() == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (3000, 1)])
def test_extreme_sizes(size: tuple[int, int]) -> None:
    assert (to_pixels([Image.new("RGB", size, "white")], 28) == 1.0).all()


def test_other_modes_are_a_defect() -> None:
    with pytest.raises(AssertionError, match="L"):
        to_pixels([Image.new("L", (3, 3))], 14)
