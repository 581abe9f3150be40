"""``vlm verify``: the table of one checkpoint beside transformers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vlm.verify import Report, Row


def verify(
    model: Annotated[str, typer.Argument(help="mini, a Hub id, a folder or a .gguf file.")],
    image: Annotated[Path | None, typer.Option(help="Picture to look at; drawn if left out.")] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Greedy tokens to compare.")] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Use only what was downloaded before.")] = False,
) -> None:
    """Compare a checkpoint's answers with transformers', stage by stage. Exit code 1 if they differ."""
    from pan_and_scan import load_image
    from vlm.verify import verify as compare

    picture = load_image(image) if image is not None else None  # before anything slow
    with _progress() as tell:
        report = compare(model, picture, tokens=tokens, offline=offline, on_stage=tell)
    if as_json:
        print(json.dumps(report.to_json(), ensure_ascii=False))
    else:
        _print_table(report)
    if not report.verdict:
        raise typer.Exit(1)


@contextmanager
def _progress() -> Iterator[Any]:
    """The stage at work, on a terminal's stderr; nothing elsewhere."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with console.status("starting") as status:
        yield status.update


def _print_table(report: Report) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200, color_system=None)  # a file has no right edge
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    for name in ("stage", "difference", "relative", "allowed", "", "detail"):
        table.add_column(name, overflow="ellipsis", no_wrap=True, min_width=None if name == "detail" else 6)
    for row in report.rows:
        word, style = _word(row)
        relative = "" if row.relative is None else f"{row.relative:.1e}"
        cells = (row.stage, _number(row, row.difference), relative, _number(row, row.tolerance))
        if row.skipped:
            cells = (row.stage, "", "", "")
        # The detail may hold a model's own words: never markup.
        table.add_row(*map(Text, cells), Text(word, style), Text(row.skipped or row.detail))
    console.print(table)
    for row in report.rows:
        if row.passed is False:  # in full, where the table had no room
            console.print(Text(f"{row.stage}: {row.detail}", "red"))
    result = "identical to" if report.verdict else "DIFFERENT from"
    console.print(Text(f"{report.model}: {result} transformers {report.transformers} (fp32)"))


def _word(row: Row) -> tuple[str, str]:
    if row.skipped:
        return "skipped", "dim"
    return ("ok", "green") if row.passed else ("DIFFERS", "bold red")


def _number(row: Row, value: float | None) -> str:
    if value is None:
        return "-"
    if row.unit == "ids":
        return f"{value:.0f} ids"
    return f"{value:.2f} levels" if row.unit else f"{value:.1e}"
