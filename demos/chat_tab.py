"""The Chat tab: a conversation about images, and beside each answer what the model saw for it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import gradio as gr

from pan_and_scan import MAX_WINDOWS
from vlm.errors import UsageError

from .background import relayed
from .conversation import Ask, Conversation, respond
from .draw_images import FOLDER
from .handlers import POLICIES, Settings
from .history import Kept, choices, from_json, to_json, with_conversation, without
from .models import Models
from .page_picker import PagePicker
from .pictures import SUFFIXES, Picture
from .wiring import (
    EXAMPLES,
    LONG,
    QUICK,
    REFUSED,
    Chosen,
    empty_panel,
    filled_panel,
    loaded,
    panel,
    refusal,
    uploads,
)

_HELLO = "Drop, paste or upload an image or a PDF below, and ask about it. Or begin with an example."


# The browser's storage is read anew before each change, so that the conversations of two tabs come into one
# list. Of one conversation that is gone on with in both, the later tab's state is kept.
_KEY = "vlm-history"
_STORED = f"""(first, _) => {{
  try {{ return [first, localStorage.getItem('{_KEY}') || '[]']; }}
  catch (error) {{ return [first, '[]']; }}
}}"""
_STORE = f"""(kept) => {{
  try {{ localStorage.setItem('{_KEY}', kept); }}
  catch (error) {{ console.warn('vlm: this browser keeps no history', error); }}
}}"""


class Chat(NamedTuple):
    """Components that other tabs and the page need."""

    talk: Any
    settings: list[Any]
    compare: Any  # button: the same question under each policy


def chat_tab(models: Models, page: gr.Blocks) -> Chat:
    """Lay the tab out and wire it."""
    talk = gr.State(None, time_to_live=3600)
    kept = gr.Textbox(label="History as JSON", visible=False)  # on its way to the browser's storage, or back
    with gr.Row(elem_id="chat-row"):
        with gr.Column(scale=6, min_width=320):
            chat = _chatbot()
            picker = PagePicker()
            box = _box()
            status = gr.Markdown(elem_classes="status", elem_id="status", container=False)
            with gr.Row(elem_classes="keep"):
                new = gr.Button("New conversation", size="sm", min_width=120)
                compare = gr.Button("Compare policies on this", size="sm", min_width=120)
            camera = _camera()
            settings = settings_side(models)
            with gr.Accordion("Earlier conversations, kept in this browser", open=False, elem_classes="late"):
                listed = gr.Radio([], label="Conversations", show_label=False, elem_id="kept")
                with gr.Row(elem_classes="keep"):
                    delete = gr.Button("Delete this one", size="sm", min_width=100)
                    delete_all = gr.Button("Delete all", size="sm", min_width=100)
        with gr.Column(scale=5, min_width=320):
            saw = panel()
    shown = [chat, box, talk, status, *saw]
    asking = _Asking(models)
    running = [
        box.submit(asking.new, [box, picker.pages, talk, *settings], shown, **LONG),
        chat.retry(asking.again, [talk, *settings], shown, **LONG),
        chat.edit(asking.edited, [talk, *settings], shown, **LONG),
        chat.example_select(asking.example, [talk, *settings], shown, **LONG),
    ]

    def stored(event: Any) -> Any:
        return event.then(None, kept, None, js=_STORE, **QUICK)

    def keep_after(event: Any) -> Any:
        return stored(event.then(_keep, [talk, kept], [kept, listed], js=_STORED, **QUICK))

    for event in running:
        keep_after(event).then(lambda: _IDLE, None, box, **QUICK)

    def ended(event: Any) -> Any:
        """After the running answer was stopped, so that none of its words comes late."""
        return event(None, None, None, cancels=running, **QUICK).then

    keep_after(ended(box.stop)(_stop, talk, [chat, box, talk, status], **QUICK))
    ended(new.click)(_fresh, None, [listed, *shown], **QUICK)
    ended(chat.clear)(_fresh, None, [listed, *shown], **QUICK)
    ended(listed.input)(_open, [listed, kept], shown, js=_STORED, **QUICK)
    stored(ended(delete.click)(_delete, [listed, kept], [kept, listed, *shown], js=_STORED, **QUICK))
    stored(ended(delete_all.click)(_delete_all, None, [kept, listed, *shown], **QUICK))
    keep_after(chat.undo(asking.undo, talk, shown, **QUICK))
    chat.select(asking.shown, talk, list(saw), **QUICK)
    saw.which.input(asking.other, [talk, saw.which], list(saw), **QUICK)
    camera.input(_with_photo, [box, camera], [box, camera], **QUICK)
    picker.wire(box)
    page.load(_restore, [listed, kept], [listed, *shown], js=_STORED, **QUICK)
    return Chat(talk, settings, compare)


def _chatbot() -> Any:
    examples = [
        {"text": question, "display_text": says, "icon": str(FOLDER / name), "files": [str(FOLDER / name)]}
        for name, question, says in EXAMPLES
    ]
    return gr.Chatbot(
        label="Conversation",
        elem_id="chat",
        show_label=False,
        buttons=["copy", "copy_all"],
        editable="user",
        render_markdown=False,
        latex_delimiters=[],
        allow_tags=False,
        allow_file_downloads=False,
        layout="bubble",
        placeholder=_HELLO,
        examples=examples,
        group_consecutive_messages=False,
        feedback_options=None,
    )


def _box() -> Any:
    return gr.MultimodalTextbox(
        label="Question",
        show_label=False,
        placeholder="Ask about an image: drop, paste or attach images and PDFs",
        file_count="multiple",
        file_types=list(SUFFIXES),
        sources=["upload"],
        lines=1,
        max_lines=6,
        max_plain_text_length=4000,
        elem_id="question",
    )


def _camera() -> Any:
    with gr.Accordion("Camera", open=False, elem_classes="late"):
        return gr.Image(
            label="Take a picture; it is added to the question",
            sources=["webcam"],
            type="filepath",
            height=260,
            buttons=[],
            elem_id="camera",
        )


def settings_side(models: Models) -> list[Any]:
    """What a person can set, in the order of ``Chosen.of``."""
    now = Settings()
    with gr.Accordion("Settings", open=False, elem_classes="late"):
        model = gr.Dropdown(
            list(models.names), value=models.first_name, label="Model", interactive=len(models.names) > 1,
            info="Those on this machine; another one is loaded with its first question",
            elem_id="model",
        )  # fmt: skip
        policy = gr.Radio(
            [(says, name) for name, says in POLICIES.items()], value=now.policy, label="How images are cut"
        )
        windows = gr.Slider(
            1,
            MAX_WINDOWS,
            value=now.max_windows,
            step=1,
            label="Windows an image at most, whole included",
        )
        tokens = gr.Slider(16, 2048, value=now.max_tokens, step=16, label="Tokens of an answer at most")
        heat = gr.Slider(
            0, 2, value=now.temperature, step=0.1, label="Temperature (0: always the likeliest token)"
        )
        system = gr.Textbox(
            label="System text",
            lines=2,
            max_lines=6,
            max_length=4000,
            placeholder="None",
        )
    return [model, policy, windows, tokens, heat, system]


class _Asking:
    """The events of a conversation. Each gives the values of ``shown``."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def new(
        self, value: dict[str, Any], pages: str, talk: Conversation | None, *how: Any
    ) -> Iterator[list[Any]]:
        """A question from the box."""
        talk = talk or Conversation()
        yield from self._steps(talk, talk, Ask(value["text"] or "", value["files"], pages), how)

    def again(self, at: gr.RetryData, talk: Conversation, *how: Any) -> Iterator[list[Any]]:
        """Answer a question once more."""
        yield from self._asked_again(talk, _turn_at(_still_there(talk), at.index), None, how)

    def edited(self, at: gr.EditData, talk: Conversation, *how: Any) -> Iterator[list[Any]]:
        """Answer a question that was changed; what came after it goes."""
        yield from self._asked_again(talk, _turn_at(_still_there(talk), at.index), str(at.value), how)

    def example(self, at: gr.SelectData, talk: Conversation | None, *how: Any) -> Iterator[list[Any]]:
        """Ask what an example asks."""
        talk = talk or Conversation()
        name, question, _ = EXAMPLES[int(at.index)]
        yield from self._steps(talk, talk, Ask(question, [str(FOLDER / name)]), how)

    def undo(self, at: gr.UndoData, talk: Conversation) -> list[Any]:
        """Take the last question back into the box."""
        turn = _turn_at(_still_there(talk), at.index)
        box = gr.update(value={"text": talk.turns[turn].question, "files": []})
        before = talk.before(turn)
        return [_messages(before), box, before, "", *self._panel(before)]

    def shown(self, at: gr.SelectData, talk: Conversation | None) -> list[Any]:
        """Show what the model saw for the answer that was clicked."""
        if talk is None or not talk.turns:
            return [gr.skip()] * 5
        return self._panel(talk.before(_turn_at(talk, at.index) + 1))

    def other(self, talk: Conversation | None, index: int | None) -> list[Any]:
        """Show another image of the last answer."""
        return [gr.skip()] * 5 if talk is None else self._panel(talk, index)

    def _asked_again(
        self, talk: Conversation, turn: int, question: str | None, how: tuple[Any, ...]
    ) -> Iterator[list[Any]]:
        old = talk.turns[turn]
        ask = Ask(old.question if question is None else question, pictures=old.pictures)
        yield from self._steps(talk, talk.before(turn), ask, how)

    def _steps(
        self, before: Conversation, talk: Conversation, ask: Ask, how: tuple[Any, ...]
    ) -> Iterator[list[Any]]:
        name, settings = Chosen.of(how)
        box: Any = _busy()
        cleared = False
        untouched = [gr.skip()] * 5
        try:
            vlm = yield from relayed(
                loaded(self._models, name), lambda status: [gr.skip(), _busy(), gr.skip(), status, *untouched]
            )
            for now, status in respond(vlm, talk, ask, settings):
                last = bool(now.turns) and now.turns[-1].said is not None
                saw = self._panel(now) if last else untouched
                yield [_messages(now), _IDLE if last else box, now, status, *saw]
                box, cleared = gr.skip(), True  # cleared once: what is typed meanwhile stays
        except REFUSED as error:
            asked = {"text": ask.question, "files": list(ask.files)}
            if cleared:
                yield [_messages(before), gr.update(**_IDLE_BUTTONS, value=asked), before, "", *untouched]
            raise refusal(error) from None

    def _panel(self, talk: Conversation, index: int | None = None) -> list[Any]:
        """What the model saw for the last answer."""
        said = talk.turns[-1].said if talk.turns else None
        if said is None:
            return empty_panel()
        try:
            return filled_panel(talk.pictures, said, index, self._models.window_size(said.model))
        except REFUSED:  # the file was deleted meanwhile
            return empty_panel()


_IDLE_BUTTONS: dict[str, Any] = {"submit_btn": True, "stop_btn": False}
_IDLE = gr.update(**_IDLE_BUTTONS)


def _busy() -> dict[str, Any]:
    """An empty box with a stop button; made anew each time, because Gradio takes the value out of it."""
    update: dict[str, Any] = gr.update(value=None, submit_btn=False, stop_btn=True)
    return update


def _still_there(talk: Conversation | None) -> Conversation:
    """The open conversation: a server forgets what nobody went on with for an hour."""
    if talk is None:
        raise refusal(
            UsageError("this conversation was put aside: open it again under Earlier conversations")
        )
    return talk


def _turn_at(talk: Conversation, index: Any) -> int:
    """The turn of a message, as gradio counts messages."""
    place = index[0] if isinstance(index, (list, tuple)) else index
    return talk.bubbles[min(int(place), len(talk.bubbles) - 1)].turn


def _messages(talk: Conversation) -> list[dict[str, Any]]:
    """A conversation for the chatbot, one message a bubble, so that its indices are ours."""
    return [
        {
            "role": "assistant" if bubble.kind == "answer" else "user",
            "content": bubble.text if bubble.picture is None else _thumb_file(bubble.picture),
        }
        for bubble in talk.bubbles
    ]


def _thumb_file(picture: Picture) -> Any:
    """A thumbnail as a file that gradio serves; the name where there is none."""
    if not picture.thumb:
        return f"[{picture.name}]"
    held = base64.b64decode(picture.thumb.partition(",")[2])
    path = uploads() / hashlib.sha256(held).hexdigest() / "thumbnail.webp"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(held)
    return {"path": str(path), "alt_text": picture.name}


def _stop(talk: Conversation | None) -> list[Any]:
    """Keep what was said so far."""
    talk = (talk or Conversation()).stopped()
    return [_messages(talk), _IDLE, talk, "Stopped."]


def _opened(talk: Conversation, status: str = "") -> list[Any]:
    """Another conversation in place of the one that was open."""
    return [_messages(talk), gr.update(**_IDLE_BUTTONS, value=None), talk, status, *empty_panel()]


def _listed(kept: list[Kept], open_id: str | None) -> Any:
    return gr.update(choices=choices(kept), value=open_id)


def _kept(stored: str) -> list[Kept]:
    """What the browser keeps, whatever that is."""
    try:
        return from_json(json.loads(stored), uploads())
    except (ValueError, RecursionError):
        return []


def _to_store(kept: list[Kept]) -> str:
    return json.dumps(to_json(kept, uploads()), separators=(",", ":"))


def _keep(talk: Conversation | None, stored: str) -> tuple[Any, Any]:
    """Put the open conversation among those that the browser keeps."""
    kept = _kept(stored)
    if talk is not None:
        kept = with_conversation(kept, talk.stopped())
    return _to_store(kept), _listed(kept, talk.id if talk is not None and talk.turns else None)


def _open(id: str | None, stored: str) -> list[Any]:
    for one in _kept(stored):
        if one.conversation.id == id:
            return _opened(one.conversation)
    return [gr.skip()] * 9


def _restore(_: str | None, stored: str) -> list[Any]:
    """After a refresh: the list, and the conversation that was gone on with last."""
    kept = _kept(stored)
    talk = kept[0].conversation if kept else Conversation()
    messages, _, *rest = _opened(talk)
    # The box is left alone: whoever is quick has begun to fill it.
    return [_listed(kept, talk.id if kept else None), messages, gr.skip(), *rest]


def _delete(id: str | None, stored: str) -> list[Any]:
    kept = without(_kept(stored), id or "")
    return [_to_store(kept), _listed(kept, None), *_opened(Conversation())]


def _fresh() -> list[Any]:
    """A new conversation; the list shows none as open."""
    return [gr.update(value=None), *_opened(Conversation())]


def _delete_all() -> list[Any]:
    return ["[]", _listed([], None), *_opened(Conversation())]


def _with_photo(value: dict[str, Any] | None, photo: str | None) -> tuple[Any, Any]:
    """Add a picture from the camera to the question."""
    if photo is None:
        return gr.skip(), gr.skip()
    value = value or {"text": "", "files": []}
    return {"text": value["text"], "files": [*value["files"], photo]}, None
