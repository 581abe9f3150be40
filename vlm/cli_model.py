"""Which model answers, one loaded here or one behind ``--url``, and the line that says what it does."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

from vlm.cli_options import MINI

if TYPE_CHECKING:
    from vlm.answer import Answer
    from vlm.asking import Model
    from vlm.session import VLM

_M = TypeVar("_M", bound="Model")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def window_of(model: str, *, offline: bool = False) -> tuple[int, int]:
    """Side of a model's square in pixels and its tokens a window, from its config alone.

    Raises:
        UsageError: it sees nothing.
    """
    from vlm.config import ModelConfig
    from vlm.errors import UsageError, printable
    from vlm.weights import resolve

    path = resolve(model, offline=offline)
    config = ModelConfig.from_folder(path) if path.is_dir() else None
    if config is None or config.vision is None:
        raise UsageError(f"{printable(model)}: sees no images; name a model with vision")
    return config.vision.image_size, config.mm_tokens_per_image


def say_why_ended(answer: Answer) -> None:
    """On stderr, why an answer is not whole."""
    why = {"length": "stopped at --max-tokens", "context": "stopped: the model's context is full"}
    if answer.finish_reason in why:
        print(f"[{why[answer.finish_reason]}]", file=sys.stderr)


def shown(text: str) -> str:
    """An answer as it may be printed: to the letter into a file; on a terminal nothing that drives it."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text) if sys.stdout.isatty() else text


class Status:
    """What is going on, on a terminal's stderr; nothing elsewhere. Gone before the answer begins."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeRemainingColumn(),
        )
        console = Console(stderr=True)
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=None)

    def show(self, what: str, done: int = 0, total: int | None = None) -> None:
        """Say what goes on, and how much of it is done."""
        self._bar.start()
        self._bar.update(self._task, description=what, completed=done, total=total)

    def clear(self) -> None:
        """Take it away."""
        self._bar.stop()


@contextmanager
def to_stay() -> Iterator[None]:
    """For imports and loading: what is made within is there to the end, so nobody looks for garbage in it.

    torch's modules are hundreds of thousands of objects. The collector would go through all of them time
    and again while they are made, and once more at exit: a fifth of the time that a short answer takes.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@dataclass(frozen=True)
class Wanted:
    """The options that name a model."""

    model: str | None = None
    url: str | None = None
    api_key: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    offline: bool = False

    @property
    def name(self) -> str:
        """What it is called in a message."""
        return self.model or self.url or MINI

    def load(self) -> Model:
        """The model, loaded here or found on its server.

        Raises:
            VlmError: it can't be had.
        """
        return self.load_here() if not self.url else self._found(self.url)

    def load_here(self) -> VLM:
        """The model in this process."""
        with to_stay():
            from vlm.session import VLM

            dtype: Any = self.dtype  # told by the loading if unknown
            return VLM.load(self.model or MINI, dtype=dtype, device=self.device, offline=self.offline)

    def _found(self, url: str) -> Model:
        from vlm.errors import UsageError
        from vlm.remote import RemoteVLM

        if self.offline:
            raise UsageError("--offline and --url exclude each other: a server is not on this machine's disk")
        for option, value in (("--dtype", self.dtype), ("--device", self.device)):
            if value != "auto":
                raise UsageError(f"{option} is of a model that is loaded here: leave it out with --url")
        found = RemoteVLM(url, self.model, self.api_key)
        found.on_note = lambda what: print(f"vlm: {what}", file=sys.stderr)
        found.served  # noqa: B018 - asked now, so that a wrong key or name is told before any work
        return found


def load_with_status(wanted: Wanted) -> tuple[Model, Status]:
    """The model, and the line that says what it does; that line is shown until it is cleared."""
    if not wanted.url:
        return load_here_with_status(wanted)
    status = Status()
    return _watched(wanted.load, status, f"asking {wanted.url}"), status


def load_here_with_status(wanted: Wanted) -> tuple[VLM, Status]:
    """The same for what no server does."""
    status = Status()
    loaded = _watched(wanted.load_here, status, f"loading {wanted.name}")
    loaded.on_window = lambda done, total: status.show("looking", done, total)
    return loaded, status


def _watched(load: Callable[[], _M], status: Status, doing: str) -> _M:
    status.show(doing)
    try:
        return load()
    except BaseException:
        status.clear()
        raise


@contextmanager
def asked_by(vlm: Model, at_once: int) -> Iterator[Model]:
    """The model for so many threads, which are told to give up when the block ends, however it does."""
    if at_once == 1:
        yield vlm
        return
    from vlm.parallel import wait_for_calls
    from vlm.scheduler import SharedEngine
    from vlm.session import VLM

    if not isinstance(vlm, VLM):  # one on a server may be asked by any number
        yield vlm
        return
    given_up = Event()
    shared = vlm.shared(at_once)
    try:
        yield shared.until(given_up)
    finally:
        given_up.set()
        if isinstance(shared.engine, SharedEngine):
            shared.engine.close()
        wait_for_calls()
