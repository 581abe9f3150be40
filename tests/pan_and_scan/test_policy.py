"""Settings: names, budgets and what is refused."""

import math

import pytest

from pan_and_scan import Adaptive, Gemma3, Off, named_policy, plan
from pan_and_scan.policy import POLICY_NAMES


@pytest.mark.parametrize("name", POLICY_NAMES)
def test_a_policy_answers_to_its_name(name: str) -> None:
    assert named_policy(name).name == name


def test_published_numbers_are_the_defaults() -> None:
    assert named_policy("gemma3") == Gemma3(min_crop_size=256, max_crops=4, min_ratio=1.2)
    assert named_policy("adaptive") == Adaptive(max_windows=13, window_size=896, skip_blank=True)
    assert named_policy("off") == Off()


@pytest.mark.parametrize(("max_windows", "crops"), [(1, 0), (2, 0), (3, 2), (4, 3), (5, 4), (50, 4)])
def test_gemma3_budget_counts_the_whole_image(max_windows: int, crops: int) -> None:
    assert len(plan(8000, 1000, named_policy("gemma3", max_windows=max_windows))) == 1 + crops


def test_adaptive_takes_budget_and_the_encoders_size() -> None:
    assert named_policy("adaptive", max_windows=5, window_size=224) == Adaptive(
        max_windows=5, window_size=224
    )


@pytest.mark.parametrize("name", POLICY_NAMES)
@pytest.mark.parametrize("numbers", [{"max_windows": 0}, {"max_windows": -3}, {"window_size": 0}])
def test_numbers_out_of_range_are_named(name: str, numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(numbers))} must be an integer of at least 1"):
        named_policy(name, **numbers)


def test_unknown_policy_lists_the_known() -> None:
    with pytest.raises(ValueError, match="unknown policy 'tiles'; choose one of off, gemma3, adaptive"):
        named_policy("tiles")


@pytest.mark.parametrize("ratio", [0.99, -1, math.nan, math.inf])
def test_ratio_below_one_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="min_ratio must be a number of at least 1"):
        Gemma3(min_ratio=ratio)


def test_adaptive_refuses_zero() -> None:
    with pytest.raises(ValueError, match="max_windows"):
        Adaptive(max_windows=0)
    with pytest.raises(ValueError, match="window_size"):
        Adaptive(window_size=0)


@pytest.mark.parametrize("tolerance", [-1, 100])
def test_tolerance_is_a_percentage(tolerance: int) -> None:
    with pytest.raises(ValueError, match="tolerance"):
        Adaptive(tolerance=tolerance)


@pytest.mark.parametrize("field", ["min_crop_size", "max_crops"])
def test_gemma3_refuses_negative_numbers(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Gemma3(**{field: -1})
