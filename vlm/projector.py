"""Projector: patch vectors to soft tokens in the decoder's space.

4x4 average pooling at 896 (64x64 patches to 16x16 tokens), RMSNorm, one matrix kept in [in, out]
layout. Source: arXiv 2503.19786 section 2.1; ``transformers`` ``Gemma3MultiModalProjector``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlm.layers import RMSNorm


class Projector(nn.Module):
    """Patch vectors of a window to its soft tokens.

    Args:
        vision_width: hidden size of the vision tower.
        text_width: hidden size of the decoder.
        tokens: soft tokens a window (``mm_tokens_per_image``), a square number.
    """

    def __init__(self, vision_width: int, text_width: int, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.mm_input_projection_weight = nn.Parameter(torch.zeros(vision_width, text_width))
        self.mm_soft_emb_norm = RMSNorm(vision_width, eps=1e-6)

    def pool(self, patches_NPD: Tensor) -> Tensor:
        """Average the patch grid down to the token grid.

        Args:
            patches_NPD: [N, patches, vision_width], row by row.

        Returns:
            [N, tokens, vision_width], row by row.
        """
        n, p, d = patches_NPD.shape
        side, out = round(p**0.5), round(self.tokens**0.5)
        grid_NDhw = patches_NPD.transpose(1, 2).reshape(n, d, side, side)
        return F.avg_pool2d(grid_NDhw, side // out).flatten(2).transpose(1, 2)

    def forward(self, patches_NPD: Tensor) -> Tensor:
        """Pool, norm and project.

        Args:
            patches_NPD: [N, patches, vision_width].

        Returns:
            [N, tokens, text_width] soft tokens; they are *not* scaled by sqrt(width).
        """
        return self.mm_soft_emb_norm(self.pool(patches_NPD)) @ self.mm_input_projection_weight
