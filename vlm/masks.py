"""Who may look at whom: causal, except that an image sees itself whole.

Global layers: causal OR same image. Local layers: (causal OR same image) AND within the window.
Each window of an image is a span of its own. Source: ``transformers``
``create_masks_for_vision_model``; gemma ``_attention_mask_test.py`` for the written-out example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vlm.config import LayerType


@dataclass(frozen=True)
class Span:
    """Soft tokens of one window: positions ``start`` up to, not including, ``end``."""

    start: int
    end: int


@dataclass(frozen=True)
class Queries:
    """A run of consecutive positions being computed, and the images of its prompt."""

    start: int
    end: int
    spans: tuple[Span, ...] = ()

    def __len__(self) -> int:
        return self.end - self.start


def span_ids(start: int, end: int, spans: Sequence[Span], device: torch.device | None = None) -> Tensor:
    """Index of the span each position lies in, -1 for text: int64 [end - start]."""
    ids = torch.full((end - start,), -1, dtype=torch.long, device=device)
    for index, span in enumerate(spans):
        low, high = max(span.start, start), min(span.end, end)
        if low < high:
            ids[low - start : high - start] = index
    return ids


def attention_mask(
    queries: Queries, key_start: int, window: int | None, device: torch.device | None = None
) -> Tensor | None:
    """Mask of one chunk against the keys from ``key_start`` to the chunk's end.

    Args:
        queries: the positions computed now.
        key_start: absolute position of the first key held.
        window: how many tokens a local layer sees, itself included; None for a global layer.
        device: of the mask; None is the processor.

    Returns:
        bool [queries, keys], True where a query may look; None where nothing is hidden from a
        single query, so that decoding builds no mask at all.
    """
    keys = queries.end - key_start
    if len(queries) == 1 and (window is None or keys <= window):
        return None
    query = torch.arange(queries.start, queries.end, device=device)[:, None]
    key = torch.arange(key_start, queries.end, device=device)[None, :]
    seen = key <= query
    if queries.spans:
        query_span = span_ids(queries.start, queries.end, queries.spans, device)[:, None]
        key_span = span_ids(key_start, queries.end, queries.spans, device)[None, :]
        seen |= (query_span == key_span) & (query_span >= 0)
    if window is not None:
        seen &= key > query - window
    return seen


def is_plain_causal(queries: Queries, key_start: int, window: int | None) -> bool:
    """Whether the chunk is the ordinary causal triangle, which kernels know without a mask."""
    touched = any(s.start < queries.end and s.end > queries.start for s in queries.spans)
    square = key_start == queries.start and len(queries) > 1
    return square and not touched and (window is None or len(queries) <= window)


def window_of(layer_type: LayerType, sliding_window: int) -> int | None:
    """The window of a layer: None where it sees everything."""
    return sliding_window if layer_type == "sliding_attention" else None
