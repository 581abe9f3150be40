"""A compiled layer says what the layer says, keeps what it keeps, and shows what it shows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import vlm.quantize
import vlm.token_step
from tests.vlm.tiny import TINY, tiny_decoder
from vlm.cache import KVCache
from vlm.gemma import GemmaDecoder
from vlm.generate import decode_one
from vlm.quantize import to_int8
from vlm.token_step import TokenStep

pytest.importorskip("vlm.kernels")
STEPS = 2 * TINY.sliding_window + 3


class Seen:
    """A watch that remembers everything."""

    def __init__(self) -> None:
        self.queries: list[Tensor] = []
        self.keys: list[Tensor] = []

    def see(self, layer: int, q_1HTd: Tensor, k_1GKd: Tensor, key_start: int) -> None:
        self.queries.append(q_1HTd.clone())
        self.keys.append(k_1GKd.clone())

    def take(self) -> None:
        pass


def rounded() -> GemmaDecoder:
    decoder = tiny_decoder()
    to_int8(decoder)
    return decoder


def say(decoder: GemmaDecoder, cache: KVCache) -> Tensor:
    return torch.stack([decode_one(decoder, token % 30 + 1, cache) for token in range(STEPS)])


def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (vlm.quantize, vlm.token_step):
        monkeypatch.setattr(module, "compiled_kernels", lambda: None)


def error(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


def test_a_token_alone_goes_through_the_compiled_layer_and_says_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    real = TokenStep.__call__

    def counted(self: TokenStep, *arguments: object) -> Tensor:
        calls.append(self.place.layer)
        return real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(TokenStep, "__call__", counted)
    caches, watches = [KVCache(TINY), KVCache(TINY)], [Seen(), Seen()]
    for cache, watch in zip(caches, watches, strict=True):
        cache.watch = watch
    compiled = say(rounded(), caches[0])
    assert len(calls) == STEPS * TINY.num_hidden_layers
    without_kernels(monkeypatch)
    plain = say(rounded(), caches[1])
    assert len(calls) == STEPS * TINY.num_hidden_layers, "the plain one took the compiled layers"
    assert error(compiled, plain) < 0.03
    assert caches[0].length == caches[1].length == STEPS
    for name in ("queries", "keys"):
        for got, wanted in zip(*(getattr(watch, name) for watch in watches), strict=True):
            assert got.shape == wanted.shape and error(got, wanted) < 0.06


def test_it_is_as_close_to_full_precision_as_plain_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    exact, compiled = say(tiny_decoder(), KVCache(TINY)), say(rounded(), KVCache(TINY))
    without_kernels(monkeypatch)
    plain = say(rounded(), KVCache(TINY))
    assert error(compiled, exact) < 1.1 * error(plain, exact)


def test_where_there_is_no_compiler_the_layer_does_it_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    without_kernels(monkeypatch)
    decoder = rounded()
    say(decoder, KVCache(TINY))
    assert decoder.layers[0]._token_step() is None
