"""Compiled loops: they turn, round and multiply as ``vlm.quantize`` does, and no sum overflows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vlm.quantize import hadamard, quantised, turned

kernels = pytest.importorskip("vlm.kernels")


@pytest.fixture(autouse=True)
def as_many_threads_as_torch() -> None:
    kernels.threads()


def rows(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("width", [640, 4304, 96, 40, 12, 2, 7])
def test_rows_are_turned_and_rounded_as_weights_are(width: int) -> None:
    x = rows(3, width)
    x[1] = 0
    kept = x.clone()
    rounded, steps = kernels.round_rows(x.numpy(), len(hadamard(width)), 2)
    wanted, scales = quantised(x)
    assert torch.equal(x, kept)
    assert np.abs(rounded.astype(int) - wanted.numpy()).max() <= 1  # halves may fall to either side
    torch.testing.assert_close(torch.from_numpy(steps), scales, rtol=1e-4, atol=1e-12)
    assert not rounded[1].any()


@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("width", [64, 640, 96])
def test_few_rows_lose_nothing_but_what_the_weight_lost(count: int, width: int) -> None:
    weight, scale = quantised(rows(50, width, seed=1))
    x = rows(count, width)
    got = kernels.few_rows(x.numpy(), (weight.numpy(), scale.numpy(), len(hadamard(width))), 2)
    wanted = turned(x).double() @ (weight.double() * scale[:, None].double()).T
    torch.testing.assert_close(torch.from_numpy(got).double(), wanted, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("width", [64, 10240, 21504])
def test_the_largest_sum_there_can_be_does_not_overflow(width: int) -> None:
    weight = np.full((2, width), 127, np.int8)
    weight[1] = -127
    x = turned(torch.ones(1, width))  # which is turned back
    got = kernels.few_rows(x.numpy(), (weight, np.ones(2, np.float32), len(hadamard(width))), 2)
    np.testing.assert_allclose(got, [[127 * width, -127 * width]], rtol=1e-3)


def test_sums_are_scaled_in_their_own_memory() -> None:
    sums = torch.arange(12, dtype=torch.int32).view(3, 4)
    scale, steps, bias = (torch.rand(n, generator=torch.Generator().manual_seed(n)) for n in (4, 3, 4))
    wanted = sums * scale * steps[:, None] + bias
    out = sums.view(torch.float32)
    kernels.scale_rows((sums.numpy(), steps.numpy(), scale.numpy(), bias.numpy()), out.numpy(), 2)
    torch.testing.assert_close(out, wanted)


def test_torch_keeps_the_number_of_its_threads() -> None:
    code = "import torch; from vlm import kernels; print(kernels.threads(), torch.get_num_threads())"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["1", "1"]


def test_a_first_answer_says_that_it_compiles_and_a_second_does_not(tmp_path: Path) -> None:
    code = "from vlm import kernels; kernels._levels(64)"  # the smallest of them
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        for _ in range(2)
    )
    assert first.stderr == "compiling the int8 loops for this processor: about half a minute, this once\n"
    assert second.stderr == ""
