"""Worn pages keep their truth: glyphs stand where their ink went, and the ink can still be seen."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from vlm.training import degrade as worn
from vlm.training.degrade import degrade
from vlm.training.page import Fact, Glyph, Mark, Page


def _dotted(width: int, height: int) -> Page:
    """White paper with black dots of 9 pixels, a glyph at the middle of each."""
    image = Image.new("RGB", (width, height), (250, 250, 250))
    draw = ImageDraw.Draw(image)
    glyphs = []
    for y in range(20, height - 15, 40):
        for x in range(20, width - 15, 40):
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=(0, 0, 0))
            glyphs.append(Glyph("o", x + 0.5, y + 0.5))
    return Page(image, ("o" * len(glyphs),), tuple(glyphs), (Fact("count", str(len(glyphs)), "dots"),))


def _centre_of_ink(image: Image.Image, glyph: Glyph) -> tuple[float, float]:
    """Mean place of what is darker than its surroundings within 12 pixels of a glyph."""
    left, top = int(glyph.x) - 12, int(glyph.y) - 12
    near = np.asarray(image.convert("L"), dtype=float)[max(0, top) : top + 25, max(0, left) : left + 25]
    ink = np.clip(np.median(near) - near - 40, 0, None)
    assert ink.sum() > 0
    down, across = np.mgrid[: near.shape[0], : near.shape[1]] + 0.5
    return (across * ink).sum() / ink.sum() + max(0, left), (down * ink).sum() / ink.sum() + max(0, top)


@pytest.mark.parametrize("size", [(300, 300), (240, 700), (640, 200)])
def test_glyphs_follow_the_ink(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worn, "_relight", lambda image, contrast, wear: image)
    monkeypatch.setattr(worn, "_on_table", lambda paper, bend, wear: paper)
    page = _dotted(*size)
    farthest = 0.0
    for seed in range(12):
        moved = degrade(page, random.Random(seed))
        for before, after in zip(page.glyphs, moved.glyphs, strict=True):
            x, y = _centre_of_ink(moved.image, after)
            assert abs(x - after.x) < 1.5 and abs(y - after.y) < 1.5, (seed, before, after, (x, y))
            farthest = max(farthest, abs(after.x - before.x), abs(after.y - before.y))
    assert farthest > 10


@pytest.mark.parametrize("axis", [0, 1])
def test_the_way_back_from_a_picture_is_the_way_there(axis: int) -> None:
    view = worn._view(
        np.array([(0, 0), (300, 0), (300, 200), (0, 200)], dtype=float),
        np.array([(12, 9), (280, 20), (290, 190), (5, 180)], dtype=float),
    )
    bend = worn._Bend((300, 200), axis, wave=4.0, waves=1.0, phase=0.3, curl=0.03, view=view)
    points = np.random.default_rng(0).uniform((5, 5), (295, 195), (200, 2))
    assert np.abs(bend.to_page(bend.to_picture(points)) - points).max() < 0.02
    assert np.abs(bend.to_picture(points) - points).max() > 5


def test_every_glyph_stays_in_the_picture() -> None:
    corners = tuple(Glyph("o", x, y) for x in (1.0, 299.0) for y in (1.0, 399.0))
    page = Page(Image.new("RGB", (300, 400), "white"), ("oooo",), corners)
    for seed in range(60):
        for glyph in degrade(page, random.Random(seed)).glyphs:
            assert 0 <= glyph.x <= 300 and 0 <= glyph.y <= 400, seed


def test_size_lines_and_facts_are_kept() -> None:
    page = _dotted(310, 170)
    for seed in range(20):
        after = degrade(page, random.Random(seed))
        assert after.image.size == page.image.size and after.image.mode == "RGB"
        assert after.lines == page.lines and after.facts == page.facts
        assert [glyph.char for glyph in after.glyphs] == [glyph.char for glyph in page.glyphs]


def test_a_seed_means_the_same_and_another_does_not() -> None:
    page = _dotted(200, 200)
    images = [degrade(page, random.Random(seed)).image.tobytes() for seed in (4, 4, 5)]
    assert images[0] == images[1] != images[2]


def test_strength_scales_the_wear() -> None:
    page = _dotted(240, 240)
    clean = np.asarray(page.image, dtype=float)

    def change(strength: float) -> float:
        images = [degrade(page, random.Random(seed), strength).image for seed in range(25)]
        return float(np.mean([np.abs(np.asarray(image, dtype=float) - clean).mean() for image in images]))

    assert degrade(page, random.Random(1), 0.0) is page
    assert 0 < change(0.2) < change(1.0)


def test_ink_is_still_darker_than_its_paper() -> None:
    page = _dotted(300, 300)
    for seed in range(40):
        after = degrade(page, random.Random(seed))
        grey = np.asarray(after.image.convert("L"), dtype=float)
        for glyph in after.glyphs:
            x, y = int(glyph.x), int(glyph.y)
            ring = grey[max(0, y - 10) : y + 11, max(0, x - 10) : x + 11]
            assert np.median(ring) - grey[y - 1 : y + 2, x - 1 : x + 2].mean() > 15, seed


def test_a_page_without_glyphs_is_worn_too() -> None:
    page = Page(Image.new("RGB", (150, 100), (200, 30, 30)), (), (), (Fact("color", "red", "circle"),))
    assert degrade(page, random.Random(2)).facts == page.facts


def test_a_shape_is_followed_as_a_glyph_is() -> None:
    image = Image.new("RGB", (200, 200), "white")
    page = Page(image, ("a",), (Glyph("a", 60.0, 50.0),), (), (Mark("red", "star", 60.0, 50.0, 9, 9),))
    moved = 0
    for seed in range(20):
        tired = degrade(page, random.Random(seed), 1.0)
        (glyph,), (mark,) = tired.glyphs, tired.marks
        assert (mark.x, mark.y) == (glyph.x, glyph.y)
        moved += (mark.x, mark.y) != (60.0, 50.0)
    assert moved > 5
