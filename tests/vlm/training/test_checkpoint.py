"""The record of training that lies beside the weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlm.errors import UsageError
from vlm.training.checkpoint import write_record


def _log(path: Path, name: str, hours: float, steps: int) -> Path:
    lines = [
        {"seconds": 1.0, "name": name, "first_step": 0, "stage": "..."},
        {"seconds": 1.0 + hours * 3600, "step": steps},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_run_that_began_with_an_exported_folder_carries_its_hours_on(tmp_path: Path) -> None:
    old, new, other = (tmp_path / name for name in ("old", "new", "other"))
    for folder in (old, new, other):
        folder.mkdir()
    write_record(old, [_log(tmp_path / "a", "encoder", 0.5, 100), _log(tmp_path / "b", "joint", 2.0, 300)])
    write_record(new, [_log(tmp_path / "c", "joint", 1.25, 50)], before=old)
    assert json.loads((new / "training.json").read_text()) == [
        {"stage": "encoder", "hours": 0.5, "steps": 100},
        {"stage": "joint", "hours": 3.25, "steps": 350},
    ]
    with pytest.raises(UsageError, match="no record of training"):
        write_record(new, [tmp_path / "c"], before=other)
