"""Blocks give what the whole gives."""

import torch

from vlm import rows
from vlm.rows import in_blocks


def test_blocks_cover_every_row_once(monkeypatch) -> None:
    monkeypatch.setattr(rows, "BLOCK", 4 * 10 * 64)  # 64 rows of 10 numbers
    seen = []

    def work(block: torch.Tensor) -> torch.Tensor:
        seen.append(len(block))
        return block * 2

    x = torch.arange(300.0).view(150, 2)
    with torch.inference_mode():
        assert torch.equal(in_blocks(work, x, 10), x * 2)
    assert seen == [64, 64, 22]


def test_training_sees_the_whole(monkeypatch) -> None:
    monkeypatch.setattr(rows, "BLOCK", 1)
    x = torch.ones(200, 2, requires_grad=True)
    in_blocks(lambda block: block * block, x, 2).sum().backward()
    assert x.grad is not None and (x.grad == 2).all()
