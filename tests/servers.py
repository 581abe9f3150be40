"""A little OpenAI-style server in a thread: real sockets, answers as a test writes them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from vlm.remote import Patience, RemoteVLM

Way = Callable[["Talk"], None]  # how one request is answered
Made = Callable[..., RemoteVLM]  # makes clients of a server
QUICK = Patience(connect=5.0, silence=5.0, whole=20.0, retries=3, pause=0.01)


@dataclass
class Talk:
    """One request, and what sends an answer to it."""

    handler: BaseHTTPRequestHandler
    body: dict[str, Any]
    stopping: threading.Event  # of the server

    def begin(self, status: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        self.handler.send_response(status)
        self.handler.send_header("Content-Type", kind)
        self.handler.send_header("Connection", "close")
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()

    def write(self, raw: bytes) -> None:
        self.handler.wfile.write(raw)
        self.handler.wfile.flush()

    def event(self, told: object) -> None:
        self.write(b"data: " + (told if isinstance(told, bytes) else json.dumps(told).encode()) + b"\n\n")


def whole(told: object, status: int = 200, **headers: str) -> Way:
    """One JSON body."""

    def way(talk: Talk) -> None:
        talk.begin(status, "application/json", **headers)
        talk.write(told if isinstance(told, bytes) else json.dumps(told).encode())

    return way


def raw(body: bytes, kind: str = "text/event-stream") -> Way:
    """These bytes as they are."""

    def way(talk: Talk) -> None:
        talk.begin(kind=kind)
        talk.write(body)

    return way


def events(*told: object, done: bool = True, pause: float = 0.0) -> Way:
    """Server-sent events."""

    def way(talk: Talk) -> None:
        talk.begin()
        for one in told:
            if talk.stopping.wait(pause):
                return
            talk.event(one)
        if done:
            talk.event(b"[DONE]")

    return way


def chunk(content: str | None = None, *, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A piece of an answer as vLLM and OpenAI send it; its one token has the probability 1/2."""
    token = {"token": content, "logprob": -0.6931471805599453, "bytes": list((content or "").encode())}
    logprobs = {"content": [token | {"top_logprobs": []}]} if content else None
    delta = {"role": "assistant"} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion.chunk", "choices": [choice]} | more


USAGE = {"prompt_tokens": 300, "completion_tokens": 2, "total_tokens": 302}


def saying(*pieces: str, finish: str = "stop", pause: float = 0.0, **last: Any) -> Way:
    """A streamed answer; ``last`` stands in the piece that ends it."""
    chunks = [chunk(), *map(chunk, pieces), chunk(finish=finish, **last), {"choices": [], "usage": USAGE}]
    return events(*chunks, pause=pause)


@dataclass
class Fake:
    """The server. Each request is answered in the next way; the last way goes on for ever."""

    url: str = ""
    owner: str = "vllm"
    models: Sequence[str] = ("google/gemma-3-4b-it",)
    facts: dict[str, Any] = field(default_factory=dict)  # further fields of each model
    listing: Way | None = None  # instead of the list of models
    ways: list[Way] = field(default_factory=lambda: [saying("Hello", " there.")])
    asked: list[dict[str, Any]] = field(default_factory=list)  # bodies
    keys: list[str | None] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)  # a client went away in mid-answer

    def list_models(self, talk: Talk) -> None:
        facts = {"object": "model", "owned_by": self.owner} | self.facts
        listed = [{"id": name} | facts for name in self.models]
        (self.listing or whole({"object": "list", "data": listed}))(talk)


@contextmanager
def serving(fake: Fake) -> Iterator[Fake]:
    """The server while the block runs."""
    stopping = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fake.keys.append(self.headers.get("Authorization"))
            self.answered(fake.list_models if self.path == "/v1/models" else whole({}, 404), {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.keys.append(self.headers.get("Authorization"))
            fake.asked.append(body)
            fake.times.append(time.monotonic())
            way = fake.ways.pop(0) if len(fake.ways) > 1 else fake.ways[0]
            self.answered(way if self.path == "/v1/chat/completions" else whole({}, 404), body)

        def answered(self, way: Way, body: dict[str, Any]) -> None:
            try:
                way(Talk(self, body, stopping))
            except OSError:
                fake.left.set()

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = False
        block_on_close = True

    server = Quiet(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield fake
    finally:
        stopping.set()
        server.shutdown()
        with suppress(OSError):
            server.server_close()
        thread.join()
