"""Tickets of the training split: train, event, boarding pass, car park, coupon.

Some are set in pairs, some in cells with a small label over a large value; a stub, where there is
one, repeats what the ticket says.
"""

from __future__ import annotations

from vlm.training.draft import Draft, Template
from vlm.training.templates.goods import DISHES, GROCERIES, WARES, House, centred
from vlm.training.templates.kit import also, boxed, ems

_AIRLINES = (
    "Air {}", "{} Airways", "{} Air", "Fly {}", "{} Airlines", "{}jet",
)  # fmt: skip
_EVENTS = (
    "{} Live", "The {} Show", "{} Festival", "{} vs {}", "{} Concert", "The {}", "{} and {}", "{} Night",
)  # fmt: skip
_PLACES = (
    "{} Hall", "{} Arena", "{} Theatre", "Cinema {}", "{} Stadium", "Club {}", "{} Opera", "{} Park",
)  # fmt: skip

_Value = tuple[str, str, str]  # label, key, value


def train_ticket(draft: Draft) -> str:
    """From, to, when, which train and seat, what it cost."""
    house = House(draft, 30, 20)
    house.left -= 2.6
    has = house.choose(
        0.12,
        company=(1.7, 0.6), date=(1.0, 0.85), departure=(1.0, 0.7), arrival=(1.0, 0.4), train=(1.0, 0.6),
        platform=(1.0, 0.4), coach=(1.0, 0.4), seat=(1.0, 0.5), fare=(1.0, 0.4), total=(1.0, 0.5),
        name=(1.0, 0.3), code=(1.1, 0.3),
    )  # fmt: skip
    rng, desk, fill = house.rng, house.desk, draft.text.fill
    parts = []
    if "company" in has:
        company = desk.fitting(
            lambda: rng.choice(("{} Rail", "{} Trains", "{}bahn", "Inter{}")).format(desk.capped(8)),
            house.width,
        )
        parts.append(house.title(company, lambda text: draft.tell("company", text), 1.6))
    here, there = house.city(house.width * 0.6), house.city(house.width * 0.6)
    leave = rng.randrange(300, 1320)
    arrive = leave + rng.randrange(9, 110)
    journey: tuple[_Value, ...] = (("From", "from", here), ("To", "to", there))
    if house.width > ems(here + there) + 3 and draft.chance(0.4):
        way = draft.tell("from", here), draft.put(rng.choice(("–", "-", "to", ">"))), draft.tell("to", there)
        parts.append(
            desk.styled(" ".join(way), 1.1 if house.width > ems(here + there) * 1.2 + 4 else 0.95, True)
        )
        journey = ()
    details: dict[str, _Value] = {
        "date": (rng.choice(("Date", "Travel date", "Valid on")), "date", desk.date()),
        "departure": (rng.choice(("Dep.", "Departs", "Departure")), "departure", desk.time(leave)),
        "arrival": (rng.choice(("Arr.", "Arrives", "Arrival")), "arrival", desk.time(arrive)),
        "train": ("Train", "train", fill(rng.choice(("IC ##", "ICE ###", "RE #", "TGV ####", "####")))),
        "platform": (rng.choice(("Platform", "Track", "Plat.")), "platform", str(rng.randint(1, 24))),
        "coach": (rng.choice(("Coach", "Car", "Wagon")), "field", str(rng.randint(1, 18))),
        "seat": ("Seat", "seat", fill(rng.choice(("##", "##@", "###")))),
        "fare": (rng.choice(("Class", "Fare")), "field", rng.choice(("1st", "2nd", "Adult", "Child"))),
        "name": (rng.choice(("Passenger", "Name")), "name", desk.fitting(desk.person, min(12, house.width))),
        "total": (rng.choice(("Price", "Total", "Fare paid")), "total", _cost(house, 2, 180)),
    }  # fmt: skip
    parts += _set(house, [*journey, *(value for key, value in details.items() if key in has)])
    if "code" in has:
        parts.append(boxed(draft.tell("code", fill(rng.choice(("@@@-####", "########", "@#@#@#"))))))
    return house.page([house.frame("\n\n".join(parts))] if draft.chance(0.4) and house.width > 12 else parts)


def event_ticket(draft: Draft) -> str:
    """A film, a match, a concert: its name large, then place, time and seat; often a stub beside it."""
    house = House(draft, 30, 20)
    if stub := house.width > 26 and draft.chance(0.5):
        house.width *= 0.66
    house.left -= 2.2
    has = house.choose(
        0.12,
        place=(1.1, 0.7), date=(1.0, 0.85), time=(1.0, 0.7), door=(1.0, 0.2), row=(1.0, 0.5), seat=(1.0, 0.6),
        room=(1.0, 0.3), total=(1.0, 0.5), admit=(1.1, 0.35), name=(1.0, 0.2), code=(1.1, 0.35),
        age=(1.0, 0.15),
    )  # fmt: skip
    rng, desk, fill = house.rng, house.desk, draft.text.fill
    event = desk.fitting(lambda: rng.choice(_EVENTS).format(desk.capped(9), desk.capped(9)), house.width)
    middle = centred if draft.chance(0.4) else str
    parts = [middle(house.title(event, lambda text: draft.tell("event", text), 2.0))]
    if "place" in has:
        place = desk.fitting(lambda: rng.choice(_PLACES).format(desk.capped(9)), house.width)
        parts.append(middle(draft.tell("place", place)))
    if "admit" in has:
        parts.append(
            middle(draft.put(rng.choice(("ADMIT ONE", "Admit one", "TICKET", "General Admission", "VIP"))))
        )
    seat, evening = fill(rng.choice(("##", "@##", "#"))), rng.randrange(56, 92) * 15
    details: dict[str, _Value] = {
        "date": ("Date", "date", desk.date()),
        "door": ("Doors", "field", desk.time(evening - 60)),
        "time": (rng.choice(("Time", "Starts", "Begins", "Show")), "time", desk.time(evening)),
        "room": (rng.choice(("Screen", "Hall", "Room")), "room", str(rng.randint(1, 14))),
        "row": ("Row", "field", fill(rng.choice(("@", "##", "#")))),
        "seat": (rng.choice(("Seat", "Seat no.")), "seat", seat),
        "name": (rng.choice(("Guest", "Holder", "Name")), "name", desk.fitting(desk.person, 12)),
        "age": ("Age", "field", rng.choice(("12+", "16+", "18+"))),
        "total": (rng.choice(("Price", "Paid", "Total")), "total", _cost(house, 4, 160)),
    }  # fmt: skip
    parts += _set(house, [value for key, value in details.items() if key in has])
    if "code" in has:
        parts.append(boxed(draft.tell("code", fill(rng.choice(("No. ######", "########", "@@ ######"))))))
    body = "\n\n".join(parts)
    if stub:
        copy = [draft.put(event), f"{draft.put(house.case('No.'))} {boxed(draft.put(fill('####')))}"]
        side = f'#grid.cell(stroke: (left: (paint: {_PAINT}, dash: "dashed")), inset: (left: 0.5em))'
        body = f"#grid(columns: (70%, 1fr), [{body}], {side[1:]}[{copy[0]}\n\n{copy[1]}])"
    return house.page([house.frame(body)] if draft.chance(0.5) and house.width > 12 else [body])


def boarding_pass(draft: Draft) -> str:
    """A boarding pass: airline, passenger, two airports, flight, gate, seat, times."""
    house = House(draft, 32, 20)
    house.left -= 3.2
    has = house.choose(
        0.12,
        company=(1.7, 0.7), name=(1.0, 0.8), flight=(1.0, 0.85), date=(1.0, 0.7), boarding=(1.0, 0.6),
        departure=(1.0, 0.4), gate=(1.0, 0.8), seat=(1.0, 0.85), group=(1.0, 0.35), code=(1.0, 0.35),
        fare=(1.0, 0.3),
    )  # fmt: skip
    rng, desk, fill = house.rng, house.desk, draft.text.fill
    parts = []
    if "company" in has:
        airline = desk.fitting(lambda: rng.choice(_AIRLINES).format(desk.capped(8)), house.width * 0.9)
        heading = house.title(airline, lambda text: draft.tell("company", text), 1.5)
        parts.append(house.band(heading) if draft.chance(0.5) else heading)
        if house.width > 14 and house.spare(1, 0.6):
            parts.append(draft.tell("title", rng.choice(("Boarding pass", "BOARDING PASS", "Boarding Card"))))
    half = house.width / 2 - 1
    if half > 7 and draft.chance(0.5):
        codes = [fill("@@@"), fill("@@@")]
        large = [desk.styled(draft.put(code), 1.7, True) for code in codes]
        cities = [draft.tell(key, house.city(half)) for key in ("from", "to")]
        parts.append(house.grid("1fr, 1fr", [*large, *cities]))
        house.left -= 0.8
        journey: tuple[_Value, ...] = ()
    else:
        room = house.width * 0.6
        journey = (("From", "from", house.city(room)), ("To", "to", house.city(room)))
    leave = rng.randrange(72, 276) * 5
    details: dict[str, _Value] = {
        "name": (rng.choice(("Passenger", "Name", "Name of passenger")), "name", _passenger(house)),
        "flight": (rng.choice(("Flight", "Flight no.")), "flight", fill(rng.choice(("@@ ###", "@@####")))),
        "date": ("Date", "date", desk.date()),
        "boarding": (rng.choice(("Boarding", "Boarding time", "Boards")), "boarding", desk.time(leave - 40)),
        "departure": (rng.choice(("Departs", "Departure", "Dep.")), "departure", desk.time(leave)),
        "gate": ("Gate", "gate", fill(rng.choice(("@##", "##", "@#")))),
        "seat": ("Seat", "seat", f"{rng.randint(1, 42)}{rng.choice('ABCDEF')}"),
        "group": (rng.choice(("Group", "Zone")), "field", rng.choice("123456ABC")),
        "fare": (rng.choice(("Class", "Cabin")), "field", rng.choice(("Economy", "Business", "First", "Y"))),
        "code": (rng.choice(("Booking", "PNR", "Booking ref.")), "code", fill("@#@@#@")),
    }  # fmt: skip
    parts += _set(house, [*journey, *(value for key, value in details.items() if key in has)])
    return house.page(parts)


def parking_ticket(draft: Draft) -> str:
    """From a machine in a car park: until when it holds, what was paid, the plate, the place."""
    house = House(draft, 20, 22)
    house.left -= 3.2
    has = house.choose(
        0.12,
        title=(1.8, 0.7), place=(1.1, 0.6), date=(1.0, 0.8), entry=(1.0, 0.7), plate=(1.0, 0.6),
        bay=(1.0, 0.3), machine=(1.0, 0.3), note=(1.1, 0.4),
    )  # fmt: skip
    rng, desk, fill = house.rng, house.desk, draft.text.fill
    parts = []
    if "title" in has:
        title = rng.choice(("PARKING", "Parking ticket", "PAY & DISPLAY", "Car park", "Parking", "P"))
        parts.append(centred(house.title(title, lambda text: draft.tell("title", text), 2.2)))
    if "place" in has:
        street = desk.fitting(
            lambda: rng.choice(("{} Street", "{} Square", "{} Garage")).format(desk.capped(9)), house.width
        )
        parts.append(centred(draft.tell("place", street)))
        also(draft, "address")
    plate = rng.choice(("@@## @@@", "@-@@ ###", "###-@@@", "@@@ ####"))
    entry, stay = rng.randrange(84, 240) * 5, rng.choice((30, 60, 90, 120, 150, 180, 240, 300))
    details: dict[str, _Value] = {
        "date": ("Date", "date", desk.date()),
        "entry": (rng.choice(("Entry", "From", "Start", "Arrival")), "field", desk.time(entry)),
        "until": (rng.choice(("Valid until", "Expires", "Until")), "expiry", desk.time(entry + stay)),
        "plate": (rng.choice(("Plate", "Vehicle", "Reg.")), "plate", fill(plate)),
        "bay": (rng.choice(("Bay", "Space", "Level")), "field", fill(rng.choice(("##", "@#", "#")))),
        "machine": (rng.choice(("Machine", "Meter")), "field", fill("####")),
        "total": (rng.choice(("Paid", "Fee", "Amount", "Total")), "total", _cost(house, 0.5, 40)),
    }  # fmt: skip
    has |= {"until", "total"}
    parts += _set(house, [value for key, value in details.items() if key in has])
    if "note" in has:
        notes = ("Place on dashboard", "Display inside car", "Not transferable", "Keep this ticket")
        parts.append(centred(draft.put(desk.fitting(lambda: rng.choice(notes), house.width))))
    return house.page(parts)


def coupon(draft: Draft) -> str:
    """A voucher in a dashed frame: what it gives, on what, its code, until when."""
    house = House(draft, 20, 14, inset=1.2)
    house.left -= 4
    has = house.choose(
        0.12, shop=(1.6, 0.6), code=(1.1, 0.8), expiry=(1.0, 0.8), note=(1.1, 0.4), site=(1.0, 0.2)
    )
    rng, desk, fill = house.rng, house.desk, draft.text.fill
    off = house.money.full(rng.choice((1, 2, 5, 10, 15, 20, 50)) * 10**house.money.digits)
    deal = rng.choice(
        (f"{rng.choice((5, 10, 15, 20, 25, 30, 50))}% off", f"{off} off", "2 for 1", "1 free", f"Save {off}")
    )
    parts = []
    if "shop" in has:
        parts.append(house.title(house.shop(house.width), lambda text: draft.tell("shop", text), 1.5))
    size = min(rng.uniform(1.3, 2.4), house.width / ems(deal) * 0.9)
    parts.append(desk.styled(boxed(draft.tell("discount", house.case(deal))), size, True))
    parts.append(draft.tell("item", house.goods((*GROCERIES, *WARES, *DISHES), 1, house.width)[0]))
    if "code" in has:
        code = fill(rng.choice(("@@@@##", "@@##@@", "SAVE##", "#### ####", "@@-###")))
        parts.append(house.pair(house.case(rng.choice(("Code", "Voucher", "Use code"))), "code", code))
    if "expiry" in has:
        label = house.case(rng.choice(("Valid until", "Expires", "Until", "Use by")))
        parts.append(house.pair(label, "expiry", desk.date()))
    if "site" in has:
        parts.append(boxed(draft.tell("website", desk.fitting(desk.website, house.width))))
    if "note" in has:
        notes = ("One per customer", "Not for cash", "In store only", "Min. 2 items")
        parts.append(draft.put(desk.fitting(lambda: rng.choice(notes), house.width)))
    dash = rng.choice(("dashed", "dotted"))
    frame = f'(paint: {_PAINT}, thickness: {rng.uniform(0.06, 0.14):.2f}em, dash: "{dash}")'
    body = "\n\n".join(map(centred, parts) if draft.chance(0.7) else parts)
    return house.page([f"#block(width: 100%, inset: 0.5em, stroke: {frame})[{body}]"])


_PAINT = "rgb(128, 128, 128)"  # seen on light and on dark paper


def _set(house: House, values: list[_Value]) -> list[str]:
    """Labels and values: in pairs, or in cells side by side with a small label over a larger value."""
    labelled = [(house.case(label), key, value) for label, key, value in values]
    abreast = min(5, int(house.width / 8))
    if abreast < 2 or house.draft.chance(0.5):
        return [house.pair(label, key, value) for label, key, value in labelled]
    small, bold = house.rng.uniform(0.72, 0.9), house.draft.chance(0.6)
    room = house.width / abreast - 0.8
    parts = []
    while labelled:
        width = max(
            1, next((n for n in range(min(abreast, len(labelled)), 0, -1) if _fits(labelled[:n], room)), 1)
        )
        group, labelled = labelled[:width], labelled[width:]
        cells = [house.desk.styled(house.draft.put(label), small, False) for label, _, _ in group]
        cells += [house.desk.styled(house.tell(key, value, label), 1.0, bold) for label, key, value in group]
        parts.append(house.grid("1fr, " * width, cells))
    return parts


def _fits(values: list[_Value], room: float) -> bool:
    """Whether each label and each value fits a cell."""
    return all(max(ems(label), ems(value)) < room for label, _, value in values)


def _cost(house: House, low: float, high: float) -> str:
    """An amount between two."""
    return house.money.full(house.money.draw(house.rng, low, high))


def _passenger(house: House) -> str:
    """A passenger's name, at times as airlines print it."""
    desk = house.desk
    form = house.rng.choice(("{}/{} MR", "{}/{}", "{} {}", "{} {}"))
    text = form.format(desk.capped(9), desk.capped(9))
    return desk.fitting(lambda: text.upper() if "/" in form else text, min(13, house.width))


TEMPLATES: tuple[tuple[float, Template], ...] = (
    (1.0, train_ticket),
    (1.0, event_ticket),
    (1.0, boarding_pass),
    (0.8, parking_ticket),
    (0.8, coupon),
)
