"""Choosing the next token from its scores.

The order of the steps is that of ``transformers``: repetition penalty, temperature, top-k, top-p, min-p, so
that the same settings mean the same distribution. OpenAI's two penalties, which it lacks, come second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vlm.errors import UsageError

MOST_TOP = 20  # alternatives a token, as OpenAI's interface has it


@dataclass(frozen=True)
class Sampling:
    """How to choose. The defaults choose the likeliest token (greedy)."""

    temperature: float = 0.0  # 0: greedy; Gemma's own default for chat is 1.0
    top_k: int = 0  # keep the k likeliest, 0: all; Gemma's default is 64
    top_p: float = 1.0  # keep the smallest set of at least this probability; Gemma's default is 0.95
    min_p: float = 0.0  # drop what is less likely than this share of the likeliest
    repetition_penalty: float = 1.0  # divides the scores of tokens seen (arXiv 1909.05858)
    frequency_penalty: float = 0.0  # taken from a token's score for each time the answer has said it
    presence_penalty: float = 0.0  # taken once from the score of what the answer has said (both as OpenAI's)
    seed: int | None = None  # same seed, same text; None: a new one each time
    top_logprobs: int = 0  # likeliest tokens to report at each place, before temperature and cuts

    def __post_init__(self) -> None:
        ranges = (
            ("temperature", 0.0 <= self.temperature <= 100.0, "between 0 and 100"),
            ("top_k", self.top_k >= 0, "0 (off) or more"),
            ("top_p", 0.0 < self.top_p <= 1.0, "above 0 and at most 1"),
            ("min_p", 0.0 <= self.min_p <= 1.0, "between 0 and 1"),
            ("repetition_penalty", 0.0 < self.repetition_penalty <= 100.0, "above 0 (1 is off)"),
            ("frequency_penalty", -2.0 <= self.frequency_penalty <= 2.0, "between -2 and 2"),
            ("presence_penalty", -2.0 <= self.presence_penalty <= 2.0, "between -2 and 2"),
            ("top_logprobs", 0 <= self.top_logprobs <= MOST_TOP, f"between 0 and {MOST_TOP}"),
            ("seed", self.seed is None or 0 <= self.seed < 2**63, "0 or more, below 2^63"),
        )
        for name, fits, wanted in ranges:
            if not fits:
                raise UsageError(f"{name} must be {wanted}, not {getattr(self, name)}")

    @property
    def plain(self) -> bool:
        """Whether it is the likeliest token, whatever came before."""
        return self.temperature == 0.0 and not self.penalised

    @property
    def penalised(self) -> bool:
        """Whether what came before matters."""
        return self.repetition_penalty != 1.0 or self.frequency_penalty != 0 or self.presence_penalty != 0


class Sampler:
    """A ``Sampling`` with its source of chance."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._random = torch.Generator()
        if sampling.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(sampling.seed)

    def pick(self, logits_V: Tensor, prompt: Sequence[int], said: Sequence[int] = ()) -> int:
        """Choose one token.

        Args:
            logits_V: [vocab_size].
            prompt: its ids, for the repetition penalty.
            said: ids of the answer so far, for all penalties.
        """
        scores = adjusted(logits_V, self.sampling, prompt, said)
        if self.sampling.temperature == 0.0:
            return int(scores.argmax())
        return int(torch.multinomial(scores.softmax(-1), 1, generator=self._random))


def adjusted(logits_V: Tensor, sampling: Sampling, prompt: Sequence[int], said: Sequence[int] = ()) -> Tensor:
    """Scores after penalties, temperature and cuts; dropped tokens are -inf. [vocab_size] float32."""
    scores = logits_V.float()
    if sampling.repetition_penalty != 1.0 and (prompt or said):
        seen = torch.tensor(sorted({*prompt, *said}))
        old = scores[seen]
        penalty = sampling.repetition_penalty
        scores = scores.index_copy(0, seen, torch.where(old > 0, old / penalty, old * penalty))
    if said and (sampling.frequency_penalty != 0 or sampling.presence_penalty != 0):
        times = torch.bincount(torch.tensor(said), minlength=scores.numel())
        scores = scores - sampling.frequency_penalty * times - sampling.presence_penalty * (times > 0)
    if sampling.temperature == 0.0:
        return scores
    scores = scores / sampling.temperature
    if 0 < sampling.top_k < scores.numel():
        scores = scores.masked_fill(scores < scores.topk(sampling.top_k).values[-1], -torch.inf)
    if sampling.top_p < 1.0:
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        # A token stays while the likelier ones before it do not yet reach top_p.
        dropped = probabilities.cumsum(-1) - probabilities >= sampling.top_p
        scores = scores.masked_fill(dropped.new_zeros(dropped.shape).scatter(0, order, dropped), -torch.inf)
    if sampling.min_p > 0.0:
        probabilities = scores.softmax(-1)
        scores = scores.masked_fill(probabilities < sampling.min_p * probabilities.max(), -torch.inf)
    return scores
