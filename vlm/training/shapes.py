"""Pictures of coloured shapes, and what can be asked of them.

The names of colours and shapes are the same in every split; grounds, sizes, shades within a name and
arrangement are not, so that a held-out picture asks for the name and not for a picture seen before.
A fact is told only where two people would agree: clearly left of, clearly bigger, the only circle.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from vlm.training.fonts import Split
from vlm.training.hues import distance, from_hsv
from vlm.training.page import ABSENT, Color, Fact, Mark, Page
from vlm.training.shape_forms import FORMS, Box, Shape, draw

_Range = tuple[float, float]

# Hue in degrees, saturation, value. The gaps between names are wider than a degraded picture drifts.
SHADES: dict[str, tuple[_Range, _Range, _Range]] = {
    "red": ((-6, 6), (0.84, 1.0), (0.78, 1.0)),
    "orange": ((25, 38), (0.9, 1.0), (0.95, 1.0)),
    "yellow": ((51, 60), (0.82, 1.0), (0.93, 1.0)),
    "green": ((105, 145), (0.6, 1.0), (0.45, 0.95)),
    "cyan": ((178, 188), (0.7, 1.0), (0.85, 1.0)),
    "blue": ((212, 240), (0.75, 1.0), (0.65, 1.0)),
    "purple": ((270, 300), (0.6, 1.0), (0.45, 0.72)),
    "pink": ((325, 350), (0.26, 0.58), (0.96, 1.0)),
    "brown": ((18, 30), (0.6, 0.88), (0.36, 0.56)),
    "black": ((0, 360), (0.0, 0.1), (0.0, 0.1)),
    "white": ((0, 360), (0.0, 0.03), (0.96, 1.0)),
    "grey": ((0, 360), (0.0, 0.05), (0.42, 0.62)),
}
_SHADE_BINS: dict[Split, tuple[int, ...]] = {
    "train": (0, 1, 2, 4, 5, 6, 8, 9), "validation": (3,), "heldout": (7,)
}  # fmt: skip
_RADII: dict[Split, _Range] = {"train": (0.06, 0.28), "validation": (0.08, 0.2), "heldout": (0.07, 0.24)}
_CONTRAST = 38.0  # least distance of a shape from its ground, in CIELAB
_CORNERS = {
    (0, 0): "top left", (2, 0): "top right", (0, 2): "bottom left", (2, 2): "bottom right", (1, 1): "center"
}  # fmt: skip
_PLURALS = {"cross": "crosses"}


def shapes(rng: random.Random, width: int, height: int, split: Split) -> Page:
    """Draw one to six shapes that do not overlap.

    Args:
        rng: the only source of chance.
        width: of the picture in pixels.
        height: likewise.
        split: whose grounds, sizes, shades and arrangements.
    """
    image, grounds = _ground(rng, width, height, split)
    places = _arrange(rng, width, height, split)
    usable = {name: shade for name in SHADES if (shade := _shade(rng, name, split, grounds))}
    pairs = _casting(rng, len(places), tuple(usable))
    shades = [_shade(rng, color, split, grounds) or usable[color] for color, _ in pairs]
    drawn = [
        draw(rng, image, (color, kind), shade, place)
        for (color, kind), shade, place in zip(pairs, shades, places, strict=True)
    ]
    return Page(image, (), (), tuple(_facts(rng, drawn, width, height)), tuple(map(_mark, drawn)))


def _mark(shape: Shape) -> Mark:
    left, top, right, bottom = shape.box
    return Mark(shape.color, shape.kind, *shape.middle, (right - left) / 2, (bottom - top) / 2)


def _casting(rng: random.Random, count: int, colors: Sequence[str]) -> list[tuple[str, str]]:
    """Colour and kind of each shape; often few of either, so that there is something to count."""
    kinds = rng.sample(sorted(FORMS), rng.choice((1, 2, 3, 6)))
    palette = rng.sample(colors, min(len(colors), rng.choice((1, 2, 3, 6, 6))))
    if rng.random() < 0.35 and len(colors) >= count:
        return list(zip(rng.sample(colors, count), rng.sample(sorted(FORMS), count), strict=True))
    return [(rng.choice(palette), rng.choice(kinds)) for _ in range(count)]


# --- colours and grounds


def _shade(rng: random.Random, name: str, split: Split, grounds: Sequence[Color]) -> Color | None:
    """A shade of a named colour that stands out from the ground; None where none was found."""
    for _ in range(8):
        at = (rng.choice(_SHADE_BINS[split]) + rng.random()) / 10  # by split along the hue, then freely
        hue, saturation, value = (low + (high - low) * u for (low, high), u in zip(
            SHADES[name], (at, rng.random(), (at * 3 + rng.random() * 0.5) % 1.0), strict=True))  # fmt: skip
        color = from_hsv(hue, saturation, value)
        if all(distance(color, ground) >= _CONTRAST for ground in grounds):
            return color
    return None


def _tint(rng: random.Random, split: Split) -> Color:
    """A colour for a ground: mostly light, some dark, few strong."""
    shift = {"train": 0.0, "validation": 0.05, "heldout": 0.1}[split]
    draw = rng.random()
    if split == "train" and draw < 0.25:
        return 255, 255, 255
    if draw < 0.7:
        return from_hsv(rng.uniform(0, 360), rng.uniform(0, 0.18), rng.uniform(0.9, 1.0) - shift)
    if draw < 0.9:
        return from_hsv(rng.uniform(0, 360), rng.uniform(0, 0.5), rng.uniform(0.02, 0.14) + shift)
    return from_hsv(rng.uniform(0, 360), rng.uniform(0.3, 0.7), rng.uniform(0.4, 0.95))


def _ground(rng: random.Random, width: int, height: int, split: Split) -> tuple[Image.Image, list[Color]]:
    """An image without shapes, and the extremes of its colours."""
    kinds = {
        "train": ("plain", "plain", "plain", "along", "across", "grain", "stripes"),
        "validation": ("plain", "slant", "dots"),
        "heldout": ("plain", "plain", "radial", "clouds", "checks"),
    }[split]
    kind = rng.choice(kinds)
    first = _tint(rng, split)
    if kind == "plain":
        return Image.new("RGB", (width, height), first), [first]
    reach = 26 if kind in ("along", "across", "slant", "radial") else 12
    second = tuple(min(255, max(0, c + rng.randint(-reach, reach))) for c in first)
    assert len(second) == 3
    weight = _texture(rng, kind, width, height)[..., None]
    mixed = np.asarray(first) * (1 - weight) + np.asarray(second) * weight
    return Image.fromarray(mixed.astype(np.uint8)), [first, second]


def _texture(rng: random.Random, kind: str, width: int, height: int) -> np.ndarray:
    """Share of the second ground colour at each pixel, [height, width] in 0..1."""
    y, x = np.ogrid[0:height, 0:width]
    noise = np.random.default_rng(rng.getrandbits(32))
    step = max(4, round(min(width, height) * rng.uniform(0.02, 0.1)))
    if kind == "grain":
        tile = noise.random((128, 128), dtype=np.float32)
        return np.tile(tile, (height // 128 + 1, width // 128 + 1))[:height, :width]
    if kind == "clouds":
        small = Image.fromarray((noise.random((6, 6)) * 255).astype(np.uint8))
        return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)) / np.float32(255)
    slope = rng.choice((0, 1))
    even = np.zeros((height, width), dtype=np.float32)
    textures: dict[str, Callable[[], np.ndarray]] = {
        "along": lambda: x / width + even,
        "across": lambda: y / height + even,
        "slant": lambda: (x / width + y / height) / 2,
        "radial": lambda: np.hypot(x / width - 0.5, y / height - 0.5) / 0.71,
        "stripes": lambda: (x + slope * y) // step % 2 + even,
        "checks": lambda: (x // step + y // step) % 2 + even,
        "dots": lambda: ((x % step - step / 2) ** 2 + (y % step - step / 2) ** 2 < step * step / 12) + even,
    }
    return np.clip(textures[kind](), 0, 1)


# --- arrangement


def _arrange(rng: random.Random, width: int, height: int, split: Split) -> list[Box]:
    """Squares that do not touch, one a shape."""
    count = rng.choice((1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6))
    if split == "train":
        draw = rng.random()
        if draw < 0.75 or count == 1:
            return _scatter(rng, count, width, height, split)
        columns, rows = (count, 1) if draw < 0.88 else (1, count)
    elif split == "validation":
        columns, rows = rng.choice(((3, 2), (2, 3), (6, 1)))
    else:
        columns, rows = rng.choice(((3, 3), (2, 3), (3, 2)))
    cells = rng.sample(list(itertools.product(range(columns), range(rows))), count)
    side = min(width / columns, height / rows)
    low = max(0.2, _RADII[split][0] * min(width, height) / side)
    places = []
    for column, row in cells:
        radius = side * rng.uniform(low, 0.42)
        x = (column + 0.5) * width / columns + (side * 0.45 - radius) * rng.uniform(-1, 1)
        y = (row + 0.5) * height / rows + (side * 0.45 - radius) * rng.uniform(-1, 1)
        places.append((x - radius, y - radius, x + radius, y + radius))
    return places


def _scatter(rng: random.Random, count: int, width: int, height: int, split: Split) -> list[Box]:
    """Squares of many sizes anywhere; smaller ones where they do not fit."""
    side = min(width, height)
    low, high = _RADII[split]
    while True:
        places: list[Box] = []
        for _ in range(60):
            radius = side * low * (high / low) ** rng.random()
            x, y = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
            place = (x - radius, y - radius, x + radius, y + radius)
            if not any(_touch(place, other, side * 0.025) for other in places):
                places.append(place)
            if len(places) == count:
                return places
        high = max(low, high * 0.8)


def _touch(a: Box, b: Box, gap: float) -> bool:
    return a[0] < b[2] + gap and b[0] < a[2] + gap and a[1] < b[3] + gap and b[1] < a[3] + gap


# --- facts


def _facts(rng: random.Random, drawn: Sequence[Shape], width: int, height: int) -> list[Fact]:
    """What can be asked, a few of each kind, so that no kind of question drowns the others."""
    kinds, colors = Counter(s.kind for s in drawn), Counter(s.color for s in drawn)
    alike = {other for kind in kinds for other in _ALIKE.get(kind, ())}
    missing_kind = rng.choice([kind for kind in FORMS if kind not in kinds and kind not in alike])
    missing_color = rng.choice([color for color in SHADES if color not in colors])
    named = [_Named(i, drawn) for i in range(len(drawn))]
    told = [
        *_few(
            rng,
            3,
            [Fact("color", s.color, s.kind, marks=(i,)) for i, s in enumerate(drawn) if kinds[s.kind] == 1],
        ),
        *_few(
            rng,
            3,
            [
                Fact("shape_of_color", s.kind, s.color, marks=(i,))
                for i, s in enumerate(drawn)
                if colors[s.color] == 1
            ],
        ),
        *_counts(rng, kinds, colors, drawn, (missing_kind, missing_color)),
        *_few(rng, 3, [fact for n in named for fact in _where(rng, n, width, height)]),
        *_few(rng, 4, [fact for n in named for fact in _neighbours(rng, n, drawn)]),
        *_few(rng, 3, [fact for a, b in itertools.permutations(named, 2) for fact in _beside(rng, a, b)]),
        *_there(rng, drawn, missing_kind, missing_color),
        *_extremes(drawn),
    ]
    if len(drawn) == 1:
        told += [Fact("shape", drawn[0].kind, marks=(0,)), Fact("color", drawn[0].color, "shape", marks=(0,))]
    if rng.random() < 0.4:
        told.append(Fact("color", ABSENT, missing_kind))
    if rng.random() < 0.25:
        told.append(Fact("shape_of_color", ABSENT, missing_color))
    if rng.random() < 0.15:
        told.append(Fact("where", ABSENT, f"the {missing_color} {rng.choice(sorted(FORMS))}"))
    return told


# What two people might both call by one name: no question denies one where the other is.
_ALIKE = {
    "circle": ("ring", "ellipse"), "ring": ("circle", "ellipse"), "ellipse": ("circle", "ring"),
    "square": ("rectangle", "diamond"), "rectangle": ("square",), "diamond": ("square",),
}  # fmt: skip


def _few(rng: random.Random, most: int, facts: list[Fact]) -> list[Fact]:
    return facts if len(facts) <= most else rng.sample(facts, most)


class _Named:
    """A shape with the names that mean it and no other in the picture."""

    def __init__(self, index: int, drawn: Sequence[Shape]) -> None:
        self.index, self.shape = index, drawn[index]
        shape = self.shape
        self.names = []
        if sum(s.name == shape.name for s in drawn) == 1:
            self.names += [f"the {shape.name}"] * 3
        if sum(s.kind == shape.kind for s in drawn) == 1:
            self.names.append(f"the {shape.kind}")


def _plural(kind: str) -> str:
    return _PLURALS.get(kind, kind + "s")


def _counts(
    rng: random.Random,
    kinds: Counter[str],
    colors: Counter[str],
    drawn: Sequence[Shape],
    missing: tuple[str, str],
) -> list[Fact]:
    """Of all shapes, of a kind, of a colour; most are there, some are not."""

    def counted(count: int, subject: str, name: str) -> Fact:
        return Fact("count", str(count), subject, marks=_called(drawn, name))

    parts = [counted(count, _plural(kind), kind) for kind, count in kinds.items()]
    parts += [counted(count, f"{color} shapes", f"{color} shape") for color, count in colors.items()]
    pairs = Counter((s.color, s.kind) for s in drawn)
    parts += [counted(n, f"{c} {_plural(k)}", f"{c} {k}") for (c, k), n in pairs.items() if n > 1]
    several = [fact for fact in parts if fact.answer != "1"]
    told = [Fact("count", str(len(drawn)), "shapes", marks=tuple(range(len(drawn)))), *_few(rng, 2, several)]
    if not several or rng.random() < 0.4:
        told += _few(rng, 1, [fact for fact in parts if fact.answer == "1"])
    if rng.random() < 0.3:
        told.append(Fact("count", "0", rng.choice((_plural(missing[0]), f"{missing[1]} shapes"))))
    return told


def _where(rng: random.Random, named: _Named, width: int, height: int) -> list[Fact]:
    """In which corner, or in the centre; nothing where it is in between."""

    def third(share: float) -> int:
        return 0 if share < 0.36 else 2 if share > 0.64 else 1 if 0.45 < share < 0.55 else 9

    x, y = named.shape.middle
    place = _CORNERS.get((third(x / width), third(y / height)))
    if place is None or not named.names:
        return []
    return [Fact("where", place, rng.choice(named.names), marks=(named.index,))]


_SIDES = (("left_of", 0, -1), ("right_of", 0, 1), ("above", 1, -1), ("below", 1, 1))


def _beyond(a: Shape, b: Shape, axis: int, sign: int) -> bool:
    """Whether ``a`` lies wholly on that side of ``b``."""
    return a.box[axis + 2] < b.box[axis] if sign < 0 else a.box[axis] > b.box[axis + 2]


def _neighbours(rng: random.Random, named: _Named, drawn: Sequence[Shape]) -> list[Fact]:
    """What is left of it, where that is one shape and no other might be meant."""
    told = []
    for key, axis, sign in _SIDES:
        others = [s for s in drawn if s is not named.shape]
        beyond = [s for s in others if _beyond(s, named.shape, axis, sign)]
        doubtful = [s for s in others if s not in beyond
                    and (s.middle[axis] - named.shape.middle[axis]) * sign > 0]  # fmt: skip
        if len(beyond) == 1 and not doubtful and named.names:
            told.append(Fact(key, beyond[0].name, rng.choice(named.names), marks=(_at(drawn, beyond[0]),)))
    return told


def _beside(rng: random.Random, a: _Named, b: _Named) -> list[Fact]:
    """Is it left of the other? Yes or no, where it is clearly on one of the two sides."""
    if not (a.names and b.names):
        return []
    told = []
    for key, axis, sign in _SIDES:
        yes = _beyond(a.shape, b.shape, axis, sign)
        if yes or _beyond(a.shape, b.shape, axis, -sign):
            subject = f"{rng.choice(a.names)} / {rng.choice(b.names)}"
            told.append(Fact(f"is_{key}", "Yes" if yes else "No", subject, marks=(a.index, b.index)))
    return told


def _there(rng: random.Random, drawn: Sequence[Shape], kind: str, color: str) -> list[Fact]:
    """As many that are there as that are not; of those, half share a part with one that is."""
    one = rng.choice(drawn)
    pairs = {s.name for s in drawn}
    other = rng.choice(drawn).kind
    decoys = [f"{one.color} {kind}", f"{color} {one.kind}", kind, f"{color} shape"]
    near = {f"{s.color} {kind}" for s in drawn for kind in _ALIKE.get(s.kind, ())}
    if f"{one.color} {other}" not in pairs | near:
        decoys += [f"{one.color} {other}"] * 3
    true = rng.sample([one.name, one.name, one.kind, f"{one.color} shape"], 2)
    said = [(name, "Yes") for name in sorted(set(true))]
    said += [(name, "No") for name in rng.sample(sorted(set(decoys)), len(said))]
    return [
        Fact("is_there", answer, f"{_article(name)} {name}", marks=_called(drawn, name))
        for name, answer in said
    ]


def _called(drawn: Sequence[Shape], name: str) -> tuple[int, ...]:
    """Which of the shapes a name means: "red star", "star", "red shape"."""
    return tuple(i for i, s in enumerate(drawn) if name in (s.name, s.kind, f"{s.color} shape"))


def _article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"


def _at(drawn: Sequence[Shape], shape: Shape) -> int:
    """Which of the shapes it is: the same one, not one like it."""
    return next(index for index, other in enumerate(drawn) if other is shape)


def _extremes(drawn: Sequence[Shape]) -> list[Fact]:
    """The biggest and the smallest, where both the ink and the square around it say so clearly."""

    def across(shape: Shape) -> float:
        return (shape.box[2] - shape.box[0]) * (shape.box[3] - shape.box[1])

    if len(drawn) < 2:
        return []
    by_ink, by_box = sorted(drawn, key=lambda s: s.area), sorted(drawn, key=across)
    told = []
    for key, end, next_to in (("biggest", -1, -2), ("smallest", 0, 1)):
        ratios = [by_ink[end].area / by_ink[next_to].area, across(by_box[end]) / across(by_box[next_to])]
        clear = all(max(r, 1 / r) >= 1.5 for r in ratios)
        if by_ink[end] is by_box[end] and clear:
            told.append(Fact(key, by_ink[end].name, marks=(_at(drawn, by_ink[end]),)))
    return told
