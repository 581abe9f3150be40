"""``vlm batch``: a file of requests in OpenAI's batch format, answered into another."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlm.cli_common import INTERRUPTED, progress, with_extra
from vlm.cli_model import Status, Wanted
from vlm.cli_options import (
    ApiKeyOption,
    DeviceOption,
    DtypeOption,
    NamedModelOption,
    OfflineOption,
    UrlOption,
)

if TYPE_CHECKING:
    from vlm.batch import Asked, Summary


def batch(
    requests: Annotated[Path, typer.Argument(help="One request a line: custom_id, url, body.")],
    out: Annotated[Path, typer.Option(help="Where answers go, one a line, as they come.")],
    model: NamedModelOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    at_once: Annotated[int, typer.Option(min=1, max=100, help="Requests under way at the same time.")] = 16,
    resume: Annotated[bool, typer.Option("--resume", help="Keep what --out has, ask the rest.")] = False,
    dtype: DtypeOption = "auto",
    device: DeviceOption = "auto",
    offline: OfflineOption = False,
) -> None:
    """Answer a file of requests (OpenAI's batch format), by a model here or behind --url.

    Where a body names no model, the one that answers is meant.
    """
    from vlm.batch import Summary, answered_in, names_in, run_batch
    from vlm.errors import OutageError, UsageError, printable

    if not out.parent.is_dir():
        raise UsageError(f"{printable(out.parent)}: no such folder; make it first")
    names = names_in(requests)
    if out.exists() and not resume:
        raise UsageError(f"{printable(out)}: is there already; --resume goes on with it, or name another")
    if out.exists() and out.samefile(requests):
        raise UsageError("--out names the file of requests; name another file")
    done = answered_in(out) if out.exists() else set()
    if not done <= names:
        raise UsageError(f"{printable(out)}: holds answers to other requests; name another file")
    if done == names:
        _tell(Summary(kept=len(done)), out)
        return
    wanted = Wanted(model, url, api_key, dtype, device, offline)
    with _asked(wanted, at_once) as asked, progress("answered", len(names)) as step:
        for _ in done:
            step()
        try:
            summary = run_batch(asked, requests, out, done, step)
        except OutageError as error:
            raise OutageError(f"{error}; what was answered is kept: go on with --resume") from None
        except KeyboardInterrupt:
            print(f"vlm: stopped; go on with --resume --out {printable(out)}", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
    _tell(summary, out)
    if summary.failed:
        raise typer.Exit(1)


def _tell(summary: Summary, out: Path) -> None:
    from vlm.errors import printable

    kept = f", {summary.kept} of them before" if summary.kept else ""
    print(f"{summary.answered + summary.kept} answered{kept}: {printable(out)}")
    if summary.failed:
        print(f"vlm: {summary.failed} failed, their lines say why; --resume asks again", file=sys.stderr)


@contextmanager
def _asked(wanted: Wanted, at_once: int) -> Iterator[Asked]:
    """The server at the URL or one of this process, waited for as long as it takes, and its model's name."""
    from vlm.batch import Asked
    from vlm.remote.transport import Patience, Server

    patience = Patience(silence=3600.0, whole=86400.0, retries=8)
    if wanted.url:
        name = wanted.load().name  # and is the server there, is the key right?
        with closing(Server(wanted.url, wanted.api_key, patience)) as server:
            yield Asked(server, name, at_once)
        return
    with with_extra("server"):
        from vlm.server.limits import Limits
        from vlm.server.own import own_server
        from vlm.server.service import public_name

    limits = Limits(
        body_bytes=256 << 20, held_bytes=1 << 30, running=max(at_once, Limits.choices), waiting=at_once,
        seconds=86400.0, grace=1.0,
    )  # fmt: skip
    status = Status()
    status.show("loading the model")
    try:
        name = public_name(wanted.name)
        with own_server(lambda: wanted.load_here().shared(limits.running), name, limits) as (url, key):
            status.clear()
            with closing(Server(url, key, patience)) as server:
                yield Asked(server, name, at_once)
    finally:
        status.clear()
