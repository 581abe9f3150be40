"""What is computed once: windows by their pixels, prompts by their beginnings, within a budget."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from tests.vlm.tiny import TINY
from vlm.cache import KVCache
from vlm.masks import Span
from vlm.prompt import PromptPlan
from vlm.reuse import MOST_PROMPTS, Prompts, ReadPrompt, Windows, same_prefix


def test_a_window_is_known_by_its_mode_size_and_pixels() -> None:
    pixels = bytes(range(24))
    pictures = [
        Image.frombytes("RGB", (4, 2), pixels),
        Image.frombytes("RGB", (2, 4), pixels),  # the same bytes, another shape
        Image.frombytes("L", (4, 6), pixels),  # and another mode
        Image.frombytes("RGB", (4, 2), pixels[::-1]),
    ]
    assert len({Windows.key(picture) for picture in pictures}) == 4
    assert Windows.key(pictures[0].copy()) == Windows.key(pictures[0])


def test_windows_keep_within_their_budget_and_drop_what_was_not_used() -> None:
    soft = torch.zeros(4, 8)
    windows = Windows(budget=3 * soft.nbytes)
    for name in (b"a", b"b", b"c"):
        windows.put(name, soft)
    assert windows.get(b"a") is soft
    windows.put(b"d", soft)
    assert windows.get(b"b") is None and windows.get(b"a") is soft
    assert windows.nbytes == 3 * soft.nbytes
    assert (windows.encoded, windows.reused) == (4, 2)


ids = st.lists(st.integers(10, 12), min_size=1, max_size=30).map(tuple)


@given(old=ids, new=ids, held=st.integers(0, 30))
def test_the_shared_beginning_is_the_longest_one(
    old: tuple[int, ...], new: tuple[int, ...], held: int
) -> None:
    same = same_prefix((old, ()), PromptPlan(new, ()), (), held)
    most = min(held, len(old), len(new) - 1)
    assert 0 <= same <= most and old[:same] == new[:same]
    assert same == most or old[same] != new[same]


def soft(value: float) -> Tensor:
    return torch.full((3, 4), value)


def test_an_image_is_shared_whole_and_only_where_it_is_the_same() -> None:
    plan = PromptPlan((1, 2, 9, 9, 9, 3, 4, 5), (Span(2, 5),))
    assert same_prefix((plan.ids, (soft(1),)), plan, (soft(1),), held=8) == 7
    assert same_prefix((plan.ids, (soft(2),)), plan, (soft(1),), held=8) == 2  # other pixels
    assert same_prefix((plan.ids, (soft(1),)), plan, (soft(1),), held=4) == 2  # half of it is held
    second = PromptPlan((1, 9, 9, 9, 2, 9, 9, 9, 3), (Span(1, 4), Span(5, 8)))
    assert same_prefix((second.ids, (soft(1), soft(2))), second, (soft(1), soft(3)), held=9) == 5


@torch.inference_mode()
def filled(length: int, seed: int = 0) -> KVCache:
    cache = KVCache(TINY)
    random = torch.Generator().manual_seed(seed)
    cache.prepare(length)
    for layer in range(TINY.num_hidden_layers):
        shape = (1, TINY.num_key_value_heads, length, TINY.head_dim)
        cache.append(layer, torch.randn(shape, generator=random), torch.randn(shape, generator=random))
    cache.advance(length)
    return cache


def held(cache: KVCache) -> list[Tensor]:
    """All keys that the cache holds, after one more token."""
    cache.prepare(1)
    new = torch.zeros(1, TINY.num_key_value_heads, 1, TINY.head_dim)
    return [cache.append(layer, new, new)[0].clone() for layer in range(TINY.num_hidden_layers)]


def hidden(length: int) -> Tensor:
    return torch.zeros(length, TINY.hidden_size)


@torch.inference_mode()
def test_a_kept_prompt_is_gone_on_from() -> None:
    prompts = Prompts()
    prompts.keep(ReadPrompt((1, 2, 3, 4, 5), (), filled(5, seed=7)))
    cache = KVCache(TINY)
    prompts.fill(cache, PromptPlan((1, 2, 3, 8, 9), ()), hidden(5))
    assert cache.length == 3
    expected = held(filled(3, seed=7))  # another length draws other numbers: compare what both have
    original = held(filled(5, seed=7))
    for mine, theirs, shape in zip(held(cache), original, expected, strict=True):
        assert torch.equal(mine[:, :, :3], theirs[:, :, :3])
        assert mine.shape == shape.shape
    assert (prompts.read, prompts.reused) == (2, 3)
    assert prompts.nbytes == 0  # taken, not copied


@torch.inference_mode()
def test_a_running_prompt_is_copied_and_left_alone() -> None:
    running = ReadPrompt((1, 2, 3, 4, 5), (), filled(5, seed=7))
    cache = KVCache(TINY)
    Prompts().fill(cache, PromptPlan((1, 2, 3, 8), ()), hidden(4), [running])
    assert (cache.length, running.cache.length) == (3, 5)
    assert all(map(torch.equal, held(running.cache), held(filled(5, seed=7))))
    assert all(not torch.equal(a, b[:, :, : a.shape[2]]) or a.shape != b.shape
               for a, b in zip(held(cache), held(running.cache), strict=True))  # fmt: skip


@torch.inference_mode()
def test_a_conversation_that_goes_on_by_itself_is_left_alone() -> None:
    prompts = Prompts()
    prompts.keep(ReadPrompt((1, 2, 3, 4, 5), (), filled(5)))
    cache = filled(2)
    prompts.fill(cache, PromptPlan((1, 2, 3, 4, 9), ()), hidden(5))
    assert cache.length == 2


def test_what_is_said_anew_with_more_behind_it_is_kept_once() -> None:
    prompts = Prompts()
    prompts.keep(ReadPrompt((1, 2, 3), (), filled(3)))
    prompts.keep(ReadPrompt((1, 2, 3, 4), (), filled(4)))
    assert prompts.nbytes == filled(4).nbytes
    prompts.keep(ReadPrompt((1, 7), (), filled(2)))
    assert prompts.nbytes == filled(4).nbytes + filled(2).nbytes


@pytest.mark.parametrize("budget", [0, 2**40])
def test_prompts_keep_within_their_budget_but_the_last_stays(budget: int) -> None:
    prompts = Prompts(budget=budget)
    for first in range(MOST_PROMPTS + 10):
        prompts.keep(ReadPrompt((first, 1), (), filled(2)))
    assert prompts.nbytes == filled(2).nbytes * (1 if budget == 0 else MOST_PROMPTS)


@torch.inference_mode()
def test_a_cache_that_forgot_the_window_before_is_not_copied() -> None:
    long = KVCache(TINY, slack=0)
    for _ in range(4 * TINY.sliding_window):
        held(long)
        long.advance(1)
    cache = KVCache(TINY)
    cache.copy_prefix(long, 4)
    assert cache.length == 0 and cache.nbytes == 0
