"""What is computed in: named, small, or measured."""

import dataclasses

import pytest

from tests.vlm.tiny import TINY
from vlm import precision
from vlm.config import PRESETS
from vlm.errors import UsageError
from vlm.precision import checked_dtype, chosen_dtype, fastest, seconds_by_dtype


def test_what_is_named_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "seconds_by_dtype", lambda config: pytest.fail("measured"))
    assert chosen_dtype("bf16", PRESETS["4b"].text) == "bf16"
    assert chosen_dtype("auto", TINY) == "fp32"  # too small to measure


def test_auto_takes_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "seconds_by_dtype", lambda config: {"fp32": 3.0, "bf16": 2.0, "int8": 1.0})
    assert chosen_dtype("auto", PRESETS["270m"].text) == "int8"
    assert fastest({"fp32": 1.2, "bf16": 2.0, "int8": 1.0}) == "fp32"  # hardly slower, and exact


def test_every_form_is_measured() -> None:
    narrow = dataclasses.replace(TINY, hidden_size=64, intermediate_size=128)
    seconds = seconds_by_dtype(narrow)
    assert set(seconds) == {"fp32", "bf16", "int8"} and all(taken > 0 for taken in seconds.values())


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown dtype 'fp8'.*auto, fp32, bf16, int8"):
        checked_dtype("fp8")
