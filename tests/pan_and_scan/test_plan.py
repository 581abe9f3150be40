"""What every plan keeps to, over all sizes from 1x1 to 30000x30000."""

import itertools
import time
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pan_and_scan import Adaptive, Gemma3, Off, Policy, Window, plan

sides = st.integers(1, 30000)
gemmas = st.builds(
    Gemma3,
    min_crop_size=st.integers(1, 2000),
    max_crops=st.integers(0, 12),
    min_ratio=st.floats(1, 5),
)
adaptives = st.builds(
    Adaptive,
    max_windows=st.integers(1, 60),
    window_size=st.sampled_from([1, 7, 64, 224, 448, 896]),
    tolerance=st.integers(0, 50),
)
policies = st.one_of(
    st.just(Off()), st.just(Gemma3()), st.just(Gemma3(min_ratio=1.5)), st.just(Adaptive()), gemmas, adaptives
)


def edges(crops: tuple[Window, ...]) -> tuple[list[int], list[int]]:
    xs = sorted({w.left for w in crops} | {w.right for w in crops})
    ys = sorted({w.top for w in crops} | {w.bottom for w in crops})
    return xs, ys


@given(sides, sides, policies)
@example(5, 1, Gemma3(min_crop_size=1, max_crops=4))  # 4 crops of 2 pixels don't fit into 5
def test_crops_tile_the_image_row_by_row(width: int, height: int, policy: Policy) -> None:
    whole, *rest = plan(width, height, policy)
    crops = tuple(rest)
    assert whole == Window(0, 0, width, height, "whole")
    if not crops:
        return
    assert len(crops) > 1, "a single crop is the whole image again"
    xs, ys = edges(crops)
    grid = [
        Window(left, top, right, bottom)
        for top, bottom in itertools.pairwise(ys)
        for left, right in itertools.pairwise(xs)
    ]
    # Equal to the grid of its own edges: no overlap, no gap, and in reading order.
    assert list(crops) == grid
    assert (xs[0], ys[0], xs[-1], ys[-1]) == (0, 0, width, height)
    assert sum(w * h for w, h in (c.size for c in crops)) == width * height


@given(sides, sides, policies)
def test_budget_is_kept(width: int, height: int, policy: Policy) -> None:
    count = len(plan(width, height, policy))
    match policy:
        case Off():
            assert count == 1
        case Gemma3():
            assert count <= 1 + policy.max_crops
        case Adaptive():
            assert count <= policy.max_windows


@given(sides, sides, st.one_of(st.just(Adaptive()), adaptives))
def test_adaptive_windows_are_equal_and_never_magnified(width: int, height: int, policy: Adaptive) -> None:
    crops = plan(width, height, policy)[1:]
    widths, heights = {c.size[0] for c in crops}, {c.size[1] for c in crops}
    for side, whole in ((widths, width), (heights, height)):
        if side and side != {whole}:
            assert max(side) - min(side) <= 1
            assert min(side) >= policy.window_size


@given(sides, sides, st.sampled_from([Gemma3(), Gemma3(min_ratio=1.5)]))
def test_gemma3_crops_are_equal_but_for_the_last(width: int, height: int, policy: Gemma3) -> None:
    crops = plan(width, height, policy)[1:]
    if crops:
        first, last = crops[0].size, crops[-1].size
        assert {c.size for c in crops[:-1]} == {first}
        assert 0 <= first[0] - last[0] < len(crops) and 0 <= first[1] - last[1] < len(crops)
        assert min(first) >= policy.min_crop_size


def score(width: int, height: int, columns: int, rows: int, side: int) -> Fraction:
    return min(Fraction(1), Fraction(columns * side, width), Fraction(rows * side, height))


@given(sides, sides, st.one_of(st.just(Adaptive()), st.builds(Adaptive, max_windows=st.integers(1, 30))))
@example(26880, 13440, Adaptive())
def test_adaptive_takes_the_cheapest_grid_within_tolerance(width: int, height: int, policy: Adaptive) -> None:
    side = policy.window_size
    grids = {
        (c, r): score(width, height, c, r, side)
        for c in range(1, max(1, width // side) + 1)
        for r in range(1, max(1, height // side) + 1)
        if c * r + 1 <= policy.max_windows or c * r == 1
    }
    best = max(grids.values())
    good = [grid for grid, value in grids.items() if value * 100 >= best * (100 - policy.tolerance)]
    cheapest = min(c * r for c, r in good)
    chosen = plan(width, height, policy)[1:]
    xs, ys = edges(chosen or plan(width, height, policy))
    assert (len(xs) - 1, len(ys) - 1) in good
    assert (len(chosen) or 1) == cheapest


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((900, 900), (1, 1)),
        ((1, 1), (1, 1)),
        ((1, 5000), (1, 5)),
        ((1791, 1791), (1, 1)),  # two columns would be narrower than the encoder's input
        ((1792, 1792), (2, 2)),
        ((1920, 1080), (2, 1)),
        ((2480, 3508), (2, 3)),  # A4 at 300 dpi
        ((3000, 3000), (3, 3)),
        ((30000, 30000), (3, 3)),  # not 3x4: one axis alone gains nothing
        ((8960, 896), (9, 1)),  # the tenth window is worth just 10 %
        ((1700, 1792), (1, 1)),  # x keeps 53 % whatever is done, y has 50 % already
        ((30000, 900), (11, 1)),
    ],
)
def test_adaptive_grids_by_hand(size: tuple[int, int], grid: tuple[int, int]) -> None:
    crops = plan(*size, Adaptive())[1:]
    xs, ys = edges(crops or plan(*size, Adaptive()))
    assert (len(xs) - 1, len(ys) - 1) == grid


def test_without_tolerance_the_best_grid_is_taken() -> None:
    assert len(plan(8960, 896, Adaptive(tolerance=0))) == 11


def test_adaptive_boxes_written_out() -> None:
    assert [w.box for w in plan(7, 5, Adaptive(window_size=2, max_windows=7))] == [
        (0, 0, 7, 5),
        (0, 0, 2, 2), (2, 0, 4, 2), (4, 0, 7, 2),
        (0, 2, 2, 5), (2, 2, 4, 5), (4, 2, 7, 5),
    ]  # fmt: skip


def test_gemma3_boxes_written_out() -> None:
    whole = (0, 0, 1000, 301)
    crops = [(0, 0, 334, 301), (334, 0, 668, 301), (668, 0, 1000, 301)]  # min(3 fit, 3.3 rounded)
    assert [w.box for w in plan(1000, 301, Gemma3())] == [whole, *crops]


@pytest.mark.parametrize(("width", "crops"), [(595, 0), (600, 2), (1240, 2), (1250, 3), (1750, 4), (9000, 4)])
def test_gemma3_counts_by_shape_half_rounded_up(width: int, crops: int) -> None:
    assert len(plan(width, 500, Gemma3())) == 1 + crops
    assert len(plan(500, width, Gemma3())) == 1 + crops


@pytest.mark.parametrize("policy", [Gemma3(max_crops=0), Gemma3(max_crops=1)])
def test_a_single_crop_is_not_made(policy: Gemma3) -> None:
    assert len(plan(5000, 1000, policy)) == 1


def test_gemma_pytorchs_ratio_leaves_a_page_whole() -> None:
    assert len(plan(1240, 1754, Gemma3(min_ratio=1.5))) == 1
    assert len(plan(1240, 1754, Gemma3())) == 3


@pytest.mark.parametrize("policy", [Off(), Gemma3(), Adaptive()])
@pytest.mark.parametrize(("size", "name"), [((0, 5), "width"), ((5, -1), "height")])
def test_sizes_below_one_are_refused(policy: Policy, size: tuple[int, int], name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1"):
        plan(*size, policy)


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (-1, 0, 4, 4), (3, 3, 4, 3)])
def test_an_empty_or_negative_window_is_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="a window needs"):
        Window(*box)


def test_the_hardest_plan_is_quick() -> None:
    policy = Adaptive(window_size=1, max_windows=1000)
    plan(30000, 30000, policy)
    start = time.perf_counter()
    plan(30000, 29999, policy)
    assert time.perf_counter() - start < 0.1
