"""Scores of a model on generated images with exact truth.

Held-out means other fonts and other words than training saw (``training.fonts``,
``training.text``); the generator is the same, so a score here says how well letters are read, not how
well documents of the world are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jiwer
from PIL import Image

from vlm.session import VLM, Options
from vlm.training.fonts import Split
from vlm.training.render import PageSampler, PageStyle

READING = PageStyle(letter_px=(20.0, 32.0), lines=(1, 2), tall=0.0, squeeze=0.0, noise=0.0)
READING_SIDE = 224  # pixels, both sides of a reading image
QUESTION = "What does it say?"


@dataclass(frozen=True)
class ReadingScore:
    """Errors over all images of an evaluation."""

    model: str
    split: str
    images: int
    cer: float  # character errors over characters of truth
    wer: float  # the same of words
    exact: float  # share of images read without an error
    seconds_per_image: float

    def to_json(self) -> dict[str, Any]:
        """The object ``vlm eval reading --json`` prints."""
        return {k: round(v, 4) if isinstance(v, float) else v for k, v in vars(self).items()}


def reading_images(split: Split, count: int, seed: int) -> Iterator[tuple[Image.Image, str]]:
    """One or two clean printed lines of 20 to 32 px letters, and what they say."""
    sampler = PageSampler(split, seed)
    while count:
        page = sampler.page(READING, READING_SIDE, READING_SIDE)
        if page.lines:
            count -= 1
            yield page.image, "\n".join(page.lines)


def evaluate_reading(
    vlm: VLM, *, split: Split = "heldout", count: int = 500, seed: int = 20261122,
    on_read: Callable[[int, str, str], None] | None = None,
) -> ReadingScore:  # fmt: skip
    """Read generated images and compare with what was printed.

    Args:
        vlm: the model.
        split: whose fonts and words.
        count: number of images.
        seed: same seed, same images on a machine with the same fonts.
        on_read: told (index, truth, text read) after each image.

    Raises:
        FileNotFoundError: the fonts are not installed.
    """
    images = list(reading_images(split, count, seed))
    options = Options(max_tokens=200)
    truths: list[str] = []
    reads: list[str] = []
    started = time.perf_counter()
    for index, (image, truth) in enumerate(images):
        text = vlm.ask(image, QUESTION, options).text
        truths.append(truth)
        reads.append(text)
        if on_read is not None:
            on_read(index, truth, text)
    return ReadingScore(
        model=vlm.engine.name,
        split=split,
        images=count,
        cer=float(jiwer.cer(truths, reads)),
        wer=float(jiwer.wer(truths, reads)),
        exact=sum(a == b for a, b in zip(truths, reads, strict=True)) / count,
        seconds_per_image=(time.perf_counter() - started) / count,
    )
