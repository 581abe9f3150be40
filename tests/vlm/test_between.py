"""What lies between two int8 products, in one pass, is what the layers do step by step."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import vlm.between
from tests.vlm.tiny import TINY, tiny_decoder
from vlm import between
from vlm.cache import KVCache
from vlm.layers import QuickNorm, RMSNorm
from vlm.masks import Queries, Span
from vlm.quantize import FEW, Int8Linear, to_int8
from vlm.rope import rotate

kernels = pytest.importorskip("vlm.kernels")
EPS = 1e-6


def linear(inputs: int, outputs: int, *, bias: bool = False, seed: int = 0) -> Int8Linear:
    torch.manual_seed(seed)
    return Int8Linear.of(nn.Linear(inputs, outputs, bias=bias))


def rows(count: int, width: int) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(count))


def error(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


@pytest.mark.parametrize(("bias", "gated"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("width", [64, 48, 20])
def test_an_activation_is_that_of_the_layers(width: int, bias: bool, gated: bool) -> None:
    first = linear(40, 2 * width if gated else width, bias=bias)
    second, x = linear(width, 24, bias=bias, seed=1), 3 * rows(7, 40)
    middle = first(x)
    if gated:
        gate, up = middle.chunk(2, -1)
        wanted = second(F.gelu(gate, approximate="tanh") * up)
    else:
        wanted = second(F.gelu(middle, approximate="tanh"))
    got = between.activated(first, second, x, gated=gated)
    # Halves may fall to either side in the second rounding.
    assert got is not None and error(got, wanted) < 2e-3


def test_gelu_is_torch_s_over_its_whole_range() -> None:
    x = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([-3e4, 3e4, 0.0, -1e-30])])
    got = torch.tensor([kernels._gelu(value) for value in x.numpy()])
    torch.testing.assert_close(got, F.gelu(x, approximate="tanh"), rtol=2e-6, atol=2e-6)


def test_heads_are_normed_turned_and_laid_out() -> None:
    heads, groups, d, t = 4, 2, 16, 9
    product, x = linear(40, (heads + 2 * groups) * d), rows(t, 40)
    norm = RMSNorm.over(0.3 * rows(heads + groups, d)[:, None], EPS)
    angle = rows(t, d // 2).repeat(1, 2)
    cos_Td, sin_Td = angle.cos(), angle.sin()
    split = product(x).view(1, t, -1, d).transpose(1, 2)
    turned = rotate(norm(split[:, : heads + groups]), cos_Td, sin_Td)
    wanted = torch.cat([turned, split[:, heads + groups :]], 1)[0]
    got = between.heads(product, x, QuickNorm(norm).gain().squeeze(1), EPS, (cos_Td, sin_Td))
    assert got is not None
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_few_rows_and_other_forms_are_left_to_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = linear(40, 64), linear(64, 24)
    table = torch.zeros(FEW, 16)
    assert between.activated(first, second, rows(FEW, 40), gated=False) is None
    assert between.heads(first, rows(FEW, 40), torch.ones(2, 16), EPS, (table, table)) is None
    assert between.activated(nn.Linear(40, 64), second, rows(9, 40), gated=False) is None
    assert between.activated(None, second, rows(9, 40), gated=True) is None
    monkeypatch.setattr(vlm.between, "compiled_kernels", lambda: None)
    assert between.activated(first, second, rows(9, 40), gated=False) is None


def test_a_prompt_goes_through_it_and_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(TINY, sliding_window=4)
    calls: list[str] = []
    for name in ("activated", "heads"):
        real = getattr(between, name)

        def counted(*given: object, real: object = real, name: str = name, **named: object) -> Tensor | None:
            found: Tensor | None = real(*given, **named)  # type: ignore[operator]
            calls.append(name if found is not None else "")
            return found

        monkeypatch.setattr(between, name, counted)
    decoder = tiny_decoder()
    to_int8(decoder)
    ids = torch.arange(1, 14)[None]
    queries = Queries(0, 13, (Span(2, 6),))

    def said() -> tuple[Tensor, KVCache]:
        cache = KVCache(config)
        return decoder(decoder.embed(ids), queries, cache), cache

    got, cache = said()
    layers = TINY.num_hidden_layers
    assert sorted(filter(None, calls)) == ["activated"] * layers + ["heads"] * layers
    monkeypatch.setattr(vlm.between, "compiled_kernels", lambda: None)
    wanted, plain = said()
    assert len(list(filter(None, calls))) == 2 * layers
    assert error(got, wanted) < 0.02 and cache.length == plain.length == 13
