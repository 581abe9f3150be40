"""Building blocks of the decoder, named as in the checkpoint.

Source: arXiv 2503.19786 section 2; ``transformers`` ``modeling_gemma3.py`` for names and order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlm import between
from vlm.cache import KVCache
from vlm.config import TextConfig
from vlm.masks import window_of
from vlm.quantize import joined
from vlm.rope import rotate
from vlm.rows import in_blocks
from vlm.token_step import Place, TokenStep

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
        self._gain: tuple[Tensor, Tensor] | None = None  # a frozen weight, and 1 + weight

    @classmethod
    def over(cls, weight: Tensor, eps: float) -> Self:
        """A norm with a given weight, [..., width]; what comes before the width is told apart."""
        made = cls(0, eps)
        made.weight = nn.Parameter(weight, requires_grad=False)
        return made

    def forward(self, x: Tensor) -> Tensor:
        """[..., width], same shape and dtype out."""
        if x.dtype != torch.float32:
            return self(x.float()).type_as(x)
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.gain()

    def gain(self) -> Tensor:
        """1 + weight in fp32; made once where the weight is frozen."""
        if self.weight.requires_grad:
            return 1.0 + self.weight.float()
        if self._gain is None or self._gain[0] is not self.weight:
            self._gain = self.weight, 1.0 + self.weight.float()
        return self._gain[1]


class QuickNorm(nn.Module):
    """The same norm in four operations instead of nine, rounded otherwise: where products are int8.

    Args:
        norm: whose weight is taken; float32.
    """

    def __init__(self, norm: RMSNorm) -> None:
        super().__init__()
        width = norm.weight.shape[-1]
        self.eps = norm.eps
        self._gain = norm.gain() * width**0.5
        self._least = torch.tensor((width * norm.eps) ** 0.5)  # what eps adds to the mean square, as a length

    def gain(self) -> Tensor:
        """1 + weight, as ``RMSNorm.gain``."""
        return self._gain / self._gain.shape[-1] ** 0.5

    def forward(self, x: Tensor) -> Tensor:
        """[..., width], same shape out."""
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return (x * self._gain).div_(torch.hypot(length, self._least))


@dataclass(frozen=True)
class LayerInputs:
    """What a layer needs beside the hidden states; one per layer type and step."""

    cos_Td: Tensor  # or [B, 1, 1, head_dim] where each row is a conversation of its own
    sin_Td: Tensor
    mask: Tensor | None  # bool [T, K]; None: see ``causal``
    causal: bool  # the ordinary triangle, T == K


def attend(q_BHTd: Tensor, k_BGKd: Tensor, v_BGKd: Tensor, inputs: LayerInputs, scale: float) -> Tensor:
    """Grouped attention: H query heads share G key heads.

    Returns:
        [B, H, T, head_dim].
    """
    b, h, t, d = q_BHTd.shape
    groups = k_BGKd.shape[1]
    if t == 1 and inputs.mask is None:
        # One token: the heads of a group become rows of one small product, no key is copied.
        rows = q_BHTd.reshape(b, groups, h // groups, d)
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
        self.window = window_of(config.layer_types[layer], config.sliding_window)
        width, heads, groups = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
        self.q_proj = nn.Linear(width, heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(width, groups * self.head_dim, bias=False)
        self.v_proj = nn.Linear(width, groups * self.head_dim, bias=False)
        self.o_proj = nn.Linear(heads * self.head_dim, width, bias=False)
        self.q_norm = RMSNorm(self.head_dim, config.rms_norm_eps)
        self.k_norm = RMSNorm(self.head_dim, config.rms_norm_eps)
        self.counts = heads, groups
        self.qkv_proj: nn.Module | None = None
        self.qk_norm: QuickNorm | None = None

    def of_one_input(self) -> list[nn.Module]:
        """The products that read the same input."""
        return [self.q_proj, self.k_proj, self.v_proj]

    def join(self) -> None:
        """Make one product of the three rounded ones that read the same input, and one norm of two."""
        heads, groups = self.counts
        self.qkv_proj = joined(self.of_one_input())
        weights: list[Tensor] = [*[self.q_norm.weight] * heads, *[self.k_norm.weight] * groups]
        self.qk_norm = QuickNorm(RMSNorm.over(torch.stack(weights)[:, None], self.q_norm.eps))
        del self.q_proj, self.k_proj, self.v_proj, self.q_norm, self.k_norm

    def project(self, hidden_BTD: Tensor, inputs: LayerInputs) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B, H, T, head_dim], keys and values [B, G, T, head_dim], normed and turned."""
        b, t, _ = hidden_BTD.shape

        def split(x: Tensor) -> Tensor:
            return x.view(b, t, -1, self.head_dim).transpose(1, 2)

        if self.qkv_proj is not None and self.qk_norm is not None:
            heads, groups = self.counts
            if b == 1 and inputs.cos_Td.dim() == 2:
                position, gain_Ad = (inputs.cos_Td, inputs.sin_Td), self.qk_norm.gain().squeeze(1)
                found = between.heads(self.qkv_proj, hidden_BTD[0], gain_Ad, self.qk_norm.eps, position)
                if found is not None:
                    q, k, v = torch.split(found[None], [heads, groups, groups], dim=1)
                    return q, k, v
            qk, v = torch.split(split(self.qkv_proj(hidden_BTD)), [heads + groups, groups], dim=1)
            qk = rotate(self.qk_norm(qk), inputs.cos_Td, inputs.sin_Td)
            q, k = torch.split(qk, [heads, groups], dim=1)
            return q, k, v
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
            mixed_BHTd = self._mix_each(q, k, v, cache)
        return self.o_proj(mixed_BHTd.transpose(1, 2).reshape(b, t, -1))

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, inputs: LayerInputs, cache: KVCache | None) -> Tensor:
        if cache is not None:
            k, v = cache.append(self.layer, k, v)
            cache.show(self.layer, q, k)
        return attend(q, k, v, inputs, self.scale)

    def _mix_each(self, q: Tensor, k: Tensor, v: Tensor, caches: Sequence[KVCache]) -> Tensor:
        """One token of each of several conversations: [B, H, 1, head_dim].

        Row by row, so that every conversation keeps its own cache and short ones are not padded to the
        longest.
        """
        b, h, _, d = q.shape
        groups = k.shape[1]
        mixed: list[Tensor] = []
        rows = zip(*(torch.split(x, 1) for x in (q, k, v)), caches, strict=True)
        for q_1H1d, k_1G1d, v_1G1d, cache in rows:
            keys, values = cache.append(self.layer, k_1G1d, v_1G1d)
            cache.show(self.layer, q_1H1d, keys)
            held = keys.shape[2]
            if self.window is not None and held > self.window:  # the last ones, in place of a mask
                keys = keys.narrow(2, held - self.window, self.window)
                values = values.narrow(2, held - self.window, self.window)
            grouped = q_1H1d.view(1, groups, h // groups, d)
            mixed.append(F.scaled_dot_product_attention(grouped, keys, values, scale=self.scale))
        return torch.cat(mixed).view(b, h, 1, d)


class MLP(nn.Module):
    """GeGLU: gelu(gate) times up, then down."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.width = 2 * config.intermediate_size
        self.gate_up_proj: nn.Module | None = None

    def of_one_input(self) -> list[nn.Module]:
        """The products that read the same input."""
        return [self.gate_proj, self.up_proj]

    def join(self) -> None:
        """Make one product of the two rounded ones that read the same input."""
        self.gate_up_proj = joined(self.of_one_input())
        del self.gate_proj, self.up_proj

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., hidden_size] to the same."""
        return in_blocks(self._feed, hidden.flatten(0, -2), self.width).view_as(hidden)

    def _feed(self, rows_TD: Tensor) -> Tensor:
        fed = between.activated(self.gate_up_proj, self.down_proj, rows_TD, gated=True)
        if fed is not None:
            return fed
        if self.gate_up_proj is not None:
            gate, up = self.gate_up_proj(rows_TD).chunk(2, dim=-1)
        else:
            gate, up = self.gate_proj(rows_TD), self.up_proj(rows_TD)
        return self.down_proj(F.gelu(gate, approximate="tanh") * up)


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
        self._may_step = False  # in one call: joined, and not known to lack a compiled form
        self._step: TokenStep | None = None

    def join(self) -> None:
        """Take the quick norms."""
        for name, child in list(self.named_children()):
            if isinstance(child, RMSNorm):
                setattr(self, name, QuickNorm(child))
        self._may_step = True

    def forward(self, hidden_BTD: Tensor, inputs: LayerInputs, cache: Caches) -> Tensor:
        """[B, T, hidden_size] to the same."""
        if hidden_BTD.shape[:2] == (1, 1) and isinstance(cache, KVCache) and (step := self._token_step()):
            return step(hidden_BTD, inputs.cos_Td, inputs.sin_Td, cache)
        attended = self.self_attn(self.input_layernorm(hidden_BTD), inputs, cache)
        hidden_BTD = hidden_BTD + self.post_attention_layernorm(attended)
        fed = self.mlp(self.pre_feedforward_layernorm(hidden_BTD))
        return hidden_BTD + self.post_feedforward_layernorm(fed)

    def _token_step(self) -> TokenStep | None:
        """The layer in one compiled call, where its products are int8 and there is a compiler."""
        if self._may_step and self._step is None:
            attention, mlp = self.self_attn, self.mlp
            norms: list[Any] = [
                self.input_layernorm, attention.qk_norm, self.post_attention_layernorm,
                self.pre_feedforward_layernorm, self.post_feedforward_layernorm,
            ]  # fmt: skip
            self._step = TokenStep.of(
                [attention.qkv_proj, attention.o_proj, mlp.gate_up_proj, mlp.down_proj],
                [norm.gain() for norm in norms],
                Place(attention.layer, attention.window, attention.scale, norms[0].eps),
            )
            self._may_step = self._step is not None
        return self._step
