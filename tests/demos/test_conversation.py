"""A conversation step by step: what is asked, what comes when, and what a stop leaves."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest
import torch
from fakes import ScriptedEngine, tiny_checkpoint
from uploaded import noise

from demos.conversation import MOST_TURNS, Ask, Conversation, Step, Turn, respond
from demos.handlers import Settings
from vlm.errors import ImageError, PromptError, UsageError
from vlm.session import VLM

torch.set_num_threads(1)
QUESTION = "What does it say?"


@pytest.fixture
def engine(tmp_path: Path) -> ScriptedEngine:
    return ScriptedEngine(tmp_path / "scripted", pause=0.01)


def asked(
    engine: ScriptedEngine, talk: Conversation, ask: Ask, settings: Settings | None = None
) -> list[Step]:
    return list(respond(engine.vlm(), talk, ask, settings or Settings()))


def test_the_text_grows_and_ends_with_the_facts(tmp_path: Path, engine: ScriptedEngine) -> None:
    image = noise(tmp_path, 1, side=448)
    steps = asked(engine, Conversation(), Ask(f" {QUESTION} ", [image]))
    statuses = list(dict.fromkeys(step.status for step in steps))
    assert (
        statuses[0] == "Looking …" and "Looking at window 5 of 5 …" in statuses and "Answering …" in statuses
    )
    texts = [turn.answer for step in steps for turn in step.conversation.turns if turn.answer]
    assert len(texts) > 3 and all(b.startswith(a) for a, b in itertools.pairwise(texts))
    [turn] = steps[-1].conversation.turns
    assert (turn.question, turn.answer) == (QUESTION, "The sign says NO PARKING.")
    assert turn.said is not None and len(turn.said.windows) == 5
    assert steps[-1].status.startswith("5 windows · ")


def test_a_further_question_sends_the_whole_conversation(tmp_path: Path, engine: ScriptedEngine) -> None:
    first = asked(engine, Conversation(), Ask(QUESTION, [noise(tmp_path, 1)]))[-1].conversation
    second = asked(engine, first, Ask("And this?", [noise(tmp_path, 2, "other.png")]))[-1].conversation
    third = asked(engine, second, Ask("Which is older?"))[-1].conversation
    assert [len(turn.pictures) for turn in third.turns] == [1, 1, 0] and third.id == first.id
    assert [len(plan.spans) for plan in engine.heard] == [1, 2, 2]
    text = engine.tokenizer.decode(engine.heard[-1].ids)
    assert text.index(QUESTION) < text.index("NO PARKING") < text.index("And this?") < text.index("Which is")
    assert [used.image for used in third.turns[-1].said.windows] == [0, 1]  # type: ignore[union-attr]


def test_settings_and_system_text_reach_the_model(tmp_path: Path, engine: ScriptedEngine) -> None:
    how = Settings("off", 1, max_tokens=8, system="Be brief.")
    step = asked(engine, Conversation(), Ask(QUESTION, [noise(tmp_path, 1, side=448)]), how)[-1]
    assert step.conversation.turns[0].answer == "The sign"
    assert step.conversation.turns[0].note == "stopped at the token limit"
    assert len(engine.crops) == 1 and "Be brief." in engine.tokenizer.decode(engine.heard[0].ids)


@pytest.mark.parametrize(
    ("ask", "settings", "error"),
    [
        (Ask(QUESTION), Settings(), PromptError),
        (Ask("  ", ["x.png"]), Settings(), PromptError),
        (Ask("why " * 9000, ["image"]), Settings(), PromptError),
        (Ask(QUESTION, ["missing.png"]), Settings(), UsageError),
        (Ask(QUESTION, ["broken"]), Settings(), ImageError),
        (Ask(QUESTION, ["image"]), Settings(policy="never"), UsageError),
    ],
)
def test_what_can_not_be_answered_is_refused(
    tmp_path: Path, engine: ScriptedEngine, ask: Ask, settings: Settings, error: type[Exception]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_text("TOTAL")
    places = {"image": noise(tmp_path, 1), "broken": str(broken)}
    ask = Ask(ask.question, [places.get(name, name) for name in ask.files])
    with pytest.raises(error):
        asked(engine, Conversation(), ask, settings)


def test_a_long_conversation_asks_for_a_new_one(engine: ScriptedEngine, tmp_path: Path) -> None:
    talk = Conversation(turns=(Turn("q", answer="a"),) * MOST_TURNS)
    with pytest.raises(PromptError, match="begin a new one"):
        asked(engine, talk, Ask(QUESTION, [noise(tmp_path, 1)]))


def test_going_back_is_another_value(tmp_path: Path, engine: ScriptedEngine) -> None:
    talk = Conversation(turns=(Turn("one", answer="1"), Turn("two", answer="2")))
    assert [turn.question for turn in talk.before(1).turns] == ["one"] and len(talk.turns) == 2
    assert [(b.kind, b.turn, b.text) for b in talk.bubbles] == [
        ("question", 0, "one"), ("answer", 0, "1"), ("question", 1, "two"), ("answer", 1, "2"),
    ]  # fmt: skip


def test_a_stop_keeps_what_was_said(tmp_path: Path, engine: ScriptedEngine) -> None:
    engine.says = "on and on " * 500
    steps = respond(
        engine.vlm(), Conversation(), Ask(QUESTION, [noise(tmp_path, 1)]), Settings(max_tokens=9999)
    )
    for step in steps:
        if step.conversation.turns and step.conversation.turns[-1].answer:
            break
    steps.close()  # type: ignore[attr-defined]
    stopped = step.conversation.stopped()
    said = stopped.turns[-1].answer or ""
    assert stopped.turns[-1].note == "stopped" and engine.says.startswith(said) and 0 < len(said) < 200
    assert stopped.stopped() == stopped


def test_a_stop_before_the_first_letter_takes_the_question_back() -> None:
    talk = Conversation(turns=(Turn("one", answer="1", note="x"), Turn("two")))
    assert [turn.question for turn in talk.stopped().turns] == ["one"]


def test_leaving_while_windows_are_encoded_ends_the_work(tmp_path: Path, engine: ScriptedEngine) -> None:
    encoding, go_on = threading.Event(), threading.Event()
    encode = engine.encode

    def slowly(crops):  # type: ignore[no-untyped-def]
        encoding.set()
        assert go_on.wait(20)
        return encode(crops)

    engine.encode = slowly  # type: ignore[method-assign]
    steps = respond(engine.vlm(), Conversation(), Ask(QUESTION, [noise(tmp_path, 1, side=448)]), Settings())
    while next(steps).status == "Looking …":
        pass
    assert encoding.wait(20)
    steps.close()  # type: ignore[attr-defined]
    go_on.set()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.daemon:
            thread.join(5)
    assert len(engine.crops) == 1 and engine.heard == []


def test_a_title_is_short_and_on_one_line() -> None:
    assert Conversation().title == "New conversation"
    title = Conversation(turns=(Turn("What\n does " + "it say " * 30),)).title
    assert title.startswith("What does it say") and len(title) <= 48 and title.endswith("…")


def test_two_conversations_never_share_an_id() -> None:
    assert len({Conversation().id for _ in range(50)}) == 50


def test_a_text_model_says_that_it_sees_nothing(tmp_path: Path) -> None:
    model = VLM.load(tiny_checkpoint(tmp_path / "text", vision=False))
    with pytest.raises(PromptError, match="reads text only"):
        list(respond(model, Conversation(), Ask(QUESTION, [noise(tmp_path, 1)]), Settings()))
