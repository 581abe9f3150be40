"""Several fields of a page asked at once and answered as JSON: what a schema wants of a document.

The answer is written as the constraint writes it (compact, keys in the order they are asked), so that what
is learnt is what ``vlm read --schema`` and a ``response_format`` let through. What the page does not tell
is null.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence

from vlm.training.page import Fact, Glyph, Page, Question

ASKED = (  # the first is what ``vlm read --schema`` asks, and comes most often
    *("Give these fields as JSON: {}.",) * 6,
    "Return {} as JSON.",
    "Extract as JSON: {}.",
    "Extract the fields {} as JSON.",
    "Fill in as JSON: {}.",
    "JSON with {}.",
)
# What people call a field, where that is not the key alone; one that comes twice is drawn twice as often.
NAMES: dict[str, tuple[str, ...]] = {
    "shop": ("shop", "shop_name", "store", "store_name", "merchant", "vendor", "seller"),
    "company": ("company", "company_name", "vendor", "supplier"),
    "date": ("date", "issue_date", "day"),
    "due_date": ("due_date", "due", "payment_due"),
    "total": ("total", "total", "total", "total_amount", "amount", "amount_due", "sum", "grand_total"),
    "subtotal": ("subtotal", "sub_total", "net"),
    "tax": ("tax", "vat", "tax_amount"),
    "invoice_number": ("invoice_number", "invoice_no", "invoice_id", "number"),
    "order_number": ("order_number", "order_no", "order_id"),
    "receipt_number": ("receipt_number", "receipt_no", "receipt_id"),
    "customer_number": ("customer_number", "customer_no", "customer_id"),
    "phone": ("phone", "phone_number", "telephone", "tel"),
    "email": ("email", "email_address", "e_mail"),
    "website": ("website", "url", "web"),
    "payment": ("payment", "payment_method", "paid_by"),
    "name": ("name", "full_name", "person"),
    "job": ("job", "job_title", "position"),
    "birth_date": ("birth_date", "date_of_birth", "birthday"),
    "sender": ("sender", "from"),
    "recipient": ("recipient", "to", "addressee"),
    "subject_line": ("subject",),
    "item_count": ("item_count", "items", "number_of_items"),
    "expiry": ("expiry", "expiry_date", "best_before"),
    "signed_by": ("signed_by", "signature"),
    "only_price": ("price",),
    "from": ("from", "origin"),
    "to": ("to", "destination"),
    "train": ("train", "train_number"),
    "flight": ("flight", "flight_number"),
}
# Facts whose key says enough to be a field's name; others are asked in words only.
PLAIN = frozenset({
    *NAMES, "address", "time", "discount", "paid", "change", "table", "cashier", "city", "country", "title",
    "heading", "gate", "seat", "platform", "departure", "arrival", "weight", "ingredients", "size", "code",
    "room", "opening_hours", "event", "place", "warning", "fine", "speed_limit", "street", "item", "plate",
    "old_price", "note", "status", "author", "quote", "product", "boarding", "admission", "month",
})  # fmt: skip
NULLS = 0.35  # chance that a field is asked that the page does not tell
CAMEL = 0.12  # chance that names are written invoiceNumber
MOST = 5  # fields told
UNQUOTED = 0.4  # chance that amounts and counts are written as a schema with "number" wants them
COUNTED = frozenset({
    "total", "subtotal", "tax", "discount", "paid", "change", "only_price", "old_price", "fine", "admission",
    "item_count",
})  # fmt: skip
_AMOUNT = re.compile(r"(?:[^\d.,-]+)?(-?(?:0|[1-9]\d*)(?:[.,]\d\d)?)(?:[^\d.,-]+)?")  # and its currency


def fields_question(
    page: Page, facts: Sequence[Fact], missing: Sequence[str], rng: random.Random, longest: int
) -> Question | None:
    """Ask for some fields of a page as JSON; None where it tells fewer than two or they are too long.

    Args:
        page: whose glyphs the facts point to.
        facts: what it tells unambiguously.
        missing: keys it does not tell.
        rng: source of chance.
        longest: characters of an answer at most.
    """
    told = [
        (fact, name) for fact in facts if (name := _name(fact, rng)) is not None and _is_plain(fact.answer)
    ]
    rng.shuffle(told)
    if len(told) < 2:
        return None
    told = told[: rng.randint(2, MOST)]
    fields: list[tuple[str, Fact | None]] = [(name, fact) for fact, name in told]
    if missing and rng.random() < NULLS:
        key = rng.choice(missing)
        fields.insert(rng.randint(0, len(fields)), (rng.choice(NAMES.get(key, (key,))), None))
    if rng.random() < CAMEL:
        fields = [(_camel(name), fact) for name, fact in fields]
    names = [name for name, _ in fields]
    answer, sources = _written(page, fields, rng.random() < UNQUOTED)
    if len(set(names)) < len(names) or len(answer) > longest:
        return None
    return Question(rng.choice(ASKED).format(", ".join(names)), answer, tuple(sources))


def _name(fact: Fact, rng: random.Random) -> str | None:
    """What a fact is called as a field; a form's label as it is printed or as a program would name it."""
    if fact.key == "field" and fact.subject:
        name = re.sub(r"\W+", "_", fact.subject.lower()).strip("_")
        return (name if rng.random() < 0.7 else fact.subject) if name and name.isascii() else None
    if fact.subject or fact.key not in PLAIN:
        return None
    return rng.choice(NAMES.get(fact.key, (fact.key,)))


def _is_plain(answer: str) -> bool:
    """Whether JSON writes a string as it is."""
    return json.dumps(answer, ensure_ascii=False) == f'"{answer}"'


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _written(
    page: Page, fields: Sequence[tuple[str, Fact | None]], unquoted: bool
) -> tuple[str, list[Glyph | None]]:
    """The JSON, and the glyph each of its characters was read from."""
    text = ""
    sources: list[Glyph | None] = []
    for name, fact in fields:
        before = ("," if text else "{") + json.dumps(name, ensure_ascii=False) + ":"
        value, glyphs = ("null", [None] * 4) if fact is None else _value(page, fact, unquoted)
        text += before + value
        sources += [*(None for _ in before), *glyphs]
    return text + "}", [*sources, None]


def _value(page: Page, fact: Fact, unquoted: bool) -> tuple[str, Sequence[Glyph | None]]:
    """A fact in quotes, or an amount as JSON writes numbers: without its currency, with a point."""
    at = fact.at or (None,) * len(fact.answer)
    glyphs = [None if index is None else page.glyphs[index] for index in at]
    amount = _AMOUNT.fullmatch(fact.answer) if unquoted and fact.key in COUNTED else None
    if amount is None:
        return f'"{fact.answer}"', [None, *glyphs, None]
    return amount[1].replace(",", "."), glyphs[slice(*amount.span(1))]
