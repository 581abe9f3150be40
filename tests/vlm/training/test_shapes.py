"""Facts about shapes are checked against the finished picture, read by other means than it was drawn."""

from __future__ import annotations

import colorsys
import random
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
import pytest

pytest.importorskip("fontTools")

from vlm.training.fonts import Split
from vlm.training.page import ABSENT, Fact, Page
from vlm.training.shape_forms import FORMS
from vlm.training.shapes import SHADES, shapes

SPLITS: tuple[Split, ...] = ("train", "validation", "heldout")


@dataclass(frozen=True)
class Blob:
    color: str
    box: tuple[int, int, int, int]
    ink: int


def named(red: int, green: int, blue: int) -> str:
    """The name of a colour by plain rules of hue, saturation and value."""
    hue, saturation, value = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)
    degrees = hue * 360
    if value < 0.25:
        return "black"
    if saturation < 0.15:
        return "white" if value > 0.85 else "grey"
    if degrees < 45 and value < 0.7 and degrees > 12:
        return "brown"
    for limit, name in ((14, "red"), (45, "orange"), (75, "yellow"), (160, "green"), (200, "cyan"),
                        (250, "blue"), (310, "purple"), (352, "pink"), (361, "red")):  # fmt: skip
        if degrees < limit:
            return name
    raise AssertionError(degrees)


def blobs(page: Page) -> list[Blob] | None:
    """Connected areas that are not ground, from the left; None where the ground's rim is not plain."""
    pixels = np.asarray(page.image).astype(int)
    rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    if np.abs(rim - rim[0]).max() > 0:
        return None
    inked = set(map(tuple, np.argwhere(np.abs(pixels - rim[0]).max(axis=2) > 30).tolist()))
    found = []
    while inked:
        stack, members = [inked.pop()], []
        while stack:
            y, x = stack.pop()
            members.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & inked
            inked -= near
            stack += near
        colors = Counter(tuple(pixels[at]) for at in members).most_common(1)
        ys, xs = [m[0] for m in members], [m[1] for m in members]
        if len(members) > 12:  # what is left of a worn-out edge is no shape
            found.append(Blob(named(*colors[0][0]), (min(xs), min(ys), max(xs), max(ys)), len(members)))
    return sorted(found, key=lambda b: b.box)


def pictures(count: int, split: Split = "train") -> list[tuple[Page, list[Blob]]]:
    """Pictures on plain ground, with what they show."""
    rng, found = random.Random(11), []
    while len(found) < count:
        page = shapes(rng, 160, 160, split)
        if (seen := blobs(page)) is not None:
            found.append((page, seen))
    return found


@pytest.fixture(scope="module")
def seen() -> list[tuple[Page, list[Blob]]]:
    every = [picture for split in SPLITS for picture in pictures(25, split)]
    # Neighbours a pixel apart are one area to this reader.
    apart = [(page, found) for page, found in every if _all_of(page) == str(len(found))]
    assert len(apart) >= len(every) - 2
    return apart


def _all_of(page: Page) -> str:
    """How many shapes the page says it has."""
    return next(fact.answer for fact in page.facts if (fact.key, fact.subject) == ("count", "shapes"))


def told(page: Page, key: str) -> list[Fact]:
    return [fact for fact in page.facts if fact.key == key]


def blob_of(name: str, found: list[Blob]) -> Blob | None:
    """The only area of the colour a name begins with."""
    matching = [blob for blob in found if blob.color == name.removeprefix("the ").split()[0]]
    return matching[0] if len(matching) == 1 else None


def test_counts_are_those_of_the_picture(seen: list[tuple[Page, list[Blob]]]) -> None:
    checked = 0
    for page, found in seen:
        colors = Counter(blob.color for blob in found)
        for fact in told(page, "count"):
            words = fact.subject.split()
            if words[0] in SHADES and words[-1] == "shapes":
                assert fact.answer == str(colors[words[0]])
                checked += 1
    assert checked > 20
    assert {len(found) for _, found in seen} == {1, 2, 3, 4, 5, 6}


def test_colors_are_those_of_the_picture(seen: list[tuple[Page, list[Blob]]]) -> None:
    for page, found in seen:
        colors = {blob.color for blob in found}
        for fact in told(page, "color"):
            assert fact.answer == ABSENT or fact.answer in colors
        for fact in told(page, "shape_of_color"):
            assert (fact.answer == ABSENT) == (fact.subject not in colors)
        for fact in told(page, "is_there"):
            article, *words = fact.subject.split()
            assert article == ("an" if words[0][0] in "aeiou" else "a")
            if words[0] in SHADES and words[0] not in colors:
                assert fact.answer == "No"
            if words[-1] == "shape":
                assert (fact.answer == "Yes") == (words[0] in colors)


def test_relations_are_those_of_the_picture(seen: list[tuple[Page, list[Blob]]]) -> None:
    checked: Counter[str] = Counter()
    axes = {"left_of": (0, -1), "right_of": (0, 1), "above": (1, -1), "below": (1, 1)}
    for page, found in seen:
        for fact in page.facts:
            key = fact.key.removeprefix("is_")
            if key not in axes:
                continue
            axis, sign = axes[key]
            a, b = (fact.answer, fact.subject) if key == fact.key else fact.subject.split(" / ")
            first, second = blob_of(a, found), blob_of(b, found)
            if first and second and not {a.split()[-2], b.split()[-2]} & {"the"}:
                ahead = (first.box[axis] - second.box[axis]) * sign
                assert (ahead > 0) == (fact.answer != "No"), (fact, found)
                checked[fact.key] += 1
    assert set(checked) == {*axes, *(f"is_{key}" for key in axes)}


def test_where_is_where(seen: list[tuple[Page, list[Blob]]]) -> None:
    places = set()
    for page, found in seen:
        for fact in told(page, "where"):
            blob = blob_of(fact.subject, found)
            if blob is None or len(fact.subject.split()) < 3:
                continue
            x, y = (blob.box[0] + blob.box[2]) / 2 / 160, (blob.box[1] + blob.box[3]) / 2 / 160
            if fact.answer == "center":
                assert abs(x - 0.5) < 0.1 and abs(y - 0.5) < 0.1
            else:
                assert fact.answer == f"{'top' if y < 0.5 else 'bottom'} {'left' if x < 0.5 else 'right'}"
            places.add(fact.answer)
    assert len(places) == 5


def test_the_biggest_is_clearly_the_biggest(seen: list[tuple[Page, list[Blob]]]) -> None:
    checked = 0
    for page, found in seen:
        for fact in told(page, "biggest"):
            by_box = sorted(found, key=lambda b: (b.box[2] - b.box[0]) * (b.box[3] - b.box[1]))
            by_ink = sorted(found, key=lambda b: b.ink)
            assert by_box[-1] == by_ink[-1]
            assert by_box[-1].color == fact.answer.split()[0]
            assert by_ink[-1].ink > 1.3 * by_ink[-2].ink
            checked += 1
    assert checked > 10


def test_yes_and_no_are_as_frequent() -> None:
    rng = random.Random(4)
    answers: defaultdict[bool, Counter[str]] = defaultdict(Counter)
    for _ in range(200):
        for fact in shapes(rng, 96, 96, "train").facts:
            if fact.answer in ("Yes", "No"):
                answers[fact.key == "is_there"][fact.answer] += 1
    for counter in answers.values():
        assert 0.8 < counter["Yes"] / counter["No"] < 1.25
    assert set(answers) == {True, False}


@pytest.mark.parametrize("split", SPLITS)
def test_every_name_comes_up_and_nothing_is_told_two_ways(split: Split) -> None:
    rng, names = random.Random(5), set()
    for _ in range(150):
        page = shapes(rng, 128, 96, split)
        assert page.image.size == (128, 96)
        answers: dict[tuple[str, str], str] = {}
        for fact in page.facts:
            assert answers.setdefault((fact.key, fact.subject), fact.answer) == fact.answer
            names |= {fact.answer} if fact.key in ("color", "shape_of_color") else set()
    assert names >= {*FORMS, *SHADES, ABSENT}


def test_same_seed_same_picture() -> None:
    first, second = (shapes(random.Random(7), 64, 64, "heldout") for _ in range(2))
    assert first.facts == second.facts
    assert first.image.tobytes() == second.image.tobytes()


def test_a_fact_points_at_the_shape_it_is_told_of() -> None:
    pointed = 0
    for seed in range(60):
        page = shapes(random.Random(seed), 300, 260, "train")
        for fact in page.facts:
            if not fact.marks:
                assert fact.answer in (ABSENT, "0", "No"), fact
                continue
            mark = page.marks[fact.marks[0]]
            pointed += 1
            if fact.key in ("color", "shape_of_color", "shape"):
                assert fact.answer in (mark.color, mark.kind) and fact.subject in (
                    mark.color,
                    mark.kind,
                    "",
                    "shape",
                )
            elif fact.key in ("biggest", "smallest", "left_of", "right_of", "above", "below"):
                assert fact.answer == f"{mark.color} {mark.kind}"
            elif fact.key == "count":
                assert int(fact.answer) == len(fact.marks)
            elif fact.key == "is_there":
                assert all(
                    fact.subject.split(" ", 1)[1] in (f"{m.color} {m.kind}", m.kind, f"{m.color} shape")
                    for m in (page.marks[index] for index in fact.marks)
                )
                assert fact.answer == "Yes"
            else:
                assert mark.kind in fact.subject
    assert pointed > 200
