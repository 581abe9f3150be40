"""Office pages and signs: what they tell is what stands there, and by its own row, column or colour."""

from __future__ import annotations

import calendar
import random
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("fontTools")
pytest.importorskip("typst")
pytest.importorskip("pypdfium2")

from vlm.training.draft import Draft, Template, quoted
from vlm.training.page import Fact, Page
from vlm.training.templates import grids, office, signs
from vlm.training.templates.kit import NAMED, Desk, capitals, ems
from vlm.training.text import CHARSET, DAYS, MONTHS, TextSampler
from vlm.training.typeset import Sheet, Typesetter

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
SMALL = Sheet(width=220, height=150, em=20.0, ground=WHITE, ink=BLACK, margin=10.0)
LARGE = Sheet(width=600, height=600, em=16.0, ground=WHITE, ink=BLACK, margin=12.0)
LONG = Sheet(width=360, height=None, em=18.0, ground=(20, 24, 40), ink=WHITE, margin=12.0)
ALL = [*office.TEMPLATES, *signs.TEMPLATES]


@pytest.fixture(scope="module")
def typesetter() -> Typesetter:
    try:
        return Typesetter("train", random.Random(4))
    except FileNotFoundError:
        pytest.skip("the fonts of `make fonts` are not installed")


def pages(typesetter: Typesetter, template: Template, count: int, sheet: Sheet = LARGE) -> Iterator[Page]:
    for _ in range(count):
        page = typesetter.page(template, sheet)
        if page is not None:
            yield page


def facts_of(page: Page, key: str) -> list[Fact]:
    return [fact for fact in page.facts if fact.key == key]


def middle(page: Page, fact: Fact) -> tuple[float, float]:
    glyphs = [page.glyphs[at] for at in fact.at if at is not None]
    return float(np.mean([g.x for g in glyphs])), float(np.mean([g.y for g in glyphs]))


def place_of(page: Page, text: str) -> tuple[float, float]:
    """Middle of the first place where a text stands, line ends and spaces aside."""
    inked = [glyph for glyph in page.glyphs if glyph.char != " "]
    wanted = "".join(text.split())
    at = "".join(glyph.char for glyph in inked).index(wanted)
    found = inked[at : at + len(wanted)]
    return float(np.mean([g.x for g in found])), float(np.mean([g.y for g in found]))


@pytest.mark.parametrize("template", [t for _, t in ALL], ids=lambda t: t.__name__)
def test_pages_survive_and_answers_are_spelt_inside_the_page(
    typesetter: Typesetter, template: Template
) -> None:
    made = [page for sheet in (SMALL, LARGE, LONG) for page in pages(typesetter, template, 2, sheet)]
    assert len(made) >= 5
    assert any(page.facts for page in made)
    for page in made:
        assert set("".join(page.lines)) <= set(CHARSET)
        assert all(0 <= g.x <= page.image.width and 0 <= g.y <= page.image.height for g in page.glyphs)
        for fact in page.facts:
            spelt = "".join(" " if at is None else page.glyphs[at].char for at in fact.at)
            assert not fact.at or spelt == fact.answer


def test_weights_are_positive_and_no_template_is_listed_twice() -> None:
    assert all(weight > 0 for weight, _ in ALL)
    assert len({template for _, template in ALL}) == len(ALL)


@pytest.mark.parametrize(
    "template", [grids.table_ruled, grids.table_zebra, grids.table_headed, grids.table_open]
)
def test_a_cell_stands_in_its_row_and_column(typesetter: Typesetter, template: Template) -> None:
    seen = 0
    for page in pages(typesetter, template, 4):
        cells = facts_of(page, "cell")
        rows = [fact.subject.split(" / ")[0] for fact in cells]
        columns = [fact.subject.split(" / ")[1] for fact in cells]
        assert len({fact.subject for fact in cells}) == len(cells)
        xs = {
            name: [middle(page, f)[0] for f, c in zip(cells, columns, strict=True) if c == name]
            for name in columns
        }
        lefts = [min(xs[name]) for name in dict.fromkeys(columns)]
        rights = [max(xs[name]) for name in dict.fromkeys(columns)]
        assert all(right < left for right, left in zip(rights, lefts[1:], strict=False))
        by_row = {
            name: [middle(page, f)[1] for f, r in zip(cells, rows, strict=True) if r == name] for name in rows
        }
        assert all(max(ys) - min(ys) < 8 for ys in by_row.values())
        for row in by_row:
            if page.lines and sum(row in line for line in page.lines) == 1:
                assert abs(place_of(page, row)[1] - by_row[row][0]) < 8
                seen += 1
        for fact in facts_of(page, "row_count"):
            assert fact.answer == str(len(by_row))
    assert seen > 10


def test_a_total_is_the_sum_of_its_column() -> None:
    totalled = 0
    for seed in range(60):
        rng = random.Random(seed)
        table = grids._table(Desk(Draft(rng, TextSampler("train", rng), 30.0, 20.0)), 12)
        if table.labels[-1] != "Total":
            continue
        totalled += 1
        for column in zip(*table.cells, strict=True):
            *parts, total = (float(text.replace(",", ".")) for text in column)
            assert sum(parts) == pytest.approx(total)
    assert totalled > 3


def test_fields_are_told_by_different_labels_and_stand_after_them(typesetter: Typesetter) -> None:
    for template in (grids.form_boxes, grids.form_rows, grids.form_grid, grids.form_blanks):
        for page in pages(typesetter, template, 3):
            inked = "".join("".join(page.lines).split())
            fields = facts_of(page, "field")
            assert len({fact.subject.lower() for fact in fields}) == len(fields) > 0
            for fact in fields:
                before = "".join(glyph.char for glyph in page.glyphs[: fact.at[0]] if glyph.char != " ")
                assert before.rstrip(":").endswith("".join(fact.subject.split()))
                assert inked.startswith(before)


def test_calendar_days_stand_under_their_week_day(typesetter: Typesetter) -> None:
    for page in pages(typesetter, grids.month, 4):
        (marked,) = facts_of(page, "marked_day")
        (name,) = facts_of(page, "month")
        days = {fact.subject: fact.answer for fact in facts_of(page, "weekday")}
        assert name.answer.split()[0] in MONTHS and set(days.values()) <= set(DAYS)
        if name.answer.split()[1:]:
            year, month = int(name.answer.split()[1]), MONTHS.index(name.answer.split()[0]) + 1
            for day, told in days.items():
                assert calendar.weekday(year, month, int(day)) == DAYS.index(told)
        x, y = middle(page, marked)
        box = np.asarray(page.image)[int(y) - 14 : int(y) + 14, int(x) - 14 : int(x) + 14].reshape(-1, 3)
        grounds = [ground for pairs in NAMED.values() for ground, _ in pairs]
        assert max((box == ground).all(axis=1).sum() for ground in grounds) > 50


def test_departures_stand_beside_their_town(typesetter: Typesetter) -> None:
    for page in pages(typesetter, grids.timetable, 4):
        times = facts_of(page, "departure_of") + facts_of(page, "arrival_of")
        assert len(times) >= 2
        for fact in times:
            line = next(line for line in page.lines if line.startswith(fact.answer))
            assert fact.subject.split()[0] in line


def test_the_box_of_a_colour_has_that_colour(typesetter: Typesetter) -> None:
    seen = 0
    for page in pages(typesetter, signs.colored_boxes, 6):
        pixels = np.asarray(page.image)
        for fact in facts_of(page, "box_of"):
            if fact.subject not in NAMED:
                continue
            x, y = middle(page, fact)
            around = pixels[int(y) - 25 : int(y) + 25, int(x) - 25 : int(x) + 25].reshape(-1, 3)
            colours, counts = np.unique(around, axis=0, return_counts=True)
            top = [tuple(int(c) for c in colours[i]) for i in np.argsort(counts)[-2:]]
            assert set(top) & {ground for ground, _ in NAMED[fact.subject]}, fact
            seen += 1
        corners = {
            fact.subject: middle(page, fact) for fact in facts_of(page, "box_of") if " " in fact.subject
        }
        if corners:
            assert corners["top left"][0] < corners["top right"][0]
            assert corners["top left"][1] < corners["bottom left"][1]
    assert seen > 6


def test_ticked_entries_are_the_ones_with_a_tick_drawn_in_their_box() -> None:
    answers = set()
    for seed in range(12):
        rng = random.Random(seed)
        draft = Draft(rng, TextSampler("train", rng), 24.0, 20.0)
        _, *entries = office.checklist(draft).split("#box(width: 0.7em")
        told = {told.subject: told.answer for told in draft.told if told.key == "ticked"}
        (count,) = (told.answer for told in draft.told if told.key == "ticked_count")
        assert sum("#place" in entry for entry in entries) == int(count)
        for entry in entries:
            (subject,) = (text for text in told if quoted(text) in entry)
            answers.add(told[subject])
            assert ("#place" in entry) == (told[subject] == "Yes")
    assert answers == {"Yes", "No"}


def test_letters_of_a_sign_are_large(typesetter: Typesetter) -> None:
    for page in pages(typesetter, signs.big_words, 6):
        gaps = [b.x - a.x for a, b in zip(page.glyphs, page.glyphs[1:], strict=False) if b.x > a.x]
        assert not gaps or max(gaps) > 0.6 * LARGE.em


def test_a_desk_writes_dates_and_money_in_one_form() -> None:
    rng = random.Random(8)
    for _ in range(20):
        desk = Desk(Draft(rng, TextSampler("train", rng), 30.0, 30.0))
        signs_of_money = {
            "".join(c for c in desk.money(rng.randint(100, 99999)) if not c.isdigit()) for _ in range(9)
        }
        assert len(signs_of_money) == 1
        marks = {"".join(c for c in desk.date() if not c.isalnum()) for _ in range(9)}
        assert len(marks) == 1


def test_room_is_kept_and_characters_are_known() -> None:
    rng = random.Random(2)
    desk = Desk(Draft(rng, TextSampler("train", rng), 12.0, 8.0))
    texts = [desk.fitting(lambda: desk.title(1, 3), 7.0) for _ in range(300)]
    assert max(map(ems, texts)) <= 7.0
    assert set("".join(texts)) <= set(CHARSET)
    assert capitals("straße") == "STRASSE" and capitals("ángel") == "ángel"
    assert capitals("été") == "ÉTÉ"
