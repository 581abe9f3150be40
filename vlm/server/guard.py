"""What stands before every route: the request's name, the key, the body's size, the time it takes to come.

Pure ASGI, because a body must be measured before anything parses it. The whole body is read here, up to
the limit, and handed on as one message; that is what the framework would do anyway. A client that is
refused while it still sends gets its answer first and is then listened to for a moment: closing at once
would reset the connection, and most clients would see that instead of the answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import re
import uuid
from collections.abc import Callable
from contextlib import suppress

from sse_starlette.sse import SendTimeoutError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vlm.server.errors import REQUEST, ApiError
from vlm.server.limits import Limits

OPEN = frozenset({"/health"})  # routes without a key
_PLAIN = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_LINGER = 1.0  # seconds a refused client is listened to


class Guard:
    """ASGI middleware.

    Args:
        app: what lies behind it.
        limits: of a body.
        key: what clients must send as ``Authorization: Bearer``; None: nothing.
        local_only: whether to talk only to who calls it localhost or by a loopback address.
        on_end: told (scope, status) when a request has ended.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        key: str | None,
        on_end: Callable[[Scope, int], None],
        local_only: bool = False,
    ) -> None:
        self._app = app
        self._local_only = local_only
        self._limits = limits
        self._key = None if key is None else _digest(key.encode())
        self._on_end = on_end
        self._held = 0  # bytes of all bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0
        name = _name_of(scope)
        REQUEST.set(name)

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (b"x-request-id", name.encode())]}
            await send(message)

        body = _Body(self)
        try:
            self._check_host(scope)
            self._check_key(scope)
            self._check_kind(scope)
            if scope["path"] not in OPEN:  # those take no body, and whoever has no key shall fill no memory
                await body.read(scope, receive)
        except ApiError as error:
            await _refuse(error, scope, receive, watched)
        except _Gone:
            pass
        else:
            with suppress(SendTimeoutError):  # a client that takes nothing; ``connection`` ends it
                # A HEAD is answered as a GET; uvicorn, which knows better, leaves the body out.
                asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
                await self._app(asked, body.replayed(receive), watched)
        finally:
            self._held -= body.size
            self._on_end(scope, status)

    def _check_host(self, scope: Scope) -> None:
        """Without a key, a loopback server talks to this machine only, whatever name a web page gave it.

        A page may have its own name resolve to 127.0.0.1 (DNS rebinding); the browser then sends that name.
        """
        for name, value in scope["headers"] if self._local_only else ():
            if name == b"host" and not _is_local(value.decode("latin-1")):
                raise ApiError(
                    403, "this server is asked as localhost; for other names set --api-key", "wrong_host"
                )

    def _check_kind(self, scope: Scope) -> None:
        """Refuse a body that is no JSON by its own word; browsers send such a one to anybody unasked."""
        if scope["method"] != "POST" or scope["path"] in OPEN:
            return
        told = {name: value.decode("latin-1").strip().lower() for name, value in scope["headers"]}
        if told.get(b"content-encoding", "identity") != "identity":
            raise ApiError(415, "send the body uncompressed", "unsupported_encoding")
        kind = told.get(b"content-type", "").partition(";")[0].strip()
        if kind != "application/json":
            raise ApiError(
                415, "send JSON, with the header Content-Type: application/json", "unsupported_type"
            )

    def _check_key(self, scope: Scope) -> None:
        if self._key is None or scope["path"] in OPEN:
            return
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        word, _, key = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        # Digests have one length, so the time tells nothing of the key's.
        if word.lower() != b"bearer" or not hmac.compare_digest(_digest(key.strip()), self._key):
            raise ApiError(
                401, "no key or a wrong one: send it as 'Authorization: Bearer KEY'", "invalid_api_key"
            )

    def check_size(self, size: int) -> None:
        """Refuse a body of so many bytes, come or announced, if they are too many."""
        limits = self._limits
        if size > limits.body_bytes:
            raise ApiError(
                413,
                f"the body is larger than {limits.body_bytes} bytes: send fewer or smaller images",
                "body_too_large",
            )

    def hold(self, more: int) -> None:
        """Count bytes that came; what is only announced takes no memory."""
        if self._held + more > self._limits.held_bytes:
            raise ApiError(429, "too much is being sent at once: try again later", "too_busy", retry_after=5)
        self._held += more

    @property
    def limits(self) -> Limits:
        """Of a body."""
        return self._limits


class _Gone(Exception):
    """The client left before its body was read."""


class _Body:
    """The body of one request."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._chunks: list[bytes] = []
        self.size = 0  # bytes accounted for

    async def read(self, scope: Scope, receive: Receive) -> None:
        announced = [value for name, value in scope["headers"] if name == b"content-length"]
        if announced and announced[0].isdigit():
            self._guard.check_size(int(announced[0]))
        try:
            async with asyncio.timeout(self._guard.limits.body_seconds):
                await self._receive_all(receive)
        except TimeoutError:
            raise ApiError(408, "the body came too slowly: send it again", "body_timeout") from None
        values = sum(chunk.count(mark) for chunk in self._chunks for mark in (b",", b"[", b"{"))
        if values > self._guard.limits.values:
            raise ApiError(
                413, f"the body holds more than {self._guard.limits.values} values", "body_too_large"
            )

    async def _receive_all(self, receive: Receive) -> None:
        came = 0
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise _Gone
            chunk = message.get("body", b"")
            came += len(chunk)
            self._guard.check_size(came)
            self._guard.hold(len(chunk))
            self.size = came
            self._chunks.append(chunk)
            more = message.get("more_body", False)

    def replayed(self, receive: Receive) -> Receive:
        """A channel that gives the body first, and then what the client does."""

        async def channel() -> Message:
            if self._chunks:
                body = b"".join(self._chunks)
                self._chunks.clear()
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        return channel


async def _refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    async def unfinished(message: Message) -> None:
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        await send({**message, "more_body": True} if last else message)

    response = error.response()
    response.headers["connection"] = "close"
    await response(scope, receive, unfinished)
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER):
            while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
                pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _name_of(scope: Scope) -> str:
    """What a request is called: as its client says, if that is one plain word, else by a new name."""
    given = [value for name, value in scope["headers"] if name == b"x-request-id"]
    if len(given) == 1 and _PLAIN.fullmatch(given[0]):
        return given[0].decode("ascii")
    return f"req_{uuid.uuid4().hex}"


def _is_local(host: str) -> bool:
    """Whether a Host header names this machine."""
    name = host.rpartition(":")[0] if re.search(r":\d*$", host) else host
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name.lower().rstrip(".") == "localhost"


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
