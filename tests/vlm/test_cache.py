import dataclasses

import pytest
import torch
from torch import Tensor

from tests.vlm.tiny import TINY
from vlm.cache import GROWTH, KVCache
from vlm.config import LayerType, TextConfig

LOCAL, GLOBAL = 0, 2  # layers of TINY
WIDE = dataclasses.replace(TINY, sliding_window=100, num_key_value_heads=1, head_dim=2)


def marked(start: int, count: int, config: TextConfig = TINY) -> Tensor:
    """Keys that tell their position: [1, kv_heads, count, head_dim]."""
    positions = torch.arange(start, start + count, dtype=torch.float32)
    return positions[None, None, :, None].expand(1, config.num_key_value_heads, count, config.head_dim)


def step(cache: KVCache, count: int, config: TextConfig = TINY) -> dict[int, Tensor]:
    """Append ``count`` tokens to every layer; keys each layer answers with."""
    keys = marked(cache.length, count, config)
    cache.prepare(count)
    held = {}
    for layer in range(config.num_hidden_layers):
        held[layer], values = cache.append(layer, keys, keys + 0.5)
        assert torch.equal(values, held[layer] + 0.5)
    cache.advance(count)
    return held


def positions(keys: Tensor) -> list[int]:
    assert torch.equal(keys, keys[:, :1, :, :1].expand_as(keys))  # every head and channel alike
    return keys[0, 0, :, 0].int().tolist()


def kind(layer: int) -> LayerType:
    return TINY.layer_types[layer]


@pytest.mark.parametrize("counts", [[5, 1, 1, 1], [40, 1, 30, 1, 1], [1] * 60, [300, 1, 300, 1]])
@pytest.mark.parametrize("slack", [0, 3, 256])
def test_what_a_layer_sees(counts: list[int], slack: int) -> None:
    cache = KVCache(TINY, slack=slack)
    for count in counts:
        held = step(cache, count)
        first, end = cache.length - count, cache.length
        assert positions(held[GLOBAL]) == list(range(end))
        assert cache.key_start(kind(GLOBAL)) == 0
        seen = positions(held[LOCAL])
        assert seen == list(range(cache.key_start(kind(LOCAL)), end))  # no gap, in order
        assert seen[0] <= max(0, first - TINY.sliding_window + 1)  # the first query's window is whole
    assert cache.length == sum(counts)


def test_growth_is_rare_and_keeps_the_old() -> None:
    cache = KVCache(TINY)
    sizes = []
    for _ in range(4 * GROWTH):
        step(cache, 1)
        sizes.append(cache.nbytes)
    assert len(set(sizes)) <= 6
    assert positions(step(cache, 1)[GLOBAL]) == list(range(4 * GROWTH + 1))


def test_5000_steps_of_decoding() -> None:
    """Local layers stay as small as their window, and are moved once in ``slack`` steps."""
    locals_only = dataclasses.replace(WIDE, layer_types=("sliding_attention",) * 3)
    cache = KVCache(locals_only, slack=256)
    step(cache, 10, locals_only)
    starts, sizes = set(), set()
    for _ in range(5000):
        step(cache, 1, locals_only)
        starts.add(cache.key_start("sliding_attention"))
        sizes.add(cache.nbytes)
    slots = WIDE.sliding_window - 1 + 2 * 256
    assert max(sizes) <= slots * 3 * 2 * WIDE.head_dim * 4  # layers, keys and values, fp32
    assert len(starts) - 1 <= 5000 / 256 + 1


def test_global_layers_hold_all_and_little_more() -> None:
    cache = KVCache(dataclasses.replace(WIDE, layer_types=("full_attention",) * 3))
    for _ in range(3000):
        cache.prepare(1)
        cache.advance(1)
    a_token = 3 * 2 * WIDE.head_dim * 4
    assert 3000 * a_token <= cache.nbytes <= (3000 + 16 * GROWTH) * a_token


@pytest.mark.parametrize("length", [0, 1, 20, 199, 200])
def test_truncate_to_a_prefix_still_held(length: int) -> None:
    cache = KVCache(TINY, slack=256)
    step(cache, 200)
    assert cache.truncate(length) == length == cache.length
    held = step(cache, 3)
    assert positions(held[GLOBAL]) == list(range(length + 3))
    assert positions(held[LOCAL]) == list(range(cache.key_start("sliding_attention"), length + 3))
    assert cache.key_start("sliding_attention") <= max(0, length - TINY.sliding_window + 1)


def test_truncate_beyond_what_local_layers_hold() -> None:
    cache = KVCache(TINY, slack=4)
    for _ in range(60):
        step(cache, 1)
    start = cache.key_start("sliding_attention")
    kept = start + TINY.sliding_window - 1  # the shortest prefix whose window is still whole
    assert cache.truncate(kept) == kept
    assert cache.truncate(kept - 1) == 0
    assert cache.length == 0
    held = step(cache, 5)
    assert positions(held[GLOBAL]) == positions(held[LOCAL]) == [0, 1, 2, 3, 4]


def test_reset_forgets_and_keeps_the_memory() -> None:
    cache = KVCache(TINY)
    step(cache, 50)
    before = cache.nbytes
    cache.reset()
    assert (cache.length, cache.nbytes) == (0, before)
    assert positions(step(cache, 2)[LOCAL]) == [0, 1]
    assert cache.nbytes == before


def test_an_empty_cache_has_no_memory() -> None:
    assert KVCache(TINY).nbytes == 0


def test_dtype() -> None:
    cache = KVCache(TINY, dtype=torch.bfloat16)
    assert step(cache, 2)[GLOBAL].dtype == torch.bfloat16


def test_append_without_room_is_a_defect() -> None:
    cache = KVCache(TINY)
    with pytest.raises(AssertionError, match="prepare"):
        cache.append(0, marked(0, 1), marked(0, 1))
