"""Attention of the thousands of patches of a window, where the products beside it are int8.

Scores of a few hundred queries at a time stay in the cache between the two products. With compiled kernels
both are int8: queries and keys with a scale each (the keys without their mean, which moves all scores of a
query alike), values with a scale a channel, and probabilities in two planes of 7 bits. Elsewhere, if the
processor multiplies bf16 faster, they are bf16. Both are 1 to 2 % off, as int8 products are; fp32 layers
keep torch's fused kernel. Figures: ``tests/benchmarks/NOTES.md``.

Source: arXiv 2410.02367 (SageAttention: int8 scores, keys without their mean).
"""

from __future__ import annotations

import math
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional as F

from vlm.processor import bf16_is_faster
from vlm.quantize import LEVELS, compiled_kernels

HEADS, QUERIES = 2, 256  # at once in bf16: 4 MB of scores for 4096 patches
ROWS = 512  # queries of a head at once in int8
MANY = 1024  # patches from which on it is quicker


def attend_widely(q_NHPd: Tensor, k_NHPd: Tensor, v_NHPd: Tensor) -> Tensor:
    """Full attention of every patch to every patch, as closely as int8 layers need it.

    Args:
        q_NHPd: [N, heads, patches, head_dim], float32; the keys and values too.
        k_NHPd: keys.
        v_NHPd: values.

    Returns:
        [N, heads, patches, head_dim], float32.
    """
    if q_NHPd.shape[2] >= MANY:
        kernels = compiled_kernels()
        if kernels is not None:
            return attend_in_int8(q_NHPd, k_NHPd, v_NHPd, kernels)
        if bf16_is_faster():
            return attend_in_bf16(q_NHPd, k_NHPd, v_NHPd)
    return F.scaled_dot_product_attention(q_NHPd, k_NHPd, v_NHPd)


def attend_in_int8(q_NHPd: Tensor, k_NHPd: Tensor, v_NHPd: Tensor, kernels: ModuleType) -> Tensor:
    """The same with int8 products."""
    n, heads, patches, width = q_NHPd.shape
    out_NHPd = torch.empty(n, patches, heads, width).transpose(1, 2)  # as the next product reads it
    threads = kernels.threads()
    to_powers = width**-0.5 / math.log(2)  # of two
    most = min(ROWS, patches)
    sums, totals = torch.empty(most, patches, dtype=torch.int32), torch.empty(most, dtype=torch.int32)
    high, low = torch.empty(2, most, patches, dtype=torch.int8)
    for window in range(n):
        for head in range(heads):
            keys_Pd = k_NHPd[window, head]
            queries, steps = kernels.round_rows(q_NHPd[window, head].contiguous().numpy(), 1, threads)
            keys, scales = kernels.round_rows((keys_Pd - keys_Pd.mean(0)).numpy(), 1, threads)
            values, sizes = _by_channel(v_NHPd[window, head])
            steps *= to_powers
            queries_Pd, keys_dP = torch.from_numpy(queries), torch.from_numpy(keys).t()
            for start in range(0, patches, ROWS):
                block = slice(start, start + ROWS)
                count = min(ROWS, patches - start)
                torch._int_mm(queries_Pd[block], keys_dP, out=sums[:count])
                planes = tuple(part[:count].numpy() for part in (high, low, totals))
                kernels.soft_rows(sums[:count].numpy(), steps[block], scales, planes, threads)
                mixed = torch._int_mm(high[:count], values).float().mul_(128)
                mixed += torch._int_mm(low[:count], values)
                out_NHPd[window, head, block] = mixed.mul_(sizes).div_(totals[:count, None])
    return out_NHPd


def _by_channel(values_Pd: Tensor) -> tuple[Tensor, Tensor]:
    """Values rounded to int8 with a scale a channel: [P, d] and [d]."""
    values_Pd = values_Pd.contiguous()
    sizes = torch.maximum(values_Pd.amax(0), -values_Pd.amin(0)).clamp_min_(1e-12).div_(LEVELS)
    return (values_Pd * (1 / sizes)).round_().to(torch.int8), sizes


def attend_in_bf16(q_NHPd: Tensor, k_NHPd: Tensor, v_NHPd: Tensor) -> Tensor:
    """The same in bf16."""
    n, heads, patches, width = q_NHPd.shape
    out_NHPd = torch.empty(n, patches, heads, width).transpose(1, 2)  # as the next product reads it
    for window in range(n):
        for first in range(0, heads, HEADS):
            some = slice(first, first + HEADS)
            queries = (q_NHPd[window, some] * width**-0.5).bfloat16()
            keys = k_NHPd[window, some].bfloat16().transpose(1, 2).contiguous()
            values = v_NHPd[window, some].bfloat16().contiguous()
            for start in range(0, patches, QUERIES):
                block = slice(start, start + QUERIES)
                scores = torch.bmm(queries[:, block], keys)
                out_NHPd[window, some, block] = torch.bmm(scores.softmax(-1), values)
    return out_NHPd
