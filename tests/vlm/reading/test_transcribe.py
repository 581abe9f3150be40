"""From page to lines: nothing is lost, nothing is read twice, and what failed is said."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from drawn import Drawn, letter
from PIL import Image, ImageDraw
from scripted_pages import FakePage, TurnByTurn

from vlm.errors import OutageError, UsageError
from vlm.reading.ink import ink_of, rows_of
from vlm.reading.record import Block, Line, PageText
from vlm.reading.textlayer import TextLayer
from vlm.reading.transcribe import PageReader, ReadOptions


def read(folder: Path, page: FakePage, *turns: str, **changes: object) -> tuple[PageText, TurnByTurn]:
    engine = TurnByTurn(folder, turns=turns)
    # The stand-in has 4 soft tokens a window; at 20 letters each, a page of two lines is one tile.
    reader = PageReader(engine.vlm(), ReadOptions(**{"density": 20.0} | changes))  # type: ignore[arg-type]
    return reader.read(page), engine  # type: ignore[arg-type]


def two_lines() -> Drawn:
    return Drawn(420, 200).text(20, 40, "First line", 28).text(20, 100, "Second line", 28)


def test_lines_get_the_boxes_of_the_lines_seen(tmp_path: Path) -> None:
    page = two_lines()
    got, engine = read(tmp_path, FakePage(page.image), "First line\nSecond line")
    assert (got.file, got.number, got.width, got.height, got.sha256) == ("letter.png", 3, 420, 200, "ab" * 32)
    assert (got.source, got.error, got.attempts, got.turned, got.model) == ("model", "", 1, 0.0, "scripted")
    assert [line.text for line in got.lines] == ["First line", "Second line"]
    for line, box in zip(got.lines, page.boxes, strict=True):
        assert all(abs(found - true) <= 4 for found, true in zip(line.box, box, strict=True))
        assert line.confidence == pytest.approx(0.905, abs=0.001)
    assert got.windows and all(0 <= w.left < w.right <= 420 and w.bottom <= 200 for w in got.windows)
    assert set(engine.temperatures) == {0.0}


def test_a_sideways_page_is_read_upright_and_its_boxes_lie_on_it(tmp_path: Path) -> None:
    image = letter().image.transpose(Image.Transpose.ROTATE_270)
    got, _ = read(tmp_path, FakePage(image), "one\n" * 9)
    assert got.turned % 180 == 90.0
    boxes = [line.box for line in got.lines]
    assert all(bottom - top > 5 * (right - left) for left, top, right, bottom in boxes)  # they run down
    assert all(0 <= box[0] < box[2] <= image.width and box[3] <= image.height for box in boxes)


def test_a_loop_is_tried_again_warmer(tmp_path: Path) -> None:
    page = FakePage(two_lines().image)
    loop = "Change\n" * 40
    got, engine = read(tmp_path, page, loop, loop, "First line\nSecond line")
    assert [line.text for line in got.lines] == ["First line", "Second line"]
    assert engine.temperatures == [0.0, 0.0, 0.5]  # both ways up, then warmer
    assert got.attempts == 2 and got.error == ""


def test_the_windows_of_every_try_are_told(tmp_path: Path) -> None:
    loop = "Change\n" * 40
    engine = TurnByTurn(tmp_path, turns=(loop, loop, "First line\nSecond line"))
    reader, seen = PageReader(engine.vlm(), ReadOptions(density=20.0)), list[int]()
    reader.on_try = seen.append
    got = reader.read(FakePage(two_lines().image))  # type: ignore[arg-type]
    assert len(seen) == 3 and seen[-1] == len(got.windows)
    assert sum(seen) == len(engine.crops)


def test_what_a_page_repeats_is_no_loop(tmp_path: Path) -> None:
    page = Drawn(420, 560)
    for number in range(12):
        page.text(20, 20 + 44 * number, "0.00 EUR", 28)
    got, engine = read(tmp_path, FakePage(page.image), "\n".join(["0.00 EUR"] * 12), density=40.0)
    assert len(got.lines) == 12 and got.error == "" and engine.temperatures == [0.0]


def test_then_in_halves_and_then_it_has_failed(tmp_path: Path) -> None:
    page = FakePage(two_lines().image)
    got, engine = read(tmp_path, page, "", "", " ", "First line", "", "")
    assert [line.text for line in got.lines] == ["First line"]
    assert got.error == "1 of 2 lines could not be read" and got.source == "model"
    assert len(engine.temperatures) == 6
    failed, _ = read(tmp_path, page, "")
    assert failed.source == "failed" and failed.error == "2 of 2 lines could not be read"
    assert failed.text == "" and failed.model == "scripted"


def test_fewer_lines_than_seen_are_not_taken(tmp_path: Path) -> None:
    got, _ = read(tmp_path, FakePage(two_lines().image), "Only one", "First line", "Second line")
    assert [line.text for line in got.lines] == ["First line", "Second line"]


def test_blank_lines_do_not_stand_for_a_line_left_out(tmp_path: Path) -> None:
    page = FakePage(two_lines().image)
    got, _ = read(tmp_path, page, "Only one\n\n", "First line", "Second line")
    assert [line.text for line in got.lines] == ["First line", "Second line"]
    spaced, engine = read(tmp_path / "spaced", page, "First line\n\nSecond line")
    assert [line.text for line in spaced.lines] == ["First line", "Second line"]
    assert len(engine.temperatures) == 1


def test_an_answer_cut_off_is_no_reading(tmp_path: Path) -> None:
    got, _ = read(tmp_path, FakePage(two_lines().image), "First line\nSecond line", max_tokens=5)
    assert got.source == "failed"


def test_an_unsure_reading_is_tried_the_other_way_up(tmp_path: Path) -> None:
    engine = TurnByTurn(tmp_path, turns=("First line\nSecond line",), sure=-2.0)
    reader = PageReader(engine.vlm(), ReadOptions(density=20.0))
    assert reader.read(FakePage(two_lines().image)).turned == 0.0  # type: ignore[arg-type]
    assert len(engine.temperatures) == 2  # both ways; what was read is not read again


@pytest.mark.parametrize(("sure", "turned"), [(0.65, 0.0), (0.95, 180.0)])
def test_a_page_is_stood_on_its_head_only_if_it_reads_surely_then(
    tmp_path: Path, sure: float, turned: float
) -> None:
    loop, said = "Change\n" * 40, "First line\nSecond line"  # on its feet it loops at first
    engine = TurnByTurn(tmp_path, turns=(loop, said), sure=math.log(sure))
    reader = PageReader(engine.vlm(), ReadOptions(density=20.0))
    got = reader.read(FakePage(two_lines().image))  # type: ignore[arg-type]
    assert got.turned == turned and got.text == said


def test_far_more_lines_than_seen_are_read_again(tmp_path: Path) -> None:
    page = FakePage(two_lines().image)
    many = "\n".join(f"{number} Eggs" for number in range(8))  # never the same, so no loop
    got, engine = read(tmp_path, page, many, many, "First line\nSecond line")
    assert got.text == "First line\nSecond line" and engine.temperatures == [0.0, 0.0, 0.5]


def test_more_lines_than_seen_and_one_said_twice_are_read_again(tmp_path: Path) -> None:
    page = FakePage(two_lines().image)
    twice = "6 Eggs\n6 Eggs\nTotal"
    got, engine = read(tmp_path, page, twice, twice, "First line\nSecond line")
    assert got.text == "First line\nSecond line" and engine.temperatures == [0.0, 0.0, 0.5]
    got, engine = read(tmp_path / "two", page, "0.00\n0.00")  # as many as are seen may be the same
    assert got.text == "0.00\n0.00" and engine.temperatures == [0.0]


def test_an_empty_page_is_empty_and_no_failure(tmp_path: Path) -> None:
    got, engine = read(tmp_path, FakePage(Image.new("RGB", (300, 200), "white")), "never asked")
    assert (got.source, got.blocks, got.error) == ("model", (), "") and engine.temperatures == []


@pytest.mark.parametrize("says", ["", "Not in the image."])
def test_the_back_of_a_scan_is_empty_and_no_failure(tmp_path: Path, says: str) -> None:
    back = Image.new("RGB", (1240, 1754), "white")
    pen = ImageDraw.Draw(back)
    pen.ellipse((30, 800, 60, 830), fill="black")  # a punch hole
    pen.point((700, 400), fill="black")
    got, _ = read(tmp_path, FakePage(back), says)
    assert (got.source, got.text, got.error) == ("model", "", "")
    dust = Image.new("RGB", (1240, 1754), "white")
    dust.putpixel((300, 900), (0, 0, 0))
    got, engine = read(tmp_path / "dust", FakePage(dust), "There is no text.")
    assert (got.source, got.text) == ("model", "") and engine.temperatures == []


def test_a_page_with_words_that_stays_silent_has_failed(tmp_path: Path) -> None:
    page = Drawn(1240, 1754).text(100, 100, "Page 1", 28)
    got, _ = read(tmp_path, FakePage(page.image), "")
    assert got.source == "failed"


def test_a_server_that_is_away_is_no_page_s_fault(tmp_path: Path) -> None:
    class Away(TurnByTurn):
        def encode(self, crops):  # type: ignore[no-untyped-def]
            raise OutageError("http://x: can't be reached")

    reader = PageReader(Away(tmp_path).vlm())
    with pytest.raises(OutageError):
        reader.read(FakePage(two_lines().image))  # type: ignore[arg-type]


def test_a_picture_without_letters_is_asked_about_as_a_whole(tmp_path: Path) -> None:
    dots = Image.new("L", (2, 2), 255)
    dots.putpixel((0, 0), 0)
    image = Image.new("RGB", (600, 600), "white")
    for at in range(0, 600, 2):
        for down in range(0, 600, 2):
            image.paste(dots.convert("RGB"), (at, down))
    assert ink_of(image).any() and rows_of(ink_of(image)) == []  # a raster: more pieces than letters
    got, engine = read(tmp_path, FakePage(image), "a word")
    assert (got.text, got.source, got.error) == ("a word", "model", "") and engine.crops


def test_a_damaged_page_is_a_failed_one(tmp_path: Path) -> None:
    got, engine = read(tmp_path, FakePage(None), "never asked")
    assert (got.source, got.error, got.number) == ("failed", "letter.png: page 3 is damaged", 3)
    assert engine.temperatures == []


LAYER = TextLayer((Block((Line("typed", (1, 2, 30, 12), 1.0),)),), sound=True, why="")
BROKEN = TextLayer((), sound=False, why="no characters")


@pytest.mark.parametrize(
    ("use", "layer", "source", "text", "error"),
    [
        ("auto", LAYER, "text layer", "typed", ""),
        ("auto", BROKEN, "model", "First line\nSecond line", ""),
        ("auto", None, "model", "First line\nSecond line", ""),
        ("never", LAYER, "model", "First line\nSecond line", ""),
        ("only", LAYER, "text layer", "typed", ""),
        ("only", BROKEN, "failed", "", "no sound text layer: no characters"),
        ("only", None, "failed", "", "no sound text layer: it has none"),
    ],
)
def test_a_text_layer_is_used_as_asked(
    tmp_path: Path, use: str, layer: TextLayer | None, source: str, text: str, error: str
) -> None:
    page = FakePage(two_lines().image, layer)
    got, _ = read(tmp_path, page, "First line\nSecond line", text_layer=use)
    assert (got.source, got.text, got.error) == (source, text, error)


def test_wrong_options_are_told_at_once() -> None:
    for wrong in ({"text_layer": "maybe"}, {"policy": "best"}, {"max_tokens": 0}, {"temperatures": ()}):
        with pytest.raises(UsageError):
            ReadOptions(**wrong)  # type: ignore[arg-type]


def wide() -> Drawn:
    words = " ".join(f"word{number}" for number in range(24))
    return Drawn(2200, 140).text(20, 20, words, 24).text(20, 90, "Below it", 24)


def test_what_a_long_line_was_cut_into_is_one_line_again(tmp_path: Path) -> None:
    # The part with most letters, its last one, is read first: to see which way up the page lies.
    page = wide()
    got, engine = read(
        tmp_path, FakePage(page.image), "four", "one", "two", "three", "Below it", density=15.0
    )
    assert len(engine.temperatures) == 5
    assert [line.text for line in got.lines] == ["one two three four", "Below it"]
    assert all(abs(found - true) <= 4 for found, true in zip(got.lines[0].box, page.boxes[0], strict=True))


def test_of_a_long_line_the_lost_part_is_told_with_its_place(tmp_path: Path) -> None:
    got, _ = read(
        tmp_path,
        FakePage(wide().image),
        "four",
        "one",
        "",
        "",
        "",
        "",
        "",
        "",
        "three",
        "Below it",
        density=15.0,
    )
    assert got.error == "1 of 3 lines could not be read"
    assert [line.text for line in got.lines] == ["one three four", "Below it"]
    left, top, right, bottom = got.lost[0]
    assert 300 < left < right < 1800 and top < 50 and bottom < 70


def test_a_page_of_specks_is_asked_about_as_a_picture(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1500, 1500), dtype=np.uint8)
    got, engine = read(tmp_path, FakePage(Image.fromarray(noise).convert("RGB")), "Grain")
    assert got.text == "Grain" and len(engine.temperatures) <= 2


def test_a_page_that_can_not_be_read_is_not_asked_for_ever(tmp_path: Path) -> None:
    page = Drawn(500, 1500)
    for number in range(30):
        page.text(20, 20 + 48 * number, f"Line number {number} of some length, and then more", 20)
    got, engine = read(tmp_path, FakePage(page.image), "", density=2000.0)
    assert (got.source, got.error) == ("failed", "30 of 30 lines could not be read")
    assert len(engine.temperatures) < 60  # two tries at each tile, its halves, their halves ... are above 118
