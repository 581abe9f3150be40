"""A contact sheet: what training looks at, and what it is asked."""

from __future__ import annotations

from PIL import Image

from vlm.training.fonts import Split
from vlm.training.questions import talk_about
from vlm.training.scenes import Scene, Scenes
from vlm.training.sheet import Grid, captioned

_GRID = Grid(columns=6, cell=300, caption=110, letters=10, wrap=50, most=8)


def contact_sheet(split: Split, count: int, seed: int, side: int = 224) -> Image.Image:
    """Draw pages of one window as training sees them, each with its conversation below.

    Args:
        split: whose fonts, words and templates.
        count: number of pages.
        seed: same seed, same sheet.
        side: of the encoder's square in pixels.

    Raises:
        FileNotFoundError: the fonts are not installed.
    """
    scenes = Scenes(split, seed)
    pictures: list[tuple[Image.Image, list[str]]] = []
    for _ in range(count):
        scale = scenes.rng.uniform(1.0, 1.6)
        longer = round(side * scale)
        page = scenes.page(Scene(longer, round(longer * scenes.rng.uniform(0.65, 1.0)), scale, exact=False))
        questions = talk_about(page, scenes.rng, scenes.text.words, turns=3)
        pictures.append((page.image, [f"{question.text} {question.answer!r}" for question in questions]))
    return captioned(pictures, _GRID)
