"""The report: complete in itself, escaped, wrong answers first, written whole or not at all."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("jiwer")

from PIL import Image

from pan_and_scan import Window
from vlm.errors import UsageError
from vlm.evaluation import report, table
from vlm.evaluation.compare import Outcome
from vlm.evaluation.folder import Item
from vlm.evaluation.report import write_report

WINDOWS = (Window(0, 0, 1600, 400, "whole"), Window(0, 0, 800, 400), Window(800, 0, 1600, 400, "blank"))


@pytest.fixture
def outcome(tmp_path: Path) -> Outcome:
    Image.new("RGB", (1600, 400), "white").save(tmp_path / "a.png")
    item = Item("1", tmp_path / "a.png", "What <b>total</b>?", ("3.50", "3.5"), "wide", "anls",
                boxes=((10, 10, 400, 90), (1500, 300, 5000, 5000)))  # fmt: skip
    return Outcome(item, "adaptive", "9.99<script>", {"exact": 0.0, "anls": 0.4}, quality=0.4,
                   confidence=0.25, windows=WINDOWS, evidence=((0, 0, 800, 400),))  # fmt: skip


def written(tmp_path: Path, *outcomes: Outcome) -> str:
    made = table.rows(outcomes, table.DOCVQA)
    write_report(tmp_path / "out.html", "mini on <set>", made, outcomes)
    return (tmp_path / "out.html").read_text(encoding="utf-8")


def pictures(html: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB") for data in found]


def test_it_needs_nothing_else(tmp_path: Path, outcome: Outcome) -> None:
    html = written(tmp_path, outcome)
    assert not re.search(r"(src|href)=\"(?!data:)|url\(|@import|<script|<link", html)
    assert "default-src 'none'" in html and 'name="viewport"' in html and "prefers-color-scheme" in html


def test_what_people_and_models_say_is_escaped(tmp_path: Path, outcome: Outcome) -> None:
    html = written(tmp_path, outcome)
    assert "9.99&lt;script&gt;" in html and "What &lt;b&gt;total&lt;/b&gt;?" in html
    assert "mini on &lt;set&gt;" in html


def test_a_case_shows_truth_answer_confidence_and_cost(tmp_path: Path, outcome: Outcome) -> None:
    html = written(tmp_path, outcome)
    for shown in ("3.50 | 3.5", "0.25", "adaptive", "wrong", "ANLS", "a.png"):
        assert shown in html


def test_the_picture_is_small_and_has_windows_and_boxes_on_it(tmp_path: Path, outcome: Outcome) -> None:
    (drawn,) = pictures(written(tmp_path, outcome))
    assert drawn.size == (720, 180)
    bare = replace(outcome, windows=(), evidence=(), item=replace(outcome.item, boxes=()))
    (plain,) = pictures(written(tmp_path, bare))
    (only_windows,) = pictures(written(tmp_path, replace(bare, windows=WINDOWS)))
    (only_evidence,) = pictures(written(tmp_path, replace(bare, evidence=outcome.evidence)))
    assert plain.getcolors() == [(720 * 180, (255, 255, 255))]
    assert len({image.tobytes() for image in (drawn, plain, only_windows, only_evidence)}) == 4


def test_wrong_answers_come_first_and_the_worst_foremost(tmp_path: Path, outcome: Outcome) -> None:
    cases = [
        replace(outcome, said="was-right", right=True, quality=1.0),
        replace(outcome, said="nearly", quality=0.9),
        replace(outcome, said="hopeless", quality=0.0),
    ]
    html = written(tmp_path, *cases)
    assert html.index("hopeless") < html.index("nearly") < html.index("was-right")
    assert "3 cases, 2 wrong" in html


def test_an_image_that_cannot_be_read_is_said(tmp_path: Path, outcome: Outcome) -> None:
    broken = replace(outcome, item=replace(outcome.item, image=tmp_path / "gone.png"), error="gone.png: no")
    html = written(tmp_path, broken)
    assert "can&#39;t be read" in html or "can't be read" in html
    assert "gone.png: no" in html and not pictures(html)


def test_pages_and_fields_show_their_own_truth(tmp_path: Path, outcome: Outcome) -> None:
    item = replace(outcome.item, text="All the text", fields={"total": "3.50", "tax": None})
    read = written(tmp_path, replace(outcome, item=item, scores={"exact": 0.0}))
    assert "All the text" in read and "total&lt;/b&gt;?" not in read  # the question was not asked
    fields = written(tmp_path, replace(outcome, item=item, scores={"exact": 0.0, "valid": 1.0}))
    assert "total: 3.50\ntax: null" in fields


def test_only_so_many_cases_are_shown(
    tmp_path: Path, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MOST", 2)
    html = written(tmp_path, *[replace(outcome, said=f"said {n}", quality=n / 3) for n in range(3)])
    assert html.count("<article") == 2 and "3 cases, 3 wrong" in html and "2 are shown" in html
    assert "said 2" not in html


def test_it_is_written_whole_or_not_at_all(tmp_path: Path, outcome: Outcome) -> None:
    with pytest.raises(UsageError, match="can't be written"):
        write_report(tmp_path / "missing" / "out.html", "x", [], [outcome])
    (tmp_path / "out.html").write_text("before")
    torn = replace(outcome, windows=(Window(0, 0, 9999, 9999), Window(0, 0, 9999, 9999)))
    with pytest.raises(ValueError, match="9999"):
        write_report(tmp_path / "out.html", "x", [], [torn])
    assert (tmp_path / "out.html").read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "out.html"}
