"""Answers under a constraint, with chance in place of a model."""

from __future__ import annotations

import enum
import gc
import json
import random
import re
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import jsonschema
import pydantic
import pytest
import torch
from fakes import picture
from torch import Tensor

from vlm.closing import byte_tokenizer
from vlm.constrain import Constraint, _vocabularies
from vlm.errors import UsageError
from vlm.session import VLM, Options
from vlm.tokenizer import GemmaTokenizer
from vlm.training.tokenizer import CHARACTERS, CONTROL, build_mini_tokenizer

torch.set_num_threads(1)

RECEIPT = {
    "type": "object",
    "properties": {
        "shop": {"type": "string"},
        "date": {"type": "string", "format": "date"},
        "total": {"type": "number"},
        "paid": {"enum": ["cash", "card"]},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "price": {"type": "number"}},
            },
        },
    },
    "required": ["total"],
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> GemmaTokenizer:
    folder = tmp_path_factory.mktemp("mini")
    build_mini_tokenizer(folder)
    return GemmaTokenizer.from_folder(folder)


def stop_ids(tokenizer: GemmaTokenizer) -> frozenset[int]:
    return frozenset((tokenizer.special.eos, tokenizer.special.end_of_turn))


def spoken(
    tokenizer: GemmaTokenizer, constraint: Constraint, *, seed: int = 0, budget: int = 400, rows: int = 0
) -> tuple[list[int], bool]:
    """Tokens of an answer by chance, and whether it had to be closed. ``rows``: more logits than tokens."""
    noise = torch.Generator().manual_seed(seed)
    matcher = constraint.matcher(tokenizer, stop_ids(tokenizer))
    ids: list[int] = []
    while len(ids) < budget and not matcher.finished:
        logits_V = 3 * torch.randn(tokenizer.vocab_size + rows, generator=noise)
        id = matcher.choose(logits_V, lambda masked_V: int(masked_V.argmax()), budget - len(ids))
        if id in stop_ids(tokenizer):
            break
        matcher.accept(id)
        ids.append(id)
    return ids, matcher.cut


def text_of(tokenizer: GemmaTokenizer, ids: list[int]) -> str:
    return b"".join(map(tokenizer.token_bytes, ids)).decode()  # strict: never half a character


def random_leaf(rng: random.Random) -> dict[str, Any]:
    """The schema of one value."""
    low = rng.randint(-1000, 1000)
    length = {"minLength": rng.randint(0, 4), "maxLength": rng.randint(4, 30)}
    between = {"minimum": low, "maximum": low + rng.randint(10, 5000)}
    pattern = rng.choice([r"^[A-Z]{2}\d{3,6}$", r"^\d+,\d{2} (€|EUR)$", "kg$", r"^(\w+ ){2}\w+$"])
    listed = rng.sample(["a", "ab", "über", 'q"', 3, 4.5, True, "漢字", "x▁y"], rng.randint(1, 5))
    kinds: list[dict[str, Any]] = [
        {"type": "string"} | rng.choice([{}, length]),
        {"type": "string", "format": rng.choice(["date", "time", "email", "uuid", "currency"])},
        {"type": "string", "pattern": pattern},
        {"type": "number"} | rng.choice([{}, between, {"exclusiveMinimum": low}]),
        {"type": "integer"} | rng.choice([{}, between, {"multipleOf": rng.choice([2, 5, 7])}]),
        {"type": "boolean"},
        {"enum": listed},
        {"$ref": "#/$defs/place"},
    ]
    return rng.choice(kinds)


def random_schema(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    """A schema as people write them: any type, some limits, nested, some properties optional."""
    kind = "object" if depth == 0 else rng.choice(["leaf", "leaf", "any of", "array", "object"])
    if kind == "leaf" or depth > 3:
        return random_leaf(rng)
    if kind == "any of":
        return {"anyOf": [random_schema(rng, depth + 2) for _ in range(rng.randint(1, 3))]}
    if kind == "array":
        limits = {"minItems": rng.randint(0, 2), "maxItems": rng.randint(2, 5)}
        return {"type": "array", "items": random_schema(rng, depth + 1)} | rng.choice([{}, limits])
    names = rng.sample(
        ["a", "total", "größe", 'say "so"', "a/b", "x~y", "e", "with space"], rng.randint(1, 5)
    )
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: random_schema(rng, depth + 1) for name in names},
        "required": rng.sample(names, rng.randint(0, len(names))),
    }
    if depth == 0:
        schema["$defs"] = {"place": {"type": "object", "properties": {"city": {"type": "string"}}}}
    return schema


@pytest.mark.parametrize("part", range(10))
def test_500_answers_by_chance_validate(tokenizer: GemmaTokenizer, part: int) -> None:
    cut = 0
    for seed in range(50 * part, 50 * part + 50):
        rng = random.Random(seed)
        constraint = Constraint.schema(random_schema(rng), rng.choice(["null", "null", "as written"]))
        needed = len(tokenizer.encode_text((constraint.shortest or b"").decode()))
        budget = rng.choice([needed + 40, needed + 5, needed + 200])
        ids, closed = spoken(tokenizer, constraint, seed=seed, budget=budget)
        text = text_of(tokenizer, ids)
        assert constraint.json_schema is not None
        jsonschema.validate(constraint.data_of(text), constraint.json_schema)
        assert len(ids) <= budget
        cut += closed
    assert 5 < cut < 50  # both ways of ending were met


def test_fields_that_are_missing_can_be_null() -> None:
    held = Constraint.schema(RECEIPT).json_schema
    assert held is not None
    nothing = {"shop": None, "date": None, "total": None, "paid": None, "items": []}
    jsonschema.validate(nothing, held)
    for name in nothing:  # and every one is there
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({key: value for key, value in nothing.items() if key != name}, held)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(nothing | {"tip": 3}, held)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(nothing | {"items": None}, held)  # none found is []
    item = held["properties"]["items"]["items"]
    jsonschema.validate({"name": None, "price": None}, item)


def test_as_written_keeps_to_what_is_required() -> None:
    held = Constraint.schema(RECEIPT, "as written").json_schema
    assert held is not None
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"total": None}, held)
    jsonschema.validate({"total": 3, "shop": "x"}, held)


def test_null_first_makes_the_shortest_answer() -> None:
    shortest = Constraint.schema(RECEIPT).shortest
    assert shortest == b'{"shop":null,"date":null,"total":null,"paid":null,"items":[]}'


class Currency(enum.Enum):
    euro = "EUR"
    dollar = "USD"


class Item(pydantic.BaseModel):
    name: str
    price: float | None = None


class Receipt(pydantic.BaseModel):
    shop: str | None = pydantic.Field(description="As printed at the top.")
    currency: Currency | None
    items: list[Item]
    parent: Receipt | None = None


def test_a_pydantic_model_reads_its_answers(tokenizer: GemmaTokenizer) -> None:
    constraint = Constraint.schema(Receipt, "as written")
    for seed in range(5):
        text = text_of(tokenizer, spoken(tokenizer, constraint, seed=seed, budget=150)[0])
        assert isinstance(Receipt.model_validate(constraint.data_of(text)), Receipt)
    assert Constraint.schema(Receipt).shortest == b'{"shop":null,"currency":null,"items":[],"parent":null}'


def test_a_tree_ends_with_the_budget(tokenizer: GemmaTokenizer) -> None:
    node = {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"$ref": "#"}}}
    constraint = Constraint.schema(node | {"required": ["v"]})
    for seed in range(5):
        ids, _ = spoken(tokenizer, constraint, seed=seed, budget=90)
        assert constraint.json_schema is not None
        jsonschema.validate(constraint.data_of(text_of(tokenizer, ids)), constraint.json_schema)


def test_objects_that_are_combined_stay_open() -> None:
    base = {"type": "object", "properties": {"a": {"type": "string"}}}
    more = {"type": "object", "properties": {"b": {"type": "number"}}}
    constraint = Constraint.schema({"$defs": {"base": base}, "allOf": [{"$ref": "#/$defs/base"}, more]})
    assert constraint.shortest == b'{"a":null,"b":null}'


def test_a_kind_that_tells_branches_apart_stays_fixed() -> None:
    def branch(kind: str) -> dict[str, Any]:
        properties = {"kind": {"const": kind}, "x": {"type": "string"}}
        return {"type": "object", "properties": properties, "required": ["kind"]}

    constraint = Constraint.schema({"oneOf": [branch("cat"), branch("dog")]})
    assert constraint.shortest == b'{"kind":"cat","x":null}'


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def circular() -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    schema["properties"] = {"a": schema}
    return schema


def chain(length: int) -> dict[str, Any]:
    links = {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(length)}
    return {"$defs": links | {f"a{length}": {"type": "string"}}, "$ref": "#/$defs/a0"}


ADVERSARIAL: dict[str, tuple[Any, str]] = {
    "deep": (deep(70), "nested too deep"),
    "very deep": (deep(900), "nested too deep"),
    "very deep text": ('{"items":' * 100_000 + "{}" + "}" * 100_000, "nested too deep"),
    "circular dict": (circular(), "no JSON"),
    "recursive without end": (
        {"type": "object", "properties": {"n": {"$ref": "#"}}, "required": ["n"]},
        "never ends",
    ),
    "references in a circle": (
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        "never ends",
    ),
    "chain of references": (chain(5000), "refers to 5001 places"),
    "enormous enum": ({"enum": list(range(10_001))}, "10001 values"),
    "enormous text": ({"title": "x" * (1 << 20)}, "characters long"),
    "no such place": ({"$ref": "#/$defs/absent"}, "no such place"),
    "remote": ({"$ref": "https://example.com/schema.json"}, "within the schema"),
    "file": ({"$ref": "file:///etc/passwd"}, "within the schema"),
    "reference no text": ({"$ref": 5}, "within the schema"),
    "invalid type": ({"type": "strng"}, "strng"),
    "invalid keyword value": ({"type": "object", "properties": []}, "properties must be an object"),
    "invalid required": ({"properties": {"a": {}}, "required": 5}, "required"),
    "invalid anyOf": ({"anyOf": 5}, "anyOf"),
    "invalid in an unused place": ({"$defs": {"a": {"anyOf": 5, "type": [[]]}}, "type": "strng"}, "strng"),
    "unsatisfiable": ({"type": "integer", "minimum": 5, "maximum": 2}, "greater than"),
    "false": ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "unsatisfiable"),
    "no choice": ({"enum": []}, "empty"),
    "not enforceable": ({"type": "array", "uniqueItems": True}, "uniqueItems"),
    "negation": ({"not": {"type": "string"}}, "not"),
    "bad pattern": ({"type": "string", "pattern": "("}, "unclosed group"),
    "lookaround": ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
    "exploding pattern": ({"type": "string", "pattern": "(a{1000}){1000}"}, "repeats multiply"),
    "exploding multiple": ({"type": "integer", "multipleOf": 1000003}, "too fine"),
    "endless string": ({"type": "string", "minLength": 10**9}, "never ends"),
    "endless list": ({"type": "array", "minItems": 10**9}, "never ends"),
    "more names than can be told apart": ({"type": "object", "minProperties": 3}, "minProperties"),
    "no schema": ("[]", "JSON object"),
    "no JSON": ("{", "no JSON"),
    "NaN": ('{"minimum": NaN}', "NaN"),
    "no JSON value": ({"enum": [object()]}, "no JSON"),
    "no model": (dict, "pydantic"),
    "half a surrogate pair": ({"enum": ["\ud800"]}, "can't be used"),
    "number beyond every range": ('{"minimum": 1e999}', "can't be used"),
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_adversarial_schemas_are_refused_in_one_line(name: str) -> None:
    schema, said = ADVERSARIAL[name]
    started = time.monotonic()
    with pytest.raises(UsageError, match=re.escape(said)) as refused:
        Constraint.schema(schema)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400
    assert time.monotonic() - started < 60  # a second or two, on a machine that does nothing else


def test_hard_but_legal_schemas_are_taken() -> None:
    listed = Constraint.schema({"enum": [f"value {n}" for n in range(10_000)]})
    assert listed.shortest is not None
    doubling: dict[str, Any] = {
        f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}, {"$ref": f"#/$defs/a{n + 1}"}]} for n in range(60)
    }
    Constraint.schema({"$defs": doubling | {"a60": {"type": "string"}}, "$ref": "#/$defs/a0"})
    assert Constraint.schema(deep(20)).shortest == b"[]"
    assert Constraint.schema({"const": "\x00"}).shortest == b'"\\u0000"'


@pytest.mark.parametrize(
    ("pattern", "budget"),
    [(r"\d{3}-\d{4}", 8), (r"^[A-Z][a-z]+(, [A-Z][a-z]+)*$", 20), ("(yes|no|über)?", 9), (r".*kg", 30)],
)
def test_regex(tokenizer: GemmaTokenizer, pattern: str, budget: int) -> None:
    constraint = Constraint.regex(pattern)
    for seed in range(10):
        text = text_of(tokenizer, spoken(tokenizer, constraint, seed=seed, budget=budget)[0])
        assert re.fullmatch(pattern, text), text


def test_choice(tokenizer: GemmaTokenizer) -> None:
    choices = ("cat", "category", 'a "quoted" \\ one\n', "漢字", "<end_of_turn>", "x▁y")
    constraint = Constraint.choice(choices)
    heard = {text_of(tokenizer, spoken(tokenizer, constraint, seed=seed)[0]) for seed in range(60)}
    assert heard == set(choices)


def test_grammar(tokenizer: GemmaTokenizer) -> None:
    constraint = Constraint.grammar('start: sum\nsum: NUMBER | sum "+" NUMBER\nNUMBER: /[0-9]{1,3}/')
    for seed in range(10):
        text = text_of(tokenizer, spoken(tokenizer, constraint, seed=seed, budget=12)[0])
        assert re.fullmatch(r"\d{1,3}(\+\d{1,3})*", text), text


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Constraint.regex("("), "unclosed group"),
        (lambda: Constraint.regex("(a{1000}){1000}"), "repeats multiply"),
        (lambda: Constraint.regex("x" * (1 << 21)), "more than 50000 characters"),
        (lambda: Constraint.grammar("x" * (1 << 21)), "characters long"),
        (lambda: Constraint.regex("a\x00"), "no text"),
        (lambda: Constraint.regex("\udc80"), "no text"),
        (lambda: Constraint.choice([]), "one or more"),
        (lambda: Constraint.choice("yes"), "one or more"),
        (lambda: Constraint.choice(["a", ""]), "one or more"),
        (lambda: Constraint.choice([str(n) for n in range(10_001)]), "10001 choices"),
        (lambda: Constraint.grammar(""), "Empty grammar"),
        (lambda: Constraint.grammar("start: missing"), "missing"),
        (lambda: Constraint.grammar("start: <[5]>"), "by number"),
        (lambda: Constraint.grammar("start: <end_of_turn>"), "end_of_turn"),
    ],
)
def test_what_is_no_constraint_is_refused_in_one_line(make: Any, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)) as refused:
        make()
    assert "\n" not in str(refused.value)


def test_no_control_token_is_ever_allowed_inside(tokenizer: GemmaTokenizer) -> None:
    control = {tokenizer.encode_with_special(token)[0] for token in CONTROL}
    for constraint in (Constraint.schema({"type": "string"}, "as written"), Constraint.regex("(.|\n)+")):
        matcher = constraint.matcher(tokenizer, stop_ids(tokenizer))
        for id in (tokenizer.encode_text('"')[0], *tokenizer.encode_text("<end_of_turn>a")):
            matcher.accept(id)
            allowed = set(torch.nonzero(matcher.allowed(tokenizer.vocab_size + 64)).flatten().tolist())
            ends = stop_ids(tokenizer) if constraint.kind == "regex" else frozenset()
            assert allowed & control == ends
            assert max(allowed) < tokenizer.vocab_size  # rows of the embedding without a token


def test_an_answer_ends_only_where_it_may(tokenizer: GemmaTokenizer) -> None:
    matcher = Constraint.choice(["cat", "category"]).matcher(tokenizer, stop_ids(tokenizer))
    ends = sorted(stop_ids(tokenizer))
    for letter in "cat":
        assert not matcher.allowed(tokenizer.vocab_size)[ends].any() and not matcher.finished
        matcher.accept(tokenizer.encode_text(letter)[0])
    assert matcher.allowed(tokenizer.vocab_size)[ends].all() and not matcher.finished
    for letter in "egory":
        matcher.accept(tokenizer.encode_text(letter)[0])
    assert matcher.finished and not matcher.cut


def test_mask_keeps_the_scores_of_what_is_allowed(tokenizer: GemmaTokenizer) -> None:
    matcher = Constraint.regex("[ab]").matcher(tokenizer, stop_ids(tokenizer))
    logits_V = torch.randn(tokenizer.vocab_size)
    masked_V = matcher.mask(logits_V)
    kept = {text_of(tokenizer, [int(id)]) for id in torch.nonzero(masked_V.isfinite())}
    assert kept == {"a", "b"}
    assert masked_V[masked_V.isfinite()].tolist() == logits_V[masked_V.isfinite()].tolist()


def test_characters_beyond_the_vocabulary_come_byte_by_byte(tokenizer: GemmaTokenizer) -> None:
    assert "漢" not in CHARACTERS
    constraint = Constraint.schema({"type": "object", "properties": {"漢": {"enum": ["字😀", "x"]}}})
    matcher = constraint.matcher(tokenizer, stop_ids(tokenizer))
    wanted = '{"漢":"字😀"}'
    for id in tokenizer.encode_text(wanted):
        assert matcher.allowed(tokenizer.vocab_size)[id]
        matcher.accept(id)
    assert matcher.finished


def test_a_character_is_not_left_half_when_room_runs_out(tokenizer: GemmaTokenizer) -> None:
    """A model that wants nothing but the first byte of a long character, and then no end of it."""
    constraint = Constraint.schema({"type": "object", "properties": {"a": {"type": "string"}}})
    first = tokenizer.encode_text("漢")[0]

    def pick(masked_V: Tensor) -> int:
        return first if masked_V[first] > -torch.inf else int(masked_V.argmax())

    for budget in range(12, 30):
        matcher = constraint.matcher(tokenizer, stop_ids(tokenizer))
        ids: list[int] = []
        for letter in tokenizer.encode_text('{"a":"'):
            matcher.accept(letter)
            ids.append(letter)
        while not matcher.finished:
            ids.append(matcher.choose(torch.zeros(tokenizer.vocab_size), pick, budget - len(ids)))
            matcher.accept(ids[-1])
        assert len(ids) <= budget and set(json.loads(text_of(tokenizer, ids))) == {"a"}
        assert matcher.cut


def test_a_model_that_never_ends_a_string_is_closed(tokenizer: GemmaTokenizer) -> None:
    constraint = Constraint.schema(RECEIPT)
    letter = tokenizer.encode_text("o")[0]

    def pick(masked_V: Tensor) -> int:
        return letter if masked_V[letter] > -torch.inf else int(masked_V.argmax())

    quote = tokenizer.encode_text('"')[0]
    logits_V = torch.zeros(tokenizer.vocab_size)
    logits_V[quote] = 1.0
    matcher = constraint.matcher(tokenizer, stop_ids(tokenizer))
    ids: list[int] = []
    while not matcher.finished:
        ids.append(matcher.choose(logits_V, pick, 100 - len(ids)))
        matcher.accept(ids[-1])
    data = json.loads(text_of(tokenizer, ids))
    assert len(ids) == 100 and matcher.cut
    assert re.fullmatch("o{30,}", data["shop"]) and data["total"] is None and data["items"] == []


def test_a_budget_too_small_for_any_answer_is_refused(tokenizer: GemmaTokenizer) -> None:
    constraint = Constraint.schema(RECEIPT)
    needed = len(constraint.shortest or b"")  # the mini vocabulary: a token a character
    constraint.check_fits(tokenizer, needed)
    with pytest.raises(UsageError, match=f"takes {needed} tokens and there is room for {needed - 1}"):
        constraint.check_fits(tokenizer, needed - 1)
    ids, cut = spoken(tokenizer, constraint, budget=needed)
    assert constraint.json_schema is not None
    jsonschema.validate(json.loads(text_of(tokenizer, ids)), constraint.json_schema)
    assert cut and len(ids) <= needed


def test_numbers_end(tokenizer: GemmaTokenizer) -> None:
    nine = tokenizer.encode_text("9")[0]
    matcher = Constraint.schema({"type": "integer"}).matcher(tokenizer, stop_ids(tokenizer))
    for _ in range(15):
        matcher.accept(nine)
    assert not matcher.allowed(tokenizer.vocab_size)[nine]


def test_numbers_out_of_range_are_still_numbers() -> None:
    anything = Constraint.schema({"type": "array"})
    assert anything.data_of("[1e999,-1e999,7]") == [sys.float_info.max, -sys.float_info.max, 7]
    json.dumps(anything.data_of(f"[{'9' * 5000}]"), allow_nan=False)
    with pytest.raises(UsageError, match="no whole JSON"):
        anything.data_of("[1,")


def test_one_vocabulary_a_tokenizer_and_none_after_it(tmp_path: Path) -> None:
    build_mini_tokenizer(tmp_path)
    tokenizer = GemmaTokenizer.from_folder(tmp_path)
    constraint = Constraint.choice(["a"])
    constraint.matcher(tokenizer, ())
    first = _vocabularies[tokenizer]
    constraint.matcher(tokenizer, ())
    assert _vocabularies[tokenizer] is first
    gone = weakref.ref(tokenizer)
    del tokenizer
    gc.collect()
    assert gone() is None


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    byte_tokenizer.cache_clear()
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(UsageError, match=re.escape("pip install 'vlm[schema]'")):
        Constraint.regex("a")


def test_stop_strings_and_a_constraint_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="stop strings"):
        Options(stop=("}",), constraint=Constraint.choice(["a"]))


@pytest.fixture(scope="module")
def mini() -> VLM:
    return VLM.load("mini")


def test_the_embedded_model_answers_by_schema(mini: VLM) -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string"}, "number": {"type": "integer"}}}
    constraint = Constraint.schema(schema)
    for budget, reason in ((40, "length"), (400, "stop")):
        answer = mini.ask(
            picture(3, 224, 224), "What does it say?", constraint=constraint, policy="off", max_tokens=budget
        )
        assert constraint.json_schema is not None
        jsonschema.validate(answer.data, constraint.json_schema)
        assert answer.data == json.loads(answer.text) and answer.to_json()["data"] == answer.data
        assert len(answer.ids) <= budget and answer.finish_reason in (reason, "stop")
    with pytest.raises(UsageError, match="raise --max-tokens"):
        mini.ask(picture(3), "What does it say?", constraint=constraint, max_tokens=5)


def test_the_embedded_model_chooses(mini: VLM) -> None:
    constraint = Constraint.choice(["red", "green"])
    answer = mini.ask(picture(3), "Which colour?", constraint=constraint, policy="off")
    assert answer.text in ("red", "green") and answer.finish_reason == "stop" and answer.data is None
    assert "data" not in answer.to_json()


@pytest.mark.parametrize(
    ("constraint", "whole", "not_whole"),
    [
        (Constraint.choice(["yes", "yesterday"]), "yes", "yest"),
        (Constraint.regex("[0-9]{2}"), "12", "123"),
        (Constraint.grammar('start: "a" "é"'), "aé", "a"),
        (Constraint.schema({"type": "object", "properties": {"a": {"type": "integer"}}}), '{"a":null}', "{}"),
    ],
)
def test_a_text_made_elsewhere(constraint: Constraint, whole: str, not_whole: str) -> None:
    assert constraint.accepts(whole) and not constraint.accepts(not_whole) and not constraint.accepts("")
    assert constraint.accepts(whole)  # and it is not used up
