"""What lies between two int8 products of many rows, in one pass each: heads and their positions, GELU.

A prompt's products are integers in and integers out. Scaled, activated, normed and turned by operations of
their own, the numbers between them go through memory six times; here a row stays in the cache from the sums
of one product to the bytes of the next. Where there is no compiler, or the layer is of another form, each
function says so with None and the layer does it step by step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlm.quantize import Int8Linear, compiled_kernels, hadamard, with_bias


def activated(first: nn.Module | None, second: nn.Module, rows_TD: Tensor, *, gated: bool) -> Tensor | None:
    """``second`` of GELU (tanh form) of ``first``.

    Args:
        first: the wide product; gated: of gate and up joined, the gate first.
        second: back to the width of the rows.
        rows_TD: [T, D], at least a few.
        gated: whether gelu(gate) is multiplied with up.

    Returns:
        [T, D], or None.
    """
    if not isinstance(first, Int8Linear) or not isinstance(second, Int8Linear):
        return None  # before anything is compiled
    kernels, sums = compiled_kernels(), first.sums(rows_TD)
    if kernels is None or sums is None:
        return None
    kernel = kernels.gated_rows if gated else kernels.gelu_rows
    summed = sums if gated else with_bias(sums)
    rounded_TF, step_T = kernel(summed.arrays(), len(hadamard(second.inputs)), kernels.threads())
    return second.product_of(rounded_TF, step_T)


def heads(
    product: nn.Module | None, rows_TD: Tensor, gain_Ad: Tensor, eps: float, position: tuple[Tensor, Tensor]
) -> Tensor | None:
    """Queries and keys, normed and turned by their position, and values, of one conversation.

    Args:
        product: queries, keys and values joined.
        rows_TD: [T, D], at least a few.
        gain_Ad: of the norms of the queries' heads and the keys'.
        eps: of the norms.
        position: cosine and sine, [T, head_dim] each.

    Returns:
        [heads, T, head_dim], or None.
    """
    if not isinstance(product, Int8Linear):
        return None
    kernels, sums = compiled_kernels(), product.sums(rows_TD)
    if kernels is None or sums is None:
        return None
    tables = tuple(table.contiguous().numpy() for table in position)
    gains = gain_Ad.contiguous().numpy()
    heads_ATd = kernels.heads_of_rows(sums.arrays(), gains, eps, tables, kernels.threads())
    return torch.from_numpy(heads_ATd)
