"""Questions about a page, their answers, and the glyph each answer character was read from."""

from __future__ import annotations

import random
import string
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import fmean
from typing import Any

from vlm.training.fields_asked import fields_question
from vlm.training.page import ABSENT, Fact, Glyph, Mark, Page, Question
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

NAMED = ("price", "quantity", "field")  # questions that name the thing they are asked of
LONGEST = 180  # characters of an answer: a longer page is asked for its lines and facts
READ_ALL = 0.6  # share of conversations with a transcription, which teaches most a page
AS_JSON = 0.15  # share of the documents' conversations that are one question for several fields as JSON
FIRST, SECOND = "The first image.", "The second image."


class Decoys(Sequence[str]):
    """Words to ask for, and what earlier pages were asked for: a question must not give itself away.

    Args:
        words: of the split.
        kept: subjects remembered of each kind of question.
    """

    def __init__(self, words: Sequence[str], kept: int = 500) -> None:
        self._words = words
        self._subjects: dict[str, deque[str]] = {key: deque(maxlen=kept) for key in NAMED}

    def __len__(self) -> int:
        return len(self._words)

    def __getitem__(self, index: Any) -> Any:
        return self._words[index]

    def note(self, page: Page) -> None:
        """Remember what a page tells."""
        for fact in page.facts:
            if fact.key in self._subjects and fact.subject:
                self._subjects[fact.key].append(fact.subject)

    def subject(self, key: str, rng: random.Random) -> str:
        """Something that a question of this kind was asked of; empty now and then, and at the beginning."""
        known = self._subjects.get(key)
        return rng.choice(known) if known and rng.random() < 0.8 else ""


def talk_about(page: Page, rng: random.Random, decoys: Sequence[str], turns: int) -> list[Question]:
    """Draw a conversation: up to ``turns`` different questions about one page, perhaps a transcription.

    Args:
        page: with at least a line or a fact.
        rng: source of chance.
        decoys: words to ask for that mostly are not on the page.
        turns: the most questions; fewer where the page has no more to ask.
    """
    if not _is_chart(page) and rng.random() < AS_JSON and (asked := _fields(page, rng)) is not None:
        return [asked]
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
    return question.text == other.text or (question.is_read and question.answer in told)


def talk_about_two(pages: Sequence[Page], rng: random.Random, decoys: Sequence[str]) -> list[Question]:
    """One question about two images shown together."""
    index = rng.randrange(2)
    elsewhere = " ".join(pages[1 - index].lines).lower()
    alone = {word for word in _words(pages[index]) if word.lower() not in elsewhere}
    if alone and rng.random() < 0.6:
        word = rng.choice(sorted(alone))
        said = _said(rng.choice(WHICH_IMAGE).format(word), (FIRST, SECOND)[index])
        return [replace(said, image=index, seen=_standing(pages[index], word))]
    question = _one(pages[index], rng, decoys)
    if question is None:
        return []
    text = rng.choice(OF_IMAGE).format(("first", "second")[index], question.text)
    return [replace(question, text=text[0].upper() + text[1:], image=index)]


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
            (6 if drawn else 10, lambda: absent_question(page, rng, decoys)),
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


def is_picture(page: Page) -> bool:
    """Whether most of what a page tells is seen and not read: shapes or a chart."""
    return bool(page.marks) or _is_chart(page)


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
    said = _said(rng.choice(CONTAINS).format(word), "Yes" if shown else "No")
    return replace(said, seen=_standing(page, word))


def _standing(page: Page, word: str) -> tuple[Mark, ...]:
    """Where a word stands, in any case: the middle of each of its characters there."""
    begin = 0
    for line in page.lines:
        at = line.lower().find(word.lower())
        if at >= 0:
            letters = page.glyphs[begin + at : begin + at + len(word)]
            return tuple(Mark("", "", glyph.x, glyph.y, 0.0, 0.0) for glyph in letters)
        begin += len(line)
    return ()


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
    at = fact.at or (None,) * len(fact.answer)
    sources = tuple(None if index is None else page.glyphs[index] for index in at)
    seen = tuple(page.marks[index] for index in fact.marks)
    return Question(worded(rng.choice(WORDINGS[fact.key]), fact.subject), fact.answer, sources, seen=seen)


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
    value = fact.answer if rng.random() < 0.5 else _nearly(fact.answer, rng) or other.answer
    text = rng.choice(CONFIRM).format(label=CONFIRMED[fact.key], value=value)
    said = _said(text, "Yes" if value == fact.answer else "No")
    letters = [page.glyphs[index] for index in fact.at if index is not None]
    return replace(said, seen=tuple(Mark("", "", glyph.x, glyph.y, 0.0, 0.0) for glyph in letters))


def _nearly(value: str, rng: random.Random) -> str:
    """A value that differs by a digit or two, so that it must be read; empty where it has none."""
    digits = [index for index, char in enumerate(value) if char in string.digits]
    if not digits or rng.random() < 0.3:
        return ""
    changed = list(value)
    for index in rng.sample(digits, min(2, len(digits))):
        changed[index] = rng.choice([digit for digit in string.digits if digit != value[index]])
    return "".join(changed)


def absent_question(page: Page, rng: random.Random, decoys: Sequence[str]) -> Question | None:
    """Ask for what the page does not tell."""
    # A page without facts may hold an address or an amount that nobody noted.
    key = rng.choice(ABSENT_KEYS if page.facts else NAMED)
    said = " ".join(page.lines).lower()
    word = _decoy(rng, decoys)
    asked = word if key in NAMED else ""
    if asked and isinstance(decoys, Decoys):
        asked = decoys.subject(key, rng) or asked
    if any(fact.key == key and fact.subject == asked for fact in page.facts):
        return None
    if not asked and _tells_like(page, key):
        return None
    if (asked.lower() or key.split("_")[0]) in said:
        return None
    return _said(worded(rng.choice(WORDINGS[key]), asked), ABSENT)


def _tells_like(page: Page, key: str) -> bool:
    """Whether the page tells something that also answers a question on this."""
    return any(fact.key in ANSWERS_TOO.get(key, ()) for fact in page.facts)


def untold(page: Page) -> list[str]:
    """What one may ask of any document and this page tells by no name."""
    said, told = " ".join(page.lines).lower(), {fact.key for fact in page.facts}
    free = (key for key in ABSENT_KEYS if key not in (*NAMED, *told) and not _tells_like(page, key))
    return [key for key in free if key.split("_")[0] not in said]


def _fields(page: Page, rng: random.Random) -> Question | None:
    """Ask for several fields as JSON, some of which the page does not tell; None where it tells too few."""
    return fields_question(page, _unambiguous(page), untold(page), rng, LONGEST)
