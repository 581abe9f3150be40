"""What the pages that score are filled with: money, days and words that fit their place.

Words come from the sampler, so they are of the split's own list; only labels stand in the templates.
"""

from __future__ import annotations

import datetime
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from vlm.training.draft import Draft, Told
from vlm.training.text import CHARSET, DAYS

CHARACTERS = 1.6  # that surely fit into an em of width, bold or monospaced
LINE = 1.5  # ems from one line to the next, on the wide side
GAP = " #h(0.5em) #h(1fr) "  # pushes apart what must not touch

_KNOWN = frozenset(CHARSET)


@dataclass
class Room:
    """Lines still free on a page: what is optional asks first."""

    draft: Draft
    lines: float = field(init=False)

    def __post_init__(self) -> None:
        self.lines = self.draft.rows / LINE

    def take(self, lines: float, share: float = 1.0) -> bool:
        """Take the lines where they are free, this share of the time."""
        if self.lines < lines or not self.draft.chance(share):
            return False
        self.lines -= lines
        return True

    def text(self, characters: int) -> float:
        """Lines that so many characters need at most."""
        return math.ceil(characters / CHARACTERS / (self.draft.columns - 1) * 1.15)

    def many(self, each: float, most: int, share: float = 1.0) -> int:
        """How many of something to set in this share of the free lines, rather many than few."""
        most = max(1, min(most, int(self.lines * share / each)))
        count = max(self.draft.rng.randint(1, most), self.draft.rng.randint(1, most))
        self.lines -= count * each
        return count


@dataclass(frozen=True)
class Money:
    """One page's way to write amounts."""

    form: str  # of an amount with its currency
    mark: str  # before the cents
    group: str  # between thousands

    @classmethod
    def drawn(cls, draft: Draft) -> Money:
        """Draw a way to write amounts; on a narrow page one that can't be torn."""
        rng = draft.rng
        whole = ("${}", "£{}", "€{}")
        if draft.columns < 14 or rng.random() < 0.35:
            return cls(rng.choice(whole), ".", rng.choice(("", ",")))
        if rng.random() < 0.4:
            return cls(rng.choice(("{} USD", "GBP {}", "$ {}", "€ {}")), ".", rng.choice(("", ",")))
        return cls(rng.choice(("{} €", "€ {}", "{} EUR", "CHF {}", "{} kr")), ",", rng.choice(("", ".")))

    def bare(self, cents: int) -> str:
        """The amount without its currency."""
        return f"{cents // 100:,}".replace(",", self.group) + f"{self.mark}{cents % 100:02}"

    def full(self, cents: int) -> str:
        """The amount with its currency."""
        return self.form.format(self.bare(cents))


@dataclass(frozen=True)
class Calendar:
    """One page's way to write days and hours."""

    form: int
    clock: int

    @classmethod
    def drawn(cls, rng: random.Random) -> Calendar:
        """Draw a way to write them."""
        return cls(rng.randrange(8), rng.randrange(4))

    def day(self, day: datetime.date) -> str:
        """A day."""
        month, short = f"{day:%B}", f"{day:%b}"
        return (
            f"{day:%d/%m/%Y}", f"{day:%Y-%m-%d}", f"{day.day}.{day.month}.{day.year}", f"{day:%d.%m.%y}",
            f"{day.day} {month} {day.year}", f"{short} {day.day}, {day.year}",
            f"{day.day} {short} {day.year}", f"{DAYS[day.weekday()][:3]} {day.day} {month} {day.year}",
        )[self.form]  # fmt: skip

    def hour(self, minutes: int) -> str:
        """A time of day, from the minutes since midnight."""
        hours, rest = divmod(minutes % 1440, 60)
        half = "am" if hours < 12 else "pm"
        return (
            f"{hours:02}:{rest:02}", f"{hours}.{rest:02}", f"{(hours - 1) % 12 + 1}:{rest:02} {half}",
            f"{hours}:{rest:02} h",
        )[self.clock]  # fmt: skip


def some_day(rng: random.Random, first: int = 2008, last: int = 2034) -> datetime.date:
    """A day of these years."""
    return datetime.date(rng.randint(first, last), rng.randint(1, 12), rng.randint(1, 28))


def after(day: datetime.date, days: int) -> datetime.date:
    """The day so many days later."""
    return day + datetime.timedelta(days)


def some_hour(rng: random.Random) -> int:
    """A time of day in minutes since midnight, to five minutes."""
    return 5 * rng.randint(84, 270)


def fit(draw: Callable[[], str], ems: float) -> str:
    """The first of many draws that is in the charset and no wider than ``ems``; else the shortest."""
    shortest = ""
    for _ in range(40):
        text = draw()
        if not _KNOWN.issuperset(text) or text[-1] == "-":
            continue
        if len(text) <= ems * CHARACTERS:
            return text
        if not shortest or len(text) < len(shortest):
            shortest = text
    return shortest


def town(draft: Draft, ems: float = 30) -> str:
    """One capitalised word."""
    return fit(lambda: _plain(draft).capitalize(), ems)


def goods(draft: Draft, ems: float = 30) -> str:
    """One to three words with one or all capitals."""

    def draw() -> str:
        words = [_plain(draft), *(draft.text.word() for _ in range(draft.rng.randint(0, 2)))]
        if draft.chance(0.5):
            return " ".join(words).capitalize()
        return " ".join(word.capitalize() for word in words)

    return fit(draw, ems)


def _plain(draft: Draft) -> str:
    """A word of letters, long enough not to be taken for a count or a unit."""
    while True:
        word = draft.text.word()
        if len(word) > 2 and word.isalpha():
            return word


def firm(draft: Draft, ems: float = 30) -> str:
    """A business name."""

    def draw() -> str:
        forms = ("{a} & {b}", "{a} {b}", "The {a} {b}", "{a} Ltd", "{a} {b} Inc.", "{a} GmbH", "{a}", "{a}'s")
        return draft.rng.choice(forms).format(a=town(draft), b=town(draft))

    return fit(draw, ems)


def person(draft: Draft, ems: float = 30) -> str:
    """A person's name."""
    return fit(draft.text.name, ems)


def street(draft: Draft, ems: float = 30) -> str:
    """A street with its number, with a town where there is room."""

    def draw() -> str:
        place = f"{draft.text.address()}, {town(draft)}"
        forms = ("{}", "{} #####", "{} @## #@@", "##### {}")
        if not draft.chance(0.6):
            return place
        return draft.text.fill(draft.rng.choice(forms[:3])).format(place)

    whole = fit(draw, ems)
    return whole if len(whole) <= ems * CHARACTERS else fit(draft.text.address, ems)


def phone(draft: Draft) -> str:
    """A phone number that stands on one line: one torn at its hyphen is set otherwise than it was put."""
    return fit(draft.text.phone, draft.columns - 2.5)


def email(draft: Draft, ems: float = 30) -> str:
    """An e-mail address."""
    return fit(lambda: f"{draft.text.word().lower()}@{_host(draft)}", ems)


def website(draft: Draft, ems: float = 30) -> str:
    """A web address."""
    return fit(lambda: draft.rng.choice(("www.{}", "{}", "https://{}")).format(_host(draft)), ems)


def _host(draft: Draft) -> str:
    ending = draft.rng.choice(("com", "net", "org", "eu", "ch", "nl", "co.uk", "shop"))
    return f"{draft.text.word().lower().strip('.')}.{ending}"


def number(draft: Draft) -> str:
    """A number as papers carry."""
    forms = ("#####", "########", "@@-#####", "##/####", "@####", "####-####", "@@## ####", "20##/###")
    return draft.text.fill(draft.rng.choice(forms))


def sentence(draft: Draft, words: int) -> str:
    """Words with a capital and a full stop."""

    def draw() -> str:
        text = " ".join(draft.text.word() for _ in range(words))
        return f"{text[0].upper()}{text[1:]}."

    return fit(draw, 1000)


def distinct(count: int, draw: Callable[[], str], taken: tuple[str, ...] = ()) -> list[str]:
    """Texts of which none is part of another, so that each can be asked for."""
    found: list[str] = []
    for _ in range(60 * count):
        text = draw()
        others = [other.lower() for other in (*found, *taken)]
        if text and not any(text.lower() in other or other in text.lower() for other in others):
            found.append(text)
        if len(found) == count:
            break
    return found


def labelled(draft: Draft, label: str, key: str, value: str, subject: str = "") -> tuple[str, str]:
    """A label and after it what it labels, told under ``key``."""
    set_label = draft.put(label)
    return set_label, draft.tell(key, value, subject)


def counted(draft: Draft, key: str, answer: str, subject: str = "") -> None:
    """A fact that falls off with what was put last, where the page is cut."""
    draft.told.append(Told(key, subject, answer, len(draft.inked), len(draft.inked)))


def unclear(draft: Draft, *keys: str) -> None:
    """Keep keys from being asked: the page tells them in several ways, so they aren't absent either."""
    for key in keys:
        draft.fact(key, "")
        draft.fact(key, "?")


def shade(rng: random.Random) -> tuple[str, str]:
    """A fill and the ink that is read on it."""
    if rng.random() < 0.6:
        dark = [rng.randint(0, 100) for _ in range(3)]
        return f"rgb({dark[0]}, {dark[1]}, {dark[2]})", "white"
    light = [rng.randint(195, 250) for _ in range(3)]
    return f"rgb({light[0]}, {light[1]}, {light[2]})", "rgb(15, 15, 25)"


def stroke(rng: random.Random) -> str:
    """A rule that shows on light and on dark."""
    colors = ("luma(128)", "luma(110)", "rgb(150, 70, 70)", "rgb(70, 110, 160)", "rgb(80, 130, 90)")
    color = rng.choice(colors)
    dash = rng.choice(('"solid"', '"solid"', '"dashed"', '"dotted"', '"dash-dotted"'))
    return f"(paint: {color}, thickness: {rng.uniform(0.5, 2.2):.2f}pt, dash: {dash})"


def rule(rng: random.Random) -> str:
    """A rule across."""
    return f"#line(length: 100%, stroke: {stroke(rng)})\n"


def tight(rng: random.Random) -> str:
    """Lines and paragraphs close together, for what must fit."""
    leading = rng.uniform(0.42, 0.6)
    return f"#set par(leading: {leading:.2f}em, spacing: {leading + rng.uniform(0.05, 0.2):.2f}em)\n"


def sized(markup: str, size: float, bold: bool = False) -> str:
    """Text in another size."""
    weight = ', weight: "bold"' if bold else ""
    return f"#text(size: {size:.2f}em{weight})[{markup}]"


def band(markup: str, rng: random.Random, inset: float = 0.4) -> str:
    """A block with a fill, across the page."""
    fill, ink = shade(rng)
    round_ = rng.choice((0, 0, 3, 8))
    return (
        f"#block(width: 100%, fill: {fill}, inset: {inset:.2f}em, radius: {round_}pt)"
        f"[#set text(fill: {ink})\n{markup}]\n"
    )
