"""The server in a thread on a free port, over whatever model a test gives."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx2
import openai
from fakes import ScriptedEngine
from PIL import Image

from vlm.addresses import listening
from vlm.server.limits import Limits
from vlm.server.serve import BACKLOG, Server, url_of
from vlm.server.service import Service, Settings
from vlm.session import VLM

SECONDS = 120  # until a test gives up on a server


@dataclass
class Served:
    """A running server."""

    url: str
    service: Service
    server: Server
    key: str = "none"
    clients: list[Any] = field(default_factory=list)

    @property
    def openai(self) -> openai.OpenAI:
        """OpenAI's own client; it tries nothing twice."""
        client = openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key, max_retries=0, timeout=SECONDS)
        self.clients.append(client)
        return client

    @property
    def http(self) -> httpx2.Client:
        """A plain client."""
        client = httpx2.Client(base_url=self.url, timeout=SECONDS, trust_env=False)
        self.clients.append(client)
        return client

    @cached_property
    def plain(self) -> httpx2.Client:
        """One client for many requests of JSON."""
        client = self.http
        client.headers["content-type"] = "application/json"
        client.headers["authorization"] = f"Bearer {self.key}"
        return client

    def ask(self, **changes: Any) -> httpx2.Response:
        """A chat request as it goes over the wire."""
        body = {"messages": [{"role": "user", "content": "What is this?"}]} | changes
        return self.plain.post("/v1/chat/completions", content=json.dumps(body))

    def error(self, status: int, **changes: Any) -> dict[str, Any]:
        """The error that a chat request ends with."""
        return error_of(self.ask(**changes), status)

    def settled(self) -> None:
        """Wait until nothing runs or waits."""
        eventually(lambda: self.service.gate.running == 0 and not self.service.live)


def error_of(response: httpx2.Response, status: int) -> dict[str, Any]:
    """The error of a response, in OpenAI's shape."""
    assert response.status_code == status, (response.status_code, response.text)
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["error"] and set(body["error"]) == {"message", "type", "param", "code"}, body
    error = body["error"]
    assert error["message"] and isinstance(error["message"], str)
    return error


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, "still not so"
        time.sleep(0.01)


@contextmanager
def serving(
    model: VLM | Callable[[], VLM], limits: Limits | None = None, *, ready: bool = True, **settings: Any
) -> Iterator[Served]:
    """A server in a thread.

    Args:
        model: what answers, or what gives it when the server starts.
        limits: of requests.
        ready: wait until the model is there.
        settings: further fields of ``Settings``.
    """
    given = Settings("test", limits or Limits(patience=0.5, grace=1.0))
    service = Service(model if callable(model) else lambda: model, replace(given, **settings))
    server = Server(service)
    with listening("127.0.0.1", 0, BACKLOG) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        served = Served(url_of(listener), service, server, settings.get("api_key", "none"))
        try:
            eventually(lambda: server.started and (not ready or service.state == "ok"))
            yield served
        finally:
            for client in served.clients:
                client.close()
            server.leave()
            thread.join(SECONDS)
            service.pool.shutdown(wait=True)
            assert not thread.is_alive()


@contextmanager
def scripted(
    folder: Path, says: str = "It is a cat.", pause: float = 0.0, **settings: Any
) -> Iterator[tuple[Served, ScriptedEngine]]:
    """A server that says what it is told."""
    engine = ScriptedEngine(folder, says=says, pause=pause)
    with serving(engine.vlm(), **settings) as served:
        yield served, engine


def data_url(image: Image.Image, kind: str = "PNG") -> str:
    """An image in a URL."""
    held = io.BytesIO()
    image.save(held, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(held.getvalue()).decode('ascii')}"


def user(*parts: Any) -> dict[str, Any]:
    """A question of texts and images."""
    content = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": data_url(part)}}
        if isinstance(part, Image.Image)
        else part
        for part in parts
    ]
    return {"role": "user", "content": content}
