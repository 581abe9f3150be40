"""Of many pages, those that matter are asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawn import letter
from fakes import ScriptedEngine, picture
from scripted_pages import FakePage, TurnByTurn

from vlm.cli_documents import found_to_json
from vlm.constrain import Constraint
from vlm.errors import UsageError
from vlm.reading.choose import ask_pages, rank, word_scores
from vlm.reading.record import Block, Line
from vlm.reading.textlayer import TextLayer
from vlm.reading.upright import turned
from vlm.session import Options

PAGES = ("The invoice of March. Total 12.40", "Terms and conditions of the invoice", "Our gardens in March")


def typed(number: int, text: str) -> FakePage:
    line = Line(text, (0, 0, 10, 10), 1.0)
    return FakePage(picture(number), TextLayer((Block((line,)),), sound=True, why=""), number=number)


def test_rare_words_count_more() -> None:
    total, terms, gardens = word_scores("What is the total of the invoice?", PAGES)
    assert total > terms > gardens >= 0.0 and total <= 1.0
    assert word_scores("What are the totals?", PAGES)[0] > 0.5  # another form of the word
    assert word_scores("", PAGES) == [0.0, 0.0, 0.0] and word_scores("total", []) == []


def test_typed_pages_are_ranked_without_the_model(tmp_path: Path) -> None:
    engine = ScriptedEngine(tmp_path)
    pages = [typed(number, text) for number, text in enumerate(PAGES[::-1], start=1)]
    ranking = rank(engine.vlm(), pages, "What is the total?")  # type: ignore[arg-type]
    assert [scored.page.number for scored in ranking] == [3, 2, 1] and engine.heard == []
    assert {scored.by for scored in ranking} == {"text layer"}


def test_scans_are_looked_at_once_and_the_surest_is_asked_in_full(tmp_path: Path) -> None:
    engine = TurnByTurn(tmp_path, turns=("Not in the image.", "24.85", "Not in the image.", "24.85 EUR"))
    pages = [FakePage(letter().image, number=n) for n in (1, 2, 3)]
    found = ask_pages(engine.vlm(), pages, "What is the total?", Options(), most=1)  # type: ignore[arg-type]
    assert (found.answer.text, found.page.number) == ("24.85 EUR", 2)
    assert [scored.page.number for scored in found.ranking] == [2, 1, 3]
    *looks, full = [len(plan.spans) for plan in engine.heard]
    assert looks == [1, 1, 1] and full > 1  # first looks are one window


def test_an_answer_beats_silence(tmp_path: Path) -> None:
    engine = TurnByTurn(tmp_path, turns=("Not in the image.", "yes"))
    pages = [typed(1, "total total"), typed(2, "the total")]
    found = ask_pages(engine.vlm(), pages, "Total?", Options())  # type: ignore[arg-type]
    assert (found.answer.text, found.page.number) == ("yes", 2)


def test_fields_that_are_all_null_are_silence(tmp_path: Path) -> None:
    class LessSure(TurnByTurn):
        def _say(self, said, max_tokens):  # type: ignore[no-untyped-def]
            self.sure = -0.1 if "null" in self.says else -0.5
            yield from super()._say(said, max_tokens)

    engine = LessSure(tmp_path, turns=('{"total":null}', '{"total":12.4}'))
    schema = {"type": "object", "properties": {"total": {"type": ["number", "null"]}}, "required": ["total"]}
    pages = [typed(1, "total total"), typed(2, "the total")]
    options = Options(constraint=Constraint.schema(schema))
    found = ask_pages(engine.vlm(), pages, "Total?", options)  # type: ignore[arg-type]
    assert (found.answer.data, found.page.number) == ({"total": 12.4}, 2)


def test_a_page_on_its_side_is_asked_both_ways_up(tmp_path: Path) -> None:
    class SurerUpright(TurnByTurn):
        def _say(self, said, max_tokens):  # type: ignore[no-untyped-def]
            self.sure = -0.1 if self.says == "right" else -0.5
            yield from super()._say(said, max_tokens)

    level = letter().image
    for quarter, turns in ((90, ("wrong", "right")), (270, ("right", "wrong"))):
        engine = SurerUpright(tmp_path, turns=turns)
        lying = turned(level, quarter)[0]
        found = ask_pages(engine.vlm(), [FakePage(lying)], "Total?", Options(policy="gemma3"))  # type: ignore[arg-type]
        assert found.answer.text == "right" and len(engine.heard) == 2
        assert found.turn.degrees == (90.0 if turns[0] == "right" else -90.0)
        assert found.shown(lying).tobytes() == level.tobytes()
        told = found_to_json(found)
        assert told["page"]["turned"] == found.turn.degrees
        wide, high = level.size
        assert len(told["windows"]) > 2
        for used, upright in zip(told["windows"], found.answer.windows, strict=True):
            left, top, right, bottom = upright.window.box
            lies = (top, wide - right, bottom, wide - left)  # turned to the left
            if quarter == 270:
                lies = (high - bottom, left, high - top, right)
            assert tuple(used["box"]) == lies
    engine = TurnByTurn(tmp_path, turns=("once",))
    found = ask_pages(engine.vlm(), [FakePage(level)], "Total?", Options())  # type: ignore[arg-type]
    assert len(engine.heard) == 1 and found.turn.degrees == 0.0


def test_damaged_pages_are_passed_over(tmp_path: Path) -> None:
    engine = ScriptedEngine(tmp_path)
    pages = [FakePage(None, number=1), typed(2, "total")]
    found = ask_pages(engine.vlm(), pages, "Total?", Options())  # type: ignore[arg-type]
    assert found.page.number == 2 and found.ranking[-1].by == "unreadable"
    with pytest.raises(UsageError, match="none of the pages can be read"):
        ask_pages(engine.vlm(), pages[:1] * 2, "Total?", Options())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="page 3 is damaged"):  # of a single page, its own trouble
        ask_pages(engine.vlm(), pages[:1], "Total?", Options())  # type: ignore[arg-type]
