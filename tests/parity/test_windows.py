"""Our ``gemma3`` windows are transformers' own, for every size."""

import random

import pytest
import torch
from transformers.models.gemma3.image_processing_gemma3 import Gemma3ImageProcessor

from pan_and_scan import Gemma3, plan

PROCESSOR = Gemma3ImageProcessor()


def theirs(width: int, height: int, policy: Gemma3) -> list[tuple[int, int, int, int]]:
    """Boxes of the slices that transformers takes, read off views into an image without memory."""
    image = torch.empty(1, 1, height, width, dtype=torch.uint8, device="meta")
    crops = PROCESSOR.pan_and_scan_batched(image, policy.min_crop_size, policy.max_crops, policy.min_ratio)
    boxes = []
    for crop in crops:
        top, left = divmod(crop.storage_offset(), width)
        boxes.append((left, top, left + crop.shape[-1], top + crop.shape[-2]))
    return boxes


def ours(width: int, height: int, policy: Gemma3) -> list[tuple[int, int, int, int]]:
    return [window.box for window in plan(width, height, policy)[1:]]


def sizes(count: int) -> list[tuple[int, int]]:
    """Of all magnitudes, and of all ratios around those where the count of crops changes."""
    rng = random.Random(20250312)
    found: list[tuple[int, int]] = []
    while len(found) < count:
        width = int(30000 ** rng.random())
        ratio = rng.choice([1.2, 1.5, 2.5, 3.5, rng.uniform(0.1, 10)])
        height = (
            round(width / ratio) + rng.randint(-1, 1) if rng.random() < 0.5 else int(30000 ** rng.random())
        )
        if 1 <= height <= 30000:
            found.append((width, height) if rng.random() < 0.5 else (height, width))
    return found


@pytest.mark.parametrize("policy", [Gemma3(), Gemma3(min_ratio=1.5)])
def test_2000_random_sizes(policy: Gemma3) -> None:
    counts = set()
    for width, height in sizes(2000):
        expected = theirs(width, height, policy)
        assert ours(width, height, policy) == expected, (width, height)
        counts.add(len(expected))
    assert counts == {0, 2, 3, 4}  # the sample reaches every outcome


def test_every_size_around_the_smallest_that_is_cut() -> None:
    policy = Gemma3()
    for width in range(505, 522):
        for height in (*range(250, 262), *range(415, 440)):
            assert ours(width, height, policy) == theirs(width, height, policy), (width, height)
            assert ours(height, width, policy) == theirs(height, width, policy), (height, width)


def test_other_settings() -> None:
    rng = random.Random(7)
    for width, height in sizes(500):
        policy = Gemma3(rng.randint(16, 900), rng.randint(2, 15), rng.uniform(1, 4))
        assert ours(width, height, policy) == theirs(width, height, policy), (width, height, policy)


def test_where_transformers_cuts_an_empty_crop_we_leave_it_out() -> None:
    policy = Gemma3(min_crop_size=1)
    with_empty = theirs(5, 1, policy)
    assert [box for box in with_empty if box[0] < box[2] <= 5] == ours(5, 1, policy)
    assert len(with_empty) == 4 and len(ours(5, 1, policy)) == 3
