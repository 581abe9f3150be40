"""The shipped model reads the notice of the README's first command, through the script people copy."""

from __future__ import annotations

import pytest

from demos import ask
from vlm.session import VLM


def test_mini_reads_the_notice() -> None:
    answer = VLM.load("mini").ask(ask.NOTICE, "What does it say?")
    assert answer.text == "Fresh bread\nevery morning"
    assert answer.finish_reason == "stop" and answer.confidence > 0.8


def test_the_script_asks_twice(capsys: pytest.CaptureFixture[str]) -> None:
    ask.main([])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["Fresh bread", "every morning"]
    assert lines[2].startswith("every morning (confidence 0.9")
    assert lines[3].endswith("of them image")
