"""Fields by a schema: always valid, each with a place, and what failed is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawn import letter
from fakes import picture, tiny_checkpoint
from jsonschema import validate
from PIL import Image
from scripted_pages import FakePage, TurnByTurn

from vlm.constrain import Constraint
from vlm.errors import UsageError
from vlm.reading.extract import FieldReader, fields_question
from vlm.reading.output import page_from_json, page_to_json
from vlm.reading.transcribe import ReadOptions
from vlm.session import VLM

SCHEMA = {
    "type": "object",
    "properties": {"shop": {"type": "string", "maxLength": 8}, "total": {"type": "number"}},
    "required": ["total"],
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return VLM.load(tiny_checkpoint(tmp_path_factory.mktemp("tiny")))


def test_a_page_becomes_json_that_validates(model: VLM) -> None:
    constraint = Constraint.schema(SCHEMA)
    page = FakePage(picture(2, 112, 112))
    got = FieldReader(model, constraint, ReadOptions(max_tokens=60)).read(page)  # type: ignore[arg-type]
    assert (got.source, got.error, got.blocks, got.number) == ("model", "", (), 3)
    assert constraint.json_schema is not None
    validate(got.data, constraint.json_schema)
    assert [field.path for field in got.fields] == ["/shop", "/total"]
    for field in got.fields:
        assert field.value == got.data[field.path[1:]] and 0.0 <= field.confidence <= 1.0
        assert (field.box is None) == (field.value is None)
    assert len(got.windows) == 5
    back = page_from_json(page_to_json(got))
    assert back.data == got.data and [f.box for f in back.fields] == [f.box for f in got.fields]


def test_the_fields_are_named_in_the_question() -> None:
    assert fields_question(Constraint.schema(SCHEMA)) == "Give these fields as JSON: shop, total."
    listed = Constraint.schema({"type": "array", "items": {"type": "string"}})
    assert fields_question(listed) == "Give this as JSON."
    with pytest.raises(UsageError, match="by a schema"):
        fields_question(Constraint.regex("a+"))


def test_fields_that_were_cut_off_are_not_given_as_whole(model: VLM) -> None:
    listed = {"type": "array", "items": {"type": "integer"}, "minItems": 12}
    reader = FieldReader(model, Constraint.schema(listed), ReadOptions(max_tokens=30))
    got = reader.read(FakePage(picture(2)))  # type: ignore[arg-type]
    assert got.source == "failed" and got.data is None
    assert "cut off" in got.error and "--max-tokens" in got.error


def test_a_page_on_its_side_is_asked_upright(tmp_path: Path) -> None:
    engine = TurnByTurn(tmp_path, turns=('{"total":1}',))
    page = letter().image.transpose(Image.Transpose.ROTATE_270)
    constraint = Constraint.schema({"type": "object", "properties": {"total": {"type": "number"}}})
    options = ReadOptions(policy="off")
    got = FieldReader(engine.vlm(), constraint, options).read(FakePage(page))  # type: ignore[arg-type]
    assert got.turned % 180 == 90.0 and got.data == {"total": 1}
    assert engine.crops == [letter().image.size] * 2  # both ways up
    assert [w.box for w in got.windows] == [(0, 0, *page.size)]


def test_a_value_that_loops_is_tried_again_and_then_failed(model: VLM) -> None:
    constraint = Constraint.schema(
        {"type": "object", "properties": {"a": {"const": "spam " * 20}}, "required": ["a"]}, "as written"
    )
    reader = FieldReader(model, constraint, ReadOptions(max_tokens=200))
    got = reader.read(FakePage(picture(1)))  # type: ignore[arg-type]
    assert (got.source, got.error, got.attempts) == ("failed", "a value repeats itself without end", 2)
    assert got.data is None


def test_a_damaged_page_and_a_budget_too_small_are_failed_pages(model: VLM) -> None:
    constraint = Constraint.schema(SCHEMA)
    damaged = FieldReader(model, constraint).read(FakePage(None))  # type: ignore[arg-type]
    assert (damaged.source, damaged.error) == ("failed", "letter.png: page 3 is damaged")
    short = FieldReader(model, constraint, ReadOptions(max_tokens=3)).read(FakePage(picture(1)))  # type: ignore[arg-type]
    assert short.source == "failed" and "raise --max-tokens" in short.error


def test_a_loop_is_not_heard_to_its_end(tmp_path: Path) -> None:
    engine = TurnByTurn(tmp_path, turns=('{"shop":"' + "1.00 kg " * 60, '{"shop":"Aldi"}'))
    constraint = Constraint.schema({"type": "object", "properties": {"shop": {"type": "string"}}})
    got = FieldReader(engine.vlm(), constraint).read(FakePage(picture(1)))  # type: ignore[arg-type]
    assert got.data == {"shop": "Aldi"} and engine.temperatures == [0.0, 0.5] and got.attempts == 2


def test_an_empty_page_is_not_asked(tmp_path: Path) -> None:
    engine = TurnByTurn(tmp_path, turns=('{"shop":"Aldi","items":["a"]}',))
    listed = {"shop": {"type": "string"}, "items": {"type": "array", "items": {"type": "string"}}}
    reader = FieldReader(engine.vlm(), Constraint.schema({"type": "object", "properties": listed}))
    empty = FakePage(Image.new("RGB", (300, 400), "ivory"))
    got = reader.read(empty)  # type: ignore[arg-type]
    assert (got.source, got.error, got.data) == ("model", "", {"shop": None, "items": []})
    assert [(field.path, field.value, field.box) for field in got.fields] == [
        ("/shop", None, None), ("/items", [], None),
    ]  # fmt: skip
    assert engine.temperatures == []
    whole = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    asked = FieldReader(engine.vlm(), Constraint.schema(whole, "as written"))
    asked.read(empty)  # type: ignore[arg-type]
    assert engine.temperatures  # the schema has no word for nothing
