"""4-bit weights: a quarter of bf16's memory, for checkpoints that were trained to bear it.

The form is ggml's Q4_0, that of the official QAT checkpoints: 32 neighbours share a scale, the one of
largest magnitude becomes -8, byte j of a group holds its weights j (low) and j + 16 (high), each with 8
added. Nothing is turned: rounding what such a file holds gives back its very numbers, and a turned weight
would have to be rounded anew.

torch's own 4-bit product takes bf16 rows and reads 15 G weights/s a thread; with the scales it holds 5 bits
a weight. It unpacks again for every four rows, so wide inputs go another way where bf16 products are the
faster ones: a block of columns is unpacked once and taken by a plain product (two thirds of the time at 256
rows). Both read the same packed bytes, so there is one copy.

What is not rounded to 4 bits. A width that 32 doesn't divide stays int8, as llama.cpp falls back to a
finer type there. The tied head stays int8: the official files keep their embedding in 16 bits or 6, every
answer hangs on it, and int8 takes no longer to read. The vision tower stays int8 (``vlm.weights.forms``):
it was not trained for 4 bits, its 4096 rows a window are twice as fast in int8, and 4 bits would save a
4B no more than 0.2 GB of 3.

Source: ggml ``quantize_row_q4_0_ref``; arXiv 2503.19786 section 2.3 (QAT).
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from vlm.processor import bf16_is_faster
from vlm.quantize import RoundedLinear, let_go, linears, swap_linears, to_int8

INT4: torch.dtype = torch.int4  # type: ignore[attr-defined]  # marks a model's form; torch's stubs lack it
GROUP = 32  # weights that share a scale
OFFSET = 8  # added to a weight, so that its nibble has no sign
WIDE = 72  # rows from which on unpacking once is quicker
_ROWS = 4096  # rows rounded at once: fp32 exists for these alone
_COLUMNS = 64  # outputs packed together
_BLOCK = 8  # times that many outputs are unpacked or packed at once


def divides(width: int) -> bool:
    """Whether rows of this width have whole groups."""
    return width % GROUP == 0


def quantised4(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
    """Round a weight to 4 bits with a scale a group.

    Args:
        weight_OI: [out, in], any float dtype; 32 divides ``in``.

    Returns:
        uint8 [out, in / 2], two weights a byte, and float16 [out, in / 32].
    """
    outputs, inputs = weight_OI.shape
    nibbles = torch.empty(outputs, inputs // 2, dtype=torch.uint8)
    scales = torch.empty(outputs, inputs // GROUP, dtype=torch.float16)
    for first in range(0, outputs, _ROWS):
        rows = slice(first, first + _ROWS)
        groups_OGI = weight_OI[rows].float().view(-1, inputs // GROUP, GROUP)
        high, low = groups_OGI.amax(2, keepdim=True), groups_OGI.amin(2, keepdim=True)
        step = torch.where(high > -low, high, low) / -OFFSET
        inverse = torch.where(step == 0, 0.0, 1 / step)
        values = groups_OGI.mul(inverse).add_(OFFSET + 0.5).clamp_(0, 15).to(torch.uint8)  # cut off: rounded
        packed = values[..., : GROUP // 2] | values[..., GROUP // 2 :] << 4
        nibbles[rows], scales[rows] = packed.flatten(1), step[..., 0].to(torch.float16)
    return nibbles, scales


def values_of(nibbles_OH: Tensor) -> Tensor:
    """Packed weights, one a number: uint8 [out, in / 2] to uint8 [out, in], 0 to 15."""
    groups = nibbles_OH.view(len(nibbles_OH), -1, GROUP // 2)
    return torch.cat([groups & 15, groups >> 4], dim=2).flatten(1)


def dequantised(nibbles_OH: Tensor, scale_OG: Tensor) -> Tensor:
    """The weight again, float32 [out, in]."""
    groups = values_of(nibbles_OH).view(*scale_OG.shape, GROUP).float().sub_(OFFSET)
    return groups.mul_(scale_OG[..., None].float()).flatten(1)


class Int4Linear(RoundedLinear):
    """A linear layer whose weight is 4 bits wide; its rows are of whole groups."""

    _packed: _Packed | None = None

    def empty(self) -> tuple[Tensor, Tensor]:
        """uint8 [out, in / 2] and float16 [out, in / 32]."""
        assert divides(self.inputs), self.inputs
        nibbles = torch.empty(self.outputs, self.inputs // 2, dtype=torch.uint8)
        return nibbles, torch.empty(self.outputs, self.inputs // GROUP, dtype=torch.float16)

    @staticmethod
    def rounded(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
        """See ``quantised4``."""
        return quantised4(weight_OI)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out], float32."""
        packed = self._packed or self._pack()
        rows_TI = x.reshape(-1, self.inputs).to(torch.bfloat16)
        wide = len(rows_TI) >= WIDE and bf16_is_faster() and layout_is_known()
        product_TO = packed.wide(rows_TI) if wide else packed.narrow(rows_TI)
        product_TO = product_TO[:, : self.outputs].float()
        if self.bias is not None:
            product_TO += self.bias
        return product_TO.view(*x.shape[:-1], self.outputs)

    def _pack(self) -> _Packed:
        weights, scales = self.take()
        self._packed = _Packed(torch.cat(weights), torch.cat(scales))
        for weight in weights:
            let_go(weight)
        return self._packed


class _Packed:
    """bf16 rows times a weight packed by torch; the outputs are filled up to whole blocks of columns."""

    def __init__(self, nibbles_OH: Tensor, scale_OG: Tensor) -> None:
        filling = -len(nibbles_OH) % _COLUMNS
        nibbles_OH = nn.functional.pad(nibbles_OH, (0, 0, 0, filling), value=OFFSET * 17)  # both are zero
        scale_OG = nn.functional.pad(scale_OG, (0, 0, 0, filling))
        self._weight = torch.empty_like(nibbles_OH)
        for first in range(0, len(nibbles_OH), _BLOCK * _COLUMNS):
            rows = slice(first, first + _BLOCK * _COLUMNS)
            self._weight[rows] = _torch_packed(values_of(nibbles_OH[rows]))
        scale_GO = scale_OG.to(torch.bfloat16).t()
        self._scales = torch.stack([scale_GO, torch.zeros_like(scale_GO)], dim=2)  # and zero points

    def narrow(self, rows_TI: Tensor) -> Tensor:
        """[T, in] to [T, out filled up], by torch's 4-bit product."""
        return torch.ops.aten._weight_int4pack_mm_for_cpu(rows_TI, self._weight, GROUP, self._scales)

    def wide(self, rows_TI: Tensor) -> Tensor:
        """The same by plain products with blocks of columns."""
        inputs = rows_TI.shape[1]
        scale_G1O = self._scales[:, None, :, 0]
        blocks = torch.split(self._weight.view(-1, inputs, _COLUMNS // 2), _BLOCK)
        product_TO = torch.empty((len(rows_TI), self._scales.shape[1]), dtype=torch.bfloat16)
        unpacked_IbC = torch.empty((inputs, _BLOCK, _COLUMNS), dtype=torch.bfloat16)
        first = 0
        for block in blocks:
            width = len(block) * _COLUMNS
            columns = slice(first, first + width)
            first += width
            if len(block) < _BLOCK:
                unpacked_IbC = torch.empty((inputs, len(block), _COLUMNS), dtype=torch.bfloat16)
            unpacked_IbC.transpose(0, 1).copy_(_unpacked(block))
            weight_IO = unpacked_IbC.view(inputs, width)
            weight_IO.view(-1, GROUP, width).mul_(scale_G1O[..., columns])
            product_TO[:, columns] = rows_TI @ weight_IO
        return product_TO


def _torch_packed(values_OI: Tensor) -> Tensor:
    """Weights, 0 to 15, as torch's 4-bit product reads them: uint8 [out, in / 2]."""
    return torch.ops.aten._convert_weight_to_int4pack_for_cpu(values_OI.to(torch.int32), 1)


def _unpacked(block_bIc: Tensor) -> Tensor:
    """Blocks of packed columns, byte c holding columns c and c + 32: int8 [b, in, 64], -8 to 7."""
    signed = block_bIc.view(torch.int8) ^ (OFFSET * 17 - 256)  # nibbles in two's complement
    return torch.cat([signed << 4 >> 4, signed >> 4], dim=2)


@cache
def layout_is_known() -> bool:
    """Whether torch packs here in the way ``_unpacked`` undoes: the way is its own affair."""
    values = torch.randint(0, 16, (2 * _COLUMNS, GROUP), generator=torch.Generator().manual_seed(0))
    packed = _torch_packed(values)
    if packed.dtype != torch.uint8 or packed.numel() != values.numel() // 2:
        return False
    blocks = _unpacked(packed.view(2, GROUP, _COLUMNS // 2)).long() + OFFSET
    return torch.equal(blocks, values.view(2, _COLUMNS, GROUP).transpose(1, 2))


def to_int4(module: nn.Module) -> None:
    """Turn a loaded module into its 4-bit form, in place.

    Every ``nn.Linear`` of whole groups becomes an ``Int4Linear``; what is left is treated as ``to_int8``
    does, which also joins layers of one input and makes a decoder's head.
    """
    for owner, name, linear in linears(module):
        if divides(linear.in_features):
            setattr(owner, name, Int4Linear.of(linear))
    to_int8(module)


def swap_linears4(module: nn.Module) -> None:
    """Put empty layers where ``to_int4`` has full ones, in place, to be filled by a loader."""
    for owner, name, linear in linears(module):
        if divides(linear.in_features):
            with torch.device("meta"):
                swapped = Int4Linear(linear.in_features, linear.out_features, bias=linear.bias is not None)
            setattr(owner, name, swapped)
    swap_linears(module)
