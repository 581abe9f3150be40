"""What people do with an engine: ask about images, stream the answer, hold a conversation."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor

from pan_and_scan import Window, crop, load_image, windows_of
from pan_and_scan.image import ImageSource
from vlm.answer import Answer, AnswerStream, SaidToken, UsedWindow
from vlm.answering import Looked, Prompt, alone, answer_in_pieces, trimmed
from vlm.asking import Images, Message, as_list, question_about
from vlm.device import AUTO
from vlm.engine import Engine
from vlm.errors import PromptError, UsageError
from vlm.evidence import Place, worth_a_look
from vlm.options import GUIDED, Options, changed
from vlm.precision import Dtype
from vlm.prompt import ImagePart, Part, PromptPlan, Turn, interleaved, plan_chat, plan_raw

__all__ = ["VLM", "Chat", "Images", "Message", "Options"]

GLANCE = 24  # tokens of the answer to the first look


@dataclass(frozen=True)
class _Cut:
    """Images cut into windows."""

    parts: tuple[ImagePart, ...]
    windows: tuple[UsedWindow, ...]
    crops: tuple[Image.Image, ...]  # pixels of the windows that aren't blank
    known: tuple[tuple[int, Tensor], ...] = ()  # (index of a crop, its soft tokens) encoded before
    seconds: float = 0.0  # spent on choosing them

    def only(self, keep: Callable[[UsedWindow], bool]) -> _Cut:
        """The windows that are worth keeping."""
        shown = [used for used in self.windows if used.window.kind != "blank"]
        pairs = [(used, pixels) for used, pixels in zip(shown, self.crops, strict=True) if keep(used)]
        parts = tuple(
            ImagePart(sum(used.image == image for used, _ in pairs)) for image in range(len(self.parts))
        )
        return _Cut(parts, tuple(used for used, _ in pairs), tuple(pixels for _, pixels in pairs))


AT_ONCE = 16  # answers that are decoded together where several threads ask


class VLM:
    """A model to ask.

    >>> model = VLM.load("mini")
    >>> model.ask("receipt.png", "What is the total?").text  # doctest: +SKIP
    """

    def __init__(self, engine: Engine, on_window: Callable[[int, int], None] | None = None) -> None:
        self.engine = engine
        self.on_window = on_window  # told (windows encoded, windows in all) while images are read

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = "mini",
        *,
        dtype: Dtype = "auto",
        device: str = AUTO,
        compiled: bool = False,
        offline: bool = False,
    ) -> Self:
        """Load a Hub id, a folder, a ``.gguf`` file or the embedded ``mini``; see ``Engine.load``.

        Raises:
            UsageError: unknown dtype or device, or they don't go together.
            HubError: the repository can't be had.
            CheckpointError: what was found is no complete Gemma 3 checkpoint.
        """
        return cls(Engine.load(name_or_path, dtype=dtype, device=device, compiled=compiled, offline=offline))

    def shared(self, most: int = AT_ONCE) -> Self:
        """The same model for any number of threads, whose answers are decoded together.

        Use it instead of this one, which must not be asked any more.

        Args:
            most: answers at once; further ones wait.
        """
        from vlm.scheduler import SharedEngine

        if type(self.engine) is not Engine:  # shared already, or a stand-in
            return self
        return type(self)(SharedEngine.over(self.engine, most), self.on_window)

    def until(self, given_up: Event) -> Self:
        """The same model for one asker, who may give up at any time by setting an event.

        A shared one then works on it no further; one of a single user answers to the end.
        """
        from vlm.scheduler import SharedEngine

        if not isinstance(self.engine, SharedEngine):
            return self
        return type(self)(self.engine.until(given_up), self.on_window)

    def ask(self, images: Images, question: str, options: Options | None = None, **changes: Any) -> Answer:
        """Answer a question about one image or several.

        Args:
            images: a path, bytes, file object or PIL image, or a sequence of them.
            question: what to ask.
            options: how; single fields may be given as keywords instead (``policy="off"``).

        Raises:
            ImageError: an image can't be read.
            PromptError: no question, or too long for the context.
            UsageError: an option out of range, or no answer under the constraint is so short.
        """
        return self.stream(images, question, options, **changes).read()

    def stream(
        self,
        images: Images,
        question: str,
        options: Options | None = None,
        captions: Sequence[str] = (),
        **changes: Any,
    ) -> AnswerStream:
        """Like ``ask``, giving the text piece by piece. Images are read when it is called.

        Args:
            images: as for ``ask``.
            question: what to ask.
            options: how.
            captions: what the prompt says before each image (a frame's time); none or one an image.
        """
        return self.reply((question_about(images, question, captions),), options, **changes)

    def reply(
        self, messages: Sequence[Message], options: Options | None = None, **changes: Any
    ) -> AnswerStream:
        """Answer the last message of a conversation, as a server does that keeps none.

        Images are read when it is called. What earlier calls read of the same conversation is not
        read again, as long as it is remembered.

        Args:
            messages: an optional system message (text only; the options' own comes before it), then
                user and assistant in turn, the last a user's.
            options: how. The policy ``guided`` zooms where all images belong to the last message.

        Raises:
            ImageError: an image can't be read.
            PromptError: no question, roles out of order, or too long for the context.
            UsageError: an option out of range, or no answer under the constraint is so short.
        """
        options = changed(options, changes)
        if not messages:
            raise PromptError("no question: say what you want to know about the image")
        if options.system:
            messages = _instructed(options.system, messages)
        sources = [part for message in messages for part in message.parts if not isinstance(part, str)]
        _check_asked("".join(part for part in messages[-1].parts if isinstance(part, str)))
        cut = self._cut(sources, options)
        (*_, last) = messages
        if len(sources) == sum(not isinstance(part, str) for part in last.parts):
            cut = self._zoom(cut, _turns((last,), cut.parts)[0].parts, options)
        plan = plan_chat(self.engine.tokenizer, _turns(messages, cut.parts), self.tokens_per_image)
        looked = self._look(cut, plan, options)
        tokens: list[SaidToken] = []
        pieces = answer_in_pieces(self.engine, alone(plan, looked), options, tokens)
        return AnswerStream(trimmed(pieces, options), tokens)

    def generate(
        self, prompt: str, images: Images = (), options: Options | None = None, **changes: Any
    ) -> AnswerStream:
        """Continue a prompt without the chat template, for pretrained checkpoints.

        Images stand before the text. BOS is added.
        """
        options = changed(options, changes)
        cut = self._cut(as_list(images), options)
        plan = plan_raw(self.engine.tokenizer, (*cut.parts, prompt), self.tokens_per_image)
        looked = self._look(cut, plan, options)
        tokens: list[SaidToken] = []
        return AnswerStream(answer_in_pieces(self.engine, alone(plan, looked), options, tokens), tokens)

    def chat(self, options: Options | None = None, **changes: Any) -> Chat:
        """Begin a conversation."""
        return Chat(self, changed(options, changes))

    def forget(self) -> None:
        """Forget what earlier calls read, so that the next one takes as long as the first."""
        self.engine.forget()

    @property
    def name(self) -> str:
        """What the user called the model."""
        return self.engine.name

    @property
    def window_size(self) -> int:
        """Side of the encoder's square in pixels.

        Raises:
            PromptError: the model reads text only.
        """
        return self.engine.window_size

    @property
    def tokens_per_image(self) -> int:
        """Soft tokens a window."""
        return self.engine.config.mm_tokens_per_image

    def _cut(self, sources: Sequence[ImageSource], options: Options) -> _Cut:
        """Read images and cut them into windows."""
        if not sources:
            return _Cut((), (), ())
        policy = options.windowing(self.engine.window_size)
        parts: list[ImagePart] = []
        windows: list[UsedWindow] = []
        crops: list[Image.Image] = []
        for index, source in enumerate(sources):
            image = load_image(source)
            planned = windows_of(image, policy)
            cut = crop(image, planned)
            parts.append(ImagePart(len(cut)))
            crops.extend(cut)
            windows.extend(UsedWindow(index, window) for window in planned)
        return _Cut(tuple(parts), tuple(windows), tuple(crops))

    def _look(self, cut: _Cut, plan: PromptPlan, options: Options) -> Looked:
        """Encode the windows of a prompt that fits: encoding takes long, so the length comes first."""
        started = time.perf_counter()
        self.engine.check_fits(plan)
        if options.constraint is not None:
            options.constraint.check_fits(self.engine.tokenizer, options.max_tokens)
        soft: list[Tensor] = []
        known = dict(cut.known)
        for done, window in enumerate(cut.crops):
            if done in known:
                soft.append(known[done])
                continue
            if self.on_window is not None:
                self.on_window(done, len(cut.crops))
            soft.append(self.engine.encode([window]))
        soft_NTD = torch.cat(soft) if soft else None
        return Looked(cut.windows, soft_NTD, cut.seconds + time.perf_counter() - started)

    def _zoom(self, cut: _Cut, asked: tuple[Part, ...], options: Options) -> _Cut:
        """Look at the whole images, and keep the crops that the answer depends on: half at most."""
        crops = [used.window.kind for used in cut.windows].count("crop")
        if options.policy != GUIDED or crops <= 2:
            return cut  # looking twice would cost more than it saves
        started = time.perf_counter()
        engine = self.engine
        glance = cut.only(lambda used: used.window.kind == "whole")
        wholes = iter(glance.parts)
        parts = tuple(next(wholes) if isinstance(part, ImagePart) else part for part in asked)
        turns = (Turn("user", parts),)
        plan = plan_chat(engine.tokenizer, turns, engine.config.mm_tokens_per_image)
        brief = replace(options, max_tokens=min(GLANCE, options.max_tokens), constraint=None, stop=())
        looked = self._look(glance, plan, brief)
        answer = AnswerStream(answer_in_pieces(engine, alone(plan, looked), brief, [])).read()
        assert answer.attention is not None and looked.soft_NTD is not None
        chosen: set[tuple[int, Window]] = set()
        for image in range(len(cut.parts)):
            mine = [used.window for used in cut.windows if used.image == image and used.window.kind == "crop"]
            heat = answer.attention.heat(image)
            chosen |= {(image, window) for window in worth_a_look(heat, mine, (len(mine) + 1) // 2 - 1 or 1)}
        kept = cut.only(lambda used: used.window.kind == "whole" or (used.image, used.window) in chosen)
        seen = [index for index, used in enumerate(kept.windows) if used.window.kind == "whole"]
        known = tuple(zip(seen, (soft[None] for soft in looked.soft_NTD), strict=True))
        return replace(kept, known=known, seconds=time.perf_counter() - started)


class Chat:
    """A conversation; the only place that keeps state.

    Its images are cut and encoded once. What was read of its prompt before is not read again: the engine
    remembers prompts and finds the longest beginning they share.
    """

    def __init__(self, model: VLM, options: Options) -> None:
        self._model = model
        self._options = options
        self._looks: list[Looked] = []
        self._asked = 0  # questions so far
        system = (Turn("system", (options.system,)),) if options.system else ()
        self.turns: tuple[Turn, ...] = system

    def ask(self, question: str, images: Images = ()) -> Answer:
        """Ask the next question, about earlier images or new ones."""
        return self.stream(question, images).read()

    def stream(self, question: str, images: Images = (), captions: Sequence[str] = ()) -> AnswerStream:
        """Like ``ask``, giving the text piece by piece.

        The turn counts once the stream was read to its end; a stream left early leaves the
        conversation as it was before. Asking again ends it for good.
        """
        _check_asked(question)
        engine = self._model.engine
        cut = self._model._cut(as_list(images), self._options)
        cut = self._model._zoom(cut, (*interleaved(captions, cut.parts), question), self._options)
        turns = (*self.turns, Turn("user", (*interleaved(captions, cut.parts), question)))
        plan = plan_chat(engine.tokenizer, turns, engine.config.mm_tokens_per_image)
        looked = self._model._look(cut, plan, self._options)
        self._asked += 1
        tokens: list[SaidToken] = []
        return AnswerStream(self._answer(self._asked, (turns, plan), looked, tokens), tokens)

    def _answer(
        self,
        number: int,
        asked: tuple[tuple[Turn, ...], PromptPlan],
        looked: Looked,
        tokens: list[SaidToken],
    ) -> Generator[str | Answer]:
        """The pieces, as long as no later question is asked."""
        turns, plan = asked
        looks = [*self._looks, looked]
        soft = [look.soft_NTD for look in looks if look.soft_NTD is not None]
        prompt = Prompt(plan, torch.cat(soft) if soft else None, looked, _numbered(looks))
        said = answer_in_pieces(self._model.engine, prompt, self._options, tokens)
        with closing(trimmed(said, self._options)) as pieces:
            for piece in pieces:
                if self._asked != number:
                    raise UsageError("another question was asked before this answer was read; ask again")
                if isinstance(piece, Answer):
                    self.turns = (*turns, Turn("assistant", (piece.text,)))
                    self._looks = looks
                yield piece


def _turns(messages: Sequence[Message], images: Sequence[ImagePart]) -> tuple[Turn, ...]:
    """Messages as turns, the images in their places cut into windows."""
    cut = iter(images)
    return tuple(
        Turn(message.role, tuple(part if isinstance(part, str) else next(cut) for part in message.parts))
        for message in messages
    )


def _instructed(system: str, messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages after instructions of one's own, which come before theirs."""
    first, *rest = messages
    if first.role != "system":
        return (Message("system", (system,)), *messages)
    return (Message("system", ("\n\n".join((system, *map(str, first.parts))),)), *rest)


def _check_asked(question: str) -> None:
    if not question.strip():
        raise PromptError("no question: say what you want to know about the image")


def _numbered(looks: Sequence[Looked]) -> tuple[Place, ...]:
    """The windows of a whole conversation, its images counted on from question to question."""
    places: list[Place] = []
    for look in looks:
        before = places[-1].image + 1 if places else 0
        places += [replace(place, image=before + place.image) for place in look.places]
    return tuple(places)
