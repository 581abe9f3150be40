"""The page in a real browser: upload, ask, watch the answer and the windows appear.

Run with ``pytest -m browser``; needs the dev extra and Debian's ``chromium``.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fakes import page_served

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SAYS = "NO PARKING, 8 am to 6 pm. It is written in blue letters on a white sign with a blue border."
IMAGES = Path(__file__).resolve().parents[2] / "demos" / "images"
PATIENCE = 60_000  # milliseconds; a busy machine is slow, not broken


@dataclass
class Watched:
    """A page and what it complained of."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def upload(self, path: Path) -> None:
        # Under a name of its own: the examples show files of the same folder.
        mine = {"name": f"mine-{path.name}", "mimeType": "image/png", "buffer": path.read_bytes()}
        self.page.locator("input[type=file]").first.set_input_files(mine)
        self.page.locator(f"img[src*='mine-{path.stem}']").first.wait_for(state="attached")

    def ask(self) -> None:
        self.page.get_by_role("button", name="Ask", exact=True).click()

    @property
    def answer(self) -> str:
        return str(self.page.locator("#answer textarea").input_value())

    def wait_for(self, expression: str) -> None:
        self.page.wait_for_function(expression, timeout=PATIENCE)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    pytest.importorskip("gradio", reason="pip install 'vlm[ui]'")
    if not Path(CHROMIUM).is_file():
        pytest.skip("no chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield running
        running.close()


@pytest.fixture(scope="module")
def url(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with page_served(tmp_path_factory.mktemp("scripted"), says=SAYS, pause=0.1) as url:
        yield url


@pytest.fixture
def opened(browser: Any, url: str) -> Iterator[Watched]:
    page = browser.new_page(viewport={"width": 1280, "height": 920})
    page.set_default_timeout(PATIENCE)
    watched = Watched(page)
    page.on("console", lambda m: watched.complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    own = (url, "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(own) else watched.outside.append(r.url))
    page.goto(url)
    page.get_by_role("button", name="Ask", exact=True).wait_for()
    yield watched
    page.close()


def test_an_uploaded_image_is_answered_beside_its_windows(opened: Watched) -> None:
    page = opened.page
    opened.upload(IMAGES / "scan.png")
    opened.ask()
    opened.wait_for("document.querySelector('#answer textarea').value.length > 3")
    assert len(opened.answer) < len(SAYS)  # it grows before one's eyes
    assert page.locator("#windows img").get_attribute("src")  # the windows are there before the answer
    opened.wait_for(f"document.querySelector('#answer textarea').value === {SAYS!r}")
    page.get_by_text(re.compile(r"9 windows and 1 blank · .* tokens out")).wait_for()
    width = page.locator("#windows img").evaluate("image => image.decode().then(() => image.naturalWidth)")
    assert width == 1400
    assert page.get_by_role("button", name="Ask", exact=True).is_enabled()
    if shot := os.environ.get("VLM_SCREENSHOT"):
        page.screenshot(path=shot)
    assert (opened.complaints, opened.outside) == ([], [])


def test_an_example_is_one_click_away(opened: Watched) -> None:
    opened.page.locator("#examples button").first.click()
    opened.page.locator("img[src*='notice.png']").nth(1).wait_for()
    opened.ask()
    opened.page.get_by_text(re.compile(r"^\d windows? .* tokens out")).wait_for()
    assert opened.answer == SAYS and opened.complaints == []


def test_stop_stops(opened: Watched) -> None:
    opened.upload(IMAGES / "shapes.png")
    opened.ask()
    opened.wait_for("document.querySelector('#answer textarea').value.length > 3")
    opened.page.get_by_role("button", name="Stop", exact=True).click()
    opened.page.get_by_text("Stopped.", exact=True).wait_for()
    held = opened.answer
    opened.page.wait_for_timeout(1000)
    assert opened.answer == held and 0 < len(held) < len(SAYS)
    assert opened.page.get_by_role("button", name="Ask", exact=True).is_enabled()


def test_asking_without_an_image_says_what_to_do(opened: Watched) -> None:
    opened.ask()
    opened.page.get_by_text("no image: drop one on the left").wait_for()
    button = opened.page.get_by_role("button", name="Ask", exact=True)
    button.and_(opened.page.locator(":enabled")).wait_for()  # and one can ask again


def test_a_file_that_is_no_image_is_named_without_its_place(opened: Watched, tmp_path: Path) -> None:
    path = tmp_path / "total.png"
    path.write_text("TOTAL 24.85")
    opened.upload(path)
    opened.ask()
    message = opened.page.get_by_text(re.compile("is not an image that can be read here"))
    message.wait_for()
    assert "/tmp" not in message.inner_text() and "mine-total.png" in message.inner_text()
