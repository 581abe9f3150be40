"""Reading a great many pages: killed at any moment, it goes on where it was.

A job lives in its output folder, beside the documents it makes::

    OUT/invoice.pdf.md               a document, written when the last page of its file was read
    OUT/job/settings.json            what decides how a page reads; another run must agree
    OUT/job/pages/3f/...json         a page as it was read: the truth
    OUT/job/documents/...            which pages a document was made of
    OUT/job/manifest.jsonl           every page of a finished job once, in order; made of the above
    OUT/job/lock

That a page is done is nothing but that its file is there (``atomic.py``: whole or not at all) and was
made of the same bytes. There is no second record that could disagree after a kill, and none that grows
in memory: what is held is the pages under way and the names of the files so far. ``read`` retries; here
a page that failed is kept as failed until another try is asked for.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import filelock

from vlm.errors import UsageError, printable
from vlm.parallel import in_order
from vlm.reading.atomic import replacing, told
from vlm.reading.output import Write, page_from_json, page_to_json
from vlm.reading.record import PageText

if TYPE_CHECKING:
    from vlm.reading.sources import SourcePage

FIRST_JUDGED = 20  # pages read before the share of failures means something
_LONGEST = 200  # bytes of a document's name; file systems take 255, and some are added beside it

Progress = Callable[["SourcePage", "JobSummary"], None]


@dataclass(frozen=True)
class JobSettings:
    """A job: where it goes and how it begins.

    Attributes:
        out: folder, made if missing.
        reading: what decides how a page reads (model, policy, ...), as JSON knows it.
        write: makes a document of its pages.
        suffix: of the documents, with its dot.
        begin: whether a job may be there already, and whether its failed pages are tried again.
        max_error_rate: share of failed pages above which the job stops.
        at_once: pages read at the same time; each is kept as soon as it was read.
    """

    out: Path
    reading: Mapping[str, str | int | float | None]
    write: Write
    suffix: str
    begin: Literal["new", "resume", "retry failed"] = "new"
    max_error_rate: float = 0.2
    at_once: int = 1


@dataclass(frozen=True)
class JobSummary:
    """How far a run came."""

    read: int = 0  # pages read by this run, the failed ones included
    failed: int = 0  # of those
    kept: int = 0  # pages an earlier run had read
    kept_failed: int = 0  # of those
    documents: int = 0  # complete in the output folder
    stopped: Literal["", "error rate", "interrupted"] = ""

    @property
    def error_rate(self) -> float:
        """Failed pages of those this run read."""
        return self.failed / self.read if self.read else 0.0

    def after(self, page: PageText) -> JobSummary:
        """With one more page read."""
        return replace(self, read=self.read + 1, failed=self.failed + (page.source == "failed"))

    def too_many_failed(self, max_error_rate: float) -> bool:
        """Whether to stop before the end."""
        return self.read >= FIRST_JUDGED and self.error_rate > max_error_rate


def run_job(
    pages: Iterable[SourcePage],
    read: Callable[[SourcePage], PageText],
    settings: JobSettings,
    progress: Progress = lambda source, summary: None,
) -> JobSummary:
    """Read pages into a folder and make documents of them.

    Args:
        pages: lazily; those of a file follow one another.
        read: reads one; a page that can't be read comes back as failed.
        settings: where and how.
        progress: told of each page before it is read or skipped, with what was done by then.

    Returns:
        What was done; ``stopped`` says whether there is more to do.

    Raises:
        UsageError: the folder can't be written, holds a job of other settings or one nobody asked to
            go on with, another process is at work in it, or a document would replace a stranger's file.
    """
    store = _Store(settings.out)
    with store.locked():
        store.agree(settings)
        job = _Job(store, read, settings, progress)
        try:
            job.run(pages)
        except KeyboardInterrupt:
            return replace(job.summary, stopped="interrupted")
        except _TooManyFailed:
            return replace(job.summary, stopped="error rate")
        finally:
            job.end()
        return job.summary


class _TooManyFailed(Exception):
    pass


class _Job:
    """One run."""

    def __init__(
        self, store: _Store, read: Callable[[SourcePage], PageText], settings: JobSettings, progress: Progress
    ) -> None:
        self._store, self._read, self._settings, self._progress = store, read, settings, progress
        self._names = _Names(settings.suffix)
        self._saving = threading.Lock()
        self._ended = False
        self.summary = JobSummary()

    def end(self) -> None:
        """Let pages that are being written come to their end; those still being read are dropped."""
        with self._saving:
            self._ended = True

    def run(self, pages: Iterable[SourcePage]) -> None:
        """Read the pages; the manifest appears when all of them were seen."""
        path = self._store.job / "manifest.jsonl"
        with ExitStack() as stack:
            with self._store.writing(path):
                manifest = stack.enter_context(replacing(path))
            for line in self._read_all(pages):
                with self._store.writing(path):
                    manifest.write(_dumped(line) + b"\n")
            with self._store.writing(path):
                stack.close()

    def _read_all(self, pages: Iterable[SourcePage]) -> Iterator[dict[str, object]]:
        """Read each page, make each document; the manifest's lines."""
        read = in_order(self._wanted(pages), lambda wanted: self._fetched(wanted[1]), self._settings.at_once)
        with closing(read):
            for name, group in itertools.groupby(read, key=lambda done: done[0][0]):
                sources: list[SourcePage] = []
                made_of = hashlib.sha256()
                for (_, source), (page, kept) in group:
                    if not sources:
                        head = f"{self._settings.suffix}\n{source.file}\n"
                        made_of.update(head.encode(errors="surrogatepass"))
                    self._count(page, kept)
                    sources.append(source)
                    made_of.update(_dumped(page_to_json(page)))
                    yield _manifest_line(page) | {"page_file": self._store.name_of(source)}
                self._document(name, sources, made_of.hexdigest())

    def _wanted(self, pages: Iterable[SourcePage]) -> Iterator[tuple[str, SourcePage]]:
        """Each page once, with the name of its document."""
        for file, group in itertools.groupby(pages, key=lambda source: source.file):
            if self._store.made(file):  # OUT lies among the inputs
                continue
            name = self._names.new(file)
            if name is None:  # named twice
                continue
            self._store.check_free(name)
            numbers: set[int] = set()
            for source in group:
                if source.number not in numbers:
                    numbers.add(source.number)
                    self._progress(source, self.summary)
                    yield name, source

    def _fetched(self, source: SourcePage) -> tuple[PageText, bool]:
        """A page, and whether it is of an earlier run that read the same bytes."""
        kept = self._store.load(source)
        again = self._settings.begin == "retry failed"
        if kept is not None and not (kept.source == "failed" and again):
            return kept, True
        page = replace(self._read(source), file=source.file, number=source.number, sha256=source.sha256)
        page = page_from_json(page_to_json(page))  # rounded, as the next run will find it
        with self._saving:
            if self._ended:  # the folder may be another process's by now
                return page, False
            try:
                self._store.save(source, page)
            except KeyboardInterrupt:  # the page took minutes, its file takes no time
                self._store.save(source, page)
                raise
        return page, False

    def _count(self, page: PageText, kept: bool) -> None:
        if kept:
            failed = self.summary.kept_failed + (page.source == "failed")
            self.summary = replace(self.summary, kept=self.summary.kept + 1, kept_failed=failed)
            return
        self.summary = self.summary.after(page)
        if self.summary.too_many_failed(self._settings.max_error_rate):
            raise _TooManyFailed

    def _document(self, name: str, sources: Sequence[SourcePage], made_of: str) -> None:
        """Make a file's document from its pages' files, if it isn't there as it would become."""
        path, stamp = self._store.out / name, self._store.stamp(name)
        with self._store.writing(path):
            if not (path.exists() and stamp.exists() and stamp.read_text() == made_of):
                _stamp(stamp, "unfinished")  # so that a document of unknown state is made again
                with replacing(path) as stream:
                    self._settings.write(stream, sources[0].file, self._loaded(sources))
                _stamp(stamp, made_of)
        self.summary = replace(self.summary, documents=self.summary.documents + 1)

    def _loaded(self, sources: Sequence[SourcePage]) -> Iterator[tuple[SourcePage, PageText]]:
        for source in sources:
            page = self._store.load(source)
            if page is None:
                raise UsageError(
                    f"{printable(self._store.job)}: a page of this job was taken away or changed while it "
                    "ran; go on with --resume"
                )
            yield source, page


class _Store:
    """The files of a job."""

    def __init__(self, out: Path) -> None:
        self.out, self.job = out, out / "job"

    @contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        with told(path, "make room or name another folder, then go on with --resume"):
            yield

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out; the system takes the lock from a process that died."""
        with self.writing(self.out):
            (self.job / "pages").mkdir(parents=True, exist_ok=True)
            (self.job / "documents").mkdir(exist_ok=True)
            lock = filelock.FileLock(self.job / "lock")
            try:
                lock.acquire(blocking=False)
            except filelock.Timeout:
                raise UsageError(
                    f"{printable(self.out)}: another process is reading into this folder; wait for it, or "
                    "name another folder"
                ) from None
        try:
            yield
        finally:
            lock.release()

    def agree(self, settings: JobSettings) -> None:
        """Begin a job, or go on with one of the same settings.

        Raises:
            UsageError: there is one already, or it has other settings.
        """
        path, wanted = self.job / "settings.json", dict(settings.reading)
        if not path.exists():
            with self.writing(path), replacing(path) as file:
                file.write(_dumped(wanted))
            return
        if settings.begin == "new":
            raise UsageError(
                f"{printable(self.out)}: holds a job already; go on with it by --resume, or name another "
                "folder"
            )
        try:
            begun = json.loads(path.read_bytes())
            names = sorted({*begun, *wanted})
            other = [name for name in names if begun.get(name) != wanted.get(name)]
        except (OSError, ValueError, TypeError, AttributeError):
            raise UsageError(
                f"{printable(path)}: can't be read, so the job can't go on; name another folder"
            ) from None
        if other:
            was, now = (
                ", ".join(f"{name} {_shown(side.get(name))}" for name in other) for side in (begun, wanted)
            )
            raise UsageError(
                f"{printable(self.out)}: the job was begun with {was}, not {now}; use the same, or name "
                "another folder"
            )

    def name_of(self, source: SourcePage) -> str:
        """A page's file below the job's folder; it says whose it is, and no two pages share it."""
        key = _key(f"{source.number}\n{source.file}")
        said = re.sub(r"[^A-Za-z0-9.-]+", "_", Path(source.file).name)[-40:].lstrip(".")
        return f"pages/{key[:2]}/{said}-p{source.number:04}-{key[2:18]}.json"

    def load(self, source: SourcePage) -> PageText | None:
        """A page that was read from the same bytes; None if there is none, or none that can be read."""
        try:
            raw = json.loads((self.job / self.name_of(source)).read_bytes())
            page = page_from_json(raw)
        except (OSError, ValueError, KeyError, TypeError):  # none, or not of our making: read the page
            return None
        same = (page.file, page.number, page.sha256) == (source.file, source.number, source.sha256)
        return page if same else None

    def save(self, source: SourcePage, page: PageText) -> None:
        path = self.job / self.name_of(source)
        with self.writing(path):
            path.parent.mkdir(exist_ok=True)
            with replacing(path) as file:
                file.write(_dumped(page_to_json(page)))

    def made(self, file: str) -> bool:
        """Whether an input is a document of this job."""
        folder, name = os.path.split(os.path.abspath(file))
        return folder == os.path.abspath(self.out) and self.stamp(name).exists()

    def check_free(self, name: str) -> None:
        """Make sure that a document replaces nothing but what this job wrote.

        Raises:
            UsageError: a file of another origin has its name.
        """
        path = self.out / name
        if path.exists() and not self.stamp(name).exists():
            raise UsageError(
                f"{printable(path)}: is in the way and not of this job; move it, or name another folder"
            )

    def stamp(self, name: str) -> Path:
        """The file that says what a document was made of."""
        return self.job / "documents" / f"{_key(name)[:32]}.sha256"


class _Names:
    """Names of documents: the file's own, told apart where two files of different folders share it."""

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._files: set[str] = set()
        self._taken: set[str] = set()

    def new(self, file: str) -> str | None:
        """The name for a file's document; None for a file that had its turn."""
        if file in self._files:
            return None
        self._files.add(file)
        name = "stdin" if file == "-" else Path(file).name
        cut = os.fsencode(name)[:_LONGEST].decode("utf-8", "ignore")
        if not cut or cut != name or (cut + self._suffix).casefold() in self._taken:
            cut = f"{cut}-{_key(file)[:8]}"
        name = cut + self._suffix
        self._taken.add(name.casefold())
        return name


def _manifest_line(page: PageText) -> dict[str, object]:
    return {
        "file": page.file,
        "page": page.number,
        "sha256": page.sha256,
        "source": page.source,
        "error": page.error,
        "attempts": page.attempts,
    }


def _stamp(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode())


def _key(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _dumped(raw: object) -> bytes:
    # Half a surrogate pair (a file name that is no UTF-8) becomes its escape, which JSON reads back.
    return json.dumps(raw, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _shown(value: object) -> str:
    return "none" if value is None else printable(value) or "''"
