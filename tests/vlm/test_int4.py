"""4-bit products: what rounding costs, that both ways of computing are one, that joining changes nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from torch import Tensor, nn

import vlm.int4
from tests.vlm.tiny import TINY, tiny_decoder
from vlm.cache import KVCache
from vlm.generate import decode_one, prefill
from vlm.int4 import (
    GROUP,
    WIDE,
    Int4Linear,
    bf16_is_faster,
    dequantised,
    divides,
    layout_is_known,
    quantised4,
    swap_linears4,
    to_int4,
    values_of,
)
from vlm.masks import Queries
from vlm.quantize import Int8Linear

torch.set_num_threads(1)

NARROW = dataclasses.replace(TINY, hidden_size=64, intermediate_size=96)


def rows(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def error(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).detach().norm() / wanted.detach().norm())


@pytest.fixture(params=["either", "narrow"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "narrow":
        monkeypatch.setattr(vlm.int4, "bf16_is_faster", lambda: False)
    else:
        monkeypatch.setattr(vlm.int4, "bf16_is_faster", lambda: True)


def test_a_weight_is_rounded_to_the_nearest_step_of_its_group() -> None:
    weight = rows(5, 128) * torch.tensor([1e-3, 1.0, 50.0, 1.0, 0.0])[:, None]
    kept = weight.clone()
    nibbles, scales = quantised4(weight)
    assert torch.equal(weight, kept)
    assert nibbles.shape == (5, 64) and nibbles.dtype == torch.uint8
    assert scales.shape == (5, 4) and scales.dtype == torch.float16
    apart = (dequantised(nibbles, scales) - weight).abs().view(5, -1, GROUP)
    # Where the far end lies on the other side of the extreme, 7 steps must do for up to 8.
    assert (apart <= scales.abs().float()[..., None] * 1.01).all()
    assert (apart <= scales.abs().float()[..., None] * 0.51).float().mean() > 0.97
    assert error(dequantised(nibbles, scales)[:4], weight[:4]) < 0.1


def test_groups_are_those_of_ggml() -> None:
    weight = rows(7, 96).numpy()
    packed = quantize(weight, GGMLQuantizationType.Q4_0).reshape(7, 3, 18)
    nibbles, scales = quantised4(torch.from_numpy(weight))
    assert np.array_equal(packed[..., 2:], nibbles.view(7, 3, 16).numpy())
    assert np.array_equal(packed[..., :2].copy().view(np.float16)[..., 0], scales.numpy())
    again = dequantize(packed.reshape(7, -1), GGMLQuantizationType.Q4_0)
    torch.testing.assert_close(dequantised(nibbles, scales), torch.from_numpy(again), rtol=0, atol=0)


def test_what_was_rounded_before_stays_as_it_is() -> None:
    nibbles, scales = quantised4(rows(40, 256))
    again, scales_again = quantised4(dequantised(nibbles, scales))
    assert torch.equal(again, nibbles) and torch.equal(scales_again, scales)
    assert values_of(nibbles).view(40, -1, GROUP).amin(2).max() == 0  # every group has its -8


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("count", [1, 2, 33, WIDE, 3 * WIDE])
@pytest.mark.parametrize("outputs", [256, 8 * 64 + 70])
def test_a_product_is_that_of_the_rounded_weight(count: int, bias: bool, outputs: int) -> None:
    linear = nn.Linear(640, outputs, bias=bias)
    x = rows(count, 640)
    x[:, 3] *= 40  # activations are not rounded: an outlier does no harm
    naive = nn.functional.linear(x, dequantised(*quantised4(linear.weight)), linear.bias)
    layer = Int4Linear.of(linear)
    assert error(layer(x), naive) < 0.01
    assert error(layer(x), linear(x)) < 0.12
    assert layer(x).dtype == torch.float32
    assert layer.weight is None and layer.weight_scale is None  # only the packed copy is held
    assert layer(x.view(1, count, 640)).shape == (1, count, outputs)


def test_here_the_wide_way_is_open() -> None:
    if not bf16_is_faster():
        pytest.skip("no bf16 products on this processor")
    assert layout_is_known()


def test_where_the_layout_is_not_known_wide_rows_go_the_narrow_way(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Int4Linear.of(nn.Linear(64, 64))
    x = rows(WIDE + 1, 64)
    monkeypatch.setattr(vlm.int4, "bf16_is_faster", lambda: True)
    monkeypatch.setattr(vlm.int4, "layout_is_known", lambda: False)
    monkeypatch.setattr(vlm.int4._Packed, "wide", lambda *_: pytest.fail("unpacked"))
    torch.testing.assert_close(layer(x)[:2], layer(x[:2]))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("count", [6, 2 * WIDE])
def test_among_others_a_row_gives_the_same(count: int) -> None:
    layer = Int4Linear.of(nn.Linear(128, 64))
    x = rows(count, 128)
    others = torch.cat([x[2:4], 1000 * rows(count + 3, 128, seed=1)])
    torch.testing.assert_close(layer(x)[2:4], layer(others)[:2], rtol=1e-2, atol=1e-2)


def test_zeros_stay_zeros() -> None:
    layer = Int4Linear.of(nn.Linear(64, 32, bias=False))
    assert not layer(torch.zeros(1, 64)).any() and not layer(torch.zeros(2 * WIDE, 64)).any()


def test_a_row_of_zero_weights_gives_zeros() -> None:
    linear = nn.Linear(64, 32, bias=False)
    nn.init.zeros_(linear.weight)
    assert not Int4Linear.of(linear)(rows(3, 64)).any()


def test_a_weight_takes_five_bits() -> None:
    layer = Int4Linear.of(nn.Linear(1024, 640, bias=False))
    assert layer.weight is not None and layer.weight_scale is not None
    assert layer.weight.nbytes + layer.weight_scale.nbytes == 1024 * 640 * 0.5625
    layer(rows(1, 1024))
    held = [value for value in vars(layer._packed).values() if isinstance(value, Tensor)]
    assert sum(tensor.untyped_storage().nbytes() for tensor in held) == 1024 * 640 * 0.625


def test_joined_layers_are_the_layers_side_by_side() -> None:
    x = rows(4, 64)
    parts = [nn.Linear(64, 32), nn.Linear(64, 72)]
    joined = Int4Linear.joined([Int4Linear.of(part) for part in parts])
    apart = [Int4Linear.of(part)(x) for part in parts]
    assert torch.equal(joined(x), torch.cat(apart, dim=1))


def test_forms_are_not_mixed_in_a_joint() -> None:
    with pytest.raises(AssertionError, match="one form"):
        Int4Linear.joined([Int4Linear.of(nn.Linear(64, 32)), Int8Linear.of(nn.Linear(64, 32))])


def test_widths_without_whole_groups_stay_int8() -> None:
    module = nn.Sequential(nn.Linear(64, 40), nn.Linear(40, 8))
    assert divides(64) and not divides(40) and not divides(4304)
    to_int4(module)
    assert [type(layer) for layer in module] == [Int4Linear, Int8Linear]
    with torch.device("meta"):
        empty = nn.Sequential(nn.Linear(64, 40), nn.Linear(40, 8))
    swap_linears4(empty)
    assert [type(layer) for layer in empty] == [Int4Linear, Int8Linear]
    assert {k: (v.shape, v.dtype) for k, v in empty.state_dict().items()} == {
        k: (v.shape, v.dtype) for k, v in module.state_dict().items()
    }


def test_a_decoder_in_int4_computes_what_its_rounded_weights_say() -> None:
    plain, rounded = tiny_decoder(NARROW), tiny_decoder(NARROW)
    for module in plain.modules():
        if isinstance(module, nn.Linear) and divides(module.in_features):
            module.weight.data = dequantised(*quantised4(module.weight))
    to_int4(rounded)
    assert not any(isinstance(module, nn.Linear) for module in rounded.modules())
    assert isinstance(rounded.layers[0].self_attn.qkv_proj, Int4Linear)
    assert isinstance(rounded.layers[0].mlp.gate_up_proj, Int4Linear)
    assert isinstance(rounded.head, Int8Linear)
    ids = torch.arange(1, 13)[None]
    queries = Queries(0, 12)
    with torch.inference_mode():
        wanted = plain.logits(plain(plain.embed(ids), queries))
        got = rounded.logits(rounded(rounded.embed(ids), queries))
    assert error(got, wanted) < 0.05
    assert (got.argmax(-1) == wanted.argmax(-1)).float().mean() > 0.9


def test_one_token_at_a_time_is_the_whole_prompt_at_once() -> None:
    decoder = tiny_decoder(NARROW)
    to_int4(decoder)
    ids = list(range(1, 13))
    with torch.inference_mode():
        hidden = decoder.embed(torch.tensor(ids))
    whole, stepwise = KVCache(NARROW), KVCache(NARROW)
    at_once = prefill(decoder, hidden, (), whole)
    for token in ids:
        logits = decode_one(decoder, token, stepwise)
    assert error(logits, at_once) < 0.05
