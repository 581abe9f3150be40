"""How a question is put to which server.

Three are told apart by who ``/v1/models`` says owns the model: our own (``vlm``), which cuts images by
every policy and tells what it looked at; vLLM (``vllm``), which cuts them as published where
``mm_processor_kwargs`` ask for it; and any other, which is asked nothing but what OpenAI's interface has.
What a server can't do is refused before anything is sent, never left out in silence. The one exception
is ``adaptive``, because it is what nobody has to ask for: elsewhere it means the whole image, and the
person is told so.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image

from pan_and_scan import Gemma3, Window, load_image, windows_of
from vlm.answer import UsedWindow
from vlm.asking import Message
from vlm.constrain import Constraint
from vlm.errors import PromptError, RemoteError, UsageError
from vlm.options import GUIDED, Options

Kind = Literal["vlm", "vllm", "openai"]
WINDOW, TOKENS = 896, 256  # pixels a side and soft tokens of a window of every published Gemma 3
_COMPRESSION = 3  # of 9: a third larger than the best, in a quarter of the time


@dataclass(frozen=True)
class Served:
    """A model on a server.

    Attributes:
        model: its name there.
        kind: what can be asked of the server.
        window_size: side of the encoder's square in pixels.
        tokens_per_image: soft tokens a window.
    """

    model: str
    kind: Kind
    window_size: int = WINDOW
    tokens_per_image: int = TOKENS


@dataclass(frozen=True)
class Question:
    """A request, and what is known of its answer beforehand."""

    body: dict[str, Any]
    served: Served
    sizes: tuple[tuple[int, int], ...]  # of the images that are sent
    windows: tuple[UsedWindow, ...]  # what the server was asked to look at

    @property
    def image_tokens(self) -> int:
        """Soft tokens of the windows; 0 where the model is none of Gemma's for all that is known."""
        return 0 if self.served.kind == "openai" else len(self.windows) * self.served.tokens_per_image

    @property
    def told_attention(self) -> bool:
        """Whether the answer brings along where on the images it was read."""
        return self.served.kind == "vlm" and bool(self.sizes)

    def data_of(self, constraint: Constraint, text: str) -> Any:
        """The value an answer under a constraint stands for, looked at again where the server isn't ours.

        Raises:
            RemoteError: the server didn't keep to it.
        """
        try:
            data = constraint.data_of(text)
        except UsageError:
            raise RemoteError(
                f"{self.served.model}: the answer is no whole JSON; raise --max-tokens, or its server can't "
                "hold answers to a schema"
            ) from None
        if self.served.kind != "vlm":
            _check_kept(constraint, text, data)
        return data


def question_of(served: Served, messages: Sequence[Message], options: Options) -> Question:
    """The request for the answer to a conversation's last message.

    Raises:
        ImageError: an image can't be read.
        PromptError: no question.
        UsageError: something this server can't do.
    """
    asked = "".join(part for message in messages[-1:] for part in message.parts if isinstance(part, str))
    if not asked.strip():
        raise PromptError("no question: say what you want to know about the image")
    if options.system:
        messages = (Message("system", (options.system,)), *messages)
    images: list[Image.Image] = []
    sent = [{"role": message.role, "content": _content(message, images)} for message in messages]
    body = {
        "model": served.model,
        "messages": sent,
        "stream": True,
        "stream_options": {"include_usage": True},
        "logprobs": True,
        "max_tokens": options.max_tokens,
    }
    policy = _policy(served, options) if images else "off"
    body |= (
        _sampling(served, options)
        | _constraint(served, options.constraint)
        | _extras(served, options, policy)
    )
    # Our own server tells its windows; another's are those it was asked for.
    plan = options.windowing(served.window_size) if policy == "gemma3" else None
    windows: list[UsedWindow] = []
    for index, image in enumerate(images):
        whole = (Window(0, 0, image.width, image.height, "whole"),)
        windows += [UsedWindow(index, window) for window in (windows_of(image, plan) if plan else whole)]
    return Question(body, served, tuple(image.size for image in images), tuple(windows))


def falls_back(served: Served, options: Options) -> bool:
    """Whether images are read whole because the server knows nothing of ``adaptive``."""
    return served.kind != "vlm" and options.policy == "adaptive"


def _content(message: Message, images: list[Image.Image]) -> str | list[dict[str, Any]]:
    """What a message says, its images as data URLs; these are added to ``images``."""
    if all(isinstance(part, str) for part in message.parts) and len(message.parts) == 1:
        return str(message.parts[0])
    parts: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, str):
            parts.append({"type": "text", "text": part})
            continue
        image = load_image(part)
        images.append(image)
        parts.append({"type": "image_url", "image_url": {"url": data_url(image)}})
    return parts


def data_url(image: Image.Image) -> str:
    """An image as it is, pixel by pixel, in a URL."""
    held = io.BytesIO()
    image.save(held, "PNG", compress_level=_COMPRESSION)
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode("ascii")


def _policy(served: Served, options: Options) -> str:
    """The policy that the server is asked for."""
    name = options.policy
    if served.kind == "vlm" or name == "off":
        return name
    if name == GUIDED:
        raise UsageError("guided windows need a server of `vlm serve`: choose --policy off or gemma3")
    if name == "gemma3" and served.kind == "openai":
        raise UsageError("this server can't cut images: choose --policy off (vLLM and `vlm serve` can)")
    return "off" if name == "adaptive" else name


def _extras(served: Served, options: Options, policy: str) -> dict[str, Any]:
    """What is asked beside OpenAI's fields."""
    if served.kind == "vlm":
        wanted = {"policy": options.policy, "max_windows": options.max_windows}
        return {"vlm": wanted | {"evidence": True, "attention": True}}
    if served.kind == "openai":
        return {}
    cut = options.windowing(served.window_size) if policy == "gemma3" else None
    if not isinstance(cut, Gemma3):
        return {"mm_processor_kwargs": {"do_pan_and_scan": False}}
    return {
        "mm_processor_kwargs": {
            "do_pan_and_scan": True,
            "pan_and_scan_min_crop_size": cut.min_crop_size,
            "pan_and_scan_max_num_crops": cut.max_crops,
            "pan_and_scan_min_ratio_to_activate": cut.min_ratio,
        }
    }


def _sampling(served: Served, options: Options) -> dict[str, Any]:
    """How tokens are chosen; everything is said, because a server's own defaults may be the model's."""
    chosen = options.sampling
    sent: dict[str, Any] = {"temperature": chosen.temperature, "top_p": chosen.top_p}
    if options.top_logprobs:
        sent["top_logprobs"] = options.top_logprobs
    for name in ("frequency_penalty", "presence_penalty"):
        if value := getattr(chosen, name):
            sent[name] = value
    if chosen.seed is not None:
        sent["seed"] = chosen.seed
    if options.stop:
        sent["stop"] = list(options.stop)
    more = {
        "top_k": chosen.top_k,
        "min_p": chosen.min_p,
        "repetition_penalty": chosen.repetition_penalty,
    }
    if served.kind != "openai":
        off = -1 if served.kind == "vllm" else 0  # vLLM's word for all tokens
        return sent | more | {"top_k": chosen.top_k or off}
    changed = [name for name, value in more.items() if value != (1.0 if name == "repetition_penalty" else 0)]
    if changed:
        raise UsageError(f"this server knows no {changed[0]}: leave it out (vLLM and `vlm serve` know it)")
    return sent


def _constraint(served: Served, constraint: Constraint | None) -> dict[str, Any]:
    """What the answer is held to."""
    if constraint is None:
        return {}
    if constraint.kind == "schema":
        named = {"name": "answer", "schema": constraint.json_schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    if served.kind == "openai" or (served.kind == "vllm" and constraint.kind == "grammar"):
        raise UsageError(f"this server can't hold an answer to a {constraint.kind}: use --schema")
    choices = constraint.kind == "choice"
    value = json.loads(constraint.source) if choices else constraint.source
    return {"structured_outputs": {constraint.kind: value}}


def _check_kept(constraint: Constraint, text: str, data: Any) -> None:
    """Refuse an answer that is not what was asked for."""
    if constraint.kind == "schema":
        try:
            import jsonschema
        except ImportError:
            raise UsageError(
                "answers of other servers are checked with jsonschema: pip install 'vlm[schema]'"
            ) from None
        try:
            jsonschema.validate(data, constraint.json_schema)
        except (jsonschema.ValidationError, RecursionError):
            raise RemoteError(
                "the server didn't keep to the schema; it may not know response_format"
            ) from None
    elif not constraint.accepts(text):
        raise RemoteError(f"the server didn't keep to the {constraint.kind}; it may be too old for it")
