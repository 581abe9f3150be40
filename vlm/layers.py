"""Building blocks of the decoder, named as in the checkpoint.

Source: arXiv 2503.19786 section 2; ``transformers`` ``modeling_gemma3.py`` for names and order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlm.cache import KVCache
from vlm.config import TextConfig
from vlm.rope import rotate

Caches = KVCache | Sequence[KVCache] | None  # of one sequence; of each row; of none


class RMSNorm(nn.Module):
    """Root-mean-square norm in fp32, times (1 + weight), then cast back.

    The order matters: Gemma multiplies before the cast, Llama after it
    (``transformers`` ``Gemma3RMSNorm``).
    """

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """[..., width], same shape and dtype out."""
        x32 = x.float()
        normed = x32 * torch.rsqrt(x32.square().mean(-1, keepdim=True) + self.eps)
        return (normed * (1.0 + self.weight.float())).type_as(x)


@dataclass(frozen=True)
class LayerInputs:
    """What a layer needs beside the hidden states; one per layer type and step."""

    cos_Td: Tensor  # or [B, 1, 1, head_dim] where each row is a conversation of its own
    sin_Td: Tensor
    mask: Tensor | None  # bool [T, K] or [B, 1, T, K]; None: see ``causal``
    causal: bool  # the ordinary triangle, T == K
    rows: tuple[Tensor | None, ...] = ()  # masks of the conversations of a batch, [1, K] each


def attend(q_BHTd: Tensor, k_BGKd: Tensor, v_BGKd: Tensor, inputs: LayerInputs, scale: float) -> Tensor:
    """Grouped attention: H query heads share G key heads.

    Returns:
        [B, H, T, head_dim].
    """
    b, h, t, d = q_BHTd.shape
    groups = k_BGKd.shape[1]
    if t == 1 and inputs.mask is None:
        # One token: the heads of a group become rows of one small product, no key is copied.
        rows = q_BHTd.view(b, groups, h // groups, d)
        return F.scaled_dot_product_attention(rows, k_BGKd, v_BGKd, scale=scale).view(b, h, 1, d)
    return F.scaled_dot_product_attention(
        q_BHTd, k_BGKd, v_BGKd,
        attn_mask=inputs.mask, is_causal=inputs.causal, scale=scale, enable_gqa=groups != h,
    )  # fmt: skip


class Attention(nn.Module):
    """Grouped-query attention with QK-norm before RoPE."""

    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        self.scale = config.query_pre_attn_scalar**-0.5
        width, heads, groups = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
        self.q_proj = nn.Linear(width, heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(width, groups * self.head_dim, bias=False)
        self.v_proj = nn.Linear(width, groups * self.head_dim, bias=False)
        self.o_proj = nn.Linear(heads * self.head_dim, width, bias=False)
        self.q_norm = RMSNorm(self.head_dim, config.rms_norm_eps)
        self.k_norm = RMSNorm(self.head_dim, config.rms_norm_eps)

    def project(self, hidden_BTD: Tensor, inputs: LayerInputs) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B, H, T, head_dim], keys and values [B, G, T, head_dim], normed and turned."""
        b, t, _ = hidden_BTD.shape

        def split(x: Tensor) -> Tensor:
            return x.view(b, t, -1, self.head_dim).transpose(1, 2)

        q = rotate(self.q_norm(split(self.q_proj(hidden_BTD))), inputs.cos_Td, inputs.sin_Td)
        k = rotate(self.k_norm(split(self.k_proj(hidden_BTD))), inputs.cos_Td, inputs.sin_Td)
        return q, k, split(self.v_proj(hidden_BTD))

    def forward(self, hidden_BTD: Tensor, inputs: LayerInputs, cache: Caches) -> Tensor:
        """[B, T, hidden_size] to the same; the cache, or each row's own, takes the new keys and values."""
        b, t, _ = hidden_BTD.shape
        q, k, v = self.project(hidden_BTD, inputs)
        if cache is None or isinstance(cache, KVCache):
            mixed_BHTd = self._mix(q, k, v, inputs, cache)
        else:
            rows = zip(*(x.unsqueeze(1) for x in (q, k, v)), inputs.rows, cache, strict=True)
            mixed_BHTd = torch.cat(
                [self._mix(q, k, v, replace(inputs, mask=mask), own) for q, k, v, mask, own in rows]
            )
        return self.o_proj(mixed_BHTd.transpose(1, 2).reshape(b, t, -1))

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, inputs: LayerInputs, cache: KVCache | None) -> Tensor:
        if cache is not None:
            k, v = cache.append(self.layer, k, v)
            cache.show(self.layer, q, k)
        return attend(q, k, v, inputs, self.scale)


class MLP(nn.Module):
    """GeGLU: gelu(gate) times up, then down."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., hidden_size] to the same."""
        gate = F.gelu(self.gate_proj(hidden), approximate="tanh")
        return self.down_proj(gate * self.up_proj(hidden))


class DecoderLayer(nn.Module):
    """Attention and MLP, each between a norm before and a norm after."""

    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.rms_norm_eps
        self.self_attn = Attention(config, layer)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(width, eps)
        self.post_attention_layernorm = RMSNorm(width, eps)
        self.pre_feedforward_layernorm = RMSNorm(width, eps)
        self.post_feedforward_layernorm = RMSNorm(width, eps)

    def forward(self, hidden_BTD: Tensor, inputs: LayerInputs, cache: Caches) -> Tensor:
        """[B, T, hidden_size] to the same."""
        attended = self.self_attn(self.input_layernorm(hidden_BTD), inputs, cache)
        hidden_BTD = hidden_BTD + self.post_attention_layernorm(attended)
        fed = self.mlp(self.pre_feedforward_layernorm(hidden_BTD))
        return hidden_BTD + self.post_feedforward_layernorm(fed)
