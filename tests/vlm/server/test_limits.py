"""What a client may ask for, and what it is told when that is too much: OpenAI's error everywhere."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from fakes import ScriptedEngine, picture
from serving import Served, data_url, error_of, eventually, scripted, serving, user

from vlm.errors import CheckpointError, UsageError
from vlm.scheduler import ClosedError
from vlm.server.errors import ApiError, told
from vlm.server.limits import Gate, Limits
from vlm.session import VLM

JSON_TYPE = {"content-type": "application/json"}
JSON = b"host: x\r\ncontent-type: application/json\r\n"
HELLO: Any = [{"role": "user", "content": "Hello?"}]
SMALL = Limits(
    body_bytes=60_000,
    held_bytes=100_000,
    body_seconds=0.5,
    values=2000,
    text=5000,
    images=2,
    image_bytes=20_000,
    pixels=250_000,
    windows=6,
    tokens=50,
    choices=2,
    patience=0.5,
    grace=0.5,
)
WRONG = {"name": "x", "schema": {"type": "objekt"}}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with scripted(tmp_path_factory.mktemp("small"), limits=SMALL) as (served, _):
        yield served


# -- what is refused ---------------------------------------------------------------------------------


def test_a_body_too_large_is_refused_by_its_length_before_it_is_sent(small: Served) -> None:
    host, port = small.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\n" + JSON + b"content-length: 9999999999\r\n\r\n{"
        )
        answer = _all_of(sock)
    assert answer.startswith(b"HTTP/1.1 413 ") and b'"code":"body_too_large"' in answer


def test_a_body_too_large_is_refused_though_its_length_is_untold(small: Served) -> None:
    response = small.http.post(
        "/v1/chat/completions", content=iter([b"[" + b" " * 9000] * 20), headers=JSON_TYPE
    )
    assert error_of(response, 413)["code"] == "body_too_large"
    eventually(lambda: _held(small) == 0)


def test_a_body_of_many_small_things_is_refused_before_they_are_made(small: Served) -> None:
    response = small.plain.post("/v1/chat/completions", content=b"[" * 2500)
    assert "values" in error_of(response, 413)["message"]


def test_a_body_that_comes_too_slowly_is_given_up(small: Served) -> None:
    host, port = small.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(b"POST /tokenize HTTP/1.1\r\n" + JSON + b"content-length: 100\r\n\r\n{")
        answer = _all_of(sock)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"body_timeout" in answer


def test_bodies_together_have_a_limit(tmp_path: Path) -> None:
    limits = replace(SMALL, held_bytes=70_000, body_seconds=30)
    with scripted(tmp_path, limits=limits) as (served, _):
        host, port = served.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as sock:
            sock.sendall(b"POST /tokenize HTTP/1.1\r\n" + JSON + b"content-length: 50000\r\n\r\n{")
            sock.sendall(b" " * 39_999)
            eventually(lambda: _held(served) == 40_000)  # what came; what was announced takes no memory
            error = served.error(429, user="x" * 40_000)
            assert error["code"] == "too_busy"
        eventually(lambda: _held(served) == 0)
        assert served.ask(user="x" * 40_000).status_code == 200


def test_whoever_only_announces_keeps_nobody_out(tmp_path: Path) -> None:
    limits = replace(SMALL, held_bytes=70_000, body_seconds=30)
    with scripted(tmp_path, limits=limits) as (served, _), ExitStack() as stack:
        host, port = served.url.removeprefix("http://").split(":")
        for _ in range(8):
            sock = stack.enter_context(socket.create_connection((host, int(port))))
            sock.sendall(b"POST /tokenize HTTP/1.1\r\n" + JSON + b"content-length: 60000\r\n\r\n")
        eventually(lambda: len(served.server.server_state.connections) >= 8)
        assert served.ask().status_code == 200


def test_a_route_without_a_key_takes_no_body(tmp_path: Path) -> None:
    with scripted(tmp_path, limits=SMALL) as (served, _):
        host, port = served.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as sock:
            sock.sendall(b"POST /health HTTP/1.1\r\n" + JSON + b"content-length: 50000\r\n\r\n" + b" " * 9000)
            sock.settimeout(60)
            assert sock.recv(4096).startswith(b"HTTP/1.1 405 ")
            assert _held(served) == 0


def _all_of(sock: socket.socket) -> bytes:
    """What a server sends until it closes."""
    sock.settimeout(60)
    return b"".join(iter(lambda: sock.recv(4096), b""))


def _held(served: Served) -> int:
    layer: Any = served.server.config.app.middleware_stack  # type: ignore[union-attr]
    while not hasattr(layer, "_held"):
        layer = getattr(layer, "app", None) or layer._app
    return layer._held


@pytest.mark.parametrize(
    ("changes", "param", "says"),
    [
        ({"messages": [user(*[picture(1)] * 3, "What?")]}, "messages[0].content[2].image_url", "at most 2"),
        ({"messages": [user(picture(1, 600, 500), "What?")]}, "messages[0].content[0].image_url", "600x500"),
        (
            {"messages": [user(picture(1, 1400, 170), "What?")], "vlm": {"max_windows": 13}},
            "messages[0].content[0].image_url",
            "more than 6 windows",
        ),
        ({"max_tokens": 51}, "max_tokens", "at most 50"),
        ({"max_completion_tokens": 51}, "max_completion_tokens", "at most 50"),
        ({"n": 3}, "n", "at most 2"),
        ({"messages": [{"role": "user", "content": "x" * 5001}]}, "messages", "5000 characters"),
        ({"stop": ["x"] * 17}, "stop", "up to 16"),
        ({"stop": ""}, "stop", "1 to 256"),
    ],
)
def test_too_much_is_refused_with_its_limit(
    small: Served, changes: dict[str, Any], param: str, says: str
) -> None:
    error = small.error(400, **changes)
    assert error["param"] == param and says in error["message"], error
    assert error["type"] == "invalid_request_error"


def test_an_image_of_many_bytes_is_refused(small: Served) -> None:
    part = {"type": "image_url", "image_url": "data:image/png;base64," + "A" * 40_000}
    assert small.error(400, messages=[user(part, "What?")])["code"] == "image_too_large"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 3}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        ({"temperature": "0.5"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"frequency_penalty": 2.5}, "frequency_penalty"),
        ({"vlm": {"zoom": 2}}, "vlm.zoom"),
        ({"temprature": 0.5}, "temprature"),
        ({"wei\u202erd\n": 1}, "wei\\u202erd\\n"),
    ],
)
def test_a_wrong_field_is_named(small: Served, changes: dict[str, Any], param: str) -> None:
    error = small.error(400, **changes)
    assert (error["param"], error["code"]) == (param, "invalid_value"), error


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"stream_options": {"include_usage": True}}, "stream: true"),
        ({"top_logprobs": 2}, "logprobs: true"),
        ({"max_tokens": 2, "max_completion_tokens": 3}, "differ"),
        ({"messages": [{"role": "assistant", "content": "Hi."}]}, "user"),
        ({"messages": [{"role": "user", "content": "  "}]}, "no question"),
        ({"vlm": {"policy": "zoom"}}, "guided"),
        ({"stop": "a", "response_format": {"type": "json_object"}}, "stop"),
        ({"response_format": {"type": "json_schema", "json_schema": WRONG}}, "schema"),
        ({"structured_outputs": {"regex": "("}}, "regex"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "one of"),
        ({"structured_outputs": {"choice": []}}, "choices"),
    ],
)
def test_what_contradicts_itself_is_refused(small: Served, changes: dict[str, Any], says: str) -> None:
    error = small.error(400, **changes)
    assert says in error["message"], error
    assert "--" not in error["message"]  # no words of the command line


def test_what_changes_nothing_is_ignored(small: Served) -> None:
    ignored = {
        "user": "me", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "seed": None,
        "safety_identifier": "x", "prompt_cache_key": "k", "prediction": {}, "logit_bias": {},
        "frequency_penalty": 0.0, "presence_penalty": 0, "modalities": ["text"], "n": None, "tools": [],
    }  # fmt: skip
    assert small.ask(**ignored).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/health", 405, "method_not_allowed"),
        ("GET", "/v1/models/other", 404, "model_not_found"),
        ("GET", "/v1/models/../../etc/passwd", 404, None),
    ],
)
def test_wrong_routes_are_told_in_the_same_shape(
    small: Served, method: str, path: str, status: int, code: str | None
) -> None:
    error = error_of(small.http.request(method, path), status)
    assert code in (None, error["code"])


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"null", b"[" * 1500, b'{"messages": NaN}'])
def test_what_is_no_json_object_is_refused(small: Served, content: bytes) -> None:
    response = small.http.post(
        "/v1/chat/completions", content=content, headers={"content-type": "application/json"}
    )
    error_of(response, 400)


def test_text_that_a_browser_sends_unasked_is_refused(small: Served) -> None:
    # Any page may have a browser post text/plain to this machine; JSON it must ask for first.
    body = json.dumps({"messages": HELLO})
    response = small.http.post("/v1/chat/completions", content=body, headers={"content-type": "text/plain"})
    assert error_of(response, 415)["code"] == "unsupported_type"
    packed = small.plain.post("/v1/chat/completions", content=b"x", headers={"content-encoding": "gzip"})
    assert error_of(packed, 415)["code"] == "unsupported_encoding"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200), ("127.0.0.1", 200), ("[::1]:8000", 200), ("LOCALHOST.", 200),
        ("evil.example", 403), ("127.0.0.1.evil.example:8000", 403), ("localhost.evil.example", 403),
        ("", 403),
    ],
)  # fmt: skip
def test_a_server_without_a_key_is_asked_as_localhost(tmp_path: Path, host: str, status: int) -> None:
    with scripted(tmp_path, local_only=True) as (served, _):
        asked = served.http.get("/v1/models", headers={"host": host})
        assert asked.status_code == status
        assert served.http.get("/health").status_code == 200


def test_a_slash_too_many_leads_nowhere_else(small: Served) -> None:
    response = small.plain.post("/v1/chat/completions/", content=b"{}", headers={"host": "evil.example"})
    error_of(response, 404)


def test_head_is_answered_as_get_without_the_body(small: Served) -> None:
    for path in ("/health", "/v1/models"):
        response = small.plain.head(path)
        assert response.status_code == 200 and response.content == b""


def test_another_model_is_not_found(small: Served) -> None:
    error = small.error(404, model="gpt-4o")
    assert error["code"] == "model_not_found" and error["param"] == "model"
    with pytest.raises(openai.NotFoundError):
        small.openai.chat.completions.create(model="gpt-4o", messages=HELLO)


# -- the key -----------------------------------------------------------------------------------------


def test_every_route_but_health_wants_the_key(tmp_path: Path) -> None:
    with scripted(tmp_path, api_key="sesame") as (served, _):
        assert served.openai.chat.completions.create(model="test", messages=HELLO).choices
        plain = served.http
        assert plain.get("/health").status_code == 200
        routes = [("GET", "/v1/models"), ("GET", "/metrics"), ("GET", "/openapi.json"), ("GET", "/nothing")]
        routes += [("POST", path) for path in ("/tokenize", "/v1/chat/completions", "/v1/responses")]
        for method, path in routes:
            refused = plain.request(method, path)
            assert error_of(refused, 401)["code"] == "invalid_api_key", path
            assert refused.headers["www-authenticate"] == "Bearer"
        for header in ("sesame", "Bearer open", "Bearer", "Basic sesame", "Bearer sesame2", "Bearer \xff"):
            given = {"authorization": header.encode("latin-1")}
            assert plain.get("/v1/models", headers=given).status_code == 401, header
        assert plain.get("/v1/models", headers={"authorization": "bearer sesame"}).status_code == 200
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=f"{served.url}/v1", api_key="open", max_retries=0).models.list()


# -- many at once ------------------------------------------------------------------------------------


def test_a_queue_that_is_full_says_when_to_try_again(tmp_path: Path) -> None:
    limits = Limits(running=1, waiting=1, choices=1, patience=0.2, grace=0.2)
    with scripted(tmp_path, says="x" * 200, pause=0.02, limits=limits) as (served, _):
        first = threading.Thread(target=served.ask)
        first.start()
        eventually(lambda: served.service.gate.running == 1)
        second = threading.Thread(target=served.ask)
        second.start()
        eventually(lambda: served.service.gate.waiting == 1)
        refused = served.ask()
        error = error_of(refused, 429)
        assert error["type"] == "rate_limit_error" and error["code"] == "queue_full"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        first.join()
        second.join()
        assert served.ask(max_tokens=3).status_code == 200


def test_the_gate_is_fair_and_forgets_who_left() -> None:
    async def play() -> list[str]:
        gate = Gate(4, waiting=3)
        order: list[str] = []

        async def ask(name: str, places: int) -> None:
            await gate.take(places)
            order.append(name)

        await ask("first", 3)
        large = asyncio.create_task(ask("large", 4))
        small = asyncio.create_task(ask("small", 1))
        left = asyncio.create_task(ask("left", 1))
        await asyncio.sleep(0)
        with pytest.raises(ApiError, match="wait already"):
            await gate.take(1)
        left.cancel()
        await asyncio.sleep(0)
        assert (gate.running, gate.waiting) == (3, 2)  # the small one doesn't overtake the large one
        gate.give_back(3, 1.0)
        await large
        gate.give_back(4, 1.0)
        await small
        assert (gate.running, gate.waiting) == (1, 0)
        gate.closed = True
        with pytest.raises(ApiError, match="shutting down"):
            await gate.take(1)
        return order

    assert asyncio.run(play()) == ["first", "large", "small"]


def test_a_place_that_came_as_its_asker_left_is_given_on() -> None:
    async def play() -> int:
        gate = Gate(1)
        await gate.take(1)
        waiting = asyncio.create_task(gate.take(1))
        await asyncio.sleep(0)
        gate.give_back(1, 1.0)  # its turn is set ...
        waiting.cancel()  # ... and in the same moment it leaves
        await asyncio.gather(waiting, return_exceptions=True)
        return gate.running

    assert asyncio.run(play()) == 0


def test_a_request_has_a_time_limit(tmp_path: Path) -> None:
    limits = Limits(seconds=1.0, patience=0.2, grace=0.2)
    with scripted(tmp_path, says="x" * 3000, pause=0.05, limits=limits) as (served, _):
        began = time.monotonic()
        assert served.error(504, max_tokens=4000)["code"] == "request_timeout"
        assert time.monotonic() - began < 30
        with pytest.raises(openai.APIError, match="1 seconds"):
            for _ in served.openai.chat.completions.create(
                model="test", messages=HELLO, stream=True, max_tokens=4000
            ):
                pass
        text = served.ask(stream=True, max_tokens=4000).text
        *_, error, done = [event for event in text.split("\n\n") if event]
        assert done == "data: [DONE]"
        assert json.loads(error.removeprefix("data: "))["error"]["code"] == "request_timeout"
        served.settled()


# -- clients that leave ------------------------------------------------------------------------------


def test_a_client_that_leaves_a_stream_ends_its_answer(tmp_path: Path) -> None:
    with scripted(tmp_path, says="x" * 3000, pause=0.02) as (served, _):
        stream = served.openai.chat.completions.create(
            model="test", messages=HELLO, stream=True, max_tokens=4000
        )
        next(iter(stream))
        assert served.service.gate.running == 1
        began = time.monotonic()
        stream.close()
        served.settled()
        assert time.monotonic() - began < 30  # the whole answer takes a minute


def test_a_client_that_leaves_without_a_stream_ends_its_answer(tmp_path: Path) -> None:
    with scripted(tmp_path, says="x" * 3000, pause=0.02) as (served, _):
        with pytest.raises(openai.APITimeoutError):
            served.openai.with_options(timeout=0.5).chat.completions.create(
                model="test", messages=HELLO, max_tokens=4000
            )
        began = time.monotonic()
        served.settled()
        assert time.monotonic() - began < 30


def test_a_client_that_leaves_the_queue_is_forgotten(tmp_path: Path) -> None:
    limits = Limits(running=1, choices=1, patience=0.1, grace=0.1)
    with scripted(tmp_path, says="x" * 3000, pause=0.02, limits=limits) as (served, engine):
        stream = served.openai.chat.completions.create(
            model="test", messages=HELLO, stream=True, max_tokens=4000
        )
        next(iter(stream))
        with pytest.raises(openai.APITimeoutError):
            served.openai.with_options(timeout=0.5).chat.completions.create(model="test", messages=HELLO)
        eventually(lambda: served.service.gate.waiting == 0)
        stream.close()
        served.settled()
        assert len(engine.heard) == 1


def test_a_silent_stream_shows_signs_of_life(tmp_path: Path) -> None:
    limits = Limits(ping=0.2, patience=0.1, grace=0.1)
    with scripted(tmp_path, says="ab", pause=0.8, limits=limits) as (served, _):
        text = served.ask(stream=True).text
    assert text.count(": ping") >= 2 and text.endswith("data: [DONE]\n\n")


# -- starting and stopping ---------------------------------------------------------------------------


def test_health_says_that_the_model_is_being_loaded(tmp_path: Path) -> None:
    go = threading.Event()

    def load() -> VLM:
        go.wait(60)
        return ScriptedEngine(tmp_path).vlm()

    with serving(load, ready=False) as served:
        loading = served.http.get("/health")
        assert (loading.status_code, loading.json()) == (503, {"status": "loading", "model": "test"})
        refused = served.ask()
        assert error_of(refused, 503)["code"] == "model_loading" and refused.headers["retry-after"]
        go.set()
        eventually(lambda: served.service.state == "ok")
        assert served.http.get("/health").json()["status"] == "ok"
        assert served.ask().status_code == 200


def test_a_model_that_cannot_be_loaded_stops_the_server(tmp_path: Path) -> None:
    def load() -> VLM:
        raise CheckpointError("no such folder")

    with serving(load, ready=False) as served:
        eventually(lambda: served.server.should_exit)
        assert isinstance(served.service.error, CheckpointError)


def test_running_requests_finish_when_the_server_stops(tmp_path: Path) -> None:
    limits = Limits(grace=30.0, patience=0.2)
    with scripted(tmp_path, says="x" * 40, pause=0.05, limits=limits) as (served, _):
        chunks = iter(served.openai.chat.completions.create(model="test", messages=HELLO, stream=True))
        next(chunks)
        served.server.leave()
        eventually(lambda: served.service.state == "stopping")
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == "x" * 40


def test_streams_that_outlast_the_grace_end_with_an_error(tmp_path: Path) -> None:
    limits = Limits(grace=0.3, patience=0.2)
    with scripted(tmp_path, says="x" * 3000, pause=0.05, limits=limits) as (served, _):
        seen: dict[str, Any] = {}

        def whole() -> None:
            seen["whole"] = served.ask(max_tokens=4000)

        waiting = threading.Thread(target=whole)
        waiting.start()
        with served.http.stream(
            "POST", "/v1/chat/completions", json={"messages": HELLO, "stream": True, "max_tokens": 4000}
        ) as response:
            lines = response.iter_lines()
            assert next(lines).startswith("data: ")
            eventually(lambda: served.service.gate.running == 2)
            served.server.leave()
            events = [line for line in lines if line.startswith("data: ")]
        waiting.join()
    assert events[-1] == "data: [DONE]"
    assert json.loads(events[-2].removeprefix("data: "))["error"]["code"] == "shutting_down"
    assert error_of(seen["whole"], 503)["code"] == "shutting_down"


# -- what is never told ------------------------------------------------------------------------------


def test_an_engine_that_was_closed_is_a_server_that_stops(small: Served) -> None:
    error = small.service.told(ClosedError("the model was shut down"))
    assert (error.status, error.code) == (503, "shutting_down")


def test_errors_carry_no_internals() -> None:
    hidden = {"/home/me/models/secret": "gemma"}
    shown = told(UsageError("/home/me/models/secret reads text only: raise --max-tokens"), hidden)
    assert str(shown) == "gemma reads text only: raise max_tokens"
    for defect in (
        RuntimeError("at 0x7f00 in /srv/x.py"),
        CheckpointError("/srv/model.safetensors: cut off"),
    ):
        assert told(defect, hidden).body()["error"] == {
            "message": "internal error; the server's log has the details",
            "type": "server_error",
            "param": None,
            "code": "internal_error",
        }


def test_a_defect_while_answering_is_told_without_its_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(ScriptedEngine):
        def embed(self, *_: Any) -> Any:
            raise RuntimeError("address 0x7fe2")

    with serving(Broken(tmp_path).vlm()) as served:
        error = served.error(500)
        assert error["type"] == "server_error" and "0x7fe2" not in str(error)
        assert "0x7fe2" in caplog.text  # the log has it
        served.settled()
        assert served.http.get("/health").status_code == 200


@pytest.mark.parametrize("change", [{"seconds": 0}, {"running": 0}, {"choices": 20}, {"tokens": -1}])
def test_limits_make_sense(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Limits(**change)


def test_metrics_tell_what_happened(tmp_path: Path) -> None:
    with scripted(tmp_path) as (served, _):
        served.ask()
        served.error(400, n=0)
        served.http.get("/secret-words")
        text = served.http.get("/metrics").text
    assert 'vlm_requests_total{route="/v1/chat/completions",status="200"} 1.0' in text
    assert 'vlm_requests_total{route="/v1/chat/completions",status="400"} 1.0' in text
    assert 'vlm_requests_total{route="other",status="404"} 1.0' in text and "secret-words" not in text
    assert 'vlm_tokens_total{kind="completion"} 12.0' in text
    assert 'vlm_answers_total{finish_reason="stop"} 1.0' in text
    assert "vlm_answer_seconds_count 1.0" in text and "vlm_running 0.0" in text and "vlm_ready 1.0" in text
    assert "python_info" not in text  # nobody else's figures


def test_an_image_leaves_no_text_of_pillows(small: Served) -> None:
    broken = data_url(picture(1))[:-40]
    part = {"type": "image_url", "image_url": broken}
    error = small.error(400, messages=[user(part, "What?")])
    assert error["code"] in ("invalid_image", "invalid_image_url")
    assert "0x" not in error["message"] and "BytesIO" not in error["message"]


def test_images_together_have_a_limit_of_pixels(tmp_path: Path) -> None:
    limits = replace(SMALL, images=4, pixels=10_000, all_pixels=15_000, body_bytes=1 << 20, windows=64)
    with scripted(tmp_path, limits=limits) as (served, engine):
        small = picture(1, 90, 90)
        assert served.ask(messages=[user(small, "What?")], vlm={"policy": "off"}).status_code == 200
        error = served.error(400, messages=[user(small, small, "What?")], vlm={"policy": "off"})
        assert error["code"] == "invalid_image" and "pixels" in error["message"]
        assert len(engine.heard) == 1


def test_all_requests_together_hold_so_many_pixels(tmp_path: Path) -> None:
    limits = Limits(pixels=10_000, all_pixels=15_000, held_pixels=15_000, patience=0.2, grace=0.5)
    with scripted(tmp_path, says="x" * 200, pause=0.02, limits=limits) as (served, engine):
        service = served.service
        question: Any = {"messages": [user(picture(1, 90, 90), "What?")], "vlm": {"policy": "off"}}
        first = threading.Thread(target=served.ask, kwargs=question)
        first.start()
        eventually(lambda: service.pixels.running == 8100)
        second = threading.Thread(target=served.ask, kwargs=question)
        second.start()
        eventually(lambda: service.pixels.waiting == 1)
        with pytest.raises(httpx2.TimeoutException):  # a third leaves while it waits
            served.http.post("/v1/chat/completions", json=question, timeout=0.5)
        eventually(lambda: service.pixels.waiting == 1)
        assert len(engine.crops) == 1
        assert served.ask(max_tokens=3).status_code == 200  # no image: no room needed
        first.join()
        second.join()
        served.settled()
        assert len(engine.crops) == 2 and service.pixels.running == service.pixels.waiting == 0
