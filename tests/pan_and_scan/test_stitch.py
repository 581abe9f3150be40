"""Window and page coordinates, there and back."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pan_and_scan import Adaptive, Gemma3, Policy, Window, outward, plan, to_page, to_window

sides = st.integers(1, 30000)
policies = st.sampled_from([Gemma3(), Adaptive(), Adaptive(window_size=224, max_windows=30)])
numbers = st.one_of(
    st.integers(-40000, 40000), st.floats(-4e4, 4e4, allow_nan=False), st.fractions(-40000, 40000)
)


def exact(*values: int | Fraction) -> tuple[Fraction, ...]:
    return tuple(Fraction(value) for value in values)


@given(sides, sides, policies, st.data(), st.sampled_from([224, 896]))
def test_round_trip_is_exact(width: int, height: int, policy: Policy, data: st.DataObject, side: int) -> None:
    window = data.draw(st.sampled_from(plan(width, height, policy)))
    point = data.draw(st.tuples(numbers, numbers))
    box = data.draw(st.tuples(numbers, numbers, numbers, numbers))
    assert to_window(to_page(point, window, side), window, side) == point
    assert to_page(to_window(point, window, side), window, side) == point
    assert to_window(to_page(box, window, side), window, side) == box
    assert to_page(to_window(box, window, side), window, side) == box


@given(sides, sides, policies, st.sampled_from([224, 896]))
def test_the_encoders_square_is_the_window(width: int, height: int, policy: Policy, side: int) -> None:
    for window in plan(width, height, policy):
        assert to_page((0, 0, side, side), window, side) == exact(*window.box)
        assert to_window(window.box, window, side) == exact(0, 0, side, side)


def test_by_hand() -> None:
    window = Window(100, 50, 300, 350)  # 200 x 300
    assert to_page((448, 224), window) == exact(200, 125)
    assert to_page((1, 1), window) == exact(100 + Fraction(200, 896), 50 + Fraction(300, 896))
    assert to_window((100, 50, 200, 200), window, 10) == exact(0, 0, 5, 5)


@given(st.tuples(numbers, numbers, numbers, numbers))
def test_outward_holds_the_box_and_no_pixel_more(box: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = outward(box)
    assert left <= box[0] < left + 1 and top <= box[1] < top + 1
    assert right - 1 < box[2] <= right and bottom - 1 < box[3] <= bottom


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_must_be_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        to_page((bad, 1), Window(0, 0, 5, 5))
    with pytest.raises(ValueError, match="finite"):
        outward((0, bad, 1, 1))


def test_neither_point_nor_box() -> None:
    with pytest.raises(ValueError, match="a point has 2 numbers and a box 4, not 3"):
        to_page((1, 2, 3), Window(0, 0, 5, 5))  # type: ignore[arg-type]


def test_side_of_zero() -> None:
    with pytest.raises(ValueError, match="side must be"):
        to_window((1, 2), Window(0, 0, 5, 5), 0)
