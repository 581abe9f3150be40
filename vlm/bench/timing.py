"""Turns, medians, and the time spent inside a stack of layers.

A stack cut to N of its L layers is scaled by what was measured inside of it: the seconds between the
first layer's begin and the last one's end count L / N times, those outside (embedding, head, projector,
sampling) once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import nn

Clock = Callable[[], float]
Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Stack:
    """Layers that run one after the other, and how many the whole model has of them."""

    layers: nn.ModuleList
    whole: int

    @property
    def factor(self) -> float:
        """Times the measured layers fit into the whole."""
        return self.whole / len(self.layers)


@dataclass(frozen=True, eq=False)
class Contender:
    """Something to measure.

    Attributes:
        name: as in the table.
        ready: called before every turn, outside the clock; gives what is timed.
        stacks: layers whose share of the time is told apart.
    """

    name: str
    ready: Callable[[], Callable[[], Any]]
    stacks: tuple[Stack, ...] = ()


@dataclass(frozen=True)
class Timing:
    """What the turns of one contender took.

    Attributes:
        seconds: of each round.
        inside: of each round, seconds within each stack.
        factors: of each stack.
        output: what the last turn returned.
    """

    name: str
    seconds: tuple[float, ...]
    inside: tuple[tuple[float, ...], ...] = ()
    factors: tuple[float, ...] = ()
    output: Any = field(default=None, repr=False)

    @property
    def median(self) -> float:
        """Seconds of a turn, as measured."""
        return median(self.seconds)

    @property
    def cut(self) -> bool:
        """Whether a stack was measured in part."""
        return any(factor != 1.0 for factor in self.factors)

    @property
    def whole(self) -> float:
        """Seconds of a turn with all layers; the median itself where all were there."""
        if not self.cut:
            return self.median
        return median(
            seconds + sum(held * (factor - 1.0) for held, factor in zip(inside, self.factors, strict=True))
            for seconds, inside in zip(self.seconds, self.inside, strict=True)
        )


class _Watch:
    """Seconds within one stack since it was last emptied."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun = 0.0
        self.seconds = 0.0

    def enter(self, module: nn.Module, given: Any) -> None:
        self._begun = self._clock()

    def leave(self, module: nn.Module, given: Any, output: Any) -> None:
        self.seconds += self._clock() - self._begun

    def take(self) -> float:
        seconds, self.seconds = self.seconds, 0.0
        return seconds


@contextmanager
def _watched(stacks: Sequence[Stack], clock: Clock) -> Iterator[list[_Watch]]:
    """Watch the stacks that were cut; the others need no scaling, so nothing is hung on them."""
    watches = [_Watch(clock) for _ in stacks]
    hooks = []
    for stack, watch in zip(stacks, watches, strict=True):
        if stack.factor != 1.0:
            hooks.append(stack.layers[0].register_forward_pre_hook(watch.enter))
            hooks.append(stack.layers[-1].register_forward_hook(watch.leave))
    try:
        yield watches
    finally:
        for hook in hooks:
            hook.remove()


@torch.inference_mode()
def alternate(
    contenders: Sequence[Contender], rounds: int, tell: Tell, clock: Clock = time.perf_counter
) -> list[Timing]:
    """Run all in turns: once to warm up, then ``rounds`` times measured.

    Args:
        contenders: in the order of their turns.
        rounds: measured turns each.
        tell: told whose turn it is.
        clock: seconds that only go up.

    Returns:
        One timing a contender, in their order.
    """
    assert rounds >= 1, rounds
    took: list[list[float]] = [[] for _ in contenders]
    inside: list[list[tuple[float, ...]]] = [[] for _ in contenders]
    outputs: list[Any] = [None] * len(contenders)
    for turn in range(rounds + 1):
        for index, contender in enumerate(contenders):
            tell(f"{contender.name}: {f'round {turn} of {rounds}' if turn else 'warm-up'}")
            timed = contender.ready()
            with _watched(contender.stacks, clock) as watches:
                started = clock()
                outputs[index] = timed()
                seconds = clock() - started
                held = tuple(watch.take() for watch in watches)
            if turn:
                took[index].append(seconds)
                inside[index].append(held)
    return [
        Timing(
            contender.name, tuple(took[index]), tuple(inside[index]),
            tuple(stack.factor for stack in contender.stacks), outputs[index],
        )
        for index, contender in enumerate(contenders)
    ]  # fmt: skip
