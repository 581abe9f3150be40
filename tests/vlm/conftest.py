from __future__ import annotations

import pytest
import torch
from runner import Run, calls

torch.set_num_threads(1)  # tiny shapes: more threads only wait for each other


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Calls ``vlm`` and tells how it ended."""
    return calls(capsys, monkeypatch)
