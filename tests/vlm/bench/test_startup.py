"""Cold commands, run by a Python that writes down what it was asked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.vlm.bench.subjects import seeing
from vlm.bench.run import Run
from vlm.bench.shapes import Subject
from vlm.bench.startup import startup
from vlm.errors import UsageError


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of command lines, one a call."""
    log = tmp_path / "asked"
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\necho "$@" >> {log}\n[ -z "$FAILS" ] || {{ echo "no such thing" >&2; exit 2; }}\n'
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    return log


def test_a_question_the_help_and_the_floor_in_turns(asked: Path, tiny: Path) -> None:
    report = startup(Subject.checkpoint(str(tiny)), Run("fp32", rounds=2))
    assert [row.name for row in report.rows] == ["vlm ask", "vlm --help", "import torch"]
    lines = asked.read_text().splitlines()
    assert len(lines) == 9 and lines[:3] == lines[3:6] == lines[6:]
    assert " ask " in lines[0] and "sign.png What does it say?" in lines[0]
    assert f"--model {tiny} --dtype fp32 --offline" in lines[0]
    assert lines[1].endswith("--help") and lines[2] == "-c import torch"


def test_a_command_that_fails_is_told(asked: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILS", "1")
    with pytest.raises(UsageError, match="vlm ask failed: no such thing"):
        startup(Subject.checkpoint(str(tiny)), Run("fp32", rounds=1))


def test_a_shape_cannot_be_asked() -> None:
    with pytest.raises(UsageError, match="name a checkpoint"):
        startup(seeing(), Run("fp32"))


@pytest.mark.slow
def test_with_the_real_python(tiny: Path) -> None:
    report = startup(Subject.checkpoint(str(tiny)), Run("fp32", rounds=1))
    assert all(row.seconds > 0 for row in report.rows)
