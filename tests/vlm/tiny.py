"""A decoder of a few thousand weights, for tests of what surrounds it."""

import torch

from vlm.config import TextConfig
from vlm.gemma import GemmaDecoder

TINY = TextConfig(
    vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, head_dim=8, query_pre_attn_scalar=8.0, sliding_window=8,
    sliding_window_pattern=3, rope_factor=2.0, max_position_embeddings=64,
)  # fmt: skip


def tiny_decoder(config: TextConfig = TINY, seed: int = 0) -> GemmaDecoder:
    """Two local layers and a global one, random weights."""
    random = torch.Generator().manual_seed(seed)
    decoder = GemmaDecoder(config)
    for weight in decoder.parameters():
        weight.data = 0.4 * torch.randn(weight.shape, generator=random)
        weight.requires_grad_(False)
    return decoder.eval()
