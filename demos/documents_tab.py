"""The Documents tab: pages to text, to fields or to an answer, each beside its page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from .background import relayed
from .documents import (
    FORMATS,
    RECEIPT_SCHEMA,
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
from .draw_images import FOLDER
from .models import Models
from .pictures import SUFFIXES
from .wiring import LONG, QUICK, REFUSED, Chosen, loaded, refusal, uploads

WANTS = [("Markdown text", "text"), ("Fields by a schema", "fields"), ("Answer to a question", "question")]
FORMS = {"md": "↓ Markdown", "json": "↓ JSON", "html": "↓ HTML", "pdf": "↓ Searchable PDF"}
_EXAMPLES = (("receipt.png", "Receipt"), ("form.png", "Form"), ("scan.png", "Large scan"))


def documents_tab(models: Models, settings: list[Any]) -> None:
    """Lay the tab out and wire it.

    Args:
        models: of which the settings name one.
        settings: the Chat tab's, used for questions.
    """
    reading = gr.State(None, time_to_live=3600)
    with gr.Row():
        with gr.Column(scale=4, min_width=300):
            inputs, run, stop = _job_side()
        with gr.Column(scale=8, min_width=320):
            shown = _result_side()
    status, page, image, note, text, table, *buttons = shown
    outputs = [reading, run, stop, *shown]

    def steps(*values: Any) -> Iterator[list[Any]]:
        files, want, pages, schema, question, layer, *how = values
        job = Job(files or [], want, pages or "", schema or "", question or "", "never" if layer else "auto")
        name, chosen = Chosen.of(how)
        busy = [gr.update(interactive=False), gr.update(interactive=True)]
        count = 0
        yielded = False
        try:
            vlm = yield from relayed(
                loaded(models, name),
                lambda status: [gr.skip(), *busy, status, *[gr.skip()] * (len(shown) - 1)],
            )
            for now in read(vlm, job, chosen):
                updates = _updates(now, fresh=not yielded, first=count == 0 and bool(now.pages))
                count, yielded = len(now.pages), True
                yield [now, *busy, *updates]
        except REFUSED as error:
            raise refusal(error) from None

    idle = [gr.update(interactive=True), gr.update(interactive=False)]
    running = run.click(steps, [*inputs, *settings], outputs, **LONG)
    running.then(lambda: idle, None, [run, stop], **QUICK)
    stop.click(None, None, None, cancels=[running], **QUICK).then(
        lambda now: [*idle, "Stopped." if now is None else f"Stopped: {now.status}", *_offered(now)],
        reading,
        [run, stop, status, *buttons],
        **QUICK,
    )
    page.input(_turned, [reading, page], [image, note, text, table], **QUICK)


def _job_side() -> tuple[list[Any], Any, Any]:
    files = gr.File(
        label="Documents: PDF, images", file_count="multiple", file_types=list(SUFFIXES), type="filepath",
        height=150, elem_id="documents",
    )  # fmt: skip
    want = gr.Radio(WANTS, value="text", label="What is wanted")
    schema = gr.Textbox(
        label="JSON Schema of the fields", value=RECEIPT_SCHEMA, lines=8, max_lines=16, visible=False,
        max_length=100_000, elem_id="schema", html_attributes=gr.InputHTMLAttributes(spellcheck=False),
    )  # fmt: skip
    question = gr.Textbox(
        label="Question",
        placeholder="What is the total?",
        lines=1,
        max_lines=4,
        visible=False,
        max_length=4000,
        elem_id="document-question",
    )
    with gr.Row(elem_classes="keep"):
        run = gr.Button("Read", variant="primary", scale=3, min_width=120, elem_id="read")
        stop = gr.Button("Stop", interactive=False, scale=1, min_width=80)
    with gr.Accordion("Which pages", open=False):
        pages = gr.Textbox(
            label="Pages of each file, as in 1-3,7", placeholder="all", max_length=200, max_lines=1
        )
        layer = gr.Checkbox(label="Read the pixels even where a PDF has sound text of its own")
    gr.Examples(
        [[[str(FOLDER / name)]] for name, _ in _EXAMPLES],
        [files],
        label="Examples",
        elem_id="document-examples",
        example_labels=[says for _, says in _EXAMPLES],
        cache_examples=False,
        api_visibility="private",
    )
    want.change(
        lambda wanted: [gr.update(visible=wanted == "fields"), gr.update(visible=wanted == "question")],
        want,
        [schema, question],
        **QUICK,
    )
    return [files, want, pages, schema, question, layer], run, stop


def _result_side() -> list[Any]:
    status = gr.Markdown(
        "Add a document and press Read: each page appears here beside what was read of it.",
        elem_classes="status",
        container=False,
    )
    page = gr.Slider(1, 2, value=1, step=1, label="Page", visible=False, elem_id="page")
    with gr.Row():
        with gr.Column(min_width=280):
            image = gr.Image(
                show_label=False, type="pil", format="webp", interactive=False, buttons=["fullscreen"],
                height=520, elem_id="page-image", alt_text="The page, its lines or fields framed",
                placeholder="The page",
            )  # fmt: skip
        with gr.Column(min_width=280):
            note = gr.Markdown(elem_classes="hint", container=False)
            text = gr.Markdown(
                elem_id="document-text", buttons=["copy"], latex_delimiters=[], line_breaks=True, height=480
            )
            table = gr.HTML(elem_id="document-table", padding=False)
    with gr.Row(elem_classes="keep"):
        buttons = [
            gr.DownloadButton(says, size="sm", visible=False, min_width=110, elem_id=f"download-{form}")
            for form, says in FORMS.items()
        ]
    return [status, page, image, note, text, table, *buttons]


def _updates(now: Reading, *, fresh: bool, first: bool) -> list[Any]:
    """The result's components after a step; the page that is looked at stays unless it is the first."""
    hidden = [gr.update(visible=False)] * len(FORMS)
    if fresh:
        return [now.status, gr.update(visible=False, value=1), None, "", "", "", *hidden]
    several = gr.update(maximum=max(2, len(now.pages)), visible=len(now.pages) > 1)
    shown = _page(now, 0) if first else [gr.skip()] * 4
    return [now.status, several, *shown, *(_offered(now) if now.done else hidden)]


def _page(now: Reading, index: int) -> list[Any]:
    """Image, note, text and table of a page."""
    image, note = page_image(now, index), page_note(now, index)
    if now.want == "text":
        return [image, note, page_markdown(now, index), ""]
    return [image, note, "", answer_html(now) if now.found is not None else fields_html(now, index)]


def _turned(now: Reading | None, page: float) -> list[Any]:
    if now is None or not now.pages:
        return [gr.skip()] * 4
    return _page(now, min(int(page), len(now.pages)) - 1)


def _offered(now: Reading | None) -> list[Any]:
    """What can be downloaded, of a job that was stopped, too."""
    if now is None or not now.pages:
        return [gr.update(visible=False)] * len(FORMS)
    try:
        made = downloads(now, uploads())
    except REFUSED as error:
        raise refusal(error) from None
    offered = FORMATS[now.want]
    return [
        gr.update(visible=form in offered, value=str(made[form]) if form in made else None) for form in FORMS
    ]
