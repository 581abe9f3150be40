"""Loops that torch has no operation for, compiled by numba: int8 products of few rows, and what is around.

A token of an answer reads every weight once, so the rate of the memory is all there is to win. torch's int8
products read weights at 40-65 % of that rate for one row, and between them a layer makes some seventy small
operations of 5 µs each. Here a row's product reads at the full rate, and a layer is one call.

Everything is numpy here; the arrays are views of tensors. numba shares torch's OpenMP threads. The first use
compiles for about half a minute in all and keeps the result beside the package (or in the user's cache).

Source: arXiv 2206.01861 and 2404.00456, as ``vlm.quantize``; the layer is ``vlm.layers.DecoderLayer``.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from llvmlite import ir
from numba import literally, njit, prange, set_num_threads, types
from numba.core import config as numba_config
from numba.core.event import Event, Listener, register
from numba.extending import intrinsic

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.int8]
Shorts = npt.NDArray[np.int16]

_SERIAL: dict[str, Any] = {"fastmath": True, "nogil": True, "cache": True, "boundscheck": False}
_PARALLEL = _SERIAL | {"parallel": True}
_LANES = 16  # numbers of a vector; where the processor has shorter ones, LLVM takes several
AHEAD = 10_240  # bytes from which on the memory is asked: the processor's own reading ahead ends with a page
LEAST = np.float32(1e-12)  # the largest magnitude of a row of zeros
LOWEST = np.finfo(np.float32).min  # below any score; infinities are what fastmath rules out
_log = logging.getLogger("vlm.kernels")


class Notice(Listener):  # type: ignore[misc]  # numba has no types
    """Says once that a first answer waits for the compiler: numba tells it when a loop is not yet kept."""

    def __init__(self) -> None:
        self._said = False

    def on_start(self, event: Event) -> None:
        """A loop begins to be compiled; other people's are none of our business."""
        ours = event.data["dispatcher"].py_func.__module__ == __name__
        if ours and not self._said:
            self._said = True
            _log.warning("compiling the int8 loops for this processor: about half a minute, this once")

    def on_end(self, event: Event) -> None:
        """It is ready."""


register("numba:compile", Notice())


@intrinsic
def _mac(_: Any, total: Any, a: Any, b: Any) -> Any:
    """total + a * b in 32 bits: numba would widen to 64, which halves the rate twice."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = context.get_value_type(types.int32)
        held, x, y = arguments
        return builder.add(held, builder.mul(builder.sext(x, wide), builder.sext(y, wide)))

    return types.int32(types.int32, types.int8, types.int16), generate


@intrinsic
def _nearest(_: Any, x: Any) -> Any:
    """The nearest whole number of less than 22 bits: added to 1.5 * 2 ** 23, it is what the last bits say."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (value,) = arguments
        magic, whole = value.type(12582912.0), context.get_value_type(types.int32)
        return builder.sub(builder.bitcast(builder.fadd(value, magic), whole), whole(0x4B400000))

    return types.int32(types.float32), generate


@intrinsic
def _times_power(_: Any, x: Any, k: Any) -> Any:
    """x * 2 ** k for x near 1: k is added to the exponent's bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, power = arguments
        bits = builder.bitcast(value, ir.IntType(32))
        return builder.bitcast(builder.add(bits, builder.shl(power, power.type(23))), value.type)

    return types.float32(types.float32, types.int32), generate


@intrinsic
def _prefetch(_: Any, array: Any, at: Any) -> Any:
    """Ask the memory for the line that holds byte ``at`` of a contiguous array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        held = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        form = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], form)
        place = builder.bitcast(builder.gep(held.data, [arguments[1]]), byte)
        builder.call(fetch, [place, word(0), word(3), word(1)])  # to read, to keep, data
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def _larger(_: Any, x: Any, y: Any) -> Any:
    """The larger of two, which a loop takes as vectors: a branch or numba's ``max`` stays scalar."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b = arguments
        return builder.select(builder.fcmp_ordered(">", a, b, flags=("fast",)), a, b, flags=("fast",))

    return types.float32(types.float32, types.float32), generate


@intrinsic
def _kept_within(_: Any, x: Any) -> Any:
    """x within the powers of two that there are in 32 bits; numba's ``min`` and ``max`` stay scalar."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (value,) = arguments
        for sign, edge in (("<", 126.0), (">", -126.0)):
            limit = value.type(edge)
            value = builder.select(builder.fcmp_ordered(sign, value, limit, flags=("fast",)), value, limit)
        return value

    return types.float32(types.float32), generate


def threads() -> int:
    """As many as torch takes; they are the same ones. To be asked for before every call of a kernel.

    The first time numba starts its pool, and with it sets OpenMP's number, which is torch's too: put back.
    """
    wanted = torch.get_num_threads()
    count = min(wanted, numba_config.NUMBA_NUM_THREADS)
    set_num_threads(count)
    if torch.get_num_threads() != wanted:
        torch.set_num_threads(wanted)
    return count


@njit(**_SERIAL)
def _levels(width: int) -> int:
    """Steps of either sign that a row of 16-bit numbers may have, so that no sum leaves 32 bits."""
    return min(2**15 - 1, (2**31 - 1) // (127 * width))


@intrinsic
def _turn_vectors(_: Any, row: Any, at: Any, count: Any) -> Any:
    """Hadamard blocks of ``16 * count`` numbers (count 1, 2 or 4, a literal) in place, from ``at`` on.

    Returns the largest magnitude of the result. Sixteen numbers are one vector: partners within it come by a
    shuffle and the sum or difference is one product and sum more; partners beyond it are vectors themselves.
    What LLVM makes of loops with strides below a vector takes ten times as long.
    """
    if not isinstance(count, types.IntegerLiteral):
        return None
    vectors = count.literal_value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        single, word = ir.FloatType(), ir.IntType(32)
        vector = ir.VectorType(single, _LANES)

        def constant(kind: Any, of_lane: Any) -> Any:
            return ir.Constant(ir.VectorType(kind, _LANES), [of_lane(lane) for lane in range(_LANES)])

        def partners(x: Any, stride: int) -> Any:
            return builder.shuffle_vector(x, x, constant(word, lambda lane: lane ^ stride))

        def larger(x: Any, y: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", x, y, flags=("fast",)), x, y)

        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        start = builder.bitcast(builder.gep(array.data, [arguments[1]]), vector.as_pointer())
        places = [builder.gep(start, [ir.Constant(word, index)]) for index in range(vectors)]
        held = [builder.load(place, align=4) for place in places]
        for stride in (1, 2, 4, 8):
            signs = constant(single, lambda lane, stride=stride: -1.0 if lane & stride else 1.0)
            held = [
                builder.fadd(partners(x, stride), builder.fmul(x, signs, flags=("fast",)), flags=("fast",))
                for x in held
            ]
        stride = 1
        while stride < vectors:
            for low in (index for index in range(vectors) if not index & stride):
                x, y = held[low], held[low | stride]
                held[low], held[low | stride] = builder.fadd(x, y), builder.fsub(x, y)
            stride *= 2
        peak = None
        for place, x in zip(places, held, strict=True):
            builder.store(x, place, align=4)
            size = larger(x, builder.fneg(x))
            peak = size if peak is None else larger(size, peak)
        for stride in (8, 4, 2, 1):
            peak = larger(peak, partners(peak, stride))
        return builder.extract_element(peak, word(0))

    return types.float32(row, types.intp, count), generate


@njit(**_SERIAL)
def _turn(row_I: Floats, side: int) -> np.float32:
    """Hadamard blocks of ``side``, in place and without their factor side ** -0.5; returns the peak.

    Every stage halves or doubles a stride; their order is all one.
    """
    n, peak = len(row_I), LEAST
    if side == 64:
        for b in range(0, n, 64):
            size = _turn_vectors(row_I, b, literally(4))
            if size > peak:  # noqa: PLR1730 - numba's max stays scalar
                peak = size
        return peak
    if side == 32:
        for b in range(0, n, 32):
            size = _turn_vectors(row_I, b, literally(2))
            if size > peak:  # noqa: PLR1730
                peak = size
        return peak
    if side == 16:
        for b in range(0, n, 16):
            size = _turn_vectors(row_I, b, literally(1))
            if size > peak:  # noqa: PLR1730
                peak = size
        return peak
    half = 1
    while half < side:
        for b in range(0, n, 2 * half):
            for i in range(b, b + half):
                x, y = row_I[i], row_I[i + half]
                row_I[i], row_I[i + half] = x + y, x - y
        half *= 2
    for i in range(n):
        peak = _larger(abs(row_I[i]), peak)
    return peak


@njit(**_SERIAL)
def _rounded(row_I: Floats, side: int, steps: int, out_I: Any) -> np.float32:
    """Turn a row in place and round it to ``steps`` of either sign; returns the size of a step."""
    peak = _turn(row_I, side)
    factor = np.float32(steps) / peak
    for i in range(len(row_I)):
        out_I[i] = _nearest(row_I[i] * factor)
    return peak / np.float32(steps * math.sqrt(side))


@njit(**_SERIAL)
def _dot(weight_OI: Bytes, o: int, row_I: Shorts) -> np.int32:
    """The product of one row of the weight; the memory is asked for one some 10 KB further on."""
    inputs = len(row_I)
    ahead = o + 1 + AHEAD // inputs
    if ahead < len(weight_OI):
        for i in range(0, inputs, 64):
            _prefetch(weight_OI, ahead * inputs + i)
    total = np.int32(0)
    for i in range(len(row_I)):
        total = _mac(total, weight_OI[o, i], row_I[i])
    return total


@njit(**_PARALLEL)
def _product(weight: Any, row_I: Shorts, step: np.float32, out_O: Floats, n: int) -> None:
    weight_OI, scale_O, _ = weight
    outputs = len(scale_O)
    for t in prange(n):
        for o in range(outputs * t // n, outputs * (t + 1) // n):
            out_O[o] = np.float32(_dot(weight_OI, o, row_I)) * (scale_O[o] * step)


@njit(**_PARALLEL)
def few_rows(x_TI: Floats, weight: Any, n: int) -> Floats:
    """Rows times a weight (int8 [out, in], scales [out], Hadamard side), which is read once: [T, out]."""
    weight_OI, scale_O, side = weight
    count, inputs = x_TI.shape
    outputs = len(scale_O)
    rows_TI = np.empty((count, inputs), np.int16)
    step_T = np.empty(count, np.float32)
    for r in range(count):
        step_T[r] = _rounded(x_TI[r].copy(), side, _levels(inputs), rows_TI[r])
    out_TO = np.empty((count, outputs), np.float32)
    if count == 1:
        _product(weight, rows_TI[0], step_T[0], out_TO[0], n)
        return out_TO
    for t in prange(n):
        for o in range(outputs * t // n, outputs * (t + 1) // n):
            for r in range(count):
                out_TO[r, o] = np.float32(_dot(weight_OI, o, rows_TI[r])) * (scale_O[o] * step_T[r])
    return out_TO


@njit(**_PARALLEL)
def round_rows(x_TI: Floats, side: int, n: int) -> tuple[Bytes, Floats]:
    """Turn rows and round them to int8: [T, in], and the step of each, [T]."""
    count, inputs = x_TI.shape
    out_TI = np.empty((count, inputs), np.int8)
    step_T = np.empty(count, np.float32)
    for t in prange(n):
        row_I = np.empty(inputs, np.float32)
        for r in range(count * t // n, count * (t + 1) // n):
            row_I[:] = x_TI[r]
            step_T[r] = _rounded(row_I, side, 127, out_TI[r])
    return out_TI, step_T


@njit(**_PARALLEL)
def scale_rows(sums: Any, out_TO: Floats, n: int) -> None:
    """Sums of products back to what they stand for, with a bias unless that is empty.

    Args:
        sums: int32 [T, O], the step of each row, the scale and the bias of each output (or no bias).
        out_TO: where to write; it may be the memory of the sums.
        n: threads.
    """
    sum_TO, step_T, scale_O, bias_O = sums
    count, outputs = sum_TO.shape
    for t in prange(n):
        for r in range(count * t // n, count * (t + 1) // n):
            step = step_T[r]
            if len(bias_O) > 0:
                for o in range(outputs):
                    out_TO[r, o] = np.float32(sum_TO[r, o]) * (scale_O[o] * step) + bias_O[o]
            else:
                for o in range(outputs):
                    out_TO[r, o] = np.float32(sum_TO[r, o]) * (scale_O[o] * step)


@njit(inline="always", **_SERIAL)
def _power_of_two(u: np.float32) -> np.float32:
    """2 ** u: a whole power and a polynomial (1e-7 off at most), which loops take as vectors."""
    u = _kept_within(u)
    k = _nearest(u)
    f = u - np.float32(k)
    tail = np.float32(9.618129e-3) + f * (np.float32(1.333355815e-3) + f * np.float32(1.540353e-4))
    tail = np.float32(0.2402265070) + f * (np.float32(5.550410866e-2) + f * tail)
    return _times_power(np.float32(1) + f * (np.float32(0.6931471806) + f * tail), k)


@njit(inline="always", **_SERIAL)
def _about_a_power_of_two(u: np.float32) -> np.float32:
    """2 ** u for u up to 0, 1e-4 off at most: enough for 14 bits of it."""
    u = _kept_within(u)
    k = _nearest(u)
    f = u - np.float32(k)
    return _times_power(
        np.float32(0.99992807)
        + f * (np.float32(0.69326099) + f * (np.float32(0.24261112) + f * np.float32(0.05517166))),
        k,
    )


@njit(inline="always", **_SERIAL)
def _gelu(x: np.float32) -> np.float32:
    """GELU in its tanh form: x times the logistic function of 2 u, for 0.5 * (1 + tanh(u)) is that."""
    u = np.float32(-2.302208198) * (x + np.float32(0.044715) * x * x * x)  # 2 u / ln 2, as a power of two
    return x / (np.float32(1) + _power_of_two(u))


@njit(**_PARALLEL)
def soft_rows(sum_TK: Any, step_T: Floats, scale_K: Floats, planes: Any, n: int) -> None:
    """Softmax of products' sums, in two planes of 7 bits, so that int8 products can go on with it.

    Args:
        sum_TK: int32, scores of a row once multiplied by its step and each column's scale, as powers of two.
        step_T: of each row.
        scale_K: of each column.
        planes: to be written: int8 high and low [T, K], 128 * high + low being 16256 for a row's best; and
            int32 [T], their sum over a row.
        n: threads.
    """
    count, width = sum_TK.shape
    high_TK, low_TK, total_T = planes
    for t in prange(n):
        row_K = np.empty(width, np.float32)
        for r in range(count * t // n, count * (t + 1) // n):
            step = step_T[r]
            best = LOWEST
            for k in range(width):
                row_K[k] = np.float32(sum_TK[r, k]) * (scale_K[k] * step)
                best = _larger(row_K[k], best)
            total = np.int32(0)
            for k in range(width):
                share = _nearest(_about_a_power_of_two(row_K[k] - best) * np.float32(16256))
                total += share
                high_TK[r, k] = share >> 7
                low_TK[r, k] = share & 127
            total_T[r] = total


@njit(**_SERIAL)
def _stand_for(
    sum_O: Any, first: int, scale_O: Floats, step: np.float32, bias_O: Floats, out_O: Floats
) -> None:
    """As many of a row's sums as there is room for, from ``first`` on, as what they stand for."""
    for o in range(len(out_O)):
        scale = scale_O[first + o] * step
        out_O[o] = np.float32(sum_O[first + o]) * scale + bias_O[first + o]


@njit(**_PARALLEL)
def _channels(sums: Any, n: int) -> tuple[Floats, Floats]:
    """Of the joined product of queries, keys and values: the mean of each channel of the keys, the largest
    magnitude of each of the values; [D] both."""
    sum_TO, step_T, scale_O, bias_O = sums
    count, width = len(sum_TO), sum_TO.shape[1] // 3
    total_tD, peak_tD = np.zeros((n, width), np.float32), np.full((n, width), LEAST, np.float32)
    for t in prange(n):
        row_D = np.empty(width, np.float32)
        for r in range(count * t // n, count * (t + 1) // n):
            _stand_for(sum_TO[r], width, scale_O, step_T[r], bias_O, row_D)
            for o in range(width):
                total_tD[t, o] += row_D[o]
            _stand_for(sum_TO[r], 2 * width, scale_O, step_T[r], bias_O, row_D)
            for o in range(width):
                peak_tD[t, o] = _larger(abs(row_D[o]), peak_tD[t, o])
    for t in range(1, n):
        for o in range(width):
            total_tD[0, o] += total_tD[t, o]
            peak_tD[0, o] = _larger(peak_tD[t, o], peak_tD[0, o])
    return total_tD[0] / np.float32(count), peak_tD[0]


@njit(**_PARALLEL)
def bytes_of_heads(sums: Any, heads: int, n: int) -> Any:
    """Sums of the joined product of queries, keys and values as bytes for attention.

    Args:
        sums: int32 [T, 3 * D], the step of each row, the scale and the bias of each output.
        heads: H.
        n: threads.

    Returns:
        Queries and keys, [H, T, d] each, with a step a row, [H, T] each, the keys without the mean of each of
        their channels; values [H, T, d] with a step a channel, [D].
    """
    sum_TO, step_T, scale_O, bias_O = sums
    count, width = len(sum_TO), sum_TO.shape[1] // 3
    d = width // heads
    mean_D, peak_D = _channels(sums, n)
    queries_HTd = np.empty((heads, count, d), np.int8)
    keys_HTd, values_HTd = np.empty_like(queries_HTd), np.empty_like(queries_HTd)
    query_step_HT, key_step_HT = np.empty((heads, count), np.float32), np.empty((heads, count), np.float32)
    factor_D = np.float32(127) / peak_D
    for t in prange(n):
        row_D = np.empty(width, np.float32)
        for r in range(count * t // n, count * (t + 1) // n):
            _stand_for(sum_TO[r], 0, scale_O, step_T[r], bias_O, row_D)
            for h in range(heads):
                query_step_HT[h, r] = _rounded(row_D[h * d : (h + 1) * d], 1, 127, queries_HTd[h, r])
            _stand_for(sum_TO[r], width, scale_O, step_T[r], bias_O, row_D)
            for o in range(width):
                row_D[o] -= mean_D[o]
            for h in range(heads):
                key_step_HT[h, r] = _rounded(row_D[h * d : (h + 1) * d], 1, 127, keys_HTd[h, r])
            _stand_for(sum_TO[r], 2 * width, scale_O, step_T[r], bias_O, row_D)
            for h in range(heads):
                for i in range(d):
                    values_HTd[h, r, i] = _nearest(row_D[h * d + i] * factor_D[h * d + i])
    return queries_HTd, query_step_HT, keys_HTd, key_step_HT, values_HTd, peak_D / np.float32(127)


@njit(**_PARALLEL)
def gelu_rows(sums: Any, side: int, n: int) -> tuple[Bytes, Floats]:
    """GELU of a product's sums with their bias, turned and rounded for the next product: [T, O], [T]."""
    sum_TO, step_T, scale_O, bias_O = sums
    count, outputs = sum_TO.shape
    out_TO = np.empty((count, outputs), np.int8)
    out_step_T = np.empty(count, np.float32)
    for t in prange(n):
        row_O = np.empty(outputs, np.float32)
        for r in range(count * t // n, count * (t + 1) // n):
            step = step_T[r]
            for o in range(outputs):
                row_O[o] = _gelu(np.float32(sum_TO[r, o]) * (scale_O[o] * step) + bias_O[o])
            out_step_T[r] = _rounded(row_O, side, 127, out_TO[r])
    return out_TO, out_step_T


@njit(**_PARALLEL)
def gated_rows(sums: Any, side: int, n: int) -> tuple[Bytes, Floats]:
    """gelu(gate) times up of sums that hold the gate first, turned and rounded likewise: [T, O / 2], [T]."""
    sum_TO, step_T, scale_O, _ = sums
    count, wide = sum_TO.shape[0], sum_TO.shape[1] // 2
    out_TF = np.empty((count, wide), np.int8)
    out_step_T = np.empty(count, np.float32)
    for t in prange(n):
        row_F = np.empty(wide, np.float32)
        for r in range(count * t // n, count * (t + 1) // n):
            step = step_T[r]
            for f in range(wide):
                gate = np.float32(sum_TO[r, f]) * (scale_O[f] * step)
                up = np.float32(sum_TO[r, wide + f]) * (scale_O[wide + f] * step)
                row_F[f] = _gelu(gate) * up
            out_step_T[r] = _rounded(row_F, side, 127, out_TF[r])
    return out_TF, out_step_T


@njit(**_SERIAL)
def _normed(x_D: Floats, gain_D: Floats, eps: float, out_D: Floats) -> None:
    """x / rms(x) * gain."""
    total = np.float32(0)
    for i in range(len(x_D)):
        total += x_D[i] * x_D[i]
    factor = np.float32(1 / math.sqrt(total / len(x_D) + eps))
    for i in range(len(x_D)):
        out_D[i] = x_D[i] * factor * gain_D[i]


@njit(**_SERIAL)
def _turn_by_position(heads_Ad: Floats, gain_Ad: Floats, eps: float, cos_d: Floats, sin_d: Floats) -> None:
    """Norm and rotary position of as many heads as there are gains, in place."""
    turned, d = gain_Ad.shape
    row_d = np.empty(d, np.float32)
    for a in range(turned):
        _normed(heads_Ad[a], gain_Ad[a], eps, row_d)
        for i in range(d // 2):
            x, y = row_d[i], row_d[i + d // 2]
            heads_Ad[a, i] = x * cos_d[i] - y * sin_d[i]
            heads_Ad[a, i + d // 2] = y * cos_d[i + d // 2] + x * sin_d[i + d // 2]


@njit(**_PARALLEL)
def heads_of_rows(sums: Any, gain_Ad: Floats, eps: float, position: Any, n: int) -> Floats:
    """Sums of the joined product of queries, keys and values as heads, [heads, T, head_dim].

    As many heads as there are gains are normed and turned by their position; the rest, values, stay.
    """
    sum_TO, step_T, scale_O, _ = sums
    cos_Td, sin_Td = position
    count = len(sum_TO)
    turned, d = gain_Ad.shape
    heads = sum_TO.shape[1] // d
    out_ATd = np.empty((heads, count, d), np.float32)
    for t in prange(n):
        row_Ad = np.empty((heads, d), np.float32)
        for r in range(count * t // n, count * (t + 1) // n):
            step = step_T[r]
            for a in range(heads):
                for i in range(d):
                    row_Ad[a, i] = np.float32(sum_TO[r, a * d + i]) * (scale_O[a * d + i] * step)
            _turn_by_position(row_Ad[:turned], gain_Ad, eps, cos_Td[r], sin_Td[r])
            for a in range(heads):
                out_ATd[a, r] = row_Ad[a]
    return out_ATd


@njit(**_SERIAL)
def _linear(x_I: Floats, weight: Any, n: int) -> Floats:
    """The product of one row, which is turned in place: [out]."""
    _, scale_O, side = weight
    row_I = np.empty(len(x_I), np.int16)
    step = _rounded(x_I, side, _levels(len(x_I)), row_I)
    out_O = np.empty(len(scale_O), np.float32)
    _product(weight, row_I, step, out_O, n)
    return out_O


@njit(**_PARALLEL)
def _attended(q_Hd: Floats, slots: Any, scale: float, n: int) -> Floats:
    """Grouped attention of one token over the slots from the first to the one just written: [H, head_dim]."""
    keys_GKd, values_GKd, first, at = slots
    heads, d = q_Hd.shape
    groups, end = len(keys_GKd), at + 1
    out_Hd = np.empty((heads, d), np.float32)
    weights_HK = np.empty((heads, end), np.float32)
    for t in prange(n):
        for h in range(heads * t // n, heads * (t + 1) // n):
            g = h // (heads // groups)
            best = LOWEST
            for k in range(first, end):
                score = np.float32(0)
                for i in range(d):
                    score += q_Hd[h, i] * keys_GKd[g, k, i]
                score *= np.float32(scale)
                weights_HK[h, k] = score
                if score > best:  # noqa: PLR1730
                    best = score
            total = np.float32(0)
            for k in range(first, end):
                weights_HK[h, k] = math.exp(weights_HK[h, k] - best)
                total += weights_HK[h, k]
            for i in range(d):
                out_Hd[h, i] = 0
            for k in range(first, end):
                share = weights_HK[h, k] / total
                for i in range(d):
                    out_Hd[h, i] += share * values_GKd[g, k, i]
    return out_Hd


@njit(**_PARALLEL)
def _gated(x_D: Floats, weight: Any, n: int) -> Floats:
    """gelu(gate) times up of a row, which is turned in place; the gate comes first in the weight: [F]."""
    weight_OI, scale_O, side = weight
    row_D = np.empty(len(x_D), np.int16)
    step = _rounded(x_D, side, _levels(len(x_D)), row_D)
    wide = len(scale_O) // 2
    gate_F, up_F = np.empty(wide, np.float32), np.empty(wide, np.float32)
    for t in prange(n):
        first, last = wide * t // n, wide * (t + 1) // n
        for f in range(first, last):
            gate_F[f] = np.float32(_dot(weight_OI, f, row_D)) * (scale_O[f] * step)
        for f in range(first, last):
            up_F[f] = np.float32(_dot(weight_OI, wide + f, row_D)) * (scale_O[wide + f] * step)
        for f in range(first, last):
            up_F[f] *= _gelu(gate_F[f])
    return up_F


@njit(**_SERIAL)
def layer_of_one(
    x_D: Floats, weights: Any, gains: Any, position: Any, slots: Any, numbers: Any
) -> tuple[Floats, Floats]:
    """A decoder layer for one token; its key and value are written where they belong.

    Args:
        x_D: the token before the layer.
        weights: (int8 [out, in], scales [out], Hadamard side) of the products: queries, keys and values
            joined; output; gate and up joined; down.
        gains: of the norms: before attention [D]; of queries and keys [H + G, head_dim]; after attention,
            before and after the MLP, [D] each.
        position: cosine and sine, [head_dim] each.
        slots: of keys and of values [G, slots, head_dim] each, the first that is seen, the one to be written.
        numbers: the factor of the scores, eps of the norms, threads.

    Returns:
        The token after the layer [D], and its queries [H, head_dim].
    """
    qkv, output, wide, down = weights
    before, head_gains_Ad, after, before_mlp, after_mlp = gains
    keys_GKd, values_GKd, _, at = slots
    scale, eps, n = numbers
    groups, d = len(keys_GKd), head_gains_Ad.shape[1]
    normed_D = np.empty(len(x_D), np.float32)
    _normed(x_D, before, eps, normed_D)
    heads_Ad = _linear(normed_D, qkv, n).reshape(-1, d)
    _turn_by_position(heads_Ad, head_gains_Ad, eps, position[0], position[1])
    queries_Hd = heads_Ad[: len(heads_Ad) - 2 * groups]
    keys_GKd[:, at] = heads_Ad[len(queries_Hd) : len(queries_Hd) + groups]
    values_GKd[:, at] = heads_Ad[len(queries_Hd) + groups :]
    mixed_Hd = _attended(queries_Hd, slots, scale, n)
    _normed(_linear(mixed_Hd.reshape(-1), output, n), after, eps, normed_D)
    sum_D = x_D + normed_D

    _normed(sum_D, before_mlp, eps, normed_D)
    _normed(_linear(_gated(normed_D, wide, n), down, n), after_mlp, eps, normed_D)
    return sum_D + normed_D, queries_Hd
