"""``vlm ask`` about documents: which arguments are documents, and an answer with its page."""

from __future__ import annotations

import glob
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from vlm.cli_model import say_why_ended, shown

if TYPE_CHECKING:
    from vlm.answer import Answer
    from vlm.asking import Model
    from vlm.options import Options
    from vlm.reading.choose import Found
    from vlm.reading.sources import SourceOptions

_PDF, _HEAD = b"%PDF-", 1024  # its sign stands in its first 1024 bytes (ISO 32000-1, annex H)
_SUFFIXES = (".pdf", ".tif", ".tiff", ".heic", ".heif")


def are_documents(sources: Sequence[str]) -> bool:
    """Whether any source may hold several pages: folders, patterns, PDF, TIFF; HEIC is read as those are."""
    return any(
        os.path.isdir(source)
        or source.lower().endswith(_SUFFIXES)
        or (glob.has_magic(source) and not os.path.exists(source))
        or _PDF in _beginning(source)
        for source in sources
    )


def _beginning(source: str) -> bytes:
    """The first bytes of a file or of standard input, which are still there to be read afterwards."""
    try:
        if source == "-":
            held = getattr(sys.stdin, "buffer", None)  # none where it was closed by the caller
            return held.peek(_HEAD)[:_HEAD] if isinstance(held, io.BufferedReader) else b""
        if not os.path.isfile(source):  # a pipe gives its bytes once
            return b""
        with open(source, "rb") as file:
            return file.read(_HEAD)
    except (OSError, ValueError):  # whoever opens it says why
        return b""


def check_documents(sources: Sequence[str], reading: SourceOptions) -> None:
    """Refuse what isn't there before a model is loaded."""
    from vlm.reading.sources import list_pages

    if files := [source for source in sources if source != "-"]:
        list_pages(files, reading)


def ask_documents(
    vlm: Model,
    sources: Sequence[str],
    question: str,
    options: Options,
    reading: SourceOptions,
    on_page: Callable[[int], None],
) -> Found:
    """Find the pages that matter and answer from them."""
    from dataclasses import replace

    from vlm.reading.choose import ask_pages
    from vlm.reading.sources import list_pages

    sized = replace(reading, window_size=vlm.window_size)
    return ask_pages(vlm, list_pages(sources, sized), question, options, on_page=on_page)


def print_found(found: Found, as_json: bool) -> None:
    """The answer, and on stderr the page it comes from."""
    if as_json:
        print(json.dumps(found_to_json(found), ensure_ascii=False))
        return
    print(shown(found.answer.text))
    say_why_ended(found.answer)
    if found.page.count > 1 or len(found.ranking) > 1:
        from vlm.errors import printable

        print(f"[{printable(found.page.file)}, page {found.page.number}]", file=sys.stderr)


def found_to_json(found: Found) -> dict[str, Any]:
    """The answer's object with its page and how the pages ranked; boxes are on the page as it lies."""
    ranking = [
        {"file": one.page.file, "page": one.page.number, "score": round(one.score, 4), "by": one.by}
        for one in found.ranking
    ]
    place = {"file": found.page.file, "number": found.page.number, "turned": found.turn.degrees}
    told = answer_to_json(found.answer)
    if found.turn.degrees:
        for boxed in (*told["windows"], *told["evidence"], *told.get("fields", ())):
            if boxed["box"] is not None:
                boxed["box"] = list(found.turn.back(tuple(boxed["box"])))
    return told | {"page": place, "ranking": ranking}


def answer_to_json(answer: Answer) -> dict[str, Any]:
    """The answer's object; under a schema with its fields, each with its place and confidence."""
    if answer.data is None:
        return answer.to_json()
    from vlm.fields import fields_to_json

    return answer.to_json() | {"fields": fields_to_json(answer)}
