"""Tokens to text as they come: never half a character, never half a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence


class TextStream:
    """Turns tokens into pieces of text that can be shown at once.

    Args:
        token_bytes: what one token adds to the output.
        stop: strings that end the text; they are not part of it.
    """

    def __init__(self, token_bytes: Callable[[int], bytes], stop: Sequence[str] = ()) -> None:
        self._token_bytes = token_bytes
        self._stop = tuple(s for s in stop if s)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""  # text that may be the start of a stop string
        self.stopped = False
        self.text = ""  # all that was given out

    def push(self, token: int) -> str:
        """Add a token; returns the text that is now certain, often empty."""
        return self._give(self._decoder.decode(self._token_bytes(token)), final=False)

    def finish(self) -> str:
        """End of generation: what was held back, with half characters replaced by U+FFFD."""
        return self._give(self._decoder.decode(b"", final=True), final=True)

    def _give(self, new: str, *, final: bool) -> str:
        if self.stopped:
            return ""
        text = self._held + new
        found = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.stopped = True
            text, self._held = text[: min(found)], ""
        else:
            keep = 0 if final else self._suspicious(text)
            text, self._held = text[: len(text) - keep], text[len(text) - keep :]
        self.text += text
        return text

    def _suspicious(self, text: str) -> int:
        """Length of the longest end of ``text`` that begins a stop string."""
        longest = max((len(s) for s in self._stop), default=1) - 1
        for size in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-size:]) for stop in self._stop):
                return size
        return 0
