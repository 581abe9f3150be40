"""The same question under several policies, one after the other: what windows are worth."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from pan_and_scan import ImageSource, draw_windows, load_image, windows_of
from vlm.answer import Answer, AnswerStream
from vlm.engine import Engine
from vlm.errors import PromptError
from vlm.options import Options
from vlm.reuse import Prompts, Windows
from vlm.session import VLM

from .background import followed, heeded, relayed
from .handlers import Seen, Settings, looking_at, seen, shrunk, windows_text, written

COMPARED = ("off", "gemma3", "adaptive")


@dataclass(frozen=True)
class Column:
    """A policy's answer so far."""

    policy: str
    windows: Image.Image  # the image with the windows it is cut into
    status: str = "Waiting"
    text: str = ""
    answer: Answer | None = None
    seen: Seen | None = None


def compare(
    vlm: VLM, source: ImageSource | None, question: str, settings: Settings
) -> Iterator[tuple[Column, ...]]:
    """Answer under each policy, step by step: first the windows of all, then answer after answer.

    One after the other, so that the seconds of each are its own.

    Args:
        vlm: the model.
        source: the image.
        question: what to ask.
        settings: how; its policy doesn't count.

    Raises:
        ImageError: the image can't be read.
        PromptError: no image, no question, or too long for the model.
        UsageError: a setting out of range.
    """
    with heeded(vlm) as waited:
        yield from _compared(waited, source, question, settings)


def _compared(
    vlm: VLM, source: ImageSource | None, question: str, settings: Settings
) -> Iterator[tuple[Column, ...]]:
    if source is None:
        raise PromptError("no image: drop one on the left, or take an example")
    if not question.strip():
        raise PromptError("no question: say what you want to know about the image")
    image = load_image(source)
    asked = [replace(settings, policy=policy).options() for policy in COMPARED]
    side = vlm.engine.window_size
    cuts = [windows_of(image, how.windowing(side)) for how in asked]
    columns = [
        Column(how.policy, shrunk(draw_windows(image, cut))) for how, cut in zip(asked, cuts, strict=True)
    ]
    yield tuple(columns)
    for place, options in enumerate(asked):
        for column in _answered(vlm, image, question, options, columns[place]):
            columns[place] = column
            yield tuple(columns)


def _forgetful(engine: Engine) -> Engine:
    """The same model without what it read before: a policy must not live on another's windows."""
    if not isinstance(engine, Engine):  # a stand-in of the tests keeps nothing
        return engine
    return replace(engine, windows=Windows(budget=0), prompts=Prompts(budget=0))


def _answered(
    vlm: VLM, image: Image.Image, question: str, options: Options, column: Column
) -> Iterator[Column]:
    engine = _forgetful(vlm.engine)

    def begin(tell: Callable[[tuple[int, int]], None]) -> AnswerStream:
        told = VLM(engine, lambda done, total: tell((done, total)))
        return told.stream(image, question, options)

    stream = yield from relayed(
        followed(begin, drop=lambda stream: stream.close()),
        lambda at: replace(column, status=looking_at(*at)),
    )
    answer = yield from relayed(
        written(stream),
        lambda text: replace(column, status="Answering …" if text else "Reading …", text=text),
    )
    saw = seen(image, answer, 0, vlm.engine.window_size)
    yield replace(column, windows=saw.windows, status="Done", text=answer.text, answer=answer, seen=saw)


def summary_html(columns: Sequence[Column]) -> str:
    """What the policies cost and said, as a table."""
    rows = "".join(map(_row, columns))
    return (
        '<div class="scroll"><table class="summary"><caption class="said">The policies beside one another'
        "</caption><thead><tr>"
        + "".join(
            f'<th scope="col">{name}</th>'
            for name in ("Policy", "Windows", "Image tokens", "Seconds", "Confidence", "Answer")
        )
        + f"</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(column: Column) -> str:
    answer = column.answer
    if answer is None:
        return (
            f'<tr><th scope="row">{column.policy}</th>'
            f'<td colspan="5" class="faint">{html.escape(column.status)}</td></tr>'
        )
    timings = answer.timings
    seconds = timings.encode + timings.prefill + timings.decode
    said = html.escape(" / ".join(column.text.split("\n")))
    return (
        f'<tr><th scope="row">{column.policy}</th><td>{windows_text(answer.windows)}</td>'
        f"<td>{answer.usage.image_tokens}</td><td>{seconds:.2f}</td><td>{answer.confidence:.0%}</td>"
        f'<td class="answer">{said}</td></tr>'
    )
