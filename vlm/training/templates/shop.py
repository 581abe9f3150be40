"""Invoices and menus of the training split, and every template of the shop.

``receipts`` holds the slips, ``shelf`` what stands on shelves and goods.
"""

from __future__ import annotations

from vlm.training.draft import Draft, Template
from vlm.training.templates import receipts, shelf
from vlm.training.templates.goods import DISHES, SERVICES, WARES, House, centred
from vlm.training.templates.kit import boxed, ems
from vlm.training.text import DAYS

_INVOICE = {
    "invoice_number": (1.0, 0.9), "date": (1.0, 0.8), "recipient": (1.0, 0.7), "due_date": (1.0, 0.5),
    "address": (1.0, 0.3), "customer_number": (1.0, 0.25), "order_number": (1.0, 0.2), "email": (1.0, 0.2),
}  # fmt: skip
_SECTIONS = (
    "Starters",
    "Mains",
    "Desserts",
    "Drinks",
    "Soups",
    "Sides",
    "Wine",
    "Breakfast",
    "Lunch",
    "Pizza",
)


def ruled_invoice(draft: Draft) -> str:
    """An invoice as offices set it: sender left, its title right, a ruled table, the sums."""
    house = House(draft, 40, 48)
    house.left -= 5
    has = house.choose(**_INVOICE, **receipts.TAXED, heads=(1.3, 0.8), bank=(1.4, 0.3))
    wide = house.width > 20
    name = house.shop(house.width * (0.45 if wide else 0.95))
    word = house.rng.choice(("Invoice", "INVOICE", "Tax invoice", "Bill"))
    sender = house.title(name, lambda text: draft.tell("company", text), 1.3 if wide else 1.8)
    heading = draft.tell("title", word)
    parts = [house.row(sender, heading)] if wide else [sender, heading]
    parts += _details(house, has)
    table, total = _work(house, "heads" in has)
    parts += [table, *receipts.sum_up(house, has, total)[0]]
    if "bank" in has:
        parts.append(house.pair("IBAN", "field", draft.text.fill("@@## #### #### ####")))
    return house.page(parts)


def band_invoice(draft: Draft) -> str:
    """An invoice under a dark band; its numbers stand side by side, each under its label."""
    house = House(draft, 40, 48)
    house.left -= 5
    has = house.choose(**_INVOICE, **receipts.TAXED, heads=(1.3, 0.6), thanks=(1.1, 0.4))
    word = house.rng.choice(("INVOICE", "Invoice", "Invoice / Receipt", "Statement"))
    name = house.shop(house.width * 0.8)
    band = house.title(word, lambda text: draft.tell("title", text)) if house.spare(1.5, 0.7) else ""
    band += "\n\n" + house.title(name, lambda text: draft.tell("company", text), 1.5)
    parts = [house.band(band)]
    values = [(house.label(key), key, value) for key, value in _values(house, has)]
    abreast = max(1, min(4, int(house.width / 10)))
    for at in range(0, len(values), abreast):
        group = values[at : at + abreast]
        cells = [draft.put(label) for label, _, _ in group]
        cells += [house.bold(house.tell(key, value, label)) for label, key, value in group]
        house.left -= 1
        parts.append(house.grid("1fr, " * len(group), cells))
    table, total = _work(house, "heads" in has)
    parts += [table, *receipts.sum_up(house, has, total)[0], *receipts.end(house, has, total)]
    return house.page(parts)


def service_invoice(draft: Draft) -> str:
    """A freelancer's invoice without a table: hours times rate, told in pairs, and where to pay."""
    house = House(draft, 32, 36)
    house.left -= 3.4
    has = house.choose(
        0.12, **_INVOICE, **receipts.TAXED, hours=(2.2, 0.8), bank=(1.0, 0.4), thanks=(1.1, 0.3)
    )
    sender = house.desk.fitting(house.desk.person, house.width)
    parts = [house.title(sender, lambda text: draft.tell("sender", text))]
    parts += _details(house, has)
    label = house.case(house.rng.choice(("For", "Service", "Work done")))
    parts.append(house.pair(label, "field", house.goods(SERVICES, 1, house.width - 4)[0]))
    hours, rate = house.rng.randint(2, 80), house.money.draw(house.rng, 15, 120)
    if "hours" in has:
        parts.append(house.pair(house.case("Hours"), "field", str(hours)))
        label = house.case(house.rng.choice(("Rate", "Hourly rate", "Per hour")))
        parts.append(house.pair(label, "field", house.money.full(rate)))
    parts += receipts.sum_up(house, has, hours * rate)[0]
    if "bank" in has:
        parts.append(house.pair(house.case("Account"), "field", draft.text.fill("#### #### ####")))
    return house.page([*parts, *receipts.end(house, has, hours * rate)])


def menu_list(draft: Draft) -> str:
    """A menu in sections: dish and price at the ends of a dotted line, a description below."""
    house = House(draft, 30, 44)
    has = house.choose(title=(2.4, 0.8), hours=(1.2, 0.25))
    parts = [_menu_title(house)] if "title" in has else []
    shown = house.money.bare if draft.chance(0.5) else house.money.full
    described = house.width > 13 and draft.chance(0.35)
    headings = house.rng.sample(_SECTIONS, min(3, int(house.left / 5)))
    house.left -= 1.5 * len(headings)
    names = house.goods(DISHES, house.count(2.1 if described else 1.05, 26), house.width - 6)
    dotted = draft.chance(0.6)
    section = -1
    for at, name in enumerate(names):
        if headings and at * len(headings) // len(names) != section:
            section = at * len(headings) // len(names)
            heading = draft.put(house.case(headings[section]))
            parts.append(centred(house.desk.styled(heading, house.rng.uniform(1, 1.3), True)))
        price = shown(house.money.draw(house.rng, 2, 38 if house.width > 12 else 9))
        gap = "dotted" if dotted and ems(name + price) + 1.5 < house.width else ""
        parts.append(house.row(draft.put(name), boxed(draft.tell("price", price, name)), gap))
        if described:
            text = house.desk.fitting(lambda: house.desk.words(2, 5), house.width)
            parts.append(f'#text(size: 0.85em, style: "italic")[{draft.tell("description", text, name)}]')
    draft.fact("item_count", str(len(names)))
    if "hours" in has:
        parts.append(centred(_hours(house)))
    return house.page(parts)


def menu_board(draft: Draft) -> str:
    """A board: dishes in boxes side by side, the price below each."""
    house = House(draft, 34, 36)
    has = house.choose(title=(2.4, 0.8), hours=(1.2, 0.25))
    parts = [_menu_title(house)] if "title" in has else []
    abreast = max(1, min(3, int(house.width / 11)))
    count = house.count(2.7 / abreast, 12)
    names = house.goods(DISHES, count, house.width / abreast - 1.6)
    bold, middle = draft.chance(0.5), draft.chance(0.5)
    cells = []
    for name in names:
        price = house.money.full(house.money.draw(house.rng, 2, 38 if house.width > 12 else 9))
        dish = house.desk.styled(draft.put(name), 1, bold)
        cell = f"{dish}#linebreak(){boxed(draft.tell('price', price, name))}"
        cells.append(centred(cell) if middle else cell)
    draft.fact("item_count", str(len(names)))
    parts.append(house.table("1fr, " * abreast, "left", [], cells))
    if "hours" in has:
        parts.append(centred(_hours(house)))
    return house.page(parts)


def _values(house: House, has: set[str]) -> list[tuple[str, str]]:
    """Numbers, dates and people of an invoice, in this order."""
    fill, desk = house.draft.text.fill, house.desk
    form = house.rng.choice(("######", "INV-####", "####/##", "@@-#####", "20##-###", "#####"))
    dates = desk.date(desk.year), desk.date(desk.year + house.rng.choice((0, 0, 1)))
    recipient = house.rng.choice((desk.person, desk.company))
    values = {
        "invoice_number": fill(form), "date": dates[0], "due_date": dates[1],
        "order_number": fill("@####"), "customer_number": fill("#####"),
        "recipient": desk.fitting(recipient, min(house.width, 16)),
        "address": desk.fitting(house.draft.text.address, min(house.width, 16)),
        "email": desk.fitting(desk.email, min(house.width, 16)),
    }  # fmt: skip
    order = [key for key in values if key in has]
    if house.rng.random() < 0.3:
        house.rng.shuffle(order)
    return [(key, values[key]) for key in order]


def _details(house: House, has: set[str]) -> list[str]:
    """What stands between the head and the table of an invoice."""
    parts = [house.pair(house.label(key), key, value) for key, value in _values(house, has)]
    return [*parts, house.desk.line()] if house.draft.chance(0.3) else parts


def _work(house: House, headed: bool) -> tuple[str, int]:
    """The table of an invoice, with as many columns as the page is wide; and its sum."""
    draft, rng, money = house.draft, house.rng, house.money
    wide = house.width > 24
    names = house.goods((*SERVICES, *WARES), house.count(1.2, 14), house.width - (17 if wide else 7))
    numbers = [rng.choice((1, 1, 2, 3, 5, 10, 12)) if wide else 1 for _ in names]
    units = [money.draw(rng, 3, 900 if wide else 90 if house.width > 13 else 9) for _ in names]
    heads = (("Description", "Item", "Service"), ("Qty", "Quantity"), ("Unit price", "Rate", "Price"))
    labels = (
        [rng.choice(names) for names in (*heads[: 3 if wide else 1], ("Amount", "Total"))] if headed else []
    )
    top = [draft.put(house.case(label)) for label in labels]
    cells = []
    for name, number, unit in zip(names, numbers, units, strict=True):
        cells.append(draft.put(name))
        if wide:
            cells += [
                draft.tell("quantity", str(number), name),
                draft.tell("unit_price", money.bare(unit), name),
            ]
        cells.append(boxed(draft.tell("line_total" if wide else "price", money.bare(number * unit), name)))
    columns, align = (
        ("1fr, auto, auto, auto", "left, right, right, right") if wide else ("1fr, auto", "left, right")
    )
    draft.fact("item_count", str(len(names)))
    return house.table(columns, align, top, cells), sum(n * u for n, u in zip(numbers, units, strict=True))


def _menu_title(house: House) -> str:
    """The name of the place, or what this is."""
    word = house.rng.choice(("Menu", "MENU", "Our menu", "Lunch menu", "Today", "Specials"))
    key, text = ("shop", house.shop(house.width)) if house.rng.random() < 0.5 else ("title", word)
    return centred(house.title(text, lambda text: house.draft.tell(key, text), 2.2))


def _hours(house: House) -> str:
    """When the place is open."""
    ends = house.rng.randrange(6, 12), house.rng.randrange(17, 24)
    hours = " - ".join(house.desk.time(60 * hour) for hour in ends)
    first = house.rng.randrange(5)
    days = f"{DAYS[first][:3]}-{DAYS[house.rng.randrange(first + 1, 7)][:3]} "
    text = days + hours if ems(days + hours) < house.width else hours
    return boxed(house.draft.tell("opening_hours", text))


TEMPLATES: tuple[tuple[float, Template], ...] = (
    *receipts.TEMPLATES,
    (1.0, ruled_invoice),
    (1.0, band_invoice),
    (0.7, service_invoice),
    (1.0, menu_list),
    (0.7, menu_board),
    *shelf.TEMPLATES,
)
