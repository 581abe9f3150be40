"""Windows of the last batches, shown to the encoder again.

A step of encoder and decoder costs three times what the encoder alone costs, and a page takes longer to
draw than to look at. So between two joint steps the encoder learns alone from windows it has seen minutes
ago, rolled by whole soft tokens and lit another way: a character in another place is a new example to an
encoder that has a position for every patch.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from vlm.training.encoder import CLASSES
from vlm.training.examples import Batch

KEPT = 256  # batches: about a quarter of an hour of training, 0.6 GB at 16 windows of 224 pixels
LIGHT = 0.125  # most by which a window is made lighter or darker, of the whole range
CONTRAST = (0.6, 1.2)  # a window's contrast is changed by
GRAIN = 6.0  # standard deviation of the noise at most, in grey levels


def with_replays(batches: Iterable[Batch], replays: int, seed: int) -> Iterator[Batch]:
    """Every batch, and after each ``replays`` of the last ones again, marked for the encoder alone.

    Args:
        batches: as they are drawn.
        replays: after each batch; 0 passes them through.
        seed: of what is shown again, and how.
    """
    rng = random.Random(seed)
    noise = torch.Generator().manual_seed(seed)
    kept: deque[Batch] = deque(maxlen=KEPT)
    for batch in batches:
        yield batch
        if replays == 0:
            continue
        kept.append(_seen(batch))
        for _ in range(replays):
            yield seen_again(rng.choice(kept), rng, noise)


def _seen(batch: Batch) -> Batch:
    """What the encoder needs of a batch, in memory of its own: that of a worker holds open files."""
    none = torch.empty(len(batch.ids), 0)
    return replace(
        batch, pixels=batch.pixels.clone(), slots=batch.slots.clone(), texts=batch.texts.clone(),
        ids=none.long(), labels=none.long(), weights=none, places=none[..., None].bool(),
    )  # fmt: skip


def seen_again(batch: Batch, rng: random.Random, noise: torch.Generator) -> Batch:
    """The batch with its windows rolled by whole soft tokens and lit another way, for the encoder alone.

    What leaves a window on one side comes in on the other. The characters cut there are halved as those at
    the border of any window are: each belongs to the soft token that holds its middle. Windows with shapes
    stay as they are: a shape must be whole, and grey is not white in the shade.
    """
    n, tokens = batch.slots.shape[:2]
    grid = round(tokens**0.5)
    size = batch.pixels.shape[-1] // grid  # pixels of a soft token
    down, right = rng.randrange(grid), rng.randrange(grid)
    pixels = batch.pixels.roll((down * size, right * size), (2, 3))
    cells = batch.slots.view(n, grid, grid, *batch.slots.shape[2:])
    slots = cells.roll((down, right), (1, 2)).view_as(batch.slots)
    plain = (batch.slots < CLASSES).flatten(1).all(1)  # no shapes, nothing ignored
    pixels, slots = _lit(pixels, noise)[plain], slots[plain]
    pixels = batch.pixels.clone().masked_scatter_(plain[:, None, None, None], pixels)
    slots = batch.slots.clone().masked_scatter_(plain[:, None, None, None], slots)
    return replace(batch, pixels=pixels, slots=slots, encoder_alone=True)


def _lit(pixels: Tensor, noise: torch.Generator) -> Tensor:
    """Windows in another light, each in its own."""

    def drawn(low: float, high: float) -> Tensor:
        return torch.rand(len(pixels), 1, 1, 1, generator=noise) * (high - low) + low

    grain = torch.randn(pixels.shape, generator=noise) * drawn(0.0, GRAIN)
    lit = (pixels.float() - 127.5) * drawn(*CONTRAST) + 127.5 + 255.0 * drawn(-LIGHT, LIGHT)
    return (lit + grain).clamp(0, 255).to(torch.uint8)
