"""``vlm ui`` over mini in a real browser: evidence, policies side by side, documents; and pictures of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import IMAGES, PHONE, Opened, opened, running_browser, vlm_ui
from uploaded import pdf

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module")
def url(browser: Any) -> Iterator[str]:
    with vlm_ui() as url:
        yield url


@pytest.fixture
def app(browser: Any, url: str) -> Iterator[Opened]:
    with opened(browser, url) as page:
        yield page


def test_an_answer_is_beside_its_evidence(app: Opened) -> None:
    app.attach(IMAGES / "sign.png")
    app.type("What does it say?")
    app.send()
    app.answered()
    assert app.answers[0].startswith("NO PARKING")
    app.shown("evidence")
    app.page.locator("#stages", has_text="image tokens").wait_for()
    app.shoot("chat")
    app.clean()


def test_the_policies_answer_side_by_side(app: Opened) -> None:
    app.tab("Compare")
    app.page.locator("#compare-examples button", has_text="Tall strip").click()
    app.page.locator("#compared img").wait_for()
    app.page.locator("#compare-question textarea").fill("What does it say?")
    app.page.get_by_role("button", name="Compare", exact=True).click()
    for policy in ("off", "gemma3", "adaptive"):
        app.shown(f"evidence-{policy}")
    rows = app.page.locator("#summary tbody tr").all_inner_texts()
    windows = [int(re.findall(r"(\d+) window", row)[0]) for row in rows]
    assert windows == sorted(set(windows))
    assert all("%" in row for row in rows)
    app.shoot("compare")
    app.shoot("compare-whole", whole=True)
    app.clean()


def test_the_question_of_the_chat_can_be_compared(app: Opened) -> None:
    app.page.get_by_role("button", name=re.compile("Notice")).first.click()
    app.answered()
    app.page.get_by_role("button", name="Compare policies on this").click()
    app.shown("evidence-adaptive")
    assert app.page.locator("#summary tbody tr").count() == 3
    app.clean()


def test_a_document_is_read_beside_its_page_and_can_be_taken_away(app: Opened, tmp_path: Path) -> None:
    app.tab("Documents")
    app.page.locator("#documents input[type=file]").first.set_input_files(IMAGES / "receipt.png")
    app.page.locator("#documents .file-preview", has_text="receipt").wait_for()  # uploaded
    app.page.locator("#read").click()
    app.page.locator("#document-text", has_text="24.85").wait_for()  # the total
    app.shown("page-image")
    app.page.locator("#download-pdf").wait_for()
    for form, begins in (
        ("md", b"COR"),  # NER SHOP, where mini reads it all
        ("json", b'{"pages"'),
        ("html", b"<!doctype"),
        ("pdf", b"%PDF-"),
    ):
        with app.page.expect_download() as taken:
            app.page.locator(f"#download-{form}").click()
        path = tmp_path / taken.value.suggested_filename
        taken.value.save_as(path)
        assert path.name == f"receipt.{form}" and path.read_bytes().startswith(begins)
    app.shoot("documents")
    app.clean()


def test_pages_of_a_pdf_come_one_by_one_and_fields_by_a_schema(app: Opened, tmp_path: Path) -> None:
    letter = pdf(tmp_path, "The harbour was built in 1931.", "Rye bread costs six francs.")
    app.tab("Documents")
    app.page.locator("#documents input[type=file]").first.set_input_files(letter)
    app.page.locator("#documents .file-preview", has_text="letter").wait_for()
    app.page.locator("#read").click()
    app.page.locator("#document-text", has_text="harbour").wait_for()
    app.page.get_by_text(re.compile("^2 pages in ")).wait_for()
    app.page.locator("#page input[type=number]").fill("2")
    app.page.locator("#page input[type=number]").press("Enter")
    app.page.locator("#document-text", has_text="francs").wait_for()
    app.page.get_by_label("Fields by a schema").check()
    schema = {"type": "object", "properties": {"year": {"type": "integer"}}}
    app.page.locator("#schema textarea").fill(json.dumps(schema))
    app.page.locator("#read").click()
    app.page.locator("#document-table th", has_text="year").wait_for()
    app.page.wait_for_function("!document.querySelector('#read').disabled")  # the reading has ended
    app.page.get_by_label("Answer to a question").check()
    app.page.locator("#document-question textarea").fill("What does rye bread cost?")
    app.page.locator("#read").click()
    app.page.locator("#document-table", has_text="Where it was looked for").wait_for()
    app.page.get_by_text(re.compile("Found on letter.pdf, page 2")).wait_for()
    app.clean()


def test_two_people_are_answered_at_the_same_time(browser: Any, url: str) -> None:
    with opened(browser, url) as first, opened(browser, url) as second:
        for page, image in ((first, "sign.png"), (second, "notice.png")):
            page.attach(IMAGES / image)
            page.type("What does it say?")
        first.send()
        second.send()
        first.answered()
        second.answered()
        assert first.answers[0].startswith("NO PARKING") and second.answers[0].startswith("Fresh bread")


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_pictures_of_a_phone(browser: Any, url: str, scheme: str) -> None:
    with opened(browser, url, PHONE, scheme) as phone:
        phone.page.get_by_role("button", name=re.compile("Notice")).first.click()
        phone.answered()
        phone.shown("evidence")
        phone.shoot(f"phone-{scheme}", whole=True)
        phone.clean()
