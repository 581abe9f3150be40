"""Templates that score: they survive the match, fit their page, and say what they tell."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from functools import cache

import pytest

pytest.importorskip("typst")
pytest.importorskip("pypdfium2")
pytest.importorskip("wordfreq")

from vlm.training.draft import Draft, Template
from vlm.training.page import Fact, Page
from vlm.training.questions import talk_about
from vlm.training.templates import heldout, validation
from vlm.training.templates.values import Money, Room, distinct, fit, unclear
from vlm.training.text import CHARSET, TextSampler
from vlm.training.typeset import Sheet, Typesetter
from vlm.training.wordings import ABSENT_KEYS, WORDINGS

PAGES = 8
SPLITS = {"heldout": heldout.TEMPLATES, "validation": validation.TEMPLATES}
CASES = [(split, template) for split, weighted in SPLITS.items() for _, template in weighted]
SUMMED = ("counter_slip", "sidebar_invoice", "kiosk_receipt", "lined_invoice")


@cache
def _typesetter(split: str) -> Typesetter:
    try:
        return Typesetter(split, random.Random(8))  # type: ignore[arg-type]
    except FileNotFoundError:
        pytest.skip("the fonts of `make fonts` are not installed")


@cache
def _pages(split: str, template: Template) -> list[tuple[Page | None, Draft]]:
    """Pages of one template with the drafts they were set from: small, wide and long ones."""
    typesetter = _typesetter(split)
    drafts: list[Draft] = []

    def kept(draft: Draft) -> str:
        drafts.append(draft)
        return template(draft)

    kept.__name__ = template.__name__
    pages = []
    for index in range(PAGES):
        width, height, em = ((300, 300, 20.0), (520, 400, 17.0), (240, 420, 15.0), (640, None, 14.0))[
            index % 4
        ]
        sheet = Sheet(width, height, em, (252, 252, 250), (10, 10, 10), 0.7 * em)
        pages.append(typesetter.page(kept, sheet))
    return list(zip(pages, drafts, strict=True))


@pytest.mark.parametrize(("split", "template"), CASES)
def test_pages_survive_and_fit(split: str, template: Template) -> None:
    made = _pages(split, template)
    assert sum(page is not None for page, _ in made) >= PAGES - 1
    cut = [page for page, draft in made if page is not None and _inked(page) != draft.inked]
    assert len(cut) <= 1, template.__name__


def _inked(page: Page) -> str:
    return "".join("".join(page.lines).split())


@pytest.mark.parametrize(("split", "template"), CASES)
def test_what_is_told_stands_on_the_page_and_can_be_asked(split: str, template: Template) -> None:
    for page, _ in _pages(split, template):
        if page is None:
            continue
        assert set(_inked(page)) <= set(CHARSET)
        for fact in page.facts:
            assert fact.key in WORDINGS, fact
            read = "".join(page.glyphs[index].char for index in fact.at if index is not None)
            assert not fact.at or read == "".join(fact.answer.split()), fact
        told = {fact.key for fact in page.facts}
        assert told or template.__name__ == "lines"


@pytest.mark.parametrize(("split", "template"), CASES)
def test_nothing_shown_is_said_to_be_absent(split: str, template: Template) -> None:
    """What looks like a phone number or an address must have been told as one."""
    looks = {
        "phone": r"\(\d{3}\) \d{3}-\d{4}|\+\d\d \d\d \d{3} \d{4}|\b0\d\d \d{8}\b",
        "email": r"\w@\w+\.\w",
        "website": r"www\.|https://",
        "address": r"\d+ \w+ (Street|Road|Avenue|Lane|Drive|Court|Square|Way|Row)\b",
    }
    if template.__name__ == "lines":
        return
    for page, _ in _pages(split, template):
        told = {fact.key for fact in page.facts} if page else set()
        for line in page.lines if page else ():
            for key, look in looks.items():
                assert key in told or not re.search(look, line), (key, line)
    assert set(looks) <= set(ABSENT_KEYS)


@pytest.mark.parametrize(("split", "template"), [case for case in CASES if case[1].__name__ in SUMMED])
def test_totals_are_the_sums_of_their_items(split: str, template: Template) -> None:
    checked = 0
    for page, draft in _pages(split, template):
        if page is None or _inked(page) != draft.inked:
            continue
        facts: dict[str, list[Fact]] = defaultdict(list)
        for fact in page.facts:
            facts[fact.key].append(fact)
        (total,) = facts["total"]
        assert _cents(total.answer) == sum(_cents(fact.answer) for fact in facts["price"]), page.lines
        checked += 1
    assert checked


def _cents(text: str) -> int:
    return int(re.sub(r"\D", "", text))


def test_lines_are_a_few_lines_and_can_be_asked_whole() -> None:
    for page in _lines_pages():
        assert 1 <= len(page.lines) <= 6 and not page.facts
        assert sum(map(len, page.lines)) + len(page.lines) <= 160


def _lines_pages() -> list[Page]:
    (template,) = (template for _, template in heldout.TEMPLATES if template.__name__ == "lines")
    return [page for page, _ in _pages("heldout", template) if page is not None]


def test_both_splits_have_the_kinds_asked_for() -> None:
    assert len(heldout.TEMPLATES) == 21 and len(validation.TEMPLATES) == 9
    assert not {t for _, t in heldout.TEMPLATES} & {t for _, t in validation.TEMPLATES}
    assert len({template.__name__ for _, template in CASES}) == 30


def _draft(columns: float = 20, rows: float = 20) -> Draft:
    rng = random.Random(3)
    return Draft(rng, TextSampler("heldout", rng), columns, rows)


def test_money_is_written_one_way() -> None:
    assert Money("{} €", ",", ".").full(123456) == "1.234,56 €"
    assert Money("${}", ".", "").full(123405) == "$1234.05"
    assert Money("${}", ".", ",").bare(7) == "0.07"


def test_room_is_given_once() -> None:
    room = Room(_draft(rows=15))
    assert room.take(6) and not room.take(5) and room.take(4) and not room.take(0.1)


def test_fitting_text_is_short_and_known() -> None:
    words = iter(["far too long for it", "Ж", "torn-", "fits"] * 20)
    assert fit(lambda: next(words), 4) == "fits"


def test_distinct_texts_hold_no_other() -> None:
    texts = iter(["Soup", "Tomato soup", "soup", "Bread", "Red wine", "Wine"] * 50)
    assert distinct(5, lambda: next(texts), taken=("Breadbin",)) == ["Soup", "Red wine"]


def test_what_is_unclear_is_neither_asked_nor_absent() -> None:
    draft = _draft()
    unclear(draft, *ABSENT_KEYS)
    draft.tell("date", "3 May 2020")
    facts = tuple(Fact(told.key, told.answer, told.subject) for told in draft.told)
    lines = _lines_pages()[0]
    page = Page(lines.image, lines.lines, lines.glyphs, facts)
    asked = [q for seed in range(40) for q in talk_about(page, random.Random(seed), ["zebra"], 3)]
    absent = {q.text for q in asked if q.answer == "Not in the image."}
    plain = {wording for key in ABSENT_KEYS for wording in WORDINGS[key] if "{" not in wording}
    assert not absent & plain
    assert {q.answer for q in asked}.isdisjoint({"", "?"})
