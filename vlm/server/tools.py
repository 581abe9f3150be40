"""Functions a model may call, in the way that Google documents for Gemma 3.

Gemma 3 has no tokens for calls. The functions stand as JSON before the first question, with the sentence
below, and a call is an answer that is nothing but ``{"name": ..., "parameters": {...}}``; what the function
returned is told in the next user turn. Of the two documented spellings the JSON one is taken: a schema can
hold an answer to it, which is how a call is forced (``tool_choice``: a name, or ``required``).

With ``auto`` the model decides. A text that begins as a call would is held back until it is one or isn't,
so that a stream never shows half of it. Several calls are read where the model lists several.

Source: ai.google.dev/gemma/docs/capabilities/function-calling.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vlm.server.errors import ApiError
from vlm.server.wire import Function, NamedTool, Tool, ToolCall, ToolChoice

_SETUP = (
    "You have access to functions. If you decide to invoke any of the function(s), you MUST put it in the "
    'format of\n{"name": function name, "parameters": dictionary of argument name and its value}\n\n'
    "You SHOULD NOT include any other text in the response if you call a function\n"
)
_BEGINNINGS = ("{", "[", "```")
_FENCES = ("```json", "```tool_code", "```")


@dataclass(frozen=True)
class Toolbox:
    """The functions of a request and whether one has to be called.

    Attributes:
        functions: those the model may call; none where the choice is "none".
        forced: whether the answer must be a call.
        several: whether an answer may be more than one call.
    """

    functions: tuple[Function, ...] = ()
    forced: bool = False
    several: bool = True

    @classmethod
    def of(cls, tools: Sequence[Tool], choice: ToolChoice | None, several: bool) -> Toolbox:
        """What the fields of a request come to.

        Raises:
            ApiError: a choice without tools, an unknown name, or a name given twice.
        """
        functions = tuple(tool.function for tool in tools)
        names = [function.name for function in functions]
        if len(set(names)) < len(names):
            raise ApiError(400, "tools: two functions have one name", "invalid_value", "tools")
        if not functions and choice not in (None, "none", "auto"):
            raise ApiError(400, "tool_choice: there are no tools to choose", "invalid_value", "tool_choice")
        if choice == "none" or not functions:
            return cls()
        if isinstance(choice, NamedTool):
            chosen = tuple(f for f in functions if f.name == choice.function.name)
            if not chosen:
                raise ApiError(400, "tool_choice: no tool of that name", "invalid_value", "tool_choice")
            return cls(chosen, forced=True, several=False)
        return cls(functions, forced=choice == "required", several=several)

    @property
    def setup(self) -> str:
        """What the prompt says before the first question."""
        if not self.functions:
            return ""
        listed = [
            {
                "name": function.name,
                "description": function.description or "",
                "parameters": function.parameters or {"type": "object", "properties": {}},
            }
            for function in self.functions
        ]
        return _SETUP + "\n" + json.dumps(listed, indent=2, ensure_ascii=False)

    def schema(self, wanted: dict[str, Any] | None) -> dict[str, Any] | None:
        """What holds an answer: a forced call, the wanted schema, or where the model is free either of both.

        The functions' own definitions move to the top, where references look for them.

        Args:
            wanted: schema of an answer that is no call; None: any text.

        Raises:
            ApiError: definitions that contradict each other, or a schema that means itself as a whole.
        """
        if not self.functions or (wanted is None and not self.forced):
            return wanted
        definitions: dict[str, Any] = {}
        forms = [_call_schema(function, definitions) for function in self.functions]
        if wanted is not None and not self.forced:
            forms.append(_without_definitions(wanted, definitions, "response_format"))
        whole = forms[0] if len(forms) == 1 else {"anyOf": forms}
        return whole | ({"$defs": definitions} if definitions else {})

    def calls_in(self, text: str) -> tuple[dict[str, Any], ...]:
        """The calls that an answer is, as OpenAI writes them; empty if it is a text."""
        known = {function.name for function in self.functions}
        found = _parsed(text) if known else None
        listed: list[Any] = found if isinstance(found, list) else [found]
        if not listed or not all(_is_call(call, known) for call in listed):
            return ()
        return tuple(_shown(call) for call in (listed if self.several else listed[:1]))


class HeldText:
    """Gives text out as it comes, except while it may still be a call."""

    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox
        self._held = ""
        self._open = not toolbox.functions  # what comes can be shown at once

    def push(self, piece: str) -> str:
        """Add a piece; returns what can be shown."""
        if self._open:
            return piece
        self._held += piece
        start = self._held.lstrip()
        may_be = self._toolbox.forced or any(
            start.startswith(mark) or mark.startswith(start) for mark in _BEGINNINGS
        )
        if may_be:
            return ""
        self._open = True
        return self.rest()

    def rest(self) -> str:
        """What is still held back, for an answer that is no call."""
        held, self._held = self._held, ""
        return held


def said_call(calls: Sequence[ToolCall]) -> str:
    """An earlier call as the model wrote it.

    Raises:
        ApiError: arguments that are no JSON.
    """
    written = []
    for call in calls:
        try:
            arguments = json.loads(call.function.arguments or "{}")
        except (ValueError, RecursionError):
            raise ApiError(400, "tool_calls: arguments must be JSON", "invalid_value", "messages") from None
        written.append({"name": call.function.name, "parameters": arguments})
    return json.dumps(written[0] if len(written) == 1 else written, ensure_ascii=False)


def told_result(name: str, content: str) -> str:
    """What a function returned, as the next user turn says it: the same form as a call."""
    try:
        result = json.loads(content)
    except (ValueError, RecursionError):
        result = content
    return json.dumps({"name": name, "response": result}, ensure_ascii=False)


def _call_schema(function: Function, definitions: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object"} | (function.parameters or {"properties": {}})
    return {
        "type": "object",
        "properties": {
            "name": {"const": function.name},
            "parameters": _without_definitions(parameters, definitions, "tools"),
        },
        "required": ["name", "parameters"],
        "additionalProperties": False,
    }


def _without_definitions(schema: dict[str, Any], definitions: dict[str, Any], field: str) -> dict[str, Any]:
    """A schema that may stand within another, its definitions added to those of the whole."""
    rest = dict(schema)
    for home in ("$defs", "definitions"):
        held = rest.pop(home, None) or {}
        if not isinstance(held, dict):
            raise ApiError(400, f"{field}: {home} must be an object", "invalid_value", field)
        for name, definition in held.items():
            moved = _moved(definition, field)
            if definitions.setdefault(name, moved) != moved:
                raise ApiError(
                    400, f"{field}: {name} is defined differently by two schemas", "invalid_value", field
                )
    moved = _moved(rest, field)
    assert isinstance(moved, dict)
    return moved


def _moved(schema: Any, field: str) -> Any:
    """A schema whose references point to the top's ``$defs``."""
    if isinstance(schema, list):
        return [_moved(part, field) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("$ref") == "#":
        raise ApiError(
            400, f'{field}: a schema can\'t refer to "#" here; name it in $defs', "invalid_value", field
        )
    return {
        key: value.replace("#/definitions/", "#/$defs/", 1)
        if key == "$ref" and isinstance(value, str)
        else _moved(value, field)
        for key, value in schema.items()
    }


def _parsed(text: str) -> Any:
    text = text.strip()
    for fence in _FENCES:
        if text.startswith(fence) and text.endswith("```"):
            text = text[len(fence) : -3].strip()
            break
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_call(call: Any, known: set[str]) -> bool:
    return (
        isinstance(call, dict)
        and isinstance(call.get("name"), str)
        and call["name"] in known
        and isinstance(call.get("parameters", {}), dict)
        and call.keys() <= {"name", "parameters"}
    )


def _shown(call: dict[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(call.get("parameters", {}), ensure_ascii=False)
    arguments = arguments.encode(errors="replace").decode()  # half a surrogate pair can't be sent
    return {
        "id": f"call_{uuid.uuid4().hex[:24]}",
        "type": "function",
        "function": {"name": call["name"], "arguments": arguments},
    }
