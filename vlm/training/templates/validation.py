"""Documents that training is watched on: neither those it learns from nor those that score at the end.

Plainer than the held-out ones: labels in a column of their own, items before their prices, one
arrangement each.
"""

from __future__ import annotations

from collections.abc import Callable

from vlm.training.draft import Draft, Template
from vlm.training.templates.values import (
    CHARACTERS,
    GAP,
    Calendar,
    Money,
    Room,
    after,
    counted,
    distinct,
    email,
    firm,
    fit,
    goods,
    labelled,
    number,
    person,
    phone,
    rule,
    sentence,
    shade,
    sized,
    some_day,
    some_hour,
    street,
    stroke,
    tight,
    town,
    website,
)


def kiosk_receipt(draft: Draft) -> str:
    """A receipt of numbered goods under a framed name, with tax taken out of the sum below."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    money, calendar = Money.drawn(draft), Calendar.drawn(rng)
    parts = [tight(rng)]
    room.take(1.8)
    count = room.many(1.1, 14, 0.7)
    if room.take(2.2, 0.8):
        name = draft.tell("shop", firm(draft, wide - 1.5))
        parts.append(f"#rect(width: 100%, stroke: {stroke(rng)}, inset: 0.4em)[#align(center)[*{name}*]]\n\n")
    taxed, dated, paid = room.take(1.2, 0.5), room.take(1.2, 0.6), room.take(1.2, 0.4)
    names = distinct(count, lambda: goods(draft, wide - 8))
    cents = [rng.randint(20, 4500) for _ in names]
    cells = []
    for index, (name, price) in enumerate(zip(names, cents, strict=True), 1):
        mark, put = draft.put(f"{index:02}"), draft.put(name)
        cells.append(f"[{mark}], [{put}], [{draft.tell('price', money.bare(price), name)}]")
    parts.append(
        f"#grid(columns: (auto, 1fr, auto), column-gutter: 0.5em, "
        f"row-gutter: {rng.uniform(0.5, 0.75):.2f}em, "
        f"{', '.join(cells)})\n{rule(rng)}"
    )
    counted(draft, "item_count", str(len(names)))
    label, value = labelled(draft, "TOTAL", "total", money.full(sum(cents)))
    parts.append(f"*{label}{GAP}{value}*\n\n")
    if taxed:
        tax = money.bare(round(sum(cents) * rng.choice((0.05, 0.07, 0.16))))
        label, value = labelled(draft, "of which tax" if wide > 15 else "tax", "tax", tax)
        parts.append(f"{label}{GAP}{value}\n\n")
    if paid:
        parts.append(
            draft.tell("payment", rng.choice(("Cash", "Card", "Credit card", "Debit card"))) + "\n\n"
        )
    if dated:
        day = draft.tell("date", calendar.day(some_day(rng)))
        hour = draft.tell("time", calendar.hour(some_hour(rng))) if wide > 16 else ""
        parts.append(f"{day} {hour}\n\n")
    return "".join(parts)


def lined_invoice(draft: Draft) -> str:
    """An invoice whose particulars are two columns of labels and values over a ruled list."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    money, calendar = Money.drawn(draft), Calendar.drawn(rng)
    day = some_day(rng)
    room.take(2.4)
    count = room.many(1.5, 10, 0.6)
    parts = [tight(rng)]
    if room.take(1.9, 0.8):
        parts.append(sized(draft.tell("company", firm(draft, wide / 1.4)), 1.3, True) + "\n\n")
    ems = wide - 6.5
    facts = (
        ("Number", "invoice_number", number(draft)),
        ("Date", "date", calendar.day(day)),
        ("Due by", "due_date", calendar.day(after(day, 30))),
        ("Order", "order_number", number(draft)),
        ("To", "recipient", person(draft, ems)),
    )
    rows: list[str] = []
    for label, key, value in facts:
        if len(value) <= ems * CHARACTERS and room.take(1.2, 0.75):
            set_label, set_value = labelled(draft, label, key, value)
            rows.append(f"[{set_label}], [{set_value}]")
    if rows:
        parts.append(f"#grid(columns: (5em, 1fr), row-gutter: 0.6em, {', '.join(rows)})\n")
    names = distinct(count, lambda: goods(draft, wide - 7))
    cents = [rng.randint(100, 90000) for _ in names]
    cells = [
        f"[{draft.put(name)}], [{draft.tell('price', money.bare(price), name)}]"
        for name, price in zip(names, cents, strict=True)
    ]
    label, value = labelled(draft, "Total" if wide > 10 else "Sum", "total", money.full(sum(cents)))
    cells.append(f"[*{label}*], [*{value}*]")
    parts.append(
        f"#table(columns: (1fr, auto), align: (left, right), inset: (x: 0.2em, y: 0.35em), "
        f"stroke: (x, y) => (top: {stroke(rng)}), {', '.join(cells)})\n"
    )
    return "".join(parts)


def ruled_form(draft: Draft) -> str:
    """A form of two columns: what is asked at the left in bold, the entry at the right over a rule."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    calendar = Calendar.drawn(rng)
    parts = []
    if room.take(2.2, 0.6):
        parts.append(sized(draft.tell("title", goods(draft, wide / 1.3)), 1.2, True) + "\n\n")
    side = wide > 12
    ems = wide - 7.2 if side else wide - 0.5
    born = some_day(rng, 1945, 2010)
    entries = [
        ("Person", "name", person(draft, ems)), ("Birthday", "birth_date", calendar.day(born)),
        ("Phone", "phone", phone(draft)), ("E-mail", "email", email(draft, ems)),
        ("City", "city", town(draft, ems)), ("Street", "address", fit(draft.text.address, ems)),
        ("File no.", "field", number(draft)), ("Reason", "field", goods(draft, ems)),
        ("Doctor", "field", town(draft, ems)), ("School", "field", goods(draft, ems)),
        ("Grade", "field", str(rng.randint(1, 13))), ("Club", "field", firm(draft, ems)),
        ("Colour", "field", rng.choice(("red", "white", "black", "silver"))),
    ]  # fmt: skip
    rng.shuffle(entries)
    rows = []
    for label, key, value in entries[: room.many(1.6 if side else 2.8, len(entries))]:
        set_label, set_value = labelled(draft, label, key, value, label if key == "field" else "")
        rows.append(f"[*{set_label}*], grid.cell(stroke: (bottom: {stroke(rng)}))[{set_value}]")
    parts.append(
        f"#grid(columns: ({'5.6em, 1fr' if side else '1fr'},), inset: (y: 0.3em, x: 0.1em), "
        f"column-gutter: 0.6em, {', '.join(rows)})\n"
    )
    return "".join(parts)


def boxed_table(draft: Draft) -> str:
    """A table with a box around every cell and a filled head."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    share = "auto" if wide < 12 else "1fr"
    across = max(1, min(4, int((wide - 6) / 5)))
    ems = (wide - 6) / across - 0.8
    columns = distinct(across, lambda: fit(lambda: draft.text.word().capitalize(), max(2.5, ems)))
    down = max(1, int(room.lines / 1.25 - 1.2))
    names = distinct(rng.randint(1, min(10, down)), lambda: town(draft, min(4.6, wide - 4.5)), tuple(columns))
    fill, ink = shade(rng)
    money = Money.drawn(draft)
    kinds: tuple[Callable[[], str], ...] = (
        lambda: str(rng.randint(1, 500)),
        lambda: money.bare(rng.randint(10, 9999)),
    )
    make = kinds[0] if wide < 12 else rng.choice(kinds)
    cells = ["[]", *(f"[#set text(fill: {ink}); {draft.put(column)}]" for column in columns)]
    for name in names:
        cells.append(f"[{draft.put(name)}]")
        cells += [f"[{draft.tell('cell', make(), f'{name} / {column}')}]" for column in columns]
    return (
        f"#table(columns: (auto,) + ({share},) * {len(columns)}, stroke: 0.8pt + luma(120), inset: 0.35em, "
        f"fill: (x, y) => if y == 0 {{ {fill} }}, {', '.join(cells)})\n"
    )


def plain_card(draft: Draft) -> str:
    """A business card set on its middle, the name between two rules."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    room.take(2.8)
    parts = []
    if room.take(1.5, 0.6):
        parts.append(draft.tell("company", firm(draft, wide)))
    parts.append(rule(rng) + sized(draft.tell("name", person(draft, wide / 1.25)), 1.2, True))
    if room.take(1.5, 0.7):
        parts.append(f"_{draft.tell('job', goods(draft, wide))}_")
    parts[-1] += "\n" + rule(rng)
    if room.take(1.5, 0.7):
        parts.append(draft.tell("phone", phone(draft)))
    if room.take(1.5, 0.6):
        parts.append(draft.tell("email", email(draft, wide)))
    if room.take(1.5, 0.5):
        parts.append(draft.tell("website", website(draft, wide)))
    inside = "\n\n".join(parts)
    return f"#align(center)[{inside}]\n"


def way_sign(draft: Draft) -> str:
    """A sign that shows a way or forbids: two sizes of type on one colour."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    room.take(2.6)
    fill, ink = shade(rng)
    size = min(1.8, max(1.0, wide / 12))
    parts = [sized(draft.tell("heading", fit(draft.text.capitals, (wide - 1.6) / size / 1.1)), size, True)]
    if room.take(room.text(30), 0.7):
        parts.append(draft.tell("warning", sentence(draft, rng.randint(2, 4))))
    if room.take(1.4, 0.5):
        label, value = labelled(draft, "Room", "room", draft.text.fill(rng.choice(("##", "###", "@##"))))
        parts.append(f"{label} *{value}*")
    if room.take(1.4, 0.4):
        parts.append(draft.tell("phone", phone(draft)))
    inside = "\n\n".join(parts)
    return f"#block(width: 100%, fill: {fill}, inset: 0.7em)[#set text(fill: {ink})\n{inside}]\n"


def pass_ticket(draft: Draft) -> str:
    """A ticket of one column: a bar with the event, then a label and its value a line."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    calendar, money = Calendar.drawn(rng), Money.drawn(draft)
    room.take(2.4)
    fill, ink = shade(rng)
    event = sized(draft.tell("event", goods(draft, wide / 1.3)), 1.15, True)
    parts = [
        tight(rng),
        f"#block(width: 100%, fill: {fill}, inset: 0.5em)[#set text(fill: {ink})\n{event}]\n",
    ]
    facts = [
        ("Day", "date", calendar.day(some_day(rng))), ("Time", "time", calendar.hour(some_hour(rng))),
        ("Hall", "place", town(draft, wide - 4)), ("Seat no.", "seat", draft.text.fill("@##")),
        ("Gate", "gate", draft.text.fill("##")), ("Cost", "total", money.full(rng.randint(10, 200) * 50)),
        ("Code", "code", number(draft)), ("Guest", "name", person(draft, wide - 4)),
    ]  # fmt: skip
    rng.shuffle(facts)
    for label, key, value in facts:
        if room.take(1.2, 0.8):
            set_label, set_value = labelled(draft, label, key, value)
            parts.append(f"{set_label}{GAP}*{set_value}*\n\n")
    return "".join(parts)


def sided_menu(draft: Draft) -> str:
    """A menu under one heading, dishes at the left and prices at the right in columns."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    money = Money.drawn(draft)
    parts = []
    count = room.many(1.2, 14, 0.8)
    if room.take(2.2, 0.8):
        parts.append(sized(draft.tell("title", goods(draft, wide / 1.4)), 1.35, True) + "\n\n" + rule(rng))
    names = distinct(count, lambda: goods(draft, wide - 8))
    cells = []
    for name in names:
        put = draft.put(name)
        cells.append(f"[{put}], [{draft.tell('price', money.full(rng.randint(4, 90) * 25), name)}]")
    counted(draft, "item_count", str(len(names)))
    parts.append(
        f"#grid(columns: (1fr, auto), align: (left, right), column-gutter: 0.6em, "
        f"row-gutter: {rng.uniform(0.55, 0.9):.2f}em, {', '.join(cells)})\n"
    )
    return "".join(parts)


def headed_letter(draft: Draft) -> str:
    """A letter under its sender's name and address, dated at the right."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    calendar = Calendar.drawn(rng)
    parts = [tight(rng)]
    room.take(3.0)
    words = rng.randint(4, 9) if room.take(room.text(70), 0.9) else 0
    if room.take(1.4, 0.8):
        parts.append(f"*{draft.tell('company', firm(draft, wide))}*")
    if room.take(room.text(28), 0.5):
        parts.append(draft.tell("address", street(draft, wide * 1.3)))
    if room.take(1.2, 0.7):
        parts.append(f"#align(right)[{draft.tell('date', calendar.day(some_day(rng)))}]")
    dear = draft.put("Dear")
    parts.append(f"{dear} {draft.tell('recipient', person(draft, wide - 3))}{draft.put(',')}")
    if words:
        parts.append(draft.put(sentence(draft, words)))
    while room.take(room.text(110) + 0.3, 0.6):
        parts.append(draft.put(sentence(draft, rng.randint(5, 13))))
    parts.append(draft.put(rng.choice(("Sincerely,", "Regards,", "Many thanks,"))))
    parts.append(draft.tell("signed_by", person(draft, wide)))
    return "\n\n".join(parts)


TEMPLATES: tuple[tuple[float, Template], ...] = (
    (1.2, kiosk_receipt),
    (1.0, lined_invoice),
    (1.0, ruled_form),
    (1.0, boxed_table),
    (0.8, plain_card),
    (0.8, way_sign),
    (0.9, pass_ticket),
    (1.0, sided_menu),
    (0.9, headed_letter),
)
