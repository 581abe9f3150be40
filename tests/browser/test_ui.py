"""The chat in a real browser, over a model that says what it is told, slowly.

Run with ``pytest -m browser``; needs the dev extra and Debian's ``chromium``.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import IMAGES, PATIENCE, PHONE, Opened, opened, running_browser
from fakes import page_served
from uploaded import pdf

pytestmark = pytest.mark.browser

SAYS = "NO PARKING, 8 am to 6 pm. It is written in blue letters on a white sign with a blue border."


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module")
def url(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with page_served(tmp_path_factory.mktemp("scripted"), says=SAYS, pause=0.1) as url:
        yield url


@pytest.fixture
def chat(browser: Any, url: str) -> Iterator[Opened]:
    with opened(browser, url) as page:
        yield page


def test_an_uploaded_image_is_answered_beside_its_windows(chat: Opened) -> None:
    chat.attach(IMAGES / "scan.png")
    chat.type("What is the title?")
    chat.send()
    chat.page.locator("#chat .bot .message-content").wait_for()
    assert SAYS.startswith(chat.answers[0].strip()) and len(chat.answers[0]) < len(SAYS)  # it grows
    chat.answered()
    assert chat.answers == [SAYS]
    chat.page.locator("#stages", has_text="9 windows + 1 blank").wait_for()
    assert chat.shown("evidence")
    chat.tab("Windows")
    assert chat.shown("windows") and chat.page.locator("#crops img").count() == 9
    chat.clean()


PASTE = "box.dispatchEvent(new ClipboardEvent('paste', { clipboardData: moved, bubbles: true }));"
DROP = """for (const kind of ['dragenter', 'dragover', 'drop'])
  box.dispatchEvent(new DragEvent(kind, { dataTransfer: moved, bubbles: true, cancelable: true }));"""


@pytest.mark.parametrize("handed", [PASTE, DROP], ids=["pasted", "dropped"])
def test_a_picture_can_be_pasted_or_dropped(chat: Opened, handed: str) -> None:
    data = base64.b64encode((IMAGES / "notice.png").read_bytes()).decode()
    chat.page.locator("#question textarea").focus()
    chat.page.evaluate(
        f"""async (data) => {{
          const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
          const moved = new DataTransfer();
          moved.items.add(new File([bytes], 'handed.png', {{ type: 'image/png' }}));
          const box = document.querySelector('#question textarea');
          {handed}
        }}""",
        data,
    )
    chat.page.locator("#question .thumbnail-item img").wait_for()
    chat.type("What does it say?")
    chat.send()
    chat.answered()
    assert chat.page.locator("#chat .user img").count() == 1
    chat.clean()


def test_the_box_is_empty_after_every_question(chat: Opened) -> None:
    chat.attach(IMAGES / "notice.png")
    for count in (1, 2):
        chat.type(f"Question {count}?")
        chat.send()
        chat.answered(count)
        chat.page.wait_for_function("document.querySelector('#question textarea').value === ''")
        assert chat.page.locator("#question .thumbnail-item").count() == 0
    chat.clean()


def test_a_picture_can_be_taken(chat: Opened) -> None:
    page = chat.page
    page.get_by_role("button", name="Camera").click()
    page.locator("#camera").get_by_text("Webcam").click()
    page.wait_for_function("document.querySelector('#camera video')?.videoWidth > 0")  # it shows something
    page.get_by_role("button", name="capture photo").click()
    page.locator("#question .thumbnail-item img").wait_for()
    page.locator("#camera").get_by_text("Webcam").wait_for()  # ready for the next one
    chat.type("What is this?")
    chat.send()
    chat.answered()
    assert chat.answers == [SAYS] and page.locator("#chat .user img").count() == 1
    chat.clean()


def test_another_model_can_be_chosen(chat: Opened) -> None:
    chat.page.get_by_role("button", name="Settings").click()
    chat.page.locator("#model input").click()
    chat.page.get_by_role("option", name="other").click()
    chat.page.locator("#head", has_text="Model: other").wait_for()
    chat.page.get_by_role("button", name=re.compile("Receipt")).first.click()
    chat.answered()
    assert chat.answers == [f"other: {SAYS}"]
    chat.clean()


def test_an_example_is_one_click_away(chat: Opened) -> None:
    chat.page.get_by_role("button", name=re.compile("Receipt")).first.click()
    chat.answered()
    assert chat.answers == [SAYS]
    assert "What is the total?" in chat.page.locator("#chat .user").last.inner_text()
    chat.clean()


def test_stop_stops_and_keeps_what_was_said(chat: Opened) -> None:
    chat.attach(IMAGES / "shapes.png")
    chat.type("What is this?")
    chat.send()
    chat.page.locator("#chat .bot .message-content", has_text="NO").wait_for()
    chat.page.get_by_role("button", name="Stop", exact=True).first.click()
    chat.page.get_by_text("Stopped.", exact=True).wait_for()
    held = chat.answers
    chat.page.wait_for_timeout(1500)
    assert chat.answers == held and 0 < len(held[0].strip()) < len(SAYS)
    assert chat.page.get_by_role("button", name="Submit").is_enabled()
    chat.clean()


def test_retry_edit_and_undo(chat: Opened) -> None:
    page = chat.page
    chat.attach(IMAGES / "notice.png")
    chat.type("What does it say?")
    chat.send()
    chat.answered()
    page.get_by_role("button", name="Retry").click()
    page.get_by_role("button", name="Stop", exact=True).first.wait_for()
    chat.answered()
    assert chat.answers == [SAYS] and page.locator("#chat .user img").count() == 1
    page.get_by_role("button", name="Edit").click()
    page.locator("#chat textarea").fill("What is written here?")
    page.get_by_role("button", name="Submit").first.click()
    page.locator("#chat .user", has_text="What is written here?").wait_for()
    page.get_by_role("button", name="Stop", exact=True).first.wait_for()
    chat.answered()
    assert chat.answers == [SAYS]
    page.get_by_role("button", name="Undo").click()
    page.wait_for_function("document.querySelectorAll('#chat .bot').length === 0")
    assert page.locator("#question textarea").input_value() == "What is written here?"
    chat.clean()


def test_a_refresh_keeps_the_history_and_the_talk_goes_on(chat: Opened) -> None:
    page = chat.page
    chat.attach(IMAGES / "notice.png")
    chat.type("What does it say?")
    chat.send()
    chat.answered()
    page.wait_for_function("(localStorage.getItem('vlm-history') || '').length > 500")
    page.reload()
    page.locator("#chat .bot .message-content").wait_for()
    assert chat.answers == [SAYS] and page.locator("#chat .user img").count() == 1
    chat.type("Are you sure?")
    chat.send()
    chat.answered(2)
    assert chat.answers == [SAYS, SAYS]
    page.get_by_role("button", name=re.compile("Earlier conversations")).click()
    page.locator("#kept label", has_text="What does it say?").wait_for()
    page.get_by_role("button", name="Delete this one").click()
    page.wait_for_function("document.querySelectorAll('#kept label').length === 0")
    page.reload()
    page.get_by_role("button", name=re.compile("Receipt")).first.wait_for()
    assert chat.answers == []
    chat.clean()


def test_two_tabs_add_to_one_history(chat: Opened) -> None:
    other = Opened(chat.page.context.new_page())  # the same browser's storage
    other.page.set_default_timeout(PATIENCE)
    other.page.goto(chat.page.url)
    questions = ("Is parking allowed?", "Which colour is it?")
    for tab, question in zip((chat, other), questions, strict=True):
        tab.attach(IMAGES / "notice.png")
        tab.type(question)
        tab.send()
        tab.answered()
        tab.page.wait_for_function(f"(localStorage.getItem('vlm-history') || '').includes({question!r})")
    chat.type("Are you sure?")  # the first tab has not been told of the other's conversation
    chat.send()
    chat.answered(2)
    chat.page.wait_for_function("localStorage.getItem('vlm-history').includes('Are you sure?')")
    chat.page.get_by_role("button", name=re.compile("Earlier conversations")).click()
    for question in questions:
        chat.page.locator("#kept label", has_text=question).wait_for()
    chat.page.locator("#kept label", has_text=questions[1]).click()
    chat.page.locator("#chat .user", has_text=questions[1]).wait_for()
    chat.clean()


def test_a_document_s_pages_can_be_chosen(chat: Opened, tmp_path: Path) -> None:
    page = chat.page
    chat.attach(Path(pdf(tmp_path, *(f"This is page {number}." for number in range(1, 16)))))
    page.locator("#page-picker img").first.wait_for()
    assert page.locator("#page-picker img").count() == 12  # the others when they are asked for
    page.locator("#page-picker .thumbnail-item").nth(2).click()
    page.wait_for_function(
        "[...document.querySelectorAll('#page-picker textarea')].some(t => t.value === '3')"
    )
    chat.type("Which page is this?")
    chat.send()
    chat.answered()
    assert page.locator("#chat .user img").count() == 1
    chat.clean()


def test_asking_without_an_image_says_what_to_do(chat: Opened) -> None:
    chat.type("What does it say?")
    chat.send()
    chat.page.get_by_text("no image: drop or paste one").wait_for()
    assert chat.page.locator("#question textarea").input_value() == "What does it say?"
    chat.page.get_by_role("button", name="Submit").wait_for()


def test_a_file_that_is_no_image_is_named_without_its_place(chat: Opened, tmp_path: Path) -> None:
    path = tmp_path / "total.png"
    path.write_text("TOTAL 24.85")
    chat.attach(path)
    chat.type("What is the total?")
    chat.send()
    message = chat.page.get_by_text(re.compile("is not an image that can be read here"))
    message.wait_for()
    assert "/tmp" not in message.inner_text() and "total.png" in message.inner_text()
    assert chat.page.locator("#question textarea").input_value() == "What is the total?"


def test_two_people_see_only_their_own(browser: Any, url: str) -> None:
    with opened(browser, url) as first, opened(browser, url) as second:
        for page, image in ((first, "receipt.png"), (second, "notice.png")):
            page.attach(IMAGES / image)
            page.type(f"What is on {image}?")
            page.send()
        first.answered()
        second.answered()
        for page, own, other in ((first, "receipt", "notice"), (second, "notice", "receipt")):
            asked = " ".join(page.page.locator("#chat .user").all_inner_texts())
            assert own in asked and other not in asked
            assert page.page.locator("#chat .user img").count() == 1
        first_image, second_image = (
            page.page.locator("#chat .user img").get_attribute("src") for page in (first, second)
        )
        assert first_image != second_image
        first.clean()
        second.clean()


def test_a_phone_shows_one_column(browser: Any, url: str) -> None:
    with opened(browser, url, PHONE) as phone:
        phone.page.get_by_role("button", name=re.compile("Receipt")).first.click()
        phone.answered()
        chat_box, saw = (phone.page.locator(f"#{id}").bounding_box() for id in ("chat", "evidence"))
        assert chat_box["width"] > 340 and saw["y"] > chat_box["y"] + chat_box["height"]
        for name in ("Compare", "Documents", "Chat"):
            phone.tab(name)
            phone.page.wait_for_timeout(500)
            phone.clean()


def test_everything_can_be_reached_and_named_without_eyes(chat: Opened) -> None:
    for name in ("Compare", "Documents", "Chat"):
        chat.tab(name)
        chat.page.wait_for_timeout(500)
        nameless = chat.page.evaluate(_NAMELESS)
        assert nameless == []
    chat.page.locator("#question textarea").focus()
    chat.page.keyboard.type("By keyboard alone")
    chat.page.keyboard.press("Enter")
    chat.page.get_by_text("no image: drop or paste one").wait_for()


_NAMELESS = """
[...document.querySelectorAll('button, input, textarea, [role=button], [role=slider], img')]
  .filter((e) => e.checkVisibility())
  .filter((e) => e.tagName === 'IMG' ? !e.hasAttribute('alt') : !(
    e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.title || e.textContent.trim()
    || [...(e.labels || [])].some((l) => l.textContent.trim())))
  .map((e) => e.outerHTML.slice(0, 160))
"""
