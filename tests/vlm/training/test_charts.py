"""Facts about charts are checked against the finished picture: lengths of bars, areas of slices."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("fontTools")
pytest.importorskip("wordfreq")

from vlm.training.charts import chart
from vlm.training.fonts import Split, find_fonts
from vlm.training.page import Fact, Page
from vlm.training.text import TextSampler


def charts(split: Split, count: int, size: tuple[int, int] = (224, 224)) -> list[Page]:
    try:
        find_fonts(split)
    except FileNotFoundError:
        pytest.skip("the fonts of `make fonts` are not installed")
    rng = random.Random(21)
    text = TextSampler(split, rng)
    return [chart(rng, *size, split, text) for _ in range(count)]


@pytest.fixture(scope="module")
def pages() -> list[Page]:
    return charts("train", 80) + charts("validation", 30)


def told(page: Page, key: str, subject: str = "") -> Fact | None:
    facts = [fact for fact in page.facts if fact.key == key and subject in ("", fact.subject)]
    return facts[0] if facts else None


def middle(page: Page, fact: Fact) -> tuple[int, int]:
    """Middle of an answer that stands on the picture."""
    glyphs = [page.glyphs[index] for index in fact.at if index is not None]
    return round((glyphs[0].x + glyphs[-1].x) / 2), round(glyphs[0].y)


def reach(page: Page, at: tuple[int, int], upright: bool) -> int:
    """Length of the bar that belongs to a label: most pixels of one colour that is not the ground."""
    pixels = np.asarray(page.image)
    ground = tuple(pixels[0, 0])
    longest = 0
    for shift in range(-3, 4):
        strip = pixels[: at[1] - 6, at[0] + shift] if upright else pixels[at[1] + shift, at[0] :]
        colors = Counter(tuple(pixel) for pixel in strip if tuple(pixel) != ground)
        longest = max([longest, *(count for _, count in colors.most_common(1))])
    return longest


def rivals(page: Page, at: tuple[int, int], upright: bool) -> list[tuple[int, int]]:
    """Where the other bars are: at the words below the axis, or at the lines between title and ticks."""
    if upright:
        return [(round(g.x), round(g.y)) for g in page.glyphs if abs(g.y - at[1]) < 1 and g.char != " "]
    starts = {fact.subject[0] for fact in page.facts if fact.key == "value"}
    return [(round(g.x), round(g.y)) for g in page.glyphs if g.x < at[0] and g.char in starts and g.y > 30]


def test_glyphs_spell_the_lines_and_the_answers(pages: list[Page]) -> None:
    for page in pages:
        assert "".join(glyph.char for glyph in page.glyphs) == "".join(page.lines)
        for fact in page.facts:
            assert (
                not fact.at or "".join(page.glyphs[i].char for i in fact.at if i is not None) == fact.answer
            )
        for glyph in page.glyphs:
            assert 0 <= glyph.x <= page.image.width and 0 <= glyph.y <= page.image.height


def test_glyphs_stand_on_ink(pages: list[Page]) -> None:
    for page in pages:
        grey = np.asarray(page.image.convert("L")).astype(int)
        for glyph in page.glyphs:
            if glyph.char.isalnum():
                x, y = int(glyph.x), int(glyph.y)
                near = grey[max(0, y - 7) : y + 7, max(0, x - 5) : x + 5]
                assert np.ptp(near) > 60, (glyph, page.lines)


def test_the_largest_bar_is_the_longest(pages: list[Page]) -> None:
    checked = 0
    for page in pages:
        kind, least, most = told(page, "chart_kind"), told(page, "lowest"), told(page, "largest")
        if kind is None or kind.answer != "bar chart" or least is None or most is None:
            continue
        (low_x, low_y), (high_x, high_y) = middle(page, least), middle(page, most)
        upright = abs(low_y - high_y) < 4
        long = reach(page, (high_x, high_y) if upright else (40, high_y), upright)
        short = reach(page, (low_x, low_y) if upright else (40, low_y), upright)
        assert long > short + 3, (page.lines, page.facts, long, short)
        long += 9  # a value printed inside a bar hides some of it
        for x, y in rivals(page, (high_x, high_y), upright):
            assert reach(page, (x, y) if upright else (40, y), upright) <= long, (page.lines, page.facts)
        checked += 1
    assert checked > 20


def test_the_largest_slice_has_most_pixels_of_its_legend_color(pages: list[Page]) -> None:
    checked = 0
    for page in pages:
        least, most = told(page, "lowest"), told(page, "largest")
        pixels = np.asarray(page.image)
        areas = []
        for fact in (least, most):
            assert fact is not None and fact.at[0] is not None
            first = page.glyphs[fact.at[0]]
            swatch = {tuple(pixels[round(first.y) + dy, max(0, round(first.x) - 13)]) for dy in (-2, -1, 0)}
            areas.append((pixels == min(swatch)).all(axis=2).sum() if len(swatch) == 1 else 0)
        noun = [fact.subject for fact in page.facts if fact.key == "count"]
        if noun == ["slices"] and min(areas) > 0 and max(areas) < 0.4 * pixels[..., 0].size:
            assert areas[1] > 1.15 * areas[0], (page.facts, areas)
            checked += 1
    assert checked > 5


def test_what_is_compared_differs_and_what_is_printed_is_read(pages: list[Page]) -> None:
    keys: Counter[str] = Counter()
    for page in pages:
        keys.update(fact.key for fact in page.facts)
        values = {f.subject: f.answer for f in page.facts if f.key == "value"}
        numbers = {k: float("".join(c for c in v if c.isdigit())) for k, v in values.items()}
        for fact in page.facts:
            if fact.key == "larger_of":
                a, b = fact.subject.split(" / ")
                if a in numbers and b in numbers:
                    high, low = max(numbers[a], numbers[b]), min(numbers[a], numbers[b])
                    assert numbers[fact.answer] == high and high - low >= 0.1 * high
            if fact.key == "value" and fact.at:
                assert fact.answer in " ".join(page.lines)
    assert set(keys) == {
        "largest", "lowest", "larger_of", "value", "label_of", "count", "chart_kind", "title"
    }  # fmt: skip


def test_levels_are_those_of_the_labels_and_follow_the_values(pages: list[Page]) -> None:
    for page in pages:
        names = ["".join(page.glyphs[at].char for at in level.at if at is not None) for level in page.levels]
        shares = dict(zip(names, (level.share for level in page.levels), strict=True))
        assert len(shares) >= 3 and all(0 < share <= 1 for share in shares.values()), shares
        most, least = told(page, "largest"), told(page, "lowest")
        assert most is not None and least is not None
        assert max(shares, key=shares.__getitem__) == most.answer
        assert min(shares, key=shares.__getitem__) == least.answer


def test_letters_are_legible_at_224(pages: list[Page]) -> None:
    measured = 0
    for page in pages + charts("train", 4, (448, 320)):
        scale = 224 / max(page.image.size)
        pairs = itertools.pairwise(page.glyphs)
        widths = [b.x - a.x for a, b in pairs if b.y == a.y and " " not in (a.char, b.char) and b.x > a.x]
        if widths:  # labels and values may be single characters
            assert np.mean(widths) * scale > 4.5
            measured += 1
    assert measured > len(pages) * 0.9


@pytest.mark.parametrize("size", [(224, 224), (600, 200), (200, 600)])
@pytest.mark.parametrize("split", ["train", "heldout"])
def test_any_size_is_drawn(split: Split, size: tuple[int, int]) -> None:
    if split == "heldout":
        pytest.importorskip("matplotlib")
    for page in charts(split, 6, size):
        assert page.image.size == size and page.image.mode == "RGB"
        assert bool(page.lines) == (split == "train")
        assert np.ptp(np.asarray(page.image)) > 90
        assert {fact.key for fact in page.facts} >= {"largest", "lowest", "count"}


def test_same_seed_same_chart() -> None:
    first, second = (charts("train", 2)[1] for _ in range(2))
    assert first.facts == second.facts
    assert first.image.tobytes() == second.image.tobytes()
