"""Kinds of documents an evaluation is made of, each from templates that training never saw.

Letters are sized for the embedded model's square of 224 pixels: a document of one window can be read
in one, one of two by two can't. Strips and scans are lettered so that every window of ``adaptive`` can
be read and the whole image at once mostly can't.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from vlm.errors import UsageError
from vlm.evaluation.folder import CHARTS
from vlm.evaluation.tasks import SIDE
from vlm.training.draft import Template
from vlm.training.fonts import Split
from vlm.training.page import Page
from vlm.training.questions import fact_question
from vlm.training.render import PageStyle
from vlm.training.scenes import Scene, Scenes

LONGEST_SCAN = 3000  # pixels: A4 at 254 dpi
MOST_LINES = 15  # of a page of nothing but lines
_MOST_DRAWS = 400  # for one page, before a kind is given up

Grid = tuple[int, int]  # columns and rows of windows


def _template_page(scenes: Scenes, grids: tuple[Grid, ...]) -> Page | None:
    """A document of one window of any moderate shape, or of a grid of them."""
    rng = scenes.rng
    columns, rows = rng.choice(grids)
    if columns == rows == 1:
        longer, shape = SIDE * rng.uniform(1.0, 1.9), rng.uniform(0.65, 1.0)
        sides = [round(longer), round(longer * shape)]
        rng.shuffle(sides)
        return scenes.document(Scene(sides[0], sides[1], longer / SIDE, exact=False))
    scale = rng.uniform(1.0, 1.3)
    width, height = (
        round(SIDE * count * max(1.0, scale * rng.uniform(0.85, 1.0))) for count in (columns, rows)
    )
    return scenes.document(Scene(width, height, scale, exact=True))


def _scan(scenes: Scenes) -> Page | None:
    """A page from a scanner: three windows across and three or four down at the encoder's own scale."""
    rng = scenes.rng
    width = round(LONGEST_SCAN * rng.uniform(0.707, 1.0))
    scale = LONGEST_SCAN / (3 * SIDE) * rng.uniform(1.0, 1.1)
    return scenes.document(Scene(width, LONGEST_SCAN, scale, exact=True))


def _chart(scenes: Scenes) -> Page | None:
    longer, shape = SIDE * scenes.rng.uniform(1.0, 1.9), scenes.rng.uniform(0.65, 1.0)
    return scenes.chart(Scene(round(longer), round(longer * shape), longer / SIDE, exact=False))


def _lines(scenes: Scenes) -> Page | None:
    """Up to fifteen printed lines, without a layout."""
    columns, rows = scenes.rng.choice(((1, 1), (1, 2), (2, 2)))
    style = PageStyle((15.0, 24.0), (2, MOST_LINES), tall=0.0, squeeze=0.0, noise=0.0)
    return scenes.line_pages.page(style, SIDE * columns, SIDE * rows)


@dataclass(frozen=True)
class Kind:
    """A kind of document.

    Attributes:
        draw: makes a page of it; None where it did not turn out well.
        templates: names of its templates in the splits that score; empty: any document's.
        scanned: saved as a scanner does, as JPEG.
        asked: whether its pages are asked for facts, or only read.
        fewest: lines of text of a page; fewer would fit a smaller image.
    """

    draw: Callable[[Scenes], Page | None]
    templates: tuple[str, ...] = ()
    scanned: bool = False
    asked: bool = True
    fewest: int = 0


def _from(templates: str, *grids: Grid) -> Kind:
    return Kind(lambda scenes: _template_page(scenes, grids), tuple(templates.split()))


_RECEIPTS = "counter_slip stall_receipt kiosk_receipt"
_INVOICES = "sidebar_invoice written_invoice lined_invoice"
_FORMS = "boxed_form questionnaire ruled_form"
_LETTERS = "footed_letter headed_letter"
_TABLES = "striped_table departure_board boxed_table"
_SCANNED = tuple(" ".join((_RECEIPTS, _INVOICES, _FORMS, _LETTERS, _TABLES)).split())

KINDS: dict[str, Kind] = {
    "receipts": _from(_RECEIPTS, (1, 1), (1, 2)),
    "invoices": _from(_INVOICES, (1, 1), (2, 2)),
    "forms": _from(_FORMS, (1, 1), (2, 2)),
    "letters": _from(_LETTERS, (1, 1), (2, 2)),
    "tables": _from(_TABLES, (1, 1), (2, 1)),
    "cards": _from("split_card lettered_card plain_card appointment", (1, 1)),
    "signs": _from("door_sign penalty_sign way_sign", (1, 1)),
    CHARTS: Kind(_chart),
    "wide": _from("", (4, 1), (5, 1)),
    "tall": replace(_from("", (1, 4), (1, 5)), fewest=5),
    "scans": Kind(_scan, _SCANNED, scanned=True, fewest=8),
    "lines": Kind(_lines, asked=False, fewest=1),
}


def pages(name: str, split: Split, seed: int) -> Iterator[Page]:
    """Endless pages of a kind, the same ones for the same seed on a machine with the same fonts.

    Args:
        name: of the kind.
        split: whose fonts, words and templates.
        seed: of this kind alone: other kinds don't change its pages.

    Raises:
        UsageError: the split has no templates of that kind.
        FileNotFoundError: the fonts are not installed.
    """
    kind = KINDS[name]
    scenes = Scenes(split, random.Random(f"{seed}/{name}").getrandbits(32))
    scenes.templates = _templates(kind, scenes.templates)
    if not scenes.templates:
        raise UsageError(f"the {split} split has no templates of {name}")
    while True:
        yield _page(name, kind, scenes)


def _templates(kind: Kind, known: tuple[tuple[float, Template], ...]) -> tuple[tuple[float, Template], ...]:
    if not kind.templates:
        return tuple((weight, template) for weight, template in known if template.__name__ != "lines")
    return tuple((weight, template) for weight, template in known if template.__name__ in kind.templates)


def _page(name: str, kind: Kind, scenes: Scenes) -> Page:
    for _ in range(_MOST_DRAWS):
        try:
            page = kind.draw(scenes)
        except (IndexError, ValueError) as error:  # one odd page must not end a long run
            print(f"a page was left out: {error!r}", file=sys.stderr)
            continue
        if page is None or len(page.lines) < kind.fewest:
            continue
        if not kind.asked or _can_be_asked(page):
            return page
    raise UsageError(f"{name}: no page of it could be made")


def _can_be_asked(page: Page) -> bool:
    """Whether the page tells something; asked of another source of chance, so that pages stay the same."""
    return fact_question(page, random.Random(0)) is not None
