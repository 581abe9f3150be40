"""Receipts of the training split, and what every bill has: its head, its stamp, its sums, its end.

Each template first chooses what its room allows, then writes from the top down: a draft notes texts
in the order they are put. Amounts are sums a reader can check.
"""

from __future__ import annotations

from dataclasses import replace

from vlm.training.draft import Draft, Template
from vlm.training.templates.goods import DISHES, GROCERIES, WARES, House, centred
from vlm.training.templates.kit import boxed, ems

_THANKS = (
    "Thank you!", "Thanks for your visit", "Please come again", "See you soon", "Have a nice day", "Merci",
)  # fmt: skip
_CARDS = (
    "VISA", "Visa Debit", "Mastercard", "AMEX", "Maestro", "Contactless", "Gift card", "Debit card",
)  # fmt: skip
HEAD = {"shop": (1.7, 0.85), "address": (1.0, 0.5), "phone": (1.0, 0.3), "site": (1.0, 0.12)}
STAMP = {"date": (1.0, 0.75), "time": (0.6, 0.5), "receipt_number": (1.0, 0.35), "cashier": (1.0, 0.3)}
TAXED = {"discount": (2.0, 0.2), "tax": (2.0, 0.4), "subtotal": (1.0, 0.25)}
END = {"payment": (2.0, 0.55), "items": (1.0, 0.2), "thanks": (1.1, 0.4)}


def head(house: House, has: set[str]) -> list[str]:
    """Who sells: name, address, phone, site."""
    draft, desk = house.draft, house.desk
    parts = []
    if "shop" in has:
        name = house.shop(house.width)
        parts.append(house.title(name, lambda text: draft.tell("shop", text)))
    if "address" in has:
        parts.append(draft.tell("address", desk.fitting(draft.text.address, house.width)))
    if "phone" in has:
        parts.append(house.pair(house.label("phone"), "phone", desk.fitting(desk.phone, house.width)))
    if "site" in has:
        parts.append(boxed(draft.tell("website", desk.fitting(desk.website, house.width))))
    return parts


def stamp(house: House, has: set[str]) -> list[str]:
    """When, who, which number: in pairs, or bare where a reader knows a date when they see one."""
    date, time = house.desk.date(), house.desk.time()
    parts = []
    if {"date", "time"} <= has and ems(date + time) + 1 < house.width and house.draft.chance(0.6):
        parts.append(house.row(house.tell("date", date, ""), house.tell("time", time, "")))
    else:
        for key, value in (("date", date), ("time", time)):
            if key in has:
                parts.append(house.pair(house.label(key), key, value))
    if "receipt_number" in has:
        number = house.draft.text.fill(house.rng.choice(("####", "######", "##-####", "@####", "#### ####")))
        parts.append(house.pair(house.label("receipt_number"), "receipt_number", number))
    if "cashier" in has:
        parts.append(house.pair(house.label("cashier"), "cashier", house.desk.capped(9)))
    return [*parts, house.desk.line()] if parts and house.draft.chance(0.6) else parts


def amount(house: House, label: str, key: str, value: int, size: float = 0.0) -> str:
    """A line of the sums; key "field" is asked for by the label. With a size it is set with its currency."""
    text = house.money.full(value) if size else house.money.bare(value)
    if ems(label + text) * 1.1 + 0.6 > house.width:
        text = house.money.bare(value)
    need = ems(label + text) * 1.1 + 0.6
    left, right = house.draft.put(label), house.tell(key, text, label)
    line = house.row(left, right) if need < house.width else f"{left}#linebreak(){right}"
    return f"#text(size: {min(size, house.width / need):.2f}em)[{line}]" if size > 1 else line


def sum_up(house: House, has: set[str], net: int) -> tuple[list[str], int]:
    """Subtotal, discount, tax and total, as far as chosen; and what the total is."""
    rng = house.rng
    rate = rng.choice((5, 7, 8, 10, 19, 20, 21, 25))
    added = "tax" in has and rng.random() < 0.5
    parts = [house.desk.line()] if rng.random() < 0.5 else []
    if added or has & {"subtotal", "discount"}:
        parts.append(amount(house, house.label("subtotal"), "subtotal", net))
    total = net
    if "discount" in has:
        share = rng.choice((5, 10, 15, 20, 25, 50))
        off = net * share // 100
        label = house.label("discount") + (f" {share}%" if rng.random() < 0.5 and house.width > 14 else "")
        parts.append(amount(house, label, "discount", -off))
        total -= off
    tax = round(total * rate / 100) if added else round(total * rate / (100 + rate))
    label = house.label("tax") + (f" {rate}%" if rng.random() < 0.6 else "")
    if added:
        parts.append(amount(house, label, "tax", tax))
        total += tax
    full = rng.random() < 0.75
    size = rng.uniform(1, 1.4) if house.width > 14 else 1.0
    line = amount(house, house.label("total"), "total", total, full)
    parts.append(
        house.desk.styled(house.band(line) if rng.random() < 0.15 else line, size, rng.random() < 0.6)
    )
    if "tax" in has and not added:
        included = f"{house.case('incl.')} {label}" if house.width > 13 else label
        parts.append(amount(house, included, "tax", tax))
    return parts, total


def end(house: House, has: set[str], total: int, count: int = 0) -> list[str]:
    """How it was paid, how many things, thanks."""
    rng, draft = house.rng, house.draft
    parts = []
    if "payment" in has and rng.random() < 0.5:
        note = 10**house.money.digits * rng.choice((1, 5, 10, 20, 50))
        paid = -(-total // note) * note
        parts.append(amount(house, house.label("paid"), "paid", paid))
        parts.append(amount(house, house.label("change"), "change", paid - total))
    elif "payment" in has:
        parts.append(house.pair(house.label("payment"), "payment", _card(house)))
    if "items" in has and count:
        parts.append(house.pair(house.label("item_count"), "item_count", str(count)))
    if "thanks" in has:
        thanks = [text for text in _THANKS if ems(text) < house.width]
        parts.append(centred(draft.put(house.case(rng.choice(thanks or ["Bye"])))))
    return parts


def _card(house: House) -> str:
    return house.rng.choice([card for card in _CARDS if ems(card) < house.width * 0.55])


def till_slip(draft: Draft) -> str:
    """A supermarket's slip: the shop in the middle, goods left, amounts right."""
    house = House(draft, 24, 44)
    house.left -= 2.6
    has = house.choose(**HEAD, **STAMP, **TAXED, **END)
    parts = [*map(centred, head(house, has)), *stamp(house, has)]
    names = house.goods(GROCERIES, house.count(1, 24), house.width - 5.5)
    amounts = [house.money.draw(house.rng, 0.5, 40 if house.width > 12 else 9) for _ in names]
    shown = house.money.bare if draft.chance(0.6) else house.money.full
    for name, cost in zip(names, amounts, strict=True):
        parts.append(house.row(draft.put(name), boxed(draft.tell("price", shown(cost), name))))
    sums, total = sum_up(house, has, sum(amounts))
    return house.page([*parts, *sums, *end(house, has, total, len(names))])


def cafe_bill(draft: Draft) -> str:
    """A café's bill, often in a frame: quantity, dish, amount; the total on a band."""
    house = House(draft, 24, 40, inset=1)
    house.left -= 3.2
    optional = {"table": (1.0, 0.6), "cashier": (1.0, 0.4), "date": (1.0, 0.5), "heads": (1.3, 0.4)}
    has = house.choose(**HEAD, **optional, service=(2.0, 0.25), thanks=(1.1, 0.4))
    parts = [*map(centred, head(house, has))]
    if "table" in has:
        parts.append(house.pair(house.label("table"), "table", str(house.rng.randint(1, 60))))
    parts += stamp(house, has)
    names = house.goods(DISHES, house.count(1.15, 16), house.width - 7.5)
    numbers = [house.rng.choice((1, 1, 1, 2, 2, 3, 4)) for _ in names]
    amounts = [n * house.money.draw(house.rng, 1.5, 18 if house.width > 12 else 2.4) for n in numbers]
    headed = "heads" in has and house.width > 13
    heads = ("Qty", "Item", house.rng.choice(("Amount", "Price"))) if headed else ()
    top = [draft.put(house.case(label)) for label in heads]
    times = house.rng.choice(("", "x", "×"))
    cells: list[str] = []
    for name, number, cost in zip(names, numbers, amounts, strict=True):
        cells.append(boxed(draft.tell("quantity", str(number), name) + draft.put(times)))
        cells += [draft.put(name), boxed(draft.tell(_asked(number), house.money.bare(cost), name))]
    parts.append(house.table("auto, 1fr, auto", "left, left, right", top, cells))
    total = sum(amounts)
    if "service" in has:
        parts.append(amount(house, house.label("subtotal"), "subtotal", total))
        label = house.case(house.rng.choice(("Service 10%", "Service charge", "Tip")))
        parts.append(amount(house, label, "field", total // 10))
        total += total // 10
    parts.append(house.band(amount(house, house.label("total"), "total", total, 1)))
    parts += end(house, has, total)
    return house.page([house.frame("\n\n".join(parts))] if draft.chance(0.7) else parts)


def _asked(number: int) -> str:
    """What the amount of a line is: of one it is the price."""
    return "line_total" if number > 1 else "price"


def two_line_slip(draft: Draft) -> str:
    """Each thing on two lines: its name, then quantity times unit price and what that makes."""
    house = House(draft, 24, 44)
    house.left -= 2.4
    has = house.choose(**HEAD, **STAMP, **TAXED, **END)
    parts = head(house, has)
    if draft.chance(0.5):
        parts = [*map(centred, parts)]
    parts += stamp(house, has)
    names = house.goods((*WARES, *GROCERIES), house.count(2.1, 12), house.width - 1)
    times = house.rng.choice((" x ", " × ", "x", " @ "))
    total = 0
    for name in names:
        number = house.rng.randint(1, 6)
        unit = house.money.draw(house.rng, 0.4, 60 if house.width > 13 else 1.6)
        made = house.money.bare(number * unit)
        total += number * unit
        parts.append(house.desk.styled(draft.put(name), 1, draft.chance(0.1)))
        left = "#h(0.8em)" + draft.tell("quantity", str(number), name) + draft.put(times)
        left += draft.tell("unit_price", house.money.bare(unit), name)
        parts.append(house.row(boxed(left), boxed(draft.tell("line_total", made, name))))
    sums, total = sum_up(house, has, total)
    return house.page([*parts, *sums, *end(house, has, total, len(names))])


def pump_slip(draft: Draft) -> str:
    """A petrol station's slip: labels and values, litres times price."""
    house = House(draft, 22, 30)
    house.left -= 3.4
    has = house.choose(
        0.12, **HEAD, **STAMP, pump=(1.0, 0.6), fuel=(1.0, 0.8), unit=(1.0, 0.8), payment=(2.0, 0.4)
    )
    parts = [*map(centred, head(house, has)), *stamp(house, has)]
    centilitres, unit = house.rng.randint(500, 7900), house.rng.randint(85, 239)
    total = round(centilitres * unit / 100)
    house.money = replace(house.money, digits=2)
    if "pump" in has:
        label = house.case(house.rng.choice(("Pump", "Pump no.", "Bay")))
        parts.append(house.pair(label, "field", str(house.rng.randint(1, 16))))
    if "fuel" in has:
        fuel = house.rng.choice(
            ("Diesel", "Super 95", "Unleaded", "E10", "Super E5", "Premium 98", "LPG", "AdBlue")
        )
        parts.append(house.pair(house.case(house.rng.choice(("Fuel", "Product", "Grade"))), "field", fuel))
    label = house.case(house.rng.choice(("Litres", "Volume", "Quantity")))
    parts.append(
        house.pair(label, "field", house.money.bare(centilitres) + house.rng.choice((" L", "", " l")))
    )
    if "unit" in has:
        label = house.case(house.rng.choice(("Price/L", "Price per litre", "Per litre")))
        parts.append(house.pair(label, "field", house.money.bare(unit)))
    sums, total = sum_up(house, has, total)
    return house.page([*parts, *sums, *end(house, has, total)])


def card_slip(draft: Draft) -> str:
    """The slip of a card terminal: merchant, numbers, amount, approved."""
    house = House(draft, 22, 30)
    house.left -= 1.4
    fields = {"terminal": (1.0, 0.7), "card": (1.0, 0.7), "auth": (1.0, 0.6), "kind": (1.0, 0.7)}
    has = house.choose(0.12, **HEAD, **fields, **STAMP, verdict=(1.5, 0.6), copy=(1.1, 0.5), entry=(1.0, 0.3))
    middle = centred if draft.chance(0.6) else str
    parts = [*map(middle, head(house, has))]
    parts += stamp(house, has)
    fill = draft.text.fill
    if "kind" in has:
        parts.append(
            house.pair(house.case(house.rng.choice(("Card type", "Type", "Card"))), "payment", _card(house))
        )
    if "card" in has:
        masked = fill(house.rng.choice(("**** ####", "**** **** **** ####", "XXXX-####", "****####")))
        parts.append(house.pair(house.case(house.rng.choice(("Card no.", "PAN", "Number"))), "field", masked))
    if "terminal" in has:
        label = house.case(house.rng.choice(("Terminal", "TID", "Terminal ID")))
        parts.append(house.pair(label, "field", fill("########")))
    if "auth" in has:
        label = house.case(house.rng.choice(("Auth code", "Approval", "Auth. no.")))
        parts.append(house.pair(label, "field", fill(house.rng.choice(("######", "@#####", "##@@##")))))
    if "entry" in has:
        mode = house.rng.choice(("Contactless", "Chip and PIN", "Chip", "Swiped", "Signature"))
        parts.append(house.pair(house.case(house.rng.choice(("Entry", "Mode"))), "field", mode))
    total = house.money.draw(house.rng, 2, 900)
    label = house.case(house.rng.choice(("Amount", "Total", "Sale", "Purchase")))
    parts.append(house.desk.styled(amount(house, label, "total", total, 1.25), 1, True))
    if "verdict" in has:
        verdict = house.rng.choice(("APPROVED", "Approved", "DECLINED", "ACCEPTED", "Transaction approved"))
        parts.append(middle(house.title(verdict, lambda text: draft.tell("status", text), 1.4)))
    if "copy" in has:
        parts.append(
            middle(draft.put(house.rng.choice(("Customer copy", "MERCHANT COPY", "Please keep this slip"))))
        )
    return house.page(parts)


def kitchen_docket(draft: Draft) -> str:
    """An order for the kitchen: a large number, quantities and dishes, no amounts."""
    house = House(draft, 20, 26)
    house.left -= 2.2
    has = house.choose(table=(1.0, 0.6), time=(1.0, 0.6), cashier=(1.0, 0.4), note=(1.1, 0.3))
    number = draft.text.fill(house.rng.choice(("##", "###", "@##", "####")))
    label = house.label("order_number")
    parts = [house.title(f"{label} {number}", lambda _: house.pair(label, "order_number", number), 2.2)]
    if "table" in has:
        parts.append(house.pair(house.label("table"), "table", str(house.rng.randint(1, 60))))
    parts += stamp(house, has)
    names = house.goods(DISHES, house.count(1.1, 12), house.width - 3)
    cells = []
    for name in names:
        cells.append(boxed(draft.tell("quantity", str(house.rng.choice((1, 1, 1, 2, 2, 3, 4, 6))), name)))
        cells.append(draft.put(name))
    draft.fact("item_count", str(len(names)))
    parts.append(house.table("auto, 1fr", "left, left", [], cells))
    if "note" in has:
        note = house.rng.choice(
            ("TAKE AWAY", "Eat in", "Allergy: nuts", "No onions", "Extra hot", "DELIVERY")
        )
        parts.append(house.frame(draft.tell("note", note)))
    return house.page(parts)


TEMPLATES: tuple[tuple[float, Template], ...] = (
    (1.6, till_slip),
    (1.2, cafe_bill),
    (1.0, two_line_slip),
    (0.7, pump_slip),
    (0.7, card_slip),
    (0.6, kitchen_docket),
)
