"""Forms, tables, timetables and calendars of the training split: text told by the label it belongs to."""

from __future__ import annotations

import calendar
from collections.abc import Callable
from dataclasses import dataclass

from vlm.training.draft import Draft, Template, rgb
from vlm.training.templates.kit import NAMED, Desk, also, boxed, capitals, ems
from vlm.training.text import DAYS, MONTHS

_COUNTRIES = (
    "Germany",
    "France",
    "Spain",
    "Canada",
    "Norway",
    "Kenya",
    "Japan",
    "Brazil",
    "Ireland",
    "Italy",
)
_ROWS = (
    "Revenue",
    "Costs",
    "Visitors",
    "Orders",
    "Staff",
    "North",
    "South",
    "East",
    "West",
    "Returns",
    "Stock",
)
_COLUMNS = ("Price", "Qty", "Total", "Size", "Code", "Unit", "Rate", "Share", "Amount", "Height", "Points")


# --- forms -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Field:
    """A line of a form, and what else its value answers."""

    label: str
    value: str
    key: str = ""


def _fields(
    desk: Desk, count: int, room: Callable[[str], float], label_room: float | None = None
) -> list[_Field]:
    """Fields with labels all different; ``room`` says what a value may take beside its label, in ems."""
    rng, label_room = desk.rng, label_room or desk.columns * 0.45
    cased = capitals if desk.draft.chance(0.2) else str

    def born() -> str:
        return desk.date(rng.randint(1940, 2012))

    known: list[tuple[tuple[str, ...], str, Callable[[], str]]] = [
        (("Name", "Full name", "Applicant", "Patient"), "name", desk.person),
        (("Date of birth", "Born", "Birth date"), "birth_date", born),
        (("Address", "Street", "Street address"), "address", desk.text.address),
        (("City", "Town", "Place"), "city", lambda: desk.capped(11)),
        (("Country", "Nationality"), "country", lambda: rng.choice(_COUNTRIES)),
        (("Phone", "Telephone", "Mobile", "Tel."), "phone", desk.phone),
        (("E-mail", "Email"), "email", desk.email),
        (("Company", "Employer", "Firm"), "company", desk.company),
        (("Job title", "Occupation", "Position"), "job", desk.job),
        (("Date", "Start date"), "date", desk.date),
        (("Room", "Room no."), "room", lambda: str(rng.randint(1, 999))),
        (("Weight", "Net weight"), "weight", lambda: f"{desk.number(rng.uniform(1, 120), 1)} kg"),
        (("Valid until", "Expires"), "expiry", lambda: desk.date(desk.year + 3)),
        (("Total", "Amount due", "Sum"), "total", lambda: desk.money(rng.randint(200, 90000))),
        (("Signed by", "Signature"), "signed_by", desk.person),
        (("Postcode", "ZIP"), "", lambda: desk.text.fill("#####")),
        (
            ("Blood group",),
            "",
            lambda: desk.pick("A", "B", "AB", "0") + desk.pick("+", " neg", " pos", " Rh+"),
        ),
        (("Height",), "", lambda: f"{rng.randint(140, 205)} cm"),
        (("Sex", "Gender"), "", lambda: desk.pick("F", "M", "female", "male")),
        (("Department", "Section"), "", lambda: desk.words(1, 2)),
        (("Policy no.", "Account no.", "Reference", "Member no.", "File no."), "code", desk.code),
        (("Vehicle", "Model"), "", lambda: desk.title(1, 2)),
        (("Time", "Time of arrival"), "time", desk.time),
        (("Approved", "Insured", "Smoker"), "", lambda: desk.pick("Yes", "No", "yes", "no")),
        (("Quantity", "Persons", "Pages", "Floor"), "", lambda: str(rng.randint(1, 60))),
    ]
    rng.shuffle(known)
    invented = rng.uniform(0.1, 0.8)
    fields: dict[str, _Field] = {}
    while len(fields) < count:
        if desk.draft.chance(invented) or not known:
            kinds = (
                desk.code,
                desk.date,
                lambda: desk.words(1, 3),
                lambda: desk.title(1, 2),
                desk.word,
            )
            label, key, make = (
                desk.fitting(lambda: desk.words(1, 2), desk.columns * 0.45),
                "",
                rng.choice(kinds),
            )
        else:
            labels, key, make = known.pop()
            label = rng.choice(labels)
        label = cased(label)
        if ems(label) > label_room:
            continue
        fields.setdefault(label.lower(), _Field(label, desk.fitting(make, room(label)), key))
    return list(fields.values())


def _told(desk: Desk, field: _Field) -> str:
    """A value, told by its printed label."""
    markup = desk.draft.tell("field", field.value, field.label)
    if field.key:
        also(desk.draft, field.key)
    return markup


def _form_title(desk: Desk) -> str:
    """A form's heading where there is room, else nothing."""
    if desk.lines < 6 or desk.draft.chance(0.25):
        return ""
    size = desk.rng.uniform(1.1, 1.8)
    known = ("Application form", "Registration", "REGISTRATION FORM", "Patient record", "Order form", "Claim")
    text = desk.fitting(lambda: desk.pick(*known, desk.words(1, 3)), desk.columns / size)
    return (
        f"#align({desk.pick('left', 'center')})[{desk.styled(desk.draft.tell('title', text), size, True)}]\n"
    )


def form_boxes(draft: Draft) -> str:
    """Label over boxed value, one field below the other."""
    desk = Desk(draft, 26, 30)
    desk.colon = desk.pick("", ":")
    title = _form_title(desk)
    inset = desk.rng.uniform(0.3, 0.55)
    each = 2 * desk.pitch + 2 * inset + 0.4
    count = max(1, min(desk.rng.randint(2, 12), int((desk.rows - 2.5 * bool(title)) / each)))
    fill = desk.pick("", "", ", fill: rgb(128, 128, 128, 30)")
    shape = (
        f"width: 100%, inset: {inset:.2f}em, stroke: {desk.stroke()}, radius: {desk.pick(0, 0, 0.3)}em{fill}"
    )
    bold = draft.chance(0.4)
    parts = [title]
    for field in _fields(desk, count, lambda _: desk.columns - 2 * inset - 0.4, desk.columns * 0.9):
        label = desk.styled(desk.label(field.label), desk.pick(0.88, 1.0), bold)
        value = _told(desk, field)
        parts.append(f"#block(below: 0.3em)[{label}]\n#block({shape})[{value}]")
    return desk.sheet("\n".join(parts), desk.paper(0.25))


def form_rows(draft: Draft) -> str:
    """Label: value, a row each, with or without rules."""
    desk = Desk(draft, 28, 26)
    title = _form_title(desk)
    gap = desk.rng.uniform(0.35, 0.8)
    count = max(2, min(desk.rng.randint(2, 16), int((desk.rows - 2.5 * bool(title)) / (0.8 + 2 * gap))))
    fields = _fields(
        desk, count, lambda label: desk.columns * 0.97 - max(ems(label) * 1.15, desk.columns * 0.25) - 1.6
    )
    style = desk.pick("none", "lines", "zebra", "box", "right")
    cells = []
    weight = desk.pick("regular", "bold")
    for field in fields:
        cells.append(f'[#text(weight: "{weight}")[{desk.label(field.label)}]]')
        cells.append(f"[{_told(desk, field)}]")
    options = {
        "none": "stroke: none",
        "lines": f"stroke: (bottom: {desk.stroke()})",
        "zebra": "stroke: none, fill: (_, y) => if calc.odd(y) { rgb(128, 128, 128, 40) }",
        "box": f"stroke: {desk.stroke()}",
        "right": "stroke: none, align: (right, left)",
    }[style]
    columns = desk.pick("(auto, 1fr)", "(auto, auto)")
    table = f"#table(columns: {columns}, inset: (x: 0.4em, y: {gap:.2f}em), {options}, {', '.join(cells)})"
    return desk.sheet(title + table, desk.paper(0.25))


def form_grid(draft: Draft) -> str:
    """A grid of boxes, a small label above the value in each."""
    desk = Desk(draft, 40, 22)
    desk.colon = ""
    title = _form_title(desk)
    across = max(1, min(4, int(desk.columns / 9.5)))
    across = desk.rng.randint(max(1, across - 1), across)
    width = desk.columns / across - 0.9
    deep = max(1, min(desk.rng.randint(1, 7), int((desk.rows - 2.5 * bool(title)) / (2 * desk.pitch + 1.0))))
    cells = []
    bold = draft.chance(0.4)
    for field in _fields(desk, across * deep, lambda _: width, width):
        label = desk.styled(desk.label(field.label), 0.85, bold=False)
        cells.append(f"[{label}#linebreak(){desk.styled(_told(desk, field), bold=bold)}]")
    fill = desk.pick("", "", "fill: rgb(128, 128, 128, 26), ")
    stroke, columns = desk.stroke(), ("1fr, " * across)
    table = f"#table(columns: ({columns}), inset: 0.45em, {fill}stroke: {stroke}, {', '.join(cells)})"
    return desk.sheet(title + table, desk.paper(0.25))


def form_blanks(draft: Draft) -> str:
    """Blanks filled in above a line, one or two in a row."""
    desk = Desk(draft, 34, 22)
    title = _form_title(desk)
    gap = desk.rng.uniform(0.45, 0.9)
    across = 2 if desk.columns > 24 and draft.chance(0.6) else 1
    width = desk.columns / across - (across - 1) * 0.6
    deep = max(1, min(desk.rng.randint(2, 12), int((desk.rows - 2.5 * bool(title)) / (0.9 + gap))))
    dash = desk.pick("solid", "solid", "dotted", "dashed")
    stroke = (
        f'(bottom: (paint: {rgb(desk.rule)}, thickness: {desk.rng.uniform(0.05, 0.1):.2f}em, dash: "{dash}"))'
    )
    cells = []
    for field in _fields(desk, across * deep, lambda label: width - ems(label) - 2.0, width * 0.5):
        label = desk.label(field.label)
        value = _told(desk, field)
        lead = desk.pick(0.2, 0.5, 1)
        blank = f"#box(width: 1fr, outset: (bottom: 0.22em), stroke: {stroke})[#h({lead}em){value}]"
        cells.append(f"[{label} {blank}]")
    columns = "(1fr, 1fr)" if across == 2 else "1"
    grid = f"#grid(columns: {columns}, column-gutter: 1.2em, row-gutter: {gap:.2f}em, {', '.join(cells)})"
    return desk.sheet(title + grid, desk.paper(0.25))


# --- tables ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Table:
    """A table's text: ``cells[row][column]`` under ``head``, whose first is the corner."""

    head: list[str]
    labels: list[str]
    cells: list[list[str]]


def _column(desk: Desk, room: float, rows: int, totalled: bool) -> list[str]:
    """Values of one kind that fit ``room`` ems; with a sum in the last row where it is totalled."""
    rng = desk.rng
    digits = rng.randint(1, 4) if room > 2.9 else rng.randint(1, 3)
    if totalled:
        cents = desk.pick(0, 2) if room > 4.5 else 0
        values = [rng.randint(1, 10**digits) for _ in range(rows - 1)]
        return [desk.number(value, cents) for value in (*values, sum(values))]
    kinds: tuple[Callable[[], str], ...] = (
        lambda: str(rng.randint(0, 10**digits)),
        lambda: desk.number(rng.uniform(0, 10**digits), desk.pick(1, 1)),
        lambda: f"{rng.randint(0, 100)}%",
        lambda: desk.money(rng.randint(10, 10 ** (digits + 2))),
        desk.time,
        desk.date,
        desk.word,
        desk.capped,
        lambda: desk.text.fill("@#"),
        lambda: desk.text.fill("@@-##"),
        lambda: desk.pick("yes", "no"),
        lambda: f"{rng.choice('+-')}{rng.randint(1, 99)}",
    )
    make = rng.choice(kinds)
    return [desk.fitting(make, room) for _ in range(rows)]


def _different(make: Callable[[], str], count: int) -> list[str]:
    """So many texts, no two alike but for case."""
    texts: dict[str, str] = {}
    while len(texts) < count:
        text = make()
        texts.setdefault(text.lower(), text)
    return list(texts.values())


def _table(desk: Desk, rows: float) -> _Table:
    """A table for so many ems of height."""
    rng = desk.rng
    first = min(desk.columns * 0.42, rng.uniform(4.5, 9))
    room = rng.uniform(2.8, 6)
    across = max(1, min(6, int((desk.columns - first - 1) / (room + 1))))
    across = rng.randint(max(1, across - 2), across)
    room = max(room, min(8.0, (desk.columns - first - 1) / across - 1))
    deep = max(1, min(rng.randint(2, 14), int(rows) - 1))
    totalled = deep >= 3 and desk.draft.chance(0.25)

    def row_label() -> str:
        return desk.fitting(
            lambda: desk.pick(*_ROWS) if desk.draft.chance(0.2) else desk.title(1, 2), first - 0.6
        )

    def column_label() -> str:
        if desk.draft.chance(0.3):
            return desk.fitting(lambda: desk.pick(*_COLUMNS, *(month[:3] for month in MONTHS), *DAYS), room)
        return desk.fitting(desk.capped, room)

    labels = _different(row_label, deep)
    if totalled:
        labels[-1] = "Total" if "total" not in {label.lower() for label in labels[:-1]} else labels[-1]
        totalled = labels[-1] == "Total"
    corner = desk.pick("", desk.fitting(desk.capped, first - 0.6))
    head = [corner, *_different(column_label, across)]
    columns = [_column(desk, room, deep, totalled) for _ in range(across)]
    return _Table(head, labels, [[column[row] for column in columns] for row in range(deep)])


def _tabular(desk: Desk, table: _Table, options: str, bold: str = "both") -> str:
    """A table's markup, every cell told by its row and column; ``bold``: head, labels, both or none."""
    draft = desk.draft

    def heavy(markup: str, part: str) -> str:
        return f"[#strong[{markup}]]" if bold in (part, "both") else f"[{markup}]"

    cells = [heavy(draft.put(text), "head") for text in table.head]
    for label, row in zip(table.labels, table.cells, strict=True):
        cells.append(heavy(draft.put(label), "labels"))
        for name, value in zip(table.head[1:], row, strict=True):
            cells.append(f"[{boxed(draft.tell('cell', value, f'{label} / {name}'))}]")
    rows = [label for label in table.labels if label != "Total"]
    if len(rows) == len(table.labels):
        draft.fact("row_count", str(len(rows)))
    if table.head[0]:
        draft.fact("column_count", str(len(table.head)))
    side = desk.pick("right", "left", "center")
    columns = "auto, " * len(table.head)
    if draft.chance(0.4):
        columns = "auto, " + "1fr, " * (len(table.head) - 1)
    align = f"(x, _) => if x == 0 {{ left }} else {{ {side} }}"
    return f"#table(columns: ({columns}), align: {align}, {options}, {', '.join(cells)})"


def _caption(desk: Desk) -> str:
    if desk.lines < 6 or desk.draft.chance(0.5):
        return ""
    text = desk.fitting(lambda: desk.words(1, 4), desk.columns / 1.3)
    return desk.styled(desk.draft.tell("title", text), desk.rng.uniform(1.0, 1.3), bold=True) + "\n\n"


def _insets(desk: Desk, gap: float) -> str:
    return f"inset: (x: 0.45em, y: {gap:.2f}em)"


def table_ruled(draft: Draft) -> str:
    """A table with every rule drawn."""
    desk = Desk(draft, 40, 22)
    caption, gap = _caption(desk), desk.rng.uniform(0.3, 0.6)
    table = _table(desk, (desk.rows - 2.2 * bool(caption)) / (0.8 + 2 * gap))
    options = f"{_insets(desk, gap)}, stroke: {desk.stroke(0.05, 0.1)}"
    return desk.sheet(
        caption + _tabular(desk, table, options, desk.pick("head", "both", "none")), desk.paper(0.25)
    )


def table_zebra(draft: Draft) -> str:
    """A table whose rows are shaded in turn."""
    desk = Desk(draft, 40, 22)
    caption, gap = _caption(desk), desk.rng.uniform(0.3, 0.6)
    table = _table(desk, (desk.rows - 2.2 * bool(caption)) / (0.8 + 2 * gap))
    tint = desk.pick(
        "rgb(128, 128, 128, 45)", "rgb(60, 130, 220, 45)", "rgb(80, 170, 90, 50)", "rgb(230, 160, 40, 50)"
    )
    turn = desk.pick("odd", "even")
    options = f"{_insets(desk, gap)}, stroke: none, fill: (_, y) => if calc.{turn}(y) {{ {tint} }}"
    return desk.sheet(
        caption + _tabular(desk, table, options, desk.pick("head", "both", "labels")), desk.paper(0.25)
    )


def table_headed(draft: Draft) -> str:
    """A table with a coloured head, or a coloured first column."""
    desk = Desk(draft, 40, 22)
    caption, gap = _caption(desk), desk.rng.uniform(0.3, 0.6)
    table = _table(desk, (desk.rows - 2.2 * bool(caption)) / (0.8 + 2 * gap))
    axis = desk.pick("y", "y", "y", "x")
    show = f"#show table.cell.where({axis}: 0): set text(fill: {rgb(desk.ink)})\n"
    stroke = desk.pick("none", f"(bottom: {desk.stroke()})", desk.stroke())
    fill = f"fill: (x, y) => if {axis} == 0 {{ {rgb(desk.ground)} }}"
    options = f"{_insets(desk, gap)}, stroke: {stroke}, {fill}"
    return desk.sheet(
        show + caption + _tabular(desk, table, options, desk.pick("head", "none")), desk.paper(0.25)
    )


def table_open(draft: Draft) -> str:
    """A table without rules, or with one below the head."""
    desk = Desk(draft, 40, 22)
    caption, gap = _caption(desk), desk.rng.uniform(0.25, 0.5)
    table = _table(desk, (desk.rows - 2.2 * bool(caption)) / (0.8 + 2 * gap))
    stroke = desk.pick("none", "none", f"(_, y) => if y == 0 {{ (bottom: {desk.stroke()}) }}")
    options = f"{_insets(desk, gap)}, stroke: {stroke}"
    return desk.sheet(
        caption + _tabular(desk, table, options, desk.pick("head", "both", "labels")), desk.paper(0.25)
    )


# --- times and days --------------------------------------------------------------------------


def timetable(draft: Draft) -> str:
    """Departures or arrivals: when, where to, from which platform."""
    desk = Desk(draft, 30, 22)
    arrivals = draft.chance(0.3)
    head = desk.fitting(
        lambda: desk.pick("Arrivals", "ARRIVALS") if arrivals else desk.pick("Departures", "DEPARTURES"),
        desk.columns,
    )
    size = min(desk.rng.uniform(1.0, 1.6), desk.columns / ems(head))
    titled = desk.lines >= 5 and draft.chance(0.7)
    parts = [desk.styled(draft.tell("title", head), size, bold=True)] if titled else []
    key = "arrival" if arrivals else "departure"
    with_train, with_platform = desk.columns > 16, desk.columns > 11 and draft.chance(0.8)
    room = desk.columns - 4.6 - 5 * with_train - 4.5 * with_platform
    gap = desk.rng.uniform(0.25, 0.55)
    count = max(2, min(14, desk.rng.randint(2, 16), int((desk.rows - 2 * titled) / (0.8 + 2 * gap)) - 1))
    platform = desk.pick(
        ("Platform", "platform"), ("Pl.", "platform"), ("Gate", "gate"), ("Track", "platform")
    )
    labels = [desk.pick("Time", "Time"), desk.pick("From" if arrivals else "To", "Station", "Via")]
    labels += ["Line"] * with_train + [platform[0]] * with_platform
    if desk.lines < 5 or draft.chance(0.25):
        labels = []
    cells = [f"[#strong[{draft.put(label)}]]" for label in labels]
    minute = desk.rng.randrange(300, 900)
    for town in _different(lambda: desk.fitting(lambda: desk.title(1, 2), room), count):
        cells.append(f"[{boxed(_of(draft, key, desk.time(minute), town))}]")
        cells.append(f"[{draft.put(town)}]")
        minute += desk.rng.randrange(1, 40)
        if with_train:
            line = desk.text.fill(desk.pick("S#", "IC ##", "RE #", "##"))
            cells.append(f"[{boxed(_of(draft, 'train', line, town))}]")
        if with_platform:
            track = desk.text.fill("@#") if platform[1] == "gate" else str(desk.rng.randint(1, 24))
            cells.append(f"[{_of(draft, platform[1], track, town)}]")
    draft.fact("row_count", str(count))
    columns = "auto, 1fr, " + "auto, " * (with_train + with_platform)
    stroke = desk.pick("none", f"(bottom: {desk.stroke()})", desk.stroke())
    fill = desk.pick("", "fill: (_, y) => if calc.odd(y) { rgb(128, 128, 128, 40) }, ")
    parts.append(
        f"#table(columns: ({columns}), {_insets(desk, gap)}, stroke: {stroke}, {fill}{', '.join(cells)})"
    )
    return desk.sheet("\n\n".join(parts), desk.paper(0.5))


def _of(draft: Draft, key: str, text: str, subject: str) -> str:
    """Tell ``key_of`` a subject, and ``key`` alone too.

    With several rows ``key`` has no one answer and is never asked; left untold, it could be asked for
    as something the page does not have.
    """
    markup = draft.tell(key, text)
    also(draft, f"{key}_of", subject)
    return markup


def agenda(draft: Draft) -> str:
    """A day's or a meeting's programme: times and what is on, perhaps where."""
    desk = Desk(draft, 30, 22)
    size = desk.rng.uniform(1.0, 1.6)
    parts = []
    left = desk.rows
    if desk.lines >= 5:
        known = ("Agenda", "Programme", "AGENDA", "Schedule", "Today", desk.words(1, 2))
        text = desk.fitting(lambda: desk.pick(*known), desk.columns / size)
        parts.append(desk.styled(draft.tell("heading", text), size, bold=True))
        left -= 2.2
    if desk.lines >= 4 and draft.chance(0.7):
        day = f"{desk.pick(*DAYS)}, " if desk.columns > 20 and draft.chance(0.4) else ""
        parts.append(draft.put(day) + " " + boxed(draft.tell("date", desk.date())))
        left -= 1.8
    ends = desk.columns > 17 and draft.chance(0.4)
    placed = desk.columns > 19 and draft.chance(0.5)
    gap = desk.rng.uniform(0.25, 0.6)
    count = max(1, min(desk.rng.randint(2, 12), int(left / (0.8 + 2 * gap))))
    room = desk.columns - 5 - 5.5 * ends - 6 * placed
    minute = desk.rng.randrange(84, 132) * 5
    rooms = desk.pick("Room {}", "Hall {}", "R{}")
    cells = []
    for entry in _different(lambda: desk.fitting(lambda: desk.words(1, 4), room), count):
        later = minute + desk.rng.randrange(2, 19) * 5
        start = desk.time(minute)
        told = draft.tell("start", start, entry)
        end = draft.put(desk.pick("-")) + draft.tell("end", desk.time(later), entry) if ends else ""
        cells.append(f"[{boxed(told + end)}]")
        cells.append(f"[{draft.tell('appointment', entry, start)}]")
        if placed:
            cells.append(f"[{boxed(_of(draft, 'room', rooms.format(desk.rng.randint(1, 40)), entry))}]")
        minute = later
    draft.fact("entry_count", str(count))
    stroke = desk.pick("none", "none", f"(bottom: {desk.stroke()})", desk.stroke())
    columns = "auto, 1fr, auto" if placed else "auto, 1fr"
    bold = '#show table.cell.where(x: 0): set text(weight: "bold")\n' if draft.chance(0.5) else ""
    parts.append(f"#table(columns: ({columns}), {_insets(desk, gap)}, stroke: {stroke}, {', '.join(cells)})")
    return desk.sheet(bold + "\n\n".join(parts), desk.paper(0.4))


def month(draft: Draft) -> str:
    """A month's calendar with the days under their week days, and a day or two marked by colour."""
    desk = Desk(draft, 16, 10)
    number = desk.rng.randint(1, 12)
    name = MONTHS[number - 1] + (f" {desk.year}" if draft.chance(0.7) and desk.columns > 10 else "")
    size = min(desk.rng.uniform(1.0, 1.8), desk.columns / ems(name))
    letters = 3 if desk.columns > 20 else 2
    first = desk.pick(0, 0, 6)
    wide = min(7, int(desk.columns / 2.05))  # where seven days would run together, the first few
    month = calendar.Calendar(first).monthdayscalendar(desk.year, number)
    weeks = [kept for week in month if any(kept := week[:wide])]
    shown = max(1, min(len(weeks), int((desk.rows - 3.2) / 1.5)))
    if shown < len(weeks):
        start = desk.rng.randint(0, len(weeks) - shown)
        weeks = weeks[start : start + shown]
    days = [DAYS[(first + place) % 7] for place in range(wide)]
    title = desk.styled(draft.tell("month", name), size, bold=True)
    cells = [f"[#strong[{draft.put(day[:letters])}]]" for day in days]
    inside = [day for week in weeks for day in week if day]
    marked = desk.rng.choice(inside)
    colour = desk.pick("red", "blue", "green", "orange", "purple")  # white would not show on white
    desk.ground, desk.ink = desk.rng.choice(NAMED[colour])
    for week in weeks:
        for place, day in enumerate(week):
            if day == marked:
                ink = f"#set text(fill: {rgb(desk.ink)})\n"
                text = draft.tell("marked_day", str(day))
                cells.append(f"table.cell(fill: {rgb(desk.ground)})[{ink}{text}]")
            else:
                cells.append(f"[{draft.put(str(day) if day else '')}]")
            if day:
                draft.fact("weekday", days[place], str(day))
    stroke = desk.pick("none", desk.stroke())
    side, gap = desk.pick("center", "right"), desk.rng.uniform(0.28, 0.45)
    options = f"columns: (1fr,) * {wide}, align: {side}, inset: (x: 0.1em, y: {gap:.2f}em), stroke: {stroke}"
    heading = f"#align({desk.pick('left', 'center')})[{title}]"
    return desk.sheet(f"{heading}\n\n#table({options}, {', '.join(cells)})")


TEMPLATES: tuple[tuple[float, Template], ...] = (
    (1.0, form_boxes), (1.2, form_rows), (1.0, form_grid), (1.0, form_blanks), (1.0, table_ruled),
    (1.0, table_zebra), (1.0, table_headed), (1.0, table_open), (1.0, timetable), (1.0, agenda), (0.5, month),
)  # fmt: skip
