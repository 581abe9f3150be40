"""What a person names -> the pages to read: files, folders, globs, standard input.

Two moments. What was *named* is checked when ``list_pages`` is called: a missing file or a folder with
nothing to read in it is refused before a model is loaded. What is *found* is judged when it is opened:
a long job meets damaged, locked and vanished files, and must record each and go on. So a file that
can't even be counted is listed as one page, and ``SourcePage.open`` says what is wrong with it.

Listing is lazy, a file at a time: nothing is decoded, and a page holds no pixels, only where to find
them. What a file is, its first bytes say, not its name.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from PIL import Image

from pan_and_scan.image import MAX_STREAM_BYTES
from vlm.errors import ImageError, UsageError, printable
from vlm.reading.files import SourceFile
from vlm.reading.pdf import MissingPackage, Rendering
from vlm.reading.textlayer import TextLayer

SUFFIXES = frozenset({
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif", ".avif",
    ".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif", ".pdf",
})  # fmt: skip
MAX_PAGES = 10_000  # of one file

_READABLE = "PDF, PNG, JPEG, WebP, TIFF, BMP, GIF, HEIC, AVIF or PPM"
_RANGE = re.compile(r"([0-9]{1,9})(-([0-9]{1,9})?)?")
_DIGITS = re.compile(r"([0-9]+)")

_Range = tuple[int, int | None]  # first and last page; None: to the end


@dataclass(frozen=True)
class SourceOptions:
    """Which pages to take and how to open them.

    Attributes:
        pages: of each file, as in "1-3,7,9-"; empty for all.
        password: of encrypted PDFs.
        dpi: to render PDF pages at; None chooses for each page (see ``vlm.reading.pdf``).
        window_size: side of the encoder's input in pixels.
    """

    pages: str = ""
    password: str = ""
    dpi: float | None = None
    window_size: int = 896

    def __post_init__(self) -> None:
        _ranges(self.pages)
        if self.dpi is not None and not 10 <= self.dpi <= 2400:
            raise UsageError(f"dpi must be between 10 and 2400, not {self.dpi:g}")
        if self.window_size < 1:
            raise UsageError(f"window_size must be 1 or more, not {self.window_size}")


@dataclass(frozen=True)
class OpenedPage:
    """A page as it is read.

    Attributes:
        image: upright, RGB.
        layer: the page's own text; None where its kind of file has none.
        dpi: pixels an inch it was rendered at; None for an image.
    """

    image: Image.Image
    layer: TextLayer | None = None
    dpi: float | None = None


@dataclass(frozen=True)
class SourcePage:
    """A page, not yet opened.

    Attributes:
        file: name of the file, as the user gave it or as it was found; "-" for standard input.
        number: page of the file, from 1.
        count: pages the file has.
    """

    file: str
    number: int
    count: int
    source: SourceFile = field(repr=False)
    rendering: Rendering = field(repr=False)
    problem: str = field(default="", repr=False)  # why it can't be opened, if that is known already

    @property
    def sha256(self) -> str:
        """Of the file's bytes, in hex; read once a file. Empty if it can't be read."""
        return self.source.sha256

    def open(self) -> OpenedPage:
        """Decode the page.

        Raises:
            UsageError: it needs a password or a package, or is not there to be read.
            ImageError: it is damaged, too large or of no known kind.
        """
        if self.problem:
            raise UsageError(self.problem)
        return OpenedPage(*self.source.open(self.number, self.rendering))


def list_pages(inputs: Sequence[str | Path], options: SourceOptions | None = None) -> Iterator[SourcePage]:
    """List the pages of everything that was named.

    Args:
        inputs: files, folders (read through, hidden files left out), globs (``scans/**/*.png``) and
            "-" for standard input, in the order to read them. Folders and globs come in natural order
            (page2 before page10); a file that is reached twice is read once.
        options: which pages, and how to open them.

    Returns:
        An iterator that opens a file when it comes to it. Pages asked for that a named file doesn't have
        are listed, and fail to open; in folders and globs they are left out.

    Raises:
        UsageError: nothing was named, it isn't there, there is nothing to read in it, or (while
            listing) a package is missing.
    """
    options = options or SourceOptions()
    names = list(dict.fromkeys(os.fspath(entry) for entry in inputs))
    if not names:
        raise UsageError("nothing to read: name a file, a folder, a glob as in 'scans/*.png', or -")
    found = [_named(name) for name in names]
    return _pages(
        _once(chain.from_iterable(found)) if len(names) > 1 else chain.from_iterable(found), options
    )


@dataclass(frozen=True)
class _Found:
    source: SourceFile
    named: bool  # by the user, not found in a folder


def _pages(found: Iterable[_Found], options: SourceOptions) -> Iterator[SourcePage]:
    ranges = _ranges(options.pages)
    rendering = Rendering(options.password, options.dpi, options.window_size)
    none = True
    for entry in found:
        for page in _pages_of(entry, ranges, rendering):
            none = False
            yield page
    if none:
        raise UsageError(f"no file has any of the pages {options.pages}; ask for others")


def _pages_of(entry: _Found, ranges: Sequence[_Range], rendering: Rendering) -> Iterator[SourcePage]:
    source = entry.source
    try:
        count = source.count(rendering, MAX_PAGES)
    except ImageError:  # opening it says the same again
        yield SourcePage(source.name, 1, 1, source, rendering)
        return
    except MissingPackage as error:
        if entry.named:  # told before anything is read
            raise
        yield SourcePage(source.name, 1, 1, source, rendering, problem=str(error))
        return
    except UsageError as error:
        yield SourcePage(source.name, 1, 1, source, rendering, problem=str(error))
        return
    wanted, missing = _selected(ranges, count)
    if len(wanted) > MAX_PAGES:
        problem = (
            f"{printable(source.name)}: has {count:,} pages, {MAX_PAGES:,} are read at once; choose some"
        )
        yield SourcePage(source.name, 1, count, source, rendering, problem)
        return
    for number in wanted:
        yield SourcePage(source.name, number, count, source, rendering)
    for number in missing if entry.named else ():
        pages = "1 page" if count == 1 else f"{count} pages"
        problem = f"{printable(source.name)}: has {pages}, so there is no page {number}"
        yield SourcePage(source.name, number, count, source, rendering, problem)


def _ranges(pages: str) -> tuple[_Range, ...]:
    """Read "1-3,7,9-"."""
    if not pages.strip():
        return ((1, None),)
    ranges: list[_Range] = []
    for item in pages.split(","):
        match = _RANGE.fullmatch(item.strip())
        first = int(match[1]) if match else 0
        last = None if match and match[2] and not match[3] else int(match[3] or first) if match else 0
        if first < 1 or (last is not None and last < first):
            raise UsageError(f"pages are given as in 1-3,7,9- and count from 1, not {printable(pages)!r}")
        ranges.append((first, last))
    return tuple(ranges)


def _selected(ranges: Sequence[_Range], count: int) -> tuple[list[int], list[int]]:
    """The pages a file has of those wanted, in order; and the first of each range it has none of."""
    wanted: set[int] = set()
    missing: set[int] = set()
    for first, last in ranges:
        if first > count:
            missing.add(first)
        else:
            wanted.update(range(first, min(count if last is None else last, count) + 1))
    return sorted(wanted), sorted(missing)


def _named(name: str) -> Iterable[_Found]:
    """The files a name stands for; at least one."""
    if name == "-":
        return (_Found(SourceFile("-", held=_standard_input()), named=True),)
    try:
        status = os.stat(name)
    except (OSError, ValueError) as error:
        if any(c in name for c in "*?[") and not isinstance(error, ValueError):
            return _at_least_one(_glob(name), f"{printable(name)}: no file that can be read here fits it")
        raise UsageError(f"{printable(name) or 'an empty name'}: {_why(error)}") from None
    if stat.S_ISDIR(status.st_mode):
        try:
            os.scandir(name).close()
        except OSError as error:
            raise UsageError(f"{printable(name)}: {_why(error)}") from None
        return _at_least_one(_walk(name, set()), f"{printable(name)}: no file in it can be read here")
    if not stat.S_ISREG(status.st_mode):  # a pipe, as from <(...) in a shell
        return (_Found(SourceFile(name, held=_pipe(name)), named=True),)
    return (_Found(SourceFile(_decodable(name), path=name), named=True),)


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "no such file; check the path"
    if isinstance(error, PermissionError):
        return "may not be read; check its permissions"
    reason = (error.strerror if isinstance(error, OSError) else None) or "not a valid path"
    return f"can't be opened ({reason}); check the path"


def _at_least_one(files: Iterator[str], complaint: str) -> Iterator[_Found]:
    first = next(files, None)
    if first is None:
        raise UsageError(f"{complaint}; it takes {_READABLE}")
    return (_Found(SourceFile(_decodable(path), path=path), named=False) for path in chain([first], files))


def _standard_input() -> bytes:
    if sys.stdin is None:  # closed by the caller
        raise UsageError("- is standard input, and there is none")
    return _bounded(sys.stdin.buffer.read(MAX_STREAM_BYTES + 1), "standard input")


def _pipe(name: str) -> bytes:
    try:
        with open(name, "rb") as stream:
            return _bounded(stream.read(MAX_STREAM_BYTES + 1), printable(name))
    except OSError as error:
        raise UsageError(f"{printable(name)}: {_why(error)}") from None


def _bounded(held: bytes, name: str) -> bytes:
    if not held:
        raise UsageError(f"{name}: is empty; there is nothing to read")
    if len(held) > MAX_STREAM_BYTES:
        raise UsageError(f"{name}: holds more than {MAX_STREAM_BYTES >> 20} MB; save it to a file first")
    return held


def _walk(folder: str, seen: set[tuple[int, int]]) -> Iterator[str]:
    """Files in a folder and those below, in natural order; no folder twice, however it is linked."""
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            names = sorted((e.name for e in entries if not e.name.startswith(".")), key=_natural)
    except OSError:
        yield folder  # opening it says why, so that no part of a job is lost in silence
        return
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            yield from _walk(path, seen)
        elif _is_readable(path):
            yield path


def _is_readable(path: str) -> bool:
    """A file of a suffix that is read; a broken link counts, for it stands where a page should."""
    suffix = os.path.splitext(path)[1].lower()
    return suffix in SUFFIXES and (os.path.isfile(path) or not os.path.exists(path))


def _glob(pattern: str) -> Iterator[str]:
    """Files that fit, in natural order; ``**`` goes through folders, but not through links to them."""
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if any(c in part for c in "*?["))
    base, rest = Path(*parts[:fixed]), parts[fixed:]
    hidden = any(part.startswith(".") for part in rest)
    try:
        fitting = {
            os.fspath(path)
            for path in base.glob(os.path.join(*rest))
            if hidden or not any(part.startswith(".") for part in path.relative_to(base).parts)
        }
    except (OSError, ValueError, IndexError, NotImplementedError):  # what pathlib says of odd patterns
        return iter(())
    return iter(sorted(filter(_is_readable, fitting), key=_natural))


def _natural(name: str) -> tuple[list[list[str | int]], str]:
    """Orders names as people number them: page2 before page10, folder by folder."""
    parts = name.casefold().split(os.sep)
    return [[int(p) if i % 2 else p for i, p in enumerate(_DIGITS.split(part))] for part in parts], name


def _once(found: Iterable[_Found]) -> Iterator[_Found]:
    """Each file once, when several inputs may reach it."""
    seen: set[str] = set()
    for entry in found:
        key = os.path.abspath(entry.source.path) if entry.source.path is not None else entry.source.name
        if key not in seen:
            seen.add(key)
            yield entry


def _decodable(path: str) -> str:
    """The name as text that can be written down: bytes that are no UTF-8 become ``\\xff``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
