"""What several commands share: splits, seeds, progress, a status, and a word on missing packages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

import typer

INTERRUPTED = 130  # typer's status after Ctrl-C, the shells' own
SeedOption = Annotated[int, typer.Option(help="Same seed, same pages.")]


class SplitName(StrEnum):
    """Whose fonts, words and templates."""

    train = "train"
    validation = "validation"
    heldout = "heldout"


@contextmanager
def with_extra(name: str) -> Iterator[None]:
    """Say which extra to install where a package is missing."""
    from vlm.errors import UsageError

    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(f"this needs {error.name}: pip install 'vlm[{name}]'") from None
    except FileNotFoundError as error:  # no fonts
        raise UsageError(str(error)) from None


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal's stderr, nothing elsewhere; gives what moves it on by one."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)
