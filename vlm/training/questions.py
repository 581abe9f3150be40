"""Questions about a page, their answers, and the glyph each answer character was read from."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from vlm.training.page import ABSENT, Fact, Glyph, Page
from vlm.training.wordings import (
    ABSENT_KEYS,
    ANSWERS_TOO,
    CONFIRM,
    CONFIRMED,
    CONTAINS,
    COUNT_LINES,
    LINE,
    OF_IMAGE,
    ORDINALS,
    WHICH_IMAGE,
    WHOLE,
    WORDINGS,
)

LONGEST = 180  # characters of an answer: a longer page is asked for its lines and facts
READ_ALL = 0.6  # share of conversations with a transcription, which teaches most a page
SEEN = "\ufffc"  # the object replacement character: something that is no letter
FIRST, SECOND = "The first image.", "The second image."


@dataclass(frozen=True)
class Question:
    """A question, its answer, and the glyph each character of the answer was read from.

    A thing that is seen and not read stands among them as a glyph of the character ``SEEN``.
    """

    text: str
    answer: str
    sources: tuple[Glyph | None, ...]  # one a character of the answer; None: not read from a place
    image: int = 0  # which of the images the sources lie in


def talk_about(page: Page, rng: random.Random, decoys: Sequence[str], turns: int) -> list[Question]:
    """Draw a conversation: up to ``turns`` different questions about one page, perhaps a transcription.

    Args:
        page: with at least a line or a fact.
        rng: source of chance.
        decoys: words to ask for that mostly are not on the page.
        turns: the most questions; fewer where the page has no more to ask.
    """
    questions: list[Question] = []
    whole = None
    if page.lines and rng.random() < READ_ALL and not _is_chart(page):
        whole = whole_question(page, rng)
    if whole is not None and rng.random() < 0.5:
        return [whole]
    for _ in range(4 * turns):
        question = _one(page, rng, decoys)
        if question is None or any(_alike(question, other) for other in questions):
            continue
        if whole is None or question.answer != whole.answer:
            questions.append(question)
        if len(questions) == turns:
            break
    # At the end, because what comes after a transcription could be copied from it.
    return [*questions, whole] if whole is not None else questions


def _alike(question: Question, other: Question) -> bool:
    """Whether an answer could be copied from the other's: the page must be looked at each time."""
    told = " ".join(other.answer.split())
    read = any(glyph is not None and glyph.char != SEEN for glyph in question.sources)
    return question.text == other.text or (read and question.answer in told)


def talk_about_two(pages: Sequence[Page], rng: random.Random, decoys: Sequence[str]) -> list[Question]:
    """One question about two images shown together."""
    index = rng.randrange(2)
    elsewhere = " ".join(pages[1 - index].lines).lower()
    alone = {word for word in _words(pages[index]) if word.lower() not in elsewhere}
    if alone and rng.random() < 0.6:
        text = rng.choice(WHICH_IMAGE).format(rng.choice(sorted(alone)))
        return [_said(text, (FIRST, SECOND)[index])]
    question = _one(pages[index], rng, decoys)
    if question is None:
        return []
    text = rng.choice(OF_IMAGE).format(("first", "second")[index], question.text)
    return [Question(text[0].upper() + text[1:], question.answer, question.sources, index)]


def _one(page: Page, rng: random.Random, decoys: Sequence[str]) -> Question | None:
    """Draw one kind of question; None where this page has no such."""
    kinds: list[tuple[float, Callable[[], Question | None]]] = []
    drawn = _is_chart(page)
    counted = not drawn and _one_below_another(page)
    if page.lines:
        kinds += [
            (4 if drawn else 40, lambda: whole_question(page, rng)),
            (12 if counted else 0, lambda: _line(page, rng)),
            (2 if counted else 0, lambda: _said(rng.choice(COUNT_LINES), str(len(page.lines)))),
            (7, lambda: _contains(page, rng, decoys)),
            (6, lambda: absent_question(page, rng, decoys)),
        ]
    if page.facts:
        kinds += [(60, lambda: fact_question(page, rng)), (0 if drawn else 5, lambda: _confirm(page, rng))]
    ((_, draw),) = rng.choices(kinds, [weight for weight, _ in kinds])
    return draw()


def _one_below_another(page: Page) -> bool:
    """Whether the lines stand as they are counted, none beside an earlier one."""
    glyphs = iter(page.glyphs)
    heights = [fmean(next(glyphs).y for _ in line) for line in page.lines]
    return all(above < below for above, below in pairwise(heights))


def _is_chart(page: Page) -> bool:
    """Whether a page's text is labels and ticks, which nobody would read line by line."""
    return any(fact.key in ("value", "largest") for fact in page.facts)


def _said(text: str, answer: str) -> Question:
    """A question whose answer stands nowhere on the page."""
    return Question(text, answer, (None,) * len(answer))


def whole_question(page: Page, rng: random.Random) -> Question | None:
    """Transcribe everything; None where that is too much to say."""
    if sum(map(len, page.lines)) + len(page.lines) > LONGEST:
        return None
    return _lines(page, rng.choice(WHOLE), range(len(page.lines)))


def _line(page: Page, rng: random.Random) -> Question:
    index = rng.randrange(len(page.lines))
    names = [f"line {index + 1}"]
    if index < len(ORDINALS):
        names.append(f"the {ORDINALS[index]} line")
    if index == len(page.lines) - 1:
        names.append("the last line")
    return _lines(page, rng.choice(LINE).format(rng.choice(names)), range(index, index + 1))


def _lines(page: Page, text: str, indices: range) -> Question:
    """The chosen lines, joined by newlines, with their glyphs."""
    glyphs = iter(page.glyphs)
    by_line = [[next(glyphs) for _ in line] for line in page.lines]
    sources: list[Glyph | None] = []
    for index in indices:
        sources += [*([None] if index > indices.start else []), *by_line[index]]
    return Question(text, "\n".join(page.lines[i] for i in indices), tuple(sources))


def _words(page: Page) -> set[str]:
    """Words of a page without the marks around them."""
    found = {word.strip(".,;:!?()\"'") for line in page.lines for word in line.split()}
    return {word for word in found if len(word) > 1 and '"' not in word}


def _contains(page: Page, rng: random.Random, decoys: Sequence[str]) -> Question | None:
    present = sorted(_words(page))
    if not present:
        return None
    word = rng.choice(present) if rng.random() < 0.5 else _decoy(rng, decoys)
    shown = any(word.lower() in line.lower() for line in page.lines)
    if shown and word not in present:
        return None  # part of a longer word: neither yes nor no
    return _said(rng.choice(CONTAINS).format(word), "Yes" if shown else "No")


def _decoy(rng: random.Random, decoys: Sequence[str]) -> str:
    word = rng.choice(decoys)
    return word.capitalize() if rng.random() < 0.5 else word


def _unambiguous(page: Page) -> list[Fact]:
    """Facts that are told once, or always alike."""
    answers: dict[tuple[str, str], set[str]] = {}
    for fact in page.facts:
        answers.setdefault((fact.key, fact.subject), set()).add(fact.answer)
    return [fact for fact in page.facts if len(answers[fact.key, fact.subject]) == 1]


def fact_question(page: Page, rng: random.Random) -> Question | None:
    """Ask for one thing the page tells unambiguously; None where it tells none."""
    facts = [fact for fact in _unambiguous(page) if fact.key in WORDINGS]
    if not facts:
        return None
    fact = rng.choice(facts)
    if len(fact.answer) > LONGEST:
        return None
    if fact.mark is not None:
        mark = page.marks[fact.mark]
        sources: tuple[Glyph | None, ...] = (Glyph(SEEN, mark.x, mark.y),) * len(fact.answer)
    else:
        at = fact.at or (None,) * len(fact.answer)
        sources = tuple(None if index is None else page.glyphs[index] for index in at)
    return Question(worded(rng.choice(WORDINGS[fact.key]), fact.subject), fact.answer, sources)


def worded(wording: str, subject: str) -> str:
    """Fill a wording with a subject, whole or in its two parts."""
    a, _, b = subject.partition(" / ")
    text = wording.format(subject=subject, a=a, b=b)
    return text[0].upper() + text[1:]


def _confirm(page: Page, rng: random.Random) -> Question | None:
    """Is the total 3.50? The wrong value is that of another fact."""
    facts = [fact for fact in _unambiguous(page) if fact.key in CONFIRMED and not fact.subject and fact.at]
    if len(facts) < 2:
        return None
    fact, other = rng.sample(facts, 2)
    value = fact.answer if rng.random() < 0.5 else other.answer
    text = rng.choice(CONFIRM).format(label=CONFIRMED[fact.key], value=value)
    return _said(text, "Yes" if value == fact.answer else "No")


def absent_question(page: Page, rng: random.Random, decoys: Sequence[str]) -> Question | None:
    """Ask for what the page does not tell."""
    named = ("price", "quantity", "field")  # asked of a thing that is not there
    # A page without facts may hold an address or an amount that nobody noted.
    key = rng.choice(ABSENT_KEYS if page.facts else named)
    said = " ".join(page.lines).lower()
    word = _decoy(rng, decoys)
    asked = word if key in named else ""
    if any(fact.key == key and fact.subject == asked for fact in page.facts):
        return None
    if not asked and any(fact.key in ANSWERS_TOO.get(key, ()) for fact in page.facts):
        return None
    telling = asked.lower() if asked else key.split("_")[0]
    if telling in said:
        return None
    return _said(worded(rng.choice(WORDINGS[key]), asked), ABSENT)
