import dataclasses
import random

import pytest
import torch
from torch import Tensor

from tests.vlm.tiny import TINY, tiny_decoder
from vlm.cache import KVCache
from vlm.config import LayerType
from vlm.errors import PromptError
from vlm.gemma import GemmaDecoder
from vlm.generate import CHUNK, Generation, Limits, Scores, check_fits, chunks, decode_one, prefill
from vlm.layers import LayerInputs
from vlm.masks import Queries, Span
from vlm.sampling import Sampler, Sampling


def test_chunks_by_literals() -> None:
    assert list(chunks(0, 10, [], 4)) == [(0, 4), (4, 8), (8, 10)]
    assert list(chunks(3, 10, [], 4)) == [(3, 7), (7, 10)]
    assert list(chunks(0, 8, [], 8)) == [(0, 8)]
    assert list(chunks(5, 5, [], 4)) == []
    assert list(chunks(0, 12, [Span(2, 6)], 4)) == [(0, 2), (2, 6), (6, 10), (10, 12)]
    assert list(chunks(0, 12, [Span(0, 9)], 4)) == [(0, 9), (9, 12)]  # longer than a chunk: whole
    assert list(chunks(0, 9, [Span(1, 5), Span(5, 8)], 4)) == [(0, 1), (1, 5), (5, 9)]


def test_chunks_never_split_an_image() -> None:
    rng = random.Random(6)
    for _ in range(500):
        spans, at = [], 0
        for _ in range(rng.randint(0, 6)):
            start = at + rng.randint(0, 30)
            at = start + rng.randint(1, 40)
            spans.append(Span(start, at))
        end, size = at + rng.randint(1, 50), rng.randint(1, 60)
        starts = [0, *(span.end for span in spans)]
        start = rng.choice([s for s in starts if s < end])
        cut = list(chunks(start, end, spans, size))
        assert [a for a, _ in cut] == [start, *(b for _, b in cut)][:-1] and cut[-1][1] == end
        assert all(a < b for a, b in cut)
        for span in spans:
            assert not any(span.start < border < span.end for _, border in cut)
        longest = max((s.end - s.start for s in spans), default=0)
        assert all(b - a <= max(size, longest) for a, b in cut)


class CountingDecoder(GemmaDecoder):
    """Notes the size of each mask and each call of the head."""

    def __init__(self) -> None:
        super().__init__(dataclasses.replace(TINY, max_position_embeddings=10_000))
        self.load_state_dict(tiny_decoder().state_dict())
        self.masks: dict[LayerType, list[tuple[int, ...]]] = {"sliding_attention": [], "full_attention": []}
        self.heads: list[int] = []

    def layer_inputs(
        self, kind: LayerType, key_start: int, queries: Queries, hidden_BTD: Tensor
    ) -> LayerInputs:
        inputs = super().layer_inputs(kind, key_start, queries, hidden_BTD)
        if inputs.mask is not None:
            self.masks[kind].append(tuple(inputs.mask.shape))
        return inputs

    def logits(self, hidden_BTD: Tensor) -> Tensor:
        self.heads.append(hidden_BTD.numel() // self.config.hidden_size)
        return super().logits(hidden_BTD)


@pytest.fixture(scope="module")
def counted() -> CountingDecoder:
    """After reading 5000 tokens with an image among them and decoding three more."""
    decoder = CountingDecoder()
    cache = KVCache(decoder.config)
    prefill(decoder, 0.1 * torch.randn(5000, TINY.hidden_size), (Span(2000, 2256),), cache)
    for token in (3, 4, 5):
        decode_one(decoder, token, cache)
    return decoder


def test_a_long_prompt_builds_no_square_mask(counted: CountingDecoder) -> None:
    assert max(rows for rows, _ in counted.masks["full_attention"]) <= CHUNK
    held = CHUNK + TINY.sliding_window - 1 + 2 * 256  # a chunk, the window before it, the slack
    assert max(keys for _, keys in counted.masks["sliding_attention"]) <= held
    assert (1, 5001) not in counted.masks["full_attention"]  # decoding needs none at all


def test_only_the_last_token_goes_through_the_head(counted: CountingDecoder) -> None:
    assert counted.heads == [1, 1, 1, 1]


def test_prefill_goes_on_from_a_prefix() -> None:
    decoder = tiny_decoder()
    state = torch.randn(30, TINY.hidden_size, generator=torch.Generator().manual_seed(2))
    fresh = prefill(decoder, state, (Span(10, 14),), KVCache(TINY))
    cache = KVCache(TINY)
    prefill(decoder, state[:20], (Span(10, 14),), cache)
    assert torch.allclose(prefill(decoder, state, (Span(10, 14),), cache), fresh, atol=1e-5)
    assert cache.length == 30


def run(limits: Limits, prompt: int = 5) -> Generation:
    decoder, cache = tiny_decoder(), KVCache(TINY)
    ids = list(range(prompt))
    logits = prefill(decoder, decoder.embed(torch.tensor(ids)), (), cache)
    generation = Generation(decoder, cache, Sampler(Sampling()), limits, ids)
    assert [token.id for token in generation.run(logits)] == generation.ids
    return generation


def test_finish_length() -> None:
    generation = run(Limits(frozenset(), 7, 64))
    assert (generation.finish_reason, len(generation.ids)) == ("length", 7)
    assert generation.cache.length == 5 + 6  # the last token is not read: nothing asks for what follows


def test_finish_stop_leaves_the_stop_id_out() -> None:
    free = run(Limits(frozenset(), 20, 64)).ids
    stop = free[3]
    generation = run(Limits(frozenset({stop, 47}), 20, 64))
    assert generation.finish_reason == "stop"
    assert generation.ids == free[: free.index(stop)]


def test_finish_context() -> None:
    generation = run(Limits(frozenset(), 100, 12))
    assert generation.finish_reason == "context"
    assert generation.cache.length == 12  # every position used, none beyond


def test_it_is_running_until_it_ends() -> None:
    decoder, cache = tiny_decoder(), KVCache(TINY)
    logits = prefill(decoder, decoder.embed(torch.tensor([1, 2])), (), cache)
    generation = Generation(decoder, cache, Sampler(Sampling()), Limits(frozenset(), 2, 64), [1, 2])
    tokens = generation.run(logits)
    first = next(tokens)
    assert first.logprob == pytest.approx(float(logits.log_softmax(-1)[first.id]))
    assert generation.finish_reason is None
    assert len(list(tokens)) == 1


def test_scores_of_several_are_those_of_each() -> None:
    logits = torch.randn(3, 48, generator=torch.Generator().manual_seed(5)).bfloat16()
    for scores, logits_V in zip(Scores.of_each(logits), logits, strict=True):
        assert torch.equal(scores.logits_V, logits_V)
        torch.testing.assert_close(scores.logs_V, logits_V.float().log_softmax(-1))
        assert scores.likeliest == int(logits_V.argmax())
        assert scores.logprob == float(scores.logs_V[scores.likeliest])


def test_a_token_is_told_with_its_own_probability() -> None:
    (scores,) = Scores.of_each(torch.tensor([[2.0, 1.5, 1.0, 0.5]]))
    sampler = Sampler(Sampling(temperature=2.0, seed=1))
    generation = Generation(tiny_decoder(), KVCache(TINY), sampler, Limits(frozenset(), 50, 64), [])
    tokens = [generation.take(scores) for _ in range(20)]
    assert len({token.id for token in tokens if token is not None}) > 2
    for token in tokens:
        assert token is not None and token.logprob == float(scores.logs_V[token.id])


def test_a_penalty_moves_on_from_the_likeliest() -> None:
    (scores,) = Scores.of_each(torch.tensor([[2.0, 1.5, 1.0, 0.5]]))
    sampler = Sampler(Sampling(repetition_penalty=10.0))
    generation = Generation(tiny_decoder(), KVCache(TINY), sampler, Limits(frozenset(), 50, 64), [])
    tokens = [generation.take(scores) for _ in range(3)]
    assert [token.id for token in tokens if token is not None] == [0, 1, 2]


def test_check_fits() -> None:
    check_fits(63, 64)
    with pytest.raises(PromptError, match=r"64 tokens.*holds 64.*--max-windows"):
        check_fits(64, 64)
