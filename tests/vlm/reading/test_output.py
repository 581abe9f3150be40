"""What is written of pages: nothing of a page is lost, and nothing of it is taken for the output's own."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from fake_pages import FakePage, fake_pages, line, page, read_fake
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pan_and_scan import Window
from vlm.reading.output import FORMS, UNSURE_BELOW, page_from_json, page_to_json, write_text, writer
from vlm.reading.record import Block, PageText

FULL = PageText(
    file="scans/invoice 3.pdf",
    number=2,
    width=1240,
    height=1754,
    sha256="ab" * 32,
    blocks=(
        Block((line("Größe 12,50 €", (10, 20, 300, 50), 0.9876), line("zweite", (12, 60, 200, 88), 0.5))),
        Block((line("世界", (400, 700, 480, 740), 1.0),)),
    ),
    source="model",
    model="mini",
    windows=(Window(0, 0, 1240, 1754, "whole"), Window(0, 0, 620, 877)),
    turned=90.0,
    attempts=2,
)
FAILED = page(number=3, source="failed", error="the model's answer went round in circles")
HOSTILE = "</p><script>alert(1)</script><img src=x onerror='alert(1)'> & \"quoted\""


def written(form: str, *pages: PageText) -> str:
    stream = io.BytesIO()
    writer(form)(stream, pages[0].file if pages else "none", [(FakePage(at.file), at) for at in pages])
    return stream.getvalue().decode()


# -- json --------------------------------------------------------------------------------------------


def test_json_holds_all_that_is_known_of_a_page() -> None:
    (shown,) = json.loads(written("json", FULL))["pages"]
    text = "Größe 12,50 €\nzweite"
    assert shown == {
        "file": "scans/invoice 3.pdf",
        "page": 2,
        "width": 1240,
        "height": 1754,
        "source": "model",
        "error": "",
        "confidence": pytest.approx((13 * 0.9876 + 6 * 0.5 + 2 * 1.0) / 21, abs=1e-4),
        "text": text + "\n\n世界",
        "blocks": [
            {
                "box": [10, 20, 300, 88],
                "text": text,
                "lines": [
                    {"text": "Größe 12,50 €", "box": [10, 20, 300, 50], "confidence": 0.9876},
                    {"text": "zweite", "box": [12, 60, 200, 88], "confidence": 0.5},
                ],
            },
            {
                "box": [400, 700, 480, 740],
                "text": "世界",
                "lines": [{"text": "世界", "box": [400, 700, 480, 740], "confidence": 1.0}],
            },
        ],
        "model": "mini",
        "windows": [
            {"box": [0, 0, 1240, 1754], "kind": "whole"},
            {"box": [0, 0, 620, 877], "kind": "crop"},
        ],
        "turned": 90.0,
        "attempts": 2,
        "sha256": "ab" * 32,
        "data": None,
        "fields": [],
        "lost": [],
    }


def test_json_of_no_page_and_of_several_is_one_object() -> None:
    assert json.loads(written("json")) == {"pages": []}
    assert [shown["page"] for shown in json.loads(written("json", FULL, FAILED))["pages"]] == [2, 3]


def test_jsonl_is_a_line_a_page() -> None:
    lines = written("jsonl", FULL, FAILED).splitlines()
    assert [json.loads(at)["page"] for at in lines] == [2, 3]
    assert json.loads(lines[1])["error"] == FAILED.error


@given(
    st.lists(st.text(), max_size=4),
    st.floats(0, 1),
    st.sampled_from(["model", "text layer"]),
    st.text(st.characters()),  # file names may hold half a surrogate pair
)
def test_a_page_comes_back_from_its_json(texts: list[str], confidence: float, source: str, file: str) -> None:
    lines = (line(text, confidence=round(confidence, 4)) for text in texts)
    before = replace(page(*lines, file=file), source=source)
    assert page_from_json(page_to_json(before)) == before
    assert page_from_json(json.loads(written("jsonl", before))) == before


def test_a_file_name_that_is_no_utf8_comes_back_from_json() -> None:
    before = page("x", file="caf\udce9.png")
    assert page_from_json(json.loads(written("jsonl", before))) == before
    for form in FORMS:
        assert "caf" in written(form, before, before) or form == "txt"


# -- txt and md --------------------------------------------------------------------------------------


def test_txt_parts_pages_by_a_form_feed() -> None:
    assert written("txt", page("a", "b"), page("c")) == "a\nb\n\fc\n"


def test_a_failed_page_says_so_where_its_text_would_be() -> None:
    for form in FORMS:
        parts = written(form, page("before"), FAILED, page("after"))
        at = [parts.index(word) for word in ("before", "circles", "after")]
        assert at == sorted(at), form
    said = "page 3 of scan.pdf was not read: the model's answer went round in circles"
    assert written("txt", FAILED) == f"[{said}]\n"
    assert written("md", FAILED) == f"> **{said}**\n"


def test_what_was_read_of_a_page_in_part_stands_below_what_was_not() -> None:
    part = page("some", error="2 of 3 lines could not be read")
    said = "page 1 of scan.pdf was not read in full: 2 of 3 lines could not be read"
    assert written("txt", part) == f"[{said}]\nsome\n"
    assert written("md", part) == f"> **{said}**\n\nsome\n"
    assert re.search(f'<p class="failed">{said}</p>\n<p class="text".*some', written("html", part))
    assert "some" in written("txt", replace(part, source="failed"))


def test_md_parts_pages_and_says_which() -> None:
    shown = written("md", page("a"), page("b", file="x -->.png", number=7))
    assert shown == "a\n\n---\n\n<!-- x - - >.png, page 7 -->\n\nb\n"


def test_md_keeps_lines_and_blocks() -> None:
    two = replace(FULL, blocks=(Block((line("a"), line("b"))), Block((line("c"),))))
    assert written("md", two) == "a  \nb\n\nc\n"


def test_md_leaves_alone_what_means_nothing() -> None:
    plain = "2 * 3,50 = 7.00; snake_case, a < b & c > d; 1.5 kg; -5 °C; #7; ~ 20 %; +49 30 1234"
    assert written("md", page(plain)) == f"{plain}\n"


@pytest.mark.parametrize(
    "text",
    [
        "# no heading", "- no list", "1. no list", "12) no list", "> no quotation", "+ plus", "===", "---",
        "***", "* star", "*strong*", "_soft_", "a*b*c", "`code`", "```", "~~~", "~~gone~~", "[link](http://x)",
        "![image](x)", "<b>bold</b>", "<!-- gone -->", "&amp; &#65;", "\\*", "a\\", "|---|---|", "| a | b |",
        "    code", "\tcode", "- - -", "__init__", "[x]: /url", "1.", "#", "-", ">", "<http://x.y>", "=",
        "##",
    ],
)  # fmt: skip
def test_md_shows_a_line_as_it_was_read(text: str) -> None:
    assert shown_by_markdown(written("md", page("before", text, "after"))) == [
        "before",
        text.strip(),
        "after",
    ]


@given(st.lists(st.text("ab1 \\`*_~[]()<>!#+-=|:.&;/\"'", min_size=1, max_size=12), min_size=1, max_size=3))
def test_md_shows_any_line_as_it_was_read(texts: list[str]) -> None:
    kept = [text.strip() for text in texts if text.strip()]
    assert shown_by_markdown(written("md", page(*texts))) == kept


def shown_by_markdown(text: str) -> list[str]:
    """The lines a reader of the rendered page sees; anything but one paragraph of text is an error."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    lines = [""]
    for token in tokens:
        assert token.type in ("paragraph_open", "inline", "paragraph_close"), token.type
        for child in token.children or ():
            assert child.type in ("text", "text_special", "hardbreak"), (child.type, text)
            if child.type == "hardbreak":
                lines.append("")
            else:
                lines[-1] += child.content
    return [at for at in lines if at]


# -- html --------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags in order, those left open, and what is said in all."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.opened: list[str] = []
        self.said = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in ("meta", "br"):
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said += data


def test_html_takes_nothing_of_a_page_for_its_own() -> None:
    hostile = page(line(HOSTILE, confidence=0.1), HOSTILE, file=HOSTILE, model=HOSTILE)
    failed = page(file=HOSTILE, source="failed", error=HOSTILE)
    plain = page(line("x", confidence=0.1), "x", file="x", model="x")
    shown = Page(written("html", hostile, failed))
    assert shown.tags == Page(written("html", plain, page(file="x", source="failed", error="x"))).tags
    # The title twice, two headings, two lines, the model, and the complaint with name and reason.
    assert shown.said.count(HOSTILE) == 9
    assert not shown.opened


def test_html_asks_nothing_of_the_network() -> None:
    text = written("html", FULL, FAILED)
    shown = Page(text)
    assert not {name for name, _ in shown.attributes} & {"src", "href", "srcset", "action"}
    assert "url(" not in text and "@import" not in text and "script" not in shown.tags
    assert "default-src 'none'" in text


def test_html_is_a_page_a_person_can_find_their_way_in() -> None:
    shown = Page(written("html", FULL, FAILED))
    assert ("lang", "en") in shown.attributes and shown.tags.count("h1") == 1 and "main" in shown.tags
    assert shown.tags.count("h2") == 2  # one a page
    assert "(prefers-color-scheme: dark)" in written("html")
    assert ("lang", "") in shown.attributes and ("dir", "auto") in shown.attributes


def test_html_marks_the_lines_it_is_not_sure_of_also_for_those_who_hear_it() -> None:
    text = written("html", page(line("sure", confidence=UNSURE_BELOW), line("guess", confidence=0.4321)))
    assert re.findall(r"<mark[^>]*>(.*?)</mark>", text) == ["guess"]
    assert "(unsure, 43%)" in Page(text).said


def test_html_holds_no_control_characters() -> None:
    assert "a\ufffdb" in written("html", page("a\x00b"))


# -- streaming ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_each_page_is_written_before_the_next_is_read(form: str) -> None:
    stream = io.BytesIO()

    def pages():
        for source in fake_pages(3):
            if source.number > 1:
                assert f"page {source.number - 1}".encode() in stream.getvalue()
                assert f"scan.pdf page {source.number}".encode() not in stream.getvalue()
            yield source, read_fake(source)

    write_text(FORMS[form], stream, "scan.pdf", pages())
    assert b"scan.pdf page 3" in stream.getvalue()
