"""Row by row work in blocks: what lies between two products stays in the cache.

A window's MLP makes 70 MB between its two products. Written and read whole, with fresh pages each time, that
costs as much as the products themselves; in blocks an int8 MLP takes 0.22 s instead of 0.59 s, an
fp32 one 0.73 s instead of 1.35 s, with the same bits (``tests/benchmarks/NOTES.md``).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BLOCK = 1 << 24  # bytes of the widest thing between two products


def in_blocks(work: Callable[[Tensor], Tensor], rows_TD: Tensor, width: int) -> Tensor:
    """Apply what treats every row alone to all rows.

    Args:
        work: [n, D] to [n, E], any n.
        rows_TD: the rows.
        width: of the widest thing ``work`` makes of a row, in numbers.

    Returns:
        [T, E].
    """
    size = max(64, BLOCK // (4 * width))
    if rows_TD.shape[0] <= size or torch.is_grad_enabled():  # training keeps everything anyway
        return work(rows_TD)
    return torch.cat([work(block) for block in torch.split(rows_TD, size)])
