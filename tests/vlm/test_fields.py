from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm.answer import Answer, Timings, Usage
from vlm.errors import UsageError
from vlm.fields import field_spans, fields_of, tokens_of


def answered(*tokens: tuple[str | bytes, float]) -> Answer:
    """An answer of these tokens and their probabilities."""
    pieces = tuple(piece if isinstance(piece, bytes) else piece.encode() for piece, _ in tokens)
    text = b"".join(pieces).decode()
    return Answer(
        text=text,
        model="none",
        finish_reason="stop",
        windows=(),
        usage=Usage(0, 0, len(tokens)),
        timings=Timings(0, 0, 0, 0),
        ids=tuple(range(len(tokens))),
        logprobs=tuple(math.log(chance) for _, chance in tokens),
        pieces=pieces,
        data=json.loads(text),
    )


def test_spans_by_literals() -> None:
    text = '{"a":"xy","b":{"c":[1,-2.5e3,true],"d":[]},"e":null,"f":""}'
    spans = field_spans(text)
    assert list(spans) == ["/a", "/b/c/0", "/b/c/1", "/b/c/2", "/b/d", "/e", "/f"]
    assert [text[start:end] for start, end in spans.values()] == (
        ["xy", "1", "-2.5e3", "true", "[]", "null", '""']
    )


def test_an_answer_that_is_one_value_has_one_field() -> None:
    assert field_spans("12") == {"": (0, 2)}
    assert field_spans(' "a" ') == {"": (2, 3)}


def test_paths_are_json_pointers() -> None:
    assert list(field_spans('{"a/b":1,"m~n":2,"":3,"q\\"\\u00e9":4}')) == ["/a~1b", "/m~0n", "/", '/q"é']


def test_the_last_of_equal_keys_counts() -> None:
    assert field_spans('{"a":{"b":1},"ab":5,"a":7}') == {"/ab": (18, 19), "/a": (24, 25)}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def leaves(data: Any) -> list[Any]:
    inner = data if isinstance(data, list) else list(data.values()) if isinstance(data, dict) else []
    return [leaf for value in inner for leaf in leaves(value)] if inner else [data]


@given(JSON, st.booleans(), st.sampled_from([None, 1]))
def test_every_value_stands_where_its_span_says(data: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(data, ensure_ascii=ascii_only, indent=indent)
    found = []
    for start, end in field_spans(text).values():
        raw = text[start:end]
        quoted = text[start - 1 : start] == '"' and text[end : end + 1] == '"'
        found.append(json.loads(f'"{raw}"' if quoted else raw))
    assert found == leaves(data)


def test_what_is_no_json_has_no_fields() -> None:
    for text in ("", "{", "[1,", "total: 5", "[" * 100_000):
        with pytest.raises(UsageError, match="fields need"):
            field_spans(text)


def test_confidence_is_of_the_tokens_that_write_the_value() -> None:
    answer = answered(
        ('{"a":', 0.9),
        ('"', 0.8),
        ("x", 0.5),
        ("y", 0.3),
        ('"', 0.7),
        (',"b":', 0.9),
        ("1", 0.6),
        ("2}", 0.2),
    )
    a, b = fields_of(answer)
    assert (a.path, a.value, answer.text[a.start : a.end]) == ("/a", "xy", "xy")
    assert a.confidence == pytest.approx((0.5 + 0.3) / 2)
    assert (b.path, b.value) == ("/b", 12) and b.confidence == pytest.approx((0.6 + 0.2) / 2)


def test_tokens_may_be_parts_of_characters_and_hold_several_values() -> None:
    answer = answered(('["', 0.9), (b"\xe6", 0.4), (b"\xbc\xa2", 0.6), ('",1,2', 0.5), ("]", 0.9))
    first, second, third = fields_of(answer)
    assert first.value == "漢" and first.confidence == pytest.approx(0.5)
    assert second.confidence == third.confidence == pytest.approx(0.5)
    assert tokens_of(answer, first.start, first.end) == range(1, 3)
    assert tokens_of(answer, third.start, third.end) == range(3, 4)
