"""``vlm bench``: speed and memory beside the peers, as a table and one JSON line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlm.cli_common import with_extra
from vlm.cli_options import MINI

if TYPE_CHECKING:
    from vlm.bench.report import Report, Row
    from vlm.bench.run import Run
    from vlm.bench.shapes import Subject

bench_app = typer.Typer(
    help="Measure speed and memory beside transformers and llama.cpp.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", show_default=False, help="mini, a Hub id, a folder or a .gguf file."),
]
_ShapeOption = Annotated[
    str | None,
    typer.Option(
        show_default=False, help="270m, 1b, 4b, 12b or 27b with random weights, instead of --model."
    ),
]
_AgainstOption = Annotated[
    list[str] | None,
    typer.Option(show_default=False, help="transformers, transformers-bf16 or llama.cpp; repeat to add."),
]
_VisionAgainstOption = Annotated[
    list[str] | None, typer.Option(show_default=False, help="transformers, transformers-bf16; repeat to add.")
]
_DtypeOption = Annotated[str, typer.Option(help="Of ours: int8, fp32, bf16, int4 or auto.")]
_RoundsOption = Annotated[int, typer.Option(min=1, help="Measured turns of each; their median counts.")]
_LayersOption = Annotated[
    int | None,
    typer.Option(min=1, show_default=False, help="Layers of each stack of a shape; if left out, what fits."),
]
_JsonOption = Annotated[bool, typer.Option("--json", help="Print the JSON line alone.")]


@bench_app.command()
def encode(
    model: _ModelOption = None,
    shape: _ShapeOption = None,
    against: _VisionAgainstOption = None,
    dtype: _DtypeOption = "int8",
    rounds: _RoundsOption = 3,
    layers: _LayersOption = None,
    as_json: _JsonOption = False,
) -> None:
    """One window through encoder and projector. The 4b shape (So400m at 896) if nothing is named."""
    from vlm.bench.encode import encode as measure

    with _measuring(dtype, against, rounds, layers) as run:
        report = measure(_subject(model, shape, "4b"), run)
    _print(report, as_json)


@bench_app.command()
def prefill(
    model: _ModelOption = None,
    shape: _ShapeOption = None,
    against: _AgainstOption = None,
    tokens: Annotated[
        int | None, typer.Option(min=2, show_default=False, help="512; where it sees, 3 windows' worth.")
    ] = None,
    dtype: _DtypeOption = "int8",
    rounds: _RoundsOption = 3,
    layers: _LayersOption = None,
    as_json: _JsonOption = False,
) -> None:
    """Read a prompt, with two windows where the model sees. The 270m shape if nothing is named."""
    from vlm.bench.prefill import prefill as measure

    with _measuring(dtype, against, rounds, layers) as run:
        report = measure(_subject(model, shape, "270m"), run, tokens)
    _print(report, as_json)


@bench_app.command()
def decode(
    model: _ModelOption = None,
    shape: _ShapeOption = None,
    against: _AgainstOption = None,
    tokens: Annotated[int, typer.Option(min=1, help="Written a turn.")] = 64,
    dtype: _DtypeOption = "int8",
    rounds: _RoundsOption = 3,
    layers: _LayersOption = None,
    as_json: _JsonOption = False,
) -> None:
    """Write tokens, beside the rate of memory. The 270m shape if nothing is named."""
    from vlm.bench.decode import decode as measure

    with _measuring(dtype, against, rounds, layers) as run:
        report = measure(_subject(model, shape, "270m"), run, tokens)
    _print(report, as_json)


@bench_app.command()
def reuse(
    model: _ModelOption = None,
    shape: _ShapeOption = None,
    dtype: _DtypeOption = "int8",
    rounds: _RoundsOption = 3,
    layers: _LayersOption = None,
    as_json: _JsonOption = False,
) -> None:
    """The first token of a first question about an image, and of the next one. mini if nothing is named."""
    from vlm.bench.reuse import reuse as measure

    with _measuring(dtype, None, rounds, layers) as run:
        report = measure(_subject(model, shape, None), run)
    _print(report, as_json)


@bench_app.command()
def memory(
    model: _ModelOption = None,
    shape: _ShapeOption = None,
    keep_at: Annotated[
        Path | None,
        typer.Option(
            show_default=False, help="Folder for a shape's random checkpoint, taken again if it is there."
        ),
    ] = None,
    dtype: _DtypeOption = "int8",
    rounds: _RoundsOption = 1,
    layers: _LayersOption = None,
    as_json: _JsonOption = False,
) -> None:
    """Peak memory of a fresh process, and the cache at 32k tokens. mini if nothing is named."""
    from vlm.bench.memory import memory as measure

    with _measuring(dtype, None, rounds, layers) as run:
        report = measure(_subject(model, shape, None), run, keep_at)
    _print(report, as_json)


@bench_app.command()
def startup(
    model: _ModelOption = None,
    dtype: _DtypeOption = "auto",
    rounds: _RoundsOption = 5,
    as_json: _JsonOption = False,
) -> None:
    """Wall time of an answer, of the help text and of importing torch. mini if nothing is named."""
    from vlm.bench.startup import startup as measure

    with _measuring(dtype, None, rounds, None) as run:
        report = measure(_subject(model, None, None), run)
    _print(report, as_json)


@bench_app.command()
def quality(
    model: _ModelOption = None,
    text: Annotated[
        Path | None,
        typer.Option(show_default=False, help="Ordinary text; if left out, prose of Python's own manual."),
    ] = None,
    tokens: Annotated[int, typer.Option(min=2, help="Of the text.")] = 20_000,
    questions: Annotated[
        int, typer.Option(min=0, help="A task of the reading evaluation, where the model sees; 0: none.")
    ] = 100,
    dtype: _DtypeOption = "int8",
    as_json: _JsonOption = False,
) -> None:
    """What a type loses against fp32: perplexity, same tokens, same answers. mini if nothing is named."""
    from vlm.bench.quality import Text
    from vlm.bench.quality import quality as measure

    with _measuring(dtype, None, 1, None) as run, with_extra("train"):  # the questions' fonts
        report = measure(_subject(model, None, None), run, Text(text, tokens, questions))
    _print(report, as_json)


@bench_app.command()
def plot(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="JSON lines of bench; - is stdin.")],
    out: Annotated[Path, typer.Option(help="Picture to write (.png, .svg or .pdf).")],
) -> None:
    """Draw encode, prefill and decode as bars, ours beside the peers."""
    from vlm.bench.plot import plot as draw
    from vlm.bench.plot import read_lines

    lines = read_lines(files)
    with with_extra("bench"):
        draw(lines, out)
    print(out)


def _subject(model: str | None, shape: str | None, default: str | None) -> Subject:
    """What is measured: a checkpoint, a shape, or the default shape; mini where there is none."""
    from vlm.bench.shapes import Subject
    from vlm.errors import UsageError

    if model is not None and shape is not None:
        raise UsageError("--model and --shape exclude each other: a shape has random weights")
    if model is None and (shape or default):
        return Subject.shape(shape or default or "")
    return Subject.checkpoint(model or MINI)


@contextmanager
def _measuring(dtype: str, against: list[str] | None, rounds: int, layers: int | None) -> Iterator[Run]:
    """How to measure, with what goes on shown on a terminal's stderr."""
    from vlm.bench.run import Run
    from vlm.cli_model import Status

    status = Status()
    run = Run(dtype=dtype, against=tuple(dict.fromkeys(against or ())), rounds=rounds, layers=layers)
    try:
        yield replace(run, tell=status.show)
    finally:
        status.clear()


def _print(report: Report, as_json: bool) -> None:
    """The table and the line, or the line alone."""
    line = json.dumps(report.to_json(), ensure_ascii=False)
    if not as_json:
        _print_table(report)
    print(line)


def _print_table(report: Report) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200, color_system=None)  # a file has no right edge
    console.print(Text(f"{report.bench}, {report.subject}: {report.machine}"), soft_wrap=True)
    shape = box.SIMPLE_HEAD if console.is_terminal else None
    shown = [column for column in _COLUMNS if any(column[1](row) for row in report.rows)]
    if report.rows:
        table = Table(box=shape, pad_edge=False)
        for title, _ in shown:
            table.add_column(title, justify="left" if title == "" else "right")
        for row in report.rows:
            table.add_row(*(Text(cell(row)) for _, cell in shown))
        console.print(table)
    if report.figures:
        table = Table(box=None, pad_edge=False, show_header=False)
        for name, value in report.to_json().items():
            if name in report.figures:
                table.add_row(Text(name), Text(f"{value:,}" if isinstance(value, int) else f"{value}"))
        console.print(table)
    for note in report.notes:
        console.print(Text(note, "dim"), soft_wrap=True)


_COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("", lambda row: row.name),
    ("seconds", lambda row: f"{row.seconds:.4g}"),
    ("fastest", lambda row: f"{row.fastest:.4g}"),
    ("slowest", lambda row: f"{row.slowest:.4g}"),
    ("all layers", lambda row: _optional(row.all_layers_seconds, "{:.4g}")),
    ("tokens/s", lambda row: _optional(row.tokens_per_second, "{:.4g}")),
    ("times ours", lambda row: _optional(row.ratio, "{:.2f}x")),
    ("relative error", lambda row: _optional(row.relative_error, "{:.2%}")),
    ("same tokens", lambda row: _optional(row.same_tokens, "{}")),
)


def _optional(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
