"""Ordinary English that every Python brings along: the running text of its language reference.

``pydoc_data.topics`` is what ``help()`` shows: 460 KB of edited documentation. Kept are paragraphs that
begin at the margin, have at least a dozen words and are nearly all letters; what is left out is code,
grammar, lists, tables and headings. It is prose about one subject, so its perplexity is low; what is
compared is one model in two types, to which that does the same. ``--text FILE`` takes any other.
"""

from __future__ import annotations

_WORDS = 12  # of a paragraph at least
_LETTERS = 0.92  # share of its signs that are letters, spaces, commas and full stops
_MARGIN = (" ", "-", "*", "+", "=", "[", "|", ">", ".")


def ordinary_text() -> str:
    """About 100 KB, the paragraphs apart by an empty line."""
    from pydoc_data.topics import topics

    paragraphs = (part for name in sorted(topics) for part in topics[name].split("\n\n"))
    return "\n\n".join(dict.fromkeys(" ".join(part.split()) for part in paragraphs if _is_prose(part)))


def _is_prose(paragraph: str) -> bool:
    lines = paragraph.split("\n")
    if any(line.startswith(_MARGIN) for line in lines) or len(paragraph.split()) < _WORDS:
        return False
    return sum(sign.isalpha() or sign in " ,.\n" for sign in paragraph) >= _LETTERS * len(paragraph)
