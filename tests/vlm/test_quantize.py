"""int8 products: what rounding costs, that rows are their own, and that joining changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import vlm.quantize
from tests.vlm.tiny import TINY, tiny_decoder
from vlm.cache import KVCache
from vlm.gemma import best_of
from vlm.generate import decode_many, decode_one, prefill
from vlm.masks import Queries
from vlm.quantize import (
    LEVELS,
    Int8Linear,
    _stacked,
    compiled_kernels,
    fbgemm_works,
    hadamard,
    lay_together,
    quantised,
    to_int8,
    turned,
)

torch.set_num_threads(1)


def rows(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def error(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).detach().norm() / wanted.detach().norm())


@pytest.fixture(params=["compiled", "fbgemm", "int_mm"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "compiled":
        if compiled_kernels() is None:
            pytest.skip("no numba, or a processor without VNNI")
        return
    monkeypatch.setattr(vlm.quantize, "compiled_kernels", lambda: None)
    if request.param == "int_mm":
        monkeypatch.setattr(vlm.quantize, "fbgemm_works", lambda: False)
    elif not fbgemm_works():
        pytest.skip("no fbgemm on this processor")


def test_without_numba_or_vnni_there_are_no_compiled_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vlm.quantize, "find_spec", lambda name: None)
    assert compiled_kernels.__wrapped__() is None
    monkeypatch.undo()
    monkeypatch.setattr(vlm.quantize, "has_vnni", lambda: False)
    assert compiled_kernels.__wrapped__() is None


def test_where_compiled_code_cannot_be_kept_it_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise RuntimeError(f"cannot cache function: no locator available for {name}")

    monkeypatch.setattr(vlm.quantize, "has_vnni", lambda: True)
    monkeypatch.setattr(vlm.quantize, "find_spec", lambda name: object())
    monkeypatch.setattr(vlm.quantize, "import_module", refuse)
    assert compiled_kernels.__wrapped__() is None


@pytest.mark.parametrize("width", [640, 4304, 96, 7])
def test_turning_twice_is_turning_not_at_all(width: int) -> None:
    x = rows(3, width)
    torch.testing.assert_close(turned(turned(x)), x, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(turned(x) @ turned(x).T, x @ x.T, atol=1e-3, rtol=1e-4)
    assert width % len(hadamard(width)) == 0


def test_a_weight_is_rounded_to_the_nearest_step_of_its_channel() -> None:
    weight = rows(5, 64) * torch.tensor([1e-3, 1.0, 50.0, 1.0, 0.0])[:, None]
    kept = weight.clone()
    values, scales = quantised(weight)
    assert torch.equal(weight, kept)
    assert values.dtype == torch.int8 and values.abs().amax(1)[:4].tolist() == [LEVELS] * 4
    assert ((values * scales[:, None] - turned(weight)).abs() <= scales[:, None] * 0.5001).all()


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("count", [1, 2, 33])
def test_a_product_is_that_of_the_linear_layer(count: int, bias: bool) -> None:
    linear = nn.Linear(640, 256, bias=bias)
    x = rows(count, 640)
    x[:, 3] *= 40  # an outlier, which rounding a token with one scale would drown the others in
    layer = Int8Linear.of(linear)
    assert error(layer(x), linear(x)) < 0.03
    assert layer.weight is None  # only the packed copy is held
    assert layer(x.view(1, count, 640)).shape == (1, count, 256)


@pytest.mark.usefixtures("kernel")
def test_among_others_a_row_gives_the_same() -> None:
    layer = Int8Linear.of(nn.Linear(128, 64))
    x = rows(6, 128)
    others = torch.cat([x[2:4], 1000 * rows(9, 128, seed=1)])
    assert torch.equal(layer(x)[2:4], layer(others)[:2])


@pytest.mark.usefixtures("kernel")
def test_zeros_stay_zeros() -> None:
    layer = Int8Linear.of(nn.Linear(64, 32, bias=False))
    assert not layer(torch.zeros(1, 64)).any() and layer(torch.zeros(3, 64)).abs().max() < 1e-9


def test_joined_layers_are_the_layers_side_by_side() -> None:
    x = rows(4, 64)
    parts = [nn.Linear(64, 32), nn.Linear(64, 8)]
    joined = Int8Linear.joined([Int8Linear.of(part) for part in parts])
    apart = [Int8Linear.of(part)(x) for part in parts]
    torch.testing.assert_close(joined(x), torch.cat(apart, dim=1))


def test_a_decoder_in_int8_keeps_its_answers() -> None:
    plain, rounded = tiny_decoder(), tiny_decoder()
    to_int8(rounded)
    assert not any(isinstance(module, nn.Linear) for module in rounded.modules())
    ids = torch.arange(1, 13)[None]
    queries = Queries(0, 12)
    with torch.inference_mode():
        wanted = plain.logits(plain(plain.embed(ids), queries))
        got = rounded.logits(rounded(rounded.embed(ids), queries))
    assert error(got, wanted) < 0.05
    assert (got.argmax(-1) == wanted.argmax(-1)).float().mean() > 0.9


def test_one_token_at_a_time_is_the_whole_prompt_at_once() -> None:
    decoder = tiny_decoder()
    to_int8(decoder)
    ids = list(range(1, 13))
    with torch.inference_mode():
        hidden = decoder.embed(torch.tensor(ids))
    whole, stepwise = KVCache(TINY), KVCache(TINY)
    at_once = prefill(decoder, hidden, (), whole)
    for token in ids:
        logits = decode_one(decoder, token, stepwise)
    assert error(logits, at_once) < 0.05


def test_several_conversations_at_once_say_what_each_says_alone() -> None:
    decoder = tiny_decoder()
    to_int8(decoder)
    together, alone = ([KVCache(TINY) for _ in range(3)] for _ in range(2))
    for step in range(12):  # past the local window
        tokens = [step + 1, step + 2, step + 3]
        got = decode_many(decoder, tokens, together)
        wanted = torch.stack(
            [decode_one(decoder, token, cache) for token, cache in zip(tokens, alone, strict=True)]
        )
    assert error(got, wanted) < 0.05


def test_the_best_tokens_have_exact_scores() -> None:
    decoder = tiny_decoder()
    hidden = rows(1, TINY.hidden_size)[0]
    exact = decoder.logits(hidden)
    decoder.quantise_head()
    with torch.inference_mode():
        got = decoder.logits(hidden)
    best = exact.topk(8).indices
    torch.testing.assert_close(got[best], exact[best], atol=1e-5, rtol=1e-5)


def test_parts_laid_together_are_joined_without_a_copy() -> None:
    weights = [rows(outputs, 64, seed) for seed, outputs in enumerate((48, 16, 32))]
    with torch.device("meta"):
        parts = [Int8Linear(64, len(weight)) for weight in weights]
    lay_together(parts)
    for part, weight in zip(parts, weights, strict=True):
        assert part.weight is not None and part.weight_scale is not None
        quantised(weight, into=(part.weight, part.weight_scale))
    first = parts[0].weight
    apart = Int8Linear.joined([Int8Linear.from_weight(weight) for weight in weights])
    together = Int8Linear.joined(parts)
    some = rows(5, 64)
    assert torch.equal(together(some), apart(some))
    operand = together.operand()
    if operand is not None:  # the compiled loops read the parts' own memory
        assert first is not None and operand[0].__array_interface__["data"][0] == first.data_ptr()
        assert operand[0].shape == (96, 64)


@pytest.mark.parametrize("order", [(1, 0), (0, 2)])
def test_parts_that_do_not_follow_one_another_are_copied(order: tuple[int, int]) -> None:
    pieces = torch.arange(12, dtype=torch.int8).view(6, 2).split(2)
    stacked = _stacked([pieces[index] for index in order])
    assert torch.equal(stacked, torch.cat([pieces[index] for index in order]))
    assert stacked.data_ptr() != pieces[order[0]].data_ptr()


@pytest.mark.parametrize("vocabulary", [262144, 262208, 64 * 300, 1000, 40])
def test_the_best_are_found_by_blocks(vocabulary: int) -> None:
    scores = torch.randn(2, 3, vocabulary, generator=torch.Generator().manual_seed(vocabulary))
    scores[0, 0, -40:] += 50  # all of them in one or two blocks
    found, wanted = best_of(scores, 32), scores.topk(32).indices
    assert torch.equal(found.sort(-1).values, wanted.sort(-1).values)
