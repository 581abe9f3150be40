"""``vlm train``: what it writes and prints, and that wrong input ends in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("fontTools")
pytest.importorskip("typst")
pytest.importorskip("matplotlib")

from PIL import Image
from runner import Run


def test_plot_draws_a_log(run: Run, log: Path, tmp_path: Path) -> None:
    code, out, _ = run("train", "plot", log, "--out", tmp_path / "plot.png")
    assert code == 0 and out.strip() == str(tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert image.format == "PNG"


def test_what_is_no_log_ends_in_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("not json")
    code, out, err = run("train", "plot", tmp_path / "notes", "--out", tmp_path / "plot.png")
    assert code == 2 and not out and "not a log" in err and err.count("\n") == 1
    assert not (tmp_path / "plot.png").exists()


def test_a_picture_that_cannot_be_written_ends_in_one_line(run: Run, log: Path, tmp_path: Path) -> None:
    code, _, err = run("train", "plot", log, "--out", tmp_path / "missing" / "plot.png")
    assert code == 2 and "can't be written" in err and err.count("\n") == 1


def test_the_contact_sheet_is_a_picture(run: Run, fonts: None, tmp_path: Path) -> None:
    code, _, _ = run("train", "data", "--preview", tmp_path / "sheet.png", "--count", 7, "--seed", 3)
    assert code == 0
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size == (6 * 300, 2 * 410)
        colors = image.convert("RGB").getcolors(1 << 24)
    assert colors is not None and len(colors) > 100


def test_rates_and_shares_reach_the_stage(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vlm.training import reader

    stages: list[reader.ReaderStage] = []
    monkeypatch.setattr(reader, "train_reader", stages.append)
    start = tmp_path / "reader.pt"
    assert run("train", "vlm", start, "--out", tmp_path, "--rate", 0.25, "--encoder-share", 0.5).code == 0
    (stage,) = stages
    full = reader.ReaderStage(stage.folder, start, tmp_path, 60.0)
    assert stage.muon_rate == full.muon_rate / 4 and stage.adam_rate == full.adam_rate / 4
    assert stage.encoder_share == 0.5 and stage.start == start


def test_replays_want_an_encoder_that_learns(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vlm.training import reader

    stages: list[reader.ReaderStage] = []
    monkeypatch.setattr(reader, "train_reader", stages.append)
    refused = run("train", "vlm", tmp_path / "reader.pt", "--out", tmp_path, "--replays", 2)
    assert refused.code == 2 and "--encoder-share" in refused.err and not stages
    assert run("train", "vlm", tmp_path, "--out", tmp_path, "--replays", 2, "--encoder-share", 0.5).code == 0
    assert stages[0].replays == 2


def test_what_is_no_checkpoint_ends_in_one_line_and_spoils_nothing(run: Run, tmp_path: Path) -> None:
    text, kept = tmp_path / "text.pt", tmp_path / "kept"
    text.write_text("hello there")
    kept.mkdir()
    (kept / "config.json").write_text("mine")
    for folder in (kept, tmp_path / "new"):
        assert "not a checkpoint" in run("train", "export", text, folder).refused()
    assert [path.name for path in kept.iterdir()] == ["config.json"]
    assert (kept / "config.json").read_text() == "mine" and not (tmp_path / "new").exists()
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run("train", "export", text, empty).code == 2 and empty.is_dir()


def test_a_run_that_never_began_leaves_nothing(run: Run, fonts: None, tmp_path: Path) -> None:
    text, out = tmp_path / "text.pt", tmp_path / "out"
    text.write_text("hello there")
    for start in (text, tmp_path / "nothing.pt"):
        assert str(start) in run("train", "vlm", start, "--out", out).refused()
        assert not out.exists()
    out.mkdir()
    assert run("train", "encoder", "--out", out, "--resume", text).code == 2
    assert not any(out.glob("mini")) and out.is_dir()
