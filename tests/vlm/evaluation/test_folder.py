"""Folders as the published sets are downloaded, and one clear line for each that is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("jiwer")

from fakes import picture
from hypothesis import given
from hypothesis import strategies as st

from vlm.errors import UsageError
from vlm.evaluation.folder import Item, first_of_each_kind, one_per_image, read_folder

LINE = {"questionId": 7, "question": "Total?", "image": "documents/a.png", "docId": 1, "answers": ["3.50"]}


def folder(tmp_path: Path, name: str, content: object, image: str = "documents/a.png") -> Path:
    (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
    picture(1).save(tmp_path / image)
    if name.endswith(".jsonl"):
        assert isinstance(content, list)
        text = "\n".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in content)
    else:
        text = json.dumps(content)
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def only(path: Path) -> Item:
    (item,) = read_folder(path)
    return item


def test_our_own_lines_carry_everything(tmp_path: Path) -> None:
    more = {"kind": "receipts", "text": "Total 3.50", "fields": {"total": "3.50", "tax": None, "items": 2},
            "boxes": [[1, 2, 30, 40]]}  # fmt: skip
    item = only(folder(tmp_path, "questions.jsonl", [LINE | more, "", "  "]))
    assert (item.id, item.question, item.answers) == ("7", "Total?", ("3.50",))
    assert item.image == tmp_path / "documents/a.png" and item.open().size == (80, 80)
    assert (item.kind, item.measure, item.text) == ("receipts", "anls", "Total 3.50")
    assert item.fields == {"total": "3.50", "tax": None, "items": "2"} and item.boxes == ((1, 2, 30, 40),)


def test_charts_of_ours_are_scored_as_chartqa(tmp_path: Path) -> None:
    assert only(folder(tmp_path, "questions.jsonl", [LINE | {"kind": "charts"}])).measure == "relaxed"


def test_docvqa_as_published(tmp_path: Path) -> None:
    held = {"dataset_name": "SP-DocVQA", "dataset_split": "val", "data": [LINE]}
    home = folder(tmp_path / "spdocvqa_qas", "val_v1.0_withQT.json", held, "unused.png")
    folder(tmp_path, "ignored.txt", {}, "spdocvqa_images/a.png")
    item = only(home)
    assert (item.kind, item.measure) == ("sp-docvqa", "anls")
    assert item.image == tmp_path / "spdocvqa_images/a.png"


def test_infographicvqa_as_published(tmp_path: Path) -> None:
    entry = {"questionId": 1, "question": "?", "image_local_name": "a.jpeg", "answers": ["x"]}
    home = folder(tmp_path, "v.json", {"dataset_name": "infographicVQA", "data": [entry]}, "images/a.jpeg")
    assert only(home).image == tmp_path / "images/a.jpeg"


def test_textvqa_as_published(tmp_path: Path) -> None:
    entry = {"image_id": "0a", "question_id": 5, "question": "?", "answers": ["x"] * 10, "image_width": 9}
    home = folder(tmp_path, "TextVQA_0.5.1_val.json", {"data": [entry]}, "train_images/0a.jpg")
    item = only(home)
    assert (item.kind, item.measure, len(item.answers)) == ("textvqa", "textvqa", 10)
    assert item.image == tmp_path / "train_images/0a.jpg"


def test_chartqa_as_published(tmp_path: Path) -> None:
    entry = {"imgname": "1.png", "query": "How many?", "label": "14"}
    home = folder(tmp_path, "val_human.json", [entry], "png/1.png")
    item = only(home / "val_human.json")
    assert (item.question, item.answers, item.measure) == ("How many?", ("14",), "relaxed")


def test_a_test_split_keeps_its_answers_secret(tmp_path: Path) -> None:
    without = {key: value for key, value in LINE.items() if key != "answers"}
    assert only(folder(tmp_path, "questions.jsonl", [without])).answers == ()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "not valid JSON"), ("[" * 100_000, "not valid JSON"), ("3", "not an object"),
        ({**LINE, "image": 1.5}, "there is no image 1.5"), ({"question": "?"}, '"image" is missing'),
        ({**LINE, "question": ["?"]}, '"question" must be a text'),
        ({**LINE, "answers": "3.50"}, "list of texts"), ({**LINE, "answers": [3]}, "list of texts"),
        ({**LINE, "image": "../secret.png"}, "names no image inside"),
        ({**LINE, "image": "/etc/secret.png"}, "names no image inside"),
        ({**LINE, "image": "documents/b.png"}, "there is no image documents/b.png"),
        ({**LINE, "fields": []}, '"fields" must be an object'),
        ({**LINE, "fields": {"a": [1]}}, 'a value in "fields"'),
        ({**LINE, "boxes": [[1, 2, 3]]}, "[left, top, right, bottom]"),
        ({**LINE, "boxes": [[9, 2, 3, 4]]}, "[left, top, right, bottom]"),
        (json.dumps({**LINE, "boxes": [[0, 0, float("nan"), 4]]}), "[left, top, right, bottom]"),
        ({**LINE, "boxes": 5}, '"boxes" must be a list'),
    ],
)  # fmt: skip
def test_a_wrong_line_is_named(tmp_path: Path, line: object, why: str) -> None:
    path = folder(tmp_path, "questions.jsonl", [LINE, "", line])
    with pytest.raises(UsageError) as told:
        list(read_folder(path))
    said = str(told.value)
    assert said.startswith(f"{path / 'questions.jsonl'}, line 3: ") and why in said and "\n" not in said


def test_lines_are_read_when_they_are_reached(tmp_path: Path) -> None:
    items = read_folder(folder(tmp_path, "questions.jsonl", [LINE, "{"]))
    assert next(items).question == "Total?"
    with pytest.raises(UsageError, match="line 2"):
        next(items)


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        list(read_folder(tmp_path / "missing"))
    with pytest.raises(UsageError, match=r"no questions\.jsonl"):
        list(read_folder(tmp_path))
    (tmp_path / "questions.jsonl").write_text("\n")
    with pytest.raises(UsageError, match="holds no questions"):
        list(read_folder(tmp_path))
    (tmp_path / "questions.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="UTF-8"):
        list(read_folder(tmp_path))
    (tmp_path / "questions.jsonl").unlink()
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text("3")
    with pytest.raises(UsageError, match=r"2 \.json files"):
        list(read_folder(tmp_path))
    with pytest.raises(UsageError, match="no set of questions"):
        list(read_folder(tmp_path / "a.json"))
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UsageError, match=r"a \.jsonl or a \.json"):
        list(read_folder(tmp_path / "a.txt"))


@given(st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from([*LINE, "kind", "text", "fields", "boxes", "imgname", "query", "image_id"]), inner
    ),
    max_leaves=8,
))  # fmt: skip
def test_any_json_is_an_item_or_one_error(tmp_path_factory: pytest.TempPathFactory, entry: object) -> None:
    path = folder(tmp_path_factory.mktemp("set"), "questions.jsonl", [json.dumps(entry)])
    try:
        items = list(read_folder(path))
    except UsageError as error:
        assert "line 1: " in str(error)
    else:
        assert len(items) == 1


def item(kind: str, image: str) -> Item:
    return Item(id="", image=Path(image), question="?", answers=(), kind=kind, measure="anls")


def test_choosing_items() -> None:
    items = [item("a", "1"), item("a", "1"), item("b", "2"), item("a", "3"), item("b", "4")]
    assert [(i.kind, i.image.name) for i in one_per_image(items)] == [
        ("a", "1"), ("b", "2"), ("a", "3"), ("b", "4"),
    ]  # fmt: skip
    assert [i.image.name for i in first_of_each_kind(items, 1)] == ["1", "2"]
    assert list(first_of_each_kind(items, None)) == items
