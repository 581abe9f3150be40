"""What Typst set is what the draft put, and every glyph stands where its ink is."""

from __future__ import annotations

import random

import numpy as np
import pytest

pytest.importorskip("fontTools")
pytest.importorskip("typst")
pytest.importorskip("pypdfium2")

from vlm.training.draft import Draft, quoted
from vlm.training.page import Glyph
from vlm.training.typeset import Sheet, Typesetter, _lines

SHEET = Sheet(width=240, height=None, em=16.0, ground=(255, 255, 255), ink=(0, 0, 0), margin=8.0)


@pytest.fixture(scope="module")
def typesetter() -> Typesetter:
    try:
        return Typesetter("heldout", random.Random(1))
    except FileNotFoundError:
        pytest.skip("the fonts of `make fonts` are not installed")


def bill(draft: Draft) -> str:
    item, price = draft.put('Tea #1 "hot" \\'), draft.tell("price", "3.10", "Tea")
    return f"#grid(columns: (1fr, auto), [{item}], [{price}])\n{draft.tell('total', 'EUR 3.10')}"


def test_lines_facts_and_glyphs_of_a_page(typesetter: Typesetter) -> None:
    page = typesetter.page(bill, SHEET)
    assert page is not None
    assert page.lines == ('Tea #1 "hot" \\ 3.10', "EUR 3.10")
    assert "".join(glyph.char for glyph in page.glyphs) == "".join(page.lines)
    assert [(fact.key, fact.subject, fact.answer) for fact in page.facts] == [
        ("price", "Tea", "3.10"),
        ("total", "", "EUR 3.10"),
    ]
    for fact in page.facts:
        spelled = "".join(" " if index is None else page.glyphs[index].char for index in fact.at)
        assert spelled == fact.answer
    grey = np.asarray(page.image.convert("L"))
    for glyph in page.glyphs:
        if glyph.char.isalnum():
            x, y = int(glyph.x), int(glyph.y)
            assert grey[y - 6 : y + 7, x - 5 : x + 6].min() < 128, glyph


def test_a_block_set_in_another_order_is_thrown_away(typesetter: Typesetter) -> None:
    def shuffled(draft: Draft) -> str:
        later, sooner = draft.put("later"), draft.put("sooner")
        return f"{sooner}\n\n{later}"

    assert typesetter.page(shuffled, SHEET) is None


def test_facts_that_fell_off_the_page_are_not_told(typesetter: Typesetter) -> None:
    def long(draft: Draft) -> str:
        return "\n\n".join(draft.tell("cell", f"row {row}", str(row)) for row in range(30))

    page = typesetter.page(long, Sheet(240, 120, 16.0, (255, 255, 255), (0, 0, 0), 8.0))
    assert page is not None
    assert 2 <= len(page.facts) == len(page.lines) < 10


def test_a_broken_template_names_itself(typesetter: Typesetter) -> None:
    def broken(draft: Draft) -> str:
        return "#nosuchfunction()"

    with pytest.raises(ValueError, match="broken"):
        typesetter.page(broken, SHEET)


def test_white_space_of_a_line_is_one_space_between_its_neighbours() -> None:
    chars = [Glyph(c, float(x), 0.0) for x, c in enumerate(" a  b \r\n\r\nc")]
    lines = _lines(chars)
    assert ["".join(glyph.char for glyph in line) for line in lines] == ["a b", "c"]
    assert lines[0][1].x == 2.5


def test_quotes_and_backslashes_are_escaped() -> None:
    assert quoted('a"b\\') == '"a\\"b\\\\"'
