"""Prefill, decode one token, an iterator of tokens.

The prompt is read in chunks that never split an image, so that an image sees itself whole and no
mask is larger than one chunk by the keys before it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

import torch
from torch import Tensor

from vlm.cache import KVCache
from vlm.constrain import Matcher
from vlm.errors import TooLongError
from vlm.gemma import GemmaDecoder
from vlm.masks import Queries, Span
from vlm.sampling import Sampler

FinishReason = Literal["stop", "length", "context"]
CHUNK = 512  # tokens a prefill step; an image makes it longer


@dataclass(frozen=True)
class Token:
    """One generated token."""

    id: int
    logprob: float  # natural log of its probability before constraint, temperature and cuts
    top: tuple[tuple[int, float], ...] = ()  # the likeliest there and their logs, best first, where asked for


@dataclass(frozen=True)
class Limits:
    """When to stop."""

    stop_ids: frozenset[int]
    max_tokens: int
    context: int  # positions the model was made for (max_position_embeddings)


def chunks(start: int, end: int, spans: Sequence[Span], size: int = CHUNK) -> Iterator[tuple[int, int]]:
    """Cut positions ``[start, end)`` into runs of about ``size`` that end outside images."""
    while start < end:
        stop = min(start + size, end)
        for span in spans:
            if span.start < stop < span.end:
                # Stop before the image if that leaves something, else take it whole.
                stop = span.start if span.start > start else span.end
        yield start, stop
        start = stop


@torch.inference_mode()
def prefill(decoder: GemmaDecoder, hidden_TD: Tensor, spans: tuple[Span, ...], cache: KVCache) -> Tensor:
    """Read the prompt from ``cache.length`` on.

    Args:
        decoder: the model.
        hidden_TD: [T, hidden_size] embeddings and soft tokens of the whole prompt.
        spans: its images.
        cache: may already hold a prefix of the prompt, which is not computed again.

    Returns:
        Logits after the last token: [vocab_size].
    """
    total = hidden_TD.shape[0]
    assert cache.length < total, (cache.length, total)
    last = hidden_TD[:0]
    for start, end in chunks(cache.length, total, spans):
        last = decoder(hidden_TD[None, start:end], Queries(start, end, spans), cache)[0, -1]
    return decoder.logits(last)


@torch.inference_mode()
def decode_one(decoder: GemmaDecoder, token: int, cache: KVCache) -> Tensor:
    """Read one token, return the logits after it: [vocab_size]."""
    position = cache.length
    hidden = decoder.embed(torch.tensor([[token]]))
    return decoder.logits(decoder(hidden, Queries(position, position + 1), cache)[0, -1])


@dataclass(frozen=True)
class Scores:
    """What the decoder says of the next token of one conversation."""

    logits_V: Tensor
    logs_V: Tensor  # float32, natural logs of the probabilities
    likeliest: int
    logprob: float  # the likeliest one's

    @classmethod
    @torch.inference_mode()
    def of_each(cls, logits_BV: Tensor) -> list[Self]:
        """Those of several conversations, by one operation for all where there can be one.

        A token is chosen by the processor, wherever its scores were computed.
        """
        logits_BV = logits_BV.cpu()
        logs_BV = logits_BV.float().log_softmax(-1)
        likeliest_B1 = logits_BV.argmax(-1, keepdim=True)
        logprobs = logs_BV.gather(-1, likeliest_B1)[:, 0].tolist()
        each = (logits_BV.unbind(), logs_BV.unbind(), likeliest_B1[:, 0].tolist(), logprobs)
        return [cls(*scores) for scores in zip(*each, strict=True)]


@torch.inference_mode()
def decode_many(decoder: GemmaDecoder, tokens: Sequence[int], caches: Sequence[KVCache]) -> Tensor:
    """Read one token of each of several conversations: logits [conversations, vocab_size]."""
    if len(tokens) == 1:
        return decode_one(decoder, tokens[0], caches[0])[None]
    hidden_B1D = decoder.embed(torch.tensor(tokens)[:, None])
    return decoder.logits(decoder.step(hidden_B1D, caches)[:, 0])


@dataclass
class Generation:
    """Chooses token after token and knows why it ended.

    ``run`` decodes by itself; who decodes several at once calls ``take`` with the scores of each.
    Stop ids end it and are not yielded. ``finish_reason`` is set when it has ended; an answer under a
    constraint that had to be closed for want of room says so there, though it is whole.
    """

    decoder: GemmaDecoder
    cache: KVCache
    sampler: Sampler
    limits: Limits
    prompt: Sequence[int]
    matcher: Matcher | None = None  # what the answer must keep to
    finish_reason: FinishReason | None = None
    ids: list[int] = field(default_factory=list)

    def run(self, logits_V: Tensor) -> Generator[Token]:
        """Generate from the logits after the prompt."""
        while (token := self.take(Scores.of_each(logits_V[None])[0])) is not None:
            yield token
            if self.finish_reason is not None:
                return
            logits_V = decode_one(self.decoder, token.id, self.cache)

    def take(self, scores: Scores) -> Token | None:
        """Choose the token that the scores are about; None at a stop id.

        ``finish_reason`` is set with the last token, or where there is none.
        """
        token = self._pick(scores)
        if token in self.limits.stop_ids:
            self.finish_reason = self._whole()
            return None
        self.ids.append(token)
        if self.matcher is not None:
            self.matcher.accept(token)
        if self.cache.watch is not None:
            self.cache.watch.take()
        if self.matcher is not None and self.matcher.finished:
            self.finish_reason = self._whole()
        elif len(self.ids) >= self.limits.max_tokens:
            self.finish_reason = "length"
        elif self.cache.length >= self.limits.context:
            self.finish_reason = "context"
        logprob = scores.logprob if token == scores.likeliest else float(scores.logs_V[token])
        return Token(token, logprob, self._top(scores.logs_V))

    def _top(self, logs_V: Tensor) -> tuple[tuple[int, float], ...]:
        count = min(self.sampler.sampling.top_logprobs, logs_V.numel())
        if not count:
            return ()
        top = logs_V.topk(count)
        return tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))

    @torch.inference_mode()
    def _pick(self, scores: Scores) -> int:
        if self.matcher is None:
            return scores.likeliest if self.sampler.sampling.plain else self._sampled(scores.logits_V)
        room = self.limits.context - self.cache.length + 1  # the last token is not read any more
        left = min(self.limits.max_tokens - len(self.ids), room)
        return self.matcher.choose(scores.logits_V, self._sampled, left)

    def _sampled(self, logits_V: Tensor) -> int:
        before = (self.prompt, self.ids) if self.sampler.sampling.penalised else ((), ())
        return self.sampler.pick(logits_V, *before)

    def _whole(self) -> FinishReason:
        """Why an answer ended that is whole."""
        if self.matcher is None or not self.matcher.cut:
            return "stop"
        return "length" if self.limits.max_tokens <= self.limits.context - len(self.prompt) + 1 else "context"


def check_fits(prompt_tokens: int, context: int) -> None:
    """Refuse a prompt that leaves no room for an answer.

    Raises:
        TooLongError: names both lengths and what to leave out.
    """
    if prompt_tokens >= context:
        raise TooLongError(
            f"the prompt is {prompt_tokens} tokens long and the model's context holds {context}: "
            "use fewer images, fewer windows (--max-windows) or a shorter question"
        )
