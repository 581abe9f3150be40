"""In which numbers a model computes: what was asked for, or what is fastest here.

On a graphics card ``auto`` is bf16. On a processor it measures: a product of the decoder's own width, wide
and narrow, in each form, a third of a second in all. On two cores with AVX512-VNNI int8 wins by 3 to 5; on
a processor with tiles for bf16 it need not. Models of a few megabytes stay in fp32: there is nothing to
win, and their answers are the same everywhere. int4 is for memory, not for speed, and is never chosen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import nn

from vlm.config import TextConfig
from vlm.errors import UsageError
from vlm.int4 import INT4
from vlm.quantize import Int8Linear

Dtype = Literal["auto", "fp32", "bf16", "int8", "int4"]
DTYPES: dict[Dtype, torch.dtype] = {
    "fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8, "int4": INT4,
}  # fmt: skip

ROUNDED = ("int8", "int4")  # forms that compute on a processor only
SMALL = 50_000_000  # weights of the MLPs, below which fp32 is taken unmeasured
WORTH = 1.3  # times faster than fp32, for leaving it
_WIDTH = 2048  # of the measured product at most
_PROMPT, _ANSWER = 256, 16  # rows at once, and times one row: what a short question asks for


def checked_dtype(name: str) -> Dtype:
    """The name, if it is one.

    Raises:
        UsageError: lists those there are.
    """
    for known in get_args(Dtype):
        if name == known:
            return known
    raise UsageError(f"unknown dtype {name!r}: use one of {', '.join(get_args(Dtype))}")


def chosen_dtype(wanted: Dtype, config: TextConfig, device: torch.device | None = None) -> Dtype:
    """What to compute in; ``auto`` is measured on a processor, and bf16 elsewhere.

    Raises:
        UsageError: a form that only a processor computes in.
    """
    elsewhere = device is not None and device.type != "cpu"
    if elsewhere and wanted in ROUNDED:
        raise UsageError(f"{wanted} computes on a CPU only: use --dtype bf16 or --device cpu")
    if wanted != "auto":
        return wanted
    if elsewhere:
        return "bf16"
    if 3 * config.num_hidden_layers * config.hidden_size * config.intermediate_size < SMALL:
        return "fp32"
    return fastest(seconds_by_dtype(config))


def fastest(seconds: dict[Dtype, float]) -> Dtype:
    """The form that took least, or fp32 where that is hardly slower."""
    best = min(seconds, key=lambda dtype: seconds[dtype])
    return best if seconds["fp32"] > WORTH * seconds[best] else "fp32"


@torch.inference_mode()
def seconds_by_dtype(config: TextConfig) -> dict[Dtype, float]:
    """Seconds a prompt and an answer take in a layer about as wide as the decoder's, in each form."""
    width, wide = min(config.hidden_size, _WIDTH), min(config.intermediate_size, _WIDTH)
    layer = nn.Linear(width, wide, bias=False)
    rows = torch.randn(_PROMPT, width)
    half, half_rows = nn.Linear(width, wide, bias=False).to(torch.bfloat16), rows.to(torch.bfloat16)
    return {
        "fp32": _seconds(layer, rows),
        "bf16": _seconds(half, half_rows),
        "int8": _seconds(Int8Linear.of(layer), rows),
    }


def _seconds(layer: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor) -> float:
    """The better of two, after one that packs and warms up."""
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        layer(rows)
        for _ in range(_ANSWER):
            layer(rows[:1])
        taken.append(time.perf_counter() - started)
    return min(taken[1:])
