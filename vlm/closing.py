"""Ways to the end of an answer that has to keep to a grammar, in bytes.

llguidance says what may come next, not how far the end is. So the end is looked for: the byte that
closes soonest at each step, and where that leads nowhere by chance, from a fixed seed. A literal that an
unanchored pattern insists on (``kg`` in ``[0-9]+ kg``) would hardly be hit upon, so chance likes to go
on as the pattern's own text does.

The search runs on a vocabulary of the 256 bytes: a grammar can be judged before there is a model.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from vlm.errors import UsageError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

Kind = Literal["schema", "regex", "choice", "grammar"]

_LONGEST = 10_000  # bytes of the way that takes what closes soonest
_TRIES, _STRAY = 30, 60  # ways by chance; bytes more that each next one may have
_SOONEST, _FOLLOW, _HINTED = 0.9, 0.8, 0.5  # how often chance closes, or goes on as a pattern does

# What ends JSON soonest outside of a string, and inside; bytes that are not listed come after these.
_OUTSIDE, _INSIDE = b'}]n,:"0ft123456789[{-', b'"0'
_QUOTE, _BACKSLASH = b'"\\'


class Closer:
    """Follows an answer and finds ways to its end.

    Args:
        matcher: of a grammar, over ``byte_tokenizer``; this object owns it from here on.
        kind: JSON is closed by what closes JSON.
        hints: text of the patterns in the grammar.
    """

    def __init__(self, matcher: LLMatcher, kind: Kind, hints: str) -> None:
        self._matcher = matcher
        self._end = byte_tokenizer().eos_token
        self._string = StringState() if kind == "schema" else None
        self._after: defaultdict[int, bytes] = defaultdict(bytes)
        text = hints.replace("\\", "").encode()
        for byte, following in pairwise(text):
            self._after[byte] += bytes([following])
        self._hints = text

    def go(self, added: bytes) -> None:
        """Follow the answer."""
        self._matcher.try_consume_tokens(list(added))
        if self._string is not None:
            self._string.go(added)

    def ends(self, rest: bytes) -> bool:
        """Whether the answer is whole after these bytes."""
        return self._matcher.validate_tokens([*rest, self._end]) == len(rest) + 1

    def find(self, added: bytes = b"") -> bytes | None:
        """Bytes that end the answer after ``added``, nearly the fewest; None if none were found."""
        chance = random.Random(0)
        by_chance = (_Walk(_STRAY * attempt, chance) for attempt in range(1, _TRIES))
        ways = (self._walk(added, walk) for walk in chain((_Walk(_LONGEST),), by_chance))
        return next((way for way in ways if way is not None), None)

    def find_any(self) -> bytes | None:
        """Like ``find`` at the beginning, and however long it is."""
        found = self.find()
        return self._walk(b"", _Walk(_LONGEST, patience=2_000)) if found is None else found

    def _walk(self, added: bytes, walk: _Walk) -> bytes | None:
        matcher = self._matcher.deep_copy()
        if matcher.try_consume_tokens(list(added)) != len(added):
            return None
        string = self._string and self._string.after(added)
        way, aimless = bytearray(), 0
        while len(way) <= walk.longest and aimless <= walk.patience:
            if matcher.is_accepting():
                return bytes(way)
            step = matcher.compute_ff_bytes()
            if not step:
                allowed = _allowed(matcher)
                if not allowed:
                    return None
                last = way[-1] if way else added[-1] if added else None
                step = bytes([self._byte(allowed, string, last, walk.chance)])
                aimless = 0 if string is not None and step in b'}]n:,"' else aimless + 1
            if matcher.try_consume_tokens(list(step)) != len(step):
                return None
            way += step
            if string is not None:
                string.go(step)
        return None

    def _byte(
        self, allowed: bytes, string: StringState | None, last: int | None, chance: random.Random | None
    ) -> int:
        """Which of the allowed bytes to go on with."""
        order = b"" if string is None else _INSIDE if string.inside else _OUTSIDE
        soonest = next((byte for byte in order if byte in allowed), allowed[0])
        if chance is None:
            return soonest
        if string is not None and chance.random() < _SOONEST and (not string.inside or soonest == _QUOTE):
            return soonest
        after = b"" if last is None else [byte for byte in self._after[last] if byte in allowed]
        if after and chance.random() < _FOLLOW:
            return chance.choice(after)
        hinted = [byte for byte in self._hints if byte in allowed]
        return chance.choice(hinted if hinted and chance.random() < _HINTED else allowed)


@dataclass(frozen=True)
class _Walk:
    """How to look for an end."""

    longest: int  # bytes
    chance: random.Random | None = None  # None: what closes soonest
    patience: int = 300  # bytes in a row that close nothing


class StringState:
    """Whether JSON written so far ends inside of a string."""

    def __init__(self) -> None:
        self.inside = self._escaped = False

    def after(self, added: bytes) -> StringState:
        """The state these bytes lead to; this one stays."""
        other = StringState()
        other.inside, other._escaped = self.inside, self._escaped
        other.go(added)
        return other

    def go(self, added: bytes) -> None:
        """Read on."""
        for byte in added:
            if self._escaped:
                self._escaped = False
            elif byte == _BACKSLASH and self.inside:
                self._escaped = True
            elif byte == _QUOTE:
                self.inside = not self.inside


@cache
def byte_tokenizer() -> LLTokenizer:
    """A vocabulary of the 256 bytes.

    Raises:
        UsageError: llguidance is not installed.
    """
    try:
        from llguidance import LLTokenizer
    except ImportError:
        raise UsageError("schemas, patterns and choices need llguidance: pip install 'vlm[schema]'") from None
    return LLTokenizer("byte")


def _allowed(matcher: LLMatcher) -> bytes:
    packed = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
    if matcher.is_error():
        return b""
    return np.flatnonzero(np.unpackbits(packed, bitorder="little")[:256]).astype(np.uint8).tobytes()
