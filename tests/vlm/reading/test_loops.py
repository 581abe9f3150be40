"""Loops are found, honest repetition is not one."""

from __future__ import annotations

import pytest

from vlm.reading.loops import loop_of


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("Total " + "Change\n" * 8, "Change\n"),
        ("x" * 48, "x"),
        ('{"name": "' + "Anna Maria " * 5, "Anna Maria "),
        (
            "a" + "A long sentence that is said over and over. " * 4,
            "A long sentence that is said over and over. ",
        ),
    ],
)
def test_a_loop_is_found(text: str, piece: str) -> None:
    assert sorted(loop_of(text)) == sorted(piece)  # it may begin anywhere in the piece


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ha ha ha ha",
        "0.00\n0.00\n0.00\n0.00\n0.00\n",
        "A" * 47,
        "A long sentence that is said over and over. " * 3,
        "Change\n" * 8 + "Total",
        " " * 200,
    ],
)
def test_honest_repetition_is_none(text: str) -> None:
    assert loop_of(text) == ""
