from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import picture, tiny_checkpoint
from runner import Run, calls
from servers import QUICK, Fake, Made, serving

from vlm.remote import Patience, RemoteVLM

LOG = (
    {"seconds": 0.0, "stage": "...", "name": "decoder", "first_step": 0},
    {"seconds": 1800.0, "step": 100, "answer": 1.0},
    {"seconds": 0.0, "stage": "...", "name": "decoder", "first_step": 100},
    {"seconds": 900.0, "step": 140, "answer": 0.5},
)

torch.set_num_threads(1)  # tiny shapes: more threads only wait for each other


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Calls ``vlm`` and tells how it ended."""
    return calls(capsys, monkeypatch)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """What a stage of training wrote, resumed once."""
    path = tmp_path / "reader.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LOG))
    return path


@pytest.fixture
def fonts() -> None:
    """Skips without the fonts of training and evaluation."""
    fonts = pytest.importorskip("vlm.training.fonts")
    try:
        fonts.find_fonts("heldout"), fonts.find_fonts("train")
    except FileNotFoundError:
        pytest.skip("the fonts of `make fonts` are not installed")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint."""
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    picture(1).save(path)
    return path


@pytest.fixture
def fake() -> Iterator[Fake]:
    """A little OpenAI-style server."""
    with serving(Fake()) as served:
        yield served


@pytest.fixture
def remote(fake: Fake) -> Iterator[Made]:
    """Makes clients of the little server."""
    made: list[RemoteVLM] = []

    def make(patience: Patience = QUICK, **named: Any) -> RemoteVLM:
        made.append(RemoteVLM(fake.url, patience=patience, **named))
        return made[-1]

    yield make
    for one in made:
        one.close()
