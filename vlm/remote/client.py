"""A model behind a URL, asked as one in this process.

The server is stateless, so a conversation is sent whole each time; our own server finds what it read
before. Images are read and errors a person can have made are told when something is asked; the server is
first spoken to when the first piece is wanted, and left when a stream is closed.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import Any, Self

from pan_and_scan import load_image
from vlm.answer import Answer, AnswerStream, SaidToken
from vlm.asking import Images, Message, question_about
from vlm.errors import RemoteError, UsageError
from vlm.options import Options, changed
from vlm.remote.dialect import Kind, Question, Served, falls_back, question_of
from vlm.remote.reply import answer_in_pieces
from vlm.remote.transport import Patience, Refused, Server, said

_log = logging.getLogger("vlm.remote")
_KINDS: dict[str, Kind] = {"vlm": "vlm", "vllm": "vllm"}
_SHOWN = 10  # names of models in a message
_WHOLE = "this server knows no adaptive windows: images are read whole"
_BY_CHANCE = "this server chooses tokens by chance: an answer may be another next time"
_UNSURE = "this server tells no probabilities: confidence is 0 and says nothing"


class RemoteVLM:
    """A model on an OpenAI-style server.

    >>> model = RemoteVLM("http://localhost:8000")
    >>> model.ask("receipt.png", "What is the total?").text  # doctest: +SKIP

    Args:
        url: of the server, with or without ``/v1``.
        model: its name there; None where the server has one only.
        api_key: None for a server that asks for none.
        patience: how long the server is waited for.

    Attributes:
        on_note: told what a person should know of the answers; a warning of the log by default.

    Raises:
        UsageError: no such URL, or a key that can't be one.
    """

    def __init__(
        self, url: str, model: str | None = None, api_key: str | None = None, patience: Patience | None = None
    ) -> None:
        self.on_note: Callable[[str], None] = _log.warning
        self._server = Server(url, api_key, patience)
        self._wanted = model
        self._noted: set[str] = set()
        self._reworded: dict[str, None] = {}  # in the order it was found
        weakref.finalize(self, self._server.close)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def served(self) -> Served:
        """The model and what kind of server it is on; asked once.

        Raises:
            RemoteError: not reachable, the wrong key, no such model, or no OpenAI-style server.
        """
        told = self._server.get("/models")
        listed = told.get("data") if isinstance(told, dict) else None
        if not isinstance(listed, list):
            self._server.fail("it lists no models")
        found = {one["id"]: one for one in listed if isinstance(one, dict) and isinstance(one.get("id"), str)}
        names = ", ".join(said(name) for name in list(found)[:_SHOWN]) or "none"
        if self._wanted is None and len(found) != 1:
            raise RemoteError(f"{self._server.url}: name a model with --model; it has {names}")
        name = next(iter(found)) if self._wanted is None else self._wanted
        # Others answer to names they don't list.
        if name not in found and any(_kind(one) != "openai" for one in found.values()):
            raise RemoteError(f"{self._server.url}: has no model {said(name)}; it has {names}")
        mine = found.get(name, {})
        return _sized(Served(name, _kind(mine)), mine)

    @property
    def name(self) -> str:
        """The model's name on its server."""
        return self.served.model

    @property
    def window_size(self) -> int:
        """Side of the encoder's square in pixels; of a published Gemma 3 where the server doesn't tell."""
        return self.served.window_size

    @property
    def tokens_per_image(self) -> int:
        """Soft tokens a window; of a published Gemma 3 where the server doesn't tell."""
        return self.served.tokens_per_image

    def forget(self) -> None:
        """As ``VLM.forget``; what a server keeps is its own."""

    def ask(self, images: Images, question: str, options: Options | None = None, **changes: Any) -> Answer:
        """As ``VLM.ask``.

        Raises:
            ImageError: an image can't be read.
            PromptError: no question.
            RemoteError: the server can't be reached, refuses, or breaks off.
            UsageError: an option out of range, or one that this server can't do.
        """
        return self.stream(images, question, options, **changes).read()

    def stream(
        self,
        images: Images,
        question: str,
        options: Options | None = None,
        captions: Sequence[str] = (),
        **changes: Any,
    ) -> AnswerStream:
        """As ``VLM.stream``."""
        return self.reply((question_about(images, question, captions),), options, **changes)

    def reply(
        self, messages: Sequence[Message], options: Options | None = None, **changes: Any
    ) -> AnswerStream:
        """As ``VLM.reply``."""
        options = changed(options, changes)
        asked = question_of(self.served, messages, options)
        if asked.sizes and falls_back(self.served, options):
            self._note(_WHOLE)
        tokens: list[SaidToken] = []
        return AnswerStream(self._answer(asked, options, tokens), tokens)

    def chat(self, options: Options | None = None, **changes: Any) -> RemoteChat:
        """Begin a conversation."""
        return RemoteChat(self, changed(options, changes))

    def _answer(self, asked: Question, options: Options, tokens: list[SaidToken]) -> Generator[str | Answer]:
        """The pieces; asked again in other words where a server refuses ours, and so from then on."""
        for name in tuple(self._reworded):
            asked = _REWORDED[name](asked)
        while True:
            try:
                yield from answer_in_pieces(self._server, asked, options, tokens)
                return
            except Refused as error:
                asked = self._in_other_words(asked, error)

    def _in_other_words(self, asked: Question, refusal: Refused) -> Question:
        """The question without what a refusal names.

        Raises:
            Refused: there is no other way to ask.
        """
        for name, reworded in _REWORDED.items():
            other = reworded(asked)
            if name in str(refusal) and other != asked:
                self._reworded[name] = None
                if name in _SAID:
                    self._note(_SAID[name])
                return other
        raise refusal

    def _note(self, what: str) -> None:
        if what not in self._noted:
            self._noted.add(what)
            self.on_note(what)


class RemoteChat:
    """A conversation with a model on a server; ``turns`` are what was said so far."""

    def __init__(self, model: RemoteVLM, options: Options) -> None:
        self._model = model
        self._options = options
        self._asked = 0  # questions so far
        self.turns: tuple[Message, ...] = ()

    def ask(self, question: str, images: Images = ()) -> Answer:
        """As ``Chat.ask``."""
        return self.stream(question, images).read()

    def stream(self, question: str, images: Images = (), captions: Sequence[str] = ()) -> AnswerStream:
        """As ``Chat.stream``: the turn counts once the stream was read to its end."""
        message = question_about(images, question, captions)
        # Read now: a file may be another by the next question, for which it is sent again.
        parts = tuple(part if isinstance(part, str) else load_image(part) for part in message.parts)
        message = replace(message, parts=parts)
        said = self._model.reply((*self.turns, message), self._options)
        self._asked += 1
        return AnswerStream(self._answer(self._asked, message, said), said.tokens)

    def _answer(self, number: int, message: Message, said: AnswerStream) -> Generator[str | Answer]:
        with closing(said):
            for piece in said:
                if self._asked != number:
                    raise UsageError("another question was asked before this answer was read; ask again")
                yield piece
        answer = said.answer
        assert answer is not None
        before = sum(not isinstance(part, str) for turn in self.turns for part in turn.parts)
        own = [replace(used, image=used.image - before) for used in answer.windows if used.image >= before]
        self.turns = (*self.turns, message, Message("assistant", (answer.text,)))
        yield replace(answer, windows=tuple(own))


def _kind(told: dict[str, Any]) -> Kind:
    owner = told.get("owned_by")
    return _KINDS.get(owner, "openai") if isinstance(owner, str) else "openai"


def _sized(served: Served, told: dict[str, Any]) -> Served:
    """With the sizes of the model's windows where its server tells them, as ours does."""
    sizes = told.get("vlm")
    if not isinstance(sizes, dict):
        return served
    side, tokens = sizes.get("window_size"), sizes.get("tokens_per_image")
    if type(side) is int and type(tokens) is int and 1 <= side <= 1 << 14 and 1 <= tokens <= 1 << 16:
        return replace(served, window_size=side, tokens_per_image=tokens)
    return served


def _without_logprobs(asked: Question) -> Question:
    return replace(asked, body={n: value for n, value in asked.body.items() if "logprobs" not in n})


def _by_newer_name(asked: Question) -> Question:
    """OpenAI's reasoning models know the length by this name only."""
    body = dict(asked.body)
    if "max_tokens" in body:
        body["max_completion_tokens"] = body.pop("max_tokens")
    return replace(asked, body=body)


def _without_neutral(name: str, neutral: float) -> Callable[[Question], Question]:
    """Leave out a setting at the value that most servers have anyway."""

    def without(asked: Question) -> Question:
        body = {n: value for n, value in asked.body.items() if (n, value) != (name, neutral)}
        return replace(asked, body=body)

    return without


# By the word that a refusal names what it refuses with.
_REWORDED: dict[str, Callable[[Question], Question]] = {
    "logprob": _without_logprobs,
    "max_completion_tokens": _by_newer_name,
    "temperature": _without_neutral("temperature", 0.0),
    "top_p": _without_neutral("top_p", 1.0),
}
_SAID = {"logprob": _UNSURE, "temperature": _BY_CHANCE}
