"""Every answer is true of its page, and every answer character points to its glyph."""

from __future__ import annotations

import random

import pytest
from PIL import Image

from vlm.training.page import ABSENT, Fact, Glyph, Mark, Page, Question
from vlm.training.questions import (
    FIRST,
    LONGEST,
    SECOND,
    _alike,
    absent_question,
    fact_question,
    talk_about,
    talk_about_two,
    whole_question,
    worded,
)
from vlm.training.wordings import ABSENT_KEYS, WORDINGS

DECOYS = ("zebra", "quartz")


def page_of(*lines: str, facts: tuple[Fact, ...] = ()) -> Page:
    glyphs = [
        Glyph(char, 8.0 * column, 20.0 * row)
        for row, line in enumerate(lines)
        for column, char in enumerate(line)
    ]
    return Page(Image.new("RGB", (8, 8)), lines, tuple(glyphs), facts)


RECEIPT = page_of(
    "Corner Shop",
    "Tea 3.10",
    "Total 3.10",
    facts=(
        Fact("shop", "Corner Shop", at=tuple(range(11))),
        Fact("price", "3.10", "Tea", at=(15, 16, 17, 18)),
        Fact("total", "3.10", at=(25, 26, 27, 28)),
        Fact("item_count", "1"),
    ),
)


def _check(question: Question) -> None:
    assert len(question.sources) == len(question.answer)
    for char, glyph in zip(question.answer, question.sources, strict=True):
        assert glyph is None or glyph.char == char


def test_a_conversation_asks_different_things_and_every_answer_has_its_glyphs() -> None:
    rng = random.Random(1)
    answers: set[str] = set()
    for _ in range(300):
        questions = talk_about(RECEIPT, rng, DECOYS, turns=3)
        assert 1 <= len(questions) <= 3 + 1  # and a transcription
        assert len({question.text for question in questions}) == len(questions)
        for question in questions:
            _check(question)
            answers.add(question.answer)
    whole = "Corner Shop\nTea 3.10\nTotal 3.10"
    assert answers >= {whole, "3.10", "Tea 3.10", "Yes", "No", "3", "1", ABSENT}


def test_only_the_newlines_of_a_transcription_have_no_glyph() -> None:
    question = whole_question(RECEIPT, random.Random(1))
    assert question is not None
    without = [char for char, glyph in zip(question.answer, question.sources, strict=True) if glyph is None]
    assert without == ["\n", "\n"]


def test_a_page_too_long_to_say_is_not_transcribed() -> None:
    assert whole_question(page_of("x" * LONGEST), random.Random(1)) is None


def test_what_is_told_twice_differently_is_not_asked() -> None:
    twice = page_of("1 2", facts=(Fact("total", "1", at=(0,)), Fact("total", "2", at=(2,))))
    assert fact_question(twice, random.Random(1)) is None
    alike = page_of("1 1", facts=(Fact("total", "1", at=(0,)), Fact("total", "1", at=(2,))))
    assert fact_question(alike, random.Random(1)) is not None


def test_yes_and_no_are_true() -> None:
    rng = random.Random(2)
    seen: set[str] = set()
    for _ in range(600):
        for question in talk_about(page_of("red fox", "ran"), rng, DECOYS, turns=1):
            if question.answer in ("Yes", "No"):
                named = question.text.split('"')[1]
                assert (question.answer == "Yes") == (named in ("red", "fox", "ran"))
                seen.add(question.answer)
    assert seen == {"Yes", "No"}


def test_absent_is_never_said_of_what_is_there() -> None:
    rng = random.Random(3)
    asked = [question.text for _ in range(800) if (question := absent_question(RECEIPT, rng, DECOYS))]
    assert len(set(asked)) > 40
    for key in ("total", "shop"):
        assert not {worded(wording, "") for wording in WORDINGS[key]} & set(asked)


def test_of_two_images_the_named_one_is_meant() -> None:
    rng = random.Random(4)
    pages = (page_of("alpha beta"), page_of("gamma delta"))
    seen: set[str] = set()
    for _ in range(300):
        for question in talk_about_two(pages, rng, DECOYS):
            _check(question)
            if question.answer in (FIRST, SECOND):
                word = question.text.split('"')[1]
                assert (word in "alpha beta") == (question.answer == FIRST)
                seen.add(question.answer)
            elif question.sources and question.sources[0] is not None:
                assert question.sources[0] in pages[question.image].glyphs
    assert seen == {FIRST, SECOND}


def test_a_subject_in_two_parts_fills_both() -> None:
    assert worded("What is the {b} of {a}?", "Tea / price") == "What is the price of Tea?"
    assert worded("{subject}?", "blood group") == "Blood group?"


@pytest.mark.parametrize("key", ABSENT_KEYS)
def test_every_key_that_can_be_absent_can_be_asked(key: str) -> None:
    assert WORDINGS[key]


def test_a_page_nobody_noted_facts_of_is_asked_for_named_things_only() -> None:
    rng = random.Random(5)
    lines = page_of("thoracic@were.co.uk", "12 Mill Lane")
    asked = [question.text for _ in range(300) if (question := absent_question(lines, rng, DECOYS))]
    assert asked and all(any(decoy in text.lower() for decoy in DECOYS) for text in asked)


def test_what_another_fact_answers_is_not_called_absent() -> None:
    rng = random.Random(6)
    penalty = page_of("You pay 300", facts=(Fact("fine", "300", at=(8, 9, 10)),))
    asked = {question.text for _ in range(600) if (question := absent_question(penalty, rng, DECOYS))}
    assert asked and not asked & set(WORDINGS["total"])


def test_the_word_of_one_image_does_not_hide_in_the_other() -> None:
    rng = random.Random(7)
    pages = (page_of("to table"), page_of("Tablecloth Tomato zinc"))
    for _ in range(200):
        for question in talk_about_two(pages, rng, DECOYS):
            if question.answer in (FIRST, SECOND):
                assert question.text.split('"')[1] in ("Tablecloth", "Tomato", "zinc")


def test_lines_side_by_side_are_not_counted() -> None:
    rng = random.Random(8)
    glyphs = (Glyph("a", 0, 0), Glyph("b", 0, 20), Glyph("c", 90, 0))
    columns = Page(Image.new("RGB", (8, 8)), ("a", "b", "c"), glyphs)
    for _ in range(200):
        for question in talk_about(columns, rng, DECOYS, turns=2):
            assert "line" not in question.text


def test_what_is_seen_is_looked_for_at_its_place() -> None:
    mark = Mark("red", "star", 30.0, 40.0, 5, 5)
    page = Page(Image.new("RGB", (80, 80)), (), (), (Fact("color", "red", "star", marks=(0,)),), (mark,))
    question = fact_question(page, random.Random(1))
    assert question is not None and question.answer == "red"
    assert question.seen == (mark,) and not question.is_read
    # Two yes in a row are no copy: nothing is read.
    yes = [Question(f"Is it {n}?", "Yes", (None,) * 3, seen=(mark,)) for n in range(2)]
    assert not _alike(*yes)
