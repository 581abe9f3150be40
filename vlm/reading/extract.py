"""A page to fields by a schema: JSON that always validates, each value with its place and confidence.

The page is asked once, under the constraint; what it doesn't show is null, and of an empty page everything
is. A value's box comes from the attention of the tokens that wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from PIL import Image

from pan_and_scan import ImageError, Window
from vlm.answer import Answer
from vlm.asking import Model
from vlm.constrain import Constraint
from vlm.errors import OutageError, UsageError, VlmError
from vlm.fields import Field, evidence_of, field_spans, fields_of
from vlm.options import Options
from vlm.reading.ink import ink_of, is_blank
from vlm.reading.loops import LOOP, loop_of, unlooped
from vlm.reading.record import FieldText, PageText
from vlm.reading.sources import SourcePage
from vlm.reading.transcribe import ReadOptions, unread
from vlm.reading.upright import Turn, angle_of, turned, ways_up
from vlm.sampling import Sampling


def fields_question(constraint: Constraint) -> str:
    """What a page is asked: the names of the schema's fields."""
    schema = constraint.json_schema
    if schema is None:
        raise UsageError("fields are read by a schema; a pattern, a choice or a grammar has none")
    names = schema.get("properties", {})
    return ask_for(names) if names else "Give this as JSON."


def nothing_by(constraint: Constraint) -> dict[str, Any] | None:
    """What an empty page says: each field null or an empty list; None where the schema allows no such."""
    nothing = _nothing(constraint.json_schema or {})
    text = json.dumps(nothing, separators=(",", ":"))
    return nothing if isinstance(nothing, dict) and constraint.accepts(text) else None


def _nothing(schema: dict[str, Any]) -> Any:
    if "properties" in schema:
        return {name: _nothing(held) for name, held in schema["properties"].items()}
    return [] if schema.get("type") == "array" else None


def ask_for(names: Iterable[str]) -> str:
    """The question for fields of these names."""
    return f"Give these fields as JSON: {', '.join(names)}."


class FieldReader:
    """Reads the fields of a schema from pages, one object a page."""

    def __init__(self, vlm: Model, constraint: Constraint, options: ReadOptions | None = None) -> None:
        self.vlm = vlm
        self.constraint = constraint
        self.options = options or ReadOptions()
        self.question = fields_question(constraint)

    def read(self, page: SourcePage) -> PageText:
        """Read one page; whatever goes wrong with it is in the result.

        Raises:
            OutageError: the model's server is away, which is no page's fault.
        """
        size = (0, 0)
        try:
            image = page.open().image
            size = image.size
            return self._ask(unread(page, size, ""), image)
        except OutageError:
            raise
        except (VlmError, ImageError) as error:
            return replace(unread(page, size, str(error)), model=self.vlm.name)

    def _ask(self, empty: PageText, image: Image.Image) -> PageText:
        """Ask the page as its lines lie; one that lies on its side, on the other side, too."""
        ink = ink_of(image)
        if is_blank(ink) and (nothing := nothing_by(self.constraint)) is not None:
            spans = field_spans(text := json.dumps(nothing)).items()
            fields = tuple(FieldText(path, json.loads(text[at:end]), 1.0, None) for path, (at, end) in spans)
            return replace(empty, source="model", model=self.vlm.name, data=nothing, fields=fields)
        degrees = angle_of(ink)
        why = ""
        for number in range(len(self.options.temperatures)):
            asked: list[tuple[Answer, Turn]] = []
            for way in ways_up(degrees):
                upright, turn = turned(image, way)
                answer = unlooped(self.vlm.stream(upright, self.question, self._asking(number)))
                if answer is None or (trouble := _trouble(answer)):
                    why = LOOP if answer is None else trouble
                else:
                    asked.append((answer, turn))
            if asked:
                return self._told(empty, *max(asked, key=lambda one: one[0].confidence), number + 1)
        return replace(empty, error=why, model=self.vlm.name, attempts=len(self.options.temperatures))

    def _asking(self, number: int) -> Options:
        temperature = self.options.temperatures[number]
        return Options(
            policy=self.options.policy, max_windows=self.options.max_windows,
            max_tokens=self.options.max_tokens, constraint=self.constraint,
            sampling=Sampling(temperature=temperature, top_p=0.95, seed=self.options.seed + number),
        )  # fmt: skip

    def _told(self, empty: PageText, answer: Answer, turn: Turn, tries: int) -> PageText:
        return replace(
            empty,
            source="model",
            model=self.vlm.name,
            windows=tuple(Window(*turn.back(used.window.box), used.window.kind) for used in answer.windows),
            turned=turn.degrees,
            attempts=tries,
            data=answer.data,
            fields=tuple(_placed(answer, field, turn) for field in fields_of(answer)),
        )


def _placed(answer: Answer, field: Field, turn: Turn) -> FieldText:
    """A field with the box its tokens were read from, on the page as it lies."""
    found = evidence_of(answer, field)
    box = None if found is None else turn.back(found.box)
    return FieldText(field.path, field.value, field.confidence, box)


def _trouble(answer: Answer) -> str:
    """Why the fields can't be trusted; empty if they can.

    An answer that was cut off is closed so that it validates: what was not read stands in it as null, and a
    number may have lost its last digits.
    """
    if any(isinstance(field.value, str) and loop_of(field.value) for field in fields_of(answer)):
        return LOOP
    if answer.finish_reason != "stop":
        return "the fields were cut off; give more --max-tokens"
    return ""
