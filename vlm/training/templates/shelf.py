"""What stands on shelves and goods: price lists, shelf tags, offers, labels of food and clothes."""

from __future__ import annotations

from vlm.training.draft import Draft, Template
from vlm.training.templates.goods import DISHES, GROCERIES, SERVICES, WARES, House, centred
from vlm.training.templates.kit import also, boxed, ems

_INGREDIENTS = (
    "water", "sugar", "salt", "wheat flour", "milk", "butter", "cocoa", "palm oil", "rice", "oats", "eggs",
    "yeast", "tomatoes", "onions", "garlic", "pepper", "vinegar", "lemon juice", "honey", "soy", "starch",
    "almonds", "barley", "sunflower oil", "citric acid", "vanilla", "cinnamon", "apples", "hazelnuts",
    "glucose syrup", "spices", "basil",
)  # fmt: skip
_FABRICS = (
    "Cotton", "Polyester", "Wool", "Linen", "Elastane", "Silk", "Nylon", "Viscose", "Acrylic",
)  # fmt: skip
_SIZES = (
    "XS", "S", "M", "L", "XL", "XXL", "36", "38", "40", "42", "44", "One size", "10", "12", "14", "W32 L34",
)  # fmt: skip
_ORIGINS = (
    "Portugal", "Italy", "Turkey", "India", "France", "Germany", "Spain", "Vietnam", "Peru", "Ireland",
)  # fmt: skip
_NUTRIENTS = (
    "Fat", "Sugars", "Salt", "Protein", "Fibre", "Carbohydrate", "Saturates", "Sodium", "Calcium", "Iron",
)  # fmt: skip


def price_list(draft: Draft) -> str:
    """A list of services or goods; with two columns of prices where the page is wide."""
    house = House(draft, 28, 36)
    has = house.choose(title=(2.2, 0.8), date=(1.0, 0.2))
    parts = []
    if "title" in has:
        title = house.rng.choice(("Price list", "PRICES", "Prices", "Our prices", "Tariff", "Rates"))
        parts.append(house.title(title, lambda text: draft.tell("title", text), 2))
    if "date" in has:
        parts.append(house.pair(house.case("Valid from"), "date", house.desk.date()))
    pairs = [
        ("Small", "Large"),
        ("Adult", "Child"),
        ("Men", "Women"),
        ("Cut", "Colour"),
        ("Single", "Double"),
    ]
    pairs += [("Weekday", "Weekend"), ("Member", "Guest"), ("1 kg", "5 kg"), ("Day", "Week")]
    double = house.width > 19 and draft.chance(0.6)
    headed = double or (house.left > 5 and draft.chance(0.3))
    house.left -= 1.3 * headed
    sides = house.rng.choice(pairs) if double else (house.rng.choice(("Price", "From", "Per piece")),)
    kinds = house.rng.choice((SERVICES, WARES, GROCERIES, DISHES))
    names = house.goods(kinds, house.count(1.2, 20), house.width - (13 if double else 6.5))
    top = [draft.put(text) for text in ("Item", *sides)] if headed else []
    shown = house.rng.choice((house.money.full, house.money.bare))
    cells = []
    for name in names:
        cells.append(draft.put(name))
        for side in sides:
            price = shown(house.money.draw(house.rng, 2, 250 if house.width > 14 else 9))
            key, subject = ("cell", f"{name} / {side}") if double else ("price", name)
            cells.append(boxed(draft.tell(key, price, subject)))
    draft.fact("item_count", str(len(names)))
    columns = "1fr" + ", auto" * len(sides)
    parts.append(house.table(columns, "left" + ", right" * len(sides), top, cells))
    return house.page(parts)


def shelf_tag(draft: Draft) -> str:
    """The tag on a shelf's edge: a thing, its price very large, the price of a kilogram, a code."""
    house = House(draft, 16, 12, inset=1)
    house.left -= 3.8
    has = house.choose(0.12, unit=(1.0, 0.7), code=(1.0, 0.6), size=(1.0, 0.4), was=(1.0, 0.35))
    name = house.goods((*GROCERIES, *WARES), 1, house.width)[0]
    grams, cents = (
        house.rng.choice((100, 200, 250, 400, 500, 750, 1000)),
        house.money.draw(house.rng, 0.5, 30),
    )
    unit = house.rng.choice(("kg", "L"))
    middle = centred if draft.chance(0.5) else str
    price = house.money.full(cents)
    parts = [middle(house.title(name, lambda text: draft.tell("item", text), 1.6))]
    if "size" in has:
        label = house.case(house.rng.choice(("Content", "Pack", "Weight")))
        parts.append(middle(house.pair(label, "weight", f"{grams} {'g' if unit == 'kg' else 'ml'}")))
    if "was" in has:
        old = house.money.full(cents + house.money.draw(house.rng, 0.2, 9))
        parts.append(middle(f"{draft.put(house.case('Was'))} #strike[{house.tell('old_price', old, '')}]"))
    size = min(house.rng.uniform(1.6, 3.2), house.width / ems(price) * 0.92, max(1.0, house.desk.rows / 4))
    parts.append(middle(house.desk.styled(boxed(draft.tell("price", price, name)), size, True)))
    also(draft, "only_price")
    if "unit" in has:
        text = f"{house.money.full(round(cents * 1000 / grams))}/{unit}"
        told = boxed(draft.tell("unit_price", text, name))
        parts.append(middle(house.desk.styled(told, 0.85 if ems(text) < house.width else 0.7, False)))
    if "code" in has:
        parts.append(
            middle(boxed(draft.tell("code", draft.text.fill(house.rng.choice(("########", "#### ####"))))))
        )
    return house.page([house.frame("\n\n".join(parts))] if draft.chance(0.6) else parts)


def sale_poster(draft: Draft) -> str:
    """An offer in a window: a large word, what is cut, until when."""
    house = House(draft, 16, 14)
    house.left -= 4.4
    has = house.choose(0.12, until=(1.1, 0.6), shop=(1.6, 0.5), prices=(2.4, 0.6), note=(1.1, 0.3))
    word = house.rng.choice(
        ("SALE", "Sale", "OFFER", "Special offer", "Today only", "CLEARANCE", "Deal of the week")
    )
    percent = house.rng.choice((10, 15, 20, 25, 30, 40, 50, 60, 70))
    cut = house.rng.choice(("-{}%", "{}% off", "{}% OFF", "Save {}%")).format(percent)
    parts = [house.title(word, lambda text: draft.tell("title", text), 2.4)]
    size = min(house.rng.uniform(1.4, 2.8), house.width / ems(cut) * 0.9)
    big = boxed(draft.tell("discount", cut))
    parts.append(house.desk.styled(house.band(big) if draft.chance(0.4) else big, size, True))
    name = house.goods((*GROCERIES, *WARES), 1, house.width)[0]
    parts.append(draft.tell("item", name))
    if "prices" in has:
        old = house.money.draw(house.rng, 4, 90)
        prices = house.money.full(old), house.money.full(old - old * percent // 100)
        parts.append(f"#strike[{boxed(draft.tell('old_price', prices[0]))}]")
        parts.append(house.desk.styled(boxed(draft.tell("price", prices[1], name)), 1.2, True))
    if "until" in has:
        label = house.case(house.rng.choice(("Until", "Ends", "Valid until", "Only until")))
        parts.append(house.pair(label, "expiry", house.desk.date()))
    if "note" in has:
        notes = ("While stocks last", "Members only", "In store only", "Max. 2 per person")
        parts.append(draft.tell("note", house.desk.fitting(lambda: house.rng.choice(notes), house.width)))
    if "shop" in has:
        parts.append(draft.tell("shop", house.shop(house.width)))
    return house.page([*map(centred, parts)] if draft.chance(0.6) else parts)


def food_label(draft: Draft) -> str:
    """The back of a packet: product, ingredients, weight, best before, lot, maker."""
    house = House(draft, 24, 22, inset=1)
    house.left -= 1.8
    lines = max(1, min(6, int(house.left * 0.4)))
    has = house.choose(
        0.12,
        ingredients=(lines + 0.6, 0.8), weight=(1.0, 0.8), expiry=(1.0, 0.8), lot=(1.0, 0.5),
        brand=(1.4, 0.5), origin=(1.0, 0.5), energy=(1.0, 0.3), email=(1.0, 0.1), store=(1.0, 0.3),
    )  # fmt: skip
    rng, desk = house.rng, house.desk
    name = house.goods(GROCERIES, 1, house.width)[0]
    parts = [desk.styled(draft.tell("company", house.shop(house.width)), 0.9)] if "brand" in has else []
    parts.append(house.title(name, lambda text: draft.tell("item", text), 1.7))
    if "ingredients" in has:
        label = house.case("Ingredients") + ":"
        parts.append(
            f"{house.bold(draft.put(label))} {draft.tell('ingredients', _ingredients(house, lines))}"
        )
    facts: list[tuple[str, str, str]] = []
    if "weight" in has:
        amount = rng.choice(("{} g", "{}g", "{} ml", "{} kg", "{} oz")).format(
            rng.choice((50, 75, 100, 250, 330, 500))
        )
        facts.append((rng.choice(("Net weight", "Net wt", "Weight", "Contents")), "weight", amount))
    if "expiry" in has:
        facts.append((rng.choice(("Best before", "Use by", "EXP", "Expires", "BBE")), "expiry", desk.date()))
    if "lot" in has:
        facts.append(
            (
                rng.choice(("Lot", "Batch", "L")),
                "code",
                draft.text.fill(rng.choice(("@####", "L######", "#####"))),
            )
        )
    if "origin" in has:
        origin = desk.fitting(
            lambda: rng.choice(_ORIGINS) if draft.chance(0.6) else desk.capped(10), house.width
        )
        facts.append((rng.choice(("Made in", "Product of", "Origin")), "country", origin))
    if "energy" in has:
        facts.append(("Energy", "field", f"{rng.randint(40, 600)} kcal"))
    if "store" in has:
        kept = rng.choice(("cool and dry", "2-6 °C", "below 25 °C", "in the fridge"))
        facts.append((rng.choice(("Store", "Keep")), "field", kept))
    if "email" in has:
        facts.append((rng.choice(("Contact", "Write to")), "email", desk.fitting(desk.email, house.width)))
    rng.shuffle(facts)
    parts += [house.pair(house.case(label), key, value) for label, key, value in facts]
    return house.page([house.frame("\n\n".join(parts))] if draft.chance(0.5) else parts)


def nutrition_box(draft: Draft) -> str:
    """The boxed table of what is in it: nutrient and amount."""
    house = House(draft, 20, 24, inset=0.8)
    house.left -= 1
    has = house.choose(title=(1.8, 0.8), serving=(1.0, 0.6))
    parts = []
    if "title" in has:
        title = house.rng.choice(("Nutrition Facts", "Nutrition", "Typical values", "Nutritional value"))
        parts.append(house.title(title, lambda text: draft.tell("title", text), 1.7))
    if "serving" in has:
        label = house.case(house.rng.choice(("Serving", "Portion", "Serving size")))
        parts.append(house.pair(label, "field", f"{house.rng.choice((25, 30, 40, 50, 100, 125))} g"))
    count = house.count(1.3, 10)
    rows = (
        [("Energy", f"{house.rng.randint(15, 650)} kcal")] if draft.chance(0.6) and house.width > 10 else []
    )
    known = [name for name in _NUTRIENTS if ems(name) * 1.15 < house.width - 4.5]
    for name in house.rng.sample(known, min(max(1, count - len(rows)), len(known))):
        rows.append((name, house.desk.number(house.rng.uniform(0, 60), 1) + " g"))
    cells = []
    for name, amount in rows:
        label = house.case(name)
        cells += [draft.put(label), boxed(draft.tell("field", amount, label))]
    parts.append(house.table("1fr, auto", "left, right", [], cells))
    return house.page([house.frame("\n\n".join(parts))] if draft.chance(0.6) else parts)


def clothes_label(draft: Draft) -> str:
    """The label in a shirt: brand, size, what it is made of, where, how to wash."""
    house = House(draft, 16, 18)
    house.left -= 1.6
    has = house.choose(
        0.12,
        size=(1.6, 0.9),
        fabric=(2.0, 0.8),
        origin=(1.0, 0.6),
        code=(1.0, 0.4),
        care=(1.0, 0.5),
        price=(1.2, 0.3),
    )
    rng = house.rng
    middle = centred if draft.chance(0.6) else str
    name = house.shop(house.width)
    parts = [middle(house.title(name, lambda text: draft.tell("company", text), 2))]
    if "size" in has:
        size = rng.choice(_SIZES)
        if draft.chance(0.3):
            parts.append(middle(house.desk.styled(draft.tell("size", size), 1.4, True)))
        else:
            parts.append(middle(house.pair(house.case("Size"), "size", size)))
    if "fabric" in has:
        share = rng.choice((50, 60, 65, 70, 80, 90, 95))
        first, second = rng.sample(_FABRICS, 2)
        shares = ((100, first),) if draft.chance(0.4) else ((share, first), (100 - share, second))
        for part, fabric in shares:
            label = house.case(fabric)
            parts.append(middle(f"{draft.tell('share', f'{part}%', label)} {draft.put(label)}"))
    if "care" in has:
        care = ("Machine wash 30°", "Hand wash only", "Do not bleach", "Wash at 40°", "Dry clean", "Iron low")
        parts.append(middle(draft.tell("care", house.desk.fitting(lambda: rng.choice(care), house.width))))
    if "origin" in has:
        origin = house.desk.fitting(
            lambda: rng.choice(_ORIGINS) if draft.chance(0.6) else house.desk.capped(10), 8
        )
        parts.append(middle(f"{draft.put(house.case('Made in'))} {draft.tell('country', origin)}"))
    if "code" in has:
        label = house.case(rng.choice(("Style", "Art. no.", "Ref.")))
        parts.append(
            middle(house.pair(label, "code", draft.text.fill(rng.choice(("#####", "@@###", "####")))))
        )
    if "price" in has:
        price = house.money.full(house.money.draw(rng, 5, 200))
        parts.append(middle(house.desk.styled(boxed(draft.tell("only_price", price)), 1.2, True)))
    return house.page(parts)


def _ingredients(house: House, lines: int) -> str:
    """A list of what is in it, of about so many lines."""
    wanted = lines * house.width * 1.45 - 13
    items = [house.rng.choice(_INGREDIENTS)]
    for item in house.rng.sample(_INGREDIENTS, len(_INGREDIENTS)):
        other = item if house.draft.chance(0.6) else house.desk.word(11)
        if len(", ".join((*items, other))) < wanted and other not in items:
            items.append(other)
    return ", ".join(items)


TEMPLATES: tuple[tuple[float, Template], ...] = (
    (1.0, price_list),
    (0.8, shelf_tag),
    (0.6, sale_poster),
    (1.0, food_label),
    (0.5, nutrition_box),
    (0.5, clothes_label),
)
