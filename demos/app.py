"""The app: a chat about images, the policies side by side, and documents, in the browser.

Only gradio's wiring is here and in the ``..._tab`` modules; what happens is in modules that know no
gradio (``conversation``, ``compare``, ``documents`` ...). Nothing is fetched from outside (system fonts, no
analytics, and a header that forbids it). Uploads are limited, lie in a folder that only this process
reads, and are deleted after an hour and at the end. What a person asked is kept in a session's state and in
their own browser, nowhere else.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from vlm.addresses import is_loopback, listening
from vlm.scheduler import SharedEngine
from vlm.session import VLM

from .chat_tab import chat_tab
from .compare_tab import compare_tab
from .conversation import Conversation
from .documents_tab import documents_tab
from .draw_images import FOLDER
from .look import CSS, JS, Headers, theme
from .models import Load, Models
from .wiring import QUICK, uploads

MAX_UPLOAD = "32mb"
AT_ONCE = 8  # answers made at the same time, where the engine is a shared one
WAITING = 32  # questions in the queue; more are turned away
SESSIONS = 200  # whose state is held; the one that was idle longest goes
KEPT_SECONDS = 3600  # an upload's life


def build_app(models: Models) -> gr.Blocks:
    """The page for loaded models."""
    gr.set_static_paths([FOLDER])  # the examples: shown from where they are, never deleted
    with gr.Blocks(title="vlm", analytics_enabled=False, delete_cache=(KEPT_SECONDS, KEPT_SECONDS)) as page:
        head = gr.Markdown(_head(models.first_name), elem_id="head")
        with gr.Tabs() as tabs:
            with gr.Tab("Chat", id="chat"):
                chat = chat_tab(models, page)
            with gr.Tab("Compare", id="compare"):
                comparison = compare_tab(models, chat.settings)
            with gr.Tab("Documents", id="documents"):
                documents_tab(models, chat.settings)
        handed = chat.compare.click(
            _hand_over, chat.talk, [tabs, comparison.image, comparison.question], **QUICK
        )
        comparison.after(handed)
        chat.settings[0].change(_head, chat.settings[0], head, **QUICK)
    shared = isinstance(models.get(models.first_name).engine, SharedEngine)
    page.queue(max_size=WAITING, default_concurrency_limit=AT_ONCE if shared else 1, api_open=False)
    return page


def _head(model: str) -> str:
    return f"# vlm\nAsk about images, see what the model saw. Model: {_plain(Path(model).name)}"


def _hand_over(talk: Conversation | None) -> list[Any]:
    """The last question and its image, for the Compare tab."""
    pictures = () if talk is None else talk.pictures
    if talk is None or not pictures:
        raise gr.Error("nothing to compare yet: ask about an image first", title="", print_exception=False)
    question, last = talk.turns[-1].question, pictures[-1]
    if last.page > 1 or Path(last.path).suffix.lower() in (".pdf", ".tif", ".tiff", ".heic", ".heif"):
        return [gr.Tabs(selected="compare"), last.open(), question]
    return [gr.Tabs(selected="compare"), last.path, question]


def serve(models: Models | VLM, *, host: str = "127.0.0.1", port: int = 7860) -> gr.Blocks:
    """Start the page and return at once; ``local_url`` of the result says where it is.

    Args:
        models: that answer; over a ``SharedEngine`` several people at once.
        host: address to listen on.
        port: 0 takes a free one.

    Raises:
        UsageError: the address or port can't be had.
    """
    port = _bindable(host, port)
    _own_uploads()
    page = build_app(Models(models) if isinstance(models, VLM) else models)
    page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        share=False,
        quiet=True,
        show_error=False,
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        max_file_size=MAX_UPLOAD,
        state_session_capacity=SESSIONS,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        theme=theme(),
        css=CSS,
        js=JS,
        app_kwargs={"middleware": [Middleware(Headers)]},
    )
    return page


def launch(vlm: VLM, *, host: str, port: int, others: Sequence[str] = (), load: Load | None = None) -> None:
    """Serve the page until Ctrl-C; several people at once.

    Args:
        vlm: the model that answers unless another is chosen.
        host: address to listen on.
        port: 0 takes a free one.
        others: names of models that may be chosen.
        load: loads one of them.
    """
    models = Models(vlm.shared(), others, None if load is None else lambda name: load(name).shared())
    page = serve(models, host=host, port=port)
    signal.signal(signal.SIGTERM, _terminated)
    print(f"vlm: open {page.local_url} (Ctrl-C ends it)", flush=True)
    if not is_loopback(host):
        print("vlm: warning: anybody who reaches this address can use it", file=sys.stderr)
    page.block_thread()


def _own_uploads() -> None:
    """A folder for uploads that nobody else reads and that goes with this process."""
    folder = tempfile.mkdtemp(prefix="vlm-uploads-")
    os.environ["GRADIO_TEMP_DIR"] = os.path.realpath(folder)  # gradio asks nowhere else
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _terminated(*_: object) -> None:
    """Die of SIGTERM as usual, but take the uploads along."""
    shutil.rmtree(uploads(), ignore_errors=True)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)


def _plain(name: str) -> str:
    """A name inside Markdown code, whatever it holds."""
    return "`" + "".join(c for c in name if c.isprintable() and c != "`") + "`"


def _bindable(host: str, port: int) -> int:
    """The port, a free one for 0, once it is known that it can be had: gradio would leave half a page."""
    with listening(host, port) as probe:
        found: int = probe.getsockname()[1]
        return found
