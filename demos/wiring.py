"""What the tabs share of gradio: errors, examples, and the panel that shows what the model saw."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import gradio as gr
from gradio.utils import get_upload_folder

from pan_and_scan import ImageError
from vlm.answer import Answer
from vlm.errors import VlmError
from vlm.session import VLM

from .background import followed
from .draw_images import FOLDER
from .handlers import Settings, seen, stages_html
from .models import Models
from .pictures import Picture

PRIVATE: dict[str, Any] = {"api_visibility": "private"}
QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", **PRIVATE}
LONG: dict[str, Any] = {
    "show_progress": "hidden",
    "trigger_mode": "once",
    "concurrency_id": "model",
    **PRIVATE,
}
REFUSED = (VlmError, ImageError)  # answered with a message; anything else is a defect of ours

EXAMPLES = (
    ("notice.png", "What does it say?", "Notice"),
    ("receipt.png", "What is the total?", "Receipt"),
    ("form.png", "What is the family name?", "Form"),
    ("exodos.png", "What does the sign say?", "Sign in Greek"),
    ("chart.png", "How many visitors came in May?", "Chart"),
    ("strip.png", "Where does the train go?", "Wide strip"),
    ("tall.png", "What is the second stop?", "Tall strip"),
    ("scan.png", "What is the title?", "Large scan"),
)


def uploads() -> Path:
    """Where gradio puts what is uploaded."""
    return Path(get_upload_folder())


class Chosen(NamedTuple):
    """What a person has set beside the question: ``Chosen.of`` the values of ``settings_side``."""

    model: str
    settings: Settings

    @classmethod
    def of(cls, values: Sequence[Any]) -> Self:
        """The components' values, in their order."""
        model, policy, windows, tokens, temperature, system = values
        return cls(model, Settings(policy, int(windows), int(tokens), float(temperature), system or ""))


def refusal(error: Exception) -> gr.Error:
    """The message of an error as the page shows it: no place on the server, safe as HTML."""
    bare = re.sub(re.escape(str(uploads())) + r"/[0-9a-f]+/", "", str(error))
    bare = bare.replace(f"{FOLDER}/", "")
    return gr.Error(html.escape(bare), title="", print_exception=False)


class Panel(NamedTuple):
    """Components that show what the model saw; ``outputs`` in this order."""

    which: Any
    evidence: Any
    windows: Any
    crops: Any
    stages: Any


def panel() -> Panel:
    """Evidence, numbered windows, the windows one by one, tokens and seconds."""
    gr.HTML("<h2>What the model saw</h2>", elem_classes=["panel", "saw"], padding=False)
    which = gr.Radio([], label="Image", visible=False, elem_classes="saw")
    with gr.Tabs(elem_classes="saw"):
        with gr.Tab("Where it was read"):
            evidence = _image("Where on the image the answer was read", "evidence")
        with gr.Tab("Windows"):
            windows = _image("The image with its numbered windows", "windows")
            gr.HTML(
                '<span class="faint caption">As the encoder gets them: each made square</span>',
                elem_classes="tight",
                padding=False,
            )
            crops = gr.Gallery(
                label="Windows as the encoder gets them", show_label=False, columns=5, object_fit="contain",
                height="auto", interactive=False, buttons=[], elem_id="crops",
            )  # fmt: skip
    stages = gr.HTML(_HINT, elem_id="stages", elem_classes="saw", padding=False)
    return Panel(which, evidence, windows, crops, stages)


_SQUARE = '<span class="faint caption">As the encoder gets them: each made square</span>'
_HINT = (
    '<p class="faint">Beside each answer: where on the image it was read, the windows the image was cut '
    "into, and tokens and seconds of each stage.</p>"
)


def _image(says: str, id: str) -> Any:
    return gr.Image(
        show_label=False,
        type="pil",
        format="webp",
        interactive=False,
        buttons=["fullscreen"],
        height=310,
        elem_id=id,
        alt_text=says,
    )


def loaded(models: Models, name: str) -> Generator[str, None, VLM]:
    """The model somebody chose; says what goes on while it is loaded, and can be left meanwhile."""
    if models.is_loaded(name):
        return models.get(name)

    def load(tell: Callable[[str], None]) -> VLM:
        tell(f"Loading {html.escape(Path(name).name)} …")
        return models.get(name)

    return (yield from followed(load))


def empty_panel() -> list[Any]:
    """The panel without anything."""
    return [gr.update(choices=[], value=None, visible=False), None, None, [], _HINT]


def filled_panel(
    pictures: tuple[Picture, ...], answer: Answer, index: int | None, window_size: int
) -> list[Any]:
    """What the model saw of one of the images.

    Args:
        pictures: all that the answer's windows count over.
        answer: to show.
        index: which image; None: the one the answer was read from, or the last.
        window_size: side of the encoder's square in pixels.
    """
    if not pictures:
        return [*empty_panel()[:4], stages_html(answer)]
    if index is None:
        index = answer.evidence[0].image if answer.evidence else len(pictures) - 1
    saw = seen(pictures[index].open(), answer, index, window_size)
    names = [(f"{number + 1}: {one.name}", number) for number, one in enumerate(pictures)]
    which = gr.update(choices=names, value=index, visible=len(pictures) > 1)
    return [which, saw.evidence, saw.windows, list(saw.crops), stages_html(answer)]
