"""What a phone does to a page: letters go where their ink goes, and nothing is chance but the seed."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from vlm.evaluation.phone import DARKEST, LARGEST_TILT, LARGEST_TURN, photographed
from vlm.training.page import Fact, Glyph, Page

AT = tuple((30 + 28 * column, 30 + 45 * row) for row in range(3) for column in range(6))


def dotted() -> Page:
    image = Image.new("RGB", (200, 150), "white")
    draw = ImageDraw.Draw(image)
    for x, y in AT:
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill="black")
    glyphs = tuple(Glyph(chr(97 + n), x, y) for n, (x, y) in enumerate(AT))
    return Page(image, ("dots",), glyphs, (Fact("total", "a", at=(0,)),))


@pytest.mark.parametrize("seed", range(12))
def test_letters_lie_where_their_ink_went(seed: int) -> None:
    page = photographed(dotted(), random.Random(seed))
    pixels = np.asarray(page.image.convert("L"), dtype=float)
    for glyph in page.glyphs:
        x, y = round(glyph.x), round(glyph.y)
        near = pixels[y - 9 : y + 10, x - 9 : x + 10]
        ink = np.clip(near.max() - near - 40, 0, None)
        rows, columns = np.mgrid[-9:10, -9:10]
        assert abs((ink * columns).sum() / ink.sum()) < 1.5 and abs((ink * rows).sum() / ink.sum()) < 1.5


def test_what_stands_there_stays() -> None:
    before = dotted()
    after = photographed(before, random.Random(3))
    assert (after.lines, after.facts) == (before.lines, before.facts)
    assert [glyph.char for glyph in after.glyphs] == [glyph.char for glyph in before.glyphs]


def test_the_same_seed_is_the_same_picture() -> None:
    first, second, other = (photographed(dotted(), random.Random(seed)) for seed in (1, 1, 2))
    assert first.image.tobytes() == second.image.tobytes() and first.glyphs == second.glyphs
    assert first.image.tobytes() != other.image.tobytes()


def test_wear_keeps_its_bounds() -> None:
    for seed in range(30):
        page = photographed(dotted(), random.Random(seed))
        a, b = page.glyphs[0], page.glyphs[5]
        # Lines turn by the turn, and by what the tilt adds as seen from the side.
        assert abs(math.degrees(math.atan2(b.y - a.y, b.x - a.x))) < LARGEST_TURN + LARGEST_TILT / 2
        assert 0.9 < math.hypot(b.x - a.x, b.y - a.y) / 140 < 1.1  # letters keep their size
        middle = np.asarray(page.image.convert("L"))[20:-20, 20:-20]
        assert np.percentile(middle, 90) > 255 * DARKEST * 0.9


def test_a_page_without_known_letters_is_worn_too() -> None:
    bare = Page(Image.new("RGB", (120, 90), "white"), (), ())
    assert photographed(bare, random.Random(1)).glyphs == ()
