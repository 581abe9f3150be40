"""Boxes of answers on pages whose glyphs are placed by hand."""

from __future__ import annotations

import pytest

pytest.importorskip("jiwer")

from PIL import Image

from vlm.evaluation.boxes import answer_boxes
from vlm.training.page import Glyph, Page


def page(*lines: tuple[str, float, float], size: tuple[int, int] = (200, 100)) -> Page:
    """Lines of letters 10 pixels apart, each from the centre of its first."""
    glyphs = [Glyph(c, x + 10 * at, y) for text, x, y in lines for at, c in enumerate(text)]
    return Page(Image.new("RGB", size), tuple(text for text, _, _ in lines), tuple(glyphs))


def test_half_a_pitch_beside_and_a_pitch_above_and_below() -> None:
    shown = page(("Total 3.50", 20, 30))
    assert answer_boxes(shown, shown.glyphs[6:]) == [(75, 20, 115, 40)]


def test_an_answer_over_two_lines_has_two_boxes() -> None:
    shown = page(("To Ann", 20, 30), ("Lee", 20, 60))
    boxes = answer_boxes(shown, (*shown.glyphs[3:6], None, *shown.glyphs[6:]))
    assert boxes == [(45, 20, 75, 40), (15, 50, 45, 70)]


def test_an_answer_that_goes_on_further_right_below_has_two_boxes() -> None:
    shown = page(("ab", 20, 30), ("cd", 100, 60))
    assert len(answer_boxes(shown, shown.glyphs)) == 2


def test_a_line_that_slopes_is_one() -> None:
    glyphs = tuple(Glyph(c, 20 + 10 * at, 30 + 1.5 * at) for at, c in enumerate("sloping"))
    shown = Page(Image.new("RGB", (200, 100)), ("sloping",), glyphs)
    assert len(answer_boxes(shown, glyphs)) == 1


def test_a_single_glyph_takes_the_pitch_around_it() -> None:
    shown = page(("No 7 is", 20, 30))
    assert answer_boxes(shown, [shown.glyphs[3]]) == [(45, 20, 55, 40)]
    alone = page(("word", 20, 30), ("7", 150, 80), ("word", 20, 95))
    ((left, top, right, bottom),) = answer_boxes(alone, [alone.glyphs[4]])
    assert right - left <= 20 and bottom - top <= 40  # not the way to the next line


def test_boxes_end_at_the_image() -> None:
    shown = page(("abc", 2, 4), size=(24, 30))
    assert answer_boxes(shown, shown.glyphs) == [(0, 0, 24, 14)]
    assert answer_boxes(shown, [None, None]) == []
