"""Uploads to pictures: images, and the pages of documents that were named or found."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import ScriptedEngine
from uploaded import IMAGES, noise, pdf, upload

from demos.pictures import (
    MOST_PICTURES,
    THUMB_SIDE,
    Picture,
    many_paged,
    page_thumbs,
    pages_of,
    picture,
    pictures_of,
)
from vlm.errors import ImageError, UsageError


@pytest.fixture
def engine(tmp_path: Path) -> ScriptedEngine:
    return ScriptedEngine(tmp_path / "scripted")


def test_an_image_is_one_picture_with_a_small_thumbnail(tmp_path: Path, engine: ScriptedEngine) -> None:
    path = upload(tmp_path, IMAGES / "receipt.png")
    [one] = pictures_of(engine.vlm(), [path], "", "What?", lambda status: None)
    assert (one.name, one.path, one.page) == ("receipt.png", path, 1)
    assert one.open().size == (416, 640)
    assert one.thumb.startswith("data:image/webp;base64,") and len(one.thumb) < 20_000


def test_named_pages_of_a_pdf_are_taken(tmp_path: Path, engine: ScriptedEngine) -> None:
    path = pdf(tmp_path, "one", "two", "three")
    chosen = pictures_of(engine.vlm(), [path], "1,3", "What?", lambda status: None)
    assert [(one.name, one.page) for one in chosen] == [("letter.pdf, page 1", 1), ("letter.pdf, page 3", 3)]
    assert many_paged([path, noise(tmp_path, 1)]) == [path]


def test_without_a_name_the_page_that_matters_is_looked_for(tmp_path: Path, engine: ScriptedEngine) -> None:
    pages = [
        "The harbour was built in 1931 by the town.",
        "Rye bread costs six francs here.",
        "Nothing else.",
    ]
    told: list[str] = []
    path = pdf(tmp_path, *pages)
    [found] = pictures_of(engine.vlm(), [path], " ", "What does the rye bread cost?", told.append)
    assert found.page == 2 and told[0] == "Looking for the page among 3 …"


def test_too_many_pages_are_told(tmp_path: Path, engine: ScriptedEngine) -> None:
    path = pdf(tmp_path, *["page"] * (MOST_PICTURES + 1))
    with pytest.raises(UsageError, match=f"takes {MOST_PICTURES} images or pages"):
        pictures_of(engine.vlm(), [path], "1-", "What?", lambda status: None)


def test_a_missing_page_and_a_wrong_range_are_told(tmp_path: Path, engine: ScriptedEngine) -> None:
    path = pdf(tmp_path, "one", "two")
    for pages, message in (("7", "no page 7"), ("x", "pages are given as in 1-3,7")):
        with pytest.raises(UsageError, match=message):
            pictures_of(engine.vlm(), [path], pages, "What?", lambda status: None)


def test_messages_name_the_file_and_not_its_place(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"TOTAL 24.85")
    path = upload(tmp_path / "up", broken)
    with pytest.raises(ImageError) as refused:
        picture(path, 1, "broken.png")
    assert str(refused.value).startswith("broken.png: ") and str(tmp_path) not in str(refused.value)
    assert all(page.file == "broken.png" for page in pages_of(path))


def test_a_file_that_is_gone_says_what_to_do(tmp_path: Path) -> None:
    for path in ("", str(tmp_path / "gone.png")):
        with pytest.raises(ImageError, match=r"receipt\.png: is not held here any more; attach it again"):
            Picture("receipt.png", path).open()


def test_thumbnails_come_a_sheet_at_a_time(tmp_path: Path) -> None:
    path = pdf(tmp_path, *[f"page {number}" for number in range(1, 6)])
    sheet = page_thumbs(path, 3, 2)
    assert [number for _, number in sheet] == ["3", "4"]
    assert all(max(image.size) <= THUMB_SIDE for image, _ in sheet)
