"""Conversations as the browser keeps them: texts and thumbnails, so that a refresh loses nothing.

The browser's storage is its owner's: what comes back from it may be old, cut off or made up, and is
read as such. A conversation also remembers the names that its files have in the upload folder. These
hold the hash of a file's bytes, which nobody knows who has not seen the file; so a person can go on with a
conversation as long as the file is there, and nobody can with another's.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .conversation import MOST_TURNS, Conversation, Turn
from .draw_images import FOLDER, IMAGES
from .pictures import MOST_PICTURES, Picture

MOST_KEPT = 30  # conversations
MOST_CHARACTERS = 2_000_000  # of all of them as JSON; a browser's storage takes 5 MB
_EXAMPLE = "example/"
_ID = re.compile(r"[0-9a-f]{16}")
_FILE = re.compile(r"[0-9a-f]{64}/[^/\\\0]{1,255}")
_THUMB = re.compile(r"data:image/webp;base64,[A-Za-z0-9+/=]{1,80000}")


@dataclass(frozen=True)
class Kept:
    """A conversation and when it was last gone on with."""

    conversation: Conversation
    seconds: float  # since 1970


def with_conversation(kept: Sequence[Kept], conversation: Conversation) -> list[Kept]:
    """Put a conversation first, instead of its earlier state; the oldest that there is no room for go."""
    if not conversation.turns:
        return list(kept)
    others = [one for one in kept if one.conversation.id != conversation.id]
    return [Kept(conversation, time.time()), *others][:MOST_KEPT]


def without(kept: Sequence[Kept], id: str) -> list[Kept]:
    """Delete a conversation."""
    return [one for one in kept if one.conversation.id != id]


def choices(kept: Sequence[Kept]) -> list[tuple[str, str]]:
    """(what a list shows, id) of each."""
    return [
        (f"{one.conversation.title} · {time.strftime('%d %b %H:%M', time.localtime(one.seconds))}", id)
        for one in kept
        for id in (one.conversation.id,)
    ]


def to_json(kept: Sequence[Kept], folder: Path) -> list[dict[str, Any]]:
    """What the browser keeps.

    Args:
        kept: newest first; the last are dropped where all is too much for a browser.
        folder: of uploads; files that lie elsewhere are not remembered.
    """
    told: list[dict[str, Any]] = []
    room = MOST_CHARACTERS
    for one in kept:
        raw = {
            "id": one.conversation.id,
            "seconds": round(one.seconds),
            "turns": [_turn_to_json(turn, folder) for turn in one.conversation.turns],
        }
        room -= len(json.dumps(raw))
        if room < 0:
            break
        told.append(raw)
    return told


def from_json(raw: object, folder: Path) -> list[Kept]:
    """The conversations a browser kept; what is none is left out.

    Args:
        raw: whatever the browser sent.
        folder: of uploads; nothing outside is taken for a file.
    """
    if not isinstance(raw, list):
        return []
    kept: list[Kept] = []
    for entry in raw[:MOST_KEPT]:
        try:
            kept.append(_kept_from_json(entry, folder))
        except (KeyError, TypeError, ValueError, OverflowError, OSError):  # of another version, or made up
            continue
    return kept


def _kept_from_json(raw: dict[str, Any], folder: Path) -> Kept:
    turns = tuple(_turn_from_json(turn, folder) for turn in raw["turns"][:MOST_TURNS])
    if not turns or not _ID.fullmatch(raw["id"]):
        raise ValueError("no conversation")
    seconds = float(raw["seconds"])
    time.localtime(seconds)  # or the list would fail to show it
    return Kept(Conversation(raw["id"], turns), seconds)


def _turn_to_json(turn: Turn, folder: Path) -> dict[str, Any]:
    return {
        "question": turn.question,
        "answer": turn.answer,
        "note": turn.note,
        "pictures": [
            {"name": one.name, "file": _file_of(one.path, folder), "page": one.page, "thumb": one.thumb}
            for one in turn.pictures
        ],
    }


def _turn_from_json(raw: dict[str, Any], folder: Path) -> Turn:
    answer = raw["answer"]
    pictures = tuple(_picture_from_json(one, folder) for one in raw["pictures"][:MOST_PICTURES])
    return Turn(
        question=_text(raw["question"]),
        pictures=pictures,
        answer=None if answer is None else _text(answer),
        note=_text(raw["note"]),
    )


def _picture_from_json(raw: dict[str, Any], folder: Path) -> Picture:
    thumb, file, page = _text(raw["thumb"]), _text(raw["file"]), raw["page"]
    if not isinstance(page, int) or isinstance(page, bool) or page < 1:
        raise ValueError("a page counts from 1")
    thumb = thumb if _THUMB.fullmatch(thumb) else ""
    return Picture(_text(raw["name"]), _path_of(file, folder), page, thumb)


def _file_of(path: str, folder: Path) -> str:
    """Hash and name of an uploaded file, or the name of an example; empty for one that lies elsewhere."""
    place = Path(path)
    if place.parent == FOLDER:
        return f"{_EXAMPLE}{place.name}"
    return "/".join(place.parts[-2:]) if path and place.parent.parent == folder else ""


def _path_of(file: str, folder: Path) -> str:
    """The inverse; empty where there can't be such a file."""
    if file.startswith(_EXAMPLE):
        name = file.removeprefix(_EXAMPLE)
        return str(FOLDER / name) if name in IMAGES else ""
    return str(folder / file) if _FILE.fullmatch(file) and not file.endswith(("/.", "/..")) else ""


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise TypeError("text was expected")
    return raw[:20_000]
