"""What this processor can, as torch knows it."""

from __future__ import annotations

from functools import cache

import torch


@cache
def multiplies_bf16() -> bool:
    """Whether it has products of bf16; elsewhere they are slower than those of fp32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@cache
def has_vnni() -> bool:
    """Whether it adds products of bytes in 32 bits."""
    return torch.cpu._is_vnni_supported()
