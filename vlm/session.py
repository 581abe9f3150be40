"""What people do with an engine: ask about images, stream the answer, hold a conversation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor

from pan_and_scan import Policy, Window, crop, load_image, named_policy, windows_of
from pan_and_scan.image import ImageSource
from vlm.answer import Answer, AnswerStream, Timings, Usage, UsedWindow
from vlm.cache import KVCache
from vlm.constrain import Constraint
from vlm.engine import Dtype, Engine
from vlm.errors import PromptError, UsageError
from vlm.evidence import Attention, AttentionWatch, Place, default_heads, worth_a_look
from vlm.prompt import ImagePart, PromptPlan, Turn, interleaved, plan_chat, plan_raw
from vlm.sampling import Sampling
from vlm.stream import TextStream

Images = ImageSource | Sequence[ImageSource]
GUIDED = "guided"  # look at the whole, then zoom in on the crops the answer depends on
GLANCE = 24  # tokens of the answer to the first look


@dataclass(frozen=True)
class Options:
    """How a question is answered."""

    policy: str = "adaptive"  # off | gemma3 | adaptive | guided
    max_windows: int | None = None  # windows an image, the whole one included; None: the policy's own
    max_tokens: int = 512
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()  # strings that end the answer
    constraint: Constraint | None = None  # what the answer must be: a schema's JSON, a pattern, a choice ...
    system: str = ""  # system text of a chat

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UsageError(f"max_tokens must be 1 or more, not {self.max_tokens}")
        if self.stop and self.constraint is not None:
            raise UsageError("stop strings would cut an answer under a constraint: give one of the two")
        self.windowing(window_size=1)  # so that a wrong name is told before a model is loaded

    def windowing(self, window_size: int) -> Policy:
        """The policy by its name, for an encoder of this input size in pixels.

        Raises:
            UsageError: unknown name, or a number of windows out of range.
        """
        # "guided" chooses among the crops of "adaptive", after a first look.
        name = "adaptive" if self.policy == GUIDED else self.policy
        try:
            return named_policy(name, max_windows=self.max_windows, window_size=window_size)
        except ValueError as error:
            raise UsageError(str(error).replace("adaptive", f"adaptive, {GUIDED}", 1)) from None


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


@dataclass(frozen=True)
class _Looked:
    """Windows that were encoded."""

    windows: tuple[UsedWindow, ...]
    soft_NTD: Tensor | None
    seconds: float

    @property
    def places(self) -> tuple[Place, ...]:
        """Those that were encoded."""
        return tuple(Place(used.image, used.window) for used in self.windows if used.window.kind != "blank")


class VLM:
    """A model to ask.

    >>> model = VLM.load("mini")
    >>> model.ask("receipt.png", "What is the total?").text  # doctest: +SKIP
    """

    def __init__(self, engine: Engine, on_window: Callable[[int, int], None] | None = None) -> None:
        self.engine = engine
        self.on_window = on_window  # told (windows encoded, windows in all) while images are read

    @classmethod
    def load(cls, name_or_path: str | Path = "mini", *, dtype: Dtype = "fp32", offline: bool = False) -> Self:
        """Load a Hub id, a folder, a ``.gguf`` file or the embedded ``mini``.

        Raises:
            HubError: the repository can't be had.
            CheckpointError: what was found is no complete Gemma 3 checkpoint.
        """
        return cls(Engine.load(name_or_path, dtype=dtype, offline=offline))

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
        return self.chat(options, **changes).stream(question, images, captions)

    def generate(
        self, prompt: str, images: Images = (), options: Options | None = None, **changes: Any
    ) -> AnswerStream:
        """Continue a prompt without the chat template, for pretrained checkpoints.

        Images stand before the text. BOS is added.
        """
        options = _changed(options, changes)
        cut = self._cut(_as_list(images), options)
        plan = plan_raw(self.engine.tokenizer, (*cut.parts, prompt), self._tokens_per_image)
        looked = self._look(cut, plan, options)
        return AnswerStream(_run(self.engine, plan, looked, self.engine.new_cache(), options))

    def chat(self, options: Options | None = None, **changes: Any) -> Chat:
        """Begin a conversation."""
        return Chat(self, _changed(options, changes))

    @property
    def _tokens_per_image(self) -> int:
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

    def _look(self, cut: _Cut, plan: PromptPlan, options: Options) -> _Looked:
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
        return _Looked(cut.windows, soft_NTD, cut.seconds + time.perf_counter() - started)

    def _zoom(self, cut: _Cut, question: str, captions: Sequence[str], options: Options) -> _Cut:
        """Look at the whole images, and keep the crops that the answer depends on: half at most."""
        crops = [used.window.kind for used in cut.windows].count("crop")
        if options.policy != GUIDED or crops <= 2:
            return cut  # looking twice would cost more than it saves
        started = time.perf_counter()
        engine = self.engine
        glance = cut.only(lambda used: used.window.kind == "whole")
        turns = (Turn("user", (*interleaved(captions, glance.parts), question)),)
        plan = plan_chat(engine.tokenizer, turns, engine.config.mm_tokens_per_image)
        brief = replace(options, max_tokens=min(GLANCE, options.max_tokens), constraint=None, stop=())
        looked = self._look(glance, plan, brief)
        answer = AnswerStream(_run(engine, plan, looked, engine.new_cache(), brief)).read()
        assert answer.attention is not None and looked.soft_NTD is not None
        chosen: set[tuple[int, Window]] = set()
        for image in range(len(cut.parts)):
            mine = [used.window for used in cut.windows if used.image == image and used.window.kind == "crop"]
            heat = answer.attention.heat(image)
            chosen |= {(image, window) for window in worth_a_look(heat, mine, (len(mine) + 1) // 2 - 1 or 1)}
        kept = cut.only(lambda used: used.window.kind == "whole" or (used.image, used.window) in chosen)
        wholes = [index for index, used in enumerate(kept.windows) if used.window.kind == "whole"]
        known = tuple(zip(wholes, (soft[None] for soft in looked.soft_NTD), strict=True))
        return replace(kept, known=known, seconds=time.perf_counter() - started)


class Chat:
    """A conversation; the only place that keeps state.

    What was read before is not read again: the cache is cut back to the common prefix of the old
    prompt and the new one. Ids alone don't tell two images apart, so their soft tokens are compared.
    """

    def __init__(self, model: VLM, options: Options) -> None:
        self._model = model
        self._options = options
        self._cache: KVCache = model.engine.new_cache()
        self._cached_ids: tuple[int, ...] = ()
        self._cached_soft: tuple[Tensor, ...] = ()  # one a span of the cached ids
        self._looks: list[_Looked] = []
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
        if not question.strip():
            raise PromptError("no question: say what you want to know about the image")
        engine = self._model.engine
        cut = self._model._cut(_as_list(images), self._options)
        cut = self._model._zoom(cut, question, captions, self._options)
        turns = (*self.turns, Turn("user", (*interleaved(captions, cut.parts), question)))
        plan = plan_chat(engine.tokenizer, turns, engine.config.mm_tokens_per_image)
        looked = self._model._look(cut, plan, self._options)
        self._asked += 1
        return AnswerStream(self._alone(self._asked, self._answer(turns, plan, looked)))

    def _alone(self, number: int, pieces: Iterator[str | Answer]) -> Iterator[str | Answer]:
        """The pieces, as long as no later question has taken the cache."""
        while True:
            if self._asked != number:
                raise UsageError("another question was asked before this answer was read; ask again")
            piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def _answer(self, turns: tuple[Turn, ...], plan: PromptPlan, looked: _Looked) -> Iterator[str | Answer]:
        engine = self._model.engine
        looks = [*self._looks, looked]
        soft = [look.soft_NTD for look in looks if look.soft_NTD is not None]
        everything = replace(looked, soft_NTD=torch.cat(soft) if soft else None)
        self._keep_prefix(plan, everything.soft_NTD)
        places = _numbered(looks)
        for piece in _run(engine, plan, everything, self._cache, self._options):
            if not isinstance(piece, Answer):
                yield piece
                continue
            attention = None if piece.attention is None else replace(piece.attention, places=places)
            # What a constraint made is kept to the letter.
            text = piece.text if self._options.constraint is not None else piece.text.strip()
            answer = replace(piece, text=text, attention=attention)
            self.turns = (*turns, Turn("assistant", (answer.text,)))
            self._looks = looks
            self._cached_ids = (*plan.ids, *answer.ids)
            yield answer

    def _keep_prefix(self, plan: PromptPlan, soft_NTD: Tensor | None) -> None:
        """Cut the cache back to what the new prompt shares with the old one."""
        same = 0
        # The last token is always computed: its logits begin the answer.
        for old, new in zip(self._cached_ids, plan.ids[:-1], strict=False):
            if old != new:
                break
            same += 1
        same = min(same, self._cache.length)
        soft = () if soft_NTD is None else tuple(soft_NTD)
        for index, span in enumerate(plan.spans):
            if span.start >= same:
                break
            # Equal ids up to here mean that the old prompt had its spans at the same places.
            if span.end > same or not torch.equal(self._cached_soft[index], soft[index]):
                same = span.start
        self._cache.truncate(same)
        self._cached_ids = plan.ids
        self._cached_soft = soft


def _run(
    engine: Engine, plan: PromptPlan, looked: _Looked, cache: KVCache, options: Options
) -> Iterator[str | Answer]:
    """Generate; yields pieces of text, then the answer."""
    started = time.perf_counter()
    hidden_TD = engine.embed(plan, looked.soft_NTD)
    watch = AttentionWatch(engine.config, plan.spans, default_heads(engine.config))
    cache.watch = watch
    generation, tokens = engine.start(
        plan, hidden_TD, cache, options.sampling, options.max_tokens, options.constraint
    )
    prefilled = time.perf_counter()
    text = TextStream(engine.tokenizer.token_bytes, options.stop)
    logprobs: list[float] = []
    for token in tokens:
        logprobs.append(token.logprob)
        watch.take()
        piece = text.push(token.id)
        if piece:
            yield piece
        if text.stopped:
            generation.finish_reason = "stop"
            break
    rest = text.finish()
    if rest:
        yield rest
    assert generation.finish_reason is not None
    yield Answer(
        text=text.text,
        model=engine.name,
        finish_reason=generation.finish_reason,
        windows=looked.windows,
        usage=Usage(
            prompt_tokens=len(plan.ids),
            image_tokens=sum(span.end - span.start for span in plan.spans),
            completion_tokens=len(generation.ids),
        ),
        timings=Timings(
            load=engine.load_seconds,
            encode=looked.seconds,
            prefill=prefilled - started,
            decode=time.perf_counter() - prefilled,
        ),
        ids=tuple(generation.ids),
        logprobs=tuple(logprobs),
        pieces=tuple(engine.tokenizer.token_bytes(id) for id in generation.ids),
        attention=Attention(watch.rows_NS, looked.places, engine.config.mm_tokens_per_image)
        if plan.spans
        else None,
        data=None if options.constraint is None else options.constraint.data_of(text.text),
    )


def _numbered(looks: Sequence[_Looked]) -> tuple[Place, ...]:
    """The windows of a whole conversation, its images counted on from question to question."""
    places: list[Place] = []
    for look in looks:
        before = places[-1].image + 1 if places else 0
        places += [replace(place, image=before + place.image) for place in look.places]
    return tuple(places)


def _as_list(images: Images) -> list[ImageSource]:
    if isinstance(images, Sequence) and not isinstance(images, (str, bytes, bytearray)):
        return list(images)
    return [images]


def _changed(options: Options | None, changes: dict[str, Any]) -> Options:
    known = Options.__dataclass_fields__
    unknown = [name for name in changes if name not in known]
    if unknown:
        raise UsageError(f"unknown option {', '.join(unknown)}: options are {', '.join(known)}")
    return replace(options or Options(), **changes)
