"""Cases under a scripted engine: what is asked, how it is scored, what it cost, and what fails."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("jiwer")

from fakes import TOKENS, ScriptedEngine, picture
from PIL import Image

from pan_and_scan import Window
from vlm.answer import Answer
from vlm.errors import OutageError, UsageError
from vlm.evaluation.compare import (
    Asking,
    Cutting,
    Filling,
    Outcome,
    Read,
    Reading,
    known_policies,
    run,
    schema_of,
)
from vlm.evaluation.folder import Item


@pytest.fixture
def wide(tmp_path: Path) -> Item:
    picture(1, 900, 224).save(tmp_path / "a.png")
    return Item("1", tmp_path / "a.png", "Total?", ("3.50",), "wide", "anls", text="Total\n3.50")


def asked(tmp_path: Path, item: Item, policy: str = "off", says: str = "3.50", suffix: str = "") -> Outcome:
    return Asking(ScriptedEngine(tmp_path, says=says).vlm(), suffix)(item, policy)


def test_policies_differ_in_windows_and_tokens(tmp_path: Path, wide: Item) -> None:
    engine = ScriptedEngine(tmp_path, says="3.50")
    outcomes = run(Asking(engine.vlm()), [wide], ("off", "gemma3", "adaptive"))
    assert [outcome.policy for outcome in outcomes] == ["off", "gemma3", "adaptive"]
    assert [outcome.encoded for outcome in outcomes] == [1, 1, 5]  # gemma3 makes no crops below 256 px
    assert [outcome.tokens for outcome in outcomes] == [TOKENS, TOKENS, 5 * TOKENS]
    assert all(outcome.right and outcome.seconds > 0 and outcome.said == "3.50" for outcome in outcomes)


def test_a_wrong_answer_is_scored_by_its_set(tmp_path: Path, wide: Item) -> None:
    near = asked(tmp_path, wide, says="3.60")
    assert near.scores == {"exact": 0.0, "anls": 0.75} and not near.right and near.quality == 0.75
    chart = asked(tmp_path, replace(wide, measure="relaxed"), says="3.60")
    assert chart.scores == {"exact": 0.0, "relaxed": 1.0, "anls": 0.75} and chart.right
    people = replace(wide, measure="textvqa", answers=("3.60",) * 2 + ("x",) * 8)
    assert asked(tmp_path, people, says="3.60").scores["textvqa"] == pytest.approx((2 / 3 + 8 * 2 / 3) / 10)


def test_the_suffix_follows_the_question(tmp_path: Path, wide: Item) -> None:
    engine = ScriptedEngine(tmp_path, says="3.50")
    Asking(engine.vlm(), "Answer shortly.")(wide, "off")
    (plan,) = engine.heard
    tokens = engine.tokenizer.encode_text("Total? Answer shortly.")
    assert any(list(plan.ids[at : at + len(tokens)]) == tokens for at in range(len(plan.ids)))


@dataclass(frozen=True)
class Found:
    box: tuple[int, int, int, int]
    image: int = 0


@dataclass(frozen=True)
class Told:
    """A model whose answer carries evidence, or data."""

    answer: Answer
    evidence: tuple[Found, ...] = ()
    data: object = None

    def ask(self, *arguments: Any) -> Any:
        return self

    def forget(self) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self.answer, name)


def answer(tmp_path: Path, says: str) -> Answer:
    return ScriptedEngine(tmp_path, says=says).vlm().ask(picture(1), "?", policy="off")


def test_evidence_of_right_answers_is_judged_by_its_top_box(tmp_path: Path, wide: Item) -> None:
    placed = replace(wide, boxes=((10, 10, 30, 30),))

    def scores(says: str, *found: Found) -> dict[str, float]:
        return Asking(cast(Any, Told(answer(tmp_path, says), found)))(placed, "off").scores

    hit, miss = Found((0, 0, 90, 112)), Found((500, 0, 600, 112))
    other_image = Found((0, 0, 40, 40), image=1)
    assert scores("3.50", hit, miss) == {"exact": 1.0, "anls": 1.0, "hit": 1.0, "area": 0.05}
    assert scores("3.50", miss, hit)["hit"] == 0.0
    assert scores("3.50", other_image)["hit"] == scores("3.50")["hit"] == 0.0  # nowhere is no place
    assert "hit" not in scores("9.99", hit)


def test_what_fails_counts_as_wrong_and_says_why(tmp_path: Path, wide: Item) -> None:
    (tmp_path / "torn.png").write_bytes(b"torn")
    torn = replace(wide, image=tmp_path / "torn.png")
    told: list[int] = []
    case = Asking(ScriptedEngine(tmp_path, says="3.50").vlm())
    failed, fine = run(case, [torn, wide], ("off",), lambda: told.append(1))
    assert "torn.png" in failed.error and not failed.right
    assert failed.scores["exact"] == failed.scores["anls"] == 0.0 and failed.said == ""
    assert fine.right and not fine.error and len(told) == 2


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_server_that_goes_away_ends_the_run(wide: Item, at_once: int) -> None:
    def away(item: Item, policy: str) -> Outcome:
        raise OutageError("nobody there")

    with pytest.raises(OutageError):
        run(away, [wide] * 3, ("off",), at_once=at_once)


def test_fields_are_asked_by_their_schema(tmp_path: Path, wide: Item) -> None:
    item = replace(wide, fields={"total": "3.50", "tax": None})
    heard: list[tuple[str, dict[str, Any], str]] = []

    def ask(image: Image.Image, question: str, schema: dict[str, Any], policy: str) -> Answer:
        heard.append((question, schema, policy))
        return answer(tmp_path, '{"total": "3.50", "tax": null}')

    outcome = Filling(ask)(item, "adaptive")
    assert heard == [("Give these fields as JSON: total, tax.", schema_of(item.fields), "adaptive")]
    assert outcome.right and outcome.told == {"total": "3.50", "tax": None}
    assert outcome.scores == {"exact": 1.0, "valid": 1.0}


@pytest.mark.parametrize(
    ("says", "valid", "quality"),
    [
        ('{"total": "3.50", "tax": "0.10"}', 1.0, 2 / 3),  # an invented tax
        ('{"total": 3.5, "tax": null}', 1.0, 0.0),
        ('{"total": "3.50"}', 0.0, 1.0),
        ('{"total": ', 0.0, 0.0), ("[]", 0.0, 0.0), ("no idea", 0.0, 0.0),
    ],
)  # fmt: skip
def test_fields_that_are_wrong(tmp_path: Path, wide: Item, says: str, valid: float, quality: float) -> None:
    item = replace(wide, fields={"total": "3.50", "tax": None})
    outcome = Filling(lambda *arguments: answer(tmp_path, says))(item, "off")
    assert not outcome.right and outcome.scores["valid"] == valid
    assert outcome.quality == pytest.approx(quality)


def test_a_schema_has_every_key_and_no_other() -> None:
    assert schema_of({"total": "1", "tax": None}) == {
        "type": "object",
        "properties": {"total": {"type": ["string", "null"]}, "tax": {"type": ["string", "null"]}},
        "required": ["total", "tax"],
        "additionalProperties": False,
    }


def test_pages_are_read_and_compared(wide: Item) -> None:
    windows = (Window(0, 0, 900, 224, "whole"), Window(0, 0, 450, 224, "blank"))
    read = Reading(lambda file, policy: Read("Total\n\n3.60", windows, 0.7, TOKENS))
    outcome = read(wide, "adaptive")
    assert outcome.quality == pytest.approx(0.9) and not outcome.right and outcome.encoded == 1
    assert (outcome.confidence, outcome.tokens, outcome.said) == (0.7, TOKENS, "Total\n\n3.60")
    assert Reading(lambda file, policy: Read("Total 3.50"))(wide, "off").right
    failed = Reading(lambda file, policy: Read("", error="loops"))(wide, "off")
    assert failed.error == "loops" and not failed.right


def test_windows_are_counted_without_a_model(wide: Item) -> None:
    off, adaptive = run(Cutting(window_size=224, tokens=64), [wide], ("off", "adaptive"))
    assert (off.encoded, off.tokens) == (1, 64) and (adaptive.encoded, adaptive.tokens) == (5, 320)


def test_what_can_be_scored(wide: Item) -> None:
    assert Asking.fits(wide) and not Asking.fits(replace(wide, answers=()))
    assert not Asking.fits(replace(wide, question=""))
    assert Reading.fits(wide) and not Reading.fits(replace(wide, text=" "))
    assert not Filling.fits(wide) and Filling.fits(replace(wide, fields={"a": None}))


def test_policies_are_known_by_name() -> None:
    assert known_policies(["off", "adaptive", "off"]) == ("off", "adaptive")
    with pytest.raises(UsageError, match="fine"):
        known_policies(["off", "fine"])


def test_every_case_is_timed_as_if_it_were_the_first(tmp_path: Path, wide: Item) -> None:
    engine = ScriptedEngine(tmp_path / "scripted", says="3.50")
    run(Asking(engine.vlm()), [wide], ("off", "adaptive"))
    assert engine.forgotten == 2
