"""The page: an image and a question on the left, the answer and the windows on the right.

Only gradio's wiring is here; what happens is in ``handlers``. Nothing is fetched from outside (system
fonts, no analytics, no share link), uploads are limited and deleted after an hour, one question is
answered at a time and a few may wait.
"""

from __future__ import annotations

import html
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from pan_and_scan import MAX_WINDOWS, POLICY_NAMES
from vlm.errors import ImageError, UsageError, VlmError
from vlm.session import VLM

from .draw_images import FOLDER
from .handlers import Settings, answer

MAX_UPLOAD = "32mb"
WAITING = 8  # questions in the queue; more are turned away
KEPT_SECONDS = 3600  # an upload's life

_SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
_MONO = ("ui-monospace", "Consolas", "monospace")
_CSS = """
.gradio-container { width: 100%; max-width: 1240px !important; margin: 0 auto !important; }
footer { display: none !important; }
#head { margin: 4px 0 2px; }
#head h1 { margin: 0; font-size: 1.5rem; letter-spacing: -0.01em; }
#head p { margin: 2px 0 0; color: var(--body-text-color-subdued); }
#answer textarea { font-size: 1.1rem; line-height: 1.5; }
#facts { min-height: 1.6em; }
#examples .gallery { flex-wrap: nowrap; }
#examples .gallery button, #examples .gallery button div { width: 74px; height: 74px; min-height: 0; }
#examples .gallery img { width: 100%; height: 100%; object-fit: contain; }
#caption p { margin: 0; font-weight: 600; }
#facts p { margin: 0; font-size: 0.85rem; color: var(--body-text-color-subdued); }
"""
_EXAMPLES = ("notice.png", "sign.png", "receipt.png", "strip.png", "scan.png", "shapes.png", "tall.png")


def build_app(vlm: VLM) -> gr.Blocks:
    """The page for a loaded model."""
    with gr.Blocks(title="vlm", analytics_enabled=False, delete_cache=(KEPT_SECONDS, KEPT_SECONDS)) as page:
        gr.Markdown(f"# Ask about an image\nModel: {_plain(Path(vlm.engine.name).name)}", elem_id="head")
        with gr.Row():
            with gr.Column(scale=5):
                inputs, ask, stop = _question_side()
            with gr.Column(scale=6):
                outputs = _answer_side()
        idle = [gr.update(interactive=True), gr.update(interactive=False)]

        def steps(*values: Any) -> Iterator[list[Any]]:
            image, question, policy, most, tokens = values
            try:
                for shown in answer(vlm, image, question, Settings(policy, int(most), int(tokens))):
                    windows = gr.skip() if shown.windows is None else shown.windows
                    yield [
                        shown.text,
                        windows,
                        shown.facts,
                        gr.update(interactive=False),
                        gr.update(interactive=True),
                    ]
            except (VlmError, ImageError) as error:
                raise gr.Error(_message(error, image), title="", print_exception=False) from None

        asked = gr.on(
            [ask.click, inputs[1].submit],
            steps,
            inputs,
            [*outputs, ask, stop],
            show_progress="hidden",
            trigger_mode="once",
            api_visibility="private",
        )
        asked.then(lambda: idle, None, [ask, stop], queue=False, api_visibility="private")
        stop.click(
            lambda: ["Stopped.", *idle],
            None,
            [outputs[2], ask, stop],
            cancels=[asked],
            queue=False,
            api_visibility="private",
        )
    page.queue(max_size=WAITING, default_concurrency_limit=1, api_open=False)
    return page


def serve(vlm: VLM, *, host: str = "127.0.0.1", port: int = 7860) -> gr.Blocks:
    """Start the page and return at once; ``local_url`` of the result says where it is.

    Args:
        vlm: the model that answers.
        host: address to listen on.
        port: 0 takes a free one.

    Raises:
        UsageError: the address or port can't be had.
    """
    port = _bindable(host, port)
    page = build_app(vlm)
    page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        share=False,
        quiet=True,
        show_error=False,
        footer_links=[],
        run_history=False,
        max_file_size=MAX_UPLOAD,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        theme=gr.themes.Soft(primary_hue="blue", neutral_hue="slate", font=_SANS, font_mono=_MONO),
        css=_CSS,
    )
    return page


def launch(vlm: VLM, *, host: str, port: int) -> None:
    """Serve the page until Ctrl-C."""
    page = serve(vlm, host=host, port=port)
    print(f"vlm: open {page.local_url} (Ctrl-C ends it)", flush=True)
    page.block_thread()


def _question_side() -> tuple[list[Any], gr.Button, gr.Button]:
    image = gr.Image(
        label="Image",
        sources=["upload", "clipboard"],
        type="filepath",
        image_mode=None,
        height=300,
        buttons=[],
    )
    # gradio would open the file first, and fail with Pillow's words on what ours refuse with a reason.
    image.preprocess = lambda payload: None if payload is None else payload.path
    gr.Examples(
        [[str(FOLDER / name)] for name in _EXAMPLES],
        [image],
        label="Examples",
        elem_id="examples",
        cache_examples=False,
        api_visibility="private",
    )
    question = gr.Textbox(
        label="Question", value="What does it say?", lines=1, max_lines=4, max_length=4000, autofocus=True
    )
    with gr.Row():
        ask = gr.Button("Ask", variant="primary", scale=3)
        stop = gr.Button("Stop", interactive=False, scale=1, min_width=80)
    with gr.Accordion("Settings", open=False):
        policy = gr.Radio(list(POLICY_NAMES), value="adaptive", label="How the image is cut")
        most = gr.Slider(
            1, MAX_WINDOWS, value=MAX_WINDOWS, step=1, label="Windows at most, the whole included"
        )
        tokens = gr.Slider(16, 1024, value=256, step=16, label="Tokens of the answer at most")
    return [image, question, policy, most, tokens], ask, stop


def _answer_side() -> list[Any]:
    text = gr.Textbox(
        label="Answer", lines=4, max_lines=16, elem_id="answer", interactive=False, buttons=["copy"]
    )
    facts = gr.Markdown(elem_id="facts")
    gr.Markdown("Windows the model looks at", elem_id="caption")
    windows = gr.Image(
        show_label=False,
        type="pil",
        format="png",
        interactive=False,
        buttons=["fullscreen"],
        height=500,
        elem_id="windows",
        alt_text="The image with its numbered windows",
    )
    return [text, windows, facts]


def _message(error: Exception, image: str | None) -> str:
    """The error without the upload's place on the server, safe as HTML."""
    message = str(error)
    return html.escape(message.replace(image, Path(image).name) if image else message)


def _plain(name: str) -> str:
    """A name inside Markdown code, whatever it holds."""
    return "`" + "".join(c for c in name if c.isprintable() and c != "`") + "`"


def _bindable(host: str, port: int) -> int:
    """The port, a free one for 0, once it is known that it can be had: gradio would leave half a page."""
    try:
        with socket.create_server((host, port), family=_family(host)) as probe:
            found: int = probe.getsockname()[1]
            return found
    except OSError as error:
        raise UsageError(f"can't listen on {host}:{port} ({error}); choose another --port, or 0") from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
