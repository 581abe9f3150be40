import dataclasses

import pytest
import torch

from tests.vlm.tiny import TINY, tiny_decoder
from vlm.cache import KVCache
from vlm.gemma import GemmaDecoder
from vlm.masks import Queries, Span


def hidden(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, count, TINY.hidden_size, generator=torch.Generator().manual_seed(seed))


def test_parameter_names_are_the_hubs() -> None:
    names = {name for name, _ in tiny_decoder().named_parameters()}
    block = (
        "input_layernorm post_attention_layernorm pre_feedforward_layernorm post_feedforward_layernorm "
        "mlp.gate_proj mlp.up_proj mlp.down_proj self_attn.q_proj self_attn.k_proj self_attn.v_proj "
        "self_attn.o_proj self_attn.q_norm self_attn.k_norm"
    )
    expected = {f"layers.{i}.{name}.weight" for i in range(3) for name in block.split()}
    assert names == expected | {"embed_tokens.weight", "norm.weight"}


def test_embedding_is_scaled_by_a_factor_cast_first() -> None:
    decoder = tiny_decoder(dataclasses.replace(TINY, hidden_size=3072, num_hidden_layers=0, layer_types=()))
    ids = torch.tensor([[5]])
    row = decoder.embed_tokens.weight[5]
    assert torch.allclose(decoder.embed(ids)[0, 0], row * 3072**0.5)
    low = decoder.bfloat16()
    # sqrt(3072) = 55.43 is 55.5 in bfloat16, and that is what the checkpoints were trained with.
    assert torch.equal(low.embed(ids)[0, 0], row.bfloat16() * torch.tensor(55.5, dtype=torch.bfloat16))


def test_head_is_the_embedding() -> None:
    decoder = tiny_decoder()
    state = hidden(2)
    assert torch.allclose(decoder.logits(state), state @ decoder.embed_tokens.weight.T)


def test_a_batch_of_equal_layout() -> None:
    decoder = tiny_decoder()
    queries = Queries(0, 20, (Span(4, 9),))
    both = torch.cat([hidden(20, 1), hidden(20, 2)])
    apart = torch.cat([decoder(one[None], queries) for one in both])
    assert torch.allclose(decoder(both, queries), apart, atol=1e-5)


def test_may_be_built_on_meta() -> None:
    with torch.device("meta"):
        decoder = GemmaDecoder(TINY)
    decoder.load_state_dict(tiny_decoder().state_dict(), assign=True)
    state = hidden(12)
    assert torch.equal(decoder(state, Queries(0, 12)), tiny_decoder()(state, Queries(0, 12)))


def test_a_chunk_that_ends_inside_an_image_is_a_defect() -> None:
    with pytest.raises(AssertionError, match="inside an image"):
        tiny_decoder()(hidden(5), Queries(0, 5, (Span(3, 7),)), KVCache(TINY))


def test_a_chunk_that_does_not_follow_the_cache_is_a_defect() -> None:
    with pytest.raises(AssertionError):
        tiny_decoder()(hidden(5), Queries(3, 8), KVCache(TINY))


def test_after_a_truncation_the_rest_is_as_if_read_at_once() -> None:
    decoder, cache = tiny_decoder(), KVCache(TINY)
    state = hidden(40)
    whole = decoder(state, Queries(0, 40))
    decoder(torch.cat([state[:, :25], hidden(10, 9)], 1), Queries(0, 35), cache)
    assert cache.truncate(25) == 25
    assert torch.allclose(decoder(state[:, 25:], Queries(25, 40), cache), whole[:, 25:], atol=1e-5)
