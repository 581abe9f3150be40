"""The answers to one request, from worker threads to the event loop.

A ``VLM`` answers in threads: each answer is read by a worker, which hands every piece to the loop that
serves the client. ``Replies`` is what the loop sees of it: events in order, or one error. However it ends,
by the last answer, an error, the time limit, the server's end, or a client that left, the workers are told
and leave at the next piece; only when they have left are their places at the gate free, so that there are
never more threads than places.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from vlm.answer import Answer, AnswerStream, SaidToken
from vlm.options import Options
from vlm.scheduler import GivenUpError
from vlm.server.asking import Asked, Told, files_of, prepared, reseeded
from vlm.server.errors import ApiError
from vlm.server.images import ImageRef, pixels_of
from vlm.session import VLM, Message
from vlm.wire import attention_to_json

if TYPE_CHECKING:
    from vlm.server.service import Service

T = TypeVar("T")


@dataclass(frozen=True)
class Piece:
    """Some more text of one of the answers."""

    choice: int
    text: str
    tokens: tuple[SaidToken, ...]  # said since the last piece


@dataclass(frozen=True)
class Ended:
    """One of the answers is there."""

    choice: int
    answer: Answer
    tokens: tuple[SaidToken, ...]  # said since the last piece
    said: tuple[SaidToken, ...]  # all of its tokens
    extras: dict[str, Any]  # what ``vlm`` tells of it


Event = Piece | Ended


class Replies:
    """The answers to one request as they come; to be closed, and iterated over once.

    Args:
        service: the model, the gate and the pool of threads.
        asked: the request.

    Attributes:
        began: when the request came, by the monotonic clock.
    """

    def __init__(self, service: Service, asked: Asked) -> None:
        self.began = time.monotonic()
        self._service = service
        self._asked = asked
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event | ApiError | None] = asyncio.Queue()
        self._peeked: list[Event | ApiError | None] = []
        self._given_up = threading.Event()
        self._interruptible = True  # while no worker runs
        self._pixels = 0  # taken of those that all requests may hold
        self._limit = self._loop.call_later(service.limits.seconds, self._too_long)
        self._task = self._loop.create_task(self._run())
        service.live.add(self)

    async def begun(self, patience: float) -> None:
        """Wait until there is something to tell, so long at most.

        Args:
            patience: seconds; inf: however long it takes.

        Raises:
            ApiError: that was an error.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(None if patience == float("inf") else patience):
                self._peeked.append(await self._events.get())
        if self._peeked and isinstance(self._peeked[0], ApiError):
            raise self._peeked[0]

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Every event.

        Raises:
            ApiError: the request ends with it.
        """
        while True:
            event = self._peeked.pop() if self._peeked else await self._events.get()
            if event is None:
                return
            if isinstance(event, ApiError):
                raise event
            yield event

    def close(self) -> None:
        """Give up what is still running."""
        self._limit.cancel()
        self._service.live.discard(self)
        self._given_up.set()
        if self._interruptible:
            self._task.cancel()

    def fail(self, error: ApiError) -> None:
        """End with an error."""
        self._events.put_nowait(error)
        self.close()

    def _too_long(self) -> None:
        seconds = self._service.limits.seconds
        self.fail(ApiError(504, f"no whole answer within {seconds:g} seconds", "request_timeout"))

    async def _run(self) -> None:
        asked, service = self._asked, self._service
        try:
            await service.gate.take(asked.choices)
        except ApiError as error:
            self.fail(error)
            return
        started = time.monotonic()
        try:
            data = {ref: await service.fetcher.fetch(ref) for ref in asked.images if ref.remote}
            self._interruptible = False
            await self._answer_all(data)
        except Exception as error:
            self.fail(service.told(error))
        finally:
            service.pixels.give_back(self._pixels)
            service.gate.give_back(asked.choices, time.monotonic() - started)
            self._events.put_nowait(None)

    async def _answer_all(self, data: dict[ImageRef, bytes]) -> None:
        asked, service = self._asked, self._service
        model = service.ready()
        if self._given_up.is_set():
            return
        files = await self._in_thread(lambda: files_of(asked, data, service.limits))
        await self._wait_for_room(await self._in_thread(lambda: pixels_of(files.values())))
        if self._given_up.is_set():
            return
        messages, options = await self._in_thread(lambda: prepared(asked, files, service.limits, model))
        answers = (
            self._in_thread(self._worker(model, messages, options, choice)) for choice in range(asked.choices)
        )
        ended = await asyncio.gather(*answers, return_exceptions=True)  # all must have left their threads
        for error in ended:
            # Whoever was stopped because another failed says nothing of its own.
            if isinstance(error, BaseException) and not isinstance(error, GivenUpError):
                raise error

    async def _wait_for_room(self, pixels: int) -> None:
        """Take so many of the pixels that all requests may hold together; more than one may have are refused
        when they are opened."""
        if self._given_up.is_set():
            return
        wanted = min(pixels, self._service.limits.all_pixels)
        self._interruptible = True  # no worker runs while it waits
        await self._service.pixels.take(wanted)
        self._pixels, self._interruptible = wanted, False

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._service.pool, work)

    def _worker(
        self, model: VLM, messages: tuple[Message, ...], options: Options, choice: int
    ) -> Callable[[], None]:
        def work() -> None:
            if self._given_up.is_set():
                return
            try:
                stream = model.until(self._given_up).reply(messages, reseeded(options, choice))
                self._read(stream, choice)
            except BaseException:
                self._given_up.set()  # the other answers are of no use any more
                raise

        return work

    def _read(self, stream: AnswerStream, choice: int) -> None:
        told = 0

        def new_tokens() -> tuple[SaidToken, ...]:
            nonlocal told
            tokens = tuple(stream.tokens[told:])
            told += len(tokens)
            return tokens

        try:
            for text in stream:
                if self._given_up.is_set():
                    return
                self._post(Piece(choice, text, new_tokens()))
            if stream.answer is not None:
                extras = extras_of(stream.answer, self._asked.told)
                self._post(Ended(choice, stream.answer, new_tokens(), tuple(stream.tokens), extras))
        finally:
            stream.close()

    def _post(self, event: Event) -> None:
        with suppress(RuntimeError):  # the loop was closed: nobody listens
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)


def extras_of(answer: Answer, told: frozenset[Told]) -> dict[str, Any]:
    """What ``vlm`` tells of an answer: confidence, windows, tokens, seconds, and what else was asked for."""
    # Without the attention there is no evidence to compute.
    whole = (answer if "evidence" in told else replace(answer, attention=None)).to_json()
    wanted = ("confidence", "probability", "finish_reason", "windows", "usage", "timings")
    extras = {name: whole[name] for name in (*wanted, *(("evidence",) if "evidence" in told else ()))}
    if "attention" in told and answer.attention is not None:
        extras["attention"] = attention_to_json(answer.attention)
    return extras
