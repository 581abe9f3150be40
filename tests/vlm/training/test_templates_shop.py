"""Goods and money: the pages survive typesetting, their sums are right, their answers stand there."""

from __future__ import annotations

import random
import re

import pytest

pytest.importorskip("fontTools")
pytest.importorskip("wordfreq")
pytest.importorskip("typst")

from vlm.training.draft import Draft, Template, Told
from vlm.training.page import Page
from vlm.training.templates import receipts, shop, tickets
from vlm.training.templates.goods import GROCERIES, Money
from vlm.training.text import TextSampler
from vlm.training.typeset import Sheet, Typesetter

TEMPLATES = [template for _, template in (*shop.TEMPLATES, *tickets.TEMPLATES)]
# From a label of four short lines to a sheet; ems of the page's width and height.
ROOMS = ((8, 5), (9, 24), (20, 12), (44, 58))
SUMMED = (
    receipts.till_slip,
    receipts.two_line_slip,
    receipts.cafe_bill,
    shop.ruled_invoice,
    shop.band_invoice,
)


@pytest.fixture(scope="module")
def typesetter() -> Typesetter:
    try:
        return Typesetter("train", random.Random(11))
    except FileNotFoundError:
        pytest.skip("the fonts of `make fonts` are not installed")


def drafted(template: Template, seed: int, columns: float, rows: float) -> Draft:
    rng = random.Random(seed)
    draft = Draft(rng, TextSampler("train", rng), columns, rows)
    template(draft)
    return draft


def minor(text: str) -> int:
    """The digits of an amount: cents, as every amount of a page has as many decimals."""
    return int(re.sub(r"\D", "", text))


def told(draft: Draft, key: str) -> list[Told]:
    return [told for told in draft.told if told.key == key]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.__name__)
def test_pages_survive_and_answers_spell_their_glyphs(template: Template, typesetter: Typesetter) -> None:
    em, margin = 13.0, 6.0
    pages: list[Page] = []
    for columns, rows in (*ROOMS, *ROOMS):
        sheet = Sheet(int(columns * em + 13), int(rows * em + 13), em, (255, 255, 255), (0, 0, 0), margin)
        page = typesetter.page(template, sheet)
        pages += [page] if page is not None else []
    assert len(pages) >= 2 * len(ROOMS) - 1  # a font may lack a currency's sign
    assert sum(len(page.facts) for page in pages) >= 3 * len(pages)
    for page in pages:
        assert page.facts
        for fact in page.facts:
            at = [page.glyphs[index] for index in fact.at if index is not None]
            assert "".join(glyph.char for glyph in at) == (fact.answer.replace(" ", "") if at else "")
            assert all(0 < glyph.x < page.image.width and 0 < glyph.y < page.image.height for glyph in at)


@pytest.mark.parametrize("template", SUMMED, ids=lambda template: template.__name__)
@pytest.mark.parametrize("room", ROOMS)
def test_what_is_listed_makes_the_sums(template: Template, room: tuple[float, float]) -> None:
    for seed in range(40):
        draft = drafted(template, seed, *room)
        amounts = told(draft, "line_total")
        if not told(draft, "unit_price"):  # of one piece the amount is the price
            amounts = amounts + told(draft, "price")
        net = sum(minor(told.answer) for told in amounts)
        for subtotal in told(draft, "subtotal"):
            assert minor(subtotal.answer) == net
        (total,) = told(draft, "total")
        parts = {
            told.key: minor(told.answer) for told in draft.told if told.key in ("discount", "tax", "field")
        }
        if told(draft, "subtotal"):
            expected = net - parts.get("discount", 0)
            service = parts.get("field", 0) if template is receipts.cafe_bill else 0
            assert minor(total.answer) in (expected + service, expected + parts.get("tax", 0))
        else:
            assert minor(total.answer) == net
        units = told(draft, "unit_price")
        for unit, line in zip(units, told(draft, "line_total") if units else [], strict=True):
            (quantity,) = (told for told in told_of(draft, unit.subject) if told.key == "quantity")
            assert int(quantity.answer) * minor(unit.answer) == minor(line.answer)


def told_of(draft: Draft, subject: str) -> list[Told]:
    return [told for told in draft.told if told.subject == subject]


def test_change_is_what_was_paid_less_the_total() -> None:
    seen = 0
    for seed in range(80):
        draft = drafted(receipts.till_slip, seed, 24, 30)
        for paid, change in zip(told(draft, "paid"), told(draft, "change"), strict=True):
            (total,) = told(draft, "total")
            assert minor(paid.answer) - minor(total.answer) == minor(change.answer)
            seen += 1
    assert seen > 5


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.__name__)
def test_a_page_answers_a_question_in_one_way(template: Template) -> None:
    for seed in range(30):
        answers: dict[tuple[str, str], set[str]] = {}
        for told in drafted(template, seed, 26, 30).told:
            answers.setdefault((told.key, told.subject), set()).add(told.answer)
        assert all(len(told) == 1 for told in answers.values()), answers


def test_things_of_a_list_read_naturally_about_half_the_time() -> None:
    known = {name.casefold() for name in GROCERIES}
    drafts = [drafted(receipts.till_slip, seed, 40, 50) for seed in range(30)]
    names = [told.subject for draft in drafts for told in draft.told if told.key == "price"]
    share = sum(re.sub(r" \S*\d\S*$", "", name).casefold() in known for name in names) / len(names)
    assert 0.35 < share < 0.65


def test_amounts_are_written_as_their_country_does() -> None:
    german = Money("{} €", ",", ".", 2)
    assert german.full(123456) == "1.234,56 €"
    assert german.full(-5) == "-0,05 €"
    assert Money("${}", ".", ",", 2).full(100) == "$1.00"
    assert Money("{} kr", ",", "", 0).bare(1250) == "1250"
