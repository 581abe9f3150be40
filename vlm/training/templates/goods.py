"""What the shop and ticket templates share: goods, money, and how a business sets its bills.

A ``House`` is chosen once a page, so that a page is of one piece: one currency, one way of wording
labels, of ruling tables, of setting pairs. It also keeps the account of the lines still free.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vlm.training.draft import Draft
from vlm.training.templates.kit import Desk, boxed, ems

GROCERIES = (
    "Milk", "Whole Milk", "Oat Milk", "Butter", "Salted Butter", "Cheddar", "Brie", "Eggs",
    "Free Range Eggs", "White Bread", "Rye Bread", "Rolls", "Bagels", "Rice", "Pasta", "Spaghetti", "Flour",
    "Sugar", "Salt", "Apples", "Bananas", "Pears", "Grapes", "Lemons", "Oranges", "Tomatoes", "Potatoes",
    "Onions", "Carrots", "Garlic", "Spinach", "Cucumber", "Chicken Breast", "Ground Beef", "Bacon", "Ham",
    "Salmon Fillet", "Tuna", "Orange Juice", "Apple Juice", "Cola", "Sparkling Water", "Red Wine", "Lager",
    "Coffee Beans", "Green Tea", "Honey", "Strawberry Jam", "Peanut Butter", "Olive Oil", "Ketchup",
    "Mustard", "Yoghurt", "Ice Cream", "Chocolate Bar", "Biscuits", "Crisps", "Nuts", "Shampoo", "Soap",
    "Toothpaste", "Kitchen Roll", "Bin Bags",
)  # fmt: skip
DISHES = (
    "Espresso", "Flat White", "Latte", "Cappuccino", "Hot Chocolate", "Pot of Tea", "Lemonade", "Iced Tea",
    "Tomato Soup", "Onion Soup", "Caesar Salad", "Greek Salad", "Garlic Bread", "Club Sandwich", "Omelette",
    "Pancakes", "Fish and Chips", "Cheese Burger", "Margherita", "Lasagne", "Risotto", "Mushroom Ravioli",
    "Chicken Curry", "Pad Thai", "Beef Stew", "Grilled Trout", "Lamb Chops", "Steak Frites", "Veggie Wrap",
    "French Fries", "Side Salad", "Apple Pie", "Cheesecake", "Brownie", "Tiramisu", "Crème Brûlée",
    "House Wine",
)  # fmt: skip
WARES = (
    "Notebook", "Ball Pen", "Paper A4", "Desk Lamp", "Light Bulb", "Batteries AA", "Screws", "Hammer",
    "Paint", "Towel", "T-Shirt", "Jeans", "Socks", "Scarf", "Umbrella", "Backpack", "Candle", "Mug", "Vase",
    "Phone Case", "USB Cable", "Keyboard", "Headphones", "Garden Hose", "Plant Pot", "Printer Ink",
    "Postage", "Gift Card",
)  # fmt: skip
SERVICES = (
    "Consulting", "Design Work", "Web Hosting", "Delivery", "Installation", "Repair", "Cleaning",
    "Training", "Translation", "Photography", "Haircut", "Massage", "Car Wash", "Oil Change",
    "Tyre Fitting", "Inspection", "Support Plan", "Software Licence", "Copywriting", "Garden Care",
    "Painting", "Labour", "Survey", "Storage",
)  # fmt: skip
CITIES = (
    "London", "Leeds", "York", "Paris", "Lyon", "Berlin", "Hamburg", "Madrid", "Rome", "Milan", "Vienna",
    "Oslo", "Dublin", "Lisbon", "Prague", "Athens", "Boston", "Chicago", "Denver", "Toronto", "Sydney",
    "Tokyo", "Delhi",
)  # fmt: skip
LABELS = {
    "total": ("Total", "Total due", "Amount due", "Grand total", "Sum", "Balance due", "To pay"),
    "subtotal": ("Subtotal", "Sub-total", "Net", "Net amount", "Total before tax"),
    "tax": ("Tax", "VAT", "Sales tax", "GST", "MwSt", "TVA"),
    "discount": ("Discount", "Savings", "Reduction", "Voucher", "Member discount"),
    "paid": ("Cash", "Cash paid", "Paid", "Tendered", "Received", "Amount paid"),
    "change": ("Change", "Change due", "Your change", "Change given"),
    "date": ("Date", "Date", "Issued", "Day"),
    "time": ("Time", "At"),
    "due_date": ("Due", "Due date", "Pay by", "Payment due"),
    "cashier": ("Cashier", "Served by", "Clerk", "Your host", "Server", "Operator"),
    "table": ("Table", "Table no.", "Tbl"),
    "receipt_number": ("Receipt", "Receipt no.", "Receipt #", "Slip no.", "Ticket no."),
    "invoice_number": ("Invoice no.", "Invoice", "Invoice #", "Inv. no.", "Invoice number"),
    "order_number": ("Order", "Order no.", "Order #", "Your order"),
    "customer_number": ("Customer no.", "Customer", "Client no.", "Account no.", "Customer ID"),
    "phone": ("Tel", "Phone", "Tel.", "Call"),
    "payment": ("Payment", "Paid by", "Payment method", "Method"),
    "item_count": ("Items", "No. of items", "Item count", "Articles"),
    "address": ("Address", "Ship to", "Location"),
    "email": ("Email", "E-mail", "Contact"),
    "recipient": ("Bill to", "Billed to", "To", "Customer", "Client", "Sold to"),
}  # fmt: skip
_SIZES = (" 500g", " 1kg", " 250ml", " 1L", " XL", " 6pk", " 2kg", " 75cl", " 30cm", " (L)")
_SHOPS = (
    "Market",
    "Store",
    "Foods",
    "& Sons",
    "Ltd",
    "GmbH",
    "Inc.",
    "Café",
    "Bakery",
    "Shop",
    "House",
    "Co.",
)


@dataclass(frozen=True)
class Money:
    """A way of writing amounts, which are whole numbers of the smallest unit."""

    form: str
    point: str
    group: str
    digits: int

    def bare(self, amount: int) -> str:
        """The amount without its currency."""
        whole, rest = divmod(abs(amount), 10**self.digits)
        text = f"{whole:,}".replace(",", self.group)
        if self.digits:
            text += f"{self.point}{rest:0{self.digits}}"
        return f"-{text}" if amount < 0 else text

    def full(self, amount: int) -> str:
        """The amount with its currency."""
        text = self.form.format(self.bare(abs(amount)))
        return f"-{text}" if amount < 0 else text

    def draw(self, rng: random.Random, low: float, high: float) -> int:
        """An amount between two of the main unit, cheap ones as frequent as dear ones."""
        unit = 10**self.digits
        amount = int(low * (high / low) ** rng.random() * unit)
        ending = rng.choice((None, None, 0, 50, 99, 95)) if self.digits else None
        ended = amount if ending is None else amount // unit * unit + ending
        return max(ended, int(low * unit), 1)


def _money(rng: random.Random) -> Money:
    point, group = rng.choices(((".", ","), (".", ""), (",", "."), (",", "")), (5, 2, 2, 1))[0]
    if point == ".":
        form = rng.choice(
            ("${}", "${}", "£{}", "€{}", "€ {}", "{} USD", "USD {}", "{} GBP", "CHF {}", "$ {}")
        )
    else:
        form = rng.choice(("{} €", "{} €", "{} EUR", "€ {}", "EUR {}", "{} kr"))
    return Money(form, point, group, 0 if rng.random() < 0.06 else 2)


class House:
    """How one business prints, and how many lines its page still has free."""

    def __init__(self, draft: Draft, widest: float, highest: float, inset: float = 0.0) -> None:
        """``widest``, ``highest``: as ``Desk`` has them; ``inset``: ems a frame takes of the width."""
        rng = draft.rng
        self.desk = Desk(draft, widest, highest)
        self.draft, self.rng = draft, rng
        self.width = self.desk.columns - inset
        self.money = _money(rng)
        self.left = self.desk.rows / (self.desk.leading + 0.87)
        self._case = rng.choice((str, str, str, str.upper, str.lower))
        self._spread = rng.random() < 0.4
        self._table = rng.choice(("plain", "zebra", "lines", "boxed", "head"))

    # --- room --------------------------------------------------------------------------------

    def spare(self, lines: float, share: float = 1.0) -> bool:
        """Take lines from the page, by chance and if they are free."""
        if self.left < lines or self.rng.random() >= share:
            return False
        self.left -= lines
        return True

    def choose(self, kept: float = 0.4, /, **parts: tuple[float, float]) -> set[str]:
        """Which optional parts, of (lines, share), the page will have; a share of its room is kept."""
        kept *= self.left
        names = self.rng.sample(list(parts), len(parts))
        return {name for name in names if self.left - parts[name][0] >= kept and self.spare(*parts[name])}

    def count(self, cost: float, most: int) -> int:
        """How many things, of a cost in lines, to put in what is left: at least one."""
        room = max(1, min(most, int(self.left / cost)))
        count = self.rng.randint(max(1, room // 3), room)
        self.left -= count * cost
        return count

    # --- words -------------------------------------------------------------------------------

    def label(self, key: str) -> str:
        """A label as this house words it."""
        names = [name for name in LABELS[key] if ems(name) < self.width * 0.5] or [min(LABELS[key], key=len)]
        return self.case(self.rng.choice(names))

    def case(self, label: str) -> str:
        """A label in the letters of this house."""
        return self._case(label)

    def goods(self, kinds: tuple[str, ...], count: int, room: float) -> list[str]:
        """At most ``count`` different things: half the time real ones, so that they read naturally."""
        case = self.rng.choice((str, str, str.upper, str.lower, str.capitalize))
        sized = self.rng.random() < 0.15

        def draw() -> str:
            name = self.rng.choice(kinds) if self.rng.random() < 0.5 else self.desk.title(1, 2)
            while len(name) < 3:
                name = self.desk.title(1, 2)
            return case(name + (self.rng.choice(_SIZES) if sized and self.rng.random() < 0.6 else ""))

        names: dict[str, str] = {}
        for _ in range(3 * count):
            name = self.desk.fitting(draw, room)
            if len(names) < count:
                names.setdefault(name.casefold(), name)
        return list(names.values())

    def shop(self, room: float) -> str:
        """What stands over the door."""
        case = self.rng.choice((str, str, str.upper))
        form = f"{{}} {self.rng.choice(_SHOPS)}" if self.rng.random() < 0.5 else "{}"
        return self.desk.fitting(lambda: case(form.format(self.desk.title(1, 2))), room)

    def city(self, room: float = 9.0) -> str:
        """A city, or a word that could be one."""
        return self.desk.fitting(
            lambda: self.rng.choice(CITIES) if self.rng.random() < 0.5 else self.desk.capped(11), room
        )

    # --- pieces of a page --------------------------------------------------------------------

    def pair(self, label: str, key: str, value: str) -> str:
        """A label and its value; key "field" is asked for by the label."""
        if self._spread and ems(label + value) + 1 < self.width:
            return self.row(self.desk.label(label), self.tell(key, value, label))
        return f"{self.desk.label(label)} {self.tell(key, value, label)}"

    def tell(self, key: str, value: str, label: str) -> str:
        """A value, in one piece where a line holds it."""
        told = self.draft.tell(key, value, label if key == "field" else "")
        return boxed(told) if ems(value) < self.width else told

    def row(self, left: str, right: str, gap: str = "") -> str:
        """Something at both ends of a line; ``gap``: dash of a line drawn between them."""
        if not gap:
            spaced = "columns: (1fr, auto), column-gutter: 0.6em, align: (left, right)"
            return f"#grid({spaced}, [{left}], [{right}])"
        dots = f'#context line(length: 100%, stroke: (paint: text.fill, thickness: 0.06em, dash: "{gap}"))'
        spaced = "columns: (auto, 1fr, auto), column-gutter: 0.3em, align: bottom"
        return f"#grid({spaced}, [{left}], [{dots}], [{right}])"

    def grid(self, columns: str, cells: Iterable[str]) -> str:
        """Cells in rows, as bare lines."""
        body = ", ".join(f"[{cell}]" for cell in cells)
        spaced = f"column-gutter: 0.6em, row-gutter: {self.desk.leading:.2f}em"
        return f"#grid(columns: ({columns}), {spaced}, {body})"

    def bold(self, markup: str) -> str:
        """Markup in bold."""
        return f"#strong[{markup}]"

    def title(self, text: str, put: Callable[[str], str], most: float = 1.9) -> str:
        """A text set large, as far as the width allows."""
        size = min(self.rng.uniform(1.0, most), self.width / ems(text))
        return self.desk.styled(put(text), max(0.85, size), self.rng.random() < 0.6)

    def frame(self, markup: str) -> str:
        """Markup in a box: a frame or a tint."""
        shape = f"width: 100%, radius: {self.rng.choice((0, 0, 0.3, 0.6))}em, inset: 0.4em"
        if self.rng.random() < 0.3:
            return f"#context block({shape}, fill: text.fill.transparentize(88%))[{markup}]"
        return f"#block({shape}, stroke: {self.desk.stroke()})[{markup}]"

    def band(self, markup: str) -> str:
        """Markup in the colour of the paper on a band of ink."""
        shape = "width: 100%, inset: 0.35em, fill: text.fill"
        return f"#context block({shape})[#set text(fill: page.fill)\n{markup}]"

    def table(self, columns: str, align: str, head: list[str], cells: Iterable[str]) -> str:
        """Cells in rows: ruled, boxed, striped or bare. ``head`` may be empty."""
        stroke = self.desk.stroke()
        extra = {
            "plain": "column-gutter: 0.4em,",
            "zebra": "fill: (_, y) => if calc.odd(y) {text.fill.transparentize(90%)},",
            "lines": f"stroke: (x, y) => (top: {stroke}),",
            "boxed": f"stroke: {stroke},",
            "head": "fill: (_, y) => if y == 0 {text.fill.transparentize(82%)},",
        }[self._table]
        side = "0.08em" if self._table in ("plain", "lines") else "0.3em"
        body = ", ".join(f"[{cell}]" for cell in (*(f"#strong[{cell}]" for cell in head), *cells))
        inset = f"inset: (x: {side}, y: {self.rng.uniform(0.22, 0.32):.2f}em)"
        return f"#context grid(columns: ({columns}), align: ({align}), {inset}, {extra} {body})"

    def page(self, parts: Iterable[str]) -> str:
        """The parts one below the other, perhaps on paper of their own."""
        return self.desk.sheet("\n\n".join(parts), self.desk.paper(0.2))


def centred(markup: str) -> str:
    """Markup in the middle."""
    return f"#align(center)[{markup}]"
