"""A contact sheet: what training looks at, and what it is asked."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from vlm.training.fonts import Split
from vlm.training.page import Page
from vlm.training.questions import Question, talk_about
from vlm.training.scenes import Scene, Scenes

CELL, CAPTION, COLUMNS = 300, 110, 6  # pixels, pixels, cells
_CAPTION_FONT = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


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
    rows = -(-count // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * CELL, rows * (CELL + CAPTION)), "white")
    for index in range(count):
        scale = scenes.rng.uniform(1.0, 1.6)
        longer = round(side * scale)
        page = scenes.page(Scene(longer, round(longer * scenes.rng.uniform(0.65, 1.0)), scale, exact=False))
        questions = talk_about(page, scenes.rng, scenes.text.words, turns=3)
        corner = (index % COLUMNS * CELL, index // COLUMNS * (CELL + CAPTION))
        _cell(sheet, corner, page, questions)
    return sheet


def _cell(sheet: Image.Image, corner: tuple[int, int], page: Page, questions: Sequence[Question]) -> None:
    shown = page.image.copy()
    shown.thumbnail((CELL - 8, CELL - 8))
    sheet.paste(shown, (corner[0] + 4, corner[1] + 4))
    said = [f"{question.text} {question.answer!r}" for question in questions]
    lines = [line for text in said for line in textwrap.wrap(text, 50)]
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(str(_CAPTION_FONT), 10)
    draw.multiline_text((corner[0] + 4, corner[1] + CELL), "\n".join(lines[:8]), fill="black", font=font)
