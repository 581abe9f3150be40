"""Judging, the table's arithmetic, and cases that are the same for the same seed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("fontTools")
pytest.importorskip("typst")
pytest.importorskip("jiwer")

from fakes import ScriptedEngine
from PIL import Image

from vlm.evaluation.scores import DOCVQA, READING, Outcome, Score, auroc, run, same, within_five_percent
from vlm.evaluation.tasks import Case, cases
from vlm.scheduler import ClosedError, SharedEngine
from vlm.session import VLM
from vlm.training.page import ABSENT

PIXEL = Image.new("RGB", (1, 1))


def outcome(answer: str, said: str, confidence: float = 0.5) -> Outcome:
    return Outcome(Case((PIXEL,), "?", answer), said, same(answer, said), confidence)


def test_equal_after_trimming_only() -> None:
    assert same("3.10", " 3.10\n") and not same("3.10", "3.1") and not same("Tea", "tea")


@pytest.mark.parametrize(
    ("truth", "said", "right"),
    [
        ("100", "104", True), ("100", "106", False), ("1,000", "1020", True), ("-4", "-4.1", True),
        ("12 %", "12.5", True), ("12", "none", False), ("none", "none", True), ("12", "", False),
    ],
)  # fmt: skip
def test_values_may_be_five_percent_off(truth: str, said: str, right: bool) -> None:
    assert within_five_percent(truth, said) is right


def test_rates_of_a_score() -> None:
    outcomes = (outcome("abcd", "abcx"), outcome("ab", "ab"), outcome("xy", ABSENT), outcome("q", "q"))
    score = Score(READING[0], outcomes, 0.1)
    assert score.right == 0.5 and score.refused == 0.25
    assert score.cer == pytest.approx((1 + len(ABSENT)) / 9, abs=0.25)
    row = score.to_json()
    assert row["task"] == "short" and row["images"] == 4 and row["bar"] == 0.15 and "cer" in row
    assert "cer" not in Score(DOCVQA[0], outcomes, 0.1).to_json()


def test_auroc_is_the_chance_that_right_is_surer_than_wrong() -> None:
    right = [outcome("a", "a", sure) for sure in (0.9, 0.8, 0.4)]
    wrong = [outcome("a", "b", sure) for sure in (0.5, 0.4)]
    assert auroc([*right, *wrong]) == pytest.approx((2 + 2 + 0.5) / 6)
    assert math.isnan(auroc(right)) and math.isnan(auroc([]))
    sorted_well = [replace(one, probability=0.1 * one.right) for one in (*right, *wrong)]
    assert auroc(sorted_well, lambda one: one.probability) == 1.0


def test_every_task_has_its_own_name() -> None:
    for table in (READING, DOCVQA):
        assert len({task.name for task in table}) == len(table)


@pytest.mark.parametrize("task", [*READING, *DOCVQA], ids=lambda task: task.title)
def test_cases_are_the_same_for_the_same_seed(task: object) -> None:
    from vlm.evaluation.scores import Task

    assert isinstance(task, Task)
    try:
        first, second = (list(cases(task.make, "heldout", 2, seed=5)) for _ in range(2))
    except FileNotFoundError:
        pytest.skip("the fonts of `make fonts` are not installed")
    for a, b in zip(first, second, strict=True):
        assert (a.question, a.answer) == (b.question, b.answer)
        assert [image.tobytes() for image in a.images] == [image.tobytes() for image in b.images]
        assert a.question and a.answer


def test_a_run_asks_and_judges_every_case(tmp_path: Path) -> None:
    engine = ScriptedEngine(tmp_path, says=ABSENT)
    absent = next(task for task in DOCVQA if task.name == "absent")
    told: list[int] = []
    try:
        score = run(engine.vlm(), absent, "heldout", 3, seed=1, on_answer=lambda: told.append(1))
    except FileNotFoundError:
        pytest.skip("the fonts of `make fonts` are not installed")
    assert score.right == score.refused == 1.0 and len(told) == len(engine.heard) == 3


@pytest.mark.usefixtures("fonts")
def test_a_shared_model_answers_as_one_that_is_asked_alone() -> None:
    task = next(task for task in DOCVQA if task.name == "extremes")
    alone = run(VLM.load("mini"), task, "heldout", 6, seed=1)
    together = run(VLM.load("mini").shared(), task, "heldout", 6, seed=1)
    assert [one.case.answer for one in together.outcomes] == [one.case.answer for one in alone.outcomes]
    assert [one.said for one in together.outcomes] == [one.said for one in alone.outcomes]


@pytest.mark.usefixtures("fonts")
def test_a_model_that_is_shut_down_ends_the_run() -> None:
    model = VLM.load("mini").shared()
    assert isinstance(model.engine, SharedEngine)
    model.engine.close()
    with pytest.raises(ClosedError):
        run(model, next(task for task in DOCVQA if task.name == "shapes"), "heldout", 20, seed=1)
