"""What was computed once and may be wanted again: soft tokens of windows, keys and values of prompts.

Encode once, ask many: a further question about the same image finds its windows by their pixels and
the prompt up to the question by its tokens. Both keep within a budget of bytes, the least recently
used go first. Safe to use from several threads, except that ``Prompts.fill`` copies from caches that
must stand still meanwhile.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import torch
from PIL import Image
from torch import Tensor

from vlm.cache import KVCache
from vlm.masks import Span
from vlm.prompt import PromptPlan

WINDOW_BYTES = 128 * 2**20  # of soft tokens
PROMPT_BYTES = 512 * 2**20  # of keys and values
MOST_PROMPTS = 64  # each is looked at when a new one comes


def same_prefix(
    old: tuple[tuple[int, ...], Sequence[Tensor]], plan: PromptPlan, soft: Sequence[Tensor], held: int
) -> int:
    """How many tokens a prompt shares with an old one, cut so that no image is split.

    Args:
        old: ids of the old prompt and the soft tokens of its images, one tensor an image span.
        plan: the new prompt.
        soft: the soft tokens of its spans.
        held: tokens of the old prompt that are still at hand.

    Returns:
        A number of tokens below the prompt's length: the last is always computed, for its logits.
    """
    ids, old_soft = old
    most = min(held, len(ids), len(plan.ids) - 1)
    # The longest equal beginning, by halving: a slice is compared at once, not token by token.
    same = bisect_left(range(1, most + 1), True, key=lambda n: ids[:n] != plan.ids[:n])
    for index, span in enumerate(plan.spans):
        if span.start >= same:
            break
        # Equal ids up to here mean that the old prompt had its spans at the same places.
        if span.end > same or not torch.equal(old_soft[index], soft[index]):
            same = span.start
    return same


def soft_of(hidden_TD: Tensor, spans: Iterable[Span]) -> tuple[Tensor, ...]:
    """The soft tokens that stand in a prompt's embeddings, one view a span."""
    return tuple(hidden_TD[span.start : span.end] for span in spans)


class Windows:
    """Soft tokens by the pixels they were made of."""

    def __init__(self, budget: int = WINDOW_BYTES) -> None:
        self.budget = budget
        self.encoded = self.reused = 0  # windows so far
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def key(window: Image.Image) -> bytes:
        """Of mode, size and pixels: equal bytes of another shape are another picture."""
        told = f"{window.mode} {window.width}x{window.height} ".encode()
        return blake2b(told + window.tobytes(), digest_size=16).digest()

    def get(self, key: bytes) -> Tensor | None:
        """The soft tokens, if they are kept: [tokens, hidden_size]."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                self.reused += 1
            return found

    def put(self, key: bytes, soft_TD: Tensor) -> None:
        """Keep the soft tokens of one more window."""
        with self._lock:
            self.encoded += 1
            self._kept[key] = soft_TD
            while self._kept and self.nbytes > self.budget:
                self._kept.popitem(last=False)

    def clear(self) -> None:
        """Forget all windows."""
        with self._lock:
            self._kept.clear()

    @property
    def nbytes(self) -> int:
        """Bytes kept now."""
        return sum(soft.nbytes for soft in list(self._kept.values()))  # may change meanwhile


@dataclass(frozen=True, eq=False)
class ReadPrompt:
    """A prompt that was read, and the cache that holds it."""

    ids: tuple[int, ...]
    soft: tuple[Tensor, ...]  # one a span
    cache: KVCache

    def begins_with(self, old: ReadPrompt) -> bool:
        """Whether all of an older prompt stands at the beginning of this one."""
        alike = self.ids[: len(old.ids)] == old.ids
        return alike and all(map(torch.equal, old.soft, self.soft))

    def shared(self, plan: PromptPlan, soft: Sequence[Tensor]) -> int:
        """Tokens a new prompt need not read again."""
        return same_prefix((self.ids, self.soft), plan, soft, self.cache.length)


@dataclass
class Prompts:
    """Keys and values of prompts that were read, for others that begin alike."""

    budget: int = PROMPT_BYTES
    read: int = 0  # prompt tokens so far that were computed
    reused: int = 0  # and that were not
    _kept: list[ReadPrompt] = field(default_factory=list)  # the last used at the end
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, prompt: ReadPrompt) -> None:
        """Keep a prompt whose cache nobody else will write to."""
        if not prompt.cache.length:
            return  # given up before anything was read
        with self._lock:
            # What the new one begins with is not worth keeping beside it.
            self._kept = [old for old in self._kept if not prompt.begins_with(old)]
            self._kept.append(prompt)
            # The last one always stays, so that a long conversation goes on where it was.
            while len(self._kept) > 1 and (self.nbytes > self.budget or len(self._kept) > MOST_PROMPTS):
                del self._kept[0]

    @torch.inference_mode()
    def fill(
        self, cache: KVCache, plan: PromptPlan, hidden_TD: Tensor, running: Iterable[ReadPrompt] = ()
    ) -> None:
        """Give a cache as much of a prompt as was read before.

        Args:
            cache: the conversation's own; where it holds something, it goes on from that.
            plan: the prompt.
            hidden_TD: its embeddings.
            running: further prompts to look among, whose caches stand still during the call.
        """
        soft = soft_of(hidden_TD, plan.spans)
        with self._lock:
            if cache.length == 0:
                known = [*running, *self._kept]
                shared = [prompt.shared(plan, soft) for prompt in known]
                most = max(shared, default=0)
                if most:
                    best = known[shared.index(most)]
                    if best in self._kept:
                        # Taken, not copied: what it holds beyond the beginning is older than this prompt.
                        self._kept.remove(best)
                        cache.adopt(best.cache, most)
                    else:
                        cache.copy_prefix(best.cache, most)
            self.reused += cache.length
            self.read += len(plan.ids) - cache.length

    def clear(self) -> None:
        """Forget all prompts."""
        with self._lock:
            self._kept.clear()

    @property
    def nbytes(self) -> int:
        """Bytes kept now."""
        return sum(prompt.cache.nbytes for prompt in self._kept)
