"""A conversation about images: what was asked and answered, and how the next answer comes, step by step.

A conversation is a value; asking, going back and changing a question make new ones. Nothing is kept
between two calls but what the caller holds, so one person's images can't reach another's page.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from vlm.answer import Answer, AnswerStream
from vlm.errors import PromptError
from vlm.session import VLM, Message

from .background import followed, heeded, relayed
from .handlers import Settings, ending, facts, looking_at, written
from .pictures import Picture, pictures_of

TITLE = 48  # characters of a conversation's name
MOST_TURNS = 40


@dataclass(frozen=True)
class Turn:
    """A question and its answer.

    Attributes:
        answer: so far; None before its first letter.
        said: the whole answer; None while it grows, after a stop and in a conversation that was reloaded.
        note: what else is to be told: "stopped", "stopped at the token limit".
    """

    question: str
    pictures: tuple[Picture, ...] = ()
    answer: str | None = None
    said: Answer | None = field(default=None, repr=False, compare=False)
    note: str = ""


@dataclass(frozen=True)
class Bubble:
    """One message as it is shown."""

    kind: Literal["picture", "question", "answer"]
    turn: int
    text: str
    picture: Picture | None = None


@dataclass(frozen=True)
class Conversation:
    """Turns in order, under an id that no other conversation has."""

    id: str = field(default_factory=lambda: secrets.token_hex(8))
    turns: tuple[Turn, ...] = ()

    @property
    def title(self) -> str:
        """The first question, in short."""
        if not self.turns:
            return "New conversation"
        text = " ".join(self.turns[0].question.split())
        return text if len(text) <= TITLE else text[: TITLE - 1].rstrip() + "…"

    @property
    def bubbles(self) -> tuple[Bubble, ...]:
        """What is shown, in order."""
        shown: list[Bubble] = []
        for index, turn in enumerate(self.turns):
            shown += [Bubble("picture", index, one.name, one) for one in turn.pictures]
            shown.append(Bubble("question", index, turn.question))
            if turn.answer is not None:
                shown.append(Bubble("answer", index, turn.answer))
        return tuple(shown)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The images of all questions, as an answer's evidence counts them."""
        return tuple(one for turn in self.turns for one in turn.pictures)

    def before(self, turn: int) -> Conversation:
        """Without a turn and those after it."""
        return replace(self, turns=self.turns[:turn])

    def stopped(self) -> Conversation:
        """After a stop: what was said so far stays; a question without a letter of an answer goes."""
        if not self.turns or self.turns[-1].said is not None or self.turns[-1].note:
            return self
        *earlier, last = self.turns
        if not last.answer:
            return replace(self, turns=tuple(earlier))
        return replace(self, turns=(*earlier, replace(last, note="stopped")))

    def messages(self) -> tuple[Message, ...]:
        """What the model is given; every image is opened.

        Raises:
            ImageError: one is not held any more, or can't be read.
        """
        told: list[Message] = []
        for turn in self.turns:
            told.append(Message("user", (*(one.open() for one in turn.pictures), turn.question)))
            if turn.answer is not None:
                told.append(Message("assistant", (turn.answer,)))
        return tuple(told)

    def _last(self, turn: Turn) -> Conversation:
        return replace(self, turns=(*self.turns[:-1], turn))


class Step(NamedTuple):
    """The page after one step."""

    conversation: Conversation
    status: str  # one line


@dataclass(frozen=True)
class Ask:
    """A question before its files were looked at.

    Attributes:
        files: places of what was attached.
        pages: of attached documents, as in "1-3,7"; empty: the model finds the page.
        pictures: attached before, when a question is asked again.
    """

    question: str
    files: Sequence[str] = ()
    pages: str = ""
    pictures: tuple[Picture, ...] = ()


def respond(vlm: VLM, conversation: Conversation, ask: Ask, settings: Settings) -> Iterator[Step]:
    """Answer a question, step by step: its pictures, the windows as they are encoded, the growing text.

    Args:
        vlm: the model.
        conversation: the turns before.
        ask: what is asked.
        settings: how.

    Raises:
        ImageError: an image can't be read, or one of an earlier question is gone.
        PromptError: no question, no image, or too long for the model.
        UsageError: a setting out of range, pages there are none of.
    """
    with heeded(vlm) as waited:
        yield from _respond(waited, conversation, ask, settings)


def _respond(vlm: VLM, conversation: Conversation, ask: Ask, settings: Settings) -> Iterator[Step]:
    if not ask.question.strip():
        raise PromptError("no question: say what you want to know about the image")
    if not (ask.files or ask.pictures or conversation.pictures):
        raise PromptError("no image: drop or paste one into the question, or take an example")
    if len(conversation.turns) >= MOST_TURNS:
        raise PromptError(f"a conversation holds {MOST_TURNS} questions; begin a new one")
    options = settings.options()
    pictures = ask.pictures
    if ask.files:
        before = conversation

        def read(tell: Callable[[str], None]) -> tuple[Picture, ...]:
            return pictures_of(vlm, ask.files, ask.pages, ask.question, tell)

        found = yield from relayed(
            followed(read),
            lambda status: Step(before, status),
        )
        pictures = (*pictures, *found)
    turns = (*conversation.turns, Turn(ask.question.strip(), pictures))
    asked = replace(conversation, turns=turns)
    messages = asked.messages()
    yield Step(asked, "Looking …")

    def begin(tell: Callable[[tuple[int, int]], None]) -> AnswerStream:
        return VLM(vlm.engine, lambda done, total: tell((done, total))).reply(messages, options)

    stream = yield from relayed(
        followed(begin, drop=lambda stream: stream.close()), lambda at: Step(asked, looking_at(*at))
    )
    turn = asked.turns[-1]
    answer = yield from relayed(
        written(stream),
        lambda text: Step(
            asked._last(replace(turn, answer=text or None)), "Answering …" if text else "Reading …"
        ),
    )
    told = replace(turn, answer=answer.text.strip(), said=answer, note=ending(answer))
    yield Step(asked._last(told), facts(answer))
