"""Text that goes round in circles: the commonest way a model fails at reading.

A loop is the same piece said again and again at the end of a text. Short pieces have to come more often,
because tables repeat "0.00" and rules repeat "-" in good faith.
"""

from __future__ import annotations

LONGEST = 200  # characters of a piece
SAID = 48  # characters a loop must fill at least
TIMES = 4  # a piece must come at least so often


def loop_of(text: str) -> str:
    """The piece a text ends in repeating; empty where it doesn't.

    Args:
        text: so far, or its end; the last ``LONGEST * TIMES`` characters count.
    """
    for size in range(1, min(LONGEST, len(text) // TIMES) + 1):
        piece = text[-size:]
        times = max(TIMES, -(-SAID // size))
        if piece.strip() and text.endswith(piece * times):
            return piece
    return ""
