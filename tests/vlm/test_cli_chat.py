"""``vlm chat``: what is asked, what stands on which stream, and that neither Ctrl-C nor a mistake ends it."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from fakes import Said, picture
from runner import Ran, Run, heeding_ctrl_c
from scripted_pages import TurnByTurn
from servers import Fake, saying
from uploaded import pdf

from vlm.generate import Token
from vlm.session import VLM

TURNS = ("A cat.", "It is black.", "Yes.")


class Interrupted(TurnByTurn):
    """The person presses Ctrl-C after the first characters of the first answer."""

    def _say(self, said: Said, max_tokens: int) -> Generator[Token]:
        for count, token in enumerate(super()._say(said, max_tokens)):
            if count == 3 and len(self.heard) == 1:
                raise KeyboardInterrupt
            yield token


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TurnByTurn:
    """Whatever model is named, this engine answers."""
    return engine_of(TurnByTurn, tmp_path, monkeypatch)


def engine_of(kind: type[TurnByTurn], folder: Path, monkeypatch: pytest.MonkeyPatch) -> TurnByTurn:
    engine = kind(folder / "scripted", turns=TURNS)
    monkeypatch.setattr(VLM, "load", lambda *_, **__: engine.vlm())
    return engine


class Talk:
    """Runs ``vlm chat`` with what is typed."""

    def __init__(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        self._run, self._monkeypatch = run, monkeypatch

    def __call__(self, *lines: str, arguments: tuple[object, ...] = (), live: bool = False) -> Ran:
        typed = io.StringIO("".join(line + "\n" for line in lines))
        self._monkeypatch.setattr(typed, "isatty", lambda: live, raising=False)
        self._monkeypatch.setattr(sys, "stdin", typed)
        self._monkeypatch.setattr(sys.stdout, "isatty", lambda: live)
        return self._run("chat", *arguments)


@pytest.fixture
def talk(run: Run, monkeypatch: pytest.MonkeyPatch) -> Talk:
    return Talk(run, monkeypatch)


def heard(engine: TurnByTurn, turn: int) -> str:
    """The prompt of a turn, with one sign for each image and the blank around it."""
    text = engine.tokenizer.decode(engine.heard[turn].ids, keep_special=True)
    return re.sub(r"\s*<start_of_image>.*?<end_of_image>\s*", "@", text, flags=re.DOTALL)


# -- piped -------------------------------------------------------------------------------------------


def test_every_line_is_a_question(talk: Talk, engine: TurnByTurn, photo: Path) -> None:
    ran = talk("What is this?", "", "Which colour?", arguments=(photo, "--policy", "off"))
    assert ran == Ran(0, "A cat.\nIt is black.\n", "")  # no prompt, no figures, no colours
    assert heard(engine, 1) == (
        "<bos><start_of_turn>user@What is this?<end_of_turn>\n<start_of_turn>model\nA cat.<end_of_turn>\n"
        "<start_of_turn>user\nWhich colour?<end_of_turn>\n<start_of_turn>model\n"
    )


def test_a_backslash_goes_on_with_the_next_line(talk: Talk, engine: TurnByTurn) -> None:
    assert talk("What \\", "is \\", "this?", "Ends in \\").out == "A cat.\nIt is black.\n"
    assert "user\nWhat \nis \nthis?<end" in heard(engine, 0) and "Ends in<end" in heard(engine, 1)


def test_images_come_later_too(talk: Talk, engine: TurnByTurn, photo: Path, tmp_path: Path) -> None:
    odd = tmp_path / "two words.png"
    picture(5, 90, 60).save(odd)
    talk("Hello!", f"/image {photo}", f"/image '{odd}'", "And now?", "Again?", arguments=("--policy", "off"))
    assert "@" not in heard(engine, 0)
    assert "@@And now?" in heard(engine, 1) and heard(engine, 2).count("@") == 2


def test_a_document_is_shown_page_by_page(talk: Talk, engine: TurnByTurn, tmp_path: Path) -> None:
    bill = pdf(tmp_path / "two words", "One.", "Two.", "Three.")
    off = ("--policy", "off")
    ran = talk(f"/image '{bill}' 2-3", "What?", f"/image {bill}", "And?", arguments=off, live=True)
    assert "image 1: " in ran.out and "page 2, " in ran.out and "page 3, " in ran.out
    assert heard(engine, 0).count("@") == 2 and heard(engine, 1).count("@") == 5
    engine.heard.clear()
    talk("What?", arguments=(bill, *off))
    assert heard(engine, 0).count("@") == 3


def test_a_long_document_needs_its_pages_named(talk: Talk, engine: TurnByTurn, tmp_path: Path) -> None:
    book = pdf(tmp_path, *map(str, range(9)))
    told = talk(arguments=(book,)).refused()
    assert "/image FILE 1-3" in told and "vlm ask" in told
    ran = talk(f"/image {book} 10", f"/image {book} 9", "What?", arguments=("--policy", "off"))
    assert ran.code == 2 and ran.err.count("\n") == 1 and ran.out == "A cat.\n"
    assert heard(engine, 0).count("@") == 1


def test_windows_are_listed(talk: Talk, engine: TurnByTurn, tmp_path: Path) -> None:
    wide = tmp_path / "wide.png"
    picture(5, 900, 300).save(wide)
    ran = talk("/policy gemma3", "What?", "/windows", "/policy off", "And?", "/windows", arguments=(wide,))
    assert ran.out.splitlines()[1:6] == [
        "4 windows",
        f"image 1: {wide}",
        "  whole       0      0    900    300",
        "  crop        0      0    300    300",
        "  crop      300      0    600    300",
    ]
    assert ran.out.splitlines()[-3:] == [
        "1 window",
        f"image 1: {wide}",
        "  whole       0      0    900    300",
    ]
    assert [len(plan.spans) for plan in engine.heard] == [4, 1]


def test_system_and_reset(talk: Talk, engine: TurnByTurn, photo: Path) -> None:
    talk(
        "One?",
        "/system Be kind.",
        "Two?",
        "/reset",
        "/system",
        "Three?",
        arguments=(photo, "--system", "Be brief."),
    )
    assert heard(engine, 0).startswith("<bos><start_of_turn>user\nBe brief.@One?")
    assert heard(engine, 1).startswith("<bos><start_of_turn>user\nBe kind.@One?")
    assert heard(engine, 2) == "<bos><start_of_turn>user\nThree?<end_of_turn>\n<start_of_turn>model\n"


def test_a_mistake_is_told_and_the_conversation_goes_on(talk: Talk, engine: TurnByTurn, photo: Path) -> None:
    wrong = (
        ("/foo", "no command /foo: /help lists them"),
        ("/image", "needs the path of an image"),
        ("/image missing.png", "missing.png: no such file"),
        ("/policy fine", "unknown policy 'fine'"),
        ("/windows", "no windows yet"),
        ("/save talk.doc", "ends in .md or .json"),
        ("word " * 9000, "the prompt is"),
    )
    ran = talk("What is this?", *(typed for typed, _ in wrong[:4]), "Which colour?", arguments=(photo,))
    assert ran.out == "A cat.\nIt is black.\n" and ran.code == 2  # a script must hear of it
    ran = talk(*(typed for typed, _ in wrong), "And?", arguments=(photo,))
    errors = ran.err.splitlines()
    assert len(errors) == len(wrong) and ran.out == "Yes.\n"
    for (_, said), line in zip(wrong, errors, strict=True):
        assert line.startswith("vlm: ") and said in line
    assert heard(engine, -1).count("word") == 0  # what failed is no part of the conversation
    assert heard(engine, -1).count("@") == 1  # and its image waited for the next question


def test_two_slashes_are_a_question(talk: Talk, engine: TurnByTurn) -> None:
    assert talk("//etc/hosts is what?").out == "A cat.\n"
    assert "user\n/etc/hosts is what?" in heard(engine, 0)


def test_exit_leaves_the_rest(talk: Talk, engine: TurnByTurn) -> None:
    assert talk("One?", "/exit", "Two?") == Ran(0, "A cat.\n", "")
    assert len(engine.heard) == 1


def test_nothing_typed(talk: Talk, engine: TurnByTurn, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert talk() == Ran(0, "", "")
    monkeypatch.setattr(sys, "stdin", None)  # closed by the caller
    assert run("chat") == Ran(0, "", "")


def test_no_text_is_told(engine: TurnByTurn, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe?\n"), "utf-8"))
    ran = run("chat")
    assert ran.code == 2 and ran.err == "vlm: standard input is no text in UTF-8\n"
    stray = io.TextIOWrapper(
        io.BytesIO(b"caf\xe9?\n"), "utf-8", errors="surrogateescape"
    )  # as in the C locale
    monkeypatch.setattr(sys, "stdin", stray)
    assert run("chat").out == "A cat.\n" and "caf\ufffd?" in heard(engine, 0)


def test_what_is_wrong_is_told_before_a_model_is_loaded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("no model is needed for that")

    monkeypatch.setattr(VLM, "load", never)
    assert "no such file" in run("chat", "missing.png").refused()
    assert "unknown policy" in run("chat", "--policy", "fine").refused()
    assert "--offline and --url" in run("chat", "--url", "http://localhost:1", "--offline").refused()


def test_an_answer_cut_short_says_so(talk: Talk, engine: TurnByTurn) -> None:
    ran = talk("What is this?", arguments=("--max-tokens", 3))
    assert (ran.out, ran.err) == ("A c\n", "[stopped at --max-tokens]\n")


# -- saved -------------------------------------------------------------------------------------------


def test_a_conversation_is_saved(talk: Talk, engine: TurnByTurn, photo: Path, tmp_path: Path) -> None:
    text, data = tmp_path / "talk.md", tmp_path / "talk.json"
    ran = talk(
        "What is this?",
        f"/save {text}",
        "Which colour?",
        f"/save {text}",
        f"/save {data}",
        arguments=(photo,),
    )
    assert (ran.code, ran.err) == (0, "")
    assert text.read_text("utf-8") == (
        f"# scripted\n\n![{photo}](<{photo}>)\n\n**What is this?**\n\nA cat.\n\n"
        "**Which colour?**\n\nIt is black.\n"
    )
    saved = json.loads(data.read_text("utf-8"))
    assert saved["model"] == "scripted" and [turn["images"] for turn in saved["turns"]] == [[str(photo)], []]
    assert saved["turns"][0]["reply"]["answer"] == "A cat." and saved["turns"][0]["reply"]["windows"]


def test_no_file_of_another_is_written_over(talk: Talk, engine: TurnByTurn, tmp_path: Path) -> None:
    other = tmp_path / "notes.md"
    other.write_text("mine")
    assert "is there already" in talk("One?", f"/save {other}").err
    assert other.read_text() == "mine"
    assert "can't be written" in talk("One?", f"/save {tmp_path}/none/x.md").err


# -- on a terminal -----------------------------------------------------------------------------------


def test_a_terminal_gets_prompts_and_figures(talk: Talk, engine: TurnByTurn, photo: Path) -> None:
    ran = talk("What \\", "is this?", "/policy", f"/image {photo}", "/help", arguments=(photo,), live=True)
    assert ran.out.startswith(
        "Ask away; /help lists the commands, Ctrl-D leaves.\n> ... A cat.\n> policy adaptive\n"
    )
    assert f"> image 2: {photo}, 80 x 80\n" in ran.out and "/save FILE" in ran.out
    assert re.search(r"\[1 window, 6 tokens, [\d.]+ tokens/s\]", ran.err)
    assert ran.code == 0


def test_mistakes_on_a_terminal_are_no_failure(talk: Talk, engine: TurnByTurn) -> None:
    assert talk("/foo", "One?", live=True).code == 0


def test_ctrl_c_stops_the_answer_and_not_the_program(
    talk: Talk, tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(Interrupted, tmp_path, monkeypatch)
    ran = talk("What is this?", "And now?", arguments=(photo,), live=True)
    assert "A c\n[stopped: this question doesn't count]\n" in ran.out and "It is black.\n" in ran.out
    assert "What is this?" not in heard(engine, 1) and "@And now?" in heard(engine, 1)
    assert ran.code == 0
    engine_of(Interrupted, tmp_path, monkeypatch)
    assert talk("What is this?", "And now?", arguments=(photo,)).code == 130  # a script is stopped as a whole


def test_an_answer_cannot_drive_the_terminal(talk: Talk, fake: Fake) -> None:
    fake.ways = [saying("\x1b]0;owned\x07", "a\tb\r\n", "\x9b2J")]
    there = ("--url", fake.url)
    assert "> \ufffd]0;owned\ufffda\tb\ufffd\n\ufffd2J\n" in talk("Hi.", arguments=there, live=True).out
    assert "\x1b]0;owned\x07" in talk("Hi.", arguments=there).out  # a file gets the letter


# -- over a server -----------------------------------------------------------------------------------


def test_a_conversation_with_a_server(talk: Talk, fake: Fake, photo: Path) -> None:
    fake.ways = [saying("A ", "cat."), saying("Black.")]
    ran = talk("What is this?", "Which colour?", arguments=(photo, "--url", fake.url, "--api-key", "k"))
    assert ran.out == "A cat.\nBlack.\n" and ran.code == 0
    assert ran.err == "vlm: this server knows no adaptive windows: images are read whole\n"
    assert [message["role"] for message in fake.asked[1]["messages"]] == ["user", "assistant", "user"]
    assert set(fake.keys) == {"Bearer k"}


class Screen:
    """A pseudo-terminal with ``vlm chat`` on it."""

    def __init__(self, *arguments: str) -> None:
        self.ours, theirs = pty.openpty()
        # Ctrl-C goes to the processes whose own terminal it is.
        code = "import fcntl, os, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
        code += "; from vlm.cli import main; main()"
        with heeding_ctrl_c():
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, "chat", *arguments],
                stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "dumb"},
            )  # fmt: skip
        os.close(theirs)
        self.shown = ""

    def type(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def wait_for(self, text: str) -> None:
        """Read on until a text has come since the last one that was waited for."""
        end = time.monotonic() + 60
        while text not in self.shown:
            assert time.monotonic() < end, self.shown
            if select.select([self.ours], [], [], 0.2)[0]:
                self.shown += os.read(self.ours, 4096).decode()
        self.shown = self.shown.partition(text)[2]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.ours)


@pytest.fixture
def screen(fake: Fake, photo: Path) -> Iterator[Screen]:
    fake.ways = [saying(*[f"word{n} " for n in range(1000)], pause=0.05), saying("Done.")]
    opened = Screen(str(photo), "--url", fake.url, "--policy", "off")
    yield opened
    opened.close()


@pytest.mark.slow
def test_keys_on_a_real_terminal(screen: Screen, fake: Fake) -> None:
    screen.wait_for("> ")
    screen.type("What is this?\n")
    screen.wait_for("word2")
    screen.type("\x03")
    screen.wait_for("[stopped: this question doesn't count]")
    assert fake.left.wait(10)  # and the server need not go on
    screen.wait_for("> ")
    screen.type("half a li\x03")  # the line is dropped
    screen.wait_for("> ")
    screen.type("And now?\n")
    screen.wait_for("Done.")
    screen.wait_for("tokens/s]")
    screen.wait_for("> ")
    screen.type("\x04")
    assert screen.process.wait(20) == 0
    assert [message["content"][-1]["text"] for message in fake.asked[1]["messages"]] == ["And now?"]
