"""Attention there and back, and what is refused on the way."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pan_and_scan import Window
from vlm.evidence import Attention, Place
from vlm.wire import attention_from_json, attention_to_json, window_from_json


def attention(rows: int) -> Attention:
    places = (Place(0, Window(0, 0, 80, 60, "whole")), Place(0, Window(40, 0, 80, 60)))
    torch.manual_seed(rows)
    return Attention(torch.rand(rows, 8), places, tokens=4)


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_attention_comes_back_to_the_last_bit(rows: int) -> None:
    sent = attention(rows)
    got = attention_from_json(json.loads(json.dumps(attention_to_json(sent))))
    assert torch.equal(got.rows_NS, sent.rows_NS) and got.rows_NS.dtype == torch.float32
    assert (got.places, got.tokens) == (sent.places, sent.tokens)
    assert got.evidence() == sent.evidence()
    if rows:
        assert got.point(rows - 1) == sent.point(rows - 1)


def test_one_number_written_out() -> None:
    place = Place(2, Window(1, 2, 3, 4))
    assert attention_to_json(Attention(torch.ones(1, 1), (place,), tokens=1)) == {
        "tokens": 1,
        "windows": [{"image": 2, "box": [1, 2, 3, 4], "kind": "crop"}],
        "rows": "AACAPw==",  # 1.0 as little-endian float32
    }


def rows_of(value: float) -> str:
    return base64.b64encode(struct.pack("<8f", *[value] * 8)).decode()


@pytest.mark.parametrize(
    "changes",
    [
        {"tokens": 3},
        {"tokens": True},
        {"tokens": 16},
        {"windows": {}},
        {"windows": [[0, 0, 80, 60]]},
        {"rows": None},
        {"rows": "AACAPw"},
        {"rows": "AACAPw=="},
        {"rows": rows_of(float("nan"))},
        {"rows": rows_of(float("inf"))},
        {"rows": rows_of(-0.5)},
    ],
)
def test_something_else_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        attention_from_json(attention_to_json(attention(1)) | changes)


NUMBERS = st.integers() | st.floats()
VALUES = st.none() | st.booleans() | NUMBERS | st.text() | st.lists(NUMBERS, max_size=5)


@given(image=VALUES, box=VALUES, kind=VALUES)
def test_a_window_is_one_or_refused(image: Any, box: Any, kind: Any) -> None:
    whole = {"image": 0, "box": [0, 0, 1, 1], "kind": "crop"}
    for told in (whole | {"image": image, "box": box}, whole | {"kind": kind}):
        try:
            index, window = window_from_json(told)
        except ValueError:
            continue
        assert index >= 0 and window.left < window.right and window.top < window.bottom
