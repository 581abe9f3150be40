"""A page to fields by a schema: JSON that always validates, each value with its place and confidence.

The page is asked once, under the constraint; what it doesn't show is null. A value's box comes from the
attention of the tokens that wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pan_and_scan import ImageError
from vlm.answer import Answer
from vlm.asking import Model
from vlm.constrain import Constraint
from vlm.errors import UsageError, VlmError
from vlm.fields import Field, evidence_of, fields_of
from vlm.options import Options
from vlm.reading.loops import loop_of
from vlm.reading.record import FieldText, PageText
from vlm.reading.sources import SourcePage
from vlm.reading.transcribe import ReadOptions, unread
from vlm.sampling import Sampling


def fields_question(constraint: Constraint) -> str:
    """What a page is asked: the names of the schema's fields."""
    schema = constraint.json_schema
    if schema is None:
        raise UsageError("fields are read by a schema; a pattern, a choice or a grammar has none")
    names = schema.get("properties", {})
    return ask_for(names) if names else "Give this as JSON."


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
        """Read one page; whatever goes wrong with it is in the result, never raised."""
        size = (0, 0)
        try:
            image = page.open().image
            size = image.size
            for number in range(len(self.options.temperatures)):
                answer = self.vlm.ask(image, self.question, self._asking(number))
                if not _loops(answer):
                    return self._told(page, size, answer, number + 1)
        except (VlmError, ImageError) as error:
            return replace(unread(page, size, str(error)), model=self.vlm.name)
        failed = unread(page, size, "a value repeats itself without end")
        return replace(failed, model=self.vlm.name, attempts=len(self.options.temperatures))

    def _asking(self, number: int) -> Options:
        temperature = self.options.temperatures[number]
        return Options(
            policy=self.options.policy, max_windows=self.options.max_windows,
            max_tokens=self.options.max_tokens, constraint=self.constraint,
            sampling=Sampling(temperature=temperature, top_p=0.95, seed=self.options.seed + number),
        )  # fmt: skip

    def _told(self, page: SourcePage, size: tuple[int, int], answer: Answer, tries: int) -> PageText:
        return replace(
            unread(page, size, ""),
            source="model",
            model=self.vlm.name,
            windows=tuple(used.window for used in answer.windows),
            attempts=tries,
            data=answer.data,
            fields=tuple(_placed(answer, field) for field in fields_of(answer)),
        )


def _placed(answer: Answer, field: Field) -> FieldText:
    """A field with the box its tokens were read from."""
    found = evidence_of(answer, field)
    return FieldText(field.path, field.value, field.confidence, None if found is None else found.box)


def _loops(answer: Answer) -> bool:
    """Whether a string of the answer goes round in circles; one that was cut off is looked at closest."""
    return any(isinstance(field.value, str) and bool(loop_of(field.value)) for field in fields_of(answer))
