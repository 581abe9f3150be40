"""What the page does, without the page: no gradio here, so it is tested without a browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image

from pan_and_scan import ImageSource, draw_windows, load_image, windows_of
from vlm.answer import Answer
from vlm.errors import PromptError
from vlm.session import VLM, Options

STEP = 0.05  # seconds between two updates at least: the page can't keep up with single letters
SHOWN_SIDE = 1400  # pixels; longer pictures are shrunk before they are sent to the browser


@dataclass(frozen=True)
class Settings:
    """What a person can set beside the question."""

    policy: str = "adaptive"
    max_windows: int = 13  # the whole image included
    max_tokens: int = 256

    def options(self) -> Options:
        """The same for a session.

        Raises:
            UsageError: a value out of range.
        """
        return Options(policy=self.policy, max_windows=self.max_windows, max_tokens=self.max_tokens)


class Shown(NamedTuple):
    """The page after one step."""

    text: str  # of the answer so far
    windows: Image.Image | None  # the numbered windows; None leaves what is shown
    facts: str  # one line


def answer(vlm: VLM, image: ImageSource | None, question: str, settings: Settings) -> Iterator[Shown]:
    """Answer a question, step by step: first the windows, then the text as it grows, last the facts.

    Raises:
        ImageError: the image can't be read.
        PromptError: no image, no question, or too long for the model.
        UsageError: a setting out of range.
    """
    if image is None:
        raise PromptError("no image: drop one on the left, or take an example")
    if not question.strip():
        raise PromptError("no question: say what you want to know about the image")
    options = settings.options()
    page = load_image(image)
    windows = windows_of(page, options.windowing(vlm.engine.window_size))
    drawn = draw_windows(page, windows)
    drawn.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    read = sum(window.kind != "blank" for window in windows)
    yield Shown("", drawn, f"Looking at {_counted(read, 'window')} …")
    stream = vlm.stream(page, question, options)
    text, due = "", 0.0
    for piece in stream:
        text += piece
        if time.monotonic() >= due:
            due = time.monotonic() + STEP
            yield Shown(text, None, "Answering …")
    assert stream.answer is not None
    yield Shown(stream.answer.text, None, facts(stream.answer))


def facts(answer: Answer) -> str:
    """How the answer came about, in one line."""
    blank = sum(used.window.kind == "blank" for used in answer.windows)
    windows = _counted(len(answer.windows) - blank, "window") + (f" and {blank} blank" if blank else "")
    usage, timings = answer.usage, answer.timings
    speed = f"{usage.completion_tokens / timings.decode:.0f} tokens/s" if timings.decode else "at once"
    parts = [
        windows,
        f"{_counted(usage.prompt_tokens, 'token')} in, {usage.image_tokens} of them image",
        f"{_counted(usage.completion_tokens, 'token')} out",
        f"looked {timings.encode:.1f} s",
        f"read {timings.prefill:.1f} s",
        f"wrote {timings.decode:.1f} s ({speed})",
    ]
    stopped = {"length": "stopped at the token limit", "context": "stopped: the context is full"}
    if answer.finish_reason in stopped:
        parts.append(stopped[answer.finish_reason])
    return " · ".join(parts)


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
