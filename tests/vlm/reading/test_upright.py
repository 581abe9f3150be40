"""A page laid in askew is found and undone, and boxes come back to where they were."""

from __future__ import annotations

import pytest
from drawn import letter
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vlm.reading.ink import ink_of
from vlm.reading.upright import angle_of, paper_of, turned


@pytest.mark.parametrize("degrees", [-9.0, -2.5, -0.8, 0.0, 3.0, 8.0])
def test_skew_is_found(degrees: float) -> None:
    askew, _ = turned(letter().image, degrees)
    assert angle_of(ink_of(askew)) == pytest.approx(-degrees, abs=0.3)


@pytest.mark.parametrize("degrees", [90, 270, 94])
def test_text_that_runs_up_or_down_is_found(degrees: float) -> None:
    askew, _ = turned(letter().image, degrees)
    found = angle_of(ink_of(askew))
    assert (found + degrees) % 180 == pytest.approx(0.0, abs=0.3) or (found + degrees) % 180 > 179.6


def test_an_upright_page_stays() -> None:
    image = letter().image
    same, turn = turned(image, angle_of(ink_of(image)))
    assert same.tobytes() == image.tobytes() and turn.back((3, 4, 50, 60)) == (3, 4, 50, 60)


def test_a_page_with_nothing_on_it_stays() -> None:
    assert angle_of(ink_of(Image.new("RGB", (400, 300), "white"))) == 0.0


@pytest.mark.parametrize(
    ("degrees", "box"),
    [(90, (20, 880, 60, 890)), (180, (840, 560, 890, 600)), (270, (560, 10, 600, 20))],
)
def test_quarter_turns_come_back_exactly(degrees: float, box: tuple[int, int, int, int]) -> None:
    page = Image.new("RGB", (900, 620), "white")
    _, turn = turned(page, degrees)
    back = {90: (10, 20, 20, 60), 180: (10, 20, 60, 60), 270: (10, 20, 20, 60)}[round(degrees)]
    assert turn.back(box) == back


@settings(deadline=None)
@given(st.floats(-12, 12), st.integers(100, 700), st.integers(100, 400))
def test_what_is_turned_comes_back_around_itself(degrees: float, x: int, y: int) -> None:
    page = Image.new("RGB", (900, 620), "white")
    page.paste((0, 0, 0), (x, y, x + 80, y + 30))
    askew, turn = turned(page, degrees)
    seen = askew.convert("L").point(lambda level: 255 * (level < 128)).getbbox()
    assert seen is not None
    left, top, right, bottom = turn.back(seen)
    assert left <= x + 1 and top <= y + 1 and right >= x + 79 and bottom >= y + 29
    assert right - left < 130 and bottom - top < 75  # not much more than the black


def test_the_paper_is_what_most_of_a_page_is() -> None:
    page = Image.new("RGB", (200, 200), (250, 240, 200))
    page.paste((0, 0, 0), (0, 0, 200, 60))
    assert paper_of(page) == (250, 240, 200)
