import math

import pytest
import torch

from vlm.config import TextConfig
from vlm.rope import inverse_frequencies, rope_tables, rotate

CONFIG = TextConfig(head_dim=8, rope_factor=8.0)


def test_frequencies_of_local_and_global_layers() -> None:
    local = inverse_frequencies(CONFIG, "sliding_attention")
    far = inverse_frequencies(CONFIG, "full_attention")
    assert local.tolist() == pytest.approx([1.0, 10_000**-0.25, 10_000**-0.5, 10_000**-0.75])
    # One factor divides all of them: positions are squeezed, not single channels.
    assert far.tolist() == pytest.approx([n / 8 for n in (1.0, 1e6**-0.25, 1e6**-0.5, 1e6**-0.75)])
    assert local.dtype == far.dtype == torch.float32


def test_tables() -> None:
    cos, sin = rope_tables(torch.tensor([1.0, 0.5]), torch.tensor([0, 3]), torch.float32)
    assert cos.tolist()[0] == [1.0] * 4
    assert sin.tolist()[1] == pytest.approx([math.sin(3), math.sin(1.5)] * 2)
    low, _ = rope_tables(torch.tensor([1.0, 0.5]), torch.tensor([130_001]), torch.bfloat16)
    assert low.dtype == torch.bfloat16
    # bfloat16 cannot hold the position 130001; the angle was taken before the cast.
    assert float(low[0, 0]) == pytest.approx(math.cos(130_001), abs=4e-3)


def test_rotate_half_by_a_literal() -> None:
    """Channel i turns with channel i + half: (1, 0) by a quarter is (0, 1)."""
    x = torch.tensor([[[[1.0, 0.0, 0.0, 2.0]]]])
    cos, sin = torch.zeros(1, 4), torch.ones(1, 4)
    assert rotate(x, cos, sin).flatten().tolist() == [0.0, -2.0, 1.0, 0.0]


def test_only_the_distance_counts() -> None:
    q, k = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(1))
    inverse = inverse_frequencies(CONFIG, "sliding_attention")

    def score(at: int, to: int) -> float:
        turned = [
            rotate(x, *rope_tables(inverse, torch.tensor([position]), torch.float32))
            for x, position in ((q, at), (k, to))
        ]
        return float((turned[0] * turned[1]).sum())

    assert score(9, 4) == pytest.approx(score(1005, 1000), abs=1e-4)
    assert score(9, 4) != pytest.approx(score(9, 5), abs=1e-3)
