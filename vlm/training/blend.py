"""The mean of a model and of what further training made of it: often better than both (arXiv 2109.01903).

Of mini's last four runs, which began with the weights shipped until then, ``vlm train blend`` printed as
loss of the answers about validation pages 0.270 before, 0.288 after, and 0.245 of half of each; then 0.285,
0.230, 0.223 of halves, and 0.215 of a quarter and three quarters; then 0.228, 0.218, and 0.202 of 5/8;
then (of other pages) 0.178, 0.181, and 0.166 of half of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from vlm.training.averaged import State
from vlm.training.checkpoint import RECORD, whole, write_blended, write_skeleton, write_weights
from vlm.training.reader import Reader, answer_loss, check_batch, exported_state

SHARES = tuple(step / 8 for step in range(9))  # of the later model, that are tried
PAGES = 192  # of the validation split


@torch.no_grad()
def blend(
    first: Path,
    second: Path,
    out: Path,
    tell: Callable[[float, float], None],
    shares: Sequence[float] = SHARES,
) -> float:
    """Write the best mean of two exported folders, judged by the answers about validation pages.

    Args:
        first: a model.
        second: what further training made of it; its record of training becomes the mean's.
        out: folder to write.
        tell: told (share of the second, loss of the mean) as they are found.
        shares: of the second, that are tried.

    Returns:
        The share of the second.

    Raises:
        CheckpointError: a folder is no checkpoint of mini's shape.
    """
    states = exported_state(first), exported_state(second)
    with whole(out) as beside:
        reader = Reader(write_skeleton(beside))
        pages = check_batch(beside, PAGES)
        losses: dict[float, float] = {}
        for share in shares:
            reader.fill(between(*states, share))
            losses[share] = answer_loss(reader, pages)
            tell(share, losses[share])
        best = min(losses, key=losses.__getitem__)
        reader.fill(between(*states, best))
        write_weights(beside, reader.vision, reader.decoder)
        if (second / RECORD).is_file():
            write_blended(beside, second, best)
    return best


def between(first: State, second: State, share: float) -> State:
    """The mean of two models of one shape, ``share`` of it the second."""
    return {name: torch.lerp(first[name], second[name], share) for name in first}
