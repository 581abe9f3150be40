"""Rotary positions, rotate-half layout (arXiv 2104.09864; ``transformers`` ``apply_rotary_pos_emb``).

Local layers: theta 10k, never scaled. Global layers: theta 1M, positions divided by the factor
(8 from 4B up: arXiv 2503.19786, section 2.3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from vlm.config import LayerType, TextConfig


def inverse_frequencies(config: TextConfig, layer_type: LayerType) -> Tensor:
    """Angle a position turns each pair of channels: float32 [head_dim / 2]."""
    local = layer_type == "sliding_attention"
    theta = config.rope_local_base_freq if local else config.rope_theta
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.int64).float() / config.head_dim
    return 1.0 / (theta**exponents) / (1.0 if local else config.rope_factor)


def rope_tables(inverse: Tensor, positions_T: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each position, [T, head_dim] each; angles are computed in float32."""
    angles = positions_T.float()[:, None] * inverse[None, :]
    doubled = torch.cat((angles, angles), dim=-1)
    return doubled.cos().to(dtype), doubled.sin().to(dtype)


def rotate(x_BHTd: Tensor, cos_Td: Tensor, sin_Td: Tensor) -> Tensor:
    """Turn queries or keys by their positions; shape unchanged."""
    half = x_BHTd.shape[-1] // 2
    turned = torch.cat((-x_BHTd[..., half:], x_BHTd[..., :half]), dim=-1)
    return x_BHTd * cos_Td + turned * sin_Td
