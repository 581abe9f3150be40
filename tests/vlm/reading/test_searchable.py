"""Searchable PDF: the page looks as before, and its text is found where it stands, in any script."""

from __future__ import annotations

import hashlib
import io
import tempfile
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from fake_pages import FakeOpened, FakePage, line, page
from fakes import picture
from PIL import Image

from vlm.reading import searchable
from vlm.reading.record import Line, PageText
from vlm.reading.searchable import _Part, write_searchable

TEXTS = ["Größe 12,50 €", "Привет, мир", "世界你好 テスト", "مرحبا", "ελληνικά", "𝔘𝔫𝔦 😀", "a & (b) \\ <c>"]


def pdf(*pairs: tuple[FakePage, PageText]) -> pypdfium2.PdfDocument:
    stream = io.BytesIO()
    write_searchable(stream, "title", pairs)
    return pypdfium2.PdfDocument(stream.getvalue())


def text_of(document: pypdfium2.PdfDocument, index: int = 0) -> str:
    return document[index].get_textpage().get_text_range()


def rows(*texts: str) -> list[Line]:
    return [line(text, (50, 20 + 50 * row, 450, 50 + 50 * row)) for row, text in enumerate(texts)]


def test_text_of_any_script_comes_back() -> None:
    document = pdf((FakePage("a.png"), page(*rows(*TEXTS))))
    found = text_of(document).split("\r\n")
    assert [at for at in found if "مرحبا" not in at and "ابحرم" not in at] == [
        at for at in TEXTS if at != "مرحبا"
    ]
    assert len(found) == len(TEXTS)


@pytest.mark.parametrize("words", ["12,50 €", "мир", "你好", "GRÖSSE"])
def test_text_can_be_searched(words: str) -> None:
    document = pdf((FakePage("a.png"), page(*rows(*TEXTS, "GRÖSSE"))))
    assert document[0].get_textpage().search(words, match_case=True).get_next() is not None
    assert document[0].get_textpage().search("nowhere").get_next() is None


@pytest.mark.parametrize("turned", [0.0, 3.0, 90.0, 180.0, 270.0, -90.0])
def test_text_stands_in_its_box(turned: float) -> None:
    box = (100, 40, 140, 340) if round(turned) % 180 == 90 else (100, 40, 400, 80)
    document = pdf((FakePage("a.png", dpi=72.0), page(line("two words", box), turned=turned)))
    found = document[0].get_textpage()
    spans = [found.get_charbox(at, loose=True) for at in range(len("two words"))]
    left, bottom, right, top = (
        pick(span[edge] for span in spans) for edge, pick in enumerate((min, min, max, max))
    )
    assert (left, 400 - top, right, 400 - bottom) == pytest.approx(box, abs=1)  # of a page 400 high
    firsts = {0: spans[0][0] < spans[-1][0], 90: spans[0][1] > spans[-1][1]}  # to the right, downwards
    firsts |= {180: not firsts[0], 270: not firsts[90]}
    assert firsts[round(turned / 90) * 90 % 360]


def test_pages_keep_their_size_their_order_and_their_own_text() -> None:
    document = pdf(
        (FakePage("a.png", size=(300, 150), dpi=150.0), page("one", width=300, height=150)),
        (FakePage("b.png", size=(2000, 1000), dpi=200.0), page("zwölf", width=2000, height=1000)),
        (FakePage("c.png"), page()),
    )
    assert [document[at].get_size() for at in range(2)] == [(144, 72), (720, 360)]
    assert [text_of(document, at) for at in range(3)] == ["one", "zwölf", ""]


def test_boxes_count_in_pixels_of_the_page_as_it_was_read() -> None:
    """A PDF page may be drawn at another scale when it is opened again."""
    small = page(line("x", (0, 20, 30, 30)), width=60, height=40)
    box = pdf((FakePage("a.png", dpi=72.0), small))[0].get_textpage().get_charbox(0, loose=True)
    assert box == pytest.approx((0, 100, 300, 200), abs=2)


def test_the_text_is_not_seen() -> None:
    def drawn(read: PageText) -> np.ndarray:
        return pdf((FakePage("a.png"), read))[0].render().to_numpy()

    assert np.array_equal(drawn(page(*rows(*TEXTS))), drawn(page()))


class Photo(FakePage):
    """Opens as the picture of its file."""

    def open(self) -> FakeOpened:
        return FakeOpened(Image.open(self.file).convert("RGB"))


def source_of(path: Path) -> Photo:
    return Photo(str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def written(source: FakePage) -> bytes:
    stream = io.BytesIO()
    write_searchable(stream, "title", [(source, page("x", width=80, height=80))])
    return stream.getvalue()


def test_a_jpeg_keeps_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture(1).save(path, quality=60)
    assert path.read_bytes() in written(source_of(path))


def test_a_jpeg_that_exif_turns_or_that_changed_is_made_anew(tmp_path: Path) -> None:
    turned, changed = tmp_path / "a.jpg", tmp_path / "b.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(1).save(turned, exif=exif)
    assert turned.read_bytes() not in written(source_of(turned))
    picture(1).save(changed)
    before = source_of(changed)
    picture(2).save(changed)
    assert changed.read_bytes() not in written(before)


def test_any_other_image_looks_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    wanted = picture(3).resize((80, 80), Image.Resampling.BICUBIC, (20, 20, 40, 40))
    wanted.save(path)
    document = pypdfium2.PdfDocument(written(source_of(path)))
    scale = 80 / document[0].get_size()[0]
    shown = document[0].render(scale=scale).to_pil().convert("RGB")
    assert shown.size == wanted.size
    assert np.abs(np.asarray(shown, float) - np.asarray(wanted, float)).mean() < 6


def test_a_page_that_can_not_be_opened_says_so() -> None:
    bad = page(source="failed", error="is cut off", number=2)
    document = pdf((FakePage("a.png"), page("fine")), (FakePage("a.png", damaged=True), bad))
    assert "page 2 of scan.pdf was not read: is cut off" in text_of(document, 1)


def test_odd_characters_and_empty_lines_do_no_harm() -> None:
    odd = page(*rows("a\x00b\tc", "", " ", "half \ud83d", "fine"))
    assert text_of(pdf((FakePage("a.png"), odd))).split("\r\n") == ["a b c", "half \ufffd", "fine"]


def test_a_very_large_page_stays_within_what_pdf_allows() -> None:
    source = FakePage("a.png", size=(20000, 10), dpi=72.0)
    assert pdf((source, page("x", width=20000, height=10)))[0].get_size() == pytest.approx((14400, 7.2))


def test_the_font_costs_little() -> None:
    assert len(written(FakePage("a.png", size=(8, 8)))) < 5000


class Full(io.BytesIO):
    def write(self, data: object) -> int:
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_told() -> None:
    with pytest.raises(OSError, match="No space"):
        write_searchable(Full(), "title", [(FakePage("a.png"), page("x"))])


def test_images_wait_on_disk_and_not_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = FakeOpened(picture(1, 300, 300))
    monkeypatch.setattr(FakePage, "open", lambda _: opened)
    parts: list[searchable._Part] = []
    monkeypatch.setattr(searchable, "_Part", lambda *at: parts.append(_Part(*at)) or parts[-1])
    names: list[object] = []
    wanted = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **at: names.append(at["dir"]) or wanted(**at))
    with tempfile.NamedTemporaryFile(suffix=".pdf") as stream:
        write_searchable(stream, "title", ((FakePage("a"), page("x")) for _ in range(5)))
        assert names == [Path(stream.name).parent]
    assert len(parts) == 5 and len({part._file for part in parts}) == 1
