"""Names of requests, and the web pages that may ask."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from serving import Served, scripted

from vlm.server.errors import REQUEST, told

PAGE = "https://example.com"
ASKED = {"origin": PAGE, "access-control-request-method": "POST"}


def test_every_response_names_its_request(tiny_server: Served) -> None:
    answer = tiny_server.openai.chat.completions.create(
        model="test", messages=[{"role": "user", "content": "Hello?"}], max_tokens=2
    )
    assert re.fullmatch("req_[0-9a-f]{32}", answer._request_id or "")
    ask = tiny_server.http.get
    names = {ask(path).headers["x-request-id"] for path in ("/health", "/v1/models", "/nothing", "/health")}
    assert len(names) == 4
    assert ask("/health", headers={"x-request-id": "mine-7"}).headers["x-request-id"] == "mine-7"
    for odd in ("a b", "x" * 129, "ä".encode(), ""):
        name = ask("/health", headers=[("x-request-id", odd)]).headers["x-request-id"]
        assert name.startswith("req_"), odd


def test_the_log_names_the_request_that_failed(caplog: pytest.LogCaptureFixture) -> None:
    held = REQUEST.set("mine-7")
    with caplog.at_level(logging.ERROR, "vlm.server"):
        assert told(KeyError("x"), {}).status == 500
    REQUEST.reset(held)
    assert "mine-7" in caplog.text


def test_a_named_origin_may_ask_and_others_may_not(tmp_path: Path) -> None:
    with scripted(tmp_path, origins=(PAGE,), api_key="sesame") as (served, _):
        asked = served.http.options("/v1/chat/completions", headers=ASKED)
        assert asked.status_code == 200 and asked.headers["access-control-allow-origin"] == PAGE
        assert (
            served.http.options("/v1/models", headers=ASKED | {"origin": "https://evil.com"}).status_code
            == 400
        )
        refused = served.http.get("/v1/models", headers={"origin": PAGE})
        assert refused.status_code == 401 and refused.headers["access-control-allow-origin"] == PAGE
        other = served.http.get("/health", headers={"origin": "https://evil.com"})
        assert "access-control-allow-origin" not in other.headers


def test_without_origins_no_page_may_ask(tiny_server: Served) -> None:
    asked = tiny_server.http.options("/v1/chat/completions", headers=ASKED)
    assert asked.status_code == 405 and "access-control-allow-origin" not in asked.headers
