"""Batches hold the prompt of inference, labels on answers only, and places that hold the characters."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("fontTools")
pytest.importorskip("typst")
pytest.importorskip("open_clip")

from vlm.prompt import ImagePart, Turn, plan_chat
from vlm.training.checkpoint import write_skeleton
from vlm.training.encoder import EMPTY, IGNORED_SLOT
from vlm.training.examples import IGNORED, BatchMaker, Layout, _pitch
from vlm.training.page import Glyph
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
            if (held == IGNORED_SLOT).any():
                continue
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
    assert all(bool((page == IGNORED_SLOT).all()) or bool((page != IGNORED_SLOT).all()) for page in whole)
    assert (batch.slots != EMPTY).any()


def test_pitch_is_the_median_step() -> None:
    glyphs = [Glyph("x", x, 0.0) for x in (0.0, 4.0, 8.0, 12.0, 90.0)]
    assert _pitch(glyphs) == 4.0
    assert _pitch(glyphs[:2]) == 0.0
