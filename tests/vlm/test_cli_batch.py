"""`vlm batch` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runner import Run
from servers import Fake, whole

from vlm.remote import transport

REQUEST = {
    "custom_id": "one",
    "url": "/v1/chat/completions",
    "body": {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3},
}


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(REQUEST) + "\n")
    return path


def test_a_model_of_this_process(run: Run, tiny: Path, requests: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    ran = run("batch", requests, "--out", out, "-m", tiny)
    assert (ran.code, ran.out, ran.err) == (0, f"1 answered: {out}\n", "")
    answer = json.loads(out.read_text())
    assert answer["response"]["body"]["usage"]["completion_tokens"] <= 3
    again = run("batch", requests, "--out", out, "-m", tiny)
    assert again.code == 2 and "is there already; --resume" in again.err
    assert run("batch", requests, "--out", out, "-m", tiny, "--resume").out == (
        f"1 answered, 1 of them before: {out}\n"
    )


def test_a_server_by_its_url(run: Run, fake: Fake, requests: Path, tmp_path: Path) -> None:
    fake.ways = [whole({"id": "chatcmpl-1", "object": "chat.completion"})]
    ran = run("batch", requests, "--out", tmp_path / "out.jsonl", "--url", fake.url)
    assert ran.code == 0
    assert fake.asked[0]["model"] == fake.models[0]  # the body names none
    (kept,) = (tmp_path / "out.jsonl").read_text().splitlines()
    assert json.loads(kept)["response"]["request_id"] == "chatcmpl-1"


def test_what_fails_is_told_and_counted(run: Run, tiny: Path, requests: Path, tmp_path: Path) -> None:
    wrong = REQUEST | {"custom_id": "two", "body": {"messages": []}}
    requests.write_text(f"{json.dumps(REQUEST)}\n{json.dumps(wrong)}\n")
    ran = run("batch", requests, "--out", tmp_path / "out.jsonl", "-m", tiny)
    assert ran.code == 1
    assert ran.err == "vlm: 1 failed, their lines say why; --resume asks again\n"


def test_a_server_that_goes_away_leaves_what_was_answered(
    run: Run, fake: Fake, requests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport.time, "sleep", lambda _: None)
    requests.write_text("".join(json.dumps(REQUEST | {"custom_id": name}) + "\n" for name in "ab"))
    fake.ways = [whole({"id": "1"}), whole({"error": {"message": "out of memory"}}, 503)]
    out = tmp_path / "out.jsonl"
    ran = run("batch", requests, "--out", out, "--url", fake.url, "--at-once", 1)
    assert ran.code == 2 and ran.err.count("\n") == 1
    assert "is busy or not ready (503: out of memory)" in ran.err and "--resume" in ran.err
    assert [json.loads(line)["custom_id"] for line in out.read_text().splitlines()] == ["a"]


def test_mistakes_are_one_line(run: Run, requests: Path, tmp_path: Path) -> None:
    for arguments, says in (
        (["--out", tmp_path / "no" / "out.jsonl"], "no such folder"),
        (["--out", requests, "--resume"], "names the file of requests"),
        (["--out", tmp_path / "out.jsonl", "-m", tmp_path / "none"], "none"),
    ):
        ran = run("batch", requests, *arguments)
        assert ran.code == 2 and says in ran.err and ran.err.count("\n") == 1, ran.err
    other = tmp_path / "other.jsonl"
    other.write_text('{"custom_id": "x", "error": null}\n')
    assert "other requests" in run("batch", requests, "--out", other, "--resume").err


def test_a_server_that_streams_what_was_asked_whole_is_told(
    run: Run, fake: Fake, requests: Path, tmp_path: Path
) -> None:
    assert run("batch", requests, "--out", tmp_path / "out.jsonl", "--url", fake.url).code == 1
    assert "it streams" in json.loads((tmp_path / "out.jsonl").read_text())["error"]["message"]
