"""Means of weights: by the clock, shown for a while, and of two runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import vlm.training.averaged
from vlm.training.averaged import RunningMean


def _filled(module: nn.Linear, value: float) -> None:
    with torch.no_grad():
        module.weight.fill_(value)


def test_the_mean_forgets_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(vlm.training.averaged.time, "monotonic", lambda: now)
    module = nn.Linear(2, 2, bias=False)
    _filled(module, 1.0)
    mean = RunningMean(module, horizon=10.0)
    _filled(module, 3.0)
    now = 5.0
    mean.step()
    assert mean.state["weight"].unique().tolist() == [2.0]  # half of the horizon, half of the way
    mean.step()  # no time has passed
    assert mean.state["weight"].unique().tolist() == [2.0]
    now = 100.0
    mean.step()
    assert mean.state["weight"].unique().tolist() == [3.0]
    on = RunningMean(module, horizon=10.0, begin={"weight": torch.full((2, 2), 7.0)})
    assert on.state["weight"].unique().tolist() == [7.0]


def test_the_mean_is_shown_for_a_while() -> None:
    module = nn.Linear(2, 2, bias=False)
    _filled(module, 1.0)
    mean = RunningMean(module, horizon=10.0)
    _filled(module, 5.0)
    with pytest.raises(KeyError), mean.shown():
        assert module.weight.unique().tolist() == [1.0]
        raise KeyError
    assert module.weight.unique().tolist() == [5.0]
    module.weight.data.add_(1.0)  # training goes on with its own
    assert mean.state["weight"].unique().tolist() == [1.0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_best_mean_of_two_folders_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("open_clip")
    from vlm.training import blend
    from vlm.training.checkpoint import write_record, write_skeleton, write_weights
    from vlm.training.fonts import find_fonts
    from vlm.training.reader import Reader, exported_state

    try:
        find_fonts("validation")
    except FileNotFoundError:
        pytest.skip("the fonts of `make fonts` are not installed")
    folders = tmp_path / "a", tmp_path / "b"
    for seed, folder in enumerate(folders):
        torch.manual_seed(seed)
        reader = Reader(write_skeleton(folder))
        write_weights(folder, reader.vision, reader.decoder)
    write_record(folders[1], [])
    told = {0.0: 3.0, 0.5: 1.0, 1.0: 2.0}
    shares = iter(told)
    monkeypatch.setattr(blend, "PAGES", 2)
    monkeypatch.setattr(blend, "answer_loss", lambda *_: told[next(shares)])
    seen: dict[float, float] = {}
    out = tmp_path / "out"
    assert blend.blend(*folders, out, seen.__setitem__, tuple(told)) == 0.5 and seen == told
    first, second, made = (exported_state(folder) for folder in (*folders, out))
    for name, value in made.items():
        halfway = (first[name] + second[name]) / 2
        torch.testing.assert_close(value, halfway, rtol=0.01, atol=1e-6)  # as bfloat16 stores it
    (stage,) = json.loads((out / "training.json").read_text())
    assert "0.500 of the new" in stage["stage"]
