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
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(vlm.processor.time, "perf_counter", lambda: clock)
    assert bf16_is_faster.__wrapped__() is faster


def test_without_the_instructions_nothing_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(Tensor, "__matmul__", lambda *_: pytest.fail("multiplied"))
    assert bf16_is_faster.__wrapped__() is False
