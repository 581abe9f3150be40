"""Attention in blocks is attention."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from vlm.config import VisionConfig
from vlm.quantize import Sums, to_int8
from vlm.siglip import SiglipAttention, SiglipEncoder
from vlm.wide_attention import MANY, ROWS, attend_in_bf16, attend_in_int8


def error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


def heads(patches: int, *, apart: float = 3.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries of which some scores stand out, keys that all lie to one side, values."""
    random = torch.Generator().manual_seed(patches)
    q, k, v = (torch.randn(2, 3, patches, 24, generator=random) for _ in range(3))
    return apart * q, k + 5 * torch.randn(24, generator=random), v


def test_bf16_gives_what_the_whole_gives() -> None:
    q, k, v = heads(600)  # odd heads, a last short block
    with torch.inference_mode():
        assert error(attend_in_bf16(q, k, v), F.scaled_dot_product_attention(q, k, v)) < 0.04


def summed(*parts_HPd: torch.Tensor) -> Sums:
    """Queries, keys and values of a window as the sums of a product, with steps, scales and a bias."""
    joined_TO = torch.cat([part.transpose(0, 1).flatten(1) for part in parts_HPd], 1)
    random = torch.Generator().manual_seed(1)
    step_T, scale_O, bias_O = (
        torch.rand(size, generator=random) + 0.5 for size in (*joined_TO.shape, joined_TO.shape[1])
    )
    step_T *= 2.0**-18
    sums_TO = ((joined_TO - bias_O) / (step_T[:, None] * scale_O)).round().int()
    return Sums(sums_TO, step_T.numpy(), scale_O.numpy(), bias_O.numpy())


@pytest.mark.parametrize("apart", [0.01, 1.0, 3.0])
def test_int8_gives_what_the_whole_gives(apart: float) -> None:
    kernels = pytest.importorskip("vlm.kernels")
    with torch.inference_mode():
        for q, k, v in zip(*heads(ROWS + 90, apart=apart), strict=True):
            exact_HPd = F.scaled_dot_product_attention(q, k, v)
            got_PD = attend_in_int8(summed(q, k, v), len(q), kernels)
            assert error(got_PD, exact_HPd.transpose(0, 1).flatten(1)) < 0.03


def test_keys_that_lie_to_one_side_and_values_of_one_size_cost_no_precision() -> None:
    kernels = pytest.importorskip("vlm.kernels")
    q, k, v = (part[0] for part in heads(MANY))
    mean_3d = k.mean(1)
    told = kernels.bytes_of_heads(summed(q, k, v).arrays(), len(q), kernels.threads())
    queries, steps, keys, scales, values, sizes = map(torch.from_numpy, told)
    assert error(queries * steps[..., None], q) < 0.01
    assert error(keys * scales[..., None], k - mean_3d[:, None]) < 0.01
    assert error(values * sizes.view(3, 1, -1), v) < 0.015
    assert values.abs().amax((1,)).eq(127).all()  # each channel's largest takes all there is


def test_softmax_in_two_planes_is_softmax() -> None:
    kernels = pytest.importorskip("vlm.kernels")
    sums = torch.randint(-20_000, 20_000, (7, 333), dtype=torch.int32)
    sums[3] = 5  # all alike
    steps, scales = torch.rand(7) * 1e-3, torch.rand(333) + 0.5
    high, low = torch.empty(2, 7, 333, dtype=torch.int8)
    totals = torch.empty(7, dtype=torch.int32)
    planes = tuple(part.numpy() for part in (high, low, totals))
    kernels.soft_rows(sums.numpy(), steps.numpy(), scales.numpy(), planes, kernels.threads())
    got = high.int() * 128 + low.int()
    assert torch.equal(got.sum(1).int(), totals) and high.min() >= 0 and low.min() >= 0
    wanted = torch.softmax(sums * scales * steps[:, None] * math.log(2), 1)
    torch.testing.assert_close(got / totals[:, None], wanted, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("form", ["int8", "bf16", "torch"])
def test_int8_layers_of_many_patches_take_the_quickest(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    called: list[str] = []

    def told(name: str, real: Callable[..., torch.Tensor]) -> None:
        def attend(*given: Any) -> torch.Tensor:
            called.append(name)
            return real(*given)

        monkeypatch.setattr(f"vlm.wide_attention.attend_in_{name}", attend)

    told("int8", attend_in_int8)
    told("bf16", attend_in_bf16)
    if form == "int8":
        pytest.importorskip("vlm.kernels")
    else:
        monkeypatch.setattr("vlm.wide_attention.compiled_kernels", lambda: None)
    monkeypatch.setattr("vlm.wide_attention.bf16_is_faster", lambda: form == "bf16")
    torch.manual_seed(0)
    layer = SiglipAttention(VisionConfig(hidden_size=32, num_attention_heads=2)).requires_grad_(False)
    hidden = torch.randn(2, MANY, 32)
    with torch.inference_mode():
        exact = layer(hidden)
        assert not called
        to_int8(layer)
        assert error(layer(hidden), exact) < 0.05
        layer(hidden[:, : MANY // 2])
    assert called == {"int8": ["int8"] * 2, "bf16": ["bf16"], "torch": []}[form]  # int8: window by window


def test_a_large_rounded_tower_gives_memory_back_layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[None] = []
    monkeypatch.setattr("vlm.siglip.give_back", lambda: given.append(None))
    config = VisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2,
        image_size=32 * 14, patch_size=14,
    )  # fmt: skip
    assert config.patches_per_side**2 >= MANY
    tower = SiglipEncoder(config).requires_grad_(False)
    pixels = torch.zeros(1, 3, config.image_size, config.image_size)
    with torch.inference_mode():
        tower(pixels)
        assert not given  # fp32 keeps what it will need again
        to_int8(tower)
        tower(pixels)
    assert len(given) == config.num_hidden_layers
