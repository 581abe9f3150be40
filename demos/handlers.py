"""What the pages share and no browser is needed for: settings, and what the model saw for an answer.

No gradio here, nor in the other modules named below it (``pictures``, ``conversation``, ``history``,
``compare``, ``documents``), so all of it is tested without a browser.
"""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from PIL import Image

from pan_and_scan import MAX_WINDOWS, POLICY_NAMES, crop, draw_windows
from vlm.answer import Answer, AnswerStream, UsedWindow
from vlm.evidence import draw_evidence
from vlm.options import GUIDED, Options
from vlm.sampling import Sampling

from .background import followed

STEP = 0.05  # seconds between two updates at least: the page can't keep up with single letters
SHOWN_SIDE = 1400  # pixels; longer pictures are shrunk before they are sent to the browser
CROP_SIDE = 320  # pixels of a window in the gallery; larger ones are shrunk

POLICIES = {
    "adaptive": "adaptive: a grid by resolution and shape",
    GUIDED: "guided: a first look, then the crops it points at",
    "gemma3": "gemma3: the published pan and scan, one axis",
    "off": "off: the whole image only",
}
assert set(POLICIES) == {*POLICY_NAMES, GUIDED}


@dataclass(frozen=True)
class Settings:
    """What a person can set beside the question."""

    policy: str = "adaptive"
    max_windows: int = MAX_WINDOWS  # the whole image included
    max_tokens: int = 256
    temperature: float = 0.0
    system: str = ""

    def options(self) -> Options:
        """The same for a session.

        Raises:
            UsageError: a value out of range.
        """
        return Options(
            policy=self.policy,
            max_windows=self.max_windows,
            max_tokens=self.max_tokens,
            sampling=Sampling(temperature=self.temperature),
            system=self.system.strip(),
        )


@dataclass(frozen=True)
class Seen:
    """One image as the model saw it for an answer."""

    evidence: Image.Image  # the image, glowing and boxed where the answer was read
    windows: Image.Image  # the image with its windows numbered
    crops: tuple[tuple[Image.Image, str], ...]  # what the encoder got, with captions


def seen(image: Image.Image, answer: Answer, index: int, window_size: int) -> Seen:
    """Draw what the model saw of one image.

    Args:
        image: RGB, as it was asked about.
        answer: to the question.
        index: which of the question's images it is.
        window_size: side of the encoder's square in pixels.
    """
    used = [at.window for at in answer.windows if at.image == index]
    shown = [window for window in used if window.kind != "blank"]
    told = answer.attention if answer.evidence else None
    evidence = image if told is None else draw_evidence(image, told, index)
    side = min(CROP_SIDE, window_size)
    crops = tuple(
        (pixels.resize((side, side), Image.Resampling.BICUBIC), _caption(used.index(window)))
        for window, pixels in zip(shown, crop(image, used), strict=True)
    )
    return Seen(shrunk(evidence), shrunk(draw_windows(image, used)), crops)


def _caption(number: int) -> str:
    return f"{number}" if number else "0 whole"


def shrunk(image: Image.Image) -> Image.Image:
    """A copy that is not longer than what a browser shows."""
    small = image.copy()
    small.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    return small


def written(stream: AnswerStream) -> Generator[str, None, Answer]:
    """The text so far, again and again, first when there is none; then the answer."""

    def write(tell: Callable[[str], None]) -> Answer:
        try:
            tell("")
            text, due = "", 0.0
            for piece in stream:
                text += piece
                if time.monotonic() >= due:
                    due = time.monotonic() + STEP
                    tell(text)
        finally:
            stream.close()
        assert stream.answer is not None
        return stream.answer

    return followed(write)


def counted(number: int, thing: str) -> str:
    """ "1 window", "2 windows"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def looking_at(done: int, total: int) -> str:
    """What goes on while windows are encoded."""
    return f"Looking at window {done + 1} of {total} …"


def windows_text(windows: Sequence[UsedWindow]) -> str:
    """How many windows there were, blank ones apart."""
    blank = sum(used.window.kind == "blank" for used in windows)
    return counted(len(windows) - blank, "window") + (f" + {blank} blank" if blank else "")


def ending(answer: Answer) -> str:
    """Why an answer ended early; empty where it didn't."""
    early = {"length": "stopped at the token limit", "context": "stopped: the context is full"}
    return early.get(answer.finish_reason, "")


def facts(answer: Answer) -> str:
    """How an answer came about, in one line."""
    usage, timings = answer.usage, answer.timings
    seconds = timings.encode + timings.prefill + timings.decode
    parts = [
        windows_text(answer.windows),
        f"{counted(usage.prompt_tokens, 'token')} in, {usage.image_tokens} of them image",
        f"{usage.completion_tokens} out",
        f"{seconds:.1f} s",
        f"confidence {answer.confidence:.0%}",
        ending(answer),
    ]
    return " · ".join(filter(None, parts))


def stages_html(answer: Answer) -> str:
    """Tokens and seconds of each stage as a table, with a bar for the shares of the time."""
    usage, timings = answer.usage, answer.timings
    speed = f", {usage.completion_tokens / timings.decode:.0f} tokens/s" if timings.decode > 0 else ""
    text_tokens = usage.prompt_tokens - usage.image_tokens
    stages = (
        ("Looked", f"{windows_text(answer.windows)} → {usage.image_tokens} image tokens", timings.encode),
        ("Read", f"{usage.prompt_tokens} prompt tokens, {text_tokens} text", timings.prefill),
        ("Wrote", f"{counted(usage.completion_tokens, 'token')}{speed}", timings.decode),
    )
    total = sum(seconds for *_, seconds in stages)
    rows = "".join(
        f'<tr><th scope="row"><span class="dot stage-{name.lower()}"></span>{name}</th>'
        f"<td>{html.escape(what)}</td><td>{seconds:.2f} s</td></tr>"
        for name, what, seconds in stages
    )
    shares = [max(1, round(1000 * seconds / total)) if total > 0 else 1 for *_, seconds in stages]
    bar = "".join(
        f'<span class="stage-{name.lower()}" style="flex-grow:{share}"></span>'
        for (name, *_), share in zip(stages, shares, strict=True)
    )
    early = ending(answer)
    note = f'<p class="early">{early[0].upper()}{early[1:]}.</p>' if early else ""
    return (
        f'<div class="stages"><div class="bar" aria-hidden="true">{bar}</div><table>'
        f'<caption class="said">Tokens and seconds of each stage</caption>{rows}'
        f'<tr class="sum"><th scope="row">In all</th><td>confidence {answer.confidence:.0%}</td>'
        f"<td>{total:.2f} s</td></tr></table>{note}</div>"
    )
