"""What a template writes into: Typst markup, and a note of every text it put there.

A template is a function ``(draft) -> markup``. It puts text through ``put`` and ``tell`` in the
order it will be read, so that the typeset page can be matched with it character by character.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from vlm.training.page import Color
from vlm.training.text import TextSampler


@dataclass(frozen=True)
class Told:
    """A piece of text that answers a question: ``[start, end)`` counts the draft's inked characters."""

    key: str
    subject: str
    answer: str
    start: int
    end: int


@dataclass
class Draft:
    """A page being written.

    ``columns`` and ``rows`` are the room in ems of the body text: a template puts no more on the
    page than fits (about two characters an em, and a line every 1.3 ems).
    """

    rng: random.Random
    text: TextSampler
    columns: float
    rows: float
    inked: str = ""  # every character put so far, without white space
    told: list[Told] = field(default_factory=list)

    def put(self, text: str) -> str:
        """Markup that sets ``text`` as it is, whatever characters it holds."""
        self.inked += "".join(text.split())
        return f"#{quoted(text)};"

    def tell(self, key: str, text: str, subject: str = "") -> str:
        """``put``, noting that the text answers questions on ``key`` (of ``subject``)."""
        start = len(self.inked)
        markup = self.put(text)
        self.told.append(Told(key, subject, text, start, len(self.inked)))
        return markup

    def fact(self, key: str, answer: str, subject: str = "") -> None:
        """Note an answer that stands nowhere as text: a count, a colour."""
        self.told.append(Told(key, subject, answer, 0, 0))

    def chance(self, share: float) -> bool:
        """True this share of the time."""
        return self.rng.random() < share


Template = Callable[[Draft], str]


def quoted(text: str) -> str:
    """A Typst string literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def rgb(color: Color) -> str:
    """A Typst colour."""
    return f"rgb({color[0]}, {color[1]}, {color[2]})"
