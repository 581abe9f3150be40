"""A file of requests: checked whole, each answered once, whatever happened before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from serving import Served, scripted

from vlm.batch import Asked, answered_in, names_in, run_batch
from vlm.errors import OutageError, UsageError
from vlm.remote.transport import Patience, Server


@pytest.fixture(scope="module")
def cat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with scripted(tmp_path_factory.mktemp("cat")) as (served, _):
        yield served


def line(name: str, **changes: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": f"What is {name}?"}]}
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body} | changes


def written(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    return path


def read(path: Path) -> dict[str, dict[str, Any]]:
    lines = [json.loads(raw) for raw in path.read_text(encoding="utf-8").splitlines()]
    found = {one["custom_id"]: one for one in lines}
    assert len(found) == len(lines)
    assert all(set(one) == {"id", "custom_id", "response", "error"} for one in lines)
    return found


@pytest.fixture
def asked(cat: Served) -> Iterator[Asked]:
    with closing(Server(cat.url, cat.key, Patience(retries=0))) as server:
        yield Asked(server, "test", 4)


def test_every_request_is_answered_once(asked: Asked, tmp_path: Path) -> None:
    names = [f"q{n}" for n in range(13)]
    requests = written(tmp_path / "in.jsonl", [line(name) for name in names])
    steps: list[None] = []
    summary = run_batch(asked, requests, tmp_path / "out.jsonl", on_done=lambda: steps.append(None))
    found = read(tmp_path / "out.jsonl")
    assert set(found) == names_in(requests) == set(names)
    assert (summary.answered, summary.failed, summary.kept, len(steps)) == (13, 0, 0, 13)
    response = found["q3"]["response"]
    assert response["status_code"] == 200 and response["request_id"] == response["body"]["id"]
    assert response["body"]["choices"][0]["message"]["content"] == "It is a cat."


def test_responses_are_a_route_too(asked: Asked, tmp_path: Path) -> None:
    requests = written(tmp_path / "in.jsonl", [line("r", url="/v1/responses", body={"input": "What?"})])
    run_batch(asked, requests, tmp_path / "out.jsonl")
    assert read(tmp_path / "out.jsonl")["r"]["response"]["body"]["object"] == "response"


def test_a_refused_request_is_told_in_its_line_and_stops_nothing(asked: Asked, tmp_path: Path) -> None:
    bad = line("bad", body={"messages": [], "model": "test"})
    other = line("other", body={"model": "gpt", "messages": [{"role": "user", "content": "Hello"}]})
    requests = written(tmp_path / "in.jsonl", [bad, line("good"), other])
    summary = run_batch(replace(asked, at_once=1), requests, tmp_path / "out.jsonl")
    assert (summary.answered, summary.failed) == (1, 2)
    found = read(tmp_path / "out.jsonl")
    assert found["bad"]["response"] is None and found["bad"]["error"]["code"] == "refused"
    assert "no such model" in found["other"]["error"]["message"]


def test_going_on_keeps_answers_and_asks_the_rest(asked: Asked, tmp_path: Path) -> None:
    requests = written(tmp_path / "in.jsonl", [line(name) for name in ("a", "b", "c", "d")])
    out = written(
        tmp_path / "out.jsonl",
        [
            {"id": "1", "custom_id": "a", "response": {"body": "kept"}, "error": None},
            {"id": "2", "custom_id": "b", "response": None, "error": {"code": "refused", "message": ""}},
        ],
    )
    with out.open("a") as file:
        file.write('{"id": "3", "custom_id": "c", "resp')  # killed while it wrote
    done = answered_in(out)
    assert done == {"a"}
    summary = run_batch(asked, requests, out, done)
    found = read(out)
    assert (summary.kept, summary.answered) == (1, 3) and set(found) == {"a", "b", "c", "d"}
    assert found["a"]["response"] == {"body": "kept"} and found["b"]["error"] is None


def test_a_server_that_is_gone_ends_the_job(tmp_path: Path) -> None:
    requests = written(tmp_path / "in.jsonl", [line(name) for name in ("a", "b")])
    with (
        closing(Server("http://127.0.0.1:9", None, Patience(retries=0))) as gone,
        pytest.raises(OutageError, match="can't be reached"),
    ):
        run_batch(Asked(gone, "test", 1), requests, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == b""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no requests"),
        ("{}\n", "line 1: custom_id"),
        ("\n[1]\n", "line 2: no JSON object"),
        ("{\n", "line 1: no JSON; "),
        (json.dumps(line("a", method="GET")), "method must be POST"),
        (json.dumps(line("a", url="/v1/embeddings")), "url must be /v1/chat/completions or /v1/responses"),
        (json.dumps(line("a", body=[])), "body must be"),
        (json.dumps(line("a", body={"stream": True})), "leave stream out"),
        (f"{json.dumps(line('a'))}\n{json.dumps(line('a'))}\n", "line 2: the custom_id of line 1 again"),
    ],
)
def test_a_wrong_line_is_told_before_anything_is_asked(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "in.jsonl").write_text(text)
    with pytest.raises(UsageError, match=says):
        names_in(tmp_path / "in.jsonl")


def test_a_file_that_is_no_output_is_not_touched(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"line 1: no answer of a batch"):
        answered_in(written(tmp_path / "notes.jsonl", [{"title": "mine"}]))
    with pytest.raises(UsageError, match="can't be read"):
        answered_in(tmp_path)
