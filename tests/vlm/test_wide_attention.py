"""Attention in blocks is attention."""

import pytest
import torch
from torch.nn import functional as F

from vlm.config import VisionConfig
from vlm.quantize import to_int8
from vlm.siglip import SiglipAttention, SiglipEncoder
from vlm.wide_attention import MANY, attend_in_blocks


def error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


def test_blocks_give_what_the_whole_gives() -> None:
    random = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(2, 3, 600, 24, generator=random) for _ in range(3)
    )  # odd heads, a last short block
    q *= 3  # some scores stand out
    with torch.inference_mode():
        assert error(attend_in_blocks(q, k, v), F.scaled_dot_product_attention(q, k, v)) < 0.03


def test_int8_layers_of_many_patches_use_it(monkeypatch) -> None:
    called = []

    def told(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        called.append(q.shape)
        return attend_in_blocks(q, k, v)

    monkeypatch.setattr("vlm.siglip.attend_in_blocks", told)
    monkeypatch.setattr("vlm.siglip.bf16_is_faster", lambda: True)
    torch.manual_seed(0)
    layer = SiglipAttention(VisionConfig(hidden_size=32, num_attention_heads=2)).requires_grad_(False)
    hidden = torch.randn(1, MANY, 32)
    with torch.inference_mode():
        exact = layer(hidden)
        assert not called
        to_int8(layer)
        assert error(layer(hidden), exact) < 0.05 and called == [(1, 2, MANY, 16)]
        layer(hidden[:, : MANY // 2])
    assert len(called) == 1


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
