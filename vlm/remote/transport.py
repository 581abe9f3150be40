"""HTTP to a server that may be slow, busy, wrong or hostile.

The library does connections, TLS, proxies and server-sent events; this file says how long to wait, how
much to read, what to try again and what to tell the person. httpx2 is what huggingface_hub stands on, so
nothing more is installed for it, and it bounds an event's size; the official ``openai`` client would
bring its own model of an answer, which takes any type a server sends and reads a body of any length.

Tried again: no connection, a connection lost before an answer began, 429, 502 and 503, each time after
twice the pause or after what ``Retry-After`` asks for. Never tried again: an answer that has begun.

No redirect is followed, because the key would go with it, and no compression is asked for, because
what an answer weighs is then what it takes.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

import httpx2

from vlm.errors import OutageError, RemoteError, UsageError

MAX_BYTES = 256 << 20  # of one answer
MAX_JSON = 8 << 20  # of one JSON text within it: a body, an event
MAX_REFUSAL = 1 << 16  # read of an error's body
MAX_SAID = 300  # characters of a server's message that are shown
BUSY = (429, 502, 503)  # worth another try
_CONNECTION = (httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.ConnectTimeout, httpx2.ProxyError)


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for, in seconds."""

    connect: float = 10.0
    silence: float = 300.0  # without a byte: a server that sends no pings reads the prompt in silence
    whole: float = 3600.0  # of one answer, whatever keeps coming
    retries: int = 3  # tries after the first
    pause: float = 0.5  # before the second try; doubled before each further one
    longest: float = 60.0  # that a server may ask to come back later than


class Server:
    """One OpenAI-style server.

    Args:
        url: as a person gives it, with or without ``/v1`` or the route of chat completions.
        api_key: None for a server that asks for none.
        patience: how long it is waited for.

    Raises:
        UsageError: no such URL, or a key that can't stand in a header.
    """

    def __init__(self, url: str, api_key: str | None = None, patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self.url = _base(url)
        self._key = _checked_key(api_key)
        headers = {"Accept-Encoding": "identity"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._client = httpx2.Client(
            headers=headers,
            timeout=httpx2.Timeout(self.patience.silence, connect=self.patience.connect),
            follow_redirects=False,
            trust_env=httpx2.URL(self.url).host not in ("localhost", "127.0.0.1", "::1"),  # no proxy between
        )

    def close(self) -> None:
        """Close the connections that are kept."""
        self._client.close()

    def get(self, path: str) -> Any:
        """The JSON of a route.

        Raises:
            RemoteError: see the module.
        """
        with self._answered("GET", path) as response, self._reading():
            return self._json(self._whole(response, MAX_JSON))

    def events(self, path: str, body: dict[str, Any], most: int | None = None) -> Generator[dict[str, Any]]:
        """The objects of a streamed answer, up to ``[DONE]``; one object where the server doesn't stream.

        Args:
            path: the route.
            body: the request.
            most: bytes of one object; ``MAX_JSON`` if left out.

        Raises:
            RemoteError: see the module; also where the stream ends before its end.
        """
        most = most or MAX_JSON
        with self._answered("POST", path, body) as response:
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind == "application/json":
                with self._reading():
                    whole = self._whole(response, most)
                yield self._object(whole)
                return
            if kind != "text/event-stream":
                self.fail(f"it answers with {said(kind) or 'no type'}, neither JSON nor an event stream")
            events = iter(httpx2.EventSource(response, max_event_size=most))
            while True:
                with self._reading():
                    event = next(events, None)
                if event is None:
                    raise RemoteError(f"{self.url}: the answer broke off; ask again")
                if event.data.strip() == "[DONE]":
                    return
                if event.data.strip():
                    yield self._object(event.data)

    def fail(self, why: str) -> NoReturn:
        """Say that this is not what an OpenAI-style server says.

        Raises:
            RemoteError: always.
        """
        raise RemoteError(f"{self.url}: is no OpenAI-style server ({why}); check the URL")

    def said(self, told: object) -> str:
        """A server's message as it may be shown: one printable line, without the key."""
        text = str(told)
        return said(text.replace(self._key, "***") if self._key else text)

    @contextmanager
    def _answered(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> Iterator[httpx2.Response]:
        """A response with status 200, after as many tries as patience has."""
        request = self._client.build_request(method, self.url + path, json=body)
        for tried in itertools.count():
            wait = self.patience.pause * 2**tried * random.uniform(0.75, 1.25)
            try:
                response = self._client.send(request, stream=True)
            except httpx2.TransportError as error:
                failure = self._unreachable(error)
                again = isinstance(error, _CONNECTION)
            else:
                with closing(response):
                    assert isinstance(response.stream, httpx2.SyncByteStream)
                    response.stream = _Watched(response.stream, self.url, self.patience.whole)
                    if response.status_code == 200:
                        if response.headers.get("content-encoding", "identity") != "identity":
                            self.fail("its answer is compressed, which it was not asked for")
                        yield response
                        return
                    failure = self._refusal(response)
                again = response.status_code in BUSY
                wait = max(wait, _retry_after(response.headers.get("retry-after", "")))
            if not again or tried >= self.patience.retries or wait > self.patience.longest:
                raise failure
            time.sleep(wait)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What can go wrong while an answer comes, in one line."""
        try:
            yield
        except httpx2.ReadTimeout:
            raise RemoteError(
                f"{self.url}: said nothing for {self.patience.silence:g} s; ask again or look at the server"
            ) from None
        except (httpx2.SSEError, httpx2.DecodingError) as error:
            self.fail(said(error))
        except httpx2.TransportError:
            raise OutageError(f"{self.url}: the answer broke off; ask again") from None

    def _whole(self, response: httpx2.Response, most: int) -> bytes:
        held = bytearray()
        for chunk in response.iter_bytes():
            held += chunk
            if len(held) > most:
                self.fail(f"it sends more than {most >> 20} MB of JSON")
        return bytes(held)

    def _json(self, text: str | bytes) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            self.fail("what it sends is no JSON")

    def _object(self, text: str | bytes) -> dict[str, Any]:
        told = self._json(text)
        if not isinstance(told, dict):
            self.fail("what it sends is no JSON object")
        return told

    def _unreachable(self, error: httpx2.TransportError) -> RemoteError:
        if isinstance(error, httpx2.ReadTimeout):
            return RemoteError(f"{self.url}: said nothing for {self.patience.silence:g} s; is it overloaded?")
        return OutageError(
            f"{self.url}: can't be reached ({said(error) or type(error).__name__}); is it running?"
        )

    def _refusal(self, response: httpx2.Response) -> RemoteError:
        """What a status other than 200 means."""
        status = response.status_code
        told = self.said(_message(_beginning(response)))
        why = f"{status}: {told}" if told else f"{status}"
        if status in (401, 403):
            wrong = "the API key was refused" if self._key else "asks for an API key"
            return OutageError(f"{self.url}: {wrong} ({why}); give it with --api-key or VLM_API_KEY")
        if 300 <= status < 400:
            to = self.said(response.headers.get("location", "")) or "elsewhere"
            return RemoteError(f"{self.url}: points to {to}, which is not followed; give that URL")
        if status in (404, 405, 501) and not told:
            return RemoteError(f"{self.url}: is no OpenAI-style server ({status}); check the URL")
        if status == 404:
            return RemoteError(f"{self.url}: {told} (404); see the model's name (--model) and the URL")
        if status == 413:
            return RemoteError(f"{self.url}: the question is too large ({why}); send fewer or smaller images")
        if status in BUSY:
            return OutageError(f"{self.url}: is busy or not ready ({why}); try again later")
        if status >= 500:
            return RemoteError(f"{self.url}: failed ({why}); its log says more")
        return Refused(f"{self.url}: refused the question ({why})")


class Refused(RemoteError):
    """The server understood the question and won't answer it as it was put."""


class _Watched(httpx2.SyncByteStream):
    """A body that may not weigh or take more than its share: pings without end are silence, too."""

    def __init__(self, stream: httpx2.SyncByteStream, url: str, seconds: float) -> None:
        self._stream = stream
        self._url = url
        self._seconds = seconds
        self._began = time.monotonic()
        self._bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._bytes += len(chunk)
            if self._bytes > MAX_BYTES:
                raise RemoteError(f"{self._url}: the answer is larger than {MAX_BYTES >> 20} MB; given up")
            if time.monotonic() - self._began > self._seconds:
                raise RemoteError(f"{self._url}: no end of the answer after {self._seconds:g} s; given up")
            yield chunk

    def close(self) -> None:
        self._stream.close()


def said(told: object) -> str:
    """Text from outside as one line that no terminal takes for commands."""
    text = " ".join(str(told)[: 4 * MAX_SAID].split())
    return "".join(c if c.isprintable() else "?" for c in text)[:MAX_SAID]


def message_in(told: object) -> str:
    """The message of an error's object, in OpenAI's shape or one of those that are about; empty if none."""
    if not isinstance(told, dict):
        return ""
    error = told.get("error")
    inner = error.get("message") if isinstance(error, dict) else error
    found = [text for text in (inner, told.get("message"), told.get("detail")) if isinstance(text, str)]
    return found[0] if found else ""


def _message(body: bytes) -> str:
    try:
        return message_in(json.loads(body))
    except (ValueError, RecursionError):
        return ""


def _beginning(response: httpx2.Response) -> bytes:
    """The first bytes of an error's body, or as much as comes."""
    held = b""
    try:
        for chunk in response.iter_raw():
            held += chunk
            if len(held) > MAX_REFUSAL:
                break
    except (httpx2.HTTPError, RemoteError):
        pass
    return held[:MAX_REFUSAL]


def _retry_after(told: str) -> float:
    """Seconds to wait, of a number or a date (RFC 9110, 10.2.3); 0 where it says neither."""
    try:
        return max(0.0, float(told)) if told.strip().isdigit() else _until(told)
    except (ValueError, OverflowError):
        return 0.0


def _until(date: str) -> float:
    return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())


def _base(url: str) -> str:
    """Where the routes begin: ``http://host:8000`` -> ``http://host:8000/v1``."""
    shown = said(url)
    try:
        parsed = httpx2.URL(url.strip())
    except (httpx2.InvalidURL, TypeError):
        raise UsageError(f"{shown}: no URL; give one as in http://localhost:8000") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UsageError(f"{shown}: no URL of a server; give one as in http://localhost:8000")
    if parsed.userinfo:
        raise UsageError("the URL holds a name or a password: give the key with --api-key or VLM_API_KEY")
    path = parsed.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    return str(parsed.copy_with(path=path, query=None, fragment=None))


def _checked_key(key: str | None) -> str:
    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UsageError("the API key holds characters that no key has; copy it again")
    return key
