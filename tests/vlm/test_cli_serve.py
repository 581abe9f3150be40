"""`vlm serve` as a person starts and stops it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from runner import Run, heeding_ctrl_c
from serving import eventually


@contextmanager
def started(*options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str, httpx2.Client]]:
    """A server in a process of its own, where it is, and a client that waits for it."""
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        "from vlm.cli import main; main()",
        "serve",
        "--port",
        "0",
    ]
    with heeding_ctrl_c():
        process = subprocess.Popen(
            [*command, *options],
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"vlm: serving (\S+) at (http://\S+)/v1\n", line)
        assert found, (line, process.stderr and process.stderr.read())
        with httpx2.Client(base_url=found[2], timeout=60, trust_env=False) as client:
            yield process, found[1], client
    finally:
        process.kill()
        process.communicate()


def healthy(client: httpx2.Client) -> bool:
    return client.get("/health").status_code == 200


def test_it_serves_with_a_key_and_ends_on_ctrl_c(tiny: Path) -> None:
    with started("-m", str(tiny), "--max-tokens", "7", VLM_API_KEY="sesame") as (process, name, client):
        assert name == tiny.name  # and nothing of where it lies
        eventually(lambda: healthy(client))
        body = {"messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 7}
        assert client.post("/v1/chat/completions", json=body).status_code == 401
        client.headers["authorization"] = "Bearer sesame"
        answer = client.post("/v1/chat/completions", json=body).json()
        assert answer["usage"]["completion_tokens"] == 7 and answer["model"] == name
        refused = client.post("/v1/chat/completions", json=body | {"max_tokens": 8})
        assert "at most 7" in refused.json()["error"]["message"]
        assert "vlm_engine_tokens 7.0" in client.get("/metrics").text
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == ""
    assert err.split() == ["vlm:", "stopped"]


@pytest.mark.slow
def test_a_model_that_is_not_there_ends_it_with_one_line(tmp_path: Path) -> None:
    with started("-m", str(tmp_path)) as (process, *_):
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.startswith("vlm: ") and err.count("\n") == 1 and "Traceback" not in err


@pytest.mark.slow
def test_an_open_address_without_a_key_is_warned_of(tiny: Path) -> None:
    with started("-m", str(tiny), "--host", "0.0.0.0") as (process, _, client):
        eventually(lambda: healthy(client))
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert "set --api-key" in err and process.returncode == -signal.SIGTERM


def test_what_is_wrong_is_told_before_anything_is_loaded(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "choose another --port" in run("serve", "--port", taken.getsockname()[1]).refused()
    assert "choose another --host" in run("serve", "--host", "no-such-host.invalid").refused()
    assert "choose another --host" in run("serve", "--host", "192.0.2.1").refused()
    for odd in ("example.com", "https://example.com/", "https://*.example.com", "null", ""):
        assert "--allow-origin" in run("serve", "--allow-origin", odd).refused(), odd
    assert "--allow-image-domain" in run("serve", "--allow-image-domain", "http://a.b/").refused()
    assert "fp64" in run("serve", "--dtype", "fp64").refused()


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("mini", "mini"),
        ("google/gemma-3-4b-it", "google/gemma-3-4b-it"),
        ("/srv/models/receipts", "receipts"),
        ("./q4.gguf", "q4"),
        ("models/q4.gguf", "q4"),
    ],
)
def test_clients_see_a_name_and_no_path(model: str, name: str) -> None:
    from vlm.server.service import public_name

    assert public_name(model) == name


@pytest.mark.parametrize("key", ["", "two words", "ключ"])
def test_a_key_that_guards_nothing_is_refused(run: Run, key: str) -> None:
    assert "--api-key" in run("serve", "--port", 0, "--api-key", key).refused()


def test_without_a_key_it_is_asked_as_localhost(tiny: Path) -> None:
    with started("-m", str(tiny)) as (_, _, client):
        eventually(lambda: healthy(client))
        assert client.get("/v1/models").status_code == 200
        assert client.get("/v1/models", headers={"host": "evil.example"}).status_code == 403
