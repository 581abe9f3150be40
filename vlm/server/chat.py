"""``/v1/chat/completions``: events of running answers to one response, or to a stream of chunks.

A stream begins with its first event or after a moment of patience, whichever comes first: what is wrong
with a request mostly shows at once and is then told as an HTTP status; later it is told within the stream,
which ends with ``[DONE]`` either way.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import anyio
from fastapi import Request
from fastapi.responses import JSONResponse, Response
from sse_starlette.sse import EventSourceResponse

from vlm.answer import Answer
from vlm.server.asking import Asked, asked
from vlm.server.errors import ApiError
from vlm.server.running import Ended, Piece, Replies
from vlm.server.service import Service
from vlm.server.shapes import (
    ChatCompletion,
    Choice,
    Chunks,
    completion_id,
    logprobs_of,
    message_of,
    reason_of,
    usage_of,
)
from vlm.server.tools import HeldText
from vlm.server.wire import ChatRequest

T = TypeVar("T")


async def chat(service: Service, body: ChatRequest, request: Request) -> Response:
    """Answer a request.

    Raises:
        ApiError: it can't be answered.
    """
    service.ready(body.model)
    understood = understand(service, lambda: asked(body, service.limits))
    if not body.stream:
        ended = await whole(service, understood, request)
        return JSONResponse(_completion(service, body, understood, ended).model_dump())
    chunks = Chunks(service.settings.name, bool(body.stream_options and body.stream_options.include_usage))
    return await streamed(
        service, understood, request, lambda replies: _events(service, body, chunks, understood, replies)
    )


def understand(service: Service, work: Callable[[], T]) -> T:
    """Do what may raise errors of a person's, and tell them as a client may see them."""
    try:
        return work()
    except Exception as error:
        raise service.told(error) from None


async def whole(service: Service, understood: Asked, request: Request) -> list[Ended]:
    """All answers to a request.

    Raises:
        ApiError: they can't be had.
    """
    replies = Replies(service, understood)
    try:
        return await unless_gone(request, _collected(service, replies))
    finally:
        replies.close()


async def streamed(
    service: Service,
    understood: Asked,
    request: Request,
    events: Callable[[Replies], AsyncIterator[str]],
) -> Response:
    """A response of server-sent events.

    Args:
        service: what answers.
        understood: the request.
        request: whose client may leave.
        events: makes the data of the events; its end is the stream's.

    Raises:
        ApiError: what went wrong before the stream began.
    """
    replies = Replies(service, understood)
    try:
        await unless_gone(request, replies.begun(service.limits.patience))
    except BaseException:
        replies.close()
        raise

    async def closed_in_the_end() -> AsyncIterator[dict[str, str]]:
        try:
            async for data in events(replies):
                yield {"data": data}
        finally:
            replies.close()

    return EventSourceResponse(
        closed_in_the_end(),
        ping=service.limits.ping,
        sep="\n",
        send_timeout=service.limits.body_seconds,
        # The library would cut streams off when the server is told to stop; ours end by themselves.
        shutdown_event=anyio.Event(),
        shutdown_grace_period=service.limits.grace + 5,
    )


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do something for a client, and stop when it leaves.

    Raises:
        ApiError: it left; nobody will read this.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ApiError(499, "the client left", "client_left")
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def counted(service: Service, replies: Replies) -> AsyncIterator[Piece | Ended]:
    """The events of a request, its times and tokens counted."""
    first = True
    async for event in replies:
        seconds = time.monotonic() - replies.began
        if first:
            service.metrics.first_piece(seconds)
            first = False
        if isinstance(event, Ended):
            service.metrics.answer_ended(event.answer, seconds)
        yield event


async def _gone(request: Request) -> None:
    receive: Callable[[], Awaitable[Any]] = request.receive
    while (await receive())["type"] != "http.disconnect":
        pass


async def _collected(service: Service, replies: Replies) -> list[Ended]:
    events = [event async for event in counted(service, replies)]
    return sorted((event for event in events if isinstance(event, Ended)), key=lambda ended: ended.choice)


def _completion(service: Service, body: ChatRequest, understood: Asked, ended: list[Ended]) -> ChatCompletion:
    choices = []
    for one in ended:
        calls = understood.toolbox.calls_in(one.answer.text)
        choices.append(
            Choice(
                index=one.choice,
                message=message_of(one, calls),
                logprobs=logprobs_of(one.said) if body.logprobs else None,
                finish_reason=reason_of(one.answer, bool(calls)),
            )
        )
    return ChatCompletion(
        id=completion_id(),
        created=int(time.time()),
        model=service.settings.name,
        choices=choices,
        usage=usage_of(one.answer for one in ended),
    )


async def _events(
    service: Service, body: ChatRequest, chunks: Chunks, understood: Asked, replies: Replies
) -> AsyncIterator[str]:
    """The chunks of a stream."""
    held = [HeldText(understood.toolbox) for _ in range(understood.choices)]
    answers: list[Answer] = []
    for choice in range(understood.choices):
        yield chunks.said(choice, {"role": "assistant", "content": ""})
    try:
        async for event in counted(service, replies):
            tokens = event.tokens if body.logprobs else None
            if isinstance(event, Piece):
                text = held[event.choice].push(event.text)
                if text or tokens:
                    yield chunks.said(event.choice, {"content": text}, tokens)
                continue
            answers.append(event.answer)
            calls = understood.toolbox.calls_in(event.answer.text)
            rest = held[event.choice].rest()
            if calls:
                delta: dict[str, Any] = {
                    "tool_calls": [{"index": at} | call for at, call in enumerate(calls)]
                }
            else:
                delta = {"content": rest} if rest else {}
            yield chunks.ended(event, delta, reason_of(event.answer, bool(calls)), tokens)
        if chunks.usage:
            yield chunks.counted(answers)
    except ApiError as error:
        yield json.dumps(error.body(), ensure_ascii=False)
    yield "[DONE]"
