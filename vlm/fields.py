"""The fields of an answer in JSON: where each value stands in the text and how sure the model was of it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from itertools import accumulate
from json.decoder import scanstring  # type: ignore[attr-defined]  # since Python 2.6, and untyped
from typing import Any

from vlm.answer import Answer
from vlm.errors import UsageError
from vlm.evidence import Evidence

_SPACE = re.compile(r"[ \t\n\r]*")
_PLAIN = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null")


@dataclass(frozen=True)
class Field:
    """One value of an answer: text, a number, true, false, null, or a list or object without anything in it.

    Attributes:
        path: JSON Pointer (RFC 6901): ``/items/0/price``; empty where the whole answer is one value.
        value: as the answer's ``data`` holds it.
        confidence: mean probability of the tokens that write it, 0 to 1. Of a string without its quotes,
            which every string has; of an empty one with them.
        start: its first character in ``Answer.text``, a string's without the quote.
        end: the character after its last one.
    """

    path: str
    value: Any
    confidence: float
    start: int
    end: int


def fields_of(answer: Answer) -> tuple[Field, ...]:
    """The fields of an answer under a schema, in the order of its text.

    Raises:
        UsageError: the answer's text is no JSON.
    """
    return tuple(
        Field(path, _at(answer.data, path), _mean(answer, tokens_of(answer, start, end)), start, end)
        for path, (start, end) in field_spans(answer.text).items()
    )


def fields_to_json(answer: Answer) -> list[dict[str, Any]]:
    """The fields of an answer for ``--json``: each with its confidence and the box it was read from."""
    return [
        {"path": field.path, "value": field.value, "confidence": round(field.confidence, 4)}
        | {"box": None if (found := evidence_of(answer, field)) is None else list(found.box)}
        for field in fields_of(answer)
    ]


def evidence_of(answer: Answer, field: Field) -> Evidence | None:
    """Where on the images a field's value was read; None for null and where nothing was looked at."""
    tokens = tokens_of(answer, field.start, field.end)
    if field.value is None or answer.attention is None or not tokens:
        return None
    return next(iter(answer.attention.evidence(tokens.start, tokens.stop)), None)


def field_spans(text: str) -> dict[str, tuple[int, int]]:
    """Where the values of a JSON text stand: JSON Pointer -> first character, character after the last.

    Where a key comes twice, the last one counts, as for ``json.loads``.

    Raises:
        UsageError: the text is no JSON.
    """
    try:
        json.loads(text, parse_int=float)
        spans = _Spans(text)
        spans.read(0, "")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"fields need an answer in JSON ({error})") from None
    return spans.found


def tokens_of(answer: Answer, start: int, end: int) -> range:
    """Which of the answer's tokens write the characters ``[start, end)`` of its text."""
    first, last = (len(answer.text[:at].encode()) for at in (start, end))
    ends = list(accumulate(map(len, answer.pieces)))
    writing = [i for i, stop in enumerate(ends) if stop > first and stop - len(answer.pieces[i]) < last]
    return range(writing[0], writing[-1] + 1) if writing else range(0)


def _mean(answer: Answer, tokens: range) -> float:
    chances = [math.exp(answer.logprobs[index]) for index in tokens]
    return sum(chances) / len(chances) if chances else 0.0


def _at(data: Any, path: str) -> Any:
    for step in path.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        data = data[int(name)] if isinstance(data, list) else data[name]
    return data


class _Spans:
    """Reads a JSON text that is known to be one, noting where its values stand."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.found: dict[str, tuple[int, int]] = {}

    def read(self, at: int, path: str) -> int:
        """Read the value at ``at``; returns where it ends."""
        at = self._skip(at)
        char = self._text[at]
        if char in "{[":
            return self._members(at, path, "}" if char == "{" else "]")
        if char == '"':
            end = scanstring(self._text, at + 1)[1]
            self.found[path] = (at, end) if end == at + 2 else (at + 1, end - 1)
            return end
        end = _PLAIN.match(self._text, at).end()  # type: ignore[union-attr]
        self.found[path] = at, end
        return end

    def _members(self, at: int, path: str, closing: str) -> int:
        start, number = at, 0
        at = self._skip(at + 1)
        while self._text[at] != closing:
            name = str(number)
            if closing == "}":
                name, at = scanstring(self._text, at + 1)
                name = name.replace("~", "~0").replace("/", "~1")
                at = self._skip(at) + 1  # the colon
                self._forget(f"{path}/{name}")
            at, number = self._skip(self.read(at, f"{path}/{name}")), number + 1
            if self._text[at] == ",":
                at = self._skip(at + 1)
        if not number:
            self.found[path] = start, at + 1
        return at + 1

    def _forget(self, path: str) -> None:
        """A key that comes again stands for its last value."""
        for known in [p for p in self.found if p == path or p.startswith(path + "/")]:
            del self.found[known]

    def _skip(self, at: int) -> int:
        return _SPACE.match(self._text, at).end()  # type: ignore[union-attr]
