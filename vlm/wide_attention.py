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
from torch import Tensor, nn
from torch.nn import functional as F

from vlm.processor import bf16_is_faster
from vlm.quantize import Int8Linear, Sums, compiled_kernels, with_bias

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
    if q_NHPd.shape[2] >= MANY and bf16_is_faster():
        return attend_in_bf16(q_NHPd, k_NHPd, v_NHPd)
    return F.scaled_dot_product_attention(q_NHPd, k_NHPd, v_NHPd)


def attend_from(product: nn.Module | None, hidden_NPD: Tensor, heads: int) -> Tensor | None:
    """The same from the layer's input on: no float is written between the sums of its product and the scores.

    Args:
        product: queries, keys and values joined.
        hidden_NPD: windows of patches.
        heads: of the attention.

    Returns:
        [N, patches, hidden_size], heads side by side, float32; None where there is no compiler, the layer is
        not int8 or the patches are few.
    """
    if not isinstance(product, Int8Linear) or hidden_NPD.shape[1] < MANY:
        return None
    kernels = compiled_kernels()
    if kernels is None:
        return None
    mixed = []
    for patches_PD in hidden_NPD:
        sums = product.sums(patches_PD)
        if sums is None:
            return None
        mixed.append(attend_in_int8(with_bias(sums), heads, kernels))
    return torch.stack(mixed) if len(mixed) > 1 else mixed[0][None]


def attend_in_int8(sums: Sums, heads: int, kernels: ModuleType) -> Tensor:
    """Attention of one window by int8 products.

    Args:
        sums: of queries, keys and values joined, with a bias.
        heads: of each.
        kernels: ``vlm.kernels``.

    Returns:
        [patches, hidden_size], heads side by side, float32.
    """
    threads = kernels.threads()
    told = map(torch.from_numpy, kernels.bytes_of_heads(sums.arrays(), heads, threads))
    queries_HPd, steps_HP, keys_HPd, scales_HP, values_HPd, sizes_D = told
    patches, width = queries_HPd.shape[1:]
    steps_HP *= width**-0.5 / math.log(2)  # to powers of two
    most = min(ROWS, patches)
    scores, totals = torch.empty(most, patches, dtype=torch.int32), torch.empty(most, dtype=torch.int32)
    high, low = torch.empty(2, most, patches, dtype=torch.int8)
    out_PD = torch.empty(patches, heads * width)
    for head in range(heads):
        keys_dP, values_Pd = keys_HPd[head].t(), values_HPd[head]
        side = slice(head * width, (head + 1) * width)
        for start in range(0, patches, ROWS):
            block = slice(start, start + ROWS)
            count = min(ROWS, patches - start)
            torch._int_mm(queries_HPd[head, block], keys_dP, out=scores[:count])
            planes = tuple(part[:count].numpy() for part in (high, low, totals))
            factors = steps_HP[head, block].numpy(), scales_HP[head].numpy()
            kernels.soft_rows(scores[:count].numpy(), *factors, planes, threads)
            mixed = torch._int_mm(high[:count], values_Pd).float().mul_(128)
            mixed += torch._int_mm(low[:count], values_Pd)
            out_PD[block, side] = mixed.mul_(sizes_D[side]).div_(totals[:count, None])
    return out_PD


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
