"""Attention of the thousands of patches of a window, in bf16 where the processor multiplies that faster.

Scores of a few heads and a few hundred queries at a time stay in the cache between the two products: 0.41 s
a layer of the So400m tower where torch's fused kernel takes 0.62 s, in fp32 and in bf16 alike. Probabilities
rounded to bf16 change the result by 0.5 %, less than int8 products beside them do; so it is used with those
alone (``tests/benchmarks/NOTES.md``).
"""

from __future__ import annotations

import torch
from torch import Tensor

HEADS, QUERIES = 2, 256  # at once: 4 MB of scores for 4096 patches
MANY = 1024  # patches from which on it is quicker


def attend_in_blocks(q_NHPd: Tensor, k_NHPd: Tensor, v_NHPd: Tensor) -> Tensor:
    """Full attention of every patch to every patch.

    Args:
        q_NHPd: [N, heads, patches, head_dim], float32; the keys and values too.
        k_NHPd: keys.
        v_NHPd: values.

    Returns:
        [N, heads, patches, head_dim], float32, rounded as bf16.
    """
    n, heads, patches, width = q_NHPd.shape
    out_NHPd = torch.empty(n, heads, patches, width)
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
