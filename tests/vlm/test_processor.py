"""What is measured of the processor."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import vlm.processor
from vlm.processor import bf16_is_faster


@pytest.mark.parametrize(("slow", "faster"), [(torch.float32, True), (torch.bfloat16, False)])
def test_the_type_that_takes_less_time_is_faster(
    monkeypatch: pytest.MonkeyPatch, slow: torch.dtype, faster: bool
) -> None:
    clock = 0.0

    def matmul(self: Tensor, other: Tensor) -> Tensor:
        nonlocal clock
        assert self.dtype == other.dtype
        clock += 2.0 if self.dtype == slow else 1.0
        return self

    monkeypatch.setattr(Tensor, "__matmul__", matmul)
    monkeypatch.setattr(vlm.processor.time, "perf_counter", lambda: clock)
    bf16_is_faster.cache_clear()
    assert bf16_is_faster() is faster
    bf16_is_faster.cache_clear()
