"""Turns, medians, and time inside a stack, by a clock that is told what to say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vlm.bench.timing import Contender, Stack, Timing, alternate


class Clock:
    """Goes on only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def runner(name: str, clock: Clock, took: Iterator[float], log: list[str]) -> Contender:
    """Takes the given seconds, one a turn, and writes down when it was asked."""

    def ready() -> Callable[[], Any]:
        log.append(f"ready {name}")
        clock.now += 1000.0  # making ready isn't timed

        def run() -> str:
            log.append(f"run {name}")
            clock.now += next(took)
            return name

        return run

    return Contender(name, ready)


def test_turns_alternate_after_one_warm_up_each() -> None:
    clock, log, told = Clock(), list[str](), list[str]()
    pair = [
        runner("a", clock, iter([9.0, 1.0, 5.0, 2.0]), log),
        runner("b", clock, iter([9.0, 4.0, 4.0, 7.0]), log),
    ]
    first, second = alternate(pair, 3, told.append, clock)
    assert log == ["ready a", "run a", "ready b", "run b"] * 4
    assert first.seconds == (1.0, 5.0, 2.0) and first.median == 2.0 == first.whole
    assert second.seconds == (4.0, 4.0, 7.0) and second.median == 4.0
    assert first.output == "a" and not first.cut
    assert told[:2] == ["a: warm-up", "b: warm-up"] and told[-1] == "b: round 3 of 3"


class Slow(nn.Module):
    """A layer that takes its time."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        super().__init__()
        self.clock, self.seconds = clock, seconds

    def forward(self, x: Tensor) -> Tensor:
        self.clock.now += self.seconds
        return x


def test_a_cut_stack_is_scaled_by_the_time_inside_it() -> None:
    clock = Clock()
    layers = nn.ModuleList([Slow(clock, 1.0), Slow(clock, 3.0)])

    def run() -> None:
        clock.now += 5.0  # a head, say
        for _ in range(2):  # two tokens
            x = torch.zeros(1)
            for layer in layers:
                x = layer(x)

    (timing,) = alternate([Contender("ours", lambda: run, (Stack(layers, 6),))], 2, lambda what: None, clock)
    assert timing.seconds == (13.0, 13.0) and timing.inside == ((8.0,), (8.0,))
    assert timing.cut and timing.whole == 5.0 + 8.0 * 3
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers)


def test_a_whole_stack_has_nothing_hung_on_it() -> None:
    clock = Clock()
    layers = nn.ModuleList([Slow(clock, 1.0)])
    hooks = []

    def run() -> None:
        hooks.append(len(layers[0]._forward_hooks))

    (timing,) = alternate([Contender("ours", lambda: run, (Stack(layers, 1),))], 1, lambda what: None, clock)
    assert hooks == [0, 0] and not timing.cut


def test_two_stacks_are_scaled_each_by_its_own() -> None:
    timing = Timing("x", (10.0, 12.0), ((4.0, 2.0), (4.0, 2.0)), (2.0, 3.0))
    assert timing.whole == pytest.approx((10 + 4 + 4 + 12 + 4 + 4) / 2)
