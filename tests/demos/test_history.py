"""What the browser keeps comes back as it was, and nothing made up comes in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fakes import picture as noisy
from hypothesis import given
from hypothesis import strategies as st
from uploaded import noise

from demos.conversation import Conversation, Turn
from demos.draw_images import FOLDER
from demos.history import (
    MOST_CHARACTERS,
    MOST_KEPT,
    Kept,
    choices,
    from_json,
    to_json,
    with_conversation,
    without,
)
from demos.pictures import Picture, picture, thumb_of


def talk(tmp_path: Path) -> Conversation:
    path = noise(tmp_path, 1)
    one = picture(path, 1, "noise.png")
    return Conversation(turns=(Turn("What?", (one,), "Noise."), Turn("Sure?", (), "So so", note="stopped")))


def test_a_conversation_comes_back_as_it_was(tmp_path: Path) -> None:
    kept = with_conversation([], talk(tmp_path))
    raw = json.loads(json.dumps(to_json(kept, tmp_path / "up")))
    [back] = from_json(raw, tmp_path / "up")
    assert back.conversation == kept[0].conversation
    assert back.conversation.pictures[0].open().size == (80, 80)  # and can be gone on with
    assert str(tmp_path) not in json.dumps(raw)


def test_an_example_comes_back_too(tmp_path: Path) -> None:
    one = picture(str(FOLDER / "notice.png"), 1, "notice.png")
    kept = [Kept(Conversation(turns=(Turn("What?", (one,), "Bread"),)), 1.0)]
    [back] = from_json(to_json(kept, tmp_path), tmp_path)
    assert back.conversation.pictures == (one,)


def test_the_one_gone_on_with_comes_first_and_one_can_be_deleted(tmp_path: Path) -> None:
    first, second = (Conversation(turns=(Turn(name, answer="a"),)) for name in ("first", "second"))
    kept = with_conversation(with_conversation([], first), second)
    kept = with_conversation(kept, first)
    assert [text.split(" · ")[0] for text, _ in choices(kept)] == ["first", "second"]
    assert [one.conversation.id for one in without(kept, first.id)] == [second.id]
    assert with_conversation(kept, Conversation()) == kept  # nothing was asked in it


def test_no_more_is_kept_than_a_browser_holds(tmp_path: Path) -> None:
    thumb = thumb_of(noisy(1, 256, 256))
    turns = tuple(Turn("q", (Picture("x.png", "", 1, thumb),) * 8, "word " * 3000) for _ in range(20))
    kept: list[Kept] = []
    for _ in range(MOST_KEPT + 5):
        kept = with_conversation(kept, Conversation(turns=turns))
    assert len(kept) == MOST_KEPT
    raw = to_json(kept, tmp_path)
    assert 0 < len(raw) < MOST_KEPT and len(json.dumps(raw)) < MOST_CHARACTERS + 1000


HASH = "a" * 64
FILES = st.sampled_from([
    "/etc/passwd", "../secret", f"{HASH}/../../x", f"{HASH}/..", f"{HASH}/a/b", f"{HASH}/\0",
    "example/../app.py", "example/app.py", f"{HASH}\\x", "", f"{HASH}/.",
])  # fmt: skip


@given(FILES)
def test_no_file_outside_the_uploads_is_ever_opened(file: str) -> None:
    raw = good()
    raw["turns"][0]["pictures"][0]["file"] = file
    [back] = from_json([raw], Path("/uploads"))
    assert back.conversation.pictures[0].path == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(JSON)
def test_anything_else_is_no_conversation(raw: object) -> None:
    assert from_json(raw, Path("/uploads")) == []
    assert from_json([raw], Path("/uploads")) == []


@given(st.sampled_from(["id", "seconds", "turns", "question", "answer", "pictures", "thumb", "page"]), JSON)
def test_a_conversation_with_one_odd_value_is_whole_or_left_out(name: str, value: object) -> None:
    raw = good()
    place: dict[str, Any] = raw
    if name in ("question", "answer", "pictures"):
        place = raw["turns"][0]
    elif name in ("thumb", "page"):
        place = raw["turns"][0]["pictures"][0]
    place[name] = value
    for back in from_json([raw], Path("/uploads")):
        assert back.conversation.bubbles and choices([back])
        json.dumps(to_json([back], Path("/uploads")))
        for one in back.conversation.pictures:
            assert one.thumb == "" or one.thumb.startswith("data:image/webp;base64,")


def good() -> dict[str, Any]:
    shown = {"name": "x.png", "file": f"{HASH}/x.png", "page": 1, "thumb": "data:image/webp;base64,AAAA"}
    turn = {"question": "q", "answer": "a", "note": "", "pictures": [shown]}
    return {"id": "0" * 16, "seconds": 1_700_000_000, "turns": [turn]}
