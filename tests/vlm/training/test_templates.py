"""What all templates keep to, whatever split they belong to."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("wordfreq")
pytest.importorskip("better_profanity")

from vlm.training.draft import Draft, Template
from vlm.training.fonts import Split
from vlm.training.templates import templates_of
from vlm.training.text import TextSampler
from vlm.training.wordings import WORDINGS

SPLITS: tuple[Split, ...] = ("train", "validation", "heldout")
ROOMS = ((8.0, 5.0), (14.0, 12.0), (26.0, 30.0), (44.0, 58.0))  # ems


def every_template() -> list[tuple[Split, Template]]:
    return [(split, template) for split in SPLITS for _, template in templates_of(split)]


def drafts(split: Split, template: Template) -> list[Draft]:
    """Written, not typeset: that needs no fonts."""
    rng = random.Random(7)
    text = TextSampler(split, rng)
    written = []
    for columns, rows in ROOMS * 5:
        draft = Draft(rng, text, columns, rows)
        assert template(draft)
        written.append(draft)
    return written


def test_no_template_serves_two_splits() -> None:
    makers = [template for _, template in every_template()]
    assert len(makers) > 90 and len(set(makers)) == len(makers)
    homes = {split: {t.__module__ for s, t in every_template() if s == split} for split in SPLITS}
    assert not homes["train"] & homes["heldout"] and not homes["train"] & homes["validation"]
    assert not homes["validation"] & homes["heldout"]


@pytest.mark.parametrize(
    ("split", "template"), every_template(), ids=lambda value: getattr(value, "__name__", value)
)
def test_what_is_told_can_be_asked_and_stands_where_it_says(split: Split, template: Template) -> None:
    for draft in drafts(split, template):
        assert draft.inked
        for told in draft.told:
            assert told.key in WORDINGS, told
            if told.start < told.end:
                assert draft.inked[told.start : told.end] == "".join(told.answer.split()), told
