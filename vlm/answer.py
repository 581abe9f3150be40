"""An answer and all that is known of how it came about: windows, tokens, times, confidence, evidence."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pan_and_scan import Window
from vlm.errors import UsageError
from vlm.evidence import Attention, Evidence
from vlm.generate import FinishReason

NOT_IN_IMAGE = "Not in the image."  # what mini says where there is nothing to read


@dataclass(frozen=True)
class UsedWindow:
    """A window of one of the question's images; blank ones were not read."""

    image: int  # index of the image, from 0
    window: Window


@dataclass(frozen=True)
class Usage:
    """Token counts."""

    prompt_tokens: int  # image tokens included
    image_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Timings:
    """Seconds each stage took."""

    load: float
    encode: float
    prefill: float
    decode: float


@dataclass(frozen=True)
class SaidToken:
    """A token of an answer and how likely it was."""

    id: int
    piece: bytes  # of UTF-8, what it adds to the text
    logprob: float  # natural log of its probability
    top: tuple[tuple[bytes, float], ...] = ()  # the likeliest there, best first, where asked for


@dataclass(frozen=True)
class Answer:
    """An answer and how it came about."""

    text: str
    model: str
    finish_reason: FinishReason
    windows: tuple[UsedWindow, ...]
    usage: Usage
    timings: Timings
    ids: tuple[int, ...] = ()  # the answer's tokens as they were generated
    logprobs: tuple[float, ...] = ()  # natural log of each one's probability
    pieces: tuple[bytes, ...] = field(default=(), repr=False)  # of UTF-8, what each one adds to the text
    attention: Attention | None = field(default=None, repr=False, compare=False)  # None: no images
    data: Any = field(default=None, hash=False)  # what the text stands for, if it was held to a schema

    @property
    def confidence(self) -> float:
        """Mean probability of the answer's tokens, 0 to 1; 0 where there are none."""
        return sum(map(math.exp, self.logprobs)) / len(self.logprobs) if self.logprobs else 0.0

    @property
    def probability(self) -> float:
        """Probability of the whole answer, the product of its tokens', 0 to 1; 0 where there are none.

        It tells right answers from wrong ones better than ``confidence`` (``vlm eval card``), but long ones
        have little of it whatever they say.
        """
        return math.exp(sum(self.logprobs)) if self.logprobs else 0.0

    @cached_property
    def evidence(self) -> tuple[Evidence, ...]:
        """Where on the images it was read, the best place first; images count over the conversation.

        None where the answer says that there was nothing to read.
        """
        if self.attention is None or self.text == NOT_IN_IMAGE:
            return ()
        return self.attention.evidence()

    def to_json(self) -> dict[str, Any]:
        """The object ``vlm ask --json`` prints."""
        return {
            "answer": self.text,
            **({} if self.data is None else {"data": self.data}),
            "confidence": round(self.confidence, 4),
            "probability": float(f"{self.probability:.4g}"),
            "model": self.model,
            "finish_reason": self.finish_reason,
            "windows": [
                {"image": used.image, "box": list(used.window.box), "kind": used.window.kind}
                for used in self.windows
            ],
            "evidence": [
                {"image": found.image, "box": list(found.box), "score": round(found.score, 4)}
                for found in self.evidence
            ],
            "usage": vars(self.usage),
            "timings": {name: round(seconds, 4) for name, seconds in vars(self.timings).items()},
        }


class AnswerStream:
    """Pieces of text as they come; ``answer`` is there once they are all read.

    Stopping early is leaving the loop, and ``close`` where the engine serves others too.

    Attributes:
        tokens: those read so far; the last ones may not have shown in the text yet.
    """

    def __init__(self, pieces: Generator[str | Answer], tokens: list[SaidToken] | None = None) -> None:
        self._pieces = pieces
        self.tokens: list[SaidToken] = [] if tokens is None else tokens
        self.answer: Answer | None = None

    def close(self) -> None:
        """Give up: the rest of the answer is not computed."""
        self._pieces.close()

    def __iter__(self) -> Iterator[str]:
        for piece in self._pieces:
            if isinstance(piece, Answer):
                self.answer = piece
            else:
                yield piece

    def read(self) -> Answer:
        """Read to the end and return the answer.

        Raises:
            UsageError: the stream was closed before.
        """
        for _ in self:
            pass
        if self.answer is None:
            raise UsageError("the stream was closed before its answer was whole: ask again")
        return self.answer
