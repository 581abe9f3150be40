"""The table against a written-out one."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("jiwer")

from pan_and_scan import Window
from vlm.evaluation import table
from vlm.evaluation.compare import Outcome
from vlm.evaluation.folder import Item

WHOLE, CROP, BLANK = (Window(0, 0, 9, 9, kind) for kind in ("whole", "crop", "blank"))


def outcome(kind: str, policy: str, scores: dict[str, float], windows: tuple[Window, ...] = ()) -> Outcome:
    item = Item("1", Path("a.png"), "?", ("ab",), kind, "anls", text="abcd", fields={"a": "1", "b": "2"})
    return Outcome(item, policy, "abcx", scores, windows=windows, tokens=64 * len(windows), seconds=0.5,
                   told={"a": "1", "b": None})  # fmt: skip


def test_one_row_a_policy_and_kind_and_one_over_all() -> None:
    outcomes = [
        outcome("wide", "off", {"exact": 0.0, "anls": 0.5}, (WHOLE,)),
        outcome("wide", "adaptive", {"exact": 1.0, "anls": 1.0, "hit": 1.0}, (WHOLE, CROP, BLANK)),
        outcome("wide", "off", {"exact": 1.0, "anls": 1.0}, (WHOLE,)),
        outcome("charts", "off", {"exact": 1.0, "anls": 1.0, "relaxed": 1.0}, (WHOLE,)),
        outcome("charts", "adaptive", {"exact": 0.0, "anls": 0.0, "relaxed": 0.0}, (WHOLE, CROP)),
    ]
    made = table.rows(outcomes, table.DOCVQA)
    assert table.to_text(made) == (
        "kind    policy    cases   exact    ANLS  relaxed  evidence  windows  tokens  s/page\n"
        "wide    off           2   50.0%   75.0%                         1.0      64    0.50\n"
        "wide    adaptive      1  100.0%  100.0%             100.0%      2.0     192    0.50\n"
        "charts  off           1  100.0%  100.0%   100.0%                1.0      64    0.50\n"
        "charts  adaptive      1    0.0%    0.0%     0.0%                2.0     128    0.50\n"
        "all     off           3   66.7%   83.3%   100.0%                1.0      64    0.50\n"
        "all     adaptive      2   50.0%   50.0%     0.0%    100.0%      2.0     160    0.50"
    )
    assert made[0].to_json() == {
        "policy": "off", "kind": "wide", "cases": 2, "exact": 0.5, "anls": 0.75,
        "windows": 1.0, "tokens": 64.0, "seconds": 0.5,
    }  # fmt: skip


def test_one_kind_needs_no_row_over_all() -> None:
    made = table.rows([outcome("wide", "off", {"exact": 0.0})], table.READING)
    (row,) = made
    assert row.kind == "wide" and row.figures["cer"] == 0.25 and row.figures["wer"] == 1.0


def test_fields_are_counted_over_all_documents() -> None:
    (row,) = table.rows([outcome("forms", "off", {"exact": 0.0, "valid": 1.0})] * 2, table.FIELDS)
    assert row.figures["f1"] == pytest.approx(2 / 3) and row.figures["valid"] == 1.0
