"""Logs of several stages in one picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from PIL import Image

from vlm.errors import UsageError
from vlm.training.plots import plot_logs, read_log


def log(path: Path, *lines: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_stages_follow_one_another(tmp_path: Path) -> None:
    first = log(
        tmp_path / "encoder.jsonl",
        {"seconds": 0.0, "stage": "one", "name": "encoder", "first_step": 0},
        {"seconds": 60.0, "step": 20, "dense": 2.0},
        {"seconds": 90.0, "step": 20, "validation": {"dense": 1.5}},
    )
    second = log(tmp_path / "reader.jsonl", {"seconds": 50.0, "step": 20, "answer": 1.0, "accuracy": 0.5})
    out = tmp_path / "losses.png"
    plot_logs([first, second], out)
    with Image.open(out) as image:
        assert image.width > 400 and image.getcolors(1 << 20) is not None


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not json")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        read_log(other)
    with pytest.raises(UsageError, match="no training step"):
        plot_logs([log(tmp_path / "empty.jsonl", {"seconds": 1.0})], tmp_path / "out.png")
