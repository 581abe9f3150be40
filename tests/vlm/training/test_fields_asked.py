"""What is asked as JSON is answered as the constraint would let it through, and truly."""

from __future__ import annotations

import json
import random

import pytest
from PIL import Image

from vlm.constrain import Constraint
from vlm.reading.extract import ask_for
from vlm.training.fields_asked import ASKED, fields_question
from vlm.training.page import Fact, Glyph, Page, Question
from vlm.training.questions import talk_about

LINES = ("Corner Shop", "Total EUR 3,10", 'the "best"')
SHOP = Fact("shop", "Corner Shop", at=tuple(range(11)))
TOTAL = Fact("total", "EUR 3,10", at=tuple(range(17, 25)))
QUOTED = Fact("note", 'the "best"', at=tuple(range(25, 35)))
PAGE = Page(
    Image.new("RGB", (8, 8)),
    LINES,
    tuple(Glyph(c, 8.0 * x, 20.0 * y) for y, line in enumerate(LINES) for x, c in enumerate(line)),
    (SHOP, TOTAL, QUOTED),
)


def _asked(seed: int, facts: tuple[Fact, ...] = (SHOP, TOTAL, QUOTED)) -> Question | None:
    return fields_question(PAGE, facts, ["due_date"], random.Random(seed), 180)


def test_the_first_wording_is_that_of_the_command() -> None:
    assert ASKED[0].format("a, b") == ask_for(["a", "b"])


def test_every_answer_is_compact_json_that_a_schema_of_its_names_lets_through() -> None:
    values: set[str] = set()
    for seed in range(60):
        question = _asked(seed)
        assert question is not None
        told = json.loads(question.answer)
        kinds = {name: {"type": ["string", "number", "null"]} for name in told}
        schema = {"type": "object", "properties": kinds, "required": [*told], "additionalProperties": False}
        assert Constraint.schema(schema).accepts(question.answer)
        assert ", ".join(told) in question.text
        values |= {str(value) for value in told.values()}
    assert values == {"Corner Shop", "EUR 3,10", "3.1", "None"}  # and never what JSON must escape


def test_each_character_of_a_value_points_to_its_glyph_and_the_rest_to_none() -> None:
    for seed in range(60):
        question = _asked(seed)
        assert question is not None
        read = "".join(glyph.char for glyph in question.sources if glyph is not None)
        assert sorted(read) in (sorted("Corner ShopEUR 3,10"), sorted("Corner Shop3,10"))
        for char, glyph in zip(question.answer, question.sources, strict=True):
            assert glyph is None or glyph.char == char or (glyph.char, char) == (",", ".")


@pytest.mark.parametrize("told", ["1,234.50", "007", "3.1.2", "abc"])
def test_what_is_no_plain_amount_stays_in_quotes(told: str) -> None:
    odd = Fact("total", told)
    for seed in range(30):
        question = _asked(seed, (SHOP, odd))
        assert question is not None
        assert f':"{told}"' in question.answer


def test_one_field_alone_is_asked_in_words() -> None:
    assert _asked(1, (SHOP,)) is None
    assert _asked(1, (SHOP, QUOTED)) is None


def test_conversations_come_to_it_and_then_it_stands_alone() -> None:
    rng = random.Random(1)
    talks = [talk_about(PAGE, rng, ("zebra",), turns=3) for _ in range(300)]
    asked = [talk for talk in talks if any(question.answer.startswith("{") for question in talk)]
    assert 15 < len(asked) < 100
    assert all(len(talk) == 1 for talk in asked)
