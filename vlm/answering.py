"""From a prompt whose windows were encoded to an answer: tokens, text, evidence, times."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace

from torch import Tensor

from vlm.answer import Answer, SaidToken, Timings, Usage, UsedWindow
from vlm.engine import Engine
from vlm.evidence import Attention, AttentionWatch, Place, default_heads
from vlm.generate import Token
from vlm.options import Options
from vlm.prompt import PromptPlan
from vlm.stream import TextStream


@dataclass(frozen=True)
class Looked:
    """Windows that were encoded."""

    windows: tuple[UsedWindow, ...]
    soft_NTD: Tensor | None
    seconds: float

    @property
    def places(self) -> tuple[Place, ...]:
        """Those that were encoded."""
        return tuple(Place(used.image, used.window) for used in self.windows if used.window.kind != "blank")


@dataclass(frozen=True)
class Prompt:
    """All that an answer is generated from."""

    plan: PromptPlan
    soft_NTD: Tensor | None  # of all windows of the conversation
    looked: Looked  # at the question's own windows
    places: tuple[Place, ...]  # of all windows


def alone(plan: PromptPlan, looked: Looked) -> Prompt:
    """What stands by itself: no conversation before it."""
    return Prompt(plan, looked.soft_NTD, looked, looked.places)


def trimmed(pieces: Generator[str | Answer], options: Options) -> Generator[str | Answer]:
    """The same without white space around a chat's answer; what a constraint made is kept to the letter."""
    with closing(pieces):
        for piece in pieces:
            if isinstance(piece, Answer) and options.constraint is None:
                yield replace(piece, text=piece.text.strip())
            else:
                yield piece


def answer_in_pieces(
    engine: Engine, prompt: Prompt, options: Options, tokens: list[SaidToken]
) -> Generator[str | Answer]:
    """Generate; yields pieces of text, then the answer. Every token is added to ``tokens``."""
    started = time.perf_counter()
    plan = prompt.plan
    hidden_TD = engine.embed(plan, prompt.soft_NTD)
    cache = engine.new_cache()
    watch = AttentionWatch(engine.config, plan.spans, default_heads(engine.config))
    cache.watch = watch
    generation, run = engine.start(
        plan, hidden_TD, cache, options.asked_sampling(), options.max_tokens, options.constraint
    )
    first = None
    text = TextStream(engine.tokenizer.token_bytes, options.stop)
    try:
        for token in run:
            first = first or time.perf_counter()
            tokens.append(_said(engine, token))
            piece = text.push(token.id)
            if piece:
                yield piece
            if text.stopped:
                break
    finally:
        run.close()
        rows_NS = watch.rows_NS()  # before the cache goes on to others
        engine.keep(plan, hidden_TD, generation)
    rest = text.finish()
    if rest:
        yield rest
    reason = "stop" if text.stopped else generation.finish_reason
    assert reason is not None
    ended = time.perf_counter()
    yield Answer(
        text=text.text,
        model=engine.name,
        finish_reason=reason,
        windows=prompt.looked.windows,
        usage=Usage(
            prompt_tokens=len(plan.ids),
            image_tokens=sum(span.end - span.start for span in plan.spans),
            completion_tokens=len(tokens),
        ),
        timings=Timings(
            load=engine.load_seconds,
            encode=prompt.looked.seconds,
            prefill=(first or ended) - started,
            decode=ended - (first or ended),
        ),
        ids=tuple(token.id for token in tokens),
        logprobs=tuple(token.logprob for token in tokens),
        pieces=tuple(token.piece for token in tokens),
        # An engine of many may have gone on past a stop string.
        attention=Attention(rows_NS[: len(tokens)], prompt.places, engine.config.mm_tokens_per_image)
        if plan.spans
        else None,
        data=None if options.constraint is None else options.constraint.data_of(text.text),
    )


def _said(engine: Engine, token: Token) -> SaidToken:
    """A token with what it and its rivals add to the text."""
    piece = engine.tokenizer.token_bytes
    return SaidToken(token.id, piece(token.id), token.logprob, tuple((piece(id), p) for id, p in token.top))
