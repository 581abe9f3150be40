"""Batches hold the prompt of inference, labels on answers only, and places that hold the characters."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from statistics import fmean

import pytest
import torch
from PIL import Image

pytest.importorskip("fontTools")
pytest.importorskip("typst")
pytest.importorskip("open_clip")

from pan_and_scan import Window
from vlm.prompt import ImagePart, Turn, plan_chat
from vlm.training.checkpoint import write_skeleton
from vlm.training.encoder import (
    CLASSES,
    EMPTY,
    IGNORED_SLOT,
    LARGEST,
    LEVELS,
    SEEN_CLASSES,
    SLOTS,
    SMALLEST,
)
from vlm.training.examples import (
    DECIDED,
    IGNORED,
    PICTURE_TURNS,
    TURNS,
    BatchMaker,
    Layout,
    ReaderBatches,
    _pitch,
)
from vlm.training.page import Fact, Glyph, Level, Mark, Page
from vlm.training.questions import is_picture
from vlm.training.scenes import Scenes


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> BatchMaker:
    folder = tmp_path_factory.mktemp("mini")
    write_skeleton(folder)
    try:
        return BatchMaker(folder, Scenes("validation", seed=3))
    except FileNotFoundError:
        pytest.skip("the fonts of `make fonts` are not installed")


@pytest.mark.parametrize(
    "layout", [Layout(1.0, 1, 6), Layout(1.0, 3, 3), Layout(1.0, 10, 1), Layout(1.0, 1, 3, images=2)], ids=str
)
def test_a_batch_is_the_prompt_of_inference(maker: BatchMaker, layout: Layout) -> None:
    batch = next(maker.batches(layout, together=1))
    windows = layout.windows * layout.images
    assert batch.pixels.shape == (layout.batch * windows, 3, 224, 224) and batch.pixels.dtype == torch.uint8
    assert len(batch.spans) == windows and batch.places.shape[-1] == windows * maker.tokens
    special = maker.tokenizer.special
    images = (ImagePart(layout.windows),) * layout.images
    for ids, labels, places in zip(batch.ids, batch.labels, batch.places, strict=True):
        said = labels != IGNORED
        assert said.any()
        # A label is the next token; every answer ends its turn.
        at = said.nonzero().flatten()
        inside = at[at + 1 < len(ids)]
        assert torch.equal(labels[inside], ids[inside + 1])
        ends = [i for i in at.tolist() if i + 1 == len(ids) or not said[i + 1]]
        assert all(labels[end] == special.end_of_turn for end in ends)
        # The prompt before the first answer is what the session would plan for that question.
        start = int(at[0]) + 1
        last_span = batch.spans[-1].end
        text = maker.tokenizer.decode(ids[last_span:start].tolist())
        question = text.removeprefix("\n\n").removesuffix("\nmodel\n")
        plan = plan_chat(maker.tokenizer, (Turn("user", (*images, question)),), maker.tokens)
        assert ids[:start].tolist() == list(plan.ids) and plan.spans == batch.spans
        # Only answer characters are read from places.
        assert not places[~said].any()


def test_places_hold_the_character_that_comes_next(maker: BatchMaker) -> None:
    batch = next(maker.batches(Layout(1.0, 1, 12), together=1))
    slots = batch.slots.view(12, maker.tokens, -1)
    found = wrong = 0
    for row in range(12):
        for position in batch.places[row].any(-1).nonzero().flatten().tolist():
            char = maker.tokenizer.decode([int(batch.labels[row, position])])
            held = slots[row][batch.places[row, position]]
            if (held == IGNORED_SLOT).any() or (held >= CLASSES).any():
                continue  # too small to read; or a shape, which has a test of its own
            classes = {maker_class(char)}
            found += bool(classes & set(held.flatten().tolist()))
            wrong += not classes & set(held.flatten().tolist())
    assert found > 20 and wrong <= found // 10  # a crowded patch keeps its first characters only


def maker_class(char: str) -> int:
    from vlm.training.encoder import _CLASS_OF

    return _CLASS_OF[char]


def test_letters_too_small_to_read_teach_nothing(maker: BatchMaker) -> None:
    batch = next(maker.batches(Layout(1.0, 10, 2), together=1))
    whole = batch.slots.view(2, 10, -1)[:, 0]
    # Of a page that can be read, only what lies within a shape is left out, and that by whole patches.
    for page in whole:
        patches = (page.view(-1, SLOTS) == IGNORED_SLOT).sum(-1)
        assert set(patches.tolist()) <= {0, SLOTS}
    assert (batch.slots != EMPTY).any()


def test_pitch_is_the_median_step() -> None:
    glyphs = [Glyph("x", x, 0.0) for x in (0.0, 4.0, 8.0, 12.0, 90.0)]
    assert _pitch(glyphs) == 4.0
    assert _pitch(glyphs[:2]) == 0.0


def test_every_answer_weighs_the_root_of_its_length(maker: BatchMaker) -> None:
    batch = next(maker.batches(Layout(1.0, 1, 8), together=1))
    ends = maker.tokenizer.special.end_of_turn
    for labels, weights in zip(batch.labels, batch.weights, strict=True):
        assert torch.equal(weights > 0, labels != IGNORED)
        start = 0
        for end in (labels == ends).nonzero().flatten().tolist():
            answer = weights[start : end + 1][labels[start : end + 1] != IGNORED]
            told = answer.sum().item() / len(answer) ** 0.5
            assert told == pytest.approx(1.0, rel=1e-4) or told == pytest.approx(DECIDED, rel=1e-4)
            start = end + 1


def test_the_patches_of_a_shape_name_its_colour_and_kind(maker: BatchMaker) -> None:
    # In a window of the right half, enlarged twice: centre at (112, 112), reaching 0.7 * 60 pixels.
    page = Page(Image.new("RGB", (224, 112)), (), (), (), (Mark("red", "star", 168, 56, 30, 30),))
    slots = maker._slots(page, Window(112, 0, 224, 112, "crop")).view(8, 8, 2, 2, -1)
    grid = slots.permute(0, 2, 1, 3, 4).reshape(16, 16, -1)
    inside = grid[..., 0] == SEEN_CLASSES["red"]
    assert inside.nonzero().min() == 7 and inside.nonzero().max() == 8 and inside.sum() == 4
    assert torch.equal(grid[..., 1] == SEEN_CLASSES["star"], inside)
    around = grid[..., 0] == IGNORED_SLOT
    assert (around | inside).nonzero().min() == 5 and (around | inside).sum() == 36
    assert not grid[~(inside | around)].any()


def test_of_a_shape_that_is_cut_off_nothing_is_asked(maker: BatchMaker) -> None:
    page = Page(Image.new("RGB", (224, 112)), (), (), (), (Mark("red", "star", 112, 56, 30, 30),))
    slots = maker._slots(page, Window(112, 0, 224, 112, "crop"))
    assert set(slots.unique().tolist()) == {EMPTY, IGNORED_SLOT}


def test_the_largest_and_the_smallest_are_told_on_a_whole_page_alone(maker: BatchMaker) -> None:
    glyphs = tuple(Glyph(char, 20.0 + 10 * index, 200.0) for index, char in enumerate("AprMay"))
    marks = (Mark("red", "star", 60, 60, 20, 20), Mark("blue", "circle", 160, 60, 30, 30))
    facts = (
        Fact("largest", "May", at=(3, 4, 5)),
        Fact("biggest", "blue circle", marks=(1,)),
        Fact("smallest", "red star", marks=(0,)),
        Fact("value", "Apr", at=(0, 1, 2)),
    )
    page = Page(Image.new("RGB", (224, 224)), ("AprMay",), glyphs, facts, marks)

    def told(kind: str) -> dict[str, set[tuple[int, int]]]:
        slots = maker._slots(page, Window(0, 0, 224, 224, kind)).view(8, 8, 2, 2, -1)  # type: ignore[arg-type]
        last = slots.permute(0, 2, 1, 3, 4).reshape(16, 16, -1)[..., -1]
        return {
            name: {(int(row), int(column)) for row, column in (last == SEEN_CLASSES[name]).nonzero()}
            for name in (LARGEST, SMALLEST)
        }

    whole = told("whole")
    assert whole[LARGEST] == {(14, 3), (14, 4), (14, 5), (4, 11)}  # of "May", and the circle's middle
    assert whole[SMALLEST] == {(4, 4)}
    assert told("crop") == {LARGEST: set(), SMALLEST: set()}


def test_a_label_tells_how_long_its_bar_is(maker: BatchMaker) -> None:
    glyphs = (Glyph("A", 20.0, 200.0), Glyph("B", 90.0, 200.0), Glyph("C", 160.0, 200.0))
    levels = (Level(0.04, (0,)), Level(0.55, (1,)), Level(1.0, (2,)))
    page = Page(Image.new("RGB", (224, 224)), ("ABC",), glyphs, levels=levels)

    def told(kind: str) -> dict[int, tuple[int, int]]:
        slots = maker._slots(page, Window(0, 0, 224, 224, kind)).view(8, 8, 2, 2, -1)  # type: ignore[arg-type]
        grid = slots.permute(0, 2, 1, 3, 4).reshape(16, 16, -1)[..., -2]
        return {int(grid[r, c]): (int(r), int(c)) for r, c in (grid != EMPTY).nonzero()}

    first = SEEN_CLASSES[LEVELS[0]]
    assert told("whole") == {first: (14, 1), first + 5: (14, 6), first + 9: (14, 11)}
    assert told("crop") == {}


def test_pictures_are_asked_more_often(maker: BatchMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[bool, list[int]] = {True: [], False: []}
    for _ in range(60):
        page, windows = maker._page(Layout(1.0, 1, 1))
        with monkeypatch.context() as patch:
            patch.setattr(maker, "_page", lambda _, made=(page, windows): made)
            example = maker._example(Layout(1.0, 1, 1))
        if example is not None:
            asked[is_picture(page)].append(len(example.answers))
    assert max(asked[False]) <= max(TURNS) + 1 < max(asked[True]) <= max(PICTURE_TURNS) + 1
    assert fmean(asked[True]) > 1.5 * fmean(asked[False])


def test_layouts_take_turns(maker: BatchMaker, tmp_path: Path) -> None:
    write_skeleton(tmp_path)
    layouts = (Layout(0.5, 1, 2), Layout(0.5, 3, 2))
    batches = iter(ReaderBatches("validation", tmp_path, 3, layouts))
    windows = [len(next(batches).spans) for _ in range(20)]
    assert sum(a != b for a, b in pairwise(windows)) > 1 and set(windows) == {1, 3}


def test_what_is_decided_looks_at_what_decides_it(maker: BatchMaker) -> None:
    whole = (Window(0, 0, 224, 224, "whole"),)
    shape = Mark("red", "star", 112.0, 112.0, 60.0, 60.0)
    covered = maker._covered((shape,), whole, 100)
    assert len(covered) == 16 and min(covered) == 100 + 2 * 8 + 2 and max(covered) == 100 + 5 * 8 + 5
    letter = Mark("", "", 5.0, 5.0, 0.0, 0.0)
    assert maker._covered((letter,), whole, 0) == [0]
    assert maker._covered((letter,), (Window(100, 100, 200, 200, "crop"),), 0) == []
