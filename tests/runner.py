"""What a command printed and how it ended."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from vlm.cli import main


class Ran(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    def refused(self) -> str:
        """The one line of an error a user made."""
        assert self.code == 2 and self.out == "", self
        assert self.err.startswith("vlm: ") and self.err.count("\n") == 1, self
        return self.err


Run = Callable[..., Ran]


def calls(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *first: str) -> Run:
    """Calls ``vlm``, in this process, as the script does.

    Args:
        capsys: of the test.
        monkeypatch: of the test.
        first: arguments before those of each call.
    """

    def call(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["vlm", *first, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Ran(int(ended.value.code or 0), captured.out, captured.err)

    return call


@contextmanager
def heeding_ctrl_c() -> Iterator[None]:
    """For starting a process: a job in the background of a script ignores Ctrl-C, and so would its child."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
