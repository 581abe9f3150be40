"""Normalised texts as the evaluators of VQA print them."""

from __future__ import annotations

import pytest

from vlm.evaluation.vqa_text import normalised


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("The Cat", "cat"), ("two", "2"), ("none", "0"), ("ten a an", "10"),
        ("1,000", "1000"), ("$3.50", "$3.50"), ("St. Mary", "st mary"), ("end.", "end"),
        ("dont", "don't"), ("couldnt've", "couldn't've"), ("couldn'tve", "couldn't've"), ("twas", "'twas"),
        ("john's", "john 's"), ("what?", "what"), ("a-b", "b"), ("x-y", "x y"), ("x - y", "x y"),
        ("x -y z-w", "x y zw"),  # a mark beside a space anywhere is dropped everywhere
        ("  two\nlines ", "2 lines"), ("(c)", "c"), ("", ""),
    ],
)  # fmt: skip
def test_normalised(text: str, same_as: str) -> None:
    assert normalised(text) == same_as
