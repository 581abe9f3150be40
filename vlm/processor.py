"""What this processor can, as torch knows it or as a product of a few milliseconds shows."""

from __future__ import annotations

import time
from functools import cache
from statistics import median

import torch

_ROWS, _WIDTH, _WIDE, _TRIES = 4096, 256, 768, 9  # of the product that is timed
_WORTH = 1.3  # times faster, for leaving fp32: below, chance would decide


@cache
def bf16_is_faster() -> bool:
    """Whether it multiplies wide matrices faster in bf16 than in fp32.

    Without the instructions it doesn't. Having them says little: with AVX512-BF16 an EPYC took a third of
    fp32's time, a Xeon twice.
    """
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False
    chance = torch.Generator().manual_seed(0)
    rows = torch.randn(_ROWS, _WIDTH, generator=chance)
    weight = torch.randn(_WIDTH, _WIDE, generator=chance)

    def seconds(dtype: torch.dtype) -> float:
        left, right = rows.to(dtype), weight.to(dtype)
        times: list[float] = []
        for _ in range(_TRIES):
            start = time.perf_counter()
            left @ right
            times.append(time.perf_counter() - start)
        return median(times)

    return _WORTH * seconds(torch.bfloat16) < seconds(torch.float32)


@cache
def has_vnni() -> bool:
    """Whether it adds products of bytes in 32 bits."""
    return torch.cpu._is_vnni_supported()
