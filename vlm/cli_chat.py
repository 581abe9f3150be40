"""``vlm chat``: a conversation in the terminal.

What was said is kept as turns, each with its images and its answer; a turn that was stopped or failed is
none, and its images wait for the next question. Standard output holds answers alone, and what was asked for
by a command; figures and errors go to stderr, figures and prompts to terminals only. So a file of questions
can be piped in and the answers come out, one after the other.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from vlm.cli_model import Status, Wanted, load_with_status, say_why_ended, shown
from vlm.cli_options import (
    ApiKeyOption,
    DeviceOption,
    DtypeOption,
    MaxTokensOption,
    MaxWindowsOption,
    NamedModelOption,
    OfflineOption,
    PolicyOption,
    SeedOption,
    TemperatureOption,
    TopKOption,
    TopPOption,
    UrlOption,
)

if TYPE_CHECKING:
    from PIL import Image

    from vlm.answer import Answer
    from vlm.asking import Message, Model
    from vlm.options import Options
    from vlm.reading.sources import SourcePage

MOST_PAGES = 8  # of a document shown at once; each is an image of the prompt
_PAGES = re.compile(r"(.*\S)\s+([0-9][0-9,-]*)")  # a path, and pages of it
_HELP = """\
/image PATH   show an image; the next question is about it, too; of a PDF its pages: /image bill.pdf 2-3
/windows      what the encoder saw of the images
/policy NAME  cut images by another policy from now on: off, gemma3, adaptive, guided
/system TEXT  give instructions for the whole conversation; without a text take them back
/reset        forget the conversation and its images
/save FILE    write the conversation to FILE.md or FILE.json
/help         this list
/exit         leave (Ctrl-D)
A backslash at the end of a line goes on with the next; Ctrl-C stops an answer.
A question that begins with / is written with two: //etc/hosts"""


def chat(
    images: Annotated[
        list[str] | None, typer.Argument(metavar="[IMAGE]...", show_default=False, help="To talk about.")
    ] = None,
    model: NamedModelOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    policy: PolicyOption = "adaptive",
    max_windows: MaxWindowsOption = None,
    max_tokens: MaxTokensOption = 512,
    temperature: TemperatureOption = 0.0,
    top_k: TopKOption = 0,
    top_p: TopPOption = 1.0,
    seed: SeedOption = None,
    system: Annotated[str, typer.Option(help="Instructions put before the conversation.")] = "",
    dtype: DtypeOption = "auto",
    device: DeviceOption = "auto",
    offline: OfflineOption = False,
) -> None:
    """Talk about images in the terminal; /help lists what can be typed.

    Without a terminal every line of standard input is a question.
    """
    from vlm.options import Options
    from vlm.sampling import Sampling

    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    options = Options(policy=policy, max_windows=max_windows, max_tokens=max_tokens, sampling=sampling)
    waiting = [one for name in images or () for one in _Shown.of(name)]
    loaded, status = load_with_status(Wanted(model, url, api_key, dtype, device, offline))
    status.clear()
    raise typer.Exit(_Terminal(Conversation(loaded, options, system, waiting), status).run())


@dataclass(frozen=True)
class _Shown:
    """An image that was shown, or a page of a document."""

    name: str
    image: Image.Image

    @classmethod
    def of(cls, path: str, pages: str = "") -> list[Self]:
        """Read it.

        Args:
            path: of an image or a document.
            pages: of a document, as in "1-3,7"; empty for all.

        Raises:
            ImageError: it can't be read.
            UsageError: no such pages, or more than a conversation has room for.
        """
        from pan_and_scan import load_image
        from vlm.cli_documents import are_documents
        from vlm.errors import UsageError, printable

        if not pages and not are_documents([path]):
            return [cls(printable(path), load_image(path))]
        from vlm.reading.sources import SourceOptions, list_pages

        listed = list(islice(list_pages([path], SourceOptions(pages=pages)), MOST_PAGES + 1))
        if len(listed) > MOST_PAGES:
            raise UsageError(
                f"{printable(path)}: {MOST_PAGES} pages are shown at most, name them, as in: /image FILE 1-3 "
                '(a question to all pages: vlm ask FILE "...")'
            )
        return [cls(_page_name(page), page.open().image) for page in listed]


def _page_name(page: SourcePage) -> str:
    from vlm.errors import printable

    name = printable(page.file)
    return name if page.count == 1 else f"{name}, page {page.number}"


def _path_and_pages(text: str) -> tuple[str, str]:
    """What stands after /image."""
    whole, named = _bare(text), _PAGES.fullmatch(text)
    if named and not os.path.exists(whole):
        return _bare(named[1]), named[2]
    return whole, ""


def _bare(path: str) -> str:
    """A path as a shell would have it."""
    quoted = len(path) > 1 and path[0] == path[-1] and path[0] in "'\""
    return os.path.expanduser(path[1:-1] if quoted else path)


@dataclass(frozen=True)
class _Turn:
    """A question, the images shown with it, and the answer."""

    question: str
    images: tuple[_Shown, ...]
    answer: Answer


@dataclass
class Conversation:
    """What was said, and how the next question is asked."""

    model: Model
    options: Options
    system: str = ""
    waiting: list[_Shown] = field(default_factory=list)  # images of the next question
    turns: list[_Turn] = field(default_factory=list)

    @property
    def images(self) -> list[_Shown]:
        """All of them, in the order the answers count them."""
        return [image for turn in self.turns for image in turn.images] + self.waiting

    def ask(self, question: str) -> Iterator[str]:
        """The answer piece by piece; once it is whole, the turn counts.

        Raises:
            VlmError: nothing counts then.
        """
        with closing(self.model.reply(self._messages(question), self.options)) as stream:
            yield from stream
        assert stream.answer is not None
        self.turns.append(_Turn(question, tuple(self.waiting), stream.answer))
        self.waiting = []

    def reset(self) -> None:
        """Forget what was said and shown."""
        self.turns, self.waiting = [], []

    def _messages(self, question: str) -> Sequence[Message]:
        from vlm.asking import Message

        said = [Message("system", (self.system,))] if self.system else []
        for turn in self.turns:
            said.append(Message("user", (*(one.image for one in turn.images), turn.question)))
            said.append(Message("assistant", (turn.answer.text,)))
        return [*said, Message("user", (*(one.image for one in self.waiting), question))]

    def to_markdown(self) -> str:
        """For people."""
        lines = [f"# {self.model.name}", *([f"> {self.system}"] if self.system else [])]
        for turn in self.turns:
            lines += [f"![{one.name}](<{one.name}>)" for one in turn.images]
            lines += [f"**{turn.question}**", turn.answer.text]
        return "\n\n".join(lines) + "\n"

    def to_json(self) -> str:
        """For programs: each turn with the object that ``vlm ask --json`` prints."""
        turns = [
            {"question": turn.question, "images": [one.name for one in turn.images]}
            | {"reply": turn.answer.to_json()}
            for turn in self.turns
        ]
        head = {"model": self.model.name, "system": self.system}
        return json.dumps(head | {"turns": turns}, ensure_ascii=False, indent=1) + "\n"


class _Terminal:
    """Reads lines and prints answers."""

    def __init__(self, talk: Conversation, status: Status) -> None:
        self._talk = talk
        self._status = status
        self._live = bool(sys.stdin and sys.stdin.isatty() and sys.stdout.isatty())
        self._saved: set[Path] = set()  # files that may be written again
        self._commands: dict[str, Callable[[str], None]] = {
            "/image": self._image, "/windows": self._windows, "/policy": self._policy,
            "/system": self._system, "/reset": self._reset, "/save": self._save,
            "/help": lambda _: print(_HELP),
        }  # fmt: skip

    def run(self) -> int:
        """Talk until the end; the exit code."""
        from vlm.errors import ImageError, VlmError

        if self._live:
            with suppress(ImportError):
                import readline  # noqa: F401 - lines can be edited and called back
            print("Ask away; /help lists the commands, Ctrl-D leaves.")
        failed = False
        while True:
            try:
                text = self._read()
                if text is None or text.strip() in ("/exit", "/quit"):
                    return 2 if failed and not self._live else 0
                self._heed(text)
            except (VlmError, ImageError) as error:
                failed = True
                print(f"vlm: {error}", file=sys.stderr)
            except KeyboardInterrupt:
                if not self._live:
                    raise
                print("\n[Ctrl-D leaves]")

    def _read(self) -> str | None:
        """What was typed, over as many lines as end in a backslash; None at the end."""
        from vlm.errors import UsageError

        lines: list[str] = []
        while True:
            try:
                line = input(("... " if lines else "> ") if self._live else "")
            except EOFError:
                if self._live:
                    print()
                return "\n".join(lines) if lines else None
            except UnicodeDecodeError:
                raise UsageError("standard input is no text in UTF-8") from None
            except RuntimeError:  # standard input was closed by the caller
                return None
            if not line.endswith("\\"):
                return "\n".join([*lines, line])
            lines.append(line[:-1])

    def _heed(self, text: str) -> None:
        """A command or a question."""
        from vlm.errors import UsageError

        if not text.strip():
            return
        if not text.startswith("/") or text.startswith("//"):
            self._ask(text.removeprefix("/") if text.startswith("//") else text)
            return
        name, _, rest = text.strip().partition(" ")
        if name not in self._commands:
            raise UsageError(f"no command {shown(name)[:40]}: /help lists them; a question may begin with //")
        self._commands[name](rest.strip())

    def _ask(self, question: str) -> None:
        # What isn't UTF-8 came as half a surrogate pair, which no tokenizer takes.
        question = question.encode(errors="surrogateescape").decode(errors="replace")
        self._status.show("reading")
        begun = False
        try:
            for piece in self._talk.ask(question):
                self._status.clear()
                print(shown(piece), end="", flush=True)
                begun = True
        except KeyboardInterrupt:
            if not self._live:
                raise
            self._status.clear()
            print("\n[stopped: this question doesn't count]")
            return
        except BaseException:
            if begun:
                print()
            raise
        finally:
            self._status.clear()
        print(flush=True)
        answer = self._talk.turns[-1].answer
        say_why_ended(answer)
        self._say_figures(answer)

    def _say_figures(self, answer: Answer) -> None:
        """What the answer took, on a terminal."""
        if not self._live:
            return
        from rich.console import Console

        windows = sum(used.window.kind != "blank" for used in answer.windows)
        seen = [_counted(windows, "window")] if windows else []
        tokens = answer.usage.completion_tokens
        rate = f"{tokens / answer.timings.decode:.1f} tokens/s" if answer.timings.decode > 0 else ""
        told = [*seen, _counted(tokens, "token"), *([rate] if rate else [])]
        Console(stderr=True).print(f"[{', '.join(told)}]", style="dim", markup=False, highlight=False)

    def _image(self, path: str) -> None:
        from vlm.errors import UsageError

        if not path:
            raise UsageError("/image needs the path of an image")
        for added in _Shown.of(*_path_and_pages(path)):
            self._talk.waiting.append(added)
            number = len(self._talk.images)
            self._say(f"image {number}: {added.name}, {added.image.width} x {added.image.height}")

    def _windows(self, _: str) -> None:
        from vlm.errors import UsageError

        if not self._talk.turns:
            raise UsageError("no windows yet: ask something about an image first")
        images = self._talk.images
        windows = self._talk.turns[-1].answer.windows
        print(_counted(len(windows), "window"))
        for index in dict.fromkeys(used.image for used in windows):
            print(f"image {index + 1}: {images[index].name}")
            for used in windows:
                if used.image == index:
                    box = " ".join(f"{edge:>6}" for edge in used.window.box)
                    print(f"  {used.window.kind:<5}  {box}")

    def _policy(self, name: str) -> None:
        if name:
            self._talk.options = replace(self._talk.options, policy=name)
        self._say(f"policy {self._talk.options.policy}")

    def _system(self, text: str) -> None:
        self._talk.system = text
        self._say("instructions set" if text else "no instructions")

    def _reset(self, _: str) -> None:
        self._talk.reset()
        self._say("forgotten")

    def _save(self, name: str) -> None:
        """Write the conversation; a file that it didn't write itself stays what it is."""
        from vlm.errors import UsageError, printable
        from vlm.reading.atomic import replacing, told

        path = Path(os.path.expanduser(name))
        makers = {".md": self._talk.to_markdown, ".json": self._talk.to_json}
        make = makers.get(path.suffix.lower())
        if make is None:
            raise UsageError("/save needs a file that ends in .md or .json")
        if os.path.lexists(path) and path not in self._saved:
            raise UsageError(f"{printable(path)}: is there already; name another file")
        with told(path, "name another file"), replacing(path) as file:
            file.write(make().encode(errors="replace"))
        self._saved.add(path)
        self._say(f"saved in {printable(path)}")

    def _say(self, what: str) -> None:
        """Tell a person what a command did."""
        if self._live:
            print(what)


def _counted(number: int, thing: str) -> str:
    return f"1 {thing}" if number == 1 else f"{number} {thing}s"
