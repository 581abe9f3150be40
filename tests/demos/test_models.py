"""Which models a page offers, and when they are loaded."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import ScriptedEngine

from demos.models import Models
from vlm.errors import CheckpointError, UsageError
from vlm.session import VLM, Options

Scripted = Callable[[str], VLM]


@pytest.fixture
def scripted(tmp_path: Path) -> Scripted:
    return lambda name: ScriptedEngine(tmp_path / name, name=name, window_size=len(name) * 28).vlm()


def test_the_first_is_there_and_offered_once(scripted: Scripted) -> None:
    first = scripted("mini")
    models = Models(first, ["mini", "big"], scripted)
    assert models.names == ("mini", "big")
    assert models.is_loaded("mini") and models.get("mini") is first


def test_nothing_else_is_offered_without_a_way_to_load_it(scripted: Scripted) -> None:
    models = Models(scripted("mini"), ["big"])
    assert models.names == ("mini",)
    with pytest.raises(UsageError, match="choose one of the list"):
        models.get("big")


def test_a_page_cannot_ask_for_a_model_that_is_not_offered(scripted: Scripted) -> None:
    asked: list[str] = []

    def load(name: str) -> VLM:
        asked.append(name)
        return scripted(name)

    models = Models(scripted("mini"), ["big"], load)
    for name in ("google/gemma-3-27b-it", "../../etc", ""):
        with pytest.raises(UsageError):
            models.get(name)
    assert asked == []


def test_another_is_loaded_once_when_it_is_chosen(scripted: Scripted) -> None:
    asked: list[str] = []

    def load(name: str) -> VLM:
        asked.append(name)
        return scripted(name)

    models = Models(scripted("mini"), ["big"], load)
    assert not models.is_loaded("big") and models.window_size("big") == 4 * 28
    got: list[VLM] = []
    threads = [threading.Thread(target=lambda: got.append(models.get("big"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == ["big"] and len(set(map(id, got))) == 1
    assert models.is_loaded("big") and models.window_size("big") == 3 * 28


def test_one_is_held_beside_the_first(scripted: Scripted) -> None:
    models = Models(scripted("mini"), ["big", "bigger"], scripted)
    gone = weakref.ref(models.get("big"))
    models.get("bigger")
    assert gone() is None and not models.is_loaded("big")
    assert models.is_loaded("bigger") and models.is_loaded("mini")
    assert models.window_size("big") == 3 * 28  # for an answer that it gave before


def test_one_that_went_and_is_still_in_use_is_not_loaded_twice(scripted: Scripted) -> None:
    asked: list[str] = []

    def load(name: str) -> VLM:
        asked.append(name)
        return scripted(name)

    models = Models(scripted("mini"), ["big", "bigger"], load)
    used = models.get("big")
    models.get("bigger")
    assert models.get("big") is used and asked == ["big", "bigger"]


def test_the_thread_of_a_model_ends_with_it() -> None:
    model = VLM.load("mini").shared()
    model.generate("Hello", options=Options(max_tokens=2)).read()
    (thread,) = [one for one in threading.enumerate() if one.name == "vlm-worker"]
    del model
    gc.collect()
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_a_model_that_cannot_be_loaded_leaves_the_first(scripted: Scripted) -> None:
    def broken(name: str) -> VLM:
        raise CheckpointError(f"{name}: half of it is missing")

    models = Models(scripted("mini"), ["big"], broken)
    with pytest.raises(CheckpointError):
        models.get("big")
    assert models.is_loaded("mini") and not models.is_loaded("big")
