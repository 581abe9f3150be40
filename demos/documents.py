"""Documents on the page: read as text or as fields, or asked a question; page by page, with boxes."""

from __future__ import annotations

import html
import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw

from pan_and_scan import ImageError, draw_boxes
from vlm.cli_documents import found_to_json
from vlm.constrain import Constraint
from vlm.errors import UsageError
from vlm.evidence import draw_evidence
from vlm.reading.choose import Found, ask_pages
from vlm.reading.extract import FieldReader
from vlm.reading.output import FORMS, UNSURE_BELOW, complaint, writer
from vlm.reading.record import PageText
from vlm.reading.sources import SourcePage
from vlm.reading.transcribe import PageReader, ReadOptions
from vlm.session import VLM

from .background import followed, heeded, relayed
from .handlers import Settings, counted, shrunk
from .pictures import opened, pages_of, spoken

Want = Literal["text", "fields", "question"]
MOST_PAGES = 200  # of one job; `vlm read` takes any number
RECEIPT_SCHEMA = """\
{
  "type": "object",
  "properties": {
    "shop": {"type": "string"},
    "date": {"type": "string"},
    "total": {"type": "number"}
  }
}"""
_SURE, _UNSURE = (0, 114, 178), (213, 94, 0)  # Okabe and Ito's blue and vermilion


@dataclass(frozen=True)
class Job:
    """What is wanted of which documents."""

    files: Sequence[str]
    want: Want = "text"
    pages: str = ""  # of each file, as in "1-3,7"; empty: all
    schema: str = RECEIPT_SCHEMA
    question: str = ""
    use_text_layer: Literal["auto", "never"] = "auto"


@dataclass(frozen=True)
class ReadPage:
    """A page with what was read of it."""

    source: SourcePage
    path: str  # of the upload
    text: PageText


@dataclass(frozen=True)
class Reading:
    """How far a job is."""

    want: Want
    status: str
    total: int
    pages: tuple[ReadPage, ...] = ()
    found: Found | None = None  # the answer to a question
    paths: tuple[str, ...] = ()  # of the uploads
    done: bool = False

    @property
    def title(self) -> str:
        """Of the document that is made of it."""
        return Path(self.paths[0]).name if len(self.paths) == 1 else "Documents"


def read(vlm: VLM, job: Job, settings: Settings) -> Iterator[Reading]:
    """Do what is wanted, page by page.

    Args:
        vlm: the model.
        job: what.
        settings: how a question is asked; reading chooses its own windows.

    Raises:
        UsageError: no file, no such pages, a schema that is none, or none of the pages can be read.
        PromptError: no question.
    """
    with heeded(vlm) as waited:
        yield from _done(waited, job, settings)


def _done(vlm: VLM, job: Job, settings: Settings) -> Iterator[Reading]:
    if not job.files:
        raise UsageError(
            "no document: drop a PDF or an image on the left, wait until it is uploaded, or take an example"
        )
    if job.want == "question" and not job.question.strip():
        raise UsageError("no question: say what you want to know about the documents")
    constraint = Constraint.schema(job.schema) if job.want == "fields" else None
    side = vlm.engine.window_size
    listed = [
        (page, path) for path in job.files for page in pages_of(path, pages=job.pages, window_size=side)
    ]
    if len(listed) > MOST_PAGES:
        raise UsageError(f"{len(listed)} pages; {MOST_PAGES} are read here at once, `vlm read` takes more")
    begun = Reading(job.want, "Opening …", len(listed), paths=tuple(job.files))
    yield begun
    if job.want == "question":
        yield from _asked(vlm, job, settings, listed, begun)
    else:
        yield from _read(vlm, job, constraint, listed, begun)


Listed = list[tuple[SourcePage, str]]


def _read(
    vlm: VLM, job: Job, constraint: Constraint | None, listed: Listed, begun: Reading
) -> Iterator[Reading]:
    options = ReadOptions(text_layer=job.use_text_layer)
    reading, started = begun, time.monotonic()
    for number, (page, path) in enumerate(listed, start=1):
        here = f"Page {number} of {len(listed)}{_left(started, number - 1, len(listed))}"

        def work(tell: Callable[[str], None], page: SourcePage = page, here: str = here) -> PageText:
            tell(f"{here} …")
            if constraint is not None:
                return FieldReader(vlm, constraint, options).read(page)
            reader = PageReader(vlm, options)
            reader.on_tile = lambda done, total: tell(f"{here}, part {done + 1} of {total} …")
            return reader.read(page)

        text = yield from relayed(followed(work), partial(_with_status, reading))
        text = replace(text, error=spoken(text.error, path))
        reading = replace(
            reading,
            status=f"{counted(number, 'page')} of {len(listed)} read",
            pages=(*reading.pages, ReadPage(page, path, text)),
        )
        yield reading
    failed = sum(one.text.source == "failed" for one in reading.pages)
    seconds = time.monotonic() - started
    status = f"{counted(len(listed), 'page')} in {seconds:.1f} s" + (f", {failed} failed" if failed else "")
    yield replace(reading, status=status, done=True)


def _asked(vlm: VLM, job: Job, settings: Settings, listed: Listed, begun: Reading) -> Iterator[Reading]:
    pages = [page for page, _ in listed]

    def work(tell: Callable[[str], None]) -> Found:
        def told(done: int) -> None:
            tell(f"Looked at {done} of {counted(len(pages), 'page')} …")

        tell("Looking …")
        return ask_pages(vlm, pages, job.question, settings.options(), on_page=told)

    started = time.monotonic()
    found = yield from relayed(followed(work), partial(_with_status, begun))
    seconds = time.monotonic() - started
    where = f"{found.page.file}, page {found.page.number}"
    status = f"Found on {where} · confidence {found.answer.confidence:.0%} · {seconds:.1f} s"
    path = next(path for page, path in listed if page is found.page)
    yield replace(
        begun, status=status, found=found, pages=(ReadPage(found.page, path, _empty(found)),), done=True
    )


def _empty(found: Found) -> PageText:
    return PageText(found.page.file, found.page.number, 0, 0, "", (), "model")


def _with_status(reading: Reading, status: str) -> Reading:
    return replace(reading, status=status)


def _left(started: float, done: int, total: int) -> str:
    if not done:
        return ""
    seconds = (time.monotonic() - started) / done * (total - done)
    return f" · about {seconds:.0f} s left" if seconds < 90 else f" · about {seconds / 60:.0f} min left"


# -- what is shown -----------------------------------------------------------------------------------


def page_image(reading: Reading, index: int) -> Image.Image | None:
    """A page with boxes: its lines, its fields, or where the answer was read; None if it can't be opened."""
    page = reading.pages[index]
    try:
        image = opened(page.source, page.path)
    except (ImageError, UsageError):
        return None
    if reading.found is not None:
        answer, image = reading.found.answer, reading.found.shown(image)
        told = answer.attention if answer.evidence else None
        return shrunk(image if told is None else draw_evidence(image, told))
    if reading.want == "fields":
        placed = [field for field in page.text.fields if field.box is not None]
        boxes = [field.box for field in placed if field.box is not None]
        return shrunk(draw_boxes(image, boxes, [field.path.lstrip("/") or "value" for field in placed]))
    return shrunk(_lined(image, page.text))


def _lined(image: Image.Image, text: PageText) -> Image.Image:
    """The lines framed, those that the reader wasn't sure of in another colour and dashed twice as thick."""
    shown = image.copy()
    draw = ImageDraw.Draw(shown)
    width = max(2, round(max(image.size) / 600))
    for line in text.lines:
        unsure = line.confidence < UNSURE_BELOW
        left, top, right, bottom = line.box
        air = (bottom - top) // 5 + 1  # around letters, not through them
        box = (left - air, top - air, right + air, bottom + air)
        draw.rectangle(box, outline=_UNSURE if unsure else _SURE, width=width * 2 if unsure else width)
    return shown


def page_markdown(reading: Reading, index: int) -> str:
    """The text of a page as Markdown."""
    page = reading.pages[index].text
    return FORMS["md"].page(page) or "*Nothing is written on this page.*"


def page_note(reading: Reading, index: int) -> str:
    """Who read a page and how sure, in one line."""
    page = reading.pages[index].text
    if reading.found is not None:
        return f"{page.file}, page {page.number}"
    if page.source == "failed":
        return complaint(page)
    by = "the file's own text" if page.source == "text layer" else f"read by {Path(page.model).name}"
    sure = f", confidence {page.confidence:.0%}" if page.lines else ""
    unsure = sum(line.confidence < UNSURE_BELOW for line in page.lines)
    marked = f", {counted(unsure, 'unsure line')} framed in orange" if unsure else ""
    return f"{page.file}, page {page.number}: {by}{sure}{marked}"


def fields_html(reading: Reading, index: int) -> str:
    """The fields of a page as a table."""
    page = reading.pages[index].text
    if page.source == "failed":
        return f'<p class="early">{html.escape(complaint(page))}</p>'
    rows = "".join(
        f'<tr><th scope="row">{html.escape(field.path.lstrip("/") or "value")}</th>'
        f"<td>{_value_html(field.value)}</td><td>{field.confidence:.0%}</td></tr>"
        for field in page.fields
    )
    return (
        '<table class="summary"><caption class="said">Fields of the page</caption><thead><tr>'
        '<th scope="col">Field</th><th scope="col">Value</th><th scope="col">Confidence</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _value_html(value: object) -> str:
    if value is None:
        return '<span class="faint">not on the page</span>'
    return html.escape(value if isinstance(value, str) else json.dumps(value))


def answer_html(reading: Reading) -> str:
    """The answer to a question, and which pages it was looked for on."""
    found = reading.found
    assert found is not None
    rows = "".join(
        f'<tr><th scope="row">{html.escape(one.page.file)}, page {one.page.number}</th>'
        f"<td>{html.escape(one.by)}</td><td>{one.score:.0%}</td></tr>"
        for one in found.ranking[:12]
    )
    return (
        f'<p class="found">{html.escape(found.answer.text)}</p>'
        '<table class="summary"><caption>Where it was looked for</caption><thead><tr>'
        '<th scope="col">Page</th><th scope="col">Judged by</th><th scope="col">Score</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


# -- what is downloaded ------------------------------------------------------------------------------

FORMATS = {"text": ("md", "json", "html", "pdf"), "fields": ("json",), "question": ("json",)}


def downloads(reading: Reading, folder: Path) -> dict[str, Path]:
    """Write what was read, in each form there is for it.

    Args:
        reading: a finished one.
        folder: of uploads; the files go into a new folder in it, whose name nobody can guess.

    Returns:
        form -> file.
    """
    home = folder / secrets.token_hex(32)
    home.mkdir(parents=True)
    made: dict[str, Path] = {}
    for form in FORMATS[reading.want]:
        path = home / f"{Path(reading.title).stem or 'document'}.{form}"
        if reading.found is not None:
            path.write_text(json.dumps(found_to_json(reading.found), ensure_ascii=False, indent=2), "utf-8")
        else:
            with path.open("wb") as stream:
                writer(form)(stream, reading.title, ((one.source, one.text) for one in reading.pages))
        made[form] = path
    return made
