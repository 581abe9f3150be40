"""Documents: text, fields and answers page by page, and the files that are offered."""

from __future__ import annotations

import json
from pathlib import Path

import pypdfium2
import pytest
import torch
from fakes import ScriptedEngine
from PIL import Image
from scripted_pages import TurnByTurn
from uploaded import IMAGES, pdf, upload

from demos.documents import (
    Job,
    Reading,
    answer_html,
    downloads,
    fields_html,
    page_image,
    page_markdown,
    page_note,
    read,
)
from demos.handlers import Settings
from vlm.errors import UsageError
from vlm.session import VLM

torch.set_num_threads(1)
LETTER = (
    "The harbour was built in 1931 by the town of Ashford.",
    "Rye bread costs six francs in the market.",
)


@pytest.fixture
def engine(tmp_path: Path) -> ScriptedEngine:
    return ScriptedEngine(tmp_path / "scripted", says="FRESH BREAD\nevery morning")


def done(vlm: VLM, job: Job) -> tuple[list[Reading], Reading]:
    steps = list(read(vlm, job, Settings()))
    assert steps[-1].done and not any(step.done for step in steps[:-1])
    return steps, steps[-1]


def test_a_pdf_is_read_page_by_page(tmp_path: Path, engine: ScriptedEngine) -> None:
    steps, last = done(engine.vlm(), Job([pdf(tmp_path, *LETTER)]))
    assert [len(step.pages) for step in steps] == sorted(len(step.pages) for step in steps)
    assert any(step.status.startswith("Page 2 of 2 · about") for step in steps)
    assert last.total == 2 and last.status.startswith("2 pages in ")
    assert [page.text.source for page in last.pages] == ["text layer"] * 2
    assert "harbour" in page_markdown(last, 0) and "francs" in page_markdown(last, 1)
    assert page_note(last, 1) == "letter.pdf, page 2: the file's own text, confidence 100%"


def test_the_lines_of_a_page_are_framed(tmp_path: Path, engine: ScriptedEngine) -> None:
    path = upload(tmp_path, IMAGES / "notice.png")
    _, last = done(engine.vlm(), Job([path]))
    shown = page_image(last, 0)
    assert shown is not None and shown.size == (448, 320)
    with Image.open(path) as page:
        assert shown.tobytes() != page.convert("RGB").tobytes()
    assert {line.text for line in last.pages[0].text.lines} == {"FRESH BREAD", "every morning"}


def test_some_pages_only_and_the_pixels_if_wanted(tmp_path: Path, engine: ScriptedEngine) -> None:
    _, last = done(engine.vlm(), Job([pdf(tmp_path, *LETTER)], pages="2", use_text_layer="never"))
    [page] = last.pages
    assert (page.text.number, page.text.source) == (2, "model")


def test_a_damaged_file_fails_alone_and_is_named_without_its_place(
    tmp_path: Path, engine: ScriptedEngine
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG rubbish")
    files = [upload(tmp_path / "up", broken), pdf(tmp_path, *LETTER)]
    _, last = done(engine.vlm(), Job(files))
    assert [page.text.source for page in last.pages] == ["failed", "text layer", "text layer"]
    assert "1 failed" in last.status and page_image(last, 0) is None
    assert page_note(last, 0).startswith("page 1 of broken.png was not read")
    made = downloads(last, tmp_path / "uploads")
    assert all(str(tmp_path).encode() not in path.read_bytes() for path in made.values())


def test_fields_come_with_their_places(tmp_path: Path) -> None:
    says = '{"shop":"Corner <b>","date":null,"total":24.85}'
    engine = TurnByTurn(tmp_path / "scripted", turns=(says,))
    _, last = done(engine.vlm(), Job([upload(tmp_path, IMAGES / "receipt.png")], want="fields"))
    table = fields_html(last, 0)
    assert "Corner &lt;b&gt;" in table and "24.85" in table and "not on the page" in table
    made = downloads(last, tmp_path / "uploads")
    assert list(made) == ["json"]
    assert json.loads(made["json"].read_text())["pages"][0]["data"]["total"] == 24.85


def test_a_question_finds_its_page(tmp_path: Path, engine: ScriptedEngine) -> None:
    engine.says = "six <i>francs</i>"
    job = Job([pdf(tmp_path, *LETTER)], want="question", question="What does rye bread cost?")
    steps, last = done(engine.vlm(), job)
    assert "Looked at 2 of 2 pages …" in [step.status for step in steps]
    assert last.found is not None and last.found.page.number == 2
    assert "six &lt;i&gt;francs" in answer_html(last) and "letter.pdf, page 2" in answer_html(last)
    assert page_image(last, 0) is not None
    raw = json.loads(downloads(last, tmp_path / "uploads")["json"].read_text())
    assert raw["page"] == {"file": "letter.pdf", "number": 2, "turned": 0.0}


def test_every_form_is_offered_and_the_pdf_can_be_searched(tmp_path: Path, engine: ScriptedEngine) -> None:
    _, last = done(engine.vlm(), Job([upload(tmp_path, IMAGES / "notice.png")]))
    made = downloads(last, tmp_path / "uploads")
    assert [path.name for path in made.values()] == ["notice.md", "notice.json", "notice.html", "notice.pdf"]
    assert "FRESH BREAD" in made["md"].read_text() and "<html" in made["html"].read_text()
    document = pypdfium2.PdfDocument(made["pdf"])
    assert "FRESH BREAD" in document[0].get_textpage().get_text_range()
    document.close()
    again = downloads(last, tmp_path / "uploads")
    assert made["md"].parent != again["md"].parent and len(made["md"].parent.name) == 64


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (Job([]), "no document"),
        (Job(["x.pdf"], want="question", question=" "), "no question"),
        (Job(["x.pdf"], want="fields", schema="{"), "JSON"),
        (Job(["missing.pdf"]), "missing.pdf: no such file"),
        (Job(["letter"], pages="x"), "pages are given as in"),
    ],
)
def test_what_can_not_be_done_is_refused(
    tmp_path: Path, engine: ScriptedEngine, job: Job, message: str
) -> None:
    files = [pdf(tmp_path, "one") if name == "letter" else name for name in job.files]
    with pytest.raises(UsageError, match=message):
        list(read(engine.vlm(), Job(files, job.want, job.pages, job.schema, job.question), Settings()))


def test_leaving_early_ends_the_reading(tmp_path: Path, engine: ScriptedEngine) -> None:
    steps = read(engine.vlm(), Job([upload(tmp_path, IMAGES / "scan.png")]), Settings())
    while "part 2" not in next(steps).status:
        pass
    steps.close()  # type: ignore[attr-defined]
    heard = len(engine.heard)
    torch.randn(10).sort()  # whatever: the thread ends at its next tile
    assert heard < 6
