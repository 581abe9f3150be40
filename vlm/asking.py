"""What can be asked, and with what: a model in this process or one behind a URL.

Whoever reads pages, finds answers or scores a model needs no more than this, so all of it works with
both. ``vlm.session.VLM`` and ``vlm.remote.RemoteVLM`` fit it; neither knows of the other, and who asks a
server waits for no engine to be imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pan_and_scan.image import ImageSource
from vlm.answer import Answer, AnswerStream
from vlm.errors import PromptError
from vlm.options import Options
from vlm.prompt import Role

Images = ImageSource | Sequence[ImageSource]


@dataclass(frozen=True)
class Message:
    """What one side of a conversation said, its texts and images in order.

    A string is text; an image by its path is given as a ``Path``.
    """

    role: Role
    parts: tuple[str | ImageSource, ...]


def as_list(images: Images) -> list[ImageSource]:
    """One image or several."""
    if isinstance(images, Sequence) and not isinstance(images, (str, bytes, bytearray)):
        return list(images)
    return [images]


def question_about(images: Images, question: str, captions: Sequence[str] = ()) -> Message:
    """A question with its images before it.

    Args:
        images: a path, bytes, file object or PIL image, or a sequence of them.
        question: what to ask.
        captions: what is said before each image; none or one an image.

    Raises:
        PromptError: not as many captions as images.
    """
    # A bare string would be read as text.
    sources = [Path(image) if isinstance(image, str) else image for image in as_list(images)]
    if captions and len(captions) != len(sources):
        raise PromptError(f"{len(captions)} captions for {len(sources)} images: give one an image")
    shown = zip(captions, sources, strict=True) if captions else [sources]
    return Message("user", (*(part for group in shown for part in group), question))


class Model(Protocol):
    """A model to ask."""

    @property
    def name(self) -> str:
        """What the user called it, or its name on its server."""

    @property
    def window_size(self) -> int:
        """Side of the encoder's square in pixels.

        Raises:
            PromptError: it reads text only.
        """

    @property
    def tokens_per_image(self) -> int:
        """Soft tokens a window (``mm_tokens_per_image``)."""

    def ask(self, images: Images, question: str, options: Options | None = None, **changes: Any) -> Answer:
        """Answer a question about one image or several."""

    def stream(
        self,
        images: Images,
        question: str,
        options: Options | None = None,
        captions: Sequence[str] = (),
        **changes: Any,
    ) -> AnswerStream:
        """Like ``ask``, giving the text piece by piece."""

    def reply(
        self, messages: Sequence[Message], options: Options | None = None, **changes: Any
    ) -> AnswerStream:
        """Answer the last message of a conversation."""

    def forget(self) -> None:
        """Forget what earlier calls read, as far as that is kept here: a measured call begins anew."""
