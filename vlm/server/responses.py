"""``/v1/responses``: the same answers in OpenAI's newer form.

A request becomes one of ``/v1/chat/completions`` and is answered by the same code; only the shapes differ.
Nothing is kept between requests, so ``previous_response_id`` and ``conversation`` are refused, and
``store`` is ignored.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from pydantic import Discriminator, Field, Tag, ValidationError

from vlm.server.asking import Asked, asked, sampling_of
from vlm.server.chat import counted, streamed, understand, whole
from vlm.server.errors import ApiError, of_validation
from vlm.server.running import Ended, Piece, Replies
from vlm.server.service import Service
from vlm.server.shapes import usage_of
from vlm.server.tools import HeldText
from vlm.server.wire import (
    ChatRequest,
    Decoding,
    Ignored,
    Lenient,
    NamedFunction,
    Unheeded,
)

# What the fields of a chat request are called in this form.
_NAMES_HERE = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
}


class InputText(Lenient):
    """Text."""

    type: Literal["input_text", "output_text", "text"]
    text: str


class InputImage(Lenient):
    """An image by its data URL."""

    type: Literal["input_image"]
    image_url: str
    detail: Literal["auto", "low", "high"] | None = None


def _form(value: Any) -> str:
    return "#parts" if isinstance(value, list) else "#text"


def _item(value: Any) -> str:
    kind = value.get("type", "message") if isinstance(value, dict) else "message"
    return kind if kind in ("function_call", "function_call_output") else "message"


_Part = Annotated[InputText | InputImage, Field(discriminator="type")]
_Content = Annotated[
    Annotated[str, Tag("#text")] | Annotated[list[_Part], Tag("#parts")], Discriminator(_form)
]


class InputMessage(Lenient):
    """What one side said."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: _Content


class FunctionCall(Lenient):
    """A call the model made."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str


class FunctionOutput(Lenient):
    """What a called function returned."""

    type: Literal["function_call_output"]
    call_id: str
    output: Annotated[
        Annotated[str, Tag("#text")] | Annotated[list[InputText], Tag("#parts")], Discriminator(_form)
    ]


_Item = Annotated[
    Annotated[InputMessage, Tag("message")]
    | Annotated[FunctionCall, Tag("function_call")]
    | Annotated[FunctionOutput, Tag("function_call_output")],
    Discriminator(_item),
]
_Input = Annotated[Annotated[str, Tag("#text")] | Annotated[list[_Item], Tag("#parts")], Discriminator(_form)]


class FlatTool(Lenient):
    """A function, its fields beside its type."""

    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FlatChoice(NamedFunction):
    """The function that must be called."""

    type: Literal["function"]


class Format(Lenient):
    """What the answer is held to; the schema's fields beside its type."""

    type: Literal["text", "json_object", "json_schema"]
    name: str = "answer"
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class Text(Lenient):
    """How the answer is written."""

    format: Format | None = None


class ResponsesRequest(Decoding):
    """Something to answer."""

    input: _Input
    instructions: str | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    text: Text | None = None
    tools: list[FlatTool] | None = None
    tool_choice: (
        Annotated[
            Annotated[Literal["none", "auto", "required"], Tag("#text")]
            | Annotated[FlatChoice, Tag("#parts")],
            Discriminator(lambda value: "#text" if isinstance(value, str) else "#parts"),
        ]
        | None
    ) = None
    top_logprobs: Unheeded = None

    include: Ignored = None
    stream_options: Ignored = None
    truncation: Literal["disabled"] | None = None

    background: Unheeded = None
    conversation: Unheeded = None
    previous_response_id: Unheeded = None
    prompt: Unheeded = None
    reasoning: Unheeded = None
    max_tool_calls: Unheeded = None


def as_chat(request: ResponsesRequest) -> dict[str, Any]:
    """The same request for ``/v1/chat/completions``."""
    shared = {name: getattr(request, name) for name in Decoding.model_fields if name != "vlm"}
    tools = [
        {"type": "function", "function": tool.model_dump(exclude={"type"})} for tool in request.tools or ()
    ]
    choice = request.tool_choice
    return shared | {
        "vlm": request.vlm and request.vlm.model_dump(),
        "messages": _messages(request),
        "max_tokens": request.max_output_tokens,
        "tools": tools or None,
        "tool_choice": {"type": "function", "function": {"name": choice.name}}
        if isinstance(choice, FlatChoice)
        else choice,
        "response_format": _format(request),
    }


async def respond(service: Service, body: ResponsesRequest, request: Request) -> Response:
    """Answer a request.

    Raises:
        ApiError: it can't be answered.
    """
    service.ready(body.model)
    try:
        understood = understand(service, lambda: asked(_checked(as_chat(body)), service.limits))
    except ApiError as error:
        raise _renamed(error) from None
    written = _Written(service.settings.name, _echoed(body))
    if not body.stream:
        (ended,) = await whole(service, understood, request)
        return JSONResponse(written.whole(ended, _items(understood, ended)))
    return await streamed(
        service, understood, request, lambda replies: _events(service, written, understood, replies)
    )


def _renamed(error: ApiError) -> ApiError:
    """An error of the chat request, under the names that this one's client knows."""
    message, param = str(error), error.param
    for inside, outside in _NAMES_HERE.items():
        if param is not None and re.match(rf"{inside}(?![a-z_])", param):
            # Items of the input and messages are not counted alike: the field alone is named.
            message, param = message.replace(param, outside), outside
    return ApiError(error.status, message, error.code, param, retry_after=error.retry_after)


def _echoed(request: ResponsesRequest) -> dict[str, Any]:
    """What a response repeats of its request."""
    told = request.model_dump(
        include={"instructions", "max_output_tokens", "top_p", "temperature", "parallel_tool_calls"}
    )
    sampling = sampling_of(request)
    choice = request.tool_choice
    format_ = request.text.format if request.text is not None else None
    metadata = request.metadata if isinstance(request.metadata, dict) else {}
    return told | {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "metadata": {key: value for key, value in metadata.items() if isinstance(value, str)},
        "tools": [tool.model_dump() for tool in request.tools or ()],
        "tool_choice": choice.model_dump() if isinstance(choice, FlatChoice) else choice or "auto",
        "text": {"format": _format_told(format_)},
        "truncation": "disabled",
    }


def _format_told(wanted: Format | None) -> dict[str, Any]:
    if wanted is None or wanted.type != "json_schema":
        return {"type": "text" if wanted is None else wanted.type}
    return wanted.model_dump(by_alias=True)


def _checked(chat: dict[str, Any]) -> ChatRequest:
    try:
        return ChatRequest.model_validate(chat)
    except ValidationError as error:
        found = [one | {"loc": ("body", *one["loc"])} for one in error.errors()]
        raise of_validation(found, chat) from None


def _messages(request: ResponsesRequest) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if request.instructions:
        messages.append({"role": "system", "content": request.instructions})
    if isinstance(request.input, str):
        return [*messages, {"role": "user", "content": request.input}]
    if not request.input:
        raise ApiError(400, "input: it is empty; ask something", "invalid_value", "input")
    for item in request.input:
        if isinstance(item, FunctionCall):
            function = {"name": item.name, "arguments": item.arguments}
            call = {"id": item.call_id, "type": "function", "function": function}
            messages.append({"role": "assistant", "tool_calls": [call]})
        elif isinstance(item, FunctionOutput):
            told = item.output if isinstance(item.output, str) else "".join(part.text for part in item.output)
            messages.append({"role": "tool", "tool_call_id": item.call_id, "content": told})
        else:
            messages.append({"role": item.role, "content": _content(item)})
    return messages


def _content(message: InputMessage) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str):
        return message.content
    parts: list[dict[str, Any]] = []
    for part in message.content:
        if isinstance(part, InputText):
            parts.append({"type": "text", "text": part.text})
        elif message.role == "user":
            parts.append({"type": "image_url", "image_url": {"url": part.image_url, "detail": part.detail}})
        else:
            raise ApiError(400, "input: only the user's messages hold images", "invalid_value", "input")
    return parts


def _format(request: ResponsesRequest) -> dict[str, Any] | None:
    wanted = request.text.format if request.text is not None else None
    if wanted is None or wanted.type != "json_schema":
        return None if wanted is None else {"type": wanted.type}
    if wanted.json_schema is None:
        raise ApiError(400, "text.format.schema: Field required", "invalid_value", "text.format.schema")
    return {"type": "json_schema", "json_schema": {"name": wanted.name, "schema": wanted.json_schema}}


def _items(understood: Asked, ended: Ended) -> list[dict[str, Any]]:
    """What an answer consists of: a message, or calls."""
    calls = understood.toolbox.calls_in(ended.answer.text)
    if calls:
        return [
            {"type": "function_call", "id": f"fc_{uuid.uuid4().hex}", "call_id": call["id"]}
            | call["function"]
            | {"status": "completed"}
            for call in calls
        ]
    return [_message(f"msg_{uuid.uuid4().hex}", ended.answer.text, _status(ended))]


def _status(ended: Ended) -> str:
    return "completed" if ended.answer.finish_reason == "stop" else "incomplete"


def _message(name: str, text: str, status: str) -> dict[str, Any]:
    return {
        "type": "message",
        "id": name,
        "role": "assistant",
        "status": status,
        "content": [_part(text)],
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


@dataclass
class _Written:
    """A response and the events it is told in."""

    model: str
    echoed: dict[str, Any]  # of the request
    id: str = field(default_factory=lambda: f"resp_{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))
    _number: int = -1

    def whole(self, ended: Ended, output: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The response at its end."""
        usage = usage_of([ended.answer])
        status = _status(ended)
        return self.begun() | {
            "status": status,
            "incomplete_details": None if status == "completed" else {"reason": "max_output_tokens"},
            "output": list(output),
            "usage": {
                "input_tokens": usage.prompt_tokens,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": usage.completion_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage.total_tokens,
            },
            "vlm": ended.extras,
        }

    def begun(self) -> dict[str, Any]:
        """The response while it is made."""
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "model": self.model,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "output": [],
            "usage": None,
            **self.echoed,
        }

    def event(self, kind: str, **told: Any) -> str:
        """One event."""
        self._number += 1
        return json.dumps({"type": kind, "sequence_number": self._number} | told, ensure_ascii=False)


async def _events(
    service: Service, written: _Written, understood: Asked, replies: Replies
) -> AsyncIterator[str]:
    held = HeldText(understood.toolbox)
    message = f"msg_{uuid.uuid4().hex}"
    place = {"item_id": message, "output_index": 0, "content_index": 0}
    open_ = False
    said = ""
    yield written.event("response.created", response=written.begun())
    yield written.event("response.in_progress", response=written.begun())
    try:
        async for event in counted(service, replies):
            items = _items(understood, event) if isinstance(event, Ended) else []
            calls = bool(items) and items[0]["type"] == "function_call"
            text = held.push(event.text) if isinstance(event, Piece) else "" if calls else held.rest()
            if (text or (items and not calls)) and not open_:
                open_ = True
                opened = _message(message, "", "in_progress") | {"content": []}
                yield written.event("response.output_item.added", output_index=0, item=opened)
                yield written.event("response.content_part.added", **place, part=_part(""))
            if text:
                said += text
                yield written.event("response.output_text.delta", **place, delta=text, logprobs=[])
            if not isinstance(event, Ended):
                continue
            if open_:
                items = [_message(message, said, _status(event))]
                yield written.event("response.output_text.done", **place, text=said, logprobs=[])
                yield written.event("response.content_part.done", **place, part=_part(said))
                yield written.event("response.output_item.done", output_index=0, item=items[0])
            else:
                for at, item in enumerate(items):
                    for line in _called(written, at, item):
                        yield line
            response = written.whole(event, items)
            yield written.event(f"response.{response['status']}", response=response)
    except ApiError as error:
        told = error.body()["error"]
        yield written.event("error", code=told["code"], message=told["message"], param=told["param"])


def _called(written: _Written, at: int, item: dict[str, Any]) -> list[str]:
    """The events of a call."""
    place = {"item_id": item["id"], "output_index": at}
    begun = item | {"arguments": "", "status": "in_progress"}
    arguments = item["arguments"]
    return [
        written.event("response.output_item.added", output_index=at, item=begun),
        written.event("response.function_call_arguments.delta", **place, delta=arguments),
        written.event(
            "response.function_call_arguments.done", **place, arguments=arguments, name=item["name"]
        ),
        written.event("response.output_item.done", output_index=at, item=item),
    ]
