"""The command line's ``--schema``, ``--regex``, ``--choice`` and ``--grammar``."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import torch
from runner import Run
from scripted_pages import TurnByTurn

from vlm.session import VLM

torch.set_num_threads(1)
SCHEMA = {"type": "object", "properties": {"shop": {"type": "string"}, "total": {"type": "number"}}}


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    path = tmp_path / "receipt.json"
    path.write_text(json.dumps(SCHEMA), "utf-8")
    return path


def test_schema_prints_json_that_validates(run: Run, tiny: Path, photo: Path, schema: Path) -> None:
    """The tiny model never ends a string by itself: what is printed was closed, and says so."""
    ran = run("ask", "-m", tiny, "--schema", schema, "--max-tokens", 60, photo, "What was bought?")
    answer = json.loads(ran.out)
    assert ran.code == 0 and set(answer) == {"shop", "total"}
    assert ran.err == "[stopped at --max-tokens]\n"


def test_json_carries_the_data(run: Run, tiny: Path, photo: Path, schema: Path) -> None:
    ran = run("ask", "--json", "-m", tiny, "--schema", schema, "--max-tokens", 60, photo, "What was bought?")
    answer = json.loads(ran.out)
    assert answer["data"] == json.loads(answer["answer"]) and answer["finish_reason"] == "length"
    as_number = {"type": ["number", "null"]}
    jsonschema.validate(answer["data"], {"properties": {"total": as_number}, "required": ["shop", "total"]})


def test_an_answer_that_goes_in_circles_is_asked_for_again_and_then_refused(
    run: Run, photo: Path, schema: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, whole = '{"shop":"' + "1.00 kg " * 60, '{"shop":"Aldi","total":1.5}'
    engine = TurnByTurn(tmp_path / "once", turns=(loop, whole))
    monkeypatch.setattr(VLM, "load", lambda *_, **__: engine.vlm())
    assert run("ask", "--schema", schema, photo, "What was bought?").out == f"{whole}\n"
    assert engine.temperatures == [0.0, 0.5]
    engine = TurnByTurn(tmp_path / "always", turns=(loop,))
    assert "repeats itself without end" in run("ask", "--schema", schema, photo, "What?").refused()


def test_fields_that_no_budget_holds_are_refused_once(
    run: Run, tiny: Path, photo: Path, schema: Path
) -> None:
    ran = run("read", "-m", tiny, "--schema", schema, "--max-tokens", 3, photo, photo)
    assert "raise --max-tokens" in ran.refused()


def test_regex_choice_and_grammar(run: Run, tiny: Path, photo: Path, tmp_path: Path) -> None:
    lark = tmp_path / "sum.lark"
    lark.write_text('start: /[0-9]/ "+" /[0-9]/', "utf-8")
    asked = ("-m", tiny, photo, "How much?")
    assert run("ask", "--regex", r"\d{2}", *asked).out.strip().isdigit()
    assert run("ask", "--choice", "yes", "--choice", "no", *asked).out in ("yes\n", "no\n")
    assert run("ask", "--grammar", lark, *asked).out[1] == "+"
    assert run("generate", "-m", tiny, "--choice", "yes", "--choice", "no", "Is it? ").out in (
        "yes\n",
        "no\n",
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--regex", "a", "--choice", "b"), "--regex and --choice exclude each other"),
        (("--schema", "absent.json"), "absent.json: can't be read"),
        (("--schema", "."), "can't be read"),
        (("--schema", "broken.json"), "--schema: the schema is no JSON"),
        (("--schema", "binary.json"), "no text in UTF-8"),
        (("--schema", "remote.json"), "only places within the schema"),
        (("--regex", "("), "--regex: the regex can't be used: unclosed group"),
        (("--choice", ""), "none of them empty"),
        (("--grammar", "broken.json"), "--grammar: the grammar can't be used"),
    ],
)
@pytest.mark.parametrize("command", ["ask", "generate"])
def test_errors_are_one_line_and_come_before_the_model(
    run: Run,
    photo: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(photo.parent)
    Path("broken.json").write_text("{", "utf-8")
    Path("binary.json").write_bytes(b"\xff\xfe\x00")
    Path("remote.json").write_text('{"$ref": "https://example.com/x"}', "utf-8")
    asked = (photo, "How much?") if command == "ask" else ("How much?",)
    ran = run(command, "-m", "no/such-model", "--offline", *arguments, *asked)
    assert ran.code == 2 and ran.out == "" and ran.err.count("\n") == 1
    assert ran.err.startswith("vlm: ") and said in ran.err


def test_too_few_tokens_for_the_schema_are_told(run: Run, tiny: Path, photo: Path, schema: Path) -> None:
    ran = run("ask", "-m", tiny, "--schema", schema, "--max-tokens", 9, photo, "What was bought?")
    assert ran.code == 2 and "raise --max-tokens" in ran.err and ran.err.count("\n") == 1
