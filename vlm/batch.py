"""Many requests in a file, answered in another: OpenAI's batch format, against any OpenAI-style server.

A line of the input is ``{"custom_id", "method": "POST", "url": "/v1/chat/completions", "body"}``, a line of
the output ``{"id", "custom_id", "response", "error"}``, in the order in which answers come. The input is
checked whole before the first request, and neither file is ever held in memory: of a line there is its name.

Each answer is written and flushed as it comes, so a job that was killed has lost what was under way and
nothing else; going on keeps what was answered, drops half a line, and asks the rest, what was refused
before included.

Source: https://platform.openai.com/docs/api-reference/batch; ``vllm run-batch`` reads and writes the same.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO

from vlm.errors import OutageError, RemoteError, UsageError, printable
from vlm.reading.atomic import replacing, told
from vlm.remote.transport import Refused, Server

ROUTES = ("/v1/chat/completions", "/v1/responses")
MAX_LINE = 256 << 20  # bytes of a request
MAX_ID = 512  # characters of a custom_id
_ELSEWHERE = "name another file with --out"


@dataclass(frozen=True)
class Request:
    """One line of the input."""

    custom_id: str
    url: str  # one of ROUTES
    body: dict[str, Any]

    @property
    def path(self) -> str:
        """The route as a server's address is followed by it."""
        return self.url.removeprefix("/v1")


@dataclass(frozen=True)
class Asked:
    """Who is asked, and how much of it at a time."""

    server: Server
    model: str  # meant where a body names none
    at_once: int  # requests under way at the same time


@dataclass
class Summary:
    """How a job ended."""

    answered: int = 0
    failed: int = 0
    kept: int = 0  # answered by an earlier run


def names_in(path: Path) -> set[str]:
    """Check every line of the input; the custom_ids there are.

    Raises:
        UsageError: names the line and what is wrong with it.
    """
    seen: dict[str, int] = {}
    for number, request in _requests(path):
        before = seen.setdefault(request.custom_id, number)
        if before != number:
            raise UsageError(f"{_at(path, number)}: the custom_id of line {before} again; each must differ")
    if not seen:
        raise UsageError(f"{printable(path)}: holds no requests; write one JSON object a line")
    return set(seen)


def answered_in(path: Path) -> set[str]:
    """The custom_ids that an output holds answers to; half a line and errors don't count.

    Raises:
        UsageError: no output of this command.
    """
    return {name for name, _ in _answers(path)}


def run_batch(
    asked: Asked,
    requests: Path,
    out: Path,
    done: frozenset[str] | set[str] = frozenset(),
    on_done: Callable[[], None] | None = None,
) -> Summary:
    """Ask what is not answered yet, writing each answer as it comes.

    Args:
        asked: who.
        requests: the input, checked by ``names_in``.
        out: the output; with ``done`` its good lines stay, else it is new.
        done: custom_ids that ``answered_in`` found in it.
        on_done: called after each answer or failure.

    Raises:
        OutageError: the server is gone, busy for too long or refuses the key; what came before is written.
        UsageError: the output can't be written.
    """
    summary = Summary(kept=len(done))
    with told(out, _ELSEWHERE):
        if done:
            _keep_answers(out)
        stream = out.open("ab" if done else "wb")
    with stream:
        pending = (request for _, request in _requests(requests) if request.custom_id not in done)
        for line in _answered(asked, pending):
            with told(out, "make room and go on with --resume"):
                stream.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
                stream.flush()
            summary.answered += line["error"] is None
            summary.failed += line["error"] is not None
            if on_done is not None:
                on_done()
    return summary


def _answered(asked: Asked, requests: Iterator[Request]) -> Iterator[dict[str, Any]]:
    """Output lines as they come; no more requests are read than are under way."""
    came: SimpleQueue[dict[str, Any] | BaseException] = SimpleQueue()

    def ask(request: Request) -> None:
        try:
            came.put(_line(asked, request))
        except BaseException as error:
            came.put(error)

    def next_line() -> dict[str, Any]:
        line = came.get()
        if isinstance(line, BaseException):
            raise line
        return line

    running = 0
    for request in requests:
        # A thread each, not a pool: nobody waits at the end for one that hangs on a server.
        threading.Thread(target=ask, args=(request,), daemon=True).start()
        running += 1
        if running == asked.at_once:
            yield next_line()
            running -= 1
    for _ in range(running):
        yield next_line()


def _line(asked: Asked, request: Request) -> dict[str, Any]:
    """One request's line of the output.

    Raises:
        OutageError: no request's fault.
    """
    line: dict[str, Any] = {"id": f"batch_req_{uuid.uuid4().hex}", "custom_id": request.custom_id}
    try:
        came = list(asked.server.events(request.path, {"model": asked.model} | request.body))
        if len(came) != 1:
            asked.server.fail("it streams what was asked for whole")
    except OutageError:
        raise
    except RemoteError as error:
        code = "refused" if isinstance(error, Refused) else "failed"
        return line | {"response": None, "error": {"code": code, "message": str(error)}}
    response = {"status_code": 200, "request_id": str(came[0].get("id", "")), "body": came[0]}
    return line | {"response": response, "error": None}


def _requests(path: Path) -> Iterator[tuple[int, Request]]:
    """Line numbers and requests; empty lines are passed over."""
    for number, raw in _lines(path, "is there such a file?"):
        yield number, _request(raw, _at(path, number))


def _request(raw: bytes, at: str) -> Request:
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError):
        raise UsageError(f"{at}: no JSON; write one object a line") from None
    if not isinstance(line, dict):
        raise UsageError(f"{at}: no JSON object")
    name, method, url, body = (line.get(key) for key in ("custom_id", "method", "url", "body"))
    if not isinstance(name, str) or not 0 < len(name) <= MAX_ID:
        raise UsageError(f"{at}: custom_id must be a text of 1 to {MAX_ID} characters")
    if method not in (None, "POST"):
        raise UsageError(f"{at}: method must be POST")
    if url not in ROUTES:
        raise UsageError(f"{at}: url must be {' or '.join(ROUTES)}")
    if not isinstance(body, dict):
        raise UsageError(f"{at}: body must be the JSON object of a request")
    if body.get("stream"):
        raise UsageError(f"{at}: answers of a batch are not streamed: leave stream out")
    return Request(name, url, body)


def _answers(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and lines of the answers in an output."""
    for number, raw in _lines(path, _ELSEWHERE):
        try:
            line = json.loads(raw)
        except ValueError:
            if not raw.endswith(b"\n"):  # a killed run's last words
                return
            raise UsageError(f"{_at(path, number)}: no answer of a batch; {_ELSEWHERE}") from None
        if not isinstance(line, dict) or not isinstance(line.get("custom_id"), str):
            raise UsageError(f"{_at(path, number)}: no answer of a batch; {_ELSEWHERE}")
        if line.get("error") is None:
            yield line["custom_id"], raw


def _keep_answers(path: Path) -> None:
    """Leave nothing in an output but whole answers, so that each request is in it once."""
    with replacing(path) as file:
        for _, raw in _answers(path):
            file.write(raw if raw.endswith(b"\n") else raw + b"\n")


def _lines(path: Path, then: str) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            yield from _numbered(file, path)
    except OSError as error:
        raise UsageError(f"{printable(path)}: can't be read ({error.strerror or error}); {then}") from None


def _numbered(file: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    while raw := file.readline(MAX_LINE + 1):
        number += 1
        if len(raw) > MAX_LINE:
            raise UsageError(f"{_at(path, number)}: longer than {MAX_LINE >> 20} MB")
        if raw.strip():
            yield number, raw


def _at(path: Path, number: int) -> str:
    return f"{printable(path)}, line {number}"
