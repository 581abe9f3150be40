"""Shapes small enough to build in a test, with all that the released ones have."""

from __future__ import annotations

from dataclasses import replace

from vlm.bench.shapes import Subject
from vlm.config import ModelConfig, TextConfig, VisionConfig

TEXT = TextConfig(
    vocab_size=512, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=2,
    num_key_value_heads=1, head_dim=16, query_pre_attn_scalar=16.0, sliding_window=24,
    sliding_window_pattern=2, rope_factor=8.0, max_position_embeddings=512,
)  # fmt: skip
VISION = VisionConfig(
    hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, image_size=56
)
SEEING = ModelConfig(
    text=TEXT, vision=VISION, mm_tokens_per_image=4, boi_token_index=5, eoi_token_index=6,
    image_token_index=600,  # outside the vocabulary, as the 4B's may be
)  # fmt: skip
READING = ModelConfig(text=TEXT)


def seeing() -> Subject:
    """A shape with vision."""
    return Subject("tiny", SEEING, SEEING)


def reading() -> Subject:
    """A shape that reads text only."""
    return Subject("tiny text", READING, READING)


def longer(subject: Subject, context: int) -> Subject:
    """The same with another context."""
    config = replace(subject.whole, text=replace(subject.whole.text, max_position_embeddings=context))
    return replace(subject, config=config, whole=config)
