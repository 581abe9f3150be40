"""What a server sends while it answers -> pieces of text and, at the end, the ``Answer``.

Every value is looked at before it is used, because nothing is known of who sent it: a wrong type is one
line that names it. What a server doesn't tell stays empty, and nothing is made up for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from vlm.answer import Answer, SaidToken, Timings, Usage, UsedWindow
from vlm.errors import RemoteError
from vlm.evidence import Attention
from vlm.generate import FinishReason
from vlm.options import Options
from vlm.remote.dialect import Question
from vlm.remote.transport import Server, message_in
from vlm.wire import attention_from_json, window_from_json

_ATTENTION = 128 << 20  # bytes of an event that tells where an answer was read
NO_ID = -1  # of a token: OpenAI's interface tells its text, not its number
_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length", "context": "context"}


@dataclass
class _Told:
    """What a server has told so far."""

    text: list[str] = field(default_factory=list)
    reason: FinishReason | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    extras: dict[str, Any] = field(default_factory=dict)  # what our own server adds
    first: float | None = None  # when the first text came


def answer_in_pieces(
    server: Server, asked: Question, options: Options, tokens: list[SaidToken]
) -> Generator[str | Answer]:
    """Ask; yields pieces of text, then the answer. Every token is added to ``tokens``.

    Raises:
        RemoteError: the server refused, broke off, or sent what no OpenAI-style server sends.
    """
    began = time.perf_counter()
    told = _Told()
    reader = _Reader(server, tokens, options.max_tokens)
    events = server.events("/chat/completions", asked.body, _ATTENTION if asked.told_attention else None)
    try:
        for event in events:
            piece = reader.read(event, told)
            if piece:
                told.first = told.first or time.perf_counter()
                told.text.append(piece)
                yield piece
    finally:
        events.close()
    yield reader.answer(asked, options, told, began)


class _Reader:
    """Reads the objects of one answer."""

    def __init__(self, server: Server, tokens: list[SaidToken], most: int) -> None:
        self._server = server
        self._tokens = tokens
        self._most = most  # tokens that were asked for

    def read(self, event: dict[str, Any], told: _Told) -> str:
        """Take in one object; returns the text it adds."""
        if event.get("error"):
            why = self._server.said(message_in(event)) or "it doesn't say why"
            raise RemoteError(f"{self._server.url}: gave up on the answer ({why})")
        told.usage = self._dict(event, "usage") or told.usage
        told.extras = self._dict(event, "vlm") or told.extras
        choices = self._list(event, "choices")
        if not choices:
            return ""
        choice = choices[0]
        if not isinstance(choice, dict):
            self._server.fail("a choice is no object")
        if choice.get("index") not in (0, None):
            return ""
        delta = self._dict(choice, "delta") or self._dict(choice, "message")
        for part in (choice, delta):
            told.extras = self._dict(part, "vlm") or told.extras
        for one in self._list(self._dict(choice, "logprobs"), "content"):
            self._tokens.append(self._token(one))
        if len(self._tokens) > 2 * self._most:  # some servers count a little otherwise
            self._server.fail("the answer has more tokens than it was asked for")
        reason = choice.get("finish_reason")
        if reason is not None:
            if reason == "content_filter":
                raise RemoteError(f"{self._server.url}: withholds the answer (content_filter)")
            told.reason = _REASONS.get(reason, "stop") if isinstance(reason, str) else "stop"
        piece = delta.get("content")
        if piece is not None and not isinstance(piece, str):
            self._server.fail("the answer's content is no text")
        return piece or ""

    def answer(self, asked: Question, options: Options, told: _Told, began: float) -> Answer:
        """All of it, once the end has come."""
        if told.reason is None:
            raise RemoteError(f"{self._server.url}: the answer broke off; ask again")
        text = "".join(told.text)
        constraint = options.constraint
        if constraint is None:
            text = text.strip()
        data = None if constraint is None else asked.data_of(constraint, text)
        ended = time.perf_counter()
        first = told.first or ended
        return Answer(
            text=text,
            model=asked.served.model,
            finish_reason=_REASONS.get(str(told.extras.get("finish_reason")), told.reason),
            windows=self._windows(asked, told),
            usage=self._usage(asked, told),
            timings=self._timings(told, Timings(0.0, 0.0, first - began, ended - first)),
            logprobs=tuple(token.logprob for token in self._tokens),
            pieces=tuple(token.piece for token in self._tokens),
            attention=self._attention(asked, told),
            data=data,
        )

    def _token(self, told: Any) -> SaidToken:
        piece, logprob = self._piece(told)
        top = tuple(map(self._piece, self._list(told, "top_logprobs")))
        return SaidToken(NO_ID, piece, logprob, top)

    def _piece(self, told: Any) -> tuple[bytes, float]:
        if not isinstance(told, dict):
            self._server.fail("a token is no object")
        text, logprob, raw = told.get("token"), told.get("logprob"), told.get("bytes")
        if not isinstance(text, str) or not _is_number(logprob):
            self._server.fail("a token has no text or no logprob")
        if raw is None:
            return text.encode(errors="replace"), min(0.0, float(logprob))
        if not isinstance(raw, list) or not all(type(byte) is int and 0 <= byte < 256 for byte in raw):
            self._server.fail("a token's bytes are none")
        return bytes(raw), min(0.0, float(logprob))

    def _windows(self, asked: Question, told: _Told) -> tuple[UsedWindow, ...]:
        """What the server says it looked at, else what it was asked to."""
        if "windows" not in told.extras:
            return asked.windows
        try:
            found = [UsedWindow(*window_from_json(one)) for one in self._list(told.extras, "windows")]
        except ValueError:
            self._server.fail("a window is none")
        self._check_places(asked, found)
        return tuple(found)

    def _attention(self, asked: Question, told: _Told) -> Attention | None:
        if told.extras.get("attention") is None:
            return None
        try:
            attention = attention_from_json(told.extras["attention"])
        except ValueError:
            self._server.fail("its attention is none")
        if len(attention.rows_NS) not in (0, len(self._tokens)):
            self._server.fail("its attention is of other tokens")
        self._check_places(asked, [UsedWindow(place.image, place.window) for place in attention.places])
        return attention

    def _check_places(self, asked: Question, found: Iterable[UsedWindow]) -> None:
        """A window lies on one of the images that were sent."""
        for used in found:
            width, height = asked.sizes[used.image] if used.image < len(asked.sizes) else (0, 0)
            if used.window.right > width or used.window.bottom > height:
                self._server.fail("a window lies on no image that was sent")

    def _usage(self, asked: Question, told: _Told) -> Usage:
        """Token counts; of an image's windows where the server doesn't tell them apart."""
        counted = {name: value for name, value in told.usage.items() if _is_count(value)}
        counted |= {
            name: value for name, value in self._dict(told.extras, "usage").items() if _is_count(value)
        }
        return Usage(
            prompt_tokens=counted.get("prompt_tokens", 0),
            image_tokens=counted.get("image_tokens", asked.image_tokens),
            completion_tokens=counted.get("completion_tokens", len(self._tokens)),
        )

    def _timings(self, told: _Told, seen: Timings) -> Timings:
        """The server's own, else what was seen from here."""
        known = self._dict(told.extras, "timings")
        if not all(_is_number(known.get(name)) for name in vars(seen)):
            return seen
        return Timings(**{name: float(known[name]) for name in vars(seen)})

    def _dict(self, told: dict[str, Any], name: str) -> dict[str, Any]:
        value = told.get(name)
        if value is not None and not isinstance(value, dict):
            self._server.fail(f"{name} is no object")
        return value or {}

    def _list(self, told: dict[str, Any], name: str) -> list[Any]:
        value = told.get(name)
        if value is not None and not isinstance(value, list):
            self._server.fail(f"{name} is no list")
        return value or []


def _is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a number that can be reckoned with; one of JSON may be too large for a double."""
    return (type(value) is float and math.isfinite(value)) or (type(value) is int and abs(value) < 1 << 53)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 53
