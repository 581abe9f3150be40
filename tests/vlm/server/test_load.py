"""64 clients for a minute, some of which leave or send rubbish: the others notice nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Served, serving

from vlm.engine import Engine
from vlm.scheduler import SharedEngine
from vlm.server.limits import Limits
from vlm.session import VLM

SECONDS = float(os.environ.get("VLM_LOAD_SECONDS", "60"))
CLIENTS = int(os.environ.get("VLM_LOAD_CLIENTS", "64"))
SCRIPT = Path(__file__).with_name("load.py")


def played(served: Served, *options: object) -> dict[str, Any]:
    """What `load.py` tells, run in a process of its own."""
    command = [sys.executable, str(SCRIPT), served.url, *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    served.settled()
    assert served.service.gate.waiting == 0
    return told


def test_a_few_clients_get_their_own_answers(tiny_server: Served) -> None:
    told = played(tiny_server, "--clients", 6, "--seconds", 2, "--questions", 4, "--tokens", 4)
    assert told["wrong"] == [] and set(told["done"]) == {"good", "left", "rubbish"}, told


@pytest.fixture(scope="module")
def mini() -> Iterator[Served]:
    """The embedded model, as `vlm serve` serves it."""
    engine = SharedEngine.over(Engine.load("mini"))
    with serving(VLM(engine), Limits()) as served:
        yield served
    engine.close()


@pytest.mark.slow
def test_many_clients_get_their_own_answers_and_leave_no_trace(mini: Served) -> None:
    told = played(mini, "--clients", CLIENTS, "--seconds", SECONDS)
    assert told["wrong"] == [], told
    assert told["done"]["good"] > 0 and told["done"]["left"] > 0 and told["done"]["rubbish"] > 0
    assert told["alone_after"] > 0.7 * told["alone_before"], told
