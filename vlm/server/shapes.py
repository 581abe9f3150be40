"""What ``/v1/chat/completions`` answers, whole or in pieces."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from vlm.answer import Answer, SaidToken
from vlm.server.running import Ended

_LEAST = -9999.0  # what OpenAI writes for a logarithm of nothing

Reason = Literal["stop", "length", "tool_calls"]


class CalledFunction(BaseModel):
    """A function and its arguments, JSON in text."""

    name: str
    arguments: str


class Call(BaseModel):
    """A call the model makes."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class AnswerMessage(BaseModel):
    """An answer; ``vlm`` tells confidence, windows, usage, timings, and evidence where it was asked for."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    tool_calls: list[Call] | None = None
    vlm: dict[str, Any]


class RatedToken(BaseModel):
    """A token that was likely at its place."""

    token: str
    logprob: float
    bytes: list[int]


class ToldToken(RatedToken):
    """A token of the answer; probabilities are the model's, before temperature and constraint."""

    top_logprobs: list[RatedToken]


class Logprobs(BaseModel):
    """The tokens of an answer."""

    content: list[ToldToken]
    refusal: None = None


class Choice(BaseModel):
    """One of the answers."""

    index: int
    message: AnswerMessage
    logprobs: Logprobs | None
    finish_reason: Reason


class Usage(BaseModel):
    """Tokens; the prompt's are counted once."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletion(BaseModel):
    """The answers to a request."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


def completion_id() -> str:
    """A name no other answer has."""
    return f"chatcmpl-{uuid.uuid4().hex}"


def reason_of(answer: Answer, called: bool) -> Reason:
    """Why it ended, in OpenAI's words; ``vlm.finish_reason`` tells a full context from a full budget."""
    if answer.finish_reason != "stop":
        return "length"
    return "tool_calls" if called else "stop"


def usage_of(answers: Iterable[Answer]) -> Usage:
    """What the answers to one request took together."""
    counted = [answer.usage for answer in answers]
    prompt = max((usage.prompt_tokens for usage in counted), default=0)
    said = sum(usage.completion_tokens for usage in counted)
    return Usage(prompt_tokens=prompt, completion_tokens=said, total_tokens=prompt + said)


def logprobs_of(tokens: Iterable[SaidToken]) -> Logprobs:
    """Tokens as OpenAI writes them; bytes that are no whole character show as U+FFFD in ``token``."""
    return Logprobs(
        content=[
            ToldToken(
                **_rated(token.piece, token.logprob),
                top_logprobs=[RatedToken(**_rated(piece, logprob)) for piece, logprob in token.top],
            )
            for token in tokens
        ]
    )


def message_of(ended: Ended, calls: Sequence[dict[str, Any]]) -> AnswerMessage:
    """An answer as a message."""
    return AnswerMessage(
        content=None if calls else ended.answer.text,
        tool_calls=[Call(**call) for call in calls] or None,
        vlm=ended.extras,
    )


@dataclass(frozen=True)
class Chunks:
    """Writes the events of a stream.

    Args:
        model: its public name.
        usage: whether each chunk has a ``usage``, null but in the last.
    """

    model: str
    usage: bool
    id: str = field(default_factory=completion_id)
    created: int = field(default_factory=lambda: int(time.time()))

    def said(self, choice: int, delta: dict[str, Any], tokens: Sequence[SaidToken] | None = None) -> str:
        """More of an answer."""
        return self._chunk([self._choice(choice, delta, tokens)])

    def ended(
        self, ended: Ended, delta: dict[str, Any], reason: Reason, tokens: Sequence[SaidToken] | None
    ) -> str:
        """The end of an answer and what ``vlm`` tells of it."""
        choice = self._choice(ended.choice, delta | {"vlm": ended.extras}, tokens)
        return self._chunk([choice | {"finish_reason": reason}])

    def counted(self, answers: Iterable[Answer]) -> str:
        """The tokens of all answers."""
        return self._chunk([], usage_of(answers).model_dump())

    def _choice(
        self, choice: int, delta: dict[str, Any], tokens: Sequence[SaidToken] | None
    ) -> dict[str, Any]:
        told = logprobs_of(tokens).model_dump() if tokens else None
        return {"index": choice, "delta": delta, "logprobs": told, "finish_reason": None}

    def _chunk(self, choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> str:
        chunk: dict[str, Any] = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }
        return json.dumps(chunk | ({"usage": usage} if self.usage else {}), ensure_ascii=False)


def _rated(piece: bytes, logprob: float) -> dict[str, Any]:
    return {
        "token": piece.decode("utf-8", errors="replace"),
        "logprob": max(logprob, _LEAST),
        "bytes": list(piece),
    }
