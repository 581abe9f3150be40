"""Pages as they were read -> md, txt, json, jsonl, html; a page at a time.

A form is a head, the pages with something between them, and a tail. Nothing knows how many pages come,
so that a document of 10,000 pages is never in memory and a pipe gets each page as soon as it is read.

What is written must not be taken for something else: a line of a page never becomes a heading, a list
or a tag of the output, and a page that was not read says so where its text would be.

- md: a hard break (two spaces) ends each line, for a receipt without its lines is no receipt.
- txt: a form feed between pages, as ``pdftotext`` writes it.
- json, jsonl: all that is known of a page; ``page_from_json`` is the inverse.
- html: one page without scripts or requests; lines the reader was not sure of are marked.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pan_and_scan import Window
from vlm.errors import printable
from vlm.reading.record import Block, Box, FieldText, Line, PageText

if TYPE_CHECKING:
    from vlm.reading.sources import SourcePage

UNSURE_BELOW = 0.6  # confidence of a line; below it every third token or so was a guess

# Writes a document: stream, title, pages in order with where they came from.
Write = Callable[[BinaryIO, str, "Iterable[tuple[SourcePage, PageText]]"], None]


@dataclass(frozen=True)
class Form:
    """How a document is put together; each part is text that ends its own line."""

    page: Callable[[PageText], str]
    head: Callable[[str], str] = lambda title: ""  # of the document's title
    between: Callable[[PageText], str] = lambda following: ""
    tail: str = ""
    first: Callable[[str, PageText], str] = lambda title, page: ""  # before the first page


def writer(name: str) -> Write:
    """The writer of a form by its name, one of ``NAMES``.

    Raises:
        UsageError: ``pdf`` without the package that writes it.
    """
    if name == "pdf":
        from vlm.reading.searchable import write_searchable

        return write_searchable
    return partial(write_text, FORMS[name])


def write_text(
    form: Form, stream: BinaryIO, title: str, pages: Iterable[tuple[SourcePage, PageText]]
) -> None:
    """Write a document, flushing after each page.

    Args:
        form: one of ``FORMS``.
        stream: gets UTF-8. Half a surrogate pair (file names that are no UTF-8) is written as its
            escape, which JSON reads back as what it was.
        title: of the document.
        pages: in order.
    """

    def put(text: str) -> None:
        stream.write(text.encode("utf-8", "backslashreplace"))
        stream.flush()

    put(form.head(title))
    first = True
    for _, page in pages:
        put((form.first(title, page) if first else form.between(page)) + form.page(page))
        first = False
    put(form.tail)


# -- json --------------------------------------------------------------------------------------------


def page_to_json(page: PageText) -> dict[str, Any]:
    """All that is known of a page; boxes are left, top, right, bottom in its pixels."""
    return {
        "file": page.file,
        "page": page.number,
        "width": page.width,
        "height": page.height,
        "source": page.source,
        "error": page.error,
        "confidence": round(page.confidence, 4),
        "text": page.text,
        "blocks": [
            {"box": list(block.box), "text": block.text, "lines": [_line_to_json(at) for at in block.lines]}
            for block in page.blocks
        ],
        "model": page.model,
        "windows": [{"box": list(window.box), "kind": window.kind} for window in page.windows],
        "turned": page.turned,
        "attempts": page.attempts,
        "sha256": page.sha256,
        "data": page.data,
        "fields": [
            {
                "path": field.path,
                "value": field.value,
                "confidence": round(field.confidence, 4),
                "box": None if field.box is None else list(field.box),
            }
            for field in page.fields
        ],
        "lost": [list(box) for box in page.lost],
    }


def page_from_json(raw: dict[str, Any]) -> PageText:
    """The page of ``page_to_json``, confidences rounded.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    return PageText(
        file=raw["file"],
        number=raw["page"],
        width=raw["width"],
        height=raw["height"],
        sha256=raw["sha256"],
        blocks=tuple(Block(tuple(map(_line_from_json, block["lines"]))) for block in raw["blocks"]),
        source=raw["source"],
        model=raw["model"],
        windows=tuple(map(_window_from_json, raw["windows"])),
        turned=raw["turned"],
        attempts=raw["attempts"],
        error=raw["error"],
        data=raw["data"],
        fields=tuple(map(_field_from_json, raw["fields"])),
        lost=tuple(map(_box_from_json, raw.get("lost", ()))),  # pages of older jobs don't tell
    )


def _field_from_json(raw: dict[str, Any]) -> FieldText:
    box = None if raw["box"] is None else _box_from_json(raw["box"])
    return FieldText(raw["path"], raw["value"], raw["confidence"], box)


def _box_from_json(raw: list[int]) -> Box:
    left, top, right, bottom = raw
    return left, top, right, bottom


def _line_to_json(line: Line) -> dict[str, Any]:
    return {"text": line.text, "box": list(line.box), "confidence": round(line.confidence, 4)}


def _line_from_json(raw: dict[str, Any]) -> Line:
    return Line(raw["text"], _box_from_json(raw["box"]), raw["confidence"])


def _window_from_json(raw: dict[str, Any]) -> Window:
    return Window(*_box_from_json(raw["box"]), raw["kind"])


def _json_page(page: PageText) -> str:
    return json.dumps(page_to_json(page), ensure_ascii=False)


# -- txt and md --------------------------------------------------------------------------------------


def complaint(page: PageText) -> str:
    """What was not read of a page; empty where all was."""
    where = f"page {page.number} of {page.file}"
    error = page.error.removeprefix(f"{printable(page.file)}: ")  # errors name the file, too
    if page.source == "failed":
        return f"{where} was not read: {error or 'no reason given'}"
    return f"{where} was not read in full: {error}" if error else ""


def _txt_page(page: PageText) -> str:
    note = f"[{said}]" if (said := complaint(page)) else ""
    return "".join(f"{part}\n" for part in (note, page.text) if part)


def _md_page(page: PageText) -> str:
    note = f"> **{_md_line(said)}**" if (said := complaint(page)) else ""
    blocks = ("  \n".join(filter(None, map(_md_line, block.text.split("\n")))) for block in page.blocks)
    text = "\n\n".join(filter(None, (note, *blocks)))
    return f"{text}\n" if text else ""


def _md_between(following: PageText) -> str:
    return f"\n---\n\n{_md_label(following)}"


def _md_first(title: str, page: PageText) -> str:
    alone = Path(page.file).name == Path(title).name
    return "" if alone else _md_label(page)  # there may be pages of other files


def _md_label(page: PageText) -> str:
    name = re.sub("-(?=[->])", "- ", " ".join(page.file.split()))  # "-->" would end the comment
    return f"<!-- {name}, page {page.number} -->\n\n"


# Characters that mean something anywhere in a line. "_" within a word and "*" or "~" between spaces
# don't, and reading "2 \* 3,50" is a nuisance.
_MD_INLINE = re.compile(
    r"""
    [\\`\[]
    | (?<!\s)\* | \*(?!\s)
    | (?<![A-Za-z0-9])_ | _(?![A-Za-z0-9])
    | ~(?=.*~) | (?<=~)~
    | <(?=[A-Za-z/!?])
    | &(?=\#?\w+;)
    """,
    re.VERBOSE | re.ASCII,
)
_MD_START = re.compile(
    r"""
      (?P<sign>[#>+*-])(?=\s|$|\#|>)      # heading, quotation, list
    | (?P<sign2>[>])                      # a quotation needs no space
    | (?P<rule>[-=_*:|+~])(?=[-=_*:|+~\s]*$) # rule, underline of a heading, fence, a table's second row
    | (?P<fence>~)(?=~~)
    | (?P<number>\d{1,9})(?=[.)](?:\s|$)) # numbered list
    """,
    re.VERBOSE | re.ASCII,
)


def _md_line(line: str) -> str:
    """A line that Markdown shows as it is."""
    line = line.strip()  # four spaces would begin code
    start = _MD_START.match(line)
    escaped = _MD_INLINE.sub(r"\\\g<0>", line)
    if start is None or escaped.startswith("\\"):
        return escaped
    if start["number"]:
        at = start.end()
        return f"{escaped[:at]}\\{escaped[at:]}"
    return f"\\{escaped}"


# -- html --------------------------------------------------------------------------------------------

_HTML_HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --faint: #595959; --edge: #c8c8c8;
  --unsure: #fff1b8; --failed: #a40000; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e8e8e8; --paper: #161616; --faint: #a8a8a8; --edge: #454545; --unsure: #574400;
    --failed: #ff9a9a; }} }}
body {{ margin: 0 auto; max-width: 50rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.4rem; overflow-wrap: anywhere; }}
section {{ border-top: 1px solid var(--edge); padding: .5rem 0 1rem; }}
h2 {{ font-size: 1rem; margin: .5rem 0 0; overflow-wrap: anywhere; }}
.about {{ color: var(--faint); font-size: .875rem; margin: 0; }}
.text {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
mark {{ background: var(--unsure); color: inherit; text-decoration: underline dotted; }}
.failed {{ color: var(--failed); font-weight: 600; }}
.said {{ position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
"""
_HTML_TAIL = "</main>\n</body>\n</html>\n"


def _html_head(title: str) -> str:
    return _HTML_HEAD.format(title=_html_text(title))


def _html_page(page: PageText) -> str:
    head = f"<h2>{_html_text(page.file)}, page {page.number}</h2>\n"
    note = f'<p class="failed">{_html_text(said)}</p>\n' if (said := complaint(page)) else ""
    # lang="": the page's language is not known, and English rules would be wrong for it.
    blocks = (
        f'<p class="text" lang="" dir="auto">{"<br>".join(map(_html_line, block.lines))}</p>\n'
        for block in page.blocks
    )
    return f"<section>\n{head}{_html_about(page)}{note}{''.join(blocks)}</section>\n"


def _html_about(page: PageText) -> str:
    if page.source == "failed":
        return ""
    reader = f"read by {page.model or 'a model'}" if page.source == "model" else "the file's own text"
    sure = f"confidence {page.confidence:.0%}" if page.lines else "nothing on it"
    return f'<p class="about">{_html_text(reader)}, {sure}</p>\n'


def _html_line(line: Line) -> str:
    text = _html_text(line.text)
    if line.confidence >= UNSURE_BELOW:
        return text
    sure = f"{line.confidence:.0%}"
    said = f'<span class="said" lang="en"> (unsure, {sure})</span>'  # for whoever doesn't see the colour
    return f'<mark title="confidence {sure}">{text}</mark>{said}'


# Control characters are no part of HTML; tab and line feed are.
_NO_HTML = dict.fromkeys({*range(0x20), *range(0x7F, 0xA0)} - {0x09, 0x0A}, "\ufffd")


def _html_text(text: str) -> str:
    return html.escape(text.translate(_NO_HTML))


FORMS = {
    "md": Form(_md_page, first=_md_first, between=_md_between),
    "txt": Form(_txt_page, between=lambda following: "\f"),
    "jsonl": Form(lambda page: f"{_json_page(page)}\n"),
    "json": Form(_json_page, lambda title: '{"pages": [\n', lambda following: ",\n", "\n]}\n"),
    "html": Form(_html_page, _html_head, tail=_HTML_TAIL),
}
NAMES = (*FORMS, "pdf")
