"""Letters are found where they were drawn, and nothing else is taken for letters."""

from __future__ import annotations

import random

import numpy as np
import pytest
from drawn import Drawn, letter
from PIL import Image, ImageDraw, ImageFilter

from vlm.reading.ink import ink_of, rows_of


def test_each_line_is_a_row() -> None:
    page = letter()
    rows = rows_of(ink_of(page.image))
    assert len(rows) == 9
    for row, box in zip(rows, page.boxes, strict=True):
        assert all(abs(found - true) <= 3 for found, true in zip(row.box, box, strict=True)), (row.box, box)
        assert 17 <= row.height <= 24 and row.letters >= 25


@pytest.mark.parametrize(
    ("paper", "ink"), [("#203040", "#f0f0e0"), ("#ffe680", "#202020"), ("#c8c8c8", "#505050")]
)
def test_any_colours(paper: str, ink: str) -> None:
    page = Drawn(500, 120, paper, ink).text(40, 40, "Light or dark", 30)
    (row,) = rows_of(ink_of(page.image))
    assert abs(row.box[0] - page.boxes[0][0]) <= 3 and abs(row.box[2] - page.boxes[0][2]) <= 3


def test_words_far_apart_are_rows_of_their_own() -> None:
    page = Drawn(700, 100).text(30, 30, "Olive oil").text(560, 30, "8.90")
    rows = rows_of(ink_of(page.image))
    assert sorted(row.box[0] // 100 for row in rows) == [0, 5]


def test_a_headline_and_small_print_are_rows_too() -> None:
    page = Drawn(900, 700).text(60, 20, "INVOICE", 150)
    for number in range(8):
        page.text(60, 260 + 40 * number, f"Line {number} of what it is about", 20)
    rows = rows_of(ink_of(page.image))
    assert len(rows) == 9 and rows[0].height > 80
    sign = Drawn(900, 500).text(60, 40, "BREAD AND", 110).text(60, 190, "BUTTER TEA", 110)
    sign.text(600, 440, "since 1987", 26)
    assert sorted(row.height > 60 for row in rows_of(ink_of(sign.image))) == [False, True, True]


def test_rules_and_frames_are_no_letters() -> None:
    page = Drawn(600, 300).text(100, 120, "In a frame")
    draw = ImageDraw.Draw(page.image)
    draw.rectangle((40, 60, 560, 240), outline="black", width=3)
    draw.line((60, 200, 540, 200), fill="black", width=2)
    (row,) = rows_of(ink_of(page.image))
    assert abs(row.box[1] - page.boxes[0][1]) <= 3


def test_dots_belong_to_their_letters() -> None:
    page = Drawn(500, 100).text(30, 30, "i jij üiöäi jii")
    assert len(rows_of(ink_of(page.image))) == 1


def test_uneven_light_is_no_ink() -> None:
    slope = Image.linear_gradient("L").resize((500, 200)).point(lambda level: 120 + level // 2)
    page = Drawn(500, 200).text(40, 80, "In the shade")
    shaded = Image.composite(slope.convert("RGB"), page.image, page.image.convert("L"))
    (row,) = rows_of(ink_of(shaded.filter(ImageFilter.GaussianBlur(0.7))))
    assert abs(row.box[2] - page.boxes[0][2]) <= 4


def test_nothing_on_nothing() -> None:
    for size in ((1, 1), (3, 500), (300, 300)):
        ink = ink_of(Image.new("RGB", size, "white"))
        assert not ink.any() and rows_of(ink) == []


def test_noise_is_no_text_and_ends() -> None:
    noise = Image.frombytes("L", (900, 900), random.Random(1).randbytes(810_000)).convert("RGB")
    assert isinstance(rows_of(ink_of(noise)), list)
    dots = np.zeros((1000, 1000), dtype=bool)
    dots[::3, ::3] = True
    assert rows_of(dots) == []  # a raster, more pieces than any page has letters
