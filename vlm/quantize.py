"""int8 execution on a CPU: weights int8 a channel, activations int8 a token, products in int32.

Rounding a whole token with one scale loses what lies beside an outlier: on the real 270M the plain scheme
costs 4 % of perplexity. So both sides of a product are turned first, block by block, by a Hadamard matrix,
which leaves the product as it was and spreads an outlier over its block: 0.4 % are left. The head looks at
its best tokens again in full precision.

One copy of a weight serves both the wide products of a prompt and the narrow ones of a single token. Where
numba is installed (``pip install 'vlm[fast]'``) it stays as it is stored: oneDNN's product takes many rows,
``vlm.kernels`` what lies around it and one row, at the full rate of the memory. Elsewhere fbgemm packs it:
its dynamic linear is slower for one row and for hundreds, and quicker for 4 to 32. fbgemm knows one
activation scale a call, not one a row; therefore every row is divided by its largest magnitude beforehand,
and a last row that reaches from -1 to 1 fixes that one scale, so that a row's result depends on no other
row. A single row needs none of this and is rounded a little finer.

Source: arXiv 2206.01861 (ZeroQuant: a scale a token, a scale an output channel), 2404.00456 (QuaRot:
Hadamard rotation). Figures: ``tests/benchmarks/NOTES.md``.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vlm.processor import has_vnni

LEVELS = 127  # of either sign
TURNED = 64  # channels turned together at most: 128 halve the error again and cost twice the time
FEW = 2  # rows at most that ``vlm.kernels`` multiplies; more are faster together in torch
_ROWS = 4096  # rows quantised at once: fp32 exists for these alone
_NOTHING = np.empty(0, np.float32)

Operand = tuple[npt.NDArray[np.int8], npt.NDArray[np.float32], int]  # weight, scales, Hadamard side


@cache
def hadamard(width: int) -> Tensor:
    """The symmetric orthogonal matrix that turns rows of this width: a block of a power of two.

    Its side is the largest power of two that divides ``width``, ``TURNED`` at most.
    """
    side = min(width & -width, TURNED)
    matrix = torch.ones(1, 1)
    while matrix.shape[0] < side:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / side**0.5


def turned(rows_TI: Tensor, out_TI: Tensor | None = None) -> Tensor:
    """Turn rows block by block; turning twice is turning not at all.

    Args:
        rows_TI: float32 [T, in].
        out_TI: contiguous, where to write.

    Returns:
        [T, in], a product of two turned matrices being that of the two.
    """
    matrix = hadamard(rows_TI.shape[1])
    out = torch.empty(rows_TI.shape) if out_TI is None else out_TI
    torch.mm(rows_TI.reshape(-1, len(matrix)), matrix, out=out.view(-1, len(matrix)))
    return out


def peaks(rows_TI: Tensor) -> Tensor:
    """The largest magnitude of each row, [T, 1]; of a row of zeros a little more."""
    # Five times as fast as the infinity norm, which torch doesn't vectorise.
    return torch.maximum(rows_TI.amax(1, keepdim=True), -rows_TI.amin(1, keepdim=True)).clamp_min_(1e-12)


def quantised(
    weight_OI: Tensor, into: tuple[Tensor, Tensor] | None = None, *, mapped: bool = False
) -> tuple[Tensor, Tensor]:
    """Turn a weight and round it to int8 with a scale an output channel.

    Args:
        weight_OI: [out, in], any float dtype.
        into: where to write both results.
        mapped: the weight lies in a mapped file: its pages are let go as they have been read.

    Returns:
        int8 [out, in] and float32 [out]; their product is the turned weight, up to half a step.
    """
    outputs = weight_OI.shape[0]
    out, scales = into or (torch.empty(weight_OI.shape, dtype=torch.int8), torch.empty(outputs))
    for first in range(0, outputs, _ROWS):
        rows = slice(first, first + _ROWS)
        values = turned(weight_OI[rows].float())
        scale = peaks(values).div_(LEVELS)
        out[rows] = values.div_(scale).round_()
        scales[rows] = scale[:, 0]
        if mapped:
            let_go(weight_OI[rows])
    return out, scales


@dataclass(frozen=True)
class Sums:
    """A product of rounded rows and a rounded weight: sums * step of the row * scale of the output + bias."""

    sums_TO: Tensor  # int32
    step_T: npt.NDArray[np.float32]
    scale_O: npt.NDArray[np.float32]
    bias_O: npt.NDArray[np.float32]  # empty: none

    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """As ``vlm.kernels`` takes them."""
        return self.sums_TO.numpy(), self.step_T, self.scale_O, self.bias_O


def with_bias(sums: Sums) -> Sums:
    """The same with a bias of zeros where there is none."""
    if len(sums.bias_O):
        return sums
    return replace(sums, bias_O=np.zeros(len(sums.scale_O), np.float32))


class RoundedLinear(nn.Module):
    """A linear layer whose weight is rounded.

    The weight is packed for the processor at its first use, and the plain one, where it is another, is let go
    then: a checkpoint that holds rounded weights is mapped and not read before.

    Args:
        inputs: width of a row.
        outputs: width of a result.
        bias: whether there is one.
    """

    weight: Tensor | None
    weight_scale: Tensor | None

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        weight, scale = self.empty()
        self.register_buffer("weight", weight)
        self.register_buffer("weight_scale", scale)
        self.bias = nn.Parameter(torch.empty(outputs), requires_grad=False) if bias else None
        self._parts: list[RoundedLinear] = [self]  # whose weights, one above the other, are packed

    def empty(self) -> tuple[Tensor, Tensor]:
        """A weight and its scales, to be filled."""
        raise NotImplementedError

    @staticmethod
    def rounded(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
        """A weight in this form, and its scales."""
        raise NotImplementedError

    @classmethod
    def from_weight(cls, weight_OI: Tensor) -> Self:
        """A layer of this weight, rounded, without bias."""
        outputs, inputs = weight_OI.shape
        with torch.device("meta"):
            made = cls(inputs, outputs)
        made.weight, made.weight_scale = cls.rounded(weight_OI.detach())
        return made

    @classmethod
    def of(cls, linear: nn.Linear) -> Self:
        """The same layer, rounded."""
        made = cls.from_weight(linear.weight)
        if linear.bias is not None:
            made.bias = nn.Parameter(linear.bias.detach().float(), requires_grad=False)
        return made

    @classmethod
    def joined(cls, layers: Sequence[nn.Module]) -> Self:
        """Layers of this form and of one input as one product, their results side by side."""
        parts = [layer for layer in layers if isinstance(layer, cls)]
        assert len(parts) == len(layers), "only layers of one form are joined"
        first = parts[0]
        with torch.device("meta"):
            made = cls(first.inputs, sum(layer.outputs for layer in parts))
        made.weight = made.weight_scale = None
        made._parts = list(parts)
        if first.bias is not None:
            biases: list[Tensor] = [layer.bias for layer in parts if layer.bias is not None]
            made.bias = nn.Parameter(torch.cat(biases), requires_grad=False)
        return made

    def take(self) -> tuple[list[Tensor], list[Tensor]]:
        """The plain weights and scales of all parts, which are the caller's from now on."""
        weights = [part.weight for part in self._parts if part.weight is not None]
        scales = [part.weight_scale for part in self._parts if part.weight_scale is not None]
        for part in self._parts:
            part.weight = part.weight_scale = None
        self._parts = []
        return weights, scales


class Int8Linear(RoundedLinear):
    """A linear layer whose weight is int8, turned."""

    _packed: _Kernel | None = None

    def empty(self) -> tuple[Tensor, Tensor]:
        """int8 [out, in] and float32 [out]."""
        return torch.empty(self.outputs, self.inputs, dtype=torch.int8), torch.empty(self.outputs)

    @staticmethod
    def rounded(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
        """See ``quantised``."""
        return quantised(weight_OI)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out], float32."""
        packed = self._packed or self._pack()
        product_TO = packed.product(x.reshape(-1, self.inputs), self.bias)
        return product_TO.view(*x.shape[:-1], self.outputs)

    def sums(self, x_TI: Tensor) -> Sums | None:
        """The products of many rows before they are scaled, where that can be had (see ``vlm.between``)."""
        packed = self._packed or self._pack()
        if not isinstance(packed, _Compiled) or len(x_TI) <= FEW:
            return None
        return packed.sums(x_TI, self.bias)

    def product_of(self, rounded_TI: npt.NDArray[np.int8], step_T: npt.NDArray[np.float32]) -> Tensor:
        """The product of rows that are turned and rounded already: [T, out]."""
        packed = self._packed or self._pack()
        assert isinstance(packed, _Compiled)
        return packed.scaled(packed.sums_of(rounded_TI, step_T, self.bias))

    def operand(self) -> Operand | None:
        """The weight as ``vlm.kernels`` takes it, where that can be had."""
        packed = self._packed or self._pack()
        return packed.operand if isinstance(packed, _Compiled) else None

    def _pack(self) -> _Kernel:
        kernel = best_kernel()
        weights, scales = self.take()
        weight_OI = _stacked(weights)
        self._packed = kernel(weight_OI, _stacked(scales))
        # Else the kernel holds the parts' own memory.
        if kernel is _Fbgemm or weight_OI.data_ptr() != weights[0].data_ptr():
            for weight in weights:
                let_go(weight)
        return self._packed


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    """Parts one above the other: a view where they lie so already, as ``lay_together`` puts them."""
    first, rows = parts[0], sum(len(part) for part in parts)
    end = first.data_ptr()
    for part in parts:
        same = part.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not same or part.data_ptr() != end or not part.is_contiguous():
            return torch.cat(list(parts))
        end += part.nbytes
    return first.as_strided((rows, *first.shape[1:]), first.stride())


def lay_together(layers: Sequence[nn.Module]) -> None:
    """Give empty int8 layers of one input memory in one piece: joined, they are not copied.

    Copies would double a part for a moment, and leave holes between those that stay.
    """
    parts = [layer for layer in layers if isinstance(layer, Int8Linear)]
    if len(parts) < len(layers):  # of another form: their packing copies in any case
        return
    outputs, inputs = sum(part.outputs for part in parts), parts[0].inputs
    weight_OI, scale_O = torch.empty(outputs, inputs, dtype=torch.int8), torch.empty(outputs)
    first = 0
    for part in parts:
        rows = slice(first, first + part.outputs)
        part.weight, part.weight_scale = weight_OI[rows], scale_O[rows]
        first += part.outputs


def let_go(tensor: Tensor) -> None:
    """Tell the system that the pages of a mapped file are not needed: they count as memory in use otherwise.

    Only a map that was never written to may be read again, for its pages come from the file; any other tensor
    must be about to be freed.
    """
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    page = mmap.PAGESIZE
    first = -(-tensor.data_ptr() // page) * page  # whole pages only: neighbours live on the others
    length = (tensor.data_ptr() + tensor.nbytes) // page * page - first
    if length > 0:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), mmap.MADV_DONTNEED)


@cache
def _guard(width: int) -> Tensor:
    """The row that fixes the one scale of a call: from -1 to 1."""
    row = torch.zeros(width)
    row[0], row[-1] = 1.0, -1.0
    return row


class _Kernel:
    """A packed weight."""

    def __init__(self, weight_OI: Tensor, scale_O: Tensor) -> None:
        raise NotImplementedError

    def product(self, x_TI: Tensor, bias_O: Tensor | None) -> Tensor:
        """Rows, not turned yet, times the weight: [T, out]."""
        raise NotImplementedError


class _Compiled(_Kernel):
    """The weight as it is stored: torch's own product for many rows, ``vlm.kernels`` around it and for few.

    A row is rounded to 16 bits where it is read with one other at most, for that costs nothing then.
    """

    def __init__(self, weight_OI: Tensor, scale_O: Tensor) -> None:
        self._weight_IO = weight_OI.t()
        self.operand: Operand = weight_OI.numpy(), scale_O.numpy(), len(hadamard(weight_OI.shape[1]))

    def product(self, x_TI: Tensor, bias_O: Tensor | None) -> Tensor:
        kernels = compiled_kernels()
        assert kernels is not None
        if len(x_TI) <= FEW:
            rows = x_TI.detach().contiguous().numpy()
            product_TO = torch.from_numpy(kernels.few_rows(rows, self.operand, kernels.threads()))
            return product_TO if bias_O is None else product_TO.add_(bias_O)
        return self.scaled(self.sums(x_TI, bias_O))

    def sums(self, x_TI: Tensor, bias_O: Tensor | None) -> Sums:
        """Rows, not turned yet, times the weight, before they are scaled."""
        kernels = compiled_kernels()
        assert kernels is not None
        _, _, side = self.operand
        rows = x_TI.detach().contiguous().numpy()
        rounded_TI, step_T = kernels.round_rows(rows, side, kernels.threads())
        return self.sums_of(rounded_TI, step_T, bias_O)

    def sums_of(
        self, rounded_TI: npt.NDArray[np.int8], step_T: npt.NDArray[np.float32], bias_O: Tensor | None
    ) -> Sums:
        """The same of rows that are turned and rounded already."""
        _, scale_O, _ = self.operand
        sums_TO = torch._int_mm(torch.from_numpy(rounded_TI), self._weight_IO)
        return Sums(sums_TO, step_T, scale_O, _NOTHING if bias_O is None else bias_O.numpy())

    @staticmethod
    def scaled(sums: Sums) -> Tensor:
        """What the sums stand for, in their memory."""
        kernels = compiled_kernels()
        assert kernels is not None
        product_TO = sums.sums_TO.view(torch.float32)
        kernels.scale_rows(sums.arrays(), product_TO.numpy(), kernels.threads())
        return product_TO


class _Unit(_Kernel):
    """A kernel that takes rows of magnitude 1, the last of which reaches from -1 to 1."""

    def product(self, x_TI: Tensor, bias_O: Tensor | None) -> Tensor:
        t, inputs = x_TI.shape
        if t == 1:
            product_TO = self.alone(turned(x_TI))
            return product_TO if bias_O is None else product_TO.add_(bias_O)
        unit_TI = torch.empty((t + 1, inputs))
        rows_TI = turned(x_TI, unit_TI[:t])
        peak_T1 = peaks(rows_TI)
        rows_TI.div_(peak_T1)
        unit_TI[t] = _guard(inputs)
        product_TO = self.unit(unit_TI)[:t]
        if bias_O is None:
            return product_TO.mul_(peak_T1)
        return torch.addcmul(bias_O, product_TO, peak_T1, out=product_TO)

    def unit(self, unit_TI: Tensor) -> Tensor:
        """The product of such rows."""
        raise NotImplementedError

    def alone(self, row_1I: Tensor) -> Tensor:
        """The product of a row of any magnitude."""
        raise NotImplementedError


class _Fbgemm(_Unit):
    """A weight packed by fbgemm."""

    def __init__(self, weight_OI: Tensor, scale_O: Tensor) -> None:
        held = torch.backends.quantized.engine
        torch.backends.quantized.engine = "fbgemm"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # deprecated; ``fbgemm_works`` is ready for its end
                zeros = torch.zeros(len(scale_O), dtype=torch.long)
                typed = torch._make_per_channel_quantized_tensor(weight_OI, scale_O.double(), zeros, 0)
            self._packed = torch.ops.quantized.linear_prepack(typed, None)
        finally:
            torch.backends.quantized.engine = held
        # Without VNNI, pairs of products are added in 16 bits; 7-bit activations keep them from overflowing.
        self._narrow = not has_vnni()

    def unit(self, unit_TI: Tensor) -> Tensor:
        return torch.ops.quantized.linear_dynamic(unit_TI, self._packed, self._narrow)

    def alone(self, row_1I: Tensor) -> Tensor:
        return self.unit(row_1I)  # fbgemm finds the scale of a call by itself


class _IntMm(_Unit):
    """The same by torch's own int8 product: for processors fbgemm doesn't know."""

    def __init__(self, weight_OI: Tensor, scale_O: Tensor) -> None:
        self._weight_OI, self._scale_O = weight_OI, scale_O / LEVELS

    def unit(self, unit_TI: Tensor) -> Tensor:
        rounded_TI = unit_TI.mul(LEVELS).round_().to(torch.int8)
        return torch._int_mm(rounded_TI, self._weight_OI.t()).float().mul_(self._scale_O)

    def alone(self, row_1I: Tensor) -> Tensor:
        peak = peaks(row_1I)
        return self.unit(row_1I / peak).mul_(peak)


@cache
def compiled_kernels() -> ModuleType | None:
    """``vlm.kernels``, where numba is installed and the processor adds products of bytes in 32 bits.

    Without the latter, oneDNN's product, which goes with it, adds pairs in 16 bits and may overflow.
    """
    if not has_vnni() or find_spec("numba") is None:
        return None
    try:
        return import_module("vlm.kernels")
    except (ImportError, RuntimeError):  # not for this Python; nowhere to keep what it compiles
        return None


def fbgemm_works() -> bool:
    """Whether torch has fbgemm and its packed weights here."""
    there = "fbgemm" in torch.backends.quantized.supported_engines
    return there and hasattr(torch, "_make_per_channel_quantized_tensor")


def best_kernel() -> type[_Kernel]:
    """The fastest that there is here."""
    if compiled_kernels() is not None:
        return _Compiled
    return _Fbgemm if fbgemm_works() else _IntMm


def to_int8(module: nn.Module) -> None:
    """Turn a loaded module into its int8 form, in place.

    Every ``nn.Linear`` becomes an ``Int8Linear``, one at a time; layers that read the same input are
    joined; a decoder gets an int8 head beside its embedding.
    """
    for owner, name, linear in linears(module):
        setattr(owner, name, Int8Linear.of(linear))
    for part in _those_who(module, "quantise_head"):
        part.quantise_head()
    join_layers(module)


def swap_linears(module: nn.Module) -> None:
    """Put empty int8 layers where ``to_int8`` has full ones, in place, to be filled by a loader."""
    for owner, name, linear in linears(module):
        with torch.device("meta"):
            swapped = Int8Linear(linear.in_features, linear.out_features, bias=linear.bias is not None)
        setattr(owner, name, swapped)
    for part in _those_who(module, "quantise_head"):
        part.head = Int8Linear(part.embed_tokens.embedding_dim, part.embed_tokens.num_embeddings)


def joined(layers: Sequence[nn.Module]) -> nn.Module:
    """Rounded layers of one input, and so of one form, as one product: their class knows how."""
    first = layers[0]
    assert isinstance(first, RoundedLinear), type(first)
    return type(first).joined(layers)


def join_layers(module: nn.Module) -> None:
    """Let every layer join its rounded parts that read the same input."""
    for part in _those_who(module, "join"):
        part.join()
    give_back()


def give_back() -> None:
    """Return freed memory to the system: the C library keeps what lies between blocks that are in use.

    What rounding takes for a while leaves such holes, a gigabyte of them in a 4B model.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def empty_groups(module: nn.Module) -> list[list[nn.Module]]:
    """A module's int8 layers without memory: those that will be joined together, each other one alone."""
    groups = [part.of_one_input() for part in _those_who(module, "of_one_input")]
    joined = {id(layer) for group in groups for layer in group}
    alone = [[part] for part in module.modules() if isinstance(part, Int8Linear) and id(part) not in joined]
    return groups + alone


def _those_who(module: nn.Module, method: str) -> list[Any]:
    return [part for part in module.modules() if hasattr(part, method)]


def linears(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """(owner, name there, layer) of every linear layer."""
    for owner in list(module.modules()):
        for name, child in list(owner.named_children()):
            if isinstance(child, nn.Linear):
                yield owner, name, child
