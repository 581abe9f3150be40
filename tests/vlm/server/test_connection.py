"""Connections that say nothing don't stay, and don't keep others out."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from serving import Served, eventually, scripted

from vlm.server.limits import Limits

HURRIED = Limits(
    header_seconds=0.5, header_bytes=10_000, connections=8, body_seconds=1.0, text=4_000_000, patience=0.5,
    grace=1.0,
)  # fmt: skip
LONG = {"prompt": "a7 " * 1_000_000}  # whose tokens are more than a system keeps for who doesn't read


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with scripted(tmp_path_factory.mktemp("hurried"), limits=HURRIED) as (served, _):
        yield served


def connected(served: Served) -> socket.socket:
    host, port = served.url.removeprefix("http://").split(":")
    sock = socket.create_connection((host, int(port)))
    sock.settimeout(60)
    return sock


@pytest.mark.parametrize("said", [b"", b"POST /v1/chat", b"GET /health HTTP/1.1\r\nhost: x\r\n"])
def test_who_never_ends_a_header_is_left(hurried: Served, said: bytes) -> None:
    with connected(hurried) as sock:
        sock.sendall(said)
        assert sock.recv(100) == b""  # closed by the server


def test_a_letter_now_and_then_does_not_prolong_it(hurried: Served) -> None:
    with connected(hurried) as sock, pytest.raises(OSError):
        for letter in b"GET /health HTTP/1.1\r\n" * 10:
            sock.sendall(bytes([letter]))
            time.sleep(0.1)


def test_a_second_request_has_the_same_time(hurried: Served) -> None:
    with connected(hurried) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert sock.recv(4096).startswith(b"HTTP/1.1 200")
        sock.sendall(b"GET /hea")
        assert sock.recv(4096) == b""


def test_an_answer_may_take_longer_than_a_header(tmp_path: Path) -> None:
    with scripted(tmp_path, limits=HURRIED, says="Slowly said.", pause=0.15) as (served, _):
        response = served.ask()
        assert response.json()["choices"][0]["message"]["content"] == "Slowly said."


def test_too_many_connections_are_closed_and_the_others_stay(hurried: Served) -> None:
    eventually(lambda: not hurried.server.server_state.connections)
    held = [connected(hurried) for _ in range(HURRIED.connections)]
    eventually(lambda: len(hurried.server.server_state.connections) == HURRIED.connections)
    with closing(connected(hurried)) as late, suppress(ConnectionError):  # reset, as the system chooses
        assert late.recv(100) == b""
    held[0].sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
    assert held[0].recv(4096).startswith(b"HTTP/1.1 200")
    for sock in held:
        sock.close()


def test_a_header_without_end_is_cut_off(hurried: Served) -> None:
    with connected(hurried) as sock, pytest.raises(OSError):
        sock.sendall(b"GET /health HTTP/1.1\r\nx: ")
        for _ in range(1000):
            sock.sendall(b"a" * 5000)
        assert sock.recv(100) == b""
        raise ConnectionError("closed")


def test_who_takes_nothing_is_left(hurried: Served) -> None:
    body = json.dumps(LONG).encode()
    with connected(hurried) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        sock.sendall(b"POST /tokenize HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + head.encode() + body)
        eventually(lambda: len(hurried.server.server_state.connections) >= 1)
        eventually(lambda: not hurried.server.server_state.connections)


def test_who_takes_it_slowly_is_waited_for(hurried: Served) -> None:
    body = json.dumps(LONG).encode()
    with connected(hurried) as sock:
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        sock.sendall(b"POST /tokenize HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + head.encode() + body)
        got = sock.recv(1000)
        for _ in range(8):  # longer than who takes nothing is given
            time.sleep(0.3)
            got += sock.recv(1 << 20)
        while piece := sock.recv(1 << 20):
            got += piece
    told = json.loads(got.split(b"\r\n\r\n", 1)[1])
    assert "error" not in told, told
    assert told["count"] == len(told["tokens"]), told
