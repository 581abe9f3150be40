"""Pictures side by side with a caption under each: contact sheets, and the mistakes of a model card."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

_FONT = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
_MARGIN = 4  # pixels


@dataclass(frozen=True)
class Grid:
    """Lengths in pixels, the caption's in lines."""

    columns: int
    cell: int  # side of the square a picture is fitted into
    caption: int
    letters: int  # size of the caption's
    wrap: int  # characters a caption line
    most: int  # caption lines at most


def captioned(pictures: Sequence[tuple[Image.Image, Sequence[str]]], grid: Grid) -> Image.Image:
    """Draw each picture with its caption, one string a paragraph."""
    rows = -(-len(pictures) // grid.columns)
    sheet = Image.new("RGB", (grid.columns * grid.cell, rows * (grid.cell + grid.caption)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(str(_FONT), grid.letters)
    for index, (picture, said) in enumerate(pictures):
        left = index % grid.columns * grid.cell + _MARGIN
        top = index // grid.columns * (grid.cell + grid.caption)
        shown = picture.copy()
        shown.thumbnail((grid.cell - 2 * _MARGIN, grid.cell - 2 * _MARGIN))
        sheet.paste(shown, (left, top + _MARGIN))
        lines = [line for text in said for line in textwrap.wrap(text, grid.wrap)]
        caption = "\n".join(lines[: grid.most])
        draw.multiline_text((left, top + grid.cell), caption, fill="black", font=font)
    return sheet
