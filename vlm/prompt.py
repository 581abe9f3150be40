"""Turns and images to one row of token ids, and where in it the images lie.

Token for token what transformers' ``Gemma3Processor.apply_chat_template`` gives, with one difference
on purpose: control tokens a person typed stay text. transformers writes the conversation as a string,
expands each image and tokenises the whole, so newlines around an image merge with those of the
template (``user\\n`` + ``\\n\\n<start_of_image>`` holds one ``\\n\\n\\n``). Here the same text is
gathered between control tokens and encoded run by run; control tokens are only ever put in by id.

Source: ``processing_gemma3.py`` (image text, pan and scan text) and the Hub's ``chat_template``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vlm.errors import PromptError
from vlm.masks import Span
from vlm.tokenizer import ABSENT, GemmaTokenizer

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class ImagePart:
    """One image of a turn.

    Args:
        windows: windows the encoder sees, the whole image included (1: no crops).
    """

    windows: int = 1

    def __post_init__(self) -> None:
        if self.windows < 1:
            raise ValueError(f"an image has at least one window, not {self.windows}")


Part = str | ImagePart


@dataclass(frozen=True)
class Turn:
    """What one side said, its texts and images in order."""

    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class PromptPlan:
    """A prompt ready for the decoder.

    Args:
        ids: all token ids, the image soft token standing where features go.
        spans: one a window, in the order the windows are encoded: image by image, the whole image first.
    """

    ids: tuple[int, ...]
    spans: tuple[Span, ...]


def plan_chat(tokenizer: GemmaTokenizer, turns: Sequence[Turn], tokens_per_image: int) -> PromptPlan:
    """The chat prompt, ending after ``<start_of_turn>model\\n``.

    Args:
        tokenizer: of an instruction-tuned checkpoint.
        turns: an optional system turn (text only), then user and assistant in turn, the last a user's.
        tokens_per_image: soft tokens a window (``mm_tokens_per_image``).

    Raises:
        PromptError: no or misordered turns, an empty question, images where none can stand, or a
            vocabulary without turn tokens.
    """
    special = tokenizer.special
    if ABSENT in (special.start_of_turn, special.end_of_turn):
        raise PromptError(
            "this checkpoint's vocabulary has no <start_of_turn> and <end_of_turn>, so it can't chat; "
            "continue raw text with `vlm generate`"
        )
    system, dialogue = _checked(turns)
    row = _Row(tokenizer, tokens_per_image)
    row.control(special.bos)
    for index, turn in enumerate(dialogue):
        row.control(special.start_of_turn)
        row.text("model\n" if turn.role == "assistant" else "user\n")
        if index == 0 and system is not None:
            row.text(system + "\n\n")  # as the template: not trimmed
        for part in turn.parts:
            row.add(part.strip() if isinstance(part, str) else part)
        row.control(special.end_of_turn)
        row.text("\n")
    row.control(special.start_of_turn)
    row.text("model\n")
    return row.plan()


def plan_raw(tokenizer: GemmaTokenizer, parts: Sequence[Part], tokens_per_image: int) -> PromptPlan:
    """A prompt to continue as it stands: BOS, then the parts, no template and no trimming.

    For pretrained checkpoints. Images are expanded exactly as in a chat, newlines and pan and scan
    text included, because that is how the checkpoints saw them in training.

    Raises:
        PromptError: images for a text-only checkpoint.
    """
    row = _Row(tokenizer, tokens_per_image)
    row.control(tokenizer.special.bos)
    for part in parts:
        row.add(part)
    return row.plan()


def interleaved(captions: Sequence[str], images: Sequence[ImagePart]) -> tuple[Part, ...]:
    """Parts of a turn: each caption, then its image; the images alone where there are no captions.

    Raises:
        PromptError: not as many captions as images.
    """
    if not captions:
        return tuple(images)
    if len(captions) != len(images):
        raise PromptError(f"{len(captions)} captions for {len(images)} images: give one an image")
    return tuple(part for pair in zip(captions, images, strict=True) for part in pair)


class _Row:
    """Ids as they grow; text waits until a control token ends its run, so that it merges as a whole."""

    def __init__(self, tokenizer: GemmaTokenizer, tokens_per_image: int) -> None:
        if tokens_per_image < 1:
            raise ValueError(f"tokens_per_image must be positive, not {tokens_per_image}")
        self._tokenizer = tokenizer
        self._tokens = tokens_per_image
        self._ids: list[int] = []
        self._spans: list[Span] = []
        self._run: list[str] = []

    def text(self, text: str) -> None:
        self._run.append(text)

    def control(self, *ids: int) -> None:
        self._flush()
        self._ids.extend(ids)

    def add(self, part: Part) -> None:
        if isinstance(part, str):
            self.text(part)
        elif part.windows == 1:
            self._window()
        else:
            self.text("Here is the original image ")
            self._window()
            self.text(" and here are some crops to help you see better ")
            for crop in range(part.windows - 1):
                if crop:
                    self.text(" ")
                self._window()

    def plan(self) -> PromptPlan:
        self._flush()
        return PromptPlan(ids=tuple(self._ids), spans=tuple(self._spans))

    def _window(self) -> None:
        special = self._tokenizer.special
        if special.start_of_image is None or special.end_of_image is None or special.image_soft is None:
            raise PromptError(
                "this checkpoint reads text only: its vocabulary has no image tokens; "
                "leave the images out or choose a multimodal checkpoint"
            )
        self.text("\n\n")
        self.control(special.start_of_image)
        start = len(self._ids)
        self._ids.extend([special.image_soft] * self._tokens)
        self._spans.append(Span(start, len(self._ids)))
        self.control(special.end_of_image)
        self.text("\n\n")

    def _flush(self) -> None:
        if self._run:
            self._ids.extend(self._tokenizer.encode_text("".join(self._run)))
            self._run.clear()


def _checked(turns: Sequence[Turn]) -> tuple[str | None, Sequence[Turn]]:
    """The system text, if any, and the dialogue, its order proven."""
    if not turns:
        raise PromptError("the conversation is empty; ask something")
    system: str | None = None
    dialogue = turns
    if turns[0].role == "system":
        text = turns[0].parts
        if len(text) != 1 or not isinstance(text[0], str):
            raise PromptError("a system turn holds one text and no images")
        system, dialogue = text[0], turns[1:]
    for index, turn in enumerate(dialogue):
        expected = "user" if index % 2 == 0 else "assistant"
        if turn.role != expected:
            raise PromptError(
                f"turn {index + 1} comes from {turn.role!r} where {expected!r} is due; roles alternate "
                "user, assistant, user ..., and a system turn can only come first"
            )
        if turn.role == "assistant" and any(isinstance(part, ImagePart) for part in turn.parts):
            raise PromptError(f"turn {index + 1}: only user turns hold images")
    if not dialogue or dialogue[-1].role != "user":
        raise PromptError("the last turn must be the user's; there is nothing to answer")
    if not any(isinstance(part, ImagePart) or part.strip() for part in dialogue[-1].parts):
        raise PromptError("the last turn is empty; ask something")
    return system, dialogue
