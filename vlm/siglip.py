"""SigLIP vision tower: pixels to one vector a patch.

Parameter names are the Hub's (``vision_tower.vision_model.`` cut off), so loading renames nothing.
Source: arXiv 2303.15343 (SigLIP), 2503.19786 section 2.1 (Gemma 3: no pooling head, post-LayerNorm
kept); ``transformers`` ``modeling_siglip.py`` for the names.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from vlm import between
from vlm.config import VisionConfig
from vlm.quantize import give_back, joined
from vlm.rows import in_blocks
from vlm.wide_attention import MANY, attend_from, attend_widely


class SiglipEmbeddings(nn.Module):
    """Patches of pixels plus learned positions."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(
            config.num_channels, config.hidden_size, config.patch_size, stride=config.patch_size
        )
        self.position_embedding = nn.Embedding(config.patches_per_side**2, config.hidden_size)

    def forward(self, pixels_NCHW: Tensor) -> Tensor:
        """[N, 3, S, S] to [N, patches, hidden_size]."""
        patches_NDhw = self.patch_embedding(pixels_NCHW)
        patches_NPD = patches_NDhw.flatten(2).transpose(1, 2)  # row by row: P = h * w
        return patches_NPD + self.position_embedding.weight


class SiglipAttention(nn.Module):
    """Full attention over the patches of one window."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        width = config.hidden_size
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.qkv_proj: nn.Module | None = None

    def of_one_input(self) -> list[nn.Module]:
        """The products that read the same input."""
        return [self.q_proj, self.k_proj, self.v_proj]

    def join(self) -> None:
        """Make one product of the three rounded ones that read the same input."""
        self.qkv_proj = joined(self.of_one_input())
        del self.q_proj, self.k_proj, self.v_proj

    def project(self, hidden_NPD: Tensor) -> Sequence[Tensor]:
        """Queries, keys and values, [N, patches, hidden_size] each."""
        if self.qkv_proj is not None:
            return self.qkv_proj(hidden_NPD).chunk(3, dim=-1)
        return self.q_proj(hidden_NPD), self.k_proj(hidden_NPD), self.v_proj(hidden_NPD)

    def forward(self, hidden_NPD: Tensor) -> Tensor:
        """[N, patches, hidden_size] to the same."""
        n, p, d = hidden_NPD.shape
        mixed_NPD = attend_from(self.qkv_proj, hidden_NPD, self.heads)
        if mixed_NPD is not None:
            return self.out_proj(mixed_NPD)
        q, k, v = (
            x.view(n, p, self.heads, d // self.heads).transpose(1, 2)  # [N, H, P, d/H]
            for x in self.project(hidden_NPD)
        )
        attend = F.scaled_dot_product_attention if self.qkv_proj is None else attend_widely
        mixed_NHPd: Tensor = attend(q, k, v)
        return self.out_proj(mixed_NHPd.transpose(1, 2).reshape(n, p, d))


class SiglipMLP(nn.Module):
    """Two linear layers around GELU (tanh form)."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., hidden_size] to the same."""
        fed = between.activated(self.fc1, self.fc2, hidden.flatten(0, -2), gated=False)
        if fed is not None:
            return fed.view_as(hidden)
        return self.fc2(F.gelu(self.fc1(hidden), approximate="tanh"))


class SiglipLayer(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = SiglipAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = SiglipMLP(config)
        self.width = config.intermediate_size

    def forward(self, hidden_NPD: Tensor) -> Tensor:
        """[N, patches, hidden_size] to the same."""
        hidden_NPD = hidden_NPD + self.self_attn(self.layer_norm1(hidden_NPD))
        rows_TD = hidden_NPD.flatten(0, 1)
        return in_blocks(self._feed, rows_TD, self.width).view_as(hidden_NPD)

    def _feed(self, rows_TD: Tensor) -> Tensor:
        return rows_TD + self.mlp(self.layer_norm2(rows_TD))


class SiglipLayers(nn.Module):
    """The stack; a module of its own because the Hub's names have one."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(SiglipLayer(config) for _ in range(config.num_hidden_layers))


class SiglipEncoder(nn.Module):
    """Windows to patch vectors.

    Args:
        config: shape of the tower.
    """

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = SiglipEmbeddings(config)
        self.encoder = SiglipLayers(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, pixels_NCHW: Tensor) -> Tensor:
        """Encode windows.

        Args:
            pixels_NCHW: [N, 3, S, S] in [-1, 1], RGB, S = ``image_size``.

        Returns:
            [N, patches, hidden_size], patches row by row from the top left.
        """
        side = self.config.image_size
        assert pixels_NCHW.shape[1:] == (self.config.num_channels, side, side), pixels_NCHW.shape
        hidden_NPD = self.embeddings(pixels_NCHW)
        for layer in self.encoder.layers:
            hidden_NPD = layer(hidden_NPD)
            if self._is_rounded and hidden_NPD.shape[1] >= MANY:
                give_back()  # 11 MB a layer; rounded models are there to save memory
        return self.post_layernorm(hidden_NPD)

    @property
    def _is_rounded(self) -> bool:
        first = self.encoder.layers[0]
        return isinstance(first, SiglipLayer) and first.self_attn.qkv_proj is not None
