"""Bundles of pages: one answer each, and ranks that say where its page came."""

from __future__ import annotations

from pathlib import Path

from fakes import ScriptedEngine

from vlm.evaluation.finding import PAGES, Ranked, _place, bundles, rank_bundles


def test_one_page_alone_tells_what_is_asked(tmp_path: Path) -> None:
    asked = list(bundles("heldout", 3, seed=5))
    again = list(bundles("heldout", 3, seed=5))
    assert [(b.question, b.answer, b.right) for b in asked] == [
        (b.question, b.answer, b.right) for b in again
    ]
    for bundle in asked:
        assert len(bundle.pages) == PAGES
        assert any(fact.answer == bundle.answer for fact in bundle.pages[bundle.right].facts)


def test_ranks_come_from_words_and_from_looks(tmp_path: Path) -> None:
    engine = ScriptedEngine(tmp_path, says="same")
    words, looks = rank_bundles(engine.vlm(), asked := list(bundles("heldout", 2, seed=5)))
    assert (words.by, looks.by) == ("words", "first look")
    assert looks.places == tuple(bundle.right for bundle in asked)  # all equally sure: as they come
    assert len(engine.heard) == 2 * PAGES and all(len(plan.spans) == 1 for plan in engine.heard)


def test_places_count_from_the_best() -> None:
    assert _place([0.1, 0.9, 0.5], 2) == 1
    assert _place([0.5, 0.5, 0.5], 2) == 2
    assert _place([0.5, 0.1, 0.5], 0) == 0
    ranked = Ranked("words", (0, 0, 2, 5))
    assert ranked.within(1) == 0.5 and ranked.within(3) == 0.75
    assert ranked.to_json()["first_3"] == 0.75
