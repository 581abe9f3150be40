"""Files that are there whole or not at all, whatever happens while they are written.

Written beside their place, flushed to the disk, then renamed over it: a rename within a folder can't
be seen half done (POSIX ``rename``; ``os.replace`` promises the same elsewhere), and syncing the file
before and the folder after keeps that order through a power cut. The name beside is fixed, so that
what a killed process left there is overwritten by the next one and never piles up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from vlm.errors import UsageError, printable


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A stream whose bytes become ``path`` when the block ends; on any error the old file stays.

    Args:
        path: in a folder that exists; one writer at a time.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell
            beside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the rename last; Windows has no handle of a folder to sync."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def told(path: Path, then: str) -> Iterator[None]:
    """Turn what the system says of a file into one line that says what to do.

    Args:
        path: what the block reads or writes.
        then: what to do about it.

    Raises:
        UsageError: no room, no permission, no such folder...
    """
    try:
        yield
    except OSError as error:
        raise UsageError(f"{printable(path)}: can't be written ({error.strerror or error}); {then}") from None
