"""Pages are cut between lines, read in order, and every box comes back."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from drawn import Drawn, letter
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm.reading.ink import Row, ink_of, rows_of
from vlm.reading.tiles import LETTER, Room, TextLine, Tile, cut_out, lines_of, scale_of, tiles_of

ROOM = Room(side=224, tokens=64)


def seen(page: Drawn) -> list[TextLine]:
    return lines_of(rows_of(ink_of(page.image)))


def test_a_receipts_prices_stand_in_their_lines() -> None:
    page = Drawn(500, 300)
    for number, price in enumerate(("6.40", "4.85", "11.95", "8.90")):
        page.text(20, 30 + 50 * number, f"Item {number}").text(400, 30 + 50 * number, price)
    lines = seen(page)
    assert [len(line.rows) for line in lines] == [2, 2, 2, 2]
    assert {line.block for line in lines} == {0}


def two_columns() -> Drawn:
    page = Drawn(1100, 460).text(60, 20, "A heading that spans the whole of both columns of it", 36)
    for number in range(6):
        page.text(60, 110 + 50 * number, f"left {number} some more words of it")
        page.text(600, 110 + 50 * number, f"right {number} other words of it")
    return page


def test_columns_are_read_one_after_the_other_and_headings_first() -> None:
    lines = seen(two_columns())
    assert [line.box[0] > 500 for line in lines] == [False] * 7 + [True] * 6
    assert lines[0].height > 1.3 * lines[1].height
    assert lines[1].block == lines[6].block != lines[7].block


def test_a_heading_over_two_columns_is_not_read_with_one_of_them() -> None:
    lines = seen(two_columns())
    for room in (ROOM, Room(side=896, tokens=256)):
        for tile in tiles_of(lines, room):
            left, top, right, bottom = tile.box
            others = [line.box for line in lines if line not in tile.lines]
            assert not any(
                x0 < right and x1 > left and top < (y0 + y1) / 2 < bottom for x0, y0, x1, y1 in others
            )


def test_a_wide_gap_begins_a_block() -> None:
    page = (
        Drawn(500, 400).text(30, 30, "one").text(30, 70, "two").text(30, 250, "three").text(30, 290, "four")
    )
    assert [line.block for line in seen(page)] == [0, 0, 1, 1]


def test_no_tile_holds_more_than_a_prompt_and_none_is_lost() -> None:
    lines = seen(letter())
    tiles = tiles_of(lines, ROOM)
    assert [line for tile in tiles for line in tile.lines] == lines
    for tile in tiles:
        assert len(tile.lines) == 1 or sum(line.letters for line in tile.lines) <= ROOM.letters
    assert len(tiles) > 1
    assert len(tiles_of(lines, Room(side=896, tokens=256, windows=13))) == 1


def test_tiles_lie_on_whole_windows_with_letters_of_the_size_read_best() -> None:
    page = letter()
    for tile in tiles_of(seen(page), ROOM):
        cut = cut_out(page.image, tile, ROOM)
        assert cut.image.width % 224 == cut.image.height % 224 == 0
        assert cut.image.width * cut.image.height <= ROOM.windows * 224 * 224
        (first, *_) = rows_of(ink_of(cut.image))
        assert first.height == pytest.approx(LETTER, abs=4)


def test_a_line_too_wide_for_a_prompt_gets_smaller_letters() -> None:
    page = Drawn(4000, 100).text(20, 30, "word " * 60, 40)
    (line,) = seen(page)
    cut = cut_out(page.image, Tile((line,)), ROOM)
    assert cut.image.size == (5 * 224, 224)


def test_small_letters_are_enlarged_so_much_and_no_more() -> None:
    small = Row((0, 0, 50, 5), 10, 5.0)
    assert scale_of([TextLine((small,))]) == 2.0


def test_letters_get_the_size_that_is_asked_for() -> None:
    page = Drawn(900, 300).text(20, 30, "Some words of a page", 40)
    large, small = (
        cut_out(page.image, Tile(tuple(seen(page))), replace(ROOM, letter=letter)) for letter in (24.0, 12.0)
    )
    (above, *_), (below, *_) = (rows_of(ink_of(cut.image)) for cut in (large, small))
    assert above.height == pytest.approx(2 * below.height, rel=0.2)


def test_halves_lose_nothing() -> None:
    (line, *others) = seen(letter())
    tile = Tile((line, *others))
    first, second = tile.halves
    assert first.lines + second.lines == tile.lines
    two = TextLine((Row((0, 0, 9, 9), 1, 9.0), Row((50, 0, 59, 9), 1, 9.0)), block=3)
    left, right = Tile((two,)).halves
    assert (left.lines[0].rows, right.lines[0].rows) == (two.rows[:1], two.rows[1:]) and left.lines[
        0
    ].block == 3
    assert Tile((TextLine(two.rows[:1]),)).halves == ()


@settings(deadline=None)
@given(st.integers(0, 700), st.integers(0, 500), st.integers(20, 190), st.integers(8, 90))
def test_a_box_on_a_tile_comes_back_to_the_page(x: int, y: int, width: int, height: int) -> None:
    page = Drawn(900, 620)
    line = TextLine((Row((x, y, x + width, y + height), 5, float(height)),))
    cut = cut_out(page.image, Tile((line,)), ROOM)
    left, top, right, bottom = cut.part
    assert left <= x and top <= y and right >= min(900, x + width) and bottom >= min(620, y + height)
    assert cut.back(cut.shown) == cut.part
    inside = cut.back((-50.0, -50.0, 5000.0, 5000.0))
    assert inside == cut.part


def long_line(words: int = 60) -> Drawn:
    return Drawn(5200, 70).text(20, 20, " ".join(f"word{number}" for number in range(words)), 24)


def test_a_line_longer_than_a_prompt_is_cut_between_words() -> None:
    page = long_line()
    (line,) = seen(page)
    tiles = tiles_of([line], ROOM)
    assert len(tiles) > 2
    parts = [tile.lines[0] for tile in tiles]
    assert all(
        len(tile.lines) == 1 and part.whole == line.box for tile, part in zip(tiles, parts, strict=True)
    )
    assert sum(part.letters for part in parts) == line.letters
    for before, after in itertools.pairwise(parts):
        assert after.box[0] - before.box[2] > 0.25 * line.height  # more than between letters
    for tile in tiles:
        assert tile.letters <= ROOM.letters
        (row,) = rows_of(ink_of(cut_out(page.image, tile, ROOM).image))
        assert row.height > 0.8 * LETTER  # nothing was shrunk to fit


def test_prices_and_items_are_parted_at_the_gap_between_them() -> None:
    page = Drawn(900, 60).text(20, 16, "A pound of butter", 24).text(780, 16, "4.85", 24)
    (line,) = seen(page)
    left, right = line.halves()
    assert len(left.rows) == len(right.rows) == 1 and right.box[0] > 700
    assert left.whole == right.whole == line.box


def test_a_short_row_is_no_clearer_in_halves() -> None:
    (line,) = seen(Drawn(300, 60).text(20, 16, "Total due", 24))
    assert Tile((line,)).halves == ()
    (long,) = seen(Drawn(900, 60).text(20, 16, "a line of text that is long enough to be cut", 24))
    assert len(Tile((long,)).halves) == 2
