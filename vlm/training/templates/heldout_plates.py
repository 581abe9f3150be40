"""The other half of the documents that only score: tables, signs, tickets, lists and plain lines."""

from __future__ import annotations

from collections.abc import Callable

from vlm.training.draft import Draft, Template
from vlm.training.templates.values import (
    CHARACTERS,
    Calendar,
    Money,
    Room,
    band,
    counted,
    distinct,
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
    unclear,
)


def striped_table(draft: Draft) -> str:
    """A table of numbers without rules, its row labels at the right or in grey stripes."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    parts = []
    if room.take(2.0, 0.5):
        parts.append(sized(draft.tell("title", goods(draft, wide / 1.2)), 1.15, True) + "\n\n")
    label_ems = max(4.5, wide * 0.3)
    across = max(1, min(5, int((wide - label_ems) / 5)))
    ems = (wide - label_ems) / across - 0.8
    down = max(1, int(room.lines / 1.35 - 1.2))
    columns = distinct(across, lambda: fit(lambda: draft.text.word().capitalize(), ems - 0.4))
    names = distinct(rng.randint(1, min(down, 11)), lambda: town(draft, label_ems - 1), tuple(columns))
    last = draft.chance(0.4)
    make = _numbers(draft)
    heads = [f"[*{draft.put(column)}*]" for column in columns] if last else ["[]", *(
        f"[*{draft.put(column)}*]" for column in columns
    )]  # fmt: skip
    if last:
        heads.append("[]")
    cells = []
    for name in names:
        row = [] if last else [f"[{draft.put(name)}]"]
        row += [f"[{draft.tell('cell', make(), f'{name} / {column}')}]" for column in columns]
        cells += [*row, f"[_{draft.put(name)}_]"] if last else row
    tint = rng.choice(("rgb(128, 128, 128, 20%)", "rgb(80, 130, 200, 22%)", "rgb(200, 150, 60, 24%)"))
    striped = "x" if draft.chance(0.25) else "y"
    sizes = f"(1fr,) * {len(columns)}"
    label_size = "(auto,)"
    lean = rng.choice(("right", "center", "left"))
    return "".join(parts) + (
        f"#table(columns: {' + '.join((sizes, label_size) if last else (label_size, sizes))}, stroke: none, "
        f"align: {lean}, inset: (x: 0.3em, y: 0.4em), fill: (x, y) => if calc.odd({striped}) {{ {tint} }}, "
        f"{', '.join(heads + cells)})\n"
    )


def _numbers(draft: Draft) -> Callable[[], str]:
    """One page's kind of number."""
    rng = draft.rng
    money = Money.drawn(draft)
    kinds: tuple[Callable[[], str], ...] = (
        lambda: str(rng.randint(0, 99)),
        lambda: str(rng.randint(100, 9999)),
        lambda: f"{rng.randint(0, 100)}%",
        lambda: money.bare(rng.randint(5, 9999)),
        lambda: f"{rng.uniform(-30, 40):.1f}",
    )
    return rng.choice(kinds)


def departure_board(draft: Draft) -> str:
    """A board of departures: one row a town, with its time and platform, light on dark or ruled."""
    rng, room, wide = draft.rng, Room(draft), draft.columns - 0.8
    room.take(0.6)
    calendar = Calendar(0, rng.choice((0, 1)))
    unclear(draft, "departure", "platform", "to")
    parts = []
    if room.take(2.2, 0.6):
        head = rng.choice(("Departures", "Leaving next", "Trains", "Coaches")) if wide > 13 else "Trains"
        parts.append(sized(draft.put(head), 1.2, True))
        parts[-1] += "\n\n"
    heads = ["Time", "Platform"] if wide >= 15 else ["Time"]
    if wide >= 24:
        heads.append("Line")
    ems = wide - 5.5 * len(heads)
    first = some_hour(rng)
    names = distinct(
        max(1, min(rng.randint(2, 12), int(room.lines / 1.25) - 1)), lambda: town(draft, max(4.5, ems))
    )
    front = draft.chance(0.5)
    order = [*heads, "To"] if front else ["To", *heads]
    cells = [f"[*{draft.put(head)}*]" for head in order]
    for name in names:
        first += rng.randint(2, 35)
        values = {
            "Time": calendar.hour(first),
            "Platform": rng.choice(("1", "2", "3", "4", "5", "6a", "6b", "11", "12")),
            "Line": draft.text.fill(rng.choice(("@#", "@@ ##", "@@###"))),
        }
        for head in order:
            text = draft.put(name) if head == "To" else draft.tell("cell", values[head], f"{name} / {head}")
            cells.append(f"[{text}]")
    sizes = ", ".join("1fr" if head == "To" else "auto" for head in order)
    grid = (
        f"#grid(columns: ({sizes}), column-gutter: 1em, row-gutter: {rng.uniform(0.55, 0.8):.2f}em, "
        f"{', '.join(cells)})\n"
    )
    return band("".join(parts) + grid, rng) if draft.chance(0.5) else "".join(parts) + grid


def jar_label(draft: Draft) -> str:
    """A label for a jar: what it is in a frame, what is in it, and the small print in one row."""
    rng, room, wide = draft.rng, Room(draft), draft.columns - 1.4
    calendar = Calendar.drawn(rng)
    parts = []
    room.take(2.6)
    made, mixed, best, kept = (
        room.take(1.6, 0.5),
        room.take(3.8, 0.7),
        room.take(1.5, 0.8),
        room.take(1.5, 0.4),
    )
    weighed, batched = room.take(1.5, 0.7), room.take(1.5, 0.5)
    parts.append(sized(draft.tell("title", goods(draft, wide / 1.6)), 1.4, True))
    if weighed:
        amount = rng.choice(("{} g", "{} ml", "{} kg", "{} oz")).format(
            rng.choice((1, 2, 5, 75, 125, 250, 340, 500))
        )
        label, value = labelled(draft, rng.choice(("Contents", "Net", "Filled", "Holds")), "weight", amount)
        parts.append(f"{label} {value}")
    if mixed:
        listed = ", ".join(distinct(rng.randint(2, 4), lambda: fit(draft.text.word, 9)))
        label, value = labelled(draft, rng.choice(("Made from", "Contains:", "Of:")), "ingredients", listed)
        parts.append(f"{sized(label, 0.9, True)} {value}")
    if best:
        use = rng.choice(("Use by", "Eat before", "Good until", "BB"))
        label, value = labelled(draft, use, "expiry", calendar.day(some_day(rng)))
        parts.append(f"{label} *{value}*")
    if batched:
        label, value = labelled(draft, rng.choice(("Lot", "Batch", "L")), "code", number(draft))
        parts.append(f"{label} {value}")
    if kept:
        parts.append(
            draft.put(
                fit(lambda: rng.choice(("Keep cool", "Keep dry", "Shake well", "Chill once open")), wide)
            )
        )
    if made:
        parts.append(sized(draft.tell("company", firm(draft, wide)), 0.95))
    side = rng.choice(("center", "left", "right"))
    radius = rng.choice((0, 6, 14))
    fill = rng.choice(("", ", fill: rgb(128, 128, 128, 12%)"))
    inside = tight(rng) + "\n\n".join(parts)
    return (
        f"#block(width: 100%, inset: 0.7em, radius: {radius}pt, stroke: {stroke(rng)}{fill})"
        f"[#align({side})[{inside}]]\n"
    )


def door_sign(draft: Draft) -> str:
    """A sign on a door: a big word, the hours, and whom to ring."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    calendar = Calendar.drawn(rng)
    room.take(2.6)
    opened = wide > 12 and room.take(room.text(28) + 0.3, 0.8)
    ringed, roomed = room.take(1.4, 0.6), room.take(1.7, 0.6)
    said = room.take(room.text(36) + 0.3, 0.6)
    parts = []
    size = min(2.0, max(1.2, wide / 12))
    if roomed:
        label, value = labelled(
            draft,
            rng.choice(("Room", "Office", "Door", "Studio")),
            "room",
            draft.text.fill(rng.choice(("###", "@##", "#.##"))),
        )
        parts.append(f"{label} {sized(value, 1.3, True)}")
    parts.append(
        sized(draft.tell("heading", fit(draft.text.capitals, (wide - 1.5) / size / 1.1)), size, True)
    )
    if opened:
        days = rng.choice(("Mon to Fri", "Tue - Sat", "Daily", "Weekdays", "Mon–Sat"))
        start, end = rng.randint(84, 132) * 5, rng.randint(180, 270) * 5
        hours = f"{days} {calendar.hour(start)}{rng.choice((' to ', ' - ', '–'))}{calendar.hour(end)}"
        parts.append(draft.tell("opening_hours", hours))
    if said:
        parts.append(draft.put(sentence(draft, rng.randint(2, max(2, min(6, int(wide / 5)))))))
    if ringed:
        label, value = labelled(draft, rng.choice(("Ring", "Call", "Bell:")), "phone", phone(draft))
        parts.append(f"{label} {value}")
    fill, ink = shade(rng)
    inside = "\n\n".join(parts)
    if draft.chance(0.6):
        return (
            f"#block(width: 100%, fill: {fill}, inset: 0.7em, radius: {rng.choice((0, 10))}pt)"
            f"[#set text(fill: {ink})\n#align(center)[{inside}]]\n"
        )
    return f"#align({rng.choice(('left', 'center'))})[{inside}]\n"


def penalty_sign(draft: Draft) -> str:
    """A sign that forbids: what is forbidden in a band, then the price of it and who says so."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    money = Money.drawn(draft)
    room.take(3.6)
    fined, zoned = room.take(1.8, 0.7), room.take(1.8, 0.5)
    driven, named = room.take(2.6, 0.4), room.take(1.8, 0.5)
    size = min(1.6, max(1.0, wide / 14))
    doing = rng.choice(("No", "Do not", "Never", "Don't"))
    told = fit(lambda: f"{doing} {draft.text.word()} {draft.text.word()}", (wide - 1.5) / size * 1.8)
    told = told.upper() if draft.chance(0.5) and told.isascii() else told
    parts = [band(f"#align(center)[{sized(draft.tell('warning', told), size, True)}]", rng, 0.5)]
    if driven:
        limit = f"{rng.choice((5, 10, 15, 20, 30, 40))}{rng.choice((' km/h', ' mph'))}"
        label, value = labelled(draft, rng.choice(("Max.", "Drive at", "Limit")), "speed_limit", limit)
        parts.append(f"{label} {sized(value, 1.4, True)}\n\n")
    if fined:
        label, value = labelled(
            draft,
            rng.choice(("Penalty", "Charge", "You pay", "Costs")),
            "fine",
            money.full(rng.randint(2, 60) * 500),
        )
        parts.append(f"{label} *{value}*\n\n")
    if zoned:
        label, value = labelled(
            draft,
            rng.choice(("Zone", "Area", "Bay")),
            "code",
            draft.text.fill(rng.choice(("@#", "##", "@@-##"))),
        )
        parts.append(f"{label} {value}\n\n")
    if named:
        parts.append(draft.tell("company", firm(draft, wide - 1)))
    lean = rng.choice(("left", "center"))
    return f"#block(width: 100%, stroke: {stroke(rng)}, inset: 0.5em)[#align({lean})[{''.join(parts)}]]\n"


def stub_ticket(draft: Draft) -> str:
    """A ticket with a stub torn along a dashed rule: the stub repeats nothing but holds the place."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    calendar, money = Calendar.drawn(rng), Money.drawn(draft)
    side = wide >= 16
    ems = wide * 0.66 - 1.6 if side else wide
    room.take(1.8 if side else 3.6)
    dated, placed, timed = room.take(1.2, 0.85), room.take(1.4, 0.7), room.take(1.2, 0.7)
    main = [sized(draft.tell("event", goods(draft, ems / 1.4)), 1.3, True)]
    if placed:
        main.append(draft.tell("place", firm(draft, ems)))
    if dated:
        main.append(draft.tell("date", calendar.day(some_day(rng))))
    if timed:
        label, value = labelled(
            draft, rng.choice(("Starts", "Begins at", "from")), "time", calendar.hour(some_hour(rng))
        )
        main.append(f"{label} {value}")
    facts = [
        (
            rng.choice(("Seat", "Place", "Chair")),
            "seat",
            "",
            draft.text.fill(rng.choice(("##", "@#", "###"))),
        ),
        (rng.choice(("Gate", "Entrance", "Door")), "gate", "", draft.text.fill(rng.choice(("#", "@", "@#")))),
        ("Row", "field", "Row", draft.text.fill(rng.choice(("#", "@", "##")))),
        (rng.choice(("Paid", "Price", "Fee")), "total", "", money.full(rng.randint(8, 240) * 50)),
        ("No.", "code", "", number(draft)),
    ]
    rng.shuffle(facts)
    free = Room(draft) if side else room
    stub: list[str] = []
    for label, key, subject, value in facts:
        if not stub or free.take(1.5, 0.8):
            set_label, set_value = labelled(draft, label, key, value, subject)
            stub.append(f"{sized(set_label, 0.9)} *{set_value}*")
    torn = rng.choice(('"dashed"', '"dotted"'))
    line = f"(paint: luma(128), thickness: 1.2pt, dash: {torn})"
    first, second = tight(rng) + "\n\n".join(main), "\n\n".join(stub)
    if not side:
        return f"{first}\n\n#line(length: 100%, stroke: {line})\n{second}\n"
    return (
        f"#block(width: 100%, stroke: luma(128), inset: 0.5em)[#grid(columns: (2fr, 1fr), [{first}], "
        f"grid.cell(stroke: (left: {line}), inset: (left: 0.7em))[{second}])]\n"
    )


def rail_ticket(draft: Draft) -> str:
    """A travel ticket: two towns and an arrow on top, everything else in two rows under it."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    calendar, money = Calendar.drawn(rng), Money.drawn(draft)
    start, end = distinct(2, lambda: town(draft, max(4.0, wide / 2.6 - 1.5)))
    leaves = some_hour(rng)
    room.take(2.4 if wide >= 14 else 3.6)
    size = 1.25 if wide >= 14 else 1.0
    first = sized(draft.tell("from", start), size, True)
    between = " #h(1fr) " + _ARROW + " #h(1fr) " if wide >= 14 else " \\\n"
    parts = [tight(rng) + first + between + sized(draft.tell("to", end), size, True)]
    if draft.chance(0.5):
        parts.append(f"#line(length: 100%, stroke: {stroke(rng)})")
    if draft.chance(0.5):
        ride = [("Train", "train", "@@ ###"), ("Coach", "field", "#"), ("Track", "platform", "#")]
    else:
        ride = [("Flight", "flight", "@@####"), ("Group", "field", "@"), ("Gate", "gate", "@##")]
    kinds = [
        (rng.choice(("Leaves", "Starts", "Dep")), "departure", calendar.hour(leaves)),
        (rng.choice(("Reaches", "In at", "Arr")), "arrival", calendar.hour(leaves + rng.randint(20, 300))),
        (rng.choice(("Travel day", "On", "Valid on")), "date", calendar.day(some_day(rng))),
        *((label, key, draft.text.fill(form)) for label, key, form in ride),
        ("Seat", "seat", draft.text.fill("##@")),
        ("Fare", "total", money.full(rng.randint(200, 20000))),
        ("Traveller", "name", person(draft, wide - 1 if wide < 22 else wide / 2 - 1)),
    ]
    rng.shuffle(kinds)
    across = max(1, min(3, int(wide / 11)))
    stacked = across > 1
    most = int(room.lines / (2.3 if stacked else 1.3)) * across
    cells = []
    for label, key, value in kinds[: max(0, most)]:
        set_label, set_value = labelled(draft, label, key, value, label if key == "field" else "")
        if stacked:
            cells.append(f"[{sized(set_label, 0.9)} \\\n *{set_value}*]")
        else:
            cells.append(f"[{set_label} *{set_value}*]")
    if cells:
        parts.append(
            f"#grid(columns: (1fr,) * {across}, row-gutter: 0.7em, column-gutter: 0.6em, {', '.join(cells)})"
        )
    return "\n\n".join(parts)


_ARROW = (
    "#box(baseline: -0.2em)[#line(length: 1.4em, stroke: 1.2pt + luma(128))"
    "#place(dx: 1.1em, dy: -0.25em, polygon(fill: luma(128), (0em, 0em), (0.5em, 0.25em), (0em, 0.5em)))]"
)


def centred_menu(draft: Draft) -> str:
    """A menu set on its middle: the dish, what comes with it, and the price on a line of its own."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    money = Money.drawn(draft)
    described = wide > 14 and draft.chance(0.5)
    inline = draft.chance(0.4)
    each = 1.4 if inline else 2.9 if described else 2.0
    count = room.many(each, 12, 0.8)
    parts = []
    if room.take(2.2, 0.7):
        parts.append(sized(draft.tell("title", firm(draft, wide / 1.5)), 1.4, True))
    if room.take(1.6, 0.4):
        parts.append(f"_{draft.put(rng.choice(('Lunch', 'Evening', 'Today', 'From the oven', 'Specials')))}_")
    names = distinct(count, lambda: goods(draft, wide - 6 if inline else wide - 1))
    mark = rng.choice(("—", "•", "/", ""))
    for name in names:
        dish = f"*{draft.put(name)}*"
        if inline:
            dish += f" {draft.put(mark)} " if mark else " "
        else:
            dish += " \\\n "
        if described and not inline:
            dish += f"_{draft.put(fit(lambda: f'{draft.text.word()}, {draft.text.word()}', wide))}_ \\\n "
        parts.append(dish + draft.tell("price", money.full(rng.randint(6, 80) * 50), name))
    counted(draft, "item_count", str(len(names)))
    inside = "\n\n".join(parts)
    return f"#align(center)[{inside}]\n"


def price_tiles(draft: Draft) -> str:
    """A price list of tiles: in each a big price and its goods under it."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    money = Money.drawn(draft)
    across = max(1, min(3, int(wide / 11)))
    parts = []
    if room.lines > 5 and room.take(2.0, 0.6):
        head = rng.choice(("Our prices", "Offers", "This week", "Tariff", "What it costs"))
        parts.append(sized(draft.tell("heading", head), 1.2, True) + "\n\n")
    rows = room.many(3.1, 8)
    names = distinct(rows * across - rng.randint(0, across - 1), lambda: goods(draft, wide / across - 1.6))
    cells = []
    below = draft.chance(0.6)
    for name in names:
        price = money.full(rng.randint(10, 9999))
        if below:
            set_price = sized(draft.tell("price", price, name), 1.2, True)
            cells.append(f"[{set_price} \\\n {draft.put(name)}]")
        else:
            set_name = draft.put(name)
            cells.append(f"[{set_name} \\\n {sized(draft.tell('price', price, name), 1.2, True)}]")
    counted(draft, "item_count", str(len(names)))
    look = rng.choice(("stroke: luma(128)", "fill: rgb(128, 128, 128, 16%), gutter: 0.3em"))
    lean = rng.choice(("center", "left"))
    parts.append(
        f"#grid(columns: (1fr,) * {across}, {look}, inset: 0.55em, align: {lean}, {', '.join(cells)})\n"
    )
    return "".join(parts)


def appointment(draft: Draft) -> str:
    """An appointment card in words: whom you see, on which day, at what hour."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    calendar = Calendar.drawn(rng)
    room.take(room.text(46) + 1.6)
    whose, where = room.take(room.text(30) + 0.2, 0.7), room.take(room.text(28) + 0.2, 0.5)
    ring, by = room.take(room.text(32), 0.6), room.take(1.5, 0.6)
    parts = [tight(rng)]
    if by:
        parts.append(sized(draft.tell("company", firm(draft, wide / 1.15)), 1.1, True))
    if whose:
        label, value = labelled(
            draft, rng.choice(("A visit for", "Booked for", "Patient")), "name", person(draft, wide)
        )
        parts.append(f"{label} *{value}*")
    seen = (
        "On"
        if wide * draft.rows < 150
        else rng.choice(("See you on", "Your next visit:", "We expect you on", "Come on"))
    )
    day, hour = calendar.day(some_day(rng)), calendar.hour(some_hour(rng))
    label, set_day = labelled(draft, seen, "date", day)
    at, set_hour = labelled(draft, rng.choice(("at", "from")), "time", hour)
    parts.append(f"{label} *{set_day}* {at} *{set_hour}*")
    if where:
        parts.append(draft.tell("address", street(draft, wide * 1.4)))
    if ring:
        label, value = labelled(
            draft, rng.choice(("Can't come? Ring", "Questions:", "To change:")), "phone", phone(draft)
        )
        parts.append(f"{label} {value}")
    inside = "\n\n".join(parts)
    if draft.chance(0.5):
        return f"#align({rng.choice(('center', 'right', 'left'))})[{inside}]\n"
    return f"#block(width: 100%, stroke: {stroke(rng)}, radius: 6pt, inset: 0.6em)[{inside}]\n"


def packing_list(draft: Draft) -> str:
    """A delivery note: where it goes on top in large type, then counts, empty boxes and goods."""
    rng, room, wide = draft.rng, Room(draft), draft.columns
    calendar = Calendar.drawn(rng)
    parts = [tight(rng)]
    room.take(0.8)
    count = room.many(1.0, 14, 0.6)
    if room.take(room.text(24) + 0.3, 0.8):
        label, value = labelled(
            draft,
            rng.choice(("Ship to", "Goes to", "Deliver to")),
            "recipient",
            person(draft, wide / 1.1 - 6),
        )
        parts.append(f"{sized(label, 0.9)} {sized(value, 1.1, True)}\n\n")
    if room.take(room.text(30), 0.6):
        parts.append(draft.tell("address", street(draft, wide * 1.4)) + "\n\n")
    if room.take(1.4, 0.7):
        label, value = labelled(
            draft, rng.choice(("Order", "Your order", "Purchase no.")), "order_number", number(draft)
        )
        parts.append(f"{label} {value}\n\n")
    parcelled, dated = room.take(1.2, 0.4), room.take(room.text(22), 0.6)
    sent = room.take(1.2, 0.4)
    parts.append(rule(rng))
    names = distinct(count, lambda: goods(draft, wide - 5))
    cells = []
    for name in names:
        quantity = draft.tell("quantity", str(rng.randint(1, 60)), name)
        cells.append(f"[{quantity}], [{_TICK}], [{draft.put(name)}]")
    gap = rng.uniform(0.5, 0.8)
    parts.append(
        f"#grid(columns: (auto, auto, 1fr), align: (right, center, left), column-gutter: 0.6em, "
        f"row-gutter: {gap:.2f}em, {', '.join(cells)})\n"
    )
    if parcelled:
        label, value = labelled(draft, "Parcel weight", "weight", f"{rng.uniform(0.2, 40):.1f} kg")
        parts.append(f"{label} {value}\n\n")
    if dated:
        label, value = labelled(
            draft, rng.choice(("Packed on", "Left us", "Sent")), "date", calendar.day(some_day(rng))
        )
        parts.append(f"{label} {value}\n\n")
    if sent:
        parts.append(f"#align(right)[{draft.tell('company', firm(draft, wide))}]\n")
    return "".join(parts)


_TICK = "#box(width: 0.7em, height: 0.7em, stroke: 0.8pt + luma(128))"


def lines(draft: Draft) -> str:
    """One to six lines of body text, and nothing else."""
    rng, wide = draft.rng, draft.columns
    count = rng.randint(1, max(1, min(6, int(Room(draft).lines))))
    most = min(wide, 150 / count / CHARACTERS)
    made = []
    for _ in range(count):
        text = fit(draft.text.string, most)
        while draft.chance(0.85):
            longer = f"{text} {draft.text.string()}"
            if len(longer) > most * CHARACTERS or longer[-1] == "-":
                break
            text = longer
        made.append(draft.put(text))
    inside = " \\\n".join(made)
    return f"#align({rng.choice(('left', 'left', 'center', 'right'))})[{inside}]\n"


PLATES: tuple[tuple[float, Template], ...] = (
    (1.0, striped_table),
    (1.0, departure_board),
    (1.0, jar_label),
    (0.8, door_sign),
    (0.8, penalty_sign),
    (0.8, stub_ticket),
    (0.8, rail_ticket),
    (1.0, centred_menu),
    (0.9, price_tiles),
    (0.9, appointment),
    (1.0, packing_list),
    (1.5, lines),
)
