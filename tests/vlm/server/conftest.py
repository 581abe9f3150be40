from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from fakes import ScriptedEngine, tiny_checkpoint
from serving import Served, scripted, serving

from vlm.scheduler import SharedEngine
from vlm.session import VLM

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VLM]:
    """Random weights behind one worker, as `vlm serve` has a model."""
    engine = SharedEngine.over(VLM.load(tiny_checkpoint(tmp_path_factory.mktemp("tiny"))).engine)
    yield VLM(engine)
    engine.close()


@pytest.fixture(scope="module")
def tiny_server(model: VLM) -> Iterator[Served]:
    """A server over random weights."""
    with serving(model) as served:
        yield served


@pytest.fixture(scope="module")
def cat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, ScriptedEngine]]:
    """A server that says "It is a cat."."""
    with scripted(tmp_path_factory.mktemp("cat")) as both:
        yield both
