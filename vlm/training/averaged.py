"""The running mean of a model's weights, which answers better than any of those it is the mean of.

While rates are high, weights wander around the place they are drawn to; their mean lies nearer to it
(stochastic weight averaging, arXiv 1803.05407). ``blend`` takes the mean of whole runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

HORIZON = 0.1  # of a run's time, over which its mean forgets

State = dict[str, Tensor]


class RunningMean:
    """The mean of a module's parameters over the last part of a run, by the clock.

    Args:
        module: whose.
        horizon: seconds after which a third of what was is left.
        begin: the mean of an earlier run, to go on from; else the parameters as they are.
    """

    def __init__(self, module: nn.Module, horizon: float, begin: State | None = None) -> None:
        self._parameters = dict(module.named_parameters())
        start = self._parameters if begin is None else begin
        self.state: State = {name: start[name].detach().clone() for name in self._parameters}
        self._horizon, self._last = horizon, time.monotonic()

    @torch.no_grad()
    def step(self) -> None:
        """Take the parameters in, by the time since the last ones."""
        now = time.monotonic()
        share = min(1.0, (now - self._last) / self._horizon)
        self._last = now
        torch._foreach_lerp_(list(self.state.values()), list(self._parameters.values()), share)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Meanwhile the module has the mean for its parameters."""
        held = {name: parameter.data for name, parameter in self._parameters.items()}
        for name, parameter in self._parameters.items():
            parameter.data = self.state[name]
        try:
            yield
        finally:
            for name, parameter in self._parameters.items():
                parameter.data = held[name]
