"""Loops are found, honest repetition is not one."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from vlm.answer import Answer, AnswerStream, Timings, Usage
from vlm.reading.loops import loop_of, open_string, unlooped


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


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ('{"a": "so f', "so f"),
        ('{"a": "said \\"so', 'said \\"so'),
        ('{"a": "whole", "b', "b"),
        ('{"a": "whole"', ""),
        ('{"path": "C:\\\\"', ""),
        ("[1, 2", ""),
        ("", ""),
    ],
)
def test_the_string_that_a_json_text_breaks_off_in(text: str, held: str) -> None:
    assert open_string(text) == held


def said(text: str) -> tuple[AnswerStream, list[str]]:
    """A stream of single characters, and what was read of it."""
    given: list[str] = []

    def pieces() -> Generator[str | Answer]:
        for character in text:
            given.append(character)
            yield character
        yield Answer(text, "nobody", "stop", (), Usage(0, 0, 0), Timings(0, 0, 0, 0))

    return AnswerStream(pieces()), given


@pytest.mark.parametrize("text", ['{"a": "' + "1.00 kg " * 60, "[" + '{"price":null},' * 40])
def test_json_that_goes_in_circles_is_given_up_early(text: str) -> None:
    stream, given = said(text)
    assert unlooped(stream) is None
    assert len(given) < len(text) - 100


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "no loop at all"}',
        "[" + ",".join(['{"price":0.5}'] * 8) + "]",
        '["' + '","'.join("ab" * 9) + '"]',
    ],
)
def test_json_that_repeats_itself_in_good_faith_is_read_to_its_end(text: str) -> None:
    stream, _ = said(text)
    answer = unlooped(stream)
    assert answer is not None and answer.text == text
