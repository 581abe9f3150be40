"""What the encoder sees again is what it saw, elsewhere and in another light, its labels at their places."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
import torch

pytest.importorskip("open_clip")

from vlm.masks import Span
from vlm.training.encoder import POOL, SEEN_CLASSES, SLOTS
from vlm.training.examples import Batch
from vlm.training.replay import CONTRAST, GRAIN, LIGHT, seen_again, with_replays

GRID, SIZE = 4, 28  # soft tokens along a window's side, and pixels along one's


def _batch(label: int = 0) -> Batch:
    """Two windows whose soft tokens are flat greys, the lighter the higher their labels."""
    cells = 1 + torch.arange(GRID * GRID).view(GRID, GRID)
    window = (30 + 10 * cells).repeat_interleave(SIZE, 0).repeat_interleave(SIZE, 1).to(torch.uint8)
    slots = cells.view(1, -1, 1, 1).expand(2, -1, POOL * POOL, SLOTS).to(torch.uint8)
    nothing = torch.zeros(2, 3)
    return Batch(
        pixels=window.expand(2, 3, -1, -1),
        ids=torch.full((2, 3), label),
        labels=nothing.long(),
        weights=nothing,
        places=torch.zeros(2, 3, 1, dtype=torch.bool),
        slots=slots,
        texts=nothing.byte(),
        spans=(Span(0, 1),),
    )


def test_labels_stay_with_their_pixels() -> None:
    batch, rng, noise = _batch(), random.Random(3), torch.Generator().manual_seed(3)
    places = set()
    for _ in range(20):
        again = seen_again(batch, rng, noise)
        greys = again.pixels.float().view(2, 3, GRID, SIZE, GRID, SIZE).mean((1, 3, 5))
        named = again.slots[:, :, 0, 0].view(2, GRID, GRID).long()
        places.add(tuple(named[0].flatten().tolist()))
        for grey, name in zip(greys, named, strict=True):
            # Darker soft tokens are darker still, in whatever light.
            order = grey.flatten()[name.flatten().argsort()]
            assert (order.diff() > 0).all()
        assert again.encoder_alone
    assert len(places) > 5


def test_windows_with_shapes_stay_as_they_are() -> None:
    batch = _batch()
    slots = batch.slots.clone()
    slots[0, 3, 0, 0] = SEEN_CLASSES["grey"]
    rng, noise = random.Random(3), torch.Generator().manual_seed(3)
    again = [seen_again(replace(batch, slots=slots), rng, noise) for _ in range(4)]
    assert all(torch.equal(one.pixels[0], batch.pixels[0]) for one in again)
    assert all(torch.equal(one.slots[0], slots[0]) for one in again)
    assert not any(torch.equal(one.pixels[1], batch.pixels[1]) for one in again)


def test_what_is_kept_is_memory_of_its_own() -> None:
    batch = _batch()
    _, again = with_replays([batch], 1, seed=0)
    before = batch.pixels.clone()
    again.pixels.zero_()
    assert torch.equal(batch.pixels, before) and again.places.numel() == 0 and len(again.ids) == 2


def test_light_and_contrast_keep_within_bounds() -> None:
    again = seen_again(_batch(), random.Random(0), torch.Generator().manual_seed(0))
    assert again.pixels.dtype == torch.uint8
    spread = again.pixels.float().view(2, 3, GRID, SIZE, GRID, SIZE).mean((1, 3, 5)).flatten(1)
    ratio = (spread.amax(1) - spread.amin(1)) / (10 * (GRID * GRID - 1))
    assert (ratio > CONTRAST[0] - 0.05).all() and (ratio < CONTRAST[1] + 0.05).all()
    assert not torch.equal(again.pixels[0], again.pixels[1])  # each in a light of its own
    assert ((spread.mean(1) - 115).abs() < 255 * LIGHT + 10 + GRAIN).all()


def test_every_batch_comes_once_and_replays_follow_from_those_before() -> None:
    fresh = [replace(_batch(), texts=torch.full((2, 3), number).byte()) for number in range(6)]
    shown = list(with_replays(fresh, 2, seed=1))
    assert [bool(b.encoder_alone) for b in shown] == [False, True, True] * 6
    assert [int(b.texts[0, 0]) for b in shown[::3]] == list(range(6))
    for at, batch in enumerate(shown):
        assert int(batch.texts[0, 0]) <= at // 3  # nothing is seen again before it was seen
    assert len({int(b.texts[0, 0]) for b in shown if b.encoder_alone}) > 2


def test_without_replays_nothing_is_added() -> None:
    fresh = [_batch(1), _batch(2)]
    assert list(itertools.islice(with_replays(fresh, 0, seed=1), 9)) == fresh
