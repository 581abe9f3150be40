"""The Compare tab: one question, one column a policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gradio as gr

from .background import relayed
from .compare import COMPARED, Column, compare, summary_html
from .draw_images import FOLDER
from .handlers import POLICIES, stages_html
from .models import Models
from .wiring import EXAMPLES, LONG, QUICK, REFUSED, Chosen, loaded, refusal


class Comparison(NamedTuple):
    """Components that other tabs need."""

    image: Any
    question: Any
    after: Callable[[Any], None]  # compare after another event


def compare_tab(models: Models, settings: list[Any]) -> Comparison:
    """Lay the tab out and wire it.

    Args:
        models: of which the settings name one.
        settings: the Chat tab's, whose policy doesn't count here.
    """
    with gr.Row():
        with gr.Column(scale=4, min_width=300):
            image = gr.Image(
                label="Image", sources=["upload", "clipboard", "webcam"], type="filepath", image_mode=None,
                height=230, buttons=[], elem_id="compared",
            )  # fmt: skip
            # gradio would open the file first, and fail with Pillow's words on what ours refuse.
            image.preprocess = lambda payload: None if payload is None else payload.path
        with gr.Column(scale=5, min_width=300):
            question = gr.Textbox(
                label="Question",
                value="What is the total?",
                lines=2,
                max_lines=4,
                max_length=4000,
                elem_id="compare-question",
            )
            with gr.Row(elem_classes="keep"):
                run = gr.Button("Compare", variant="primary", scale=3, min_width=120)
                stop = gr.Button("Stop", interactive=False, scale=1, min_width=80)
            gr.Examples(
                [[str(FOLDER / name), asked] for name, asked, _ in EXAMPLES],
                [image, question],
                label="Examples",
                elem_id="compare-examples",
                example_labels=[says for *_, says in EXAMPLES],
                cache_examples=False,
                api_visibility="private",
            )
    summary = gr.HTML(elem_id="summary", padding=False)
    outputs: list[Any] = [run, stop, summary]
    with gr.Row(equal_height=False):
        for policy in COMPARED:
            outputs += _column(policy)

    def steps(source: str | None, asked: str, *how: Any) -> Iterator[list[Any]]:
        name, chosen = Chosen.of(how)
        busy = [gr.update(interactive=False), gr.update(interactive=True)]
        shown: tuple[Column | None, ...] = (None,) * len(COMPARED)
        try:
            vlm = yield from relayed(
                loaded(models, name), lambda status: [*busy, status, *[gr.skip()] * (4 * len(COMPARED))]
            )
            for columns in compare(vlm, source, asked, chosen):
                updates = [_updates(old, new) for old, new in zip(shown, columns, strict=True)]
                yield [*busy, summary_html(columns), *(one for updated in updates for one in updated)]
                shown = columns
        except REFUSED as error:
            raise refusal(error) from None

    wired = [image, question, *settings], outputs

    def ending(event: Any) -> None:
        idle = [gr.update(interactive=True), gr.update(interactive=False)]
        event.then(lambda: idle, None, [run, stop], **QUICK)
        stop.click(None, None, None, cancels=[event], **QUICK).then(lambda: idle, None, [run, stop], **QUICK)

    ending(gr.on([run.click, question.submit], steps, *wired, **LONG))
    return Comparison(image, question, lambda event: ending(event.then(steps, *wired, **LONG)))


def _column(policy: str) -> list[Any]:
    with gr.Column(min_width=280, elem_classes="policy"):
        _, _, says = POLICIES[policy].partition(": ")
        gr.HTML(f'<h2>{policy}</h2><span class="faint">{says}</span>', elem_classes="panel", padding=False)
        text = gr.Textbox(
            label="Answer", lines=4, max_lines=4, interactive=False, buttons=["copy"],
            elem_classes="answer-text", elem_id=f"answer-{policy}",
        )  # fmt: skip
        windows = _picture("Windows", f"windows-{policy}", policy)
        evidence = _picture("Where it was read", f"evidence-{policy}", policy)
        stages = gr.HTML(padding=False)
    return [text, windows, evidence, stages]


def _picture(says: str, id: str, policy: str) -> Any:
    gr.HTML(f'<span class="faint caption">{says}</span>', elem_classes="tight", padding=False)
    return gr.Image(
        show_label=False, type="pil", format="webp", interactive=False, buttons=["fullscreen"], height=240,
        alt_text=f"{says} under {policy}", elem_id=id,
    )  # fmt: skip


def _updates(old: Column | None, new: Column) -> list[Any]:
    """A column's components, those that didn't change left alone."""
    if new is old:
        return [gr.skip()] * 4
    windows = gr.skip() if old is not None and old.windows is new.windows else new.windows
    evidence = None if old is None else gr.skip()
    if new.seen is not None:
        evidence = new.seen.evidence
    stages = "" if old is None else gr.skip()
    if new.answer is not None:
        stages = stages_html(new.answer)
    return [new.text, windows, evidence, stages]
