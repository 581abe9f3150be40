"""How well the pages that matter are found: bundles of documents, and a question that one of them answers.

The question asks for something no other page of the bundle tells. Each bundle is ranked twice: by its
words, as if every page had a sound text layer, and by the model's first look, as for scans.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from vlm.asking import Model
from vlm.evaluation.tasks import SIDE
from vlm.reading.choose import MOST, first_look, word_scores
from vlm.reading.sources import OpenedPage
from vlm.training.fonts import Split
from vlm.training.page import Page
from vlm.training.questions import fact_question
from vlm.training.scenes import Scene, Scenes

PAGES = 8  # of a bundle


@dataclass(frozen=True)
class Bundle:
    """Pages, and a question that one of them answers."""

    pages: tuple[Page, ...]
    question: str
    answer: str
    right: int  # index of that page


@dataclass(frozen=True)
class Ranked:
    """Where the right page came in each bundle, 0 for the first; one entry a bundle."""

    by: str
    places: tuple[int, ...]

    def within(self, most: int) -> float:
        """Share of bundles whose right page is among the first ``most``."""
        return sum(place < most for place in self.places) / len(self.places)

    def to_json(self) -> dict[str, object]:
        """One row of ``--json``."""
        shares = {"first": round(self.within(1), 4), f"first_{MOST}": round(self.within(MOST), 4)}
        return {"by": self.by, "bundles": len(self.places), "pages": PAGES} | shares


def bundles(split: Split, count: int, seed: int) -> Iterator[Bundle]:
    """The same bundles for the same seed on a machine with the same fonts."""
    scenes = Scenes(split, seed)
    made = (bundle for _ in itertools.count() if (bundle := _bundle(scenes)) is not None)
    return itertools.islice(made, count)


def _bundle(scenes: Scenes) -> Bundle | None:
    pages: list[Page] = []
    while len(pages) < PAGES:
        side = round(SIDE * scenes.rng.uniform(1.2, 1.9))
        page = scenes.document(Scene(side, side, side / SIDE, exact=False))
        if page is not None and page.lines:
            pages.append(page)
    right = scenes.rng.randrange(PAGES)
    elsewhere = {fact.key for index, page in enumerate(pages) if index != right for fact in page.facts}
    own = tuple(fact for fact in pages[right].facts if fact.key not in elsewhere)
    question = fact_question(replace(pages[right], facts=own), scenes.rng)
    return None if question is None else Bundle(tuple(pages), question.text, question.answer, right)


def rank_bundles(
    vlm: Model, asked: Sequence[Bundle], on_bundle: Callable[[], None] | None = None
) -> tuple[Ranked, Ranked]:
    """Rank the pages of each bundle by its words and by the model's first look."""
    words: list[int] = []
    looks: list[int] = []
    for bundle in asked:
        texts = ["\n".join(page.lines) for page in bundle.pages]
        words.append(_place(word_scores(bundle.question, texts), bundle.right))
        sure = [first_look(vlm, OpenedPage(page.image), bundle.question) for page in bundle.pages]
        looks.append(_place(sure, bundle.right))
        if on_bundle is not None:
            on_bundle()
    return Ranked("words", tuple(words)), Ranked("first look", tuple(looks))


def _place(scores: Sequence[float], right: int) -> int:
    """How many pages come before the right one; of equals, those that stand before it."""
    before = [score > scores[right] for score in scores]
    return sum(before) + sum(score == scores[right] for score in scores[:right])
