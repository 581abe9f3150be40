"""Text that goes round in circles: the commonest way a model fails at reading.

A loop is the same piece said again and again at the end of a text. Short pieces have to come more often,
because tables repeat "0.00" and rules repeat "-" in good faith.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vlm.answer import Answer, AnswerStream
from vlm.asking import Images, Model
from vlm.errors import UsageError
from vlm.options import Options

LONGEST = 200  # characters of a piece
SAID = 48  # characters a loop must fill at least
TIMES = 4  # a piece must come at least so often
LISTED = 16  # or so often, where whole values come again and again, as in a list
LOOP = "a value repeats itself without end"
WARMER = 0.5  # temperature of the second try
CHECKED = 24  # characters between looks at what is being said


def loop_of(text: str, least: int = TIMES) -> str:
    """The piece a text ends in repeating; empty where it doesn't.

    Args:
        text: so far, or its end; the last ``LONGEST * least`` characters count.
        least: how often a piece must come.
    """
    for size in range(1, min(LONGEST, len(text) // least) + 1):
        piece = text[-size:]
        times = max(least, -(-SAID // size))
        if piece.strip() and text.endswith(piece * times):
            return piece
    return ""


def open_string(json_text: str) -> str:
    """What the string holds so far that a JSON text breaks off in; empty where it does not."""
    inside, begun, at = False, 0, 0
    while at < len(json_text):
        if json_text[at] == "\\":
            at += 1  # what it escapes is no end of a string
        elif json_text[at] == '"':
            inside, begun = not inside, at + 1
        at += 1
    return json_text[begun:] if inside else ""


def unlooped(stream: AnswerStream) -> Answer | None:
    """An answer in JSON; None, the rest left uncomputed, once a value or a list begins to go in circles."""
    text, checked = "", 0
    for piece in stream:
        text += piece
        if len(text) - checked >= CHECKED:
            checked = len(text)
            if loop_of(open_string(text)) or loop_of(text, LISTED):
                stream.close()
                return None
    return stream.read()


def ask_for_json(
    vlm: Model, images: Images, question: str, options: Options, captions: Sequence[str] = ()
) -> Answer:
    """Like ``stream`` to its end, for an answer held to a schema: one that goes in circles is asked again.

    Raises:
        UsageError: it goes in circles again, at a higher temperature and by another seed.
    """
    sampling = options.sampling
    warmer = replace(sampling, temperature=max(sampling.temperature, WARMER), seed=(sampling.seed or 0) + 1)
    for tried in (options, replace(options, sampling=warmer)):
        answer = unlooped(vlm.stream(images, question, tried, captions))
        if answer is not None:
            return answer
    raise UsageError(f"{LOOP}: ask for fewer fields, or for others")
