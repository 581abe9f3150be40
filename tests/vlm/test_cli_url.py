"""``--url`` on the commands that ask: the same output from a server, and one line where that can't be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import picture
from PIL import Image, ImageDraw
from runner import Run
from servers import Fake, saying, whole

from vlm.remote import transport
from vlm.session import VLM

QUESTION = "What does it say?"


@pytest.fixture(autouse=True)
def nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server is asked instead."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(VLM, "load", never)
    monkeypatch.setattr(transport.time, "sleep", lambda _: None)
    monkeypatch.delenv("VLM_URL", raising=False)
    monkeypatch.delenv("VLM_API_KEY", raising=False)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    image = Image.new("RGB", (600, 200), "white")
    ImageDraw.Draw(image).text((30, 60), "First line", fill="black", font_size=40)
    image.save(tmp_path / "page.png")
    return tmp_path / "page.png"


def test_ask(run: Run, fake: Fake, photo: Path) -> None:
    ran = run("ask", photo, QUESTION, "--url", fake.url, "--policy", "off", "--max-tokens", 9)
    assert (ran.code, ran.out, ran.err) == (0, "Hello there.\n", "")
    assert fake.asked[0]["max_tokens"] == 9
    shown = json.loads(run("ask", photo, QUESTION, "--url", fake.url, "--policy", "gemma3", "--json").out)
    assert (shown["answer"], shown["confidence"], shown["model"]) == ("Hello there.", 0.5, fake.models[0])
    assert shown["windows"] == [{"image": 0, "box": [0, 0, 80, 80], "kind": "whole"}]
    assert run("ask", photo, QUESTION, "--url", fake.url).err == (
        "vlm: this server knows no adaptive windows: images are read whole\n"
    )


def test_url_and_key_from_the_environment(
    run: Run, fake: Fake, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLM_URL", fake.url)
    monkeypatch.setenv("VLM_API_KEY", "s3cret")
    assert run("ask", photo, QUESTION, "--policy", "off").out == "Hello there.\n"
    assert set(fake.keys) == {"Bearer s3cret"}
    with pytest.raises(AssertionError, match="a model was loaded"):
        run("ask", photo, QUESTION, "--url", "")  # this once here


def test_ask_about_fields(run: Run, fake: Fake, photo: Path, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"total": {"type": "string"}}}')
    fake.ways = [saying('{"total":"12.50"}')]
    asked = ("ask", photo, QUESTION, "--url", fake.url, "--policy", "off", "--schema", schema, "--json")
    (field,) = json.loads(run(*asked).out)["fields"]
    assert field == {"path": "/total", "value": "12.50", "confidence": 0.5, "box": None}
    fake.ways = [saying("The total is 12.50.")]
    assert "the answer is no whole JSON" in run(*asked).refused()


def test_no_evidence_is_drawn_where_none_is_told(run: Run, fake: Fake, photo: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn.png"
    ran = run("ask", photo, QUESTION, "--url", fake.url, "--policy", "off", "--save-evidence", drawn)
    assert ran.code == 2 and "this server doesn't tell where it looked" in ran.err
    assert not drawn.exists()


def test_ask_about_documents(run: Run, fake: Fake, tmp_path: Path) -> None:
    pages = [picture(n, 200, 100) for n in (1, 2)]
    pages[0].save(tmp_path / "two.tif", save_all=True, append_images=pages[1:])
    nothing = "Not in the image."
    fake.ways = [saying(said) for said in (nothing, "24.85", "24.85 EUR", nothing)]
    ran = run("ask", tmp_path / "two.tif", "Total?", "--url", fake.url, "--policy", "off")
    assert (ran.code, ran.out) == (0, "24.85 EUR\n") and "page 2]" in ran.err


def test_read(run: Run, fake: Fake, page: Path, tmp_path: Path) -> None:
    fake.ways = [saying("First", " line")]
    asked = ("read", page, "--url", fake.url, "--policy", "off")
    assert run(*asked).out.strip() == "First line"
    job = tmp_path / "job"
    assert run(*asked, "--out", job).code == 0
    settings = json.loads((job / "job" / "settings.json").read_text())
    assert settings["--model"] == fake.models[0]  # two servers with one model read alike
    assert run(*asked, "--out", job, "--resume").out.startswith("1 page read, 1 of them before")


def test_read_fields(run: Run, fake: Fake, page: Path, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"total": {"type": "string"}}}')
    fake.ways = [saying('{"total":"12.50"}')]
    ran = run("read", page, "--url", fake.url, "--policy", "off", "--schema", schema)
    assert json.loads(ran.out)["data"] == {"total": "12.50"}


@pytest.fixture
def folder(tmp_path: Path, page: Path) -> Path:
    home = tmp_path / "set"
    home.mkdir()
    page.rename(home / "page.png")
    line = {"questionId": 1, "question": "Total?", "image": "page.png", "answers": ["3.50"], "kind": "page",
            "fields": {"total": "3.50"}, "text": "3.50"}  # fmt: skip
    (home / "questions.jsonl").write_text(json.dumps(line))
    return home


@pytest.mark.parametrize(
    ("command", "said"), [("docvqa", "3.50"), ("reading", "3.50"), ("fields", '{"total":"3.50"}')]
)
def test_eval(run: Run, fake: Fake, folder: Path, command: str, said: str) -> None:
    pytest.importorskip("jiwer")
    fake.ways = [saying(said)]
    asked = ("eval", command, "--data", folder, "--policy", "gemma3", "--json")
    ran = run(*asked, "--url", fake.url, "--api-key", "k")
    assert ran.code == 0 and set(fake.keys) == {"Bearer k"}
    shown = json.loads(ran.out)
    assert shown["failed"] == 0 and shown["rows"][0]["exact"] == 1.0 and shown["model"] == fake.url
    named = run(*asked, "--url", fake.url, "--model", fake.models[0])
    assert json.loads(named.out)["model"] == fake.models[0]


def test_what_can_not_be_is_one_line(run: Run, fake: Fake, photo: Path) -> None:
    def refused(*more: object) -> str:
        return run("ask", photo, QUESTION, *more).refused()

    assert "can't be reached" in refused("--url", "http://127.0.0.1:9")
    assert "no URL of a server" in refused("--url", "localhost:8000")
    assert "has no model gemma" in refused("--url", fake.url, "--model", "gemma")
    assert "--offline and --url exclude each other" in refused("--url", fake.url, "--offline")
    assert "--dtype is of a model that is loaded here" in refused("--url", fake.url, "--dtype", "bf16")
    assert "guided windows need" in refused("--url", fake.url, "--policy", "guided")
    fake.listing = whole({"error": {"message": "who are you?"}}, 401)
    assert "asks for an API key (401: who are you?)" in refused("--url", fake.url)
    fake.listing = whole(b"<html>", 200)
    assert "is no OpenAI-style server" in refused("--url", fake.url)


def test_help_names_the_variables(run: Run) -> None:
    said = run("ask", "--help").out
    assert "VLM_URL" in said and "VLM_API_KEY" in said
