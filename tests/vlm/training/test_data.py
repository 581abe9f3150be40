"""The generator's truth is the picture's truth, and the splits share nothing."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("fontTools")
pytest.importorskip("wordfreq")

from vlm.config import VisionConfig
from vlm.errors import UsageError
from vlm.siglip import SiglipEncoder
from vlm.training import fonts
from vlm.training.encoder import (
    _CLASS_OF,
    EMPTY,
    IGNORED_SLOT,
    SEEN_CLASSES,
    SLOTS,
    TEXT_LENGTH,
    EncoderHeads,
    init_encoder,
    raise_resolution,
    slot_classes,
    text_classes,
)
from vlm.training.loop import load_optimizers, load_state, set_rates
from vlm.training.page import Glyph
from vlm.training.render import PageSampler, PageStyle
from vlm.training.text import CHARSET, TextSampler, words

CONFIG = VisionConfig(image_size=56, patch_size=14)
SPLITS: tuple[fonts.Split, ...] = ("train", "validation", "heldout")


@pytest.fixture(scope="module")
def sampler() -> PageSampler:
    try:
        return PageSampler("heldout", seed=5)
    except FileNotFoundError:
        pytest.skip("the fonts of `make fonts` are not installed")


@pytest.mark.parametrize(
    ("family", "split"),
    [
        ("Open Sans", "heldout"), ("Go Mono", "heldout"), ("Gothic", "train"), ("Carlito", "validation"),
        ("Lato", "validation"), ("DejaVu Sans", "train"), ("Noto Sans", None), ("Gentium", "heldout"),
    ],
)  # fmt: skip
def test_a_family_and_its_twins_belong_to_one_split(family: str, split: str | None) -> None:
    assert fonts.split_of_family(family) == split


def test_no_word_stands_in_two_splits() -> None:
    sets = [set(words(split)) for split in SPLITS]
    assert all(len(s) > 3000 for s in sets)
    assert not sets[0] & sets[1] and not sets[0] & sets[2] and not sets[1] & sets[2]


def test_every_string_is_made_of_known_characters() -> None:
    text = TextSampler("train", random.Random(3))
    strings = [text.string() for _ in range(2000)]
    assert set("".join(strings)) <= set(CHARSET)
    assert len(set(strings)) > 1900


def test_same_seed_same_page(sampler: PageSampler) -> None:
    first, second = (PageSampler("heldout", seed=9).page(PageStyle(), 224, 224) for _ in range(2))
    assert first.lines == second.lines
    assert first.image.tobytes() == second.image.tobytes()


def test_glyphs_spell_the_lines_and_stand_on_ink(sampler: PageSampler) -> None:
    style = PageStyle(letter_px=(24.0, 30.0), lines=(2, 3), tall=0.0, squeeze=0.0, noise=0.0)
    for _ in range(10):
        page = sampler.page(style, 448, 224)
        assert "".join(g.char for g in page.glyphs) == "".join(page.lines)
        grey = np.asarray(page.image.convert("L")).astype(int)
        ground = int(np.median(grey))
        for glyph in page.glyphs:
            if glyph.char.isalnum():
                x, y = int(glyph.x), int(glyph.y)
                near = grey[max(0, y - 14) : y + 14, max(0, x - 8) : x + 8]
                assert abs(near - ground).max() > 40, (glyph, page.lines)


def test_slots_are_grouped_by_soft_token() -> None:
    # 56 px: 4x4 patches, 2x2 soft tokens of 2x2 patches. "ab" in patch (0, 1), "c" in patch (3, 3).
    glyphs = [Glyph("a", 15.0, 3.0), Glyph("b", 20.0, 3.0), Glyph("c", 55.0, 55.0), Glyph("x", 60.0, 3.0)]
    slots = slot_classes(glyphs, CONFIG)
    assert slots.shape == (4, 4, SLOTS)
    assert slots[0, 1, :3].tolist() == [_CLASS_OF["a"], _CLASS_OF["b"], EMPTY]
    assert slots[3, 3, 0] == _CLASS_OF["c"]
    assert (slots != EMPTY).sum() == 3


def test_text_classes_are_cut_padded_and_skip_what_is_unknown() -> None:
    classes = text_classes(["ab", "☃c"])
    assert classes.tolist()[:4] == [_CLASS_OF["a"], _CLASS_OF["b"], _CLASS_OF[" "], _CLASS_OF["c"]]
    assert classes[4:].eq(EMPTY).all() and len(classes) == TEXT_LENGTH
    assert text_classes(["x" * 500]).ne(EMPTY).all()


def test_a_raised_resolution_keeps_the_places() -> None:
    low, high = (SiglipEncoder(replace(CONFIG, image_size=side)) for side in (56, 112))
    init_encoder(low)
    raise_resolution(low, high)
    table = high.embeddings.position_embedding.weight.detach().view(8, 8, -1)
    coarse = low.embeddings.position_embedding.weight.detach().view(4, 4, -1)
    # Four fine places average to about the coarse one they cover, inside the border.
    mean = table[2:6, 2:6].reshape(2, 2, 2, 2, -1).mean(dim=(1, 3))
    assert torch.allclose(mean, coarse[1:3, 1:3], atol=0.1)
    weights = [encoder.state_dict()["encoder.layers.0.mlp.fc1.weight"] for encoder in (low, high)]
    assert torch.equal(*weights)


def test_a_batch_without_text_teaches_nothing_and_breaks_nothing() -> None:
    heads = EncoderHeads(replace(CONFIG, hidden_size=32))
    pooled = torch.randn(2, 4, 32, requires_grad=True)
    slots = torch.full((2, 4, 4, SLOTS), IGNORED_SLOT, dtype=torch.uint8)
    no_text = torch.zeros(2, TEXT_LENGTH, dtype=torch.uint8)
    found = heads.losses(torch.randn(2, 16, 32, requires_grad=True), slots, no_text)
    assert found["dense"] == found["contrast"] == found["accuracy"] == 0
    heads.contrast_loss(pooled, no_text).backward()
    assert pooled.grad is not None and pooled.grad.eq(0).all()


def test_a_few_shapes_weigh_as_much_as_many_letters() -> None:
    torch.manual_seed(0)
    heads = EncoderHeads(replace(CONFIG, hidden_size=32))
    pooled = torch.randn(2, 4, 32)
    letters = torch.full((2, 4, 4, SLOTS), 1, dtype=torch.uint8)
    both = letters.clone()
    both[0, 0, 0, 0] = SEEN_CLASSES["red"]
    alone, together = heads.dense_loss(pooled, letters)[0], heads.dense_loss(pooled, both)[0]
    assert together > 1.7 * alone  # one slot of 128, with a mean of its own


def test_resumed_optimisers_keep_the_rates_they_were_built_with() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    old, new = torch.optim.AdamW([weight], lr=0.1), torch.optim.AdamW([weight], lr=0.5)
    set_rates([old], 0.3)
    load_optimizers([new], [old.state_dict()])
    set_rates([new], 0.5)
    assert new.param_groups[0]["lr"] == 0.25


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.pt").write_text("not a checkpoint")
    with pytest.raises(UsageError, match="not a checkpoint"):
        load_state(tmp_path / "notes.pt", "reader")
    torch.save({"encoder": {}}, tmp_path / "encoder.pt")
    with pytest.raises(UsageError, match="holds no reader"):
        load_state(tmp_path / "encoder.pt", "reader")
