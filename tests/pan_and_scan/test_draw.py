"""The picture of a plan: every window shows, and the image itself stays as it was."""

import pytest
from PIL import Image, ImageChops

from pan_and_scan import Adaptive, Gemma3, Off, Policy, Window, draw_windows, plan
from pan_and_scan.draw import COLOURS, GREY, INK


def changed(image: Image.Image, drawn: Image.Image, window: Window) -> int:
    """Pixels of a window that the drawing changed."""
    difference = ImageChops.difference(image.crop(window.box), drawn.crop(window.box)).convert("L")
    return sum(difference.histogram()[1:])


@pytest.mark.parametrize("size", [(1600, 900), (300, 1200), (3000, 3000)])
@pytest.mark.parametrize("policy", [Off(), Gemma3(), Adaptive()])
def test_every_window_is_marked_on_a_copy(size: tuple[int, int], policy: Policy) -> None:
    image = Image.new("RGB", size, (240, 240, 230))
    before = image.tobytes()
    windows = plan(*size, policy)
    drawn = draw_windows(image, windows)
    assert image.tobytes() == before
    assert (drawn.size, drawn.mode) == (size, "RGB")
    line = max(1, round(max(size) / 300))
    assert drawn.getpixel((size[0] // 2, 0)) == INK
    for number, window in enumerate(windows[1:]):
        right_edge = window.right - 1 - line, (window.top + window.bottom) // 2
        assert drawn.getpixel(right_edge) == COLOURS[number % len(COLOURS)]
        assert changed(image, drawn, window) > 200


def test_numbers_differ_between_windows_of_one_colour() -> None:
    image = Image.new("RGB", (7 * 300, 300), "white")
    windows = [Window(i * 300, 0, (i + 1) * 300, 300) for i in range(7)]
    drawn = draw_windows(image, [Window(0, 0, 2100, 300, "whole"), *windows])
    badges = [drawn.crop((w.left + 10, 10, w.left + 80, 80)) for w in (windows[0], windows[6])]
    assert badges[0].getpixel((2, 10)) == badges[1].getpixel((2, 10)) == COLOURS[0]
    assert badges[0].tobytes() != badges[1].tobytes()


def test_blank_windows_are_hatched_inside() -> None:
    image = Image.new("RGB", (600, 300), "white")
    whole = Window(0, 0, 600, 300, "whole")
    blank = Window(0, 0, 300, 300, "blank")
    drawn = draw_windows(image, [whole, blank, Window(300, 0, 600, 300)])
    inside = Window(100, 100, 200, 200)
    assert changed(image, drawn, inside) > 100
    assert changed(image, drawn, Window(400, 100, 500, 200)) == 0
    left_edge = [drawn.getpixel((2, y)) for y in range(100, 290)]
    assert GREY in left_edge and left_edge.count(GREY) < len(left_edge)  # dashed


@pytest.mark.parametrize("side", [800, 3200])
def test_badges_grow_with_the_image(side: int) -> None:
    drawn = draw_windows(Image.new("RGB", (side, side), "white"), plan(side, side, Off()))
    at = [drawn.getpixel((round(side * 0.98), round(side * y))) for y in (0.94, 0.97)]
    assert at == [(255, 255, 255), INK]  # a badge 4 % high at the bottom


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 2), (12, 12)])
@pytest.mark.parametrize("policy", [Adaptive(window_size=1), Gemma3(min_crop_size=1)])
@pytest.mark.parametrize("kind", ["crop", "blank"])
def test_tiny_images_can_be_drawn(size: tuple[int, int], policy: Policy, kind: str) -> None:
    windows = [Window(*w.box, w.kind if w.kind == "whole" else kind) for w in plan(*size, policy)]  # type: ignore[arg-type]
    assert draw_windows(Image.new("RGB", size), windows).size == size


def test_windows_of_another_image_are_refused() -> None:
    with pytest.raises(ValueError, match="reaches outside"):
        draw_windows(Image.new("RGB", (10, 10)), plan(11, 10, Off()))
