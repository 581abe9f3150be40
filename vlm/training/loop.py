"""What both training stages share: optimisers, rates, the loop, logs, checkpoints.

Matrices inside the transformer go to Muon (``torch.optim.Muon``), everything else to AdamW: on this
task Muon reached in half an hour what AdamW alone did not reach in hours.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon

from vlm.errors import UsageError
from vlm.processor import bf16_is_faster


def optimizers(
    module: nn.Module, muon_rate: float, adam_rate: float, outside: Iterable[nn.Module] = ()
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of ``module``'s layers, AdamW for the rest and for ``outside``."""
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    for name, parameter in module.named_parameters():
        inner = parameter.ndim == 2 and ".layers." in f".{name}" and "embed" not in name
        (matrices if inner else rest).append(parameter)
    for other in outside:
        rest.extend(other.parameters())
    return [
        Muon(matrices, lr=muon_rate, weight_decay=0.01, adjust_lr_fn="original"),
        AdamW(rest, lr=adam_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def load_optimizers(groups: Sequence[torch.optim.Optimizer], states: Sequence[dict[str, Any]]) -> None:
    """Load what the optimisers remember, but keep the rates they were built with.

    Groups beyond the saved ones begin anew, as the encoder's do when it is thawed.
    """
    for optimizer, saved in zip(groups, states, strict=False):
        rates = [group["lr"] for group in optimizer.param_groups]
        optimizer.load_state_dict(saved)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = group["full_lr"] = rate


def load_state(path: Path, *wanted: str) -> dict[str, Any]:
    """A checkpoint that holds at least one of the ``wanted`` parts.

    Raises:
        UsageError: not a checkpoint of ``vlm train``, or of another stage.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch's unpickler raises anything on what is no checkpoint
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{path}: not a checkpoint of vlm train ({reason})") from None
    if not isinstance(state, dict) or not state.keys() & set(wanted):
        raise UsageError(f"{path}: holds no {' or '.join(wanted)}; give the checkpoint of that stage")
    return state


def rate_factor(done: float, warmup: float = 0.02, decay: float = 0.4) -> float:
    """Share of the full rate at ``done`` in [0, 1]: linear warm-up, flat, linear decay to 2 %."""
    if done < warmup:
        return max(done / warmup, 0.01)
    return max(0.02, min(1.0, (1.0 - done) / decay))


def set_rates(groups: list[torch.optim.Optimizer], factor: float) -> None:
    """Scale every group's rate from the one it was built with."""
    for optimizer in groups:
        for group in optimizer.param_groups:
            group.setdefault("full_lr", group["lr"])
            group["lr"] = group["full_lr"] * factor


class RunLog:
    """One JSON line a report, to a file and to the terminal."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.started = time.monotonic()

    def write(self, **fields: Any) -> None:
        """Add a line with the seconds since the start."""
        line = json.dumps(
            {"seconds": round(time.monotonic() - self.started, 1)}
            | {k: round(v, 4) if isinstance(v, float) else v for k, v in fields.items()}
        )
        with self.path.open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint so that a kill leaves the old one or the new one, never half of one."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


BatchT = TypeVar("BatchT")
REPORT, REST = 20, 100  # steps between log lines, and between validation with a checkpoint


@dataclass
class Loop(Generic[BatchT]):
    """Training until the clock runs out. Wall-clock time is the budget, so rates follow the clock."""

    groups: list[torch.optim.Optimizer]
    weights: Mapping[str, float]  # of each loss in the total; what is not named is only logged
    minutes: float
    log: RunLog
    bf16: bool | None  # multiply in bfloat16; None: where that is measured to be faster
    size: Callable[[BatchT], int]  # examples of a batch
    step: int = 0
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._in_bf16 = bf16_is_faster() if self.bf16 is None else self.bf16

    @property
    def done(self) -> float:
        """Share of the time that is used up."""
        return (time.monotonic() - self.started) / (self.minutes * 60)

    def run(
        self,
        batches: Iterator[BatchT],
        losses: Callable[[BatchT], dict[str, Tensor]],
        rest: Callable[[], dict[str, Tensor]],
        save: Callable[[int], None],
        stepped: Callable[[], None] = lambda: None,
    ) -> None:
        """Take steps, each told to ``stepped``; every now and then log, validate (``rest``) and save."""
        running: dict[str, list[float]] = {}
        examples = 0
        mark = time.monotonic()
        while self.done < 1.0:
            batch = next(batches)
            for name, value in self._take_step(losses, batch).items():
                running.setdefault(name, []).append(value)
            stepped()
            examples += self.size(batch)
            if self.step % REPORT == 0:
                rate = examples / (time.monotonic() - mark)
                left = self.minutes * (1 - self.done)
                means = {name: fmean(values) for name, values in running.items()}
                self.log.write(step=self.step, minutes_left=left, examples_a_second=rate, **means)
                running, mark, examples = {}, time.monotonic(), 0
            if self.step % REST == 0:
                with torch.no_grad(), self._autocast():
                    scores = {name: round(value.item(), 4) for name, value in rest().items()}
                self.log.write(step=self.step, validation=scores)
                save(self.step)
                mark = time.monotonic()
        save(self.step)

    def _take_step(self, losses: Callable[[BatchT], dict[str, Tensor]], batch: BatchT) -> dict[str, float]:
        set_rates(self.groups, rate_factor(self.done))
        with self._autocast():
            found = losses(batch)
        weighted = [weight * found[name] for name, weight in self.weights.items() if name in found]
        total = torch.stack(weighted).sum()
        for optimizer in self.groups:
            optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        groups = (group for optimizer in self.groups for group in optimizer.param_groups)
        nn.utils.clip_grad_norm_([parameter for group in groups for parameter in group["params"]], 1.0)
        for optimizer in self.groups:
            optimizer.step()
        self.step += 1
        return {name: value.item() for name, value in found.items()}

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self._in_bf16)
