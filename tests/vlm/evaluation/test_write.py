"""Folders the generator writes: readable, true, the same for a seed, whole or not there."""

from __future__ import annotations

import hashlib
import json
import random
from itertools import islice
from pathlib import Path

import pytest

pytest.importorskip("fontTools")
pytest.importorskip("typst")
pytest.importorskip("jiwer")

from PIL import Image

from vlm.errors import UsageError
from vlm.evaluation import write
from vlm.evaluation.folder import read_folder
from vlm.evaluation.kinds import KINDS, LONGEST_SCAN, pages
from vlm.evaluation.write import Made, write_folder
from vlm.training.fonts import find_fonts
from vlm.training.page import Fact, Glyph, Page
from vlm.training.templates import templates_of


@pytest.fixture(scope="module", autouse=True)
def fonts() -> None:
    try:
        find_fonts("heldout")
    except FileNotFoundError:
        pytest.skip("the fonts of `make fonts` are not installed")


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def test_every_kind_has_templates_of_its_own_in_the_held_out_split() -> None:
    known = {template.__name__ for split in ("heldout", "validation") for _, template in templates_of(split)}
    heldout = {template.__name__ for _, template in templates_of("heldout")}
    for kind in KINDS.values():
        assert set(kind.templates) <= known
        assert not kind.templates or set(kind.templates) & heldout


def test_a_folder_holds_what_it_says(tmp_path: Path) -> None:
    kinds = ("receipts", "charts", "wide", "lines")
    told: list[int] = []
    written = write_folder(tmp_path / "set", Made(kinds, count=2, seed=5), lambda: told.append(1))
    items = list(read_folder(tmp_path / "set"))
    assert len(items) == written and len(told) == 8
    assert len({item.image for item in items}) == 8 and {item.kind for item in items} == set(kinds)
    for item in items:
        image = item.open()
        for left, top, right, bottom in item.boxes:
            assert 0 <= left < right <= image.width and 0 <= top < bottom <= image.height
        if item.kind == "lines":
            assert item.text and not item.question
        else:
            assert item.question and item.answers
        if item.boxes:  # what stands somewhere stands in the text
            said = item.text.replace("\n", " ")
            assert item.answers[0] in said
        if item.kind == "wide":
            assert image.width >= 3 * image.height
    entry = json.loads((tmp_path / "set" / "questions.jsonl").read_text().splitlines()[0])
    assert entry["data_split"] == "heldout" and entry["docId"] == 1 and entry["questionId"] == 1
    assert entry["image"].startswith("documents/") and entry["ucsf_document_page_no"] == "1"


def test_the_same_seed_is_the_same_folder(tmp_path: Path) -> None:
    made = Made(("cards", "signs"), count=2, seed=3)
    write_folder(tmp_path / "a", made)
    write_folder(tmp_path / "b", made)
    write_folder(tmp_path / "other", Made(("cards", "signs"), count=2, seed=4))
    write_folder(tmp_path / "signs", Made(("signs",), count=1, seed=3))
    assert digests(tmp_path / "a") == digests(tmp_path / "b") != digests(tmp_path / "other")
    alone = digests(tmp_path / "signs")["documents/signs-0001.png"]
    assert alone == digests(tmp_path / "a")["documents/signs-0001.png"]  # whatever else is written


def test_a_phone_shows_the_same_documents(tmp_path: Path) -> None:
    for wear in ("none", "phone"):
        write_folder(tmp_path / wear, Made(("cards",), count=3, seed=3, wear=wear))
    clean, worn = (list(read_folder(tmp_path / wear)) for wear in ("none", "phone"))
    assert [(i.question, i.answers, i.text) for i in clean] == [(i.question, i.answers, i.text) for i in worn]
    assert [i.boxes for i in clean] != [i.boxes for i in worn]
    with Image.open(worn[0].image) as image:
        assert image.format == "JPEG"


@pytest.mark.slow
def test_scans_are_large_and_full(tmp_path: Path) -> None:
    (scan,) = islice(pages("scans", "heldout", 1), 1)
    assert scan.image.height == LONGEST_SCAN and len(scan.lines) >= KINDS["scans"].fewest


def test_what_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown kind poems: kinds are receipts"):
        Made(("poems",))
    with pytest.raises(UsageError, match="training's own pages"):
        Made(split="train")
    with pytest.raises(UsageError, match="1 or more"):
        Made(count=0)
    with pytest.raises(UsageError, match="no such folder to write in"):
        write_folder(tmp_path / "missing" / "set", Made(("cards",), 1))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        write_folder(tmp_path / "set", Made(("cards",), 1))
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["mine.txt"]


def test_a_folder_is_complete_or_absent(tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "set", Made(("cards",), 2), stop)
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write_folder(tmp_path / "set", Made(("cards",), 1))
    assert (tmp_path / "set" / "questions.jsonl").is_file()


def page(*facts: Fact, text: str = "Total 3.50") -> Page:
    glyphs = tuple(Glyph(char, 10.0 * at, 10.0) for at, char in enumerate(text))
    return Page(Image.new("RGB", (200, 20)), (text,), glyphs, facts)


def test_fields_are_told_once_and_one_is_not_there() -> None:
    shown = page(
        Fact("total", "3.50", at=(6, 7, 8, 9)),
        Fact("date", "1.2.20", at=(0,)), Fact("date", "2.2.20", at=(0,)),
        Fact("field", "42", "Shoe size", at=(0, 1)), Fact("price", "1.00", "Tea", at=(0,)),
        Fact("item_count", "3"), Fact("expiry", "1.1.30", at=(0,)),
    )  # fmt: skip
    for seed in range(40):
        fields = write._fields(shown, random.Random(seed))
        absent = [key for key, value in fields.items() if value is None]
        told = {key: value for key, value in fields.items() if value is not None}
        assert told == {"total": "3.50", "Shoe size": "42", "expiry": "1.1.30"}
        assert len(absent) == 1 and absent[0] not in ("total", "expiry", "price", "due_date", "date")
    assert write._fields(page(), random.Random(1)) == {}


def test_a_charts_number_may_be_typed_plainly() -> None:
    assert write._answers("$1,200", "charts") == ["$1,200", "1200"]
    assert write._answers("12%", "charts") == ["12%", "12"]
    assert write._answers("Golf", "charts") == ["Golf"] and write._answers("$1,200", "receipts") == ["$1,200"]
