"""``vlm eval``: what it prints and writes, and that wrong input ends in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("fontTools")
pytest.importorskip("typst")
pytest.importorskip("matplotlib")

from fakes import ScriptedEngine, picture
from runner import Run

from vlm.session import VLM


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """The model every command loads: it says 3.50."""
    engine = ScriptedEngine(tmp_path, says="3.50")
    monkeypatch.setattr(VLM, "load", lambda *arguments, **options: engine.vlm())
    return engine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A wide page with the answer 3.50 and a tall one with another."""
    home = tmp_path / "set"
    home.mkdir()
    picture(1, 900, 224).save(home / "wide.png")
    picture(2, 224, 900).save(home / "tall.png")
    lines = [
        {"questionId": 1, "question": "Total?", "image": "wide.png", "answers": ["3.50"], "kind": "wide",
         "fields": {"total": "3.50"}, "text": "3.50"},
        {"questionId": 2, "question": "Sum?", "image": "tall.png", "answers": ["9.99"], "kind": "tall"},
    ]  # fmt: skip
    (home / "questions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return home


def test_policies_stand_in_one_table(run: Run, scripted: ScriptedEngine, folder: Path) -> None:
    code, out, _ = run("eval", "docvqa", "--data", folder)
    assert code == 0
    rows = [line.split()[:4] for line in out.splitlines()[2:]]
    assert rows == [
        [kind, policy, cases, right]
        for kind, cases, right in (("wide", "1", "100.0%"), ("tall", "1", "0.0%"), ("all", "2", "50.0%"))
        for policy in ("off", "gemma3", "adaptive")
    ]


def test_cases_at_once_make_the_same_table(run: Run, scripted: ScriptedEngine, folder: Path) -> None:
    def without_seconds(*more: object) -> list[list[str]]:
        code, out, _ = run("eval", "docvqa", "--data", folder, *more)
        assert code == 0
        return [line.split()[:4] for line in out.splitlines()]

    assert without_seconds("--at-once", 3) == without_seconds()


def test_the_table_as_json_and_the_report(
    run: Run, scripted: ScriptedEngine, folder: Path, tmp_path: Path
) -> None:
    code, out, _ = run("eval", "docvqa", "--data", folder, "--policy", "off", "--json", "--limit", 1,
                       "--report", tmp_path / "out.html")  # fmt: skip
    shown = json.loads(out)
    assert code == 0 and shown["failed"] == 0
    assert [(row["policy"], row["kind"], row["exact"]) for row in shown["rows"]] == [
        ("off", "wide", 1.0), ("off", "tall", 0.0), ("off", "all", 0.5),
    ]  # fmt: skip
    assert (tmp_path / "out.html").read_text().count("<article") == 2


def test_windows_ask_no_model(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(VLM, "load")
    code, out, _ = run(
        "eval", "windows", "--data", folder, "--json", "--policy", "off", "--policy", "adaptive"
    )
    rows = json.loads(out)["rows"]
    assert code == 0 and [(row["kind"], row["windows"]) for row in rows[:2]] == [("wide", 1.0), ("wide", 5.0)]
    code, out, _ = run("eval", "windows", "--data", folder, "--json", "--published")
    assert code == 0 and json.loads(out)["rows"][0]["tokens"] == 256


def test_a_damaged_image_fails_alone(run: Run, scripted: ScriptedEngine, folder: Path) -> None:
    (folder / "tall.png").write_bytes(b"torn")
    code, out, err = run("eval", "docvqa", "--data", folder, "--policy", "off", "--json")
    assert code == 0 and json.loads(out)["failed"] == 1
    assert "1 of 2 cases failed" in err and "tall.png" in err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("docvqa", "--policy", "off"), "--policy belongs to a folder"),
        (("reading", "--against", "tesseract"), "--against belongs to a folder"),
        (("docvqa", "--report", "out.html"), "--report belongs to a folder"),
        (("docvqa", "--at-once", "2"), "--at-once belongs to a folder"),
        (("reading", "--at-once", "2"), "--at-once belongs to a folder"),
        (("docvqa", "--data", "SET", "--task", "shapes"), "leave them out with --data"),
        (("docvqa", "--data", "SET", "--policy", "fine"), "fine"),
        (("docvqa", "--data", "SET", "--report", "missing/out.html"), "no such folder to write in"),
        (("windows", "--data", "SET", "--policy", "fine"), "can't be counted without a model"),
        (("reading", "--data", "SET", "--against", "eyes"), "unknown reader 'eyes'"),
        (("docvqa", "--data", "missing"), "no such folder"),
        (("make", "SET", "--kind", "poems"), "unknown kind poems"),
        (("make", "SET", "--split", "train"), "training's own pages"),
        (("make", "SET", "--kind", "cards"), "is there already"),
    ],
)
def test_wrong_arguments_end_in_one_line(
    run: Run, scripted: ScriptedEngine, folder: Path, arguments: tuple[str, ...], why: str
) -> None:
    code, out, err = run("eval", *(folder if a == "SET" else a for a in arguments))
    assert code == 2 and not out and why in err and err.count("\n") == 1
    assert not scripted.heard


def test_a_folder_without_fields_says_so(run: Run, scripted: ScriptedEngine, folder: Path) -> None:
    line = {"question": "?", "image": "wide.png", "answers": ["3.50"]}
    (folder / "questions.jsonl").write_text(json.dumps(line))
    for command, what in (("fields", "fields"), ("reading", "transcriptions")):
        code, _, err = run("eval", command, "--data", folder)
        assert code == 2 and f"holds no {what}" in err
    (folder / "questions.jsonl").write_text(json.dumps(line | {"answers": []}))
    code, _, err = run("eval", "docvqa", "--data", folder)
    assert code == 2 and "holds no questions with answers" in err


def test_make_writes_a_folder_that_can_be_scored(
    run: Run, fonts: None, scripted: ScriptedEngine, tmp_path: Path
) -> None:
    code, out, _ = run("eval", "make", tmp_path / "made", "--kind", "cards", "--count", 1, "--wear", "phone")
    assert code == 0 and "1 documents" in out
    code, out, _ = run("eval", "docvqa", "--data", tmp_path / "made", "--policy", "off")
    assert code == 0 and "cards" in out


def test_an_unknown_task_names_the_known_ones(run: Run) -> None:
    code, _, err = run("eval", "docvqa", "--task", "poetry")
    assert code == 2 and "poetry" in err and "shapes" in err and err.count("\n") == 1


@pytest.mark.slow
def test_eval_prints_a_row_a_task(run: Run, fonts: None) -> None:
    code, out, _ = run("eval", "docvqa", "--limit", 2, "--task", "shapes", "--task", "off", "--json")
    shown = json.loads(out)
    assert code == 0 and [row["task"] for row in shown["tasks"]] == ["shapes", "off"]
    assert all(0 <= row["right"] <= 1 and row["images"] == 2 for row in shown["tasks"])
    code, out, _ = run("eval", "reading", "--limit", 2, "--task", "short", "--show", 1)
    assert code == 0 and "CER" in out and "truth" in out and "AUROC" in out


@pytest.mark.slow
def test_the_card_is_written_from_figures(run: Run, fonts: None, log: Path, tmp_path: Path) -> None:
    import shutil

    import vlm
    from vlm.training.checkpoint import write_record

    folder = tmp_path / "mini"
    shutil.copytree(Path(vlm.__file__).parent / "assets" / "mini", folder)
    (folder / "README.md").unlink()
    write_record(folder, [log])
    assert json.loads((folder / "training.json").read_text()) == [
        {"stage": "decoder", "hours": 0.75, "steps": 140}
    ]
    code, out, _ = run("eval", "card", folder, "--limit", 1)
    assert code == 0 and out.strip().endswith("README.md")
    card = (folder / "README.md").read_text()
    assert "| decoder | 0.75 | 140 |" in card and "charts: value within 5 %" in card and "CER" in card
    assert ("mistakes.png" in card) == (folder / "mistakes.png").exists()


def test_limits_of_reading_can_be_tried(run: Run, scripted: ScriptedEngine, folder: Path) -> None:
    """What ``CHARACTERS`` and ``LETTER`` were learnt with."""

    def tokens(*more: object) -> int:
        code, out, _ = run("eval", "reading", "--data", folder, "--json", *more)
        assert code == 0
        (row, *_) = json.loads(out)["rows"]
        return int(row["tokens"])

    assert tokens("--letter", 60) > tokens() >= tokens("--letter", 8)
    assert "--data" in run("eval", "reading", "--density", 2).refused()
    assert "--data" in run("eval", "reading", "--letter", 20).refused()
