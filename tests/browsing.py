"""A real browser over the app: opened pages that note every complaint and every request to elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "demos" / "images"
SHOTS = ROOT / "build" / "screenshots"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",  # a camera that shows a moving figure
]
PATIENCE = 120_000  # milliseconds; a busy machine is slow, not broken
DESK = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
_TYPES = {".png": "image/png", ".pdf": "application/pdf"}


@contextmanager
def running_browser() -> Iterator[Any]:
    """Chromium; the test is skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    pytest.importorskip("gradio", reason="pip install 'vlm[ui]'")
    if not Path(CHROMIUM).is_file():
        pytest.skip("no chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield running
        running.close()


@contextmanager
def vlm_ui() -> Iterator[str]:
    """``vlm ui`` over mini, as a person starts it; gives its address."""
    code = "import sys; from vlm.cli import main; sys.argv[1:] = ['ui', '--port', '0']; main()"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("vlm: open http://127.0.0.1:"), line
        yield line.split()[2]
    finally:
        process.terminate()
        process.wait(timeout=60)
        process.stdout.close()


@dataclass
class Opened:
    """A page and what it complained of."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    # -- the Chat tab --------------------------------------------------------------------------------

    def attach(self, path: Path) -> None:
        """Upload a file to the question's box."""
        given = {"name": path.name, "mimeType": _TYPES[path.suffix], "buffer": path.read_bytes()}
        self.page.locator("#question input[type=file]").first.set_input_files(given)
        self.page.locator("#question .thumbnail-item").first.wait_for()
        self.page.wait_for_function("!document.querySelector('#question .loader, #question .uploading')")

    def type(self, question: str) -> None:
        """Write into the question's box."""
        self.page.locator("#question textarea").fill(question)

    def send(self) -> None:
        """Press the arrow."""
        self.page.get_by_role("button", name="Submit").click()

    @property
    def answers(self) -> list[str]:
        """What was answered so far."""
        said: list[str] = self.page.locator("#chat .bot .message-content").all_inner_texts()
        return said

    def answered(self, count: int = 1) -> None:
        """Wait until so many answers are whole and can be followed by another question."""
        self.page.wait_for_function(
            f"document.querySelectorAll('#chat .bot .message-content').length >= {count}"
        )
        self.page.get_by_role("button", name="Submit").wait_for()
        self.page.locator("#status", has_text="confidence").wait_for()

    # -- any tab -------------------------------------------------------------------------------------

    def tab(self, name: str) -> None:
        """Go to a tab."""
        self.page.get_by_role("tab", name=name, exact=True).click()

    def shown(self, id: str) -> str:
        """The address of the picture in a part, once there is one."""
        image = self.page.locator(f"#{id} img").first
        image.wait_for()
        address: str = image.get_attribute("src")
        return address

    def shoot(self, name: str, *, whole: bool = False) -> Path:
        """Keep a screenshot."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        path = SHOTS / f"{name}.png"
        self.page.wait_for_timeout(800)  # until what slides in stands still
        self.page.screenshot(path=str(path), full_page=whole)
        return path

    def clean(self) -> None:
        """Nothing was complained of and nobody else was asked for anything."""
        assert (self.complaints, self.outside) == ([], [])
        assert self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@contextmanager
def opened(
    browser: Any, url: str, size: dict[str, int] | None = None, scheme: str = "light"
) -> Iterator[Opened]:
    """The app in a browser profile of its own."""
    context = browser.new_context(viewport=size or DESK, color_scheme=scheme)
    context.grant_permissions(["clipboard-read", "clipboard-write", "camera"], origin=url.rstrip("/"))
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    watched = Opened(page)
    page.on("console", lambda m: watched.complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    own = (url, "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(own) else watched.outside.append(r.url))
    page.goto(url)
    page.get_by_role("button", name="Submit").wait_for()
    page.wait_for_timeout(500)  # gradio's first event, which restores the history
    try:
        yield watched
    finally:
        context.close()
