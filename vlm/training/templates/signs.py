"""Signs, of the training split: few words in large letters, on plates, posters, stickers and buttons.

Letters are enlarged until they fill their plate (``lettering`` in ``kit``), between 1.5 and 4 times
the body text on most pages.
"""

from __future__ import annotations

from collections.abc import Callable

from vlm.training.draft import Draft, Template, rgb
from vlm.training.templates.kit import NAMED, also, boxed, capitals, ems
from vlm.training.templates.plates import Sign, many
from vlm.training.text import DAYS

_STREETS = (
    "{} Street",
    "{} St",
    "{} Road",
    "{} Rd",
    "{} Avenue",
    "{} Lane",
    "{}weg",
    "{}straße",
    "Rue {}",
    "Calle {}",
)
_HAZARDS = ("DANGER", "WARNING", "CAUTION", "NOTICE", "ATTENTION", "STOP", "Danger", "Caution", "ACHTUNG")
_ORDERS = (
    *(
        "NO ENTRY",
        "KEEP OUT",
        "WET FLOOR",
        "NO SMOKING",
        "HIGH VOLTAGE",
        "MIND THE STEP",
        "DO NOT TOUCH",
        "HOT SURFACE",
    ),
    *(
        "KEEP CLEAR",
        "NO PARKING",
        "BEWARE OF THE DOG",
        "PRIVATE PROPERTY",
        "STAFF ONLY",
        "HARD HAT AREA",
        "SLIPPERY",
    ),
)
_DOORS = (
    "Office",
    "Meeting Room",
    "Reception",
    "Laboratory",
    "Storage",
    "Toilets",
    "Kitchen",
    "Library",
    "Exit",
)
_TRADES = (
    "Bakery",
    "Books",
    "Café",
    "Pharmacy",
    "Flowers",
    "Shoes",
    "Hotel",
    "Barber",
    "Toys",
    "Bank",
    "Bar",
    "Market",
)
_EVENTS = (
    "Concert",
    "Festival",
    "Flea market",
    "Exhibition",
    "Open day",
    "Workshop",
    "Party",
    "Lecture",
    "Theatre",
    "Fair",
)
_BUTTONS = (
    "OK",
    "Cancel",
    "Save",
    "Delete",
    "Send",
    "Next",
    "Back",
    "Login",
    "Submit",
    "Yes",
    "No",
    "Help",
    "Search",
)
_CORNERS = ("top left", "top right", "bottom left", "bottom right")


def street_sign(draft: Draft) -> str:
    """The name of a street on a plate."""
    sign = Sign(draft)
    high = sign.height(0.25, 0.4, 0.6)
    name = sign.fitting(lambda: sign.case(sign.pick(*_STREETS).format(sign.capped(9))), sign.columns * 1.4)
    if draft.chance(0.25) and high > 4:
        top = sign.letters(name, sign.columns - 1.2, high * 0.65 - 1, "street")
        small = boxed(
            draft.put(sign.pick(f"{sign.rng.randint(1, 99)}-{sign.rng.randint(100, 250)}", sign.capped(8)))
        )
        body = f"{top}\n{small}"
    else:
        body = sign.letters(name, sign.columns - 1.2, high - 1, "street")
    return sign.page(sign.plate(body, high), sign.paper(0.3))


def door_sign(draft: Draft) -> str:
    """A room's number, and what or who is behind the door."""
    sign = Sign(draft)
    high, wide = sign.height(0.5, 0.8, 1.2), sign.columns - 1.2
    number = sign.text.fill(sign.pick("###", "#.##", "@##", "##", "@-###", "#"))
    behind = sign.fitting(lambda: sign.pick(*_DOORS, sign.title(1, 2)), wide)
    persons = min(2, int((high - 4) / 2)) if draft.chance(0.6) else 0
    labelled = high > 4.5 and draft.chance(0.4)
    left = high - 2.6 - max(0, persons) * 1.6 - 1.6 * labelled
    parts = [draft.put(sign.pick("Room", "Zimmer", "No."))] if labelled else []
    parts.append(sign.letters(number, wide, max(1.4, left), "room"))
    if high > 3.2:
        parts.append(sign.styled(draft.tell("door", behind), 1.1))
    if persons > 0:
        parts.append(draft.tell("name", sign.fitting(sign.person, wide)))
    if persons > 1:
        parts.append(sign.styled(draft.tell("job", sign.fitting(sign.job, wide)), bold=False))
    body = "\n\n".join(parts)
    return sign.page(sign.plate(body, high), sign.paper(0.3))


def warning(draft: Draft) -> str:
    """A warning in a box: a word in a band, what to do or not to do below it."""
    sign = Sign(draft)
    known = draft.chance(0.45)
    colors = sign.rng.choice(NAMED[sign.pick("yellow", "red", "orange", "black", "blue", "white", "yellow")])
    high, wide = sign.height(0.5, 0.8, 1.2), sign.columns - 1.2
    headed = high > 4.5 and draft.chance(0.65)
    band = high * 0.32 if headed else 0.0
    words = many(wide * (high - band))
    text = sign.case(sign.pick(*_ORDERS)) if known else sign.short(1, max(2, words), wide, capitals)
    if ems(text) > wide * 2.5:
        text = sign.short(1, 2, wide, capitals)
    body = ""
    if headed:
        head = sign.fitting(lambda: sign.pick(*_HAZARDS, sign.capped(8).upper()), wide * 1.2)
        body = sign.letters(head, wide, band, "heading")
        if draft.chance(0.5):
            ground, ink = colors
            shape = f"width: 100%, inset: 0.25em, fill: {rgb(ink)}"
            body = f"#block({shape})[#set text(fill: {rgb(ground)})\n{body}]"
    body += "\n" + sign.letters(text, wide, high - band - 1.6, "warning")
    return sign.page(sign.plate(body, high, colors), sign.paper(0.2))


def shop_front(draft: Draft) -> str:
    """A shop's name, its trade, perhaps its number or when it was founded."""
    sign = Sign(draft)
    high, wide = sign.height(0.3, 0.5, 0.9), sign.columns - 1.2
    forms = ("{}", "{}'s", "{} & {}", "Chez {}", "The {}", "{} {}")
    name = sign.fitting(
        lambda: sign.case(sign.pick(*forms).format(sign.capped(9), sign.capped(8))), wide * 1.5
    )
    trade = sign.fitting(lambda: sign.pick(*_TRADES, sign.capped(9)), wide)
    with_trade, with_more = high > 3.5 and draft.chance(0.7), high > 6 and draft.chance(0.6)
    left = high - 1.2 - 1.5 * with_trade - 1.5 * with_more
    parts = [sign.letters(name, wide, left, "shop")]
    if with_trade:
        parts.append(sign.styled(draft.tell("trade", trade), 1.1))
    if with_more:
        phone = draft.chance(0.5)
        parts.append(
            boxed(
                draft.tell("phone", sign.phone())
                if phone
                else draft.put(f"since {sign.rng.randint(1850, 2020)}")
            )
        )
    body = "\n\n".join(parts)
    return sign.page(sign.plate(body, high) if draft.chance(0.7) else body, sign.paper(0.5))


def opening_hours(draft: Draft) -> str:
    """When a shop is open: its days in rows."""
    sign = Sign(draft)
    wide = sign.columns
    short = wide < 15 or draft.chance(0.4)
    named = sign.lines >= 6 and draft.chance(0.6)
    space = int((sign.rows - 2.4 - 2 * named) / 1.6)
    groups: list[str] = list(DAYS)
    if space < 7 or draft.chance(0.5):
        groups = sign.pick(["Monday - Friday", "Saturday"], ["Monday - Thursday", "Friday", "Saturday"])
        groups += ["Sunday"] if draft.chance(0.6) else []
    if short:
        groups = [" - ".join(day[:3] for day in group.split(" - ")) for group in groups]
    groups = groups[: max(1, space)]
    parts = []
    if named:
        parts.append(sign.styled(draft.tell("shop", sign.fitting(sign.company, wide / 1.3)), 1.25))
    if sign.lines >= 4:
        head = sign.pick("Opening hours", "OPEN", "We are open", "Hours", "Öffnungszeiten", "Business hours")
        parts.append(
            sign.styled(draft.put(head if ems(head) < wide else "OPEN"), min(1.2, wide / ems("OPEN")))
        )
    closed, dash = sign.pick("closed", "Closed", "CLOSED"), sign.pick("-", " - ")
    cells, room = [], 0.0
    opens, shuts = sign.rng.randrange(12, 22) * 30, sign.rng.randrange(32, 44) * 30
    for place, group in enumerate(groups):
        if draft.chance(0.4):
            opens, shuts = opens + sign.rng.randrange(-1, 3) * 30, shuts - sign.rng.randrange(0, 6) * 30
            shuts = max(shuts, opens + 120)
        shut = place > 0 and draft.chance(0.25 if place == len(groups) - 1 else 0.08)
        hours = closed if shut else sign.time(opens) + dash + sign.time(shuts)
        room = max(room, ems(group + hours) + 1)
        cells.append(f"[{boxed(draft.put(group))}]")
        cells.append(f"[{boxed(draft.tell('opening_hours', hours))}]")
        also(draft, "hours_on", group)
    gap = sign.rng.uniform(0.45, 0.9)
    columns = 2 if room < wide else 1
    sides = sign.pick("(left, left)", "(left, right)", "(right, left)")
    align = f"align: {sides}, " if columns == 2 else ""
    parts.append(
        f"#grid(columns: {columns}, {align}column-gutter: 1em, row-gutter: {gap:.2f}em, {', '.join(cells)})"
    )
    side = sign.pick("center", "left", "center")
    return sign.sheet(f"#set align({side})\n" + "\n\n".join(parts), sign.paper(0.6))


def poster(draft: Draft) -> str:
    """What is on, when and where, with a price at times."""
    sign = Sign(draft)
    sign.colon = ""
    wide, left = sign.columns, sign.rows
    facts: list[tuple[str, Callable[[], str]]] = [
        ("date", sign.date), ("time", sign.time),
        ("place", lambda: sign.pick("{} Hall", "{} Park", "Club {}", "{}").format(sign.capped(9))),
        ("admission", lambda: sign.money(sign.rng.randint(2, 60) * 100)), ("website", sign.website),
    ]  # fmt: skip
    count = max(1, min(sign.rng.randint(2, 5), int((left - 2.5) / 2)))
    size = sign.rng.uniform(1.0, 1.5)
    chosen = facts[:count] if draft.chance(0.5) else sign.rng.sample(facts, count)
    below = count * size * 1.5
    title = sign.short(1, many(wide * (left - below) / 2), wide)
    if draft.chance(0.35):
        title = sign.case(sign.fitting(lambda: f"{sign.capped(8)} {sign.pick(*_EVENTS)}", wide * 2))
    parts = []
    if left > 8 and draft.chance(0.4):
        parts.append(
            draft.put(sign.fitting(lambda: f"{sign.person()} {sign.pick('presents', 'invites')}", wide))
        )
    parts.append(sign.letters(title, wide, max(1.5, left - below - 2), "event"))
    lines = []
    for key, make in chosen:
        told = boxed(draft.tell(key, sign.fitting(make, wide / size * 0.95)))
        lines.append(f"#text(size: {size:.2f}em)[{told}]")
    parts.append("\n\n".join(lines))
    if draft.chance(0.5):
        parts.insert(-1, sign.line())
    paper = (
        f"#set page(fill: {rgb(sign.ground)})\n#set text(fill: {rgb(sign.ink)})\n"
        if draft.chance(0.5)
        else ""
    )
    body = "\n\n".join(parts)
    return sign.sheet(f"#set align({sign.pick('center', 'center', 'left')})\n{body}", paper)


def sticker(draft: Draft) -> str:
    """A word or three on a round or oblong sticker."""
    sign = Sign(draft)
    side = min(sign.columns, sign.rows) * 0.96
    if draft.chance(0.5) and side > 6:
        text = sign.short(1, 3, side * 0.6)
        told = sign.letters(text, side * 0.62, side * 0.5, "sticker")
        edge = sign.pick("none", f"0.2em + {rgb(sign.ink)}", f"0.3em + {rgb(sign.rule)}")
        paint = f"#set text(fill: {rgb(sign.ink)})\n#set align(center + horizon)\n"
        shape = f"width: {side:.2f}em, height: {side:.2f}em, fill: {rgb(sign.ground)}, stroke: {edge}"
        body = f"#ellipse({shape}, inset: {side * 0.17:.2f}em, outset: -0.2em)[{paint}{told}]"
        return sign.page(body, sign.paper(0.3))
    high = sign.height(0.3, 0.5, 0.8)
    text = sign.short(1, 3, sign.columns - 1.2)
    return sign.page(
        sign.plate(sign.letters(text, sign.columns - 1.2, high - 1, "sticker"), high), sign.paper(0.3)
    )


def number_plate(draft: Draft) -> str:
    """A vehicle's plate, with or without a blue end."""
    sign = Sign(draft)
    plate = sign.text.fill(
        sign.pick("@@## @@@", "@-@@ ####", "@@-###-@@", "@@@ ####", "### @@@", "@@ @@ ###", "#@@@###")
    )
    high = min(sign.height(0.25, 0.3, 0.4), 6.0)
    colors = sign.pick(
        ((255, 255, 255), (10, 10, 10)), ((250, 210, 50), (10, 10, 10)), ((20, 20, 30), (240, 240, 240))
    )
    country = sign.pick("D", "F", "GB", "E", "I", "NL") if sign.columns > 11 and draft.chance(0.4) else ""
    wide = sign.columns - 1.2
    if not country:
        body = sign.letters(plate, wide, high - 0.6, "plate")
    else:
        end = "#block(fill: rgb(0, 50, 160), inset: 0.3em, width: 1.8em, height: 2em)"
        told = f"{end}[#set text(fill: white)\n#set align(center + horizon)\n{draft.put(country)}]"
        letters = sign.letters(plate, wide - 2.2, high - 0.6, "plate")
        body = f"#grid(columns: (auto, 1fr), align: center + horizon, [{told}], [{letters}])"
    return sign.page(sign.plate(body, max(high, 2.6), colors), sign.paper(0.3))


def price_poster(draft: Draft) -> str:
    """Goods and their price in large figures, with the former price at times."""
    sign = Sign(draft)
    high, wide = sign.height(0.6, 0.9, 1.3), sign.columns - 1.2
    item = sign.fitting(lambda: sign.short(1, 2, wide), wide * 1.6)
    cents = sign.rng.choice((99, 95, 50, 0, 49)) + 100 * sign.rng.randint(0, 199)
    flash = sign.pick("SALE", "NEW", "OFFER", "Today", "SPECIAL", f"-{sign.rng.randint(1, 9)}0%")
    with_flash, with_old = high > 6 and draft.chance(0.5), high > 7 and draft.chance(0.4)
    with_old = with_old and not (with_flash and "%" in flash)  # the two would have to agree
    left = high - 1.4 - 1.6 * with_flash - 1.6 * with_old
    parts = []
    if with_flash:
        told = draft.tell("discount", flash) if "%" in flash else draft.put(flash)
        parts.append(sign.styled(told, 1.1, bold=True))
    parts.append(sign.letters(item, wide, left * 0.4, "item"))
    price = sign.money(cents)
    parts.append(sign.letters(price, wide, left * 0.6, "price", item))
    if with_old:
        was = sign.pick("was", "instead of", "old price", "before")
        was = was if ems(was) < wide - 6 else "was"
        old = sign.money(cents + sign.rng.randint(1, 40) * 100)
        parts.append(sign.after(was, lambda: boxed(draft.tell("old_price", old))))
    body = "\n\n".join(parts)
    return sign.page(sign.plate(body, high) if draft.chance(0.75) else body, sign.paper(0.4))


def quote(draft: Draft) -> str:
    """A saying and who said it."""
    sign = Sign(draft)
    size = sign.rng.uniform(1.0, 1.9)
    lines = max(1.0, min(sign.rows / size / sign.pitch - 2.5, sign.rng.uniform(1, 6)))
    text = sign.prose(lines, sign.columns / size)
    marks = sign.pick(('"', '"'), ("“", "”"), ("", ""))
    told = draft.put(marks[0]) + draft.tell("quote", text) + draft.put(marks[1])
    author = sign.fitting(sign.person, sign.columns - 1.5)
    dash = sign.pick("– ", "- ", "", "— ")
    by = boxed(draft.put(dash) + draft.tell("author", author))
    side = sign.pick("left", "center", "right")
    parts = f"#text(size: {size:.2f}em)[{told}]\n\n#v(0.3em)\n#align({sign.pick('right', side)})[{by}]"
    return sign.sheet(f"#set align({side})\n{parts}", sign.paper(0.6))


def headline(draft: Draft) -> str:
    """A headline in large letters over some text."""
    sign = Sign(draft)
    high = sign.rows * sign.rng.uniform(0.35, 0.6)
    text = sign.short(1, many(sign.columns * high / 2), sign.columns)
    parts = [sign.letters(text, sign.columns, max(1.6, high), "heading")]
    if sign.lines >= 6 and draft.chance(0.5):
        day = sign.date()
        parts.append(boxed(draft.tell("date", day)))
    left = sign.lines - high / sign.pitch - 3
    parts.append(draft.put(sign.prose(max(1.0, left * sign.rng.uniform(0.3, 0.9)))))
    side = sign.pick("left", "center")
    return sign.sheet(f"#set align({side})\n" + "\n\n".join(parts), sign.paper(0.4))


def big_words(draft: Draft) -> str:
    """One to three words that fill the page."""
    sign = Sign(draft)
    text = sign.short(1, 3, sign.columns)
    if draft.chance(0.2):
        text = sign.fitting(sign.code, sign.columns * 1.2)
    body = sign.letters(text, sign.columns, sign.rows * 0.95, "sign")
    return sign.page(body, sign.paper(0.6))


def buttons(draft: Draft) -> str:
    """Buttons of a screen, each told by its colour, in a row or one above the other."""
    sign = Sign(draft)
    inline = sign.columns > 16 and draft.chance(0.5)
    most = int(sign.columns / 7) if inline else int(sign.rows / 2.6)
    names = sign.rng.sample(sorted(NAMED), max(1, min(4, most, sign.rng.randint(1, 4))))
    wide = sign.columns / len(names) - 1.6 if inline else sign.columns - 1.6
    asked = draft.chance(0.6) and sign.rows > 6
    parts = (
        [draft.tell("message", sign.fitting(lambda: sign.words(2, 6), sign.columns * 0.95) + "?")]
        if asked
        else []
    )
    shapes, labels = [], set()
    for name in names:
        label = sign.fitting(lambda: sign.pick(sign.pick(*_BUTTONS), sign.title(1, 2)), wide - 0.5)
        labels.add(label)
        told = draft.tell("button_of", label, name)
        also(draft, "box")
        ground, ink = sign.rng.choice(NAMED[name])
        shape = f"fill: {rgb(ground)}, stroke: 0.06em + {rgb(sign.rule)}, inset: 0.6em"
        shape += f", radius: {sign.pick(0, 0.3, 0.6)}em"
        shapes.append(f"[#block({shape})[#set text(fill: {rgb(ink)})\n{boxed(told)}]]")
        draft.fact("button_color", name, label)
    if len(labels) < len(names):  # two buttons of one label have no one colour
        draft.told[:] = [told for told in draft.told if told.key != "button_color"]
    columns = f"({'auto, ' * len(names)})" if inline else "1"
    parts.append(f"#grid(columns: {columns}, gutter: 0.7em, {', '.join(shapes)})")
    return sign.page("\n\n".join(parts), sign.paper(0.3))


def framed_line(draft: Draft) -> str:
    """Lines of text, one of them in a box: the one to be asked for."""
    sign = Sign(draft)
    size = sign.rng.uniform(1.0, 1.8)
    room = sign.columns / size
    count = max(2, min(sign.rng.randint(2, 7), int(sign.rows / size / (sign.pitch + 0.6)) - 1))
    boxed_one = sign.rng.randrange(count)
    parts = []
    for place in range(count):
        if place != boxed_one:
            parts.append(draft.put(sign.fitting(lambda: sign.words(1, 5), room * 0.95)))
            continue
        told = draft.tell("box", sign.fitting(lambda: sign.words(1, 4), room - 1.6))
        ground, ink = sign.ground, sign.ink
        if draft.chance(0.6):
            shape, paint = f"stroke: {sign.stroke(0.08, 0.16)}", ""
        else:
            shape, paint = f"fill: {rgb(ground)}, stroke: {sign.stroke()}", f"#set text(fill: {rgb(ink)})\n"
        parts.append(f"#block({shape}, inset: 0.45em, radius: {sign.pick(0, 0.3)}em)[{paint}{told}]")
    side = sign.pick("left", "center", "right")
    return sign.sheet(
        f"#set align({side})\n#text(size: {size:.2f}em)[\n" + "\n\n".join(parts) + "\n]", sign.paper(0.4)
    )


def colored_boxes(draft: Draft) -> str:
    """Boxes of different colours, one below the other: asked for by colour."""
    sign = Sign(draft)
    across = 2 if sign.columns > 15 and draft.chance(0.6) else 1
    deep = max(1, min(3 if across == 2 else 5, int(sign.rows / 3)))
    count = across * sign.rng.randint(max(1, deep - 1), deep)
    wide = sign.columns / across - 1.6
    high = min(sign.rows / (count / across) - 0.7, sign.rng.uniform(2.4, 6))
    cells = []
    names = sign.rng.sample(sorted(NAMED), count)
    for place, name in enumerate(names):
        text = sign.short(1, many(wide * high), wide)
        letters = sign.letters(text, wide, high - 1, "box")
        also(draft, "box_of", name)
        if count == 4 and across == 2:
            also(draft, "box_of", _CORNERS[place])
        elif across == 1 and count > 1 and place in (0, count - 1):
            also(draft, "box_of", "bottom" if place else "top")
        cells.append(f"[{sign.plate(letters, high, sign.rng.choice(NAMED[name]))}]")
    draft.fact("box_count", str(count))
    columns = "(1fr, 1fr)" if across == 2 else "(1fr,)"
    return sign.page(f"#grid(columns: {columns}, gutter: 0.5em, {', '.join(cells)})", "")


def direction_sign(draft: Draft) -> str:
    """Places with an arrow and how far they are."""
    sign = Sign(draft)
    size = sign.rng.uniform(1.0, 1.8) if sign.columns > 13 else 1.0
    far = sign.columns / size > 11 and draft.chance(0.75)
    count = max(1, min(5, int(sign.rows / size / 1.7) - 1, sign.rng.randint(1, 5)))
    unit = sign.pick(" km", " km", " mi", " m", "")
    room = sign.columns / size - 3.2 - 4.5 * far
    cells, distance = [], 0
    ink = rgb(sign.ink)
    arrow = (
        f"#box(width: 1.2em, height: 0.7em)[#place(horizon, line(length: 1.1em, stroke: 0.12em + {ink}))"
        f"#place(horizon + TO, polygon(fill: {ink}, (0em, 0.35em), (0.45em, 0em), (0.45em, 0.7em)))]"
    )
    right = arrow.replace("TO", "right").replace(
        "(0em, 0.35em), (0.45em, 0em), (0.45em, 0.7em)", "(0.45em, 0.35em), (0em, 0em), (0em, 0.7em)"
    )
    names: set[str] = set()
    while len(names) < count:
        name = sign.fitting(lambda: sign.case(sign.title(1, 2)), room)
        if name in names:
            continue
        names.add(name)
        distance += sign.rng.randint(1, 90)
        turn = sign.pick("left", "right")
        cells.append(f"[{arrow.replace('TO', 'left') if turn == 'left' else right}]")
        cells.append(f"[{boxed(draft.put(name))}]")
        draft.fact("direction", turn, name)
        if far:
            cells.append(f"[{boxed(draft.tell('distance', f'{distance}{unit}', name))}]")
    columns = "(auto, 1fr, auto)" if far else "(auto, 1fr)"
    align = "(left, left, right)" if far else "(left, left)"
    gutter = f"column-gutter: 0.6em, row-gutter: {sign.rng.uniform(0.6, 1):.2f}em"
    grid = f"#grid(columns: {columns}, align: {align}, {gutter}, {', '.join(cells)})"
    shape = f"width: 100%, inset: 0.5em, radius: {sign.pick(0, 0.3)}em, fill: {rgb(sign.ground)}"
    body = (
        f"#block({shape})[#set text(fill: {ink}, size: {size:.2f}em{sign.heavy})\n#set align(left)\n{grid}]"
    )
    return sign.page(body, sign.paper(0.2))


def speed_limit(draft: Draft) -> str:
    """A speed limit in a red ring, with a word or two below at times."""
    sign = Sign(draft)
    side = min(sign.columns, sign.rows) * sign.rng.uniform(0.7, 0.95)
    more = sign.rows - side > 2.6 and draft.chance(0.6)
    limit = str(
        sign.rng.choice((5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 70, 80, 90, 100, 110, 120, 130))
    )
    sign.largest *= 1.5
    told = sign.letters(limit, side * 0.55, side * 0.5, "speed_limit")
    ring = f"stroke: {side * 0.07:.2f}em + rgb(205, 20, 30)"
    shape = f"radius: {side / 2 * 0.86:.2f}em, fill: white, {ring}, inset: 0em"
    body = (
        f"#circle({shape})[#set text(fill: black)\n#set align(center + horizon)\n#block(width: 72%)[{told}]]"
    )
    if more:
        below = boxed(draft.put(sign.fitting(lambda: sign.words(1, 3), sign.columns)))
        body += f"\n\n#v({side * 0.06:.2f}em){below}"
    return sign.page(body, sign.paper(0.3))


def fine(draft: Draft) -> str:
    """What is forbidden and what it costs."""
    sign = Sign(draft)
    high, wide = sign.height(0.5, 0.8, 1.1), sign.columns - 1.2
    text = sign.pick(*_ORDERS) if draft.chance(0.5) else f"NO {sign.capped(9).upper()}"
    text = text if ems(text) < wide * 2 and capitals(text) == text else "NO ENTRY"
    amount = sign.money(sign.rng.randint(1, 100) * 1000)
    body = sign.letters(text, wide, (high - 1.2) * 0.6, "warning")
    label = sign.pick("Fine", "Penalty", "Maximum fine", "FINE")
    if ems(label + amount) > wide - 1:
        label = ""
    body += "\n\n" + boxed(
        sign.after(label + sign.pick(":", "") if label else "", lambda: draft.tell("fine", amount))
    )
    return sign.page(sign.plate(body, high), sign.paper(0.2))


TEMPLATES: tuple[tuple[float, Template], ...] = (
    (1.0, street_sign), (1.0, door_sign), (1.5, warning), (1.0, shop_front), (1.0, opening_hours),
    (1.3, poster), (0.7, sticker), (0.6, number_plate), (1.0, price_poster), (0.8, quote), (1.0, headline),
    (1.5, big_words), (0.8, buttons), (1.0, framed_line), (1.2, colored_boxes), (0.8, direction_sign),
    (0.5, speed_limit), (0.5, fine),
)  # fmt: skip
