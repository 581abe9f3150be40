"""``vlm read``: documents to text, to standard output, to a file, or as a job into a folder."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlm.cli_common import INTERRUPTED
from vlm.cli_constraint import SchemaOption, constraint_of
from vlm.cli_model import Wanted, asked_by
from vlm.cli_options import ApiKeyOption, DeviceOption, DtypeOption, NamedModelOption, UrlOption

if TYPE_CHECKING:
    from vlm.asking import Model
    from vlm.constrain import Constraint
    from vlm.reading.jobs import JobSummary
    from vlm.reading.record import PageText
    from vlm.reading.sources import SourceOptions, SourcePage
    from vlm.reading.transcribe import ReadOptions

_TRIED = 20  # pages that are opened to see whether any can be


class _Form(StrEnum):
    md = "md"
    txt = "txt"
    json = "json"
    jsonl = "jsonl"
    html = "html"
    pdf = "pdf"


class _TextLayer(StrEnum):
    auto = "auto"
    never = "never"
    only = "only"


def read(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", show_default=False)],
    to: Annotated[
        _Form | None, typer.Option(help="Form of the output: md, unless --out names a file.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A file, or a folder for a document each; standard output if left out."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the job in the folder.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Resume, and try pages that failed again.")
    ] = False,
    max_error_rate: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Stop when a greater share of the pages fails.")
    ] = 0.2,
    text_layer: Annotated[
        _TextLayer, typer.Option(help="Take a PDF's own text: where it is sound, never, or nothing else.")
    ] = _TextLayer.auto,
    schema: SchemaOption = None,
    pages: Annotated[str, typer.Option(help="Pages of each file, as in 1-3,7.")] = "",
    password: Annotated[str, typer.Option(help="Of encrypted PDFs.")] = "",
    dpi: Annotated[
        float | None, typer.Option(help="To render PDF at; chosen page by page if left out.")
    ] = None,
    model: NamedModelOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    policy: Annotated[str, typer.Option(help="How pages are cut: off, gemma3 or adaptive.")] = "adaptive",
    max_windows: Annotated[
        int | None, typer.Option(min=1, help="Windows a prompt at most; a page is read in several prompts.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Length of a window's text at most.")] = None,
    at_once: Annotated[
        int, typer.Option(min=1, max=256, help="Pages read at the same time; helps with --url.")
    ] = 1,
    dtype: DtypeOption = "auto",
    device: DeviceOption = "auto",
    offline: Annotated[bool, typer.Option("--offline", help="Use only what was downloaded before.")] = False,
) -> None:
    """Read documents: images, PDFs, folders of them, or - for standard input.

    Exit code 1 if more pages failed than --max-error-rate allows.
    """
    from vlm.errors import UsageError
    from vlm.reading.sources import SourceOptions, list_pages
    from vlm.reading.transcribe import ReadOptions

    constraint = constraint_of(schema, None, None, None)
    if constraint is not None:
        if text_layer is _TextLayer.only:
            raise UsageError("--schema reads fields from pixels: leave out --text-layer only")
        to = _as_json(to, out)
    if policy == "guided":
        raise UsageError("--policy guided is for questions (vlm ask): choose off, gemma3 or adaptive")
    target = _target(out, to, resume or retry_failed)
    chosen: dict[str, Any] = {"policy": policy, "max_windows": max_windows, "text_layer": text_layer.value}
    if max_tokens is not None:
        chosen["max_tokens"] = max_tokens
    options = ReadOptions(**chosen)
    sources = SourceOptions(pages=pages, password=password, dpi=dpi)
    lasting = _lasting(inputs)
    if lasting:
        list_pages(lasting, sources)  # before anything slow: is it all there?
        if lasting == inputs and target.folder is None:  # a job writes down what is wrong with each
            _check_readable(inputs, sources)
    with _Bar() as bar, ExitStack() as stack:
        wanted = Wanted(model, url, api_key, dtype, device, offline)
        vlm: Model | None = None
        if text_layer is not _TextLayer.only:
            bar.say(f"asking {url}" if url else f"loading {wanted.name}")
            vlm = stack.enter_context(asked_by(wanted.load(), at_once))
            sources = replace(sources, window_size=vlm.window_size)
        if bar.shown and lasting == inputs:
            bar.expect(sum(1 for _ in list_pages(inputs, sources)))
        read_page = _page_reader(vlm, options, constraint, bar if at_once == 1 else None)
        task = _Task(list_pages(inputs, sources), read_page, max_error_rate, at_once, bar)
        if target.folder is not None:
            named_model = vlm.name if url and vlm is not None else wanted.name
            settings = {"model": named_model, "dtype": dtype, "dpi": dpi, "pages": pages or None} | chosen
            if constraint is not None:
                settings["schema"] = constraint.source
            named = {f"--{name.replace('_', '-')}": value for name, value in settings.items()}
            summary = _into_folder(task, target, named, resume=resume, retry_failed=retry_failed)
        else:
            title = inputs[0] if len(inputs) == 1 else "Documents"
            summary = _into_one(task, target, title)
    _end(summary, target, max_error_rate)


def _check_readable(files: list[str], sources: SourceOptions) -> None:
    """Refuse files of which none can be opened before a model is loaded; of folders each file is told.

    Raises:
        UsageError, ImageError: what is wrong with the first.
    """
    from vlm.errors import ImageError, VlmError
    from vlm.reading.sources import list_pages

    if not all(map(os.path.isfile, files)):
        return
    first: Exception | None = None
    for page in islice(list_pages(files, sources), _TRIED):
        try:
            page.open()
            return
        except (VlmError, ImageError) as error:
            first = first or error
    if first is not None and len(files) <= _TRIED:
        raise first


def _page_reader(
    vlm: Model | None, options: ReadOptions, constraint: Constraint | None, bar: _Bar | None
) -> Callable[[SourcePage], PageText]:
    """What reads a page: its text, or the fields of a schema; without a model, a PDF's own text."""
    from vlm.reading.transcribe import PageReader, read_layer

    if vlm is None:
        return read_layer
    if constraint is not None:
        from vlm.reading.extract import FieldReader
        from vlm.session import VLM

        if isinstance(vlm, VLM):  # a server says it of every page
            constraint.check_fits(vlm.engine.tokenizer, options.max_tokens)
        return FieldReader(vlm, constraint, options).read

    reader = PageReader(vlm, options)
    reader.on_tile = None if bar is None else bar.tile
    return reader.read


def _as_json(to: _Form | None, out: Path | None) -> _Form | None:
    """The form that fields are told in: JSON lines unless another JSON was named.

    Raises:
        UsageError: a form that holds text.
    """
    from vlm.errors import UsageError

    ending = out.suffix[1:].lower() if out is not None else ""
    named = to.value if to is not None else ending if ending in set(_Form) else ""
    if named not in ("", "json", "jsonl"):
        raise UsageError(f"--schema gives fields, which {named} has no place for: use --to json or jsonl")
    return to if to is not None or named else _Form.jsonl


@dataclass(frozen=True)
class _Target:
    """Where the text goes: a file, a folder, or standard output (neither)."""

    form: str
    file: Path | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class _Task:
    """What is to be read, and how."""

    sources: Iterable[SourcePage]
    read: Callable[[SourcePage], PageText]
    max_error_rate: float
    at_once: int
    bar: _Bar


def _target(out: Path | None, to: _Form | None, resume: bool) -> _Target:
    """Tell a file from a folder.

    Raises:
        UsageError: the options contradict each other.
    """
    from vlm.errors import UsageError, printable

    form = (to or _Form.md).value
    ending = out.suffix[1:].lower() if out is not None else ""
    if out is not None and (out.is_dir() or ending not in set(_Form)):
        if out.exists() and not out.is_dir():
            raise UsageError(f"{printable(out)}: is no folder; name one, or a file ending in .{form}")
        return _Target(form, folder=out)
    if resume:
        raise UsageError("--resume needs the folder of a job: add --out FOLDER")
    if out is None:
        if form == "pdf" and sys.stdout.isatty():
            raise UsageError("a terminal shows no PDF: add --out FILE.pdf")
        return _Target(form)
    if to is not None and ending != form:
        raise UsageError(f"{printable(out)}: ends in .{ending}, but --to says {form}; leave one of them out")
    if out.exists() and not out.is_file():
        raise UsageError(f"{printable(out)}: is no plain file; name another")
    if not out.parent.is_dir():
        raise UsageError(f"{printable(out)}: no such folder to write in; make it first")
    return _Target(ending, file=out)


def _lasting(inputs: list[str]) -> list[str]:
    """The inputs that can be listed more than once: no pipes."""
    return [name for name in inputs if name != "-" and (os.path.isfile(name) or not _is_stream(name))]


def _is_stream(name: str) -> bool:
    return os.path.exists(name) and not os.path.isdir(name)


def _into_folder(
    task: _Task, target: _Target, reading: dict[str, Any], *, resume: bool, retry_failed: bool
) -> JobSummary:
    """Read as a job."""
    from vlm.reading.jobs import JobSettings, run_job
    from vlm.reading.output import writer

    assert target.folder is not None
    settings = JobSettings(
        target.folder,
        reading,
        writer(target.form),
        f".{target.form}",
        begin="retry failed" if retry_failed else "resume" if resume else "new",
        max_error_rate=task.max_error_rate,
        at_once=task.at_once,
    )
    return run_job(task.sources, task.read, settings, task.bar.at)


def _into_one(task: _Task, target: _Target, title: str) -> JobSummary:
    """Read everything into one document, each page written before the next is read."""
    from vlm.parallel import in_order
    from vlm.reading.atomic import replacing, told
    from vlm.reading.jobs import JobSummary
    from vlm.reading.output import writer

    write = writer(target.form)
    summary = JobSummary()

    def sources() -> Iterator[SourcePage]:
        for source in task.sources:
            task.bar.at(source, summary)
            yield source

    def pages() -> Iterator[tuple[SourcePage, PageText]]:
        nonlocal summary
        with closing(in_order(sources(), task.read, task.at_once)) as read:
            for source, page in read:
                summary = summary.after(page)
                task.bar.clear()  # the page comes to the same terminal
                yield source, page
                if summary.too_many_failed(task.max_error_rate):
                    summary = replace(summary, stopped="error rate")
                    return

    if target.file is None:
        sys.stdout.flush()
        write(sys.stdout.buffer, title, pages())
    else:
        with told(target.file, "make room or name another file"), replacing(target.file) as stream:
            write(stream, title, pages())
    return summary


def _end(summary: JobSummary, target: _Target, max_error_rate: float) -> None:
    """Say how it went; standard output is left to the text.

    Raises:
        typer.Exit: with 130 after Ctrl-C, with 1 after too many failures.
    """
    done, failed = summary.read + summary.kept, summary.failed + summary.kept_failed
    where = f" in {target.folder}" if target.folder is not None else ""
    go_on = "; go on with --resume" if target.folder is not None else ""
    again = "; --retry-failed tries them again" if target.folder is not None else ""
    if summary.stopped == "interrupted":
        print(f"vlm: {_counted(done)} done{where}{go_on}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    too_many = done > 0 and failed / done > max_error_rate
    if summary.stopped == "error rate":
        allowed = f"--max-error-rate {max_error_rate:g} allows fewer"
        print(
            f"vlm: stopped: {summary.failed} of {_counted(summary.read)} failed, {allowed}{go_on}",
            file=sys.stderr,
        )
    elif failed:
        print(f"vlm: {failed} of {_counted(done)} failed{again}", file=sys.stderr)
    if target.folder is not None and not summary.stopped:
        kept = f", {summary.kept} of them before" if summary.kept else ""
        documents = "1 document" if summary.documents == 1 else f"{summary.documents} documents"
        print(f"{_counted(done)} read{kept}: {documents}{where}")
    if too_many:
        raise typer.Exit(1)


def _counted(pages: int) -> str:
    return "1 page" if pages == 1 else f"{pages} pages"


class _Bar:
    """Progress on a terminal's stderr, with pages a second and time left; nothing elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
        from rich.progress import TimeRemainingColumn as TimeLeft

        console = Console(stderr=True)
        self.shown = console.is_terminal
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn())
        figures = (MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeLeft())
        self._bar = Progress(*columns, *figures, console=console, transient=True, disable=not self.shown)
        self._task = self._bar.add_task("", total=None, rate="")
        self._total: int | None = None
        self._page = ""
        self._began = 0.0

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def expect(self, pages: int) -> None:
        """Say how many pages there are."""
        self._total = pages

    def say(self, what: str) -> None:
        """Show what goes on."""
        self._bar.start()
        self._bar.update(self._task, description=what)

    def at(self, source: SourcePage, summary: JobSummary) -> None:
        """Show the page that comes next."""
        from vlm.errors import printable

        self._began = self._began or time.monotonic()
        self._page = f"{printable(Path(source.file).name)}, page {source.number}"
        rate = summary.read / max(time.monotonic() - self._began, 1e-3)
        total = None if self._total is None else self._total - summary.kept  # kept pages cost no time
        shown = f"{rate:.2f} pages/s" if summary.read else ""
        self._bar.update(self._task, completed=summary.read, total=total, rate=shown)
        self.say(self._page)

    def tile(self, done: int, total: int) -> None:
        """Show which part of the page is being read."""
        self.say(f"{self._page}, part {done + 1} of {total}" if total > 1 else self._page)

    def clear(self) -> None:
        """Take it away."""
        self._bar.stop()
