"""Scores against written-out values, each worked out by hand from its definition."""

from __future__ import annotations

import pytest

pytest.importorskip("jiwer")

from hypothesis import given
from hypothesis import strategies as st

from vlm.evaluation import metrics


@pytest.mark.parametrize(
    ("answers", "said", "score"),
    [
        (("3.10",), " 3.10\n", 1.0), (("3.10",), "3.1", 0.0), (("a", "b"), "b", 1.0), (("Tea",), "tea", 0.0),
        ((), "a", 0.0),
    ],
)  # fmt: skip
def test_exact_match_trims_and_no_more(answers: tuple[str, ...], said: str, score: float) -> None:
    assert metrics.exact(answers, said) == score


@pytest.mark.parametrize(
    ("answers", "said", "score"),
    [
        (("Tea House",), "  tea   house ", 1.0),  # capitals and white space don't count
        (("abcd",), "abcx", 0.75),  # one of four
        (("abcde",), "abcdefg", 1 - 2 / 7),  # over the longer one
        (("abcd",), "abxy", 0.0),  # half is wrong altogether
        (("abcde",), "abcxy", 0.6),  # 0.4 is below the threshold
        (("nothing alike", "abcx"), "abcd", 0.75),  # the best answer counts
        (("a",), "", 0.0),
        ((), "a", 0.0),
    ],
)
def test_anls_by_its_equation(answers: tuple[str, ...], said: str, score: float) -> None:
    assert metrics.anls(answers, said) == pytest.approx(score)


def test_textvqa_leaves_each_person_out_once() -> None:
    others = [f"other{n}" for n in range(10)]
    # One who agrees is left out once (0 of 9) and in nine times (1 / 3 each).
    assert metrics.textvqa(["x", *others[:9]], "x") == pytest.approx(9 / 3 / 10)
    assert metrics.textvqa(["x"] * 2 + others[:8], "x") == pytest.approx((2 * 1 / 3 + 8 * 2 / 3) / 10)
    assert metrics.textvqa(["x"] * 3 + others[:7], "x") == pytest.approx((3 * 2 / 3 + 7) / 10)
    assert metrics.textvqa(["x"] * 4 + others[:6], "x") == 1.0
    assert metrics.textvqa(others, "x") == 0.0 and metrics.textvqa([], "x") == 0.0


def test_textvqa_normalises_both() -> None:
    assert metrics.textvqa(["The Dogs' two"] * 10, "dogs' 2") == 1.0


@pytest.mark.parametrize(
    ("answer", "said", "right"),
    [
        ("100", "105", True), ("100", "105.1", False), ("100", "95", True), ("-4", "-4.1", True),
        ("12%", "12.5%", True), ("12%", "12", False), ("0.12", "12%", True), ("0", "0.01", False),
        ("0", "0", True), ("Tennis", "tennis", True), ("Tennis", "Golf", False), ("5", "five", False),
        ("2019", "1920", True),  # a year is a number to it, as published
    ],
)  # fmt: skip
def test_relaxed_correctness(answer: str, said: str, right: bool) -> None:
    assert metrics.relaxed((answer,), said) == float(right)


def test_error_rates_are_over_all_pages_and_ignore_line_ends() -> None:
    # 1 wrong of 4 characters and 0 of 6: micro 1 / 10, not the mean 1 / 8.
    assert metrics.cer(["abcd", "ab\ncde"], ["abcx", "ab\n\ncde "]) == pytest.approx(1 / 10)
    assert metrics.wer(["a b c", "d"], ["a x c", "d"]) == pytest.approx(1 / 4)
    assert metrics.cer(["ab", " "], ["ab", "noise"]) == 0.0  # nothing to divide by


def test_field_f1_is_micro_and_null_is_no_pair() -> None:
    truths = [{"total": "3.50", "tax": None}, {"date": "1.2.20", "shop": "Bob"}]
    said = [{"total": " 3.50 ", "tax": "0.10"}, {"date": "1.2.2020", "shop": None}]
    # Found 1 of 3; said 3 pairs, of which 1 is right: 2 * 1 / (3 + 3).
    assert metrics.field_f1(truths, said) == pytest.approx(1 / 3)
    assert metrics.field_f1([{"tax": None}], [{"tax": None}]) == 1.0
    assert metrics.field_f1([{"tax": None}], [{"tax": "1"}]) == 0.0


def test_evidence_hits_where_a_true_centre_lies_in_the_top_box() -> None:
    truth = (10, 10, 20, 20)
    assert metrics.evidence_hit([truth], (0, 0, 16, 16)) == 1.0
    assert metrics.evidence_hit([truth], (0, 0, 15, 16)) == 0.0  # right edge not included
    assert metrics.evidence_hit([(90, 90, 99, 99), truth], (15, 15, 16, 16)) == 1.0
    assert metrics.evidence_hit([truth], (16, 0, 40, 40)) == 0.0


@given(st.lists(st.text(max_size=12), min_size=1, max_size=10), st.text(max_size=12))
def test_every_score_is_a_share(answers: list[str], said: str) -> None:
    for score in (metrics.exact, metrics.anls, metrics.textvqa, metrics.relaxed):
        assert 0.0 <= score(answers, said) <= 1.0


@given(st.text(min_size=1, max_size=20).filter(str.strip))
def test_the_truth_itself_is_right(text: str) -> None:
    assert metrics.exact([text], text) == metrics.anls([text], text) == metrics.relaxed([text], text) == 1.0
    assert metrics.textvqa([text] * 10, text) == 1.0
