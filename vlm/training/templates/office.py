"""Pages an office makes, of the training split: letters, cards, notes, lists, mails, chats, plain text.

Forms, tables and calendars are in ``grids`` and listed here.
"""

from __future__ import annotations

from functools import partial

from vlm.training.draft import Draft, Template, rgb
from vlm.training.templates import grids
from vlm.training.templates.kit import Desk, also, boxed, ems

_DEAR = ("Dear {},", "Hello {},", "Dear {}:", "Hi {},", "Good morning {},", "To {}")
_YOURS = ("Yours sincerely,", "Kind regards,", "Best wishes,", "Regards,", "With best regards", "Thank you,")
_ABOUT = ("Subject: ", "Re: ", "", "", "RE: ")


def letter(draft: Draft) -> str:
    """A business letter: head, date, recipient, subject, body, signature; as much as there is room for."""
    desk = Desk(draft)
    parts: list[str] = []
    left = desk.lines
    if left >= 6 and draft.chance(0.8):
        parts.append(_letterhead(desk, address=left >= 12))
        left -= 5 if left >= 12 else 2
    if draft.chance(0.8):
        side = desk.pick("left", "right")
        place = desk.fitting(lambda: desk.capped(9), desk.columns / 3) + "," if draft.chance(0.2) else ""
        dated = desk.after(place, lambda: boxed(draft.tell("date", desk.date())))
        parts.append(f"#align({side})[{dated}]")
        left -= 1
    dear = desk.fitting(desk.person, desk.columns - 5)
    if left >= 8 and draft.chance(0.8):
        parts.append("#v(0.5em)" + _addressee(desk, dear) + "#v(0.5em)")
        left -= 4
    if draft.chance(0.8):
        subject = desk.fitting(lambda: desk.words(2, 6), desk.columns * 0.9)
        told = desk.after(desk.pick(*_ABOUT), lambda: draft.tell("subject_line", subject))
        parts.append(desk.styled(told, bold=True))
        left -= 1
    if left >= 4:
        parts.append(draft.put(desk.pick(*_DEAR).format(dear)))
        left -= 1
    parts += _body(desk, left - 4)
    job = left >= 5 and draft.chance(0.4)
    if draft.chance(0.85):
        parts.append("#v(0.3em)" + draft.put(desk.pick(*_YOURS)))
    parts.append(_signature(desk, job))
    return desk.sheet("\n\n".join(parts), desk.paper(0.3))


def _letterhead(desk: Desk, address: bool) -> str:
    draft = desk.draft
    side, size = desk.pick("left", "center", "right"), desk.rng.uniform(1.0, 1.7)
    name = desk.fitting(desk.company, desk.columns / size * 0.9)
    lines = [desk.styled(draft.tell("company", name), size, bold=True)]
    if address:
        lines.append(draft.tell("address", desk.fitting(desk.text.address, desk.columns)))
        if draft.chance(0.7):
            lines.append(draft.tell("city", desk.fitting(desk.city, desk.columns)))
        if draft.chance(0.6):
            intro = desk.pick("Tel. ", "Phone: ", "")
            lines.append(desk.after(intro, lambda: boxed(draft.tell("phone", desk.phone()))))
        if draft.chance(0.5):
            lines.append(draft.tell("website", desk.fitting(desk.website, desk.columns)))
    head = " #linebreak()\n".join(lines)
    if draft.chance(0.2):
        return desk.band(f"#align({side})[{head}]")
    rule = desk.line() if draft.chance(0.5) else "#v(0.4em)"
    return f"#align({side})[{head}]\n{rule}"


def _addressee(desk: Desk, name: str) -> str:
    draft = desk.draft
    lines = [draft.tell("recipient", name)]
    if draft.chance(0.3):
        lines.append(draft.put(desk.fitting(desk.company, desk.columns)))
    key = "recipient_address" if any(told.key == "address" for told in draft.told) else "address"
    lines.append(draft.tell(key, desk.fitting(desk.text.address, desk.columns)))
    lines.append(draft.put(desk.fitting(desk.city, desk.columns)))
    return " #linebreak()\n".join(lines)


def _body(desk: Desk, lines: float) -> list[str]:
    """Paragraphs that fill so many lines, or fewer."""
    parts: list[str] = []
    lines *= desk.rng.uniform(0.5, 1.0)
    while lines >= 1 or not parts:
        taken = min(max(1.0, lines), desk.rng.randint(1, 6))
        parts.append(desk.draft.put(desk.prose(taken)))
        lines -= taken + 0.4
    return parts


def _signature(desk: Desk, job: bool) -> str:
    draft = desk.draft
    name = desk.fitting(desk.person, desk.columns)
    lines = [desk.styled(draft.tell("signed_by", name))]
    also(draft, "sender")
    if job:
        lines.append(draft.tell("job", desk.fitting(desk.job, desk.columns)))
    return " #linebreak()\n".join(lines)


def memo(draft: Draft) -> str:
    """A memo: rows that say to whom, from whom, when and what about."""
    desk = Desk(draft, 36, 30)
    title = desk.pick("Memo", "MEMO", "Memorandum", "MEMORANDUM", "Internal note", "Fax", desk.capped(9))
    narrow = desk.columns < 15
    rows = [
        ("recipient", desk.pick("To", "TO", "For", "Attention"), desk.person),
        ("sender", desk.pick("From", "FROM", "Sender"), desk.person),
        ("date", desk.pick("Date", "DATE"), desk.date),
        ("subject_line", desk.pick("Subject", "Re", "SUBJECT", "About"), lambda: desk.words(1, 4)),
    ]
    one_column = narrow and (desk.columns < 11 or draft.chance(0.5))
    tall = 2.2 if one_column else 1.6 if narrow else 1.2
    rows = [
        rows[at] for at in sorted(desk.rng.sample(range(4), max(1, min(4, int((desk.lines - 1) / tall)))))
    ]
    if draft.chance(0.4):
        desk.rng.shuffle(rows)
    head = ""
    if desk.lines - len(rows) * tall > 3 and draft.chance(0.85):
        head = (
            desk.styled(
                draft.put(title), min(desk.rng.uniform(1.1, 1.9), desk.columns / ems(title)), bold=True
            )
            + "\n\n"
        )
    label_width = max(ems(label + desk.colon) for _, label, _ in rows)
    cells = []
    for key, label, make in rows:
        cells.append(f"[{desk.label(label)}]")
        value = draft.tell(key, desk.fitting(make, desk.columns - (0 if one_column else label_width + 1)))
        cells.append(f"[{value}]")
    bold = draft.chance(0.5)
    show = '#show grid.cell.where(x: 0): set text(weight: "bold")\n' if bold and not narrow else ""
    columns = "1" if one_column else "2"
    gutter = f"column-gutter: 0.8em, row-gutter: {desk.rng.uniform(0.5, 0.9):.2f}em"
    grid = f"#grid(columns: {columns}, {gutter}, {', '.join(cells)})\n"
    rule = desk.line() if draft.chance(0.7) else ""
    body = _body(desk, desk.lines - 3 - len(rows) * tall)
    return desk.sheet(show + head + grid + rule + "\n\n" + "\n\n".join(body), desk.paper())


def note(draft: Draft) -> str:
    """A short note: a greeting, a line or more, a name, on coloured paper at times."""
    desk = Desk(draft, 22, 16)
    parts = []
    side = desk.pick("left", "left", "center")
    if draft.chance(0.5):
        parts.append(f"#align(right)[{boxed(draft.tell('date', desk.date()))}]")
    name = desk.fitting(lambda: desk.capped(10), desk.columns - 5)
    if draft.chance(0.8):
        greeting = desk.pick("Hi", "Dear", "To", "For", "Hello", "")
        told = desk.after(greeting, lambda: draft.tell("recipient", name))
        parts.append(told + draft.put(desk.pick(",", "!", "")))
    size = desk.rng.uniform(1.0, 1.5)
    lines = min((desk.lines - 4) / size, desk.rng.uniform(1, 8))
    message = draft.tell("message", desk.prose(max(1.0, lines), desk.columns / size))
    parts.append(desk.styled(message, size, bold=draft.chance(0.2)))
    if draft.chance(0.4) and desk.lines > 6:
        what = draft.put(desk.pick("Call me:", "Tel.", "Please call", "My number:"))
        parts.append(what + " " + boxed(draft.tell("phone", desk.phone())))
    sign = desk.pick("-", "", "from", "love,", "Thanks,")
    signed = desk.fitting(lambda: desk.capped(10), desk.columns - ems(sign))
    told = desk.after(sign, lambda: draft.tell("signed_by", signed))
    parts.append(f"#align({desk.pick('left', 'right')})[{told}]")
    return desk.sheet(f"#set align({side})\n" + "\n\n".join(parts), desk.paper(0.6))


def _contacts(desk: Desk, room: float, most: int) -> list[str]:
    """Ways to reach somebody: as lines, with labels of one kind."""
    draft = desk.draft
    intro = desk.pick(
        ("", "", "", ""),
        ("Tel. ", "", "", ""),
        ("Phone: ", "E-mail: ", "Web: ", ""),
        ("T ", "E ", "W ", "A "),
    )
    makers = [
        ("phone", intro[0], desk.phone), ("email", intro[1], desk.email),
        ("website", intro[2], desk.website), ("address", intro[3], desk.text.address),
    ]  # fmt: skip
    chosen = desk.rng.sample(makers, min(most, desk.rng.randint(1, 4)))
    lines = []
    for key, label, make in chosen:
        value = desk.fitting(make, room - ems(label))
        lines.append(desk.after(label, partial(_boxed_told, draft, key, value)))
    return lines


def _boxed_told(draft: Draft, key: str, value: str) -> str:
    return boxed(draft.tell(key, value))


def card_plain(draft: Draft) -> str:
    """A business card in one column, left, centred or right."""
    desk = Desk(draft, 19, 9)
    side = desk.pick("left", "center", "right")
    size = desk.rng.uniform(1.1, 1.8)
    left = desk.lines
    company = left >= 4 and draft.chance(0.85)
    name = desk.fitting(desk.person, desk.columns / size)
    firm = desk.fitting(desk.company, desk.columns * 0.85)
    parts = []
    first = draft.chance(0.6)
    if company and first:
        parts.append(desk.styled(draft.tell("company", firm), 1.1, bold=True))
    lines = [desk.styled(draft.tell("name", name), size, bold=draft.chance(0.7))]
    if left >= 3 and draft.chance(0.85):
        lines.append(desk.styled(draft.tell("job", desk.fitting(desk.job, desk.columns * 0.95)), bold=False))
    parts.append("#linebreak()".join(lines))
    if company and not first:
        parts.append(desk.styled(draft.tell("company", firm), 1.1))
    if left >= 6 and draft.chance(0.4):
        parts.append(desk.line())
    contacts = _contacts(desk, desk.columns, max(1, left - 4))
    parts.append("#linebreak()".join(contacts))
    border = ""
    if draft.chance(0.3):
        border = f"#set page(background: rect(width: 97%, height: 97%, stroke: {desk.stroke()}))\n"
    return desk.sheet(f"#set align({side})\n" + "\n\n".join(parts), border + desk.paper(0.5))


def card_band(draft: Draft) -> str:
    """A business card with a coloured band that holds the company or the name."""
    desk = Desk(draft, 19, 9)
    size = desk.rng.uniform(1.1, 1.8)
    inner = desk.columns - 1.2
    on_top = draft.chance(0.7)
    side = desk.pick("left", "center")
    firm, person = desk.fitting(desk.company, inner / size), desk.fitting(desk.person, inner * 0.95)

    def band() -> str:
        text = desk.styled(draft.tell("company", firm), size, bold=True)
        if desk.lines >= 7 and draft.chance(0.4):
            text += "#linebreak()" + draft.put(desk.fitting(lambda: desk.words(2, 4), inner))
        fill = f"fill: {rgb(desk.ground)}, radius: {desk.pick('0em', '0em', '0.4em')}"
        return f"#block(width: 100%, inset: 0.6em, {fill})[#set text(fill: {rgb(desk.ink)})\n{text}]"

    def person_and_contacts() -> str:
        lines = [desk.styled(draft.tell("name", person), bold=True)]
        if desk.lines >= 5 and draft.chance(0.8):
            lines.append(draft.tell("job", desk.fitting(desk.job, inner)))
        if desk.lines >= 5:
            lines += _contacts(desk, inner, max(1, desk.lines - 5))
        return f"#pad(x: 0.6em)[{'#linebreak()'.join(lines)}]"

    parts = [band(), person_and_contacts()] if on_top else [person_and_contacts(), band()]
    return desk.sheet(f"#set align({side})\n" + "\n".join(parts), desk.paper(0.3))


def card_split(draft: Draft) -> str:
    """A coloured card, the person beside the contacts where it is wide enough."""
    desk = Desk(draft, 26, 8)
    wide = desk.columns >= 20
    room = desk.columns * 0.47 if wide else desk.columns
    size = desk.rng.uniform(1.0, 1.4)
    person = [desk.styled(draft.tell("name", desk.fitting(desk.person, room / size)), size, bold=True)]
    person.append(draft.tell("job", desk.fitting(desk.job, room)))
    if desk.lines >= 5:
        person.append(draft.tell("company", desk.fitting(desk.company, room)))
    contacts = _contacts(desk, room - 1, max(1, 4 if wide else desk.lines - 4))
    paper = f"#set page(fill: {rgb(desk.ground)})\n#set text(fill: {rgb(desk.ink)})\n"
    first, second = "#linebreak()".join(person), "#linebreak()".join(contacts)
    if not wide:
        return desk.sheet(f"{first}\n\n{second}", paper)
    edge = f"#block(inset: (left: 0.6em), stroke: (left: 0.08em + {rgb(desk.ink)}))[{second}]"
    return desk.sheet(f"#grid(columns: (1fr, 1fr), align: horizon, [{first}], [{edge}])", paper)


def two_columns(draft: Draft) -> str:
    """Notes or an article in two columns under a heading (one below the other where there is no room)."""
    desk = Desk(draft, 45, 45)
    wide = desk.columns >= 17
    width = desk.columns / 2 - 0.8 if wide else desk.columns
    size = desk.rng.uniform(1.1, 2.0)
    heading = desk.fitting(lambda: desk.words(1, 5), desk.columns / size)
    parts = [
        f"#align({desk.pick('left', 'center')})[{desk.styled(draft.tell('heading', heading), size, True)}]"
    ]
    also(draft, "title")
    left = desk.lines - 2.5
    if left > 5 and draft.chance(0.5):
        author = desk.fitting(desk.person, desk.columns - 6)
        parts.append(desk.after("by", lambda: draft.tell("author", author)))
        left -= 1.5
    if draft.chance(0.4):
        parts.append(desk.line())
    columns = []
    for _ in range(2):
        column = []
        if left > 4 and draft.chance(0.6):
            column.append(desk.styled(draft.put(desk.fitting(lambda: desk.words(1, 3), width)), bold=True))
        room = (left if wide else left / 2) * desk.rng.uniform(0.4, 0.95) - len(column)
        while room >= 1 or not column:
            taken = min(max(1.0, room), desk.rng.randint(2, 7))
            column.append(draft.put(desk.prose(taken, width)))
            room -= taken + 0.3
        columns.append("\n\n".join(column))
    if wide:
        parts.append(f"#grid(columns: (1fr, 1fr), column-gutter: 1.4em, [{columns[0]}], [{columns[1]}])")
    else:
        parts += columns
    return desk.sheet("\n\n".join(parts), desk.paper())


def numbered(draft: Draft) -> str:
    """A numbered list under a heading."""
    desk = Desk(draft, 24, 16)
    form = desk.pick("{}.", "{})", "({})", "{}", "{}.")
    count = min(desk.rng.randint(2, 12), int((desk.lines - 1) / 1.3))
    parts = [_list_heading(desk)] if count >= 2 else []
    lowest = desk.rng.uniform(1.5, 2.3)
    cells = []
    short = draft.chance(0.6)
    for place in range(1, max(count, 2) + 1):
        cells.append(f"[{draft.put(form.format(place))}]")
        text = desk.fitting(lambda: desk.words(1, 2 if short else 5), desk.columns - lowest - 0.8)
        cells.append(f"[{draft.tell('list_item', text, str(place))}]")
    draft.fact("item_count", str(max(count, 2)))
    gutter = f"column-gutter: 0.6em, row-gutter: {desk.leading + 0.1:.2f}em"
    parts.append(f"#grid(columns: (auto, 1fr), {gutter}, {', '.join(cells)})")
    return desk.sheet("\n\n".join(parts), desk.paper())


def _list_heading(desk: Desk) -> str:
    size = desk.rng.uniform(1.0, 1.7)
    text = desk.draft.tell("heading", desk.fitting(lambda: desk.words(1, 3), desk.columns / size))
    return desk.styled(text, size, bold=True)


def bulleted(draft: Draft) -> str:
    """A list with bullets, drawn or typed."""
    desk = Desk(draft, 24, 14)
    colour = rgb(desk.rule)
    drawn = desk.pick(
        f"#circle(radius: 0.18em, fill: {colour})", f"#square(size: 0.35em, fill: {colour})",
        f"#rect(width: 0.6em, height: 0.1em, fill: {colour})", "",
    )  # fmt: skip
    typed = desk.pick("-", "•", "*", "–", "+")
    count = max(2, min(desk.rng.randint(2, 10), int((desk.lines - 1) / 1.3)))
    parts = [_list_heading(desk)]
    cells = []
    for _ in range(count):
        cells.append(f"[{drawn or draft.put(typed)}]")
        cells.append(f"[{draft.put(desk.fitting(lambda: desk.words(1, 5), desk.columns - 1.6))}]")
    draft.fact("item_count", str(count))
    gutter = f"column-gutter: 0.6em, row-gutter: {desk.leading + 0.1:.2f}em"
    place = "align: (horizon, top), " if drawn else ""
    parts.append(f"#grid(columns: (auto, 1fr), {place}{gutter}, {', '.join(cells)})")
    return desk.sheet("\n\n".join(parts), desk.paper())


def checklist(draft: Draft) -> str:
    """Things to do, some of them ticked: the tick is drawn, so it must be seen and not read."""
    desk = Desk(draft, 24, 14)
    count = max(2, min(desk.rng.randint(2, 9), int((desk.lines - 1) / 1.4)))
    stroke = f"stroke: 0.09em + {rgb(desk.rule)}"
    tick = desk.pick(
        "#place(line(start: (0.1em, 0.1em), end: (0.6em, 0.6em), stroke: 0.12em + red))"
        "#place(line(start: (0.6em, 0.1em), end: (0.1em, 0.6em), stroke: 0.12em + red))",
        "#place(line(start: (0.1em, 0.35em), end: (0.3em, 0.58em), stroke: 0.14em + green))"
        "#place(line(start: (0.3em, 0.58em), end: (0.7em, -0.05em), stroke: 0.14em + green))",
        f"#place(dx: 0.12em, dy: 0.12em, square(size: 0.46em, fill: {rgb(desk.rule)}))",
    )
    parts = [_list_heading(desk)]
    seen: set[str] = set()
    cells, ticked = [], 0
    for _ in range(count):
        text = desk.fitting(lambda: desk.words(1, 4), desk.columns - 2)
        done = draft.chance(0.5)
        ticked += done
        cells.append(f"[#box(width: 0.7em, height: 0.7em, {stroke})[{tick if done else ''}]]")
        cells.append(f"[{draft.put(text)}]")
        if text not in seen:
            draft.fact("ticked", "Yes" if done else "No", text)
        seen.add(text)
    draft.fact("ticked_count", str(ticked))
    draft.fact("item_count", str(count))
    gutter = f"column-gutter: 0.7em, row-gutter: {desk.leading + 0.25:.2f}em"
    parts.append(f"#grid(columns: (auto, 1fr), {gutter}, {', '.join(cells)})")
    return desk.sheet("\n\n".join(parts), desk.paper())


def badge(draft: Draft) -> str:
    """A name badge: a heading, the name large, where its wearer is from."""
    desk = Desk(draft, 14, 8)
    coloured = draft.chance(0.6)
    greeting = desk.pick(
        "HELLO my name is", "Hello", "VISITOR", "Guest", "STAFF", "My name is", desk.title(1, 2)
    )
    parts = []
    if desk.lines >= 3 and ems(greeting) <= desk.columns - 1:
        text = desk.styled(draft.put(greeting), bold=True)
        fill = f"fill: {rgb(desk.ground)}, inset: 0.5em, width: 100%"
        ink = f"#set text(fill: {rgb(desk.ink)})\n"
        parts.append(f"#block({fill})[{ink}{text}]" if coloured else f"#block[{text}]")
    most, high = desk.rng.uniform(1.4, 3.2), desk.rows * 0.45
    name = desk.fitting(lambda: desk.title(1, 2), desk.columns / 1.05)
    lines = desk.shaped(name, desk.columns, high)
    parts.append(f"#lettering({most:.2f}, {high:.2f})[{desk.broken(name, lines, 'name')}]")
    if desk.lines >= 5 and draft.chance(0.8):
        parts.append(draft.tell("job", desk.fitting(desk.job, desk.columns * 0.95)))
    if desk.lines >= 6 and draft.chance(0.8):
        parts.append(desk.styled(draft.tell("company", desk.fitting(desk.company, desk.columns * 0.9))))
    return desk.sheet("#set align(center)\n" + "\n\n".join(parts), desk.paper(0.3))


def id_card(draft: Draft) -> str:
    """A card with a picture of its owner (a plain figure) and labelled lines."""
    desk = Desk(draft, 20, 10)
    photo = desk.columns >= 15 and desk.lines >= 6
    room = desk.columns - (6.5 if photo else 0.5)
    heads = ("IDENTITY CARD", "Member", "LIBRARY CARD", "Student ID", "EMPLOYEE", "PERMIT", desk.title(1, 2))
    head = desk.fitting(lambda: desk.pick(*heads), desk.columns - 1.2)
    banner = desk.band(desk.styled(draft.tell("title", head), bold=True))
    rows = [
        ("name", desk.pick("Name", "Full name", "Surname, given name"), desk.person),
        (
            "birth_date",
            desk.pick("Date of birth", "Born", "DOB"),
            lambda: desk.date(desk.rng.randint(1940, 2010)),
        ),
        ("expiry", desk.pick("Expires", "Valid until", "Date of expiry"), lambda: desk.date(desk.year + 5)),
        ("code", desk.pick("No.", "Card no.", "ID", "Number"), desk.code),
        ("company", desk.pick("Company", "School", "Employer"), desk.company),
        ("country", desk.pick("Nationality", "Country"), lambda: desk.capped(10)),
    ]
    stacked = draft.chance(0.5)
    space = (desk.rows - 2.4) / (2.35 * desk.pitch if stacked else 1.25 * desk.pitch)
    count = max(1, min(len(rows), int(space), desk.rng.randint(2, 6)))
    rows = [rows[0], *desk.rng.sample(rows[1:], count - 1)]
    lines = []
    for key, label, make in rows:
        printed = desk.label(label)
        value = desk.fitting(make, room if stacked else room - ems(label) - 1)
        told = boxed(draft.tell(key, value))
        also(draft, "field", label)
        gap = "#linebreak()" if stacked else " #h(0.3em) "
        lines.append(f"#text(size: 0.86em)[{printed}]{gap}{desk.styled(told)}")
    text = "\n\n".join(lines)
    skin, cloth = desk.pick("rgb(222, 184, 140)", "rgb(140, 95, 60)", "gray"), rgb(desk.rule)
    figure = (
        f"#box(width: 4.6em, height: 5.6em, fill: luma(225), stroke: {desk.stroke()}, clip: true)["
        f"#place(top + center, dy: 0.8em, circle(radius: 1.2em, fill: {skin}))"
        f"#place(bottom + center, dy: 1em, ellipse(width: 4em, height: 3.2em, fill: {cloth}))]"
    )
    body = f"#grid(columns: (auto, 1fr), column-gutter: 1em, [{figure}], [{text}])" if photo else text
    return desk.sheet(f"{banner}\n{body}", desk.paper(0.4))


def mail(draft: Draft) -> str:
    """A printed e-mail: header rows, then the message."""
    desk = Desk(draft, 45, 45)
    sender, recipient = (desk.fitting(desk.email, desk.columns - 4) for _ in range(2))
    rows = [
        ("sender", desk.pick("From", "Sender"), sender),
        ("recipient", "To", recipient),
        ("date", desk.pick("Date", "Sent"), desk.date() + (f" {desk.time()}" if desk.columns > 16 else "")),
        ("subject_line", "Subject", desk.fitting(lambda: desk.words(1, 5), desk.columns - 5)),
    ]
    if desk.lines < 7:
        rows = [desk.rng.choice(rows[:3]), rows[3]]
    elif draft.chance(0.5):
        rows.insert(0, rows.pop())
    bold = draft.chance(0.6)
    lines = []
    for key, label, value in rows:
        big = key == "subject_line" and draft.chance(0.3)
        printed = "" if big else desk.styled(draft.put(label + ":"), bold=bold)
        told = desk.styled(draft.tell(key, value), bold=big)
        if key in ("sender", "recipient"):
            also(draft, "email")
        lines.append(f"{printed} {told}" if printed else told)
    parts = ["#linebreak()".join(lines), desk.line() if draft.chance(0.6) else ""]
    left = desk.lines - len(rows) * 1.3 - 2
    if left > 3:
        parts.append(
            draft.put(desk.pick(*_DEAR).format(desk.fitting(lambda: desk.capped(9), desk.columns - 9)))
        )
        left -= 1
    parts += _body(desk, left - 2)
    if left > 1:
        parts.append(draft.tell("signed_by", desk.fitting(lambda: desk.title(1, 2), desk.columns)))
    return desk.sheet("\n\n".join(parts), desk.paper(0.25))


def chat(draft: Draft) -> str:
    """A chat on a telephone: bubbles left and right."""
    desk = Desk(draft, 28, 40)
    bubble = max(6.0, desk.columns * desk.rng.uniform(0.62, 0.8))
    contact = desk.fitting(lambda: desk.title(1, 2), desk.columns - 2)
    parts, left = [], desk.rows - 0.5
    if desk.lines >= 6:
        parts.append(desk.band(desk.styled(draft.tell("contact", contact), bold=True)))
        left -= 2.6
    (theirs, their_ink), (mine, my_ink) = desk.rng.sample(desk.colors(), 2)
    stamped = draft.chance(0.4)
    minute = desk.rng.randrange(400, 1300)
    messages: list[tuple[str, str, bool]] = []
    while True:
        text = desk.prose(desk.rng.uniform(0.3, 2.2), bubble - 1.4)
        height = (ems(text) / (bubble - 1.4) + 1) * desk.pitch + 1.2 + stamped * desk.pitch
        if messages and (height > left or len(messages) == 12):
            break
        left -= height
        minute += desk.rng.randrange(0, 9)
        messages.append((text, desk.time(minute), draft.chance(0.5)))
        if left < 0:
            break
    texts = [text for text, _, _ in messages]
    for place, (text, time, right) in enumerate(messages):
        ground, ink = (mine, my_ink) if right else (theirs, their_ink)
        if place == len(messages) - 1:
            told = draft.tell("last_message", text)
        elif place == 0:
            told = draft.tell("first_message", text)
        else:
            told = draft.put(text)
        if stamped:
            stamp = draft.tell("sent_time", time, text) if texts.count(text) == 1 else draft.put(time)
            told += f"#linebreak()#text(size: 0.86em)[{boxed(stamp)}]"
        shape = f"width: {bubble:.1f}em, inset: 0.6em, radius: {desk.pick(0.3, 0.6)}em, fill: {rgb(ground)}"
        inside = f"#set align(left)\n#set text(fill: {rgb(ink)})\n{told}"
        parts.append(f"#align({'right' if right else 'left'})[#block({shape})[{inside}]]")
    draft.fact("message_count", str(len(messages)))
    return desk.sheet("\n".join(parts), desk.paper(0.4))


_COMMANDS = ("ls", "cd", "cat", "grep", "make", "git pull", "run", "ping", "cp", "echo", "sudo", "python")


def terminal(draft: Draft) -> str:
    """A program's output or a settings file: commands, assignments, messages."""
    desk = Desk(draft, 40, 28)
    lines: list[str] = []
    count = max(2, min(int(desk.rows / desk.pitch) - 1, desk.rng.randint(3, 22)))
    prompt = desk.pick("$ ", "> ", "# ", f"{desk.plain_word(5)}$ ")
    equals, gap = desk.pick((" =", " "), ("=", ""), (":", " "), (":", " "))
    settings: set[str] = set()
    trouble = desk.rng.randrange(count) if draft.chance(0.6) else None
    commands = draft.chance(0.7)
    for place in range(count):
        kind = (
            "error"
            if place == trouble
            else desk.pick("command" if commands else "setting", "setting", "setting", "said")
        )
        if kind == "error":
            label = desk.pick("ERROR:", "error:", "Error", "fatal:", "WARNING:")
            room = desk.columns - ems(label) - 0.5
            lines.append(
                draft.put(label) + " " + draft.tell("error", desk.fitting(lambda: desk.words(2, 5), room))
            )
        elif kind == "command":
            argument = desk.pick(
                "", f" {desk.plain_word(8)}.{desk.pick('txt', 'py', 'log', 'cfg')}", f" {desk.plain_word(7)}"
            )
            command = prompt + desk.pick(*_COMMANDS) + argument
            lines.append(draft.put(command if ems(command) < desk.columns else f"{prompt}ls"))
        elif kind == "setting":
            name = desk.plain_word(9) + (
                f"_{desk.plain_word(6)}" if desk.columns > 18 and draft.chance(0.4) else ""
            )
            room = desk.columns - ems(name + equals) - 0.5
            value = desk.fitting(lambda: _value(desk), room)
            intro = draft.put(name + equals) + gap
            lines.append(
                intro + (draft.put(value) if name in settings else draft.tell("setting", value, name))
            )
            settings.add(name)
        else:
            lines.append(draft.put(desk.fitting(lambda: desk.words(2, 6), desk.columns)))
    paper = ""
    if draft.chance(0.6):
        ground = desk.pick((18, 18, 18), (30, 34, 46), (0, 0, 0), (250, 250, 245), (40, 0, 36))
        ink = (30, 30, 30) if ground[0] > 200 else desk.pick((235, 235, 235), (90, 240, 110), (255, 200, 90))
        paper = f"#set page(fill: {rgb(ground)})\n#set text(fill: {rgb(ink)})\n"
    return desk.sheet("#linebreak()\n".join(lines), paper)


def _value(desk: Desk) -> str:
    whole, part = desk.rng.randint(0, 9999), desk.rng.uniform(0, 10)
    return desk.pick(
        str(whole), f"{part:.2f}", desk.pick("true", "false", "on", "off"), desk.plain_word(9),
        desk.text.fill("v#.#.#"), f"/{desk.plain_word(6)}/{desk.plain_word(6)}", f"{whole % 100}%",
        f'"{desk.plain_word(8)}"', desk.text.fill("##.#.##.#"),
    )  # fmt: skip


TEMPLATES: tuple[tuple[float, Template], ...] = (
    (2.0, letter), (1.0, memo), (1.0, note), (1.0, card_plain), (1.0, card_band), (1.0, card_split),
    (1.0, two_columns), (1.0, numbered), (0.7, bulleted), (0.7, checklist), (0.8, badge), (1.0, id_card),
    (1.0, mail), (1.0, chat), (1.0, terminal), *grids.TEMPLATES,
)  # fmt: skip
