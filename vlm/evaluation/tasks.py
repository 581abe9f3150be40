"""What is asked in an evaluation: cases with one right answer each.

Held-out means other fonts, other words and other templates than training saw
(``training.fonts``, ``training.text``, ``training.templates``); charts of that split are drawn by
another program altogether.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from PIL import Image

from vlm.training.fonts import Split
from vlm.training.page import ABSENT, Page
from vlm.training.questions import FIRST, SECOND, absent_question, fact_question, talk_about_two
from vlm.training.render import PageStyle
from vlm.training.scenes import Scene, Scenes

SIDE = 224  # pixels of the image where nothing else is said
READ = "What does it say?"


@dataclass(frozen=True)
class Case:
    """One question with its right answer."""

    images: tuple[Image.Image, ...]
    question: str
    answer: str


Maker = Callable[[Scenes], Case | None]  # None: this draw had nothing to ask; draw again


def cases(make: Maker, split: Split, count: int, seed: int) -> Iterator[Case]:
    """The same cases for the same seed on a machine with the same fonts."""
    scenes = Scenes(split, seed)
    made = (case for _ in itertools.count() if (case := make(scenes)) is not None)
    return itertools.islice(made, count)


def short_lines(scenes: Scenes) -> Case | None:
    """One or two clean printed lines of 20 to 32 px letters."""
    return _lines(scenes, PageStyle((20.0, 32.0), (1, 2), tall=0.0, squeeze=0.0, noise=0.0))


def clean_lines(scenes: Scenes) -> Case | None:
    """Up to six clean lines of 16 to 30 px letters."""
    return _lines(scenes, PageStyle((16.0, 30.0), (1, 6), tall=0.0, squeeze=0.0, noise=0.0))


def degraded_lines(scenes: Scenes) -> Case | None:
    """The same, worn."""
    page = scenes.line_pages.page(
        PageStyle((16.0, 30.0), (1, 6), tall=0.0, squeeze=0.0, noise=0.0), SIDE, SIDE
    )
    return _read(scenes.worn(page)) if page.lines else None


def _lines(scenes: Scenes, style: PageStyle) -> Case | None:
    return _read(scenes.line_pages.page(style, SIDE, SIDE))


def _read(page: Page) -> Case | None:
    return Case((page.image,), READ, "\n".join(page.lines)) if page.lines else None


def clean_documents(scenes: Scenes) -> Case | None:
    """A fact of a clean document."""
    return _asked(scenes, _document(scenes))


def degraded_documents(scenes: Scenes) -> Case | None:
    """A fact of a worn document."""
    page = _document(scenes)
    return None if page is None else _asked(scenes, scenes.worn(page))


def absent(scenes: Scenes) -> Case | None:
    """What a document does not tell."""
    page = _document(scenes)
    if page is None or not page.facts:
        return None
    question = absent_question(page, scenes.rng, scenes.text.words)
    return None if question is None else Case((page.image,), question.text, ABSENT)


def shapes(scenes: Scenes) -> Case | None:
    """Colour, count, place, and yes or no."""
    return _asked(scenes, scenes.shapes(_scene(scenes)))


def chart_extremes(scenes: Scenes) -> Case | None:
    """Which entry is the largest, which the smallest."""
    page = scenes.chart(_scene(scenes))
    return _asked(scenes, _only(page, ("largest", "lowest")))


def chart_values(scenes: Scenes) -> Case | None:
    """The value of an entry."""
    return _asked(scenes, _only(scenes.chart(_scene(scenes)), ("value",)))


def two_images(scenes: Scenes) -> Case | None:
    """Two images: in which one a word stands."""
    pages = (_document(scenes), scenes.lines(_scene(scenes)))
    if pages[0] is None:
        return None
    shown = [page for page in pages if page is not None]
    scenes.rng.shuffle(shown)
    for question in talk_about_two(shown, scenes.rng, scenes.text.words):
        if question.answer in (FIRST, SECOND):
            return Case(tuple(page.image for page in shown), question.text, question.answer)
    return None


def strips_and_scans(scenes: Scenes) -> Case | None:
    """Strips of 1:4 and 4:1 and scans of three windows a side, lettered for the encoder's own scale."""
    columns, rows = scenes.rng.choice(((1, 4), (4, 1), (3, 3)))
    scene = Scene(SIDE * columns, SIDE * rows, scale=scenes.rng.uniform(1.0, 1.15), exact=True)
    page = scenes.document(scene)
    return None if page is None else _asked(scenes, page)


def _scene(scenes: Scenes) -> Scene:
    """An image of one window, somewhat larger than the encoder's square, of any moderate shape."""
    rng = scenes.rng
    longer, shape = SIDE * rng.uniform(1.0, 1.9), rng.uniform(0.65, 1.0)
    sides = [round(longer), round(longer * shape)]
    rng.shuffle(sides)
    return Scene(sides[0], sides[1], longer / SIDE, exact=False)


def _document(scenes: Scenes) -> Page | None:
    return scenes.document(_scene(scenes))


def _only(page: Page, keys: tuple[str, ...]) -> Page:
    return replace(page, facts=tuple(fact for fact in page.facts if fact.key in keys))


def _asked(scenes: Scenes, page: Page | None) -> Case | None:
    question = None if page is None else fact_question(page, scenes.rng)
    if page is None or question is None:
        return None
    return Case((page.image,), question.text, question.answer)
