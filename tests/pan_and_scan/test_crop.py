"""Cutting is undone by pasting; what holds nothing is found, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pan_and_scan import Adaptive, Gemma3, Off, Policy, Window, crop, mark_blank, plan, windows_of

PAPER = (250, 248, 243)


def noise(width: int, height: int) -> Image.Image:
    samples = bytes((i * 2654435761 >> 7) & 255 for i in range(width * height * 3))
    return Image.frombytes("RGB", (width, height), samples)


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.sampled_from(
        [Adaptive(window_size=7), Gemma3(min_crop_size=3), Adaptive(window_size=1, max_windows=40)]
    ),
)
def test_crops_pasted_back_are_the_image(width: int, height: int, policy: Policy) -> None:
    image = noise(width, height)
    windows = plan(width, height, policy)
    whole, *crops = crop(image, windows)
    assert whole.tobytes() == image.tobytes() and whole is not image
    if crops:
        page = Image.new("RGB", image.size)
        for window, part in zip(windows[1:], crops, strict=True):
            page.paste(part, window.box)
        assert page.tobytes() == image.tobytes()


def quarters(image: Image.Image) -> list[str]:
    return [w.kind for w in windows_of(image, Adaptive(window_size=50))]


def test_uniform_windows_are_reported_and_left_out() -> None:
    image = Image.new("RGB", (100, 100), PAPER)
    image.putpixel((75, 20), (0, 0, 0))  # one dot is ink enough
    windows = windows_of(image, Adaptive(window_size=50))
    assert [w.kind for w in windows] == ["whole", "blank", "crop", "blank", "blank"]
    assert [part.size for part in crop(image, windows)] == [(100, 100), (50, 50)]


def test_a_blank_page_keeps_the_whole() -> None:
    image = Image.new("RGB", (100, 100), PAPER)
    assert quarters(image) == ["whole", "blank", "blank", "blank", "blank"]
    assert len(crop(image, windows_of(image, Adaptive(window_size=50)))) == 1


@pytest.mark.parametrize(("spread", "kind"), [(8, "blank"), (9, "crop")])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_spread_is_measured_in_every_channel(spread: int, kind: str, channel: int) -> None:
    image = Image.new("RGB", (100, 100), (100, 100, 100))
    colour = [100, 100, 100]
    colour[channel] += spread
    image.putpixel((10, 10), (colour[0], colour[1], colour[2]))
    assert quarters(image)[1] == kind


@pytest.mark.parametrize("policy", [Off(), Gemma3(), Adaptive(window_size=50, skip_blank=False)])
def test_other_policies_encode_every_window(policy: Policy) -> None:
    image = Image.new("RGB", (1200, 600), PAPER)
    assert windows_of(image, policy) == plan(1200, 600, policy)


def test_a_window_outside_the_image_is_refused() -> None:
    image = Image.new("RGB", (10, 10))
    for cut in (crop, mark_blank):
        with pytest.raises(ValueError, match=r"\(5, 5, 11, 10\) reaches outside the 10x10 image"):
            cut(image, [Window(5, 5, 11, 10)])


def test_only_rgb_is_cut() -> None:
    with pytest.raises(ValueError, match="not P; load_image"):
        crop(Image.new("P", (10, 10)), [Window(0, 0, 10, 10, "whole")])
