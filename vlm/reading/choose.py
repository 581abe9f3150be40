"""A question about many pages: find the pages that matter, then answer from those.

How pages are chosen. A page with a sound text layer is scored by the question's words it holds, rare
words counting more (inverse document frequency over these pages), spelling mistakes forgiven. Any other
page is looked at once, as a whole (one window), and scored by how sure the model is of an answer it
finds there. The best pages are then asked with the policy that was wanted, and the surest answer wins.
That costs one window a page and a full look at ``most`` of them; a page that lies on its side is asked
both ways up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from PIL import Image
from rapidfuzz import fuzz

from pan_and_scan import ImageError
from vlm.answer import Answer
from vlm.asking import Model
from vlm.errors import UsageError, VlmError
from vlm.fields import fields_of
from vlm.options import Options
from vlm.reading.ink import ink_of
from vlm.reading.loops import ask_for_json
from vlm.reading.sources import OpenedPage, SourcePage
from vlm.reading.transcribe import SILENT
from vlm.reading.upright import Turn, angle_of, turned, ways_up

MOST = 3  # pages that are asked in full
FIRST_LOOK = 32  # tokens of the first answer
ALIKE = 85.0  # of 100: how alike two spellings of a word are
_WORD = re.compile(r"\w{2,}")


@dataclass(frozen=True)
class Scored:
    """How much a page seems to matter."""

    page: SourcePage
    score: float  # 0 to 1
    by: str  # "text layer", "first look", "unreadable", or "only page" where there was no choice


@dataclass(frozen=True)
class Found:
    """The answer, where it was found, and how the pages were told apart."""

    answer: Answer  # its windows and evidence are on the page as it was turned
    page: SourcePage
    ranking: tuple[Scored, ...]  # all pages, the best first
    turn: Turn  # of the page before it was asked: none, or a quarter

    def shown(self, page: Image.Image) -> Image.Image:
        """The page as it was asked."""
        return turned(page, self.turn.degrees)[0]


def ask_pages(
    vlm: Model,
    pages: Iterable[SourcePage],
    question: str,
    options: Options,
    most: int = MOST,
    on_page: Callable[[int], None] | None = None,
) -> Found:
    """Answer a question about pages of one document or several.

    Args:
        vlm: the model.
        pages: of one file or more.
        question: what to ask.
        options: how the chosen pages are asked.
        most: pages asked in full at most.
        on_page: told how many pages were looked at.

    Raises:
        UsageError: none of the pages can be read.
    """
    listed = list(pages)
    ranking = (
        [Scored(listed[0], 1.0, "only page")] if len(listed) == 1 else rank(vlm, listed, question, on_page)
    )
    best: Found | None = None
    for scored in ranking[: max(1, most)]:
        if scored.by == "unreadable":
            break
        answer, turn = _asked_upright(vlm, scored.page.open(), question, options)
        if best is None or _sureness(answer) > _sureness(best.answer):
            best = Found(answer, scored.page, tuple(ranking), turn)
    if best is None:
        raise UsageError("none of the pages can be read: see vlm read for what is wrong with each")
    return best


def _asked_upright(vlm: Model, opened: OpenedPage, question: str, options: Options) -> tuple[Answer, Turn]:
    """Ask a page; a scan that lies on its side is turned, both ways, and the surer answer counts."""
    page, typed = opened.image, opened.layer is not None and opened.layer.sound
    ways = (0.0,) if typed else ways_up(angle_of(ink_of(page)))
    if len(ways) == 1:  # a lean of some degrees is read as it is
        return _asked(vlm, page, question, options), Turn(0.0, page.size, page.size)
    asked: list[tuple[Answer, Turn]] = []
    for way in ways:
        upright, turn = turned(page, 90.0 * round(way / 90.0))
        asked.append((_asked(vlm, upright, question, options), turn))
    return max(asked, key=lambda one: _sureness(one[0]))


def _asked(vlm: Model, image: Image.Image, question: str, options: Options) -> Answer:
    if options.constraint is not None and options.constraint.kind == "schema":
        return ask_for_json(vlm, image, question, options)
    return vlm.ask(image, question, options)


def _sureness(answer: Answer) -> float:
    """What an answer is chosen by: any is better than silence."""
    return -1.0 if _is_silent(answer) else answer.confidence


def _is_silent(answer: Answer) -> bool:
    """Whether it says nothing; fields that are all null say nothing either."""
    if answer.data is None:
        return answer.text in SILENT
    return all(field.value in (None, "", [], {}) for field in fields_of(answer))


def rank(
    vlm: Model, pages: Iterable[SourcePage], question: str, on_page: Callable[[int], None] | None = None
) -> list[Scored]:
    """Score pages by how likely they hold the answer, the best first, as they come among equals."""
    texts: list[tuple[SourcePage, str]] = []
    scored: list[Scored] = []
    order: dict[tuple[str, int], int] = {}
    for done, page in enumerate(pages, start=1):
        order[page.file, page.number] = done
        try:
            opened = page.open()
        except (VlmError, ImageError):
            scored.append(Scored(page, 0.0, "unreadable"))
            continue
        if opened.layer is not None and opened.layer.sound:
            texts.append((page, "\n".join(block.text for block in opened.layer.blocks)))
        else:
            scored.append(Scored(page, first_look(vlm, opened, question), "first look"))
        if on_page is not None:
            on_page(done)
    shares = word_scores(question, [text for _, text in texts])
    scored += [Scored(page, share, "text layer") for (page, _), share in zip(texts, shares, strict=True)]
    return sorted(
        scored, key=lambda one: (one.by == "unreadable", -one.score, order[one.page.file, one.page.number])
    )


def first_look(vlm: Model, opened: OpenedPage, question: str) -> float:
    """How sure the model is of an answer it finds on the whole page; 0 where it finds none."""
    options = replace(Options(), policy="off", max_tokens=FIRST_LOOK)
    answer, _ = _asked_upright(vlm, opened, question, options)
    return 0.0 if answer.text in SILENT else answer.confidence


def word_scores(question: str, texts: Sequence[str]) -> list[float]:
    """Share of a question's words each text holds, weighted by how rare they are among the texts.

    Args:
        question: its words of two letters and more count, in any case.
        texts: one a page.

    Returns:
        One score a text, 0 to 1.
    """
    wanted = list(dict.fromkeys(_WORD.findall(question.lower())))
    pages = [set(_WORD.findall(text.lower())) for text in texts]
    held = [[_holds(words, word) for word in wanted] for words in pages]
    counts = [sum(row[i] for row in held) for i in range(len(wanted))]
    # A word that no page holds tells none from another, as one that all hold.
    weights = [math.log((len(texts) + 1) / (count + 0.5)) if count else 0.0 for count in counts]
    total = sum(weights)
    return [
        sum(weight for weight, has in zip(weights, row, strict=True) if has) / total if total else 0.0
        for row in held
    ]


def _holds(words: set[str], wanted: str) -> bool:
    # A question says "totals" or "invoices" where the page says "total" or "invoice".
    return wanted in words or (len(wanted) > 3 and any(fuzz.ratio(wanted, word) >= ALIKE for word in words))
