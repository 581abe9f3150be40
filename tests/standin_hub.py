"""A Hugging Face Hub of one process, on loopback: as much of its API as downloading a model needs.

Spoken: ``/api/models/{id}/revision/{rev}``, ``/api/models/{id}/tree/{rev}`` and
``/{id}/resolve/{rev}/{file}`` with HEAD, GET and Range, and the error headers that huggingface_hub
tells its exceptions by. Faults are set per repository and happen as a network makes them happen.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Literal, Self

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repo:
    """One model repository and what is wrong with it."""

    files: dict[str, bytes]
    status: int = 200  # of every answer, or of the files' alone
    error: str = ""  # X-Error-Code
    where: Literal["everything", "files"] = "everything"
    cut_once: dict[str, int] = field(default_factory=dict)  # file: bytes sent before the line drops, once
    short: dict[str, int] = field(default_factory=dict)  # file: bytes a broken proxy passes off as all


@dataclass(frozen=True)
class Request:
    """One request as it came in."""

    method: str
    path: str
    range: str | None


class StandinHub:
    """A context manager; ``url`` is what HF_ENDPOINT is set to."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.requests: list[Request] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fetched(self) -> list[str]:
        """Names of the files sent so far, in order."""
        return [r.path.split("/resolve/")[1].partition("/")[2] for r in self.requests if _is_file_get(r)]

    def ranges(self) -> list[str]:
        """Range headers of the file requests."""
        return [r.range for r in self.requests if _is_file_get(r) and r.range]


def _is_file_get(request: Request) -> bool:
    return request.method == "GET" and "/resolve/" in request.path


class _Handler(BaseHTTPRequestHandler):
    hub: StandinHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: tests look at stderr."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.requests.append(Request(self.command, self.path, self.headers.get("Range")))
        path = self.path.partition("?")[0].strip("/")
        api = path.startswith("api/models/")
        parts = path.removeprefix("api/models/").split("/")
        name, rest = "/".join(parts[:2]), parts[2:]
        repo = self.hub.repos.get(name)
        if repo is None:
            self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        elif repo.status != 200 and (repo.where == "everything" or not api):
            self._send(repo.status, b'{"error": "refused"}', {"X-Error-Code": repo.error})
        elif api and rest[0] == "revision":
            self._json({"id": name, "sha": COMMIT, "siblings": [{"rfilename": f} for f in repo.files]})
        elif api and rest[0] == "tree":
            self._json(
                [
                    {"type": "file", "path": f, "size": len(data), "oid": sha1(data).hexdigest()}
                    for f, data in repo.files.items()
                ]
            )
        elif rest[0] == "resolve" and "/".join(rest[2:]) in repo.files:
            self._file(repo, "/".join(rest[2:]))
        else:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _file(self, repo: Repo, name: str) -> None:
        data = repo.files[name]
        headers = {"ETag": f'"{sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        wanted = self.headers.get("Range")
        if self.command == "HEAD":
            self._send(200, data, headers)
        elif wanted:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self._send(206, data[start:], headers)
        elif name in repo.cut_once:
            self._send(200, data, headers, sent=repo.cut_once.pop(name))
            self.close_connection = True
        else:
            self._send(200, data[: repo.short.get(name, len(data))], headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, sent: int | None = None) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])
