"""Questions about a rendered page, their answers, and where each answer character stands."""

from __future__ import annotations

import random
from dataclasses import dataclass

from vlm.training.render import Glyph, Page

WHOLE = (
    "What does it say?",
    "What does the text say?",
    "What does this say?",
    "Read the text.",
    "Read this.",
    "Transcribe the text.",
    "Transcribe this image.",
    "Please transcribe all text.",
    "What is written here?",
    "What is written in the image?",
    "What text is in this image?",
    "Write down everything you can read.",
    "OCR",
    "What can you read?",
)
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
COUNT = ("How many lines are there?", "How many lines of text are there?", "Count the lines.")
CONTAINS = ('Is the word "{}" in the image?', 'Does it say "{}"?', 'Can you see the word "{}"?')


@dataclass(frozen=True)
class Question:
    """A question, its answer, and the glyph each character of the answer was read from."""

    text: str
    answer: str
    sources: tuple[Glyph | None, ...]  # one a character of the answer; None: not read from a place


def ask_about(page: Page, rng: random.Random, decoys: tuple[str, ...]) -> Question:
    """Draw a question about a page: mostly "what does it say".

    Args:
        page: a page with at least one line.
        rng: source of chance.
        decoys: words to ask for that mostly are not on the page.
    """
    chance = rng.random()
    if chance < 0.76:
        return _lines(page, rng.choice(WHOLE), range(len(page.lines)))
    if chance < 0.9:
        index = rng.randrange(len(page.lines))
        return _lines(page, _line_question(index, len(page.lines), rng), range(index, index + 1))
    if chance < 0.94:
        count = str(len(page.lines))
        return Question(rng.choice(COUNT), count, (None,) * len(count))
    present = [word for line in page.lines for word in line.split()]
    word = rng.choice(present) if rng.random() < 0.5 else rng.choice(decoys)
    answer = "Yes" if word in present else "No"
    return Question(rng.choice(CONTAINS).format(word), answer, (None,) * len(answer))


def _line_question(index: int, count: int, rng: random.Random) -> str:
    names = [f"line {index + 1}"]
    if index < len(ORDINALS):
        names.append(f"the {ORDINALS[index]} line")
    if index == count - 1:
        names.append("the last line")
    name = rng.choice(names)
    return rng.choice(("What does {} say?", "Read {}.", "What is on {}?", "Transcribe {}.")).format(name)


def _lines(page: Page, text: str, indices: range) -> Question:
    """The chosen lines, joined by newlines, with their glyphs."""
    glyphs = iter(page.glyphs)
    by_line = [[next(glyphs) for _ in line] for line in page.lines]
    sources: list[Glyph | None] = []
    for index in indices:
        sources += [*([None] if index > indices.start else []), *by_line[index]]
    return Question(text, "\n".join(page.lines[i] for i in indices), tuple(sources))
