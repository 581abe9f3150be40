"""The training loop: what it logs of steps that differ, and when it stops."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from vlm.training.loop import REPORT, Loop, RunLog


def test_a_mean_is_over_the_steps_that_had_the_loss(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    weights = {"answer": 1.0, "dense": 1.0}
    loop: Loop[int] = Loop(
        [torch.optim.SGD(model.parameters(), lr=0.0)],
        weights,
        60.0,
        RunLog(tmp_path / "log"),
        False,
        lambda n: n % 2,
    )
    saved: list[int] = []

    def losses(number: int) -> dict[str, Tensor]:
        if number > REPORT:
            loop.minutes = 1e-9  # time is up
        loss = model(torch.ones(2)).sum() * 0.0
        return {"answer": loss + 3.0, "dense": loss + 1.0} if number % 2 else {"dense": loss + 2.0}

    loop.run(itertools.count(1), losses, dict, saved.append)
    (line,) = [json.loads(text) for text in (tmp_path / "log").read_text().splitlines()]
    assert line["step"] == REPORT
    assert line["answer"] == 3.0  # half of the steps had it
    assert line["dense"] == 1.5
    assert saved == [REPORT + 1]
