"""What a request means for a ``VLM``: its messages, its options, and what must be done in a thread first.

``asked`` is quick and runs in the event loop: the order of roles, the limits that can be counted, the
ranges of options. The rest runs in a worker when the request's turn has come: ``files_of`` unpacks the
images' files, and once there is room for their pixels ``prepared`` decodes them, compiles a schema and
counts windows.

The order of roles is looser here than in the prompt: instructions may be several messages (those after the
first question are told by the user), messages of one side in a row are one turn, and what functions returned
is the user's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from PIL import Image

from pan_and_scan import plan
from vlm.closing import Kind
from vlm.constrain import Constraint
from vlm.errors import UsageError
from vlm.options import Options
from vlm.sampling import Sampling
from vlm.server.errors import ApiError
from vlm.server.images import ImageRef, check_count, data_of, opened
from vlm.server.limits import Limits
from vlm.server.tools import Toolbox, said_call, told_result
from vlm.server.wire import (
    AnyJson,
    AssistantMessage,
    ChatRequest,
    Decoding,
    ImagePart,
    JsonBySchema,
    RefusalPart,
    SystemMessage,
    TextPart,
    ToolMessage,
)
from vlm.session import VLM, Message

Told = Literal["evidence", "attention"]
_TOLD: tuple[Told, ...] = ("evidence", "attention")

_STOPS = 16  # strings that end an answer, and their characters each
_STOP_LENGTH = 256


@dataclass(frozen=True)
class Said:
    """A message whose images are not opened yet."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[str | ImageRef, ...]


@dataclass(frozen=True)
class Held:
    """What answers are held to, not compiled yet."""

    kind: Kind
    source: str  # JSON of a schema or of choices, an expression, a grammar


@dataclass(frozen=True)
class Asked:
    """A request, understood."""

    said: tuple[Said, ...]
    options: Options  # of each answer, without constraint; the seed of answer i is i higher
    held_to: Held | None
    toolbox: Toolbox
    choices: int
    told: frozenset[Told]  # beside the answer

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """In the order they were sent."""
        return tuple(part for said in self.said for part in said.parts if isinstance(part, ImageRef))


def asked(request: ChatRequest, limits: Limits) -> Asked:
    """What a request of ``/v1/chat/completions`` means.

    Raises:
        ApiError: over a limit, or contradicting itself.
        UsageError: an option out of range.
    """
    toolbox = Toolbox.of(
        request.tools or (), request.tool_choice, several=request.parallel_tool_calls is not False
    )
    held_to = _held_to(request, toolbox)
    said, details = _conversation(request, toolbox)
    if not said or said[-1].role != "user":
        raise ApiError(
            400, "messages: there is no question; the last message is the user's", "invalid_value", "messages"
        )
    found = [part for message in said for part in message.parts if isinstance(part, ImageRef)]
    check_count(found, limits)
    if sum(len(part) for message in said for part in message.parts if isinstance(part, str)) > limits.text:
        raise ApiError(400, f"more than {limits.text} characters of text", "text_too_long", "messages")
    choices = request.n or 1
    if choices > limits.choices:
        raise ApiError(400, f"n: at most {limits.choices} answers to a request", "invalid_value", "n")
    options = Options(
        policy=_policy(request, bool(details) and all(detail == "low" for detail in details)),
        max_windows=request.vlm.max_windows if request.vlm is not None else None,
        max_tokens=_max_tokens(request, limits),
        sampling=sampling_of(request),
        stop=_stops(request.stop),
        top_logprobs=request.top_logprobs or 0,
    )
    extras = request.vlm.model_dump() if request.vlm else {}
    told = frozenset(name for name in _TOLD if extras.get(name))
    return Asked(said, options, held_to, toolbox, choices, told)


def files_of(asked: Asked, fetched: Mapping[ImageRef, bytes], limits: Limits) -> dict[ImageRef, bytes]:
    """The bytes of a request's images: those of data URLs are decoded here.

    Raises:
        ApiError: a data URL is none, or too large.
    """
    return {ref: fetched[ref] if ref in fetched else data_of(ref, limits) for ref in asked.images}


def prepared(
    asked: Asked, files: Mapping[ImageRef, bytes], limits: Limits, model: VLM
) -> tuple[tuple[Message, ...], Options]:
    """Messages with their images, and the options with their constraint.

    Args:
        asked: the request.
        files: bytes of its images.
        limits: of images.
        model: which will answer.

    Raises:
        ApiError: an image can't be read or is too large, or they make too many windows.
        UsageError: the schema can't be used.
    """
    options = asked.options
    if asked.held_to is not None:
        options = replace(options, constraint=_compiled(asked.held_to))
    images: dict[ImageRef, Image.Image] = {}
    windows, room = 0, limits.all_pixels
    for ref in asked.images:
        images[ref] = image = opened(files[ref], ref, max(1, min(limits.pixels, room)))
        room -= image.width * image.height
        windows += len(plan(*image.size, options.windowing(model.engine.window_size)))
        if windows > limits.windows:
            raise ApiError(
                400,
                f"the images make more than {limits.windows} windows: send fewer, or set vlm.max_windows",
                "too_many_windows",
                ref.param,
            )
    messages = tuple(
        Message(said.role, tuple(images[p] if isinstance(p, ImageRef) else p for p in said.parts))
        for said in asked.said
    )
    return messages, options


def sampling_of(request: Decoding) -> Sampling:
    """How tokens are chosen; the likeliest if the request names nothing."""
    named = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "min_p": request.min_p,
        "repetition_penalty": request.repetition_penalty,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        "seed": None if request.seed is None else request.seed % 2**62,  # clients send negative ones too
    }
    return Sampling(**{name: value for name, value in named.items() if value is not None})  # type: ignore[arg-type]


def reseeded(options: Options, index: int) -> Options:
    """Options of one of several answers: with one seed for all they would be the same."""
    seed = options.sampling.seed
    if seed is None or index == 0:
        return options
    return replace(options, sampling=replace(options.sampling, seed=seed + index))


def _policy(request: ChatRequest, low: bool) -> str:
    if request.vlm is not None and request.vlm.policy is not None:
        return request.vlm.policy
    return "off" if low else Options().policy


def _max_tokens(request: ChatRequest, limits: Limits) -> int:
    wanted = request.max_completion_tokens or request.max_tokens
    if wanted is None:
        return min(Options().max_tokens, limits.tokens)
    if wanted > limits.tokens:
        name = "max_completion_tokens" if request.max_completion_tokens else "max_tokens"
        raise ApiError(400, f"{name}: at most {limits.tokens} are answered", "invalid_value", name)
    return wanted


def _stops(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if len(stops) > _STOPS or any(not 0 < len(text) <= _STOP_LENGTH for text in stops):
        raise ApiError(
            400, f"stop: up to {_STOPS} texts of 1 to {_STOP_LENGTH} characters", "invalid_value", "stop"
        )
    return stops


def _held_to(request: ChatRequest, toolbox: Toolbox) -> Held | None:
    """What an answer is held to: a forced call, a format (or a call), or one of vLLM's forms."""
    formatted, structured = request.response_format, request.structured_outputs
    wanted: dict[str, Any] | None = None
    if isinstance(formatted, AnyJson):
        wanted = formatted.json_schema or {"type": "object"}
    elif isinstance(formatted, JsonBySchema):
        wanted = formatted.json_schema.json_schema
    if structured is not None and (wanted is not None or toolbox.functions):
        raise ApiError(
            400,
            "structured_outputs: an answer keeps to one thing: leave out it, or tools and response_format",
            "invalid_value",
            "structured_outputs",
        )
    if structured is not None:
        if structured.regex is not None:
            return Held("regex", structured.regex)
        if structured.grammar is not None:
            return Held("grammar", structured.grammar)
        return Held("choice", json.dumps(structured.choice))
    try:
        wanted = toolbox.schema(wanted)
        return None if wanted is None else Held("schema", json.dumps(wanted))
    except (ValueError, RecursionError):
        raise UsageError("the schema is nested too deeply") from None


@lru_cache(maxsize=64)
def _compiled(held: Held) -> Constraint:
    if held.kind == "schema":
        return Constraint.schema(held.source, "as written")
    if held.kind == "choice":
        return Constraint.choice(json.loads(held.source))
    return Constraint.regex(held.source) if held.kind == "regex" else Constraint.grammar(held.source)


def _conversation(request: ChatRequest, toolbox: Toolbox) -> tuple[tuple[Said, ...], list[str | None]]:
    """The turns, and how closely each image is to be looked at."""
    system: list[str] = []
    turns: list[Said] = []
    details: list[str | None] = []
    names: dict[str, str] = {}  # of the functions called, by the call's id
    for index, message in enumerate(request.messages):
        place = f"messages[{index}]"
        if isinstance(message, SystemMessage):
            # The prompt has one place for instructions: before the first question. Later ones join a turn.
            if turns:
                _join(turns, Said("user", (*_texts(message.content),)))
            else:
                system += _texts(message.content)
        elif isinstance(message, AssistantMessage):
            texts = _texts(message.content or message.refusal or "")
            calls = message.tool_calls or ()
            names |= {call.id: call.function.name for call in calls}
            _join(turns, Said("assistant", (*texts, *([said_call(calls)] if calls else []))))
        elif isinstance(message, ToolMessage):
            if message.tool_call_id not in names:
                raise ApiError(400, f"{place}: no earlier call has that tool_call_id", "invalid_value", place)
            result = told_result(names[message.tool_call_id], "".join(_texts(message.content)))
            _join(turns, Said("user", (result,)))
        else:
            parts: list[str | ImageRef] = []
            for at, part in enumerate([] if isinstance(message.content, str) else message.content):
                if isinstance(part, ImagePart):
                    parts.append(ImageRef(part.url, f"{place}.content[{at}].image_url"))
                    details.append(part.detail)
                else:
                    parts.append(part.text)
            _join(turns, Said("user", (message.content,) if isinstance(message.content, str) else (*parts,)))
    if toolbox.setup:
        system.append(toolbox.setup)
    first = (Said("system", ("\n\n".join(system),)),) if system else ()
    return (*first, *turns), details


def _texts(content: str | Sequence[TextPart] | Sequence[TextPart | RefusalPart]) -> list[str]:
    if isinstance(content, str):
        return [content] if content else []
    return [part.text if isinstance(part, TextPart) else part.refusal for part in content]


def _join(turns: list[Said], said: Said) -> None:
    """Add a message; one of the same side as the last belongs to its turn."""
    if not turns or turns[-1].role != said.role:
        turns.append(said)
        return
    before, after = turns[-1].parts, said.parts
    if before and after and isinstance(before[-1], str) and isinstance(after[0], str):
        # In one part: the prompt trims each and puts nothing between them.
        before, after = (*before[:-1], f"{before[-1]}\n\n{after[0]}"), after[1:]
    turns[-1] = Said(said.role, (*before, *after))
