"""What a chart shows, drawn before how it looks; and the facts that follow from it.

Values are drawn so that what is asked can be seen: the largest and the smallest stand apart, and a
value that is not printed lies where the axis lets one read it.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import ImageFont

from vlm.training.fonts import Split, find_fonts
from vlm.training.page import Fact
from vlm.training.text import DAYS, MONTHS, TextSampler

Kind = Literal["bars", "columns", "line", "pie", "donut"]  # columns stand, bars lie
Place = tuple[Literal["label", "value", "title"], int]
APART = 0.08  # of the axis: how far the largest and the smallest are from the next

_DAYS = tuple(day[:3] for day in DAYS)
_LISTS: dict[Split, tuple[str, ...]] = {
    "train": (
        "Apple Pear Plum Fig Kiwi Lemon Mango Cherry Grape Melon Peach Lime Banana Orange",
        "Oslo Rome Paris Berlin Madrid Lima Cairo London Tokyo Delhi Bern Prague Boston Vienna",
        "Car Bus Train Bike Plane Ship Tram Taxi Metro Truck",
        "Rent Food Travel Gas Phone Health Clothes Other Fun Books Sport Gifts",
        "North South East West Central",
    ),
    "validation": (
        "Tea Coffee Milk Water Juice Beer Cola Cocoa Wine",
        "Gold Iron Zinc Tin Lead Silver Nickel Copper",
    ),
    "heldout": (
        "Dog Cat Horse Cow Sheep Goat Fox Bear Wolf Rabbit Duck",
        "Spain Italy Peru Chile Japan India Egypt Kenya Cuba Brazil Iran",
        "Tennis Golf Judo Rugby Hockey Chess Rowing Yoga",
    ),
}
_FORMS = ("{:.0f}", "{:.0f}", "{:.0f}", "{:,.0f}", "{:,.0f}", "${:,.0f}", "{:.0f}%", "{:.0f}k")
# Step of the axis, and how finely a value between two ticks can be read.
_STEPS = ((2, 1), (5, 1), (10, 2), (20, 5), (25, 5), (50, 10), (100, 20), (200, 50), (500, 100), (1000, 200))


@dataclass(frozen=True)
class Room:
    """A picture's size in pixels, and how wide the chosen font sets a text."""

    width: int
    height: int
    em: float
    font: Path

    def sized(self, scale: float = 1.0) -> ImageFont.FreeTypeFont:
        """The font, so many times the size of the labels."""
        return _font(self.font, round(self.em * scale))

    def measure(self, text: str, scale: float = 1.0) -> float:
        """About the width of a text: without kerning and rounding, so that it can be remembered."""
        return sum(_advance(self.font, char) for char in text) * self.em * scale


@dataclass(frozen=True)
class Series:
    """A chart without its looks."""

    kind: Kind
    title: str  # may be empty
    labels: tuple[str, ...]
    values: tuple[float, ...]
    said: tuple[str, ...]  # each value as printed, or as it would be
    printed: bool  # values stand on the chart
    ticks: tuple[float, ...]  # of the axis, from 0; empty for pies
    ticked: tuple[str, ...]  # as printed

    @property
    def round(self) -> bool:
        """Whether it is a pie or a donut."""
        return self.kind in ("pie", "donut")

    @property
    def span(self) -> float:
        """What differences are seen against: the axis, or the largest slice."""
        return self.ticks[-1] if self.ticks else max(self.values)


def room(rng: random.Random, width: int, height: int, split: Split) -> Room:
    """Choose a font, at least 13 px large once the picture is 224 px on its longer side."""
    families = _families(split)
    em = min(rng.uniform(13, 15.5) * max(width, height) / 224, min(width, height) / 13)
    return Room(width, height, em, rng.choice(rng.choice(families)))


@functools.cache
def _families(split: Split) -> tuple[tuple[Path, ...], ...]:
    """Font files grouped by the start of their name, so that large families are not drawn more often."""

    def key(path: Path) -> str:
        return path.stem.replace("_", "-").split("-")[0][:9]

    return tuple(tuple(group) for _, group in itertools.groupby(sorted(find_fonts(split), key=key), key))


@functools.lru_cache(maxsize=1 << 17)
def _advance(path: Path, char: str) -> float:
    """Width of a character in ems."""
    return _font(path, 64).getlength(char) / 64


@functools.lru_cache(maxsize=4096)
def _font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    # The basic layout joins no letters: each character keeps a place of its own.
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def series(rng: random.Random, text: TextSampler, split: Split, space: Room) -> Series:
    """Draw a kind of chart, and labels, values and a title that fit."""
    kind: Kind = rng.choice(("bars", "columns", "columns", "line", "pie", "donut"))
    printed = rng.random() < 0.6
    title = _title(rng, text, space) if rng.random() < 0.7 else ""
    labels = _labels(rng, text, split, kind, space)
    if kind in ("pie", "donut"):
        form = rng.choice(("{:.0f}%", "{:.0f}%", "{:.0f} %", "{:.0f}"))
        shares = _shares(rng, len(labels))
        return Series(kind, title, labels, shares, tuple(map(form.format, shares)), printed, (), ())
    upright = kind != "bars"
    form = rng.choice(_FORMS)
    if upright:
        slot = _slot(kind, space, len(labels)) * 0.95
        longest = (space.height - 6 * space.em) / (1.7 * space.em)
    else:
        slot = longest = 6.0 * space.em
    fitting = [
        s for s in _STEPS if space.measure(form.format(s[0] * 6)) < slot and ("%" not in form or s[0] <= 20)
    ]
    step, grain = rng.choice(fitting or _STEPS[:3])
    if not upright:
        longest = 0.55 * space.width / (space.measure(form.format(step * 6)) + 0.9 * space.em)
    count = max(2, min(rng.randint(3, 6), int(longest), 100 // step if "%" in form else 6))
    if printed:
        grain = 1 if step <= 100 else rng.choice((1, 10, 50))
    elif rng.random() < 0.5 and step % 2 == 0:
        grain = step // 2
    values = _values(rng, len(labels), step * count, grain)
    ticks = tuple(float(step * i) for i in range(count + 1))
    said = tuple(map(form.format, values))
    return Series(kind, title, labels, values, said, printed, ticks, tuple(map(form.format, ticks)))


def _slot(kind: Kind, space: Room, count: int) -> float:
    """Width a label may have."""
    if kind in ("columns", "line"):
        return (space.width - 3.4 * space.em) / count - 0.4 * space.em
    return 0.36 * space.width


def _labels(rng: random.Random, text: TextSampler, split: Split, kind: Kind, space: Room) -> tuple[str, ...]:
    """Three to seven different labels of one sort; fewer where they are long."""
    most = 7 if kind in ("bars", "columns", "line") else 6
    wanted = rng.randint(3, most)
    for count in (wanted, wanted, wanted, wanted, (wanted + 3) // 2, 3, 3):
        chosen = _sort_of_label(rng, text, split, count)
        widest = _slot(kind, space, count)
        fitting = [label for label in chosen if space.measure(label) <= widest]
        if len(fitting) >= count:
            return tuple(fitting[:count])
    return ("A", "B", "C", "D")[: rng.randint(3, 4)]


def _sort_of_label(rng: random.Random, text: TextSampler, split: Split, count: int) -> list[str]:
    """Labels of one sort, in their order where they have one; more than wanted where some may not fit."""
    sort = rng.choice(("months", "years", "days", "list", "list", "words", "words", "words", "letters"))
    if sort == "months":
        names = MONTHS if rng.random() < 0.3 else [month[:3] for month in MONTHS]
        start = rng.randint(0, 12 - count)
        return list(names[start : start + count])
    if sort == "years":
        start, stride = rng.randint(1990, 2024), rng.choice((1, 1, 1, 2, 5))
        return [str(start + stride * i) for i in range(count)]
    if sort == "days":
        start = rng.randint(0, 7 - count)
        return list(_DAYS[start : start + count])
    if sort == "list":
        names = rng.choice(_LISTS[split]).split()
        return rng.sample(names, len(names))
    if sort == "words":
        words = {text.word().capitalize() for _ in range(count * 6)}
        return rng.sample(
            fit := sorted(w for w in words if w.isascii() and w.isalpha() and len(w) > 2), len(fit)
        )
    prefix = rng.choice(("", "", "Team ", "Type ", *["Q"] * (count <= 4)))
    return [prefix + (str(i + 1) if prefix == "Q" else "ABCDEFG"[i]) for i in range(count)]


def _title(rng: random.Random, text: TextSampler, space: Room) -> str:
    """A few words in one of the ways charts are headed; empty where none fits."""
    for _ in range(4):
        word = text.word().capitalize()
        year = rng.randint(1990, 2030)
        title = rng.choice(
            (text.title(), text.title(), text.capitals(), f"{word} {year}", f"{word} per year")
        )
        if title.isascii() and space.measure(title, 1.25) < space.width - 1.5 * space.em:
            return title
    return ""


def _apart(values: list[int], span: float) -> bool:
    """Whether the largest and the smallest can be told from the next."""
    low, next_low, *_, next_high, high = [*sorted(values)[:2], *sorted(values)[-2:]]
    return high - next_high >= APART * span and next_low - low >= APART * span


def _values(rng: random.Random, count: int, top: int, grain: int) -> tuple[float, ...]:
    while True:
        values = [max(grain, round(rng.uniform(0.06, 1) * top / grain) * grain) for _ in range(count)]
        if _apart(values, top) and max(values) >= 0.6 * top:
            break
    if rng.random() < 0.2:
        values.sort(reverse=rng.random() < 0.5)
    return tuple(map(float, values))


def _shares(rng: random.Random, count: int) -> tuple[float, ...]:
    """Whole percentages that sum to 100."""
    while True:
        weights = [rng.gammavariate(2, 1) + 0.5 for _ in range(count)]
        shares = [round(100 * weight / sum(weights)) for weight in weights]
        shares[-1] = 100 - sum(shares[:-1])
        if min(shares) >= 6 and _apart(shares, max(30, max(shares) * 1.2)):
            return tuple(map(float, shares))


def facts(
    rng: random.Random, shown: Series, at: Callable[[Place], tuple[int | None, ...]]
) -> tuple[Fact, ...]:
    """What can be asked of a chart; ``at`` says which glyphs a text has, none where it is not known."""
    order = sorted(range(len(shown.labels)), key=shown.values.__getitem__)

    def label(key: str, index: int, subject: str = "") -> Fact:
        return Fact(key, shown.labels[index], subject, at(("label", index)))

    told = [label("largest", order[-1]), label("lowest", order[0])]
    pairs = [
        (low, high) for low, high in itertools.combinations(order, 2)
        if shown.values[high] - shown.values[low] >= max(0.1 * shown.values[high], APART * shown.span)
    ]  # fmt: skip
    for low, high in rng.sample(pairs, min(2, len(pairs))):
        both = [shown.labels[low], shown.labels[high]]
        rng.shuffle(both)
        told.append(label("larger_of", high, " / ".join(both)))
    for index in rng.sample(order, 3):
        if shown.printed:
            told.append(Fact("value", shown.said[index], shown.labels[index], at(("value", index))))
        elif shown.ticks:
            told.append(Fact("value", shown.said[index], shown.labels[index]))
    index = rng.choice(order)
    if shown.printed and shown.said.count(shown.said[index]) == 1:
        told.append(label("label_of", index, shown.said[index]))
    noun = "slices" if shown.round else "points" if shown.kind == "line" else "bars"
    told.append(Fact("count", str(len(order)), rng.choice((noun, noun, "entries"))))
    if shown.kind != "donut":  # some call it a pie chart, others do not
        told.append(Fact("chart_kind", f"{'bar' if noun == 'bars' else shown.kind} chart"))
    if shown.title:
        told.append(Fact("title", shown.title, at=at(("title", 0))))
    return tuple(told)
