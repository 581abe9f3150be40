"""Documents that only score: arranged and labelled otherwise than those of training.

Prices before goods, the sum before the items, the sender at the foot, labels inside boxes, tables
without rules: what the world does as well, so that a score says how documents are read and not how
templates are known.
"""

from __future__ import annotations

from collections.abc import Callable

from vlm.training.draft import Draft, Template
from vlm.training.templates.heldout_plates import PLATES
from vlm.training.templates.values import (
    CHARACTERS,
    GAP,
    Calendar,
    Money,
    Room,
    after,
    band,
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


def counter_slip(draft: Draft) -> str:
    """A slip that opens with the sum, sets prices before goods, and names its shop at the foot."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    money, calendar = Money.drawn(draft), Calendar.drawn(rng)
    room.take(2.2)
    count = room.many(1.0, 16, 0.7)
    signed, dated, paid = room.take(1.6, 0.85), room.take(1.0, 0.75), room.take(1.0, 0.6)
    placed, called = room.take(room.text(30) + 0.2, 0.6), room.take(1.0, 0.5)
    names = distinct(count, lambda: goods(draft, wide - 6.5))
    cents = [rng.randint(40, 6000) for _ in names]
    label = rng.choice(
        ("TO PAY", "Sum", "BALANCE", "You pay", "Amount due", "Grand total")[: 6 if wide > 15 else 3]
    )
    head = f"{draft.put(label)}{GAP}{sized(draft.tell('total', money.full(sum(cents))), 1.2, True)}"
    parts = [tight(rng), band(head, rng) if draft.chance(0.5) else head + "\n\n" + rule(rng)]
    if dated:
        day = draft.tell("date", calendar.day(some_day(rng)))
        hour = draft.tell("time", calendar.hour(some_hour(rng))) if wide > 14 else ""
        parts.append(f"{day}{GAP}{hour}\n\n")
    cells = [
        f"[{draft.tell('price', money.bare(price), name)}], [{draft.put(name)}]"
        for name, price in zip(names, cents, strict=True)
    ]
    parts.append(
        f"#grid(columns: (auto, 1fr), align: (right, left), column-gutter: 1em, "
        f"row-gutter: {rng.uniform(0.5, 0.8):.2f}em, {', '.join(cells)})\n"
    )
    counted(draft, "item_count", str(len(names)))
    if paid:
        before = rng.choice(("settled by", "paid with", "Tender:", "Paid by"))
        way = rng.choice(("card", "cash", "Visa", "Mastercard", "voucher", "gift card"))
        parts.append(f"{draft.put(before)} {draft.tell('payment', way)}\n\n")
    foot = []
    if signed:
        foot.append(sized(draft.tell("shop", firm(draft, wide / 1.3)), 1.15, True))
    if placed:
        foot.append(draft.tell("address", street(draft, wide * 1.4)))
    if called:
        foot.append(draft.tell("phone", phone(draft)))
    if foot:
        lines = " \\\n".join(foot)
        parts.append(f"{rule(rng)}#align({rng.choice(('left', 'center', 'right'))})[{lines}]\n")
    return "".join(parts)


def stall_receipt(draft: Draft) -> str:
    """A receipt whose goods stand over their count and sum, with what was handed over in a box."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    money, calendar = Money.drawn(draft), Calendar.drawn(rng)
    parts = [tight(rng)]
    room.take(2.0)
    count = room.many(2.0, 9, 0.7)
    if room.take(1.8, 0.9):
        parts.append(band(sized(draft.tell("shop", firm(draft, wide / 1.5)), 1.25, True), rng))
    if room.take(1.0, 0.6):
        slip = rng.choice(("Slip", "Ticket", "Bon", "Receipt #", "Docket"))
        label, value = labelled(draft, slip, "receipt_number", number(draft))
        parts.append(f"{label} {value}\n\n")
    if room.take(1.0, 0.5):
        server = rng.choice(("Served by", "Your host:", "Till operator", "Clerk")) if wide > 17 else "Clerk"
        label, value = labelled(draft, server, "cashier", town(draft, wide - len(server) / CHARACTERS - 1))
        parts.append(f"{label} {value}\n\n")
    changed = wide > 11 and room.take(2.8, 0.5)
    dated, lowered = room.take(1.0, 0.6), room.take(2.0, 0.4)
    cents: list[int] = []
    rows: list[str] = []
    for name in distinct(count, lambda: goods(draft, wide)):
        quantity, each = rng.choice((1, 1, 2, 3, 4, 6)), rng.randint(30, 3000)
        cents.append(quantity * each)
        set_name = draft.put(name)
        if quantity == 1:
            left, right = "", draft.tell("price", money.bare(each), name)
        else:
            left = draft.tell("quantity", str(quantity), name) + " " + draft.put(f"× {money.bare(each)}")
            right = draft.put(money.bare(quantity * each))
        rows.append(f"[{set_name}], [{left}{GAP}{right}]")
    parts.append(f"#stack(spacing: {rng.uniform(0.5, 0.75):.2f}em, {', '.join(rows)})\n{rule(rng)}")
    total = sum(cents)
    if lowered:
        label, value = labelled(
            draft, "Before discount" if wide > 17 else "Sub-total", "subtotal", money.bare(total)
        )
        parts.append(f"{label}{GAP}{value}\n\n")
        off = rng.randint(1, total // 3 + 1)
        total -= off
        label, value = labelled(
            draft, rng.choice(("Rebate", "Discount", "You save")), "discount", money.bare(off)
        )
        parts.append(f"{label}{GAP}{value}\n\n")
    word = rng.choice(("Sum total", "Final amount", "Total to pay", "Balance")) if wide > 18 else "Sum"
    label, value = labelled(draft, word, "total", money.full(total))
    parts.append(f"*{label}{GAP}{value}*\n\n")
    if changed:
        handed = -(-total // 500) * 500 + rng.choice((0, 500, 1000))
        first = labelled(draft, rng.choice(("Cash in", "Received", "Given")), "paid", money.bare(handed))
        second = labelled(
            draft, rng.choice(("Change back", "Change", "Your change")), "change", money.bare(handed - total)
        )
        inside = f"{first[0]}{GAP}{first[1]} \\\n {second[0]}{GAP}{second[1]}"
        parts.append(f"#block(width: 100%, inset: 0.4em, stroke: {stroke(rng)})[{inside}]\n")
    if dated:
        parts.append(f"#align(right)[{draft.tell('date', calendar.day(some_day(rng)))}]\n")
    return "".join(parts)


def sidebar_invoice(draft: Draft) -> str:
    """An invoice with all about it in a coloured column, and only goods and sum beside it."""
    rng, wide = draft.rng, draft.columns
    money, calendar = Money.drawn(draft), Calendar.drawn(rng)
    side = wide >= 19
    narrow = wide * 0.38 - 1.2 if side else wide - 1
    room, about = Room(draft), Room(draft)
    if not side:
        about.lines = room.lines * 0.45
        room.lines -= about.lines
    day = some_day(rng)
    facts: list[tuple[str, str, str]] = [
        (rng.choice(("Bill", "Our number", "Document", "Invoice")), "invoice_number", number(draft)),
        (rng.choice(("Issued", "Dated", "Bill date")), "date", calendar.day(day)),
        (
            rng.choice(("Pay by", "Payable until", "Due")),
            "due_date",
            calendar.day(after(day, rng.choice((7, 14, 30)))),
        ),
        (rng.choice(("Client", "Billed to", "For")), "recipient", person(draft, narrow)),
        ("Client no.", "customer_number", number(draft)),
        ("Web", "website", website(draft, narrow)),
    ]
    about.take(2.2)
    inside = [sized(draft.tell("company", firm(draft, narrow / 1.2)), 1.15, True)]
    for label, key, value in facts:
        if about.take(2.4, 0.8):
            set_label, set_value = labelled(draft, label, key, value)
            inside.append(f"{sized(set_label, 0.85)} \\\n {set_value}")
    room.take(2.2)
    names = distinct(
        room.many(2.0 if wide < 16 else 1.3, 10),
        lambda: goods(draft, (wide - narrow - 2.2 if side else wide) - 6.2),
    )
    cents = [rng.randint(5, 2500) * rng.choice((10, 100)) for _ in names]
    rows = [
        f"[{draft.put(name)}], [{draft.tell('price', money.bare(price), name)}]"
        for name, price in zip(names, cents, strict=True)
    ]
    label, value = labelled(
        draft, rng.choice(("Payable", "We charge", "Amount")), "total", money.full(sum(cents))
    )
    body = (
        f"#grid(columns: (1fr, auto), align: (left, right), row-gutter: 0.7em, column-gutter: 0.6em, "
        f"{', '.join(rows)})\n{rule(rng)}#align(right)[{label} {sized(value, 1.15, True)}]"
    )
    fill, ink = shade(rng)
    column, close = f"#set text(fill: {ink})\n" + "\n\n".join(inside), tight(rng)
    if not side:
        return f"{close}#block(width: 100%, fill: {fill}, inset: 0.5em)[{column}]\n{body}\n"
    return (
        f"{close}#grid(columns: ({narrow + 1.2:.2f}em, 1fr), column-gutter: 1em, "
        f"grid.cell(fill: {fill}, inset: 0.6em)[{column}], [{body}])\n"
    )


def _demand(draft: Draft, asking: str, total: str, dated: str) -> str:
    """The sentence that says what is to be paid, and by when."""
    asked, amount = labelled(draft, asking, "total", total)
    until = "by" if asking == "Pay" else draft.rng.choice(("no later than", "by", "before the"))
    set_until, due = labelled(draft, until, "due_date", dated)
    return f"{asked} *{amount}* {set_until} {due}{draft.put('.')}"


def written_invoice(draft: Draft) -> str:
    """An invoice as a letter: it says in a sentence what is charged, and signs."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    money, calendar = Money.drawn(draft), Calendar.drawn(rng)
    day = some_day(rng)
    parts = [tight(rng)]
    asking = "Pay" if wide * draft.rows < 150 else rng.choice(("Kindly pay", "Please transfer", "The sum of"))
    dated = calendar.day(after(day, rng.choice((10, 14, 21, 30))))
    room.take(room.text(len(asking) + len(dated) + 22) + 2.2)
    count = room.many(1.1, 8, 0.6)
    opened = room.take(room.text(30), 0.8)
    if room.take(1.6, 0.8):
        label, value = labelled(draft, "To", "recipient", person(draft, wide - 2))
        parts.append(f"{label} {value}")
    if room.take(room.text(24), 0.7):
        place = town(draft, wide - 8)
        set_place, comma = draft.tell("city", place), draft.put(",")
        parts.append(f"#align(right)[{set_place}{comma} {draft.tell('date', calendar.day(day))}]")
    if room.take(1.3, 0.8):
        title = rng.choice(("Fee note", "Bill no.", "Invoice")) if wide > 12 else "Bill"
        label, value = labelled(draft, title, "invoice_number", number(draft))
        parts.append(f"*{label} {value}*")
    taxed, signed = room.take(1.2, 0.5), room.take(2.0, 0.7)
    banked = wide > 16 and room.take(1.2, 0.4)
    names = distinct(count, lambda: goods(draft, wide - 7))
    cents = [rng.randint(1, 900) * 100 for _ in names]
    if opened:
        opening = ("For our work we charge you:", "Please find our charges:", "We have done for you:")
        parts.append(draft.put(rng.choice(opening)))
    listed = []
    for index, (name, price) in enumerate(zip(names, cents, strict=True), 1):
        mark = draft.put(f"{index})")
        set_name, set_price = labelled(draft, name, "price", money.bare(price), name)
        listed.append(f"{mark} {set_name}{GAP}{set_price}")
    parts.append(" \\\n".join(listed))
    total = sum(cents)
    if taxed:
        share = rng.choice((5, 7, 19, 20, 21))
        tax = round(total * share / 100)
        label, value = labelled(draft, f"plus {share}% VAT", "tax", money.bare(tax))
        parts.append(f"{label}{GAP}{value}")
        total += tax
    parts.append(_demand(draft, asking, money.full(total), dated))
    if banked:
        label, value = labelled(draft, "IBAN", "field", draft.text.fill("@@## #### #### ####"), "IBAN")
        parts.append(f"{label} {value}")
    if signed:
        company = draft.tell("company", firm(draft, wide))
        parts.append(f"#v(0.4em)\n{draft.rng.choice(('', '#h(1fr) '))}{company}")
    return "\n\n".join(parts)


_ENTRIES = (
    ("Country of birth", "country"), ("Home town", "city"), ("Born on", "birth_date"), ("Occupation", "job"),
    ("Membership no.", "code"), ("Vehicle reg.", "plate"), ("Mileage", "count"), ("Next of kin", "person"),
    ("Allergies", "word"), ("Breed", "word"), ("Height", "height"), ("Policy", "code"), ("Shoe size", "size"),
    ("Mobile", "phone"), ("Mail", "email"), ("Ward", "code"), ("Referred by", "person"), ("Hobby", "word"),
    ("Language", "language"), ("Eye colour", "color"), ("Lives at", "address"), ("Employer", "firm"),
)  # fmt: skip
_ASKED = ("birth_date", "job", "phone", "email", "address", "city", "country")
_COUNTRIES = ("Norway", "Peru", "Kenya", "Malta", "Ghana", "Chile", "Nepal", "Estonia", "Iceland", "Oman")


def _entry(draft: Draft, kind: str, ems: float, calendar: Calendar) -> str:
    """What somebody entered."""
    rng, fill = draft.rng, draft.text.fill
    made: dict[str, Callable[[], str]] = {
        "country": lambda: rng.choice(_COUNTRIES),
        "city": lambda: town(draft, ems),
        "birth_date": lambda: calendar.day(some_day(rng, 1940, 2015)),
        "job": lambda: goods(draft, ems),
        "code": lambda: number(draft),
        "plate": lambda: fill("@@ ## @@@"),
        "count": lambda: fill("##### km"),
        "person": lambda: person(draft, ems),
        "word": lambda: fit(draft.text.word, ems),
        "height": lambda: f"1{fill('##')} cm",
        "size": lambda: str(rng.randint(30, 48)),
        "phone": lambda: phone(draft),
        "email": lambda: email(draft, ems),
        "language": lambda: rng.choice(("English", "German", "French", "Polish", "Hindi", "Greek", "Welsh")),
        "color": lambda: rng.choice(("brown", "blue", "green", "grey", "hazel")),
        "address": lambda: street(draft, ems),
        "firm": lambda: firm(draft, ems),
    }
    return made[kind]()


def boxed_form(draft: Draft) -> str:
    """A form of boxes, each with a small label in its corner and the entry under it."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    calendar = Calendar.drawn(rng)
    across = max(1, min(3, int(wide / 13)))
    parts = []
    if room.take(2.2, 0.8):
        parts.append(sized(draft.tell("title", fit(draft.text.capitals, wide / 1.4)), 1.25, True) + "\n\n")
    rows = room.many(3.1, 8)
    ems = wide / across - 1.4
    cells = []
    for label, kind in rng.sample(_ENTRIES, min(len(_ENTRIES), rows * across)):
        key = kind if kind in _ASKED else "field"
        subject = "" if kind in _ASKED else label
        value = _entry(draft, kind, ems, calendar)
        set_label, set_value = labelled(draft, label, key, value, subject)
        cells.append(f"[{sized(set_label, 0.85)} \\\n {set_value}]")
    fill = rng.choice(("none", "rgb(128, 128, 128, 12%)", "rgb(90, 140, 200, 18%)"))
    line = f"{rng.uniform(0.6, 1.6):.2f}pt + luma({rng.randint(90, 140)})"
    gap = rng.choice(("0pt", "0pt", "0.4em"))
    parts.append(
        f"#grid(columns: (1fr,) * {across}, stroke: {line}, fill: {fill}, inset: 0.5em, gutter: {gap}, "
        f"{', '.join(cells)})\n"
    )
    return "".join(parts)


_CHOICES = (
    ("Sex", ("F", "M", "X")), ("Smoker", ("yes", "no")), ("Meals", ("none", "half", "full")),
    ("Diet", ("meat", "fish", "vegan")), ("Class", ("A", "B", "C")), ("Delivery", ("home", "store")),
    ("Insured", ("yes", "no")), ("Visit", ("first", "repeat")),
)  # fmt: skip


def questionnaire(draft: Draft) -> str:
    """Numbered questions: entries on dotted lines, and boxes of which one is crossed."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    calendar = Calendar.drawn(rng)
    parts = [tight(rng)]
    if room.take(1.8, 0.6):
        parts.append(f"#align(center)[{sized(draft.tell('title', goods(draft, wide / 1.2)), 1.15, True)}]")
    total = room.many(2.0 if wide < 18 else 1.05, 16)
    chosen: list[tuple[str, str | tuple[str, ...]]] = [*rng.sample(_ENTRIES, min(total, 16))]
    for index in range(len(chosen)):
        if draft.chance(0.35):
            chosen[index] = rng.choice(_CHOICES)
    numbered = draft.chance(0.7)
    marked = rng.choice(("cross", "fill"))
    asked: set[str] = set()
    for label, kind in chosen:
        if label in asked:
            continue
        asked.add(label)
        mark = draft.put(f"{len(asked)}.") + " " if numbered else ""
        if isinstance(kind, tuple):
            set_label = draft.put(label)
            answer = rng.choice(kind)
            options = []
            for option in kind:
                inside = {"cross": _CROSS, "fill": _FILLED}[marked] if option == answer else _EMPTY
                told = draft.tell("field", option, label) if option == answer else draft.put(option)
                options.append(f"#box[{inside} {told}]")
            parts.append(f"{mark}{set_label} #h(0.8em) {' #h(0.5em) '.join(options)}")
            continue
        room_left = wide - len(label) / CHARACTERS - 3.5
        value = _entry(draft, kind, room_left if room_left > 6 else wide, calendar)
        key, subject = (kind, "") if kind in _ASKED else ("field", label)
        set_label, set_value = labelled(draft, label, key, value, subject)
        under = f"#box(width: 1fr, stroke: (bottom: {_DOTTED}), outset: (bottom: 0.15em))[{set_value}]"
        parts.append(f"{mark}{set_label} {under if room_left > 6 else set_value}")
    return "\n\n".join(parts)


_DOTTED = '(paint: luma(128), dash: "dotted")'
_SQUARE = "#box(width: 0.75em, height: 0.75em, stroke: 0.8pt + luma(128){more}, baseline: 0.05em)[{inside}]"
_EMPTY = _SQUARE.format(more="", inside="")
_FILLED = _SQUARE.format(more=", fill: luma(110)", inside="")
_CROSS = _SQUARE.format(
    more="",
    inside="#place(line(start: (0%, 0%), end: (100%, 100%), stroke: 1.2pt + rgb(200, 60, 60)))"
    "#place(line(start: (100%, 0%), end: (0%, 100%), stroke: 1.2pt + rgb(200, 60, 60)))",
)


def footed_letter(draft: Draft) -> str:
    """A letter with its reference in a line on top, and sender and day only at the foot."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    calendar = Calendar.drawn(rng)
    parts = [tight(rng)]
    room.take(4.6)
    paragraphs = [rng.randint(4, 26)] if room.take(room.text(40)) else []
    if paragraphs:
        paragraphs[0] = min(paragraphs[0], 5 + int(room.lines * 0.5 * wide * CHARACTERS / 8))
        room.lines -= room.text(7 * paragraphs[0] - 35)
    if room.take(1.2, 0.7):
        title = rng.choice(("Re:", "Concerning:", "Regarding", "Your matter:")) if wide > 15 else "Re:"
        told = goods(draft, wide - len(title) / CHARACTERS - 1)
        label, value = labelled(draft, title, "subject_line", told)
        parts.append(f"{label} *{value}*")
    greeting = rng.choice(("Hello", "Good morning", "To", "Dearest")) if wide > 15 else "Hello"
    label, value = labelled(draft, greeting, "recipient", person(draft, wide - 7))
    parts.append(f"{label} {value}{draft.put(',')}")
    dated, worked = room.take(1.0, 0.7), room.take(1.0, 0.4)
    placed, written = room.take(room.text(28), 0.5), room.take(1.0, 0.4)
    justify = rng.choice(("true", "false"))
    while len(paragraphs) < 3 and room.take(room.text(90) + 0.3, 0.7):
        paragraphs.append(rng.randint(5, 11))
    for words in paragraphs:
        parts.append(f"#par(justify: {justify})[{draft.put(sentence(draft, words))}]")
    parts.append(draft.put(rng.choice(("With best wishes", "Yours truly", "All the best,", "Cordially"))))
    signed = draft.tell("signed_by", person(draft, wide))
    foot = [f"_{signed}_" if draft.chance(0.4) else f"*{signed}*"]
    if worked:
        foot.append(draft.tell("job", goods(draft, wide)))
    if placed:
        foot.append(draft.tell("address", street(draft, wide * 1.3)))
    if written:
        foot.append(draft.tell("email", email(draft, wide)))
    if dated:
        foot.append(draft.tell("date", calendar.day(some_day(rng))))
    side = rng.choice(("left", "right", "center"))
    parts.append(f"#align({side})[" + " \\\n".join(foot) + "]")
    return "\n\n".join(parts)


def split_card(draft: Draft) -> str:
    """A business card in two halves: firm and trade on a colour, the person beside or under it."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    side = wide >= 15
    half = wide * 0.45 - 1.6 if side else wide - 1.2
    other = wide - half - 2.4 if side else wide
    room.take(3.4)
    left = [sized(draft.tell("company", firm(draft, half / 1.3)), 1.25, True)]
    if room.take(2.0, 0.6):
        left.append(draft.tell("website", website(draft, half)))
    right = [sized(draft.tell("name", person(draft, other / 1.15)), 1.1, True)]
    if room.take(1.5, 0.8):
        right.append(draft.tell("job", goods(draft, other)))
    if room.take(1.5, 0.8):
        right.append(draft.tell("phone", phone(draft)))
    if room.take(1.5, 0.6):
        right.append(draft.tell("email", email(draft, other)))
    if room.take(2.8, 0.5):
        right.append(draft.tell("address", street(draft, other * 1.6)))
    fill, ink = shade(rng)
    first = f"#set text(fill: {ink})\n" + " \\\n".join(left)
    second = " \\\n".join(right)
    if not side:
        return f"#block(width: 100%, fill: {fill}, inset: 0.6em)[{first}]\n{second}\n"
    align = rng.choice(("top", "horizon", "bottom"))
    lean = rng.choice(("left", "right"))
    return (
        f"#grid(columns: ({half + 1.6:.2f}em, 1fr), align: ({align} + left, {align} + {lean}), "
        f"column-gutter: 0.8em, grid.cell(fill: {fill}, inset: 0.8em)[{first}], "
        f"grid.cell(inset: (y: 0.8em))[{second}])\n"
    )


def lettered_card(draft: Draft) -> str:
    """A business card with a letter before each line, and the name in capitals at the foot."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    room.take(2.6)
    rows = []
    lettered = draft.chance(0.75)
    told = [
        ("T", "phone", phone(draft)), ("E", "email", email(draft, wide - 2)),
        ("W", "website", website(draft, wide - 2)), ("A", "address", street(draft, wide * 1.4)),
    ]  # fmt: skip
    rng.shuffle(told)
    for letter, key, value in told:
        if room.take(2.6 if key == "address" else 1.2, 0.75):
            if lettered:
                label, set_value = labelled(draft, letter, key, value)
                rows.append(f"[*{label}*], [{set_value}]")
            else:
                bullet, set_value = labelled(draft, "•", key, value)
                rows.append(f"[{bullet}], [{set_value}]")
    parts = (
        [f"#grid(columns: (auto, 1fr), column-gutter: 0.6em, row-gutter: 0.6em, {', '.join(rows)})\n"]
        if rows
        else []
    )
    foot = []
    if draft.chance(0.6):
        parts.append(rule(rng))
    worked = room.take(1.3, 0.7)
    named = fit(lambda: person(draft).upper(), wide / 1.2)
    foot.append(sized(draft.tell("name", named), 1.1, True))
    if worked:
        foot.append(sized(draft.tell("job", goods(draft, wide)), 0.9))
    if room.take(1.6, 0.6):
        foot.append(draft.tell("company", firm(draft, wide)))
    side = rng.choice(("left", "right", "center"))
    parts.append(f"#align({side})[" + " \\\n".join(foot) + "]\n")
    return "".join(parts)


TEMPLATES: tuple[tuple[float, Template], ...] = (
    (1.2, counter_slip),
    (1.2, stall_receipt),
    (1.0, sidebar_invoice),
    (1.0, written_invoice),
    (1.0, boxed_form),
    (1.0, questionnaire),
    (1.0, footed_letter),
    (0.7, split_card),
    (0.7, lettered_card),
    *PLATES,
)
