"""One token through a decoder layer, in one compiled call instead of some seventy operations.

What ``vlm.layers.DecoderLayer`` does, for one conversation and int8 products; see ``vlm.kernels``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vlm.cache import KVCache
from vlm.quantize import Int8Linear, Operand, compiled_kernels


@dataclass(frozen=True)
class Place:
    """What a layer is beside its weights: index, how far it sees, factor of its scores, eps of its norms."""

    layer: int
    window: int | None
    scale: float
    eps: float


@dataclass(frozen=True)
class TokenStep:
    """A layer's weights as the kernels take them.

    Attributes:
        products: queries, keys and values joined; output; gate and up joined; down.
        gains: of the norms: before attention, of queries and keys, after attention, before and after the MLP.
        place: the rest.
    """

    products: tuple[Operand, ...]
    gains: tuple[npt.NDArray[np.float32], ...]
    place: Place
    kernels: ModuleType

    @classmethod
    def of(cls, products: Sequence[nn.Module | None], gains: Sequence[Tensor], place: Place) -> Self | None:
        """The step, or None where a product has no compiled form."""
        kernels = compiled_kernels()
        operands = [layer.operand() for layer in products if isinstance(layer, Int8Linear)]
        held = [operand for operand in operands if operand is not None]
        if kernels is None or len(held) < len(products):
            return None
        return cls(tuple(held), tuple(gain.squeeze().contiguous().numpy() for gain in gains), place, kernels)

    def __call__(self, hidden_11D: Tensor, cos_1d: Tensor, sin_1d: Tensor, cache: KVCache) -> Tensor:
        """[1, 1, hidden_size] to the same; the cache takes the new key and value."""
        place, kernels = self.place, self.kernels
        keys_1GKd, values_1GKd, at = cache.slots(place.layer)
        first = 0 if place.window is None else max(0, at + 1 - place.window)
        slots = keys_1GKd[0].numpy(), values_1GKd[0].numpy(), first, at
        position = cos_1d[0].numpy(), sin_1d[0].numpy()
        out_D, queries_Hd = kernels.layer_of_one(
            hidden_11D.detach().view(-1).numpy(), self.products, self.gains, position, slots,
            (place.scale, place.eps, kernels.threads()),
        )  # fmt: skip
        if cache.watch is not None:
            cache.show(place.layer, torch.from_numpy(queries_Hd)[None, :, None], keys_1GKd[:, :, : at + 1])
        return torch.from_numpy(out_D).view_as(hidden_11D)
