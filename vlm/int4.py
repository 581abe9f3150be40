"""4-bit weights: a quarter of bf16's memory, for checkpoints that were trained to bear it.

The form is ggml's Q4_0, that of the official QAT checkpoints: 32 neighbours share a scale, the one of
largest magnitude becomes -8, byte j of a group holds its weights j (low) and j + 16 (high), each with 8
added. Nothing is turned: rounding what such a file holds gives back its very numbers, and a turned weight
would have to be rounded anew.

torch's own 4-bit product takes bf16 rows and reads 15 G weights/s a thread; with the scales it holds 5 bits
a weight. It unpacks again for every four rows, so wide inputs go another way where the processor
multiplies bf16: a block of columns is unpacked once and taken by a plain product (two thirds of the time at
256 rows). Both read the same packed bytes, so there is one copy.

What is not rounded to 4 bits. A width that 32 doesn't divide stays int8, as llama.cpp falls back to a
finer type there. The tied head stays int8: the official files keep their embedding in 16 bits or 6, every
answer hangs on it, and int8 takes no longer to read. The vision tower stays int8 (``vlm.weights.forms``):
it was not trained for 4 bits, its 4096 rows a window are twice as fast in int8, and 4 bits would save a
4B no more than 0.2 GB of 3.

Source: ggml ``quantize_row_q4_0_ref``; arXiv 2503.19786 section 2.3 (QAT).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Self

import torch
from torch import Tensor, nn

from vlm.quantize import let_go, linears, swap_linears, to_int8

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


class Int4Linear(nn.Module):
    """A linear layer whose weight is 4 bits wide.

    As with ``Int8Linear`` the weight is packed for the processor at its first use, and the plain one is
    let go then.

    Args:
        inputs: width of a row, of whole groups.
        outputs: width of a result.
        bias: whether there is one.
    """

    weight: Tensor | None
    weight_scale: Tensor | None

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False) -> None:
        super().__init__()
        assert divides(inputs), inputs
        self.inputs, self.outputs = inputs, outputs
        self.register_buffer("weight", torch.empty(outputs, inputs // 2, dtype=torch.uint8))
        self.register_buffer("weight_scale", torch.empty(outputs, inputs // GROUP, dtype=torch.float16))
        self.bias = nn.Parameter(torch.empty(outputs), requires_grad=False) if bias else None
        self._parts: list[Int4Linear] = [self]  # whose weights, one above the other, are packed
        self._packed: _Packed | None = None

    @classmethod
    def of(cls, linear: nn.Linear) -> Self:
        """The same layer in 4 bits."""
        with torch.device("meta"):
            made = cls(linear.in_features, linear.out_features)
        made.weight, made.weight_scale = quantised4(linear.weight.detach())
        if linear.bias is not None:
            made.bias = nn.Parameter(linear.bias.detach().float(), requires_grad=False)
        return made

    @classmethod
    def joined(cls, layers: Sequence[nn.Module]) -> Self:
        """4-bit layers of one input as one product, their results side by side."""
        parts = [layer for layer in layers if isinstance(layer, Int4Linear)]
        assert len(parts) == len(layers), "only layers of one form are joined"
        first = parts[0]
        with torch.device("meta"):
            made = cls(first.inputs, sum(layer.outputs for layer in parts))
        made.weight = made.weight_scale = None
        made._parts = parts
        if first.bias is not None:
            biases: list[Tensor] = [layer.bias for layer in parts if layer.bias is not None]
            made.bias = nn.Parameter(torch.cat(biases), requires_grad=False)
        return made

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out], float32."""
        packed = self._packed or self._pack()
        rows_TI = x.reshape(-1, self.inputs).to(torch.bfloat16)
        wide = len(rows_TI) >= WIDE and multiplies_bf16() and layout_is_known()
        product_TO = packed.wide(rows_TI) if wide else packed.narrow(rows_TI)
        product_TO = product_TO[:, : self.outputs].float()
        if self.bias is not None:
            product_TO += self.bias
        return product_TO.view(*x.shape[:-1], self.outputs)

    def _pack(self) -> _Packed:
        weights = [part.weight for part in self._parts if part.weight is not None]
        scales = [part.weight_scale for part in self._parts if part.weight_scale is not None]
        self._packed = _Packed(torch.cat(weights), torch.cat(scales))
        for part, weight in zip(self._parts, weights, strict=True):
            part.weight = part.weight_scale = None
            let_go(weight)
        self._parts = []
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


@cache
def multiplies_bf16() -> bool:
    """Whether the processor has products of bf16; elsewhere they are slower than unpacking for each row."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


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
