"""Pages -> a PDF that looks like them and whose text can be searched and copied.

Each page is its image with text over it in render mode 3, "invisible" (ISO 32000-1, 9.3.6), a line at
a time, stretched to its box. Nothing of that text is drawn, so its font needs no shapes: one glyph
without ink, half an em wide, stands for every character, and the font's ToUnicode table says
which (as Tesseract does, doc/pdf.md there). That makes a font of some 600 bytes for any script. Each
page gets its own, with codes for its characters only: an exact table, characters beyond U+FFFF
included, where one table for all of Unicode would need halves of surrogate pairs.

PDFium writes the file. It copies images when it saves, not before, so they wait in a nameless file on
disk, and what stays in memory is a few kilobytes a page. A JPEG file that is a page as it stands keeps
its bytes; everything else is compressed anew.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import io
import re
import tempfile
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from PIL import Image

from vlm.errors import ImageError, UsageError, VlmError
from vlm.reading.output import complaint
from vlm.reading.pdf import PDFIUM
from vlm.reading.record import PageText

if TYPE_CHECKING:
    from vlm.reading.sources import SourcePage

QUALITY = 90  # of JPEGs made here; artefacts can't be seen, a tenth of the size of PNG for a scan
_DPI = 150.0  # of an image that doesn't say: a page of 1240 x 1754 is A4
_LARGEST = 14400.0  # points a side (ISO 32000-1, annex C)
_A4 = (595.0, 842.0)
_ASCENT, _DESCENT, _ADVANCE = 800, 200, 500  # of 1000 units an em
_QUARTERS = {  # degrees turned -> the rotation back, counter-clockwise angles, y upwards
    0: (1, 0, 0, 1),
    90: (0, -1, 1, 0),
    180: (-1, 0, 0, -1),
    270: (0, 1, -1, 0),
}
_ORIENTATION = 0x0112  # EXIF 2.32, tag Orientation


def write_searchable(stream: BinaryIO, title: str, pages: Iterable[tuple[SourcePage, PageText]]) -> None:
    """Write a searchable PDF.

    Args:
        stream: gets the file once all pages were seen.
        title: not written; PDFium sets no document information.
        pages: in order; each source is opened for its image when its turn comes. One that can't be
            opened gives a page that says so.

    Raises:
        UsageError: the packages for PDF are missing.
        OSError: the stream or the disk takes no more.
    """
    try:
        import pypdfium2

        _font()
    except ModuleNotFoundError as error:
        raise UsageError(f"writing PDF needs {error.name}: pip install 'vlm[pdf]'") from None
    with tempfile.TemporaryFile(dir=_room(stream)) as images:
        sink = _Sink(stream)
        with PDFIUM:
            document = pypdfium2.PdfDocument.new()
        try:
            for source, page in pages:
                _add(document, images, source, page)
            with PDFIUM:
                document.save(sink)
        finally:
            with PDFIUM:
                document.close()
        if sink.error is not None:
            raise sink.error


def _room(stream: BinaryIO) -> Path | None:
    """The folder a file is written in, which has room for its images; None: the system's own."""
    name = getattr(stream, "name", None)
    folder = Path(name).parent if isinstance(name, str) else None
    return folder if folder is not None and folder.is_dir() and folder != Path() else None


class _Sink:
    """Keeps the error PDFium would swallow: exceptions don't pass through C."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, data: Any) -> None:
        if self.error is None:
            try:
                self._stream.write(data)
            except OSError as error:
                self.error = error


class _Part(io.RawIOBase):
    """Bytes ``start`` to ``end`` of a file that many share, as a file of its own."""

    def __init__(self, file: IO[bytes], start: int, end: int) -> None:
        self._file, self._start, self._length = file, start, end - start
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        self._file.seek(self._start + self._at)
        data = self._file.read(min(len(view), self._length - self._at))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


# -- pages -------------------------------------------------------------------------------------------


def _add(document: Any, images: IO[bytes], source: SourcePage, page: PageText) -> None:
    """Add a page with its image and its text."""
    try:
        opened = source.open()
    except (VlmError, ImageError) as error:
        with PDFIUM:
            _add_note(document, complaint(page) or str(error))
        return
    points = 72.0 / (opened.dpi or _DPI)
    points = min(points, _LARGEST / max(opened.image.size))
    width, height = (side * points for side in opened.image.size)
    start = images.seek(0, io.SEEK_END)
    _put_jpeg(images, source, opened.image)
    with PDFIUM:
        added = document.new_page(width, height)
        _place_image(document, added, _Part(images, start, images.tell()))
        if page.lines:
            _place_lines(document, added, page)
        added.gen_content()
        added.close()


def _put_jpeg(images: IO[bytes], source: SourcePage, image: Image.Image) -> None:
    """Append a page's image: the file's own bytes if they show the same picture, else a new JPEG."""
    kept = _own_jpeg(source, image.size) if source.count == 1 else None
    if kept is not None:
        images.write(kept)
        return
    held = io.BytesIO()  # Pillow would seek in the shared file
    image.convert("RGB").save(held, "JPEG", quality=QUALITY, optimize=True)
    images.write(held.getbuffer())


def _own_jpeg(source: SourcePage, size: tuple[int, int]) -> bytes | None:
    """The bytes of a JPEG file that PDF viewers show as it is; None if it is none or has changed.

    They know nothing of EXIF, so a photo that EXIF turns doesn't count, nor one in ink colours, whose
    signs Adobe's files invert.
    """
    try:
        data = Path(source.file).read_bytes()
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as stored:
            upright = stored.getexif().get(_ORIENTATION, 1) == 1
            same = stored.size == size and stored.mode in ("L", "RGB") and upright
    except (OSError, ValueError, SyntaxError):
        return None
    return data if same and hashlib.sha256(data).hexdigest() == source.sha256 else None


def _place_image(document: Any, added: Any, jpeg: _Part) -> None:
    import pypdfium2

    image = pypdfium2.PdfImage.new(document)
    image.load_jpeg(jpeg, autoclose=False)
    image.set_matrix(pypdfium2.PdfMatrix().scale(*added.get_size()))
    added.insert_obj(image)


def _place_lines(document: Any, added: Any, page: PageText) -> None:
    """Put the text of the page's lines where they stand."""
    import pypdfium2.raw as pdfium

    texts = [_sayable(line.text) for line in page.lines]
    codes = {c: code for code, c in enumerate(sorted(set().union(*texts)), start=1)}
    font = _load_font(document, codes)
    width, height = added.get_size()
    for line, text in zip(page.lines, texts, strict=True):
        if not text:
            continue
        left, top, right, bottom = line.box
        box = (
            left * width / page.width,
            height - bottom * height / page.height,
            right * width / page.width,
            height - top * height / page.height,
        )
        words = pdfium.FPDFPageObj_CreateTextObj(document, font, 1.0)
        pdfium.FPDFText_SetCharcodes(
            words, (ctypes.c_uint32 * len(text))(*(codes[c] for c in text)), len(text)
        )
        pdfium.FPDFTextObj_SetTextRenderMode(words, pdfium.FPDF_TEXTRENDERMODE_INVISIBLE)
        pdfium.FPDFPageObj_SetMatrix(words, pdfium.FS_MATRIX(*_matrix(len(text), box, page.turned)))
        pdfium.FPDFPage_InsertObject(added, words)
    pdfium.FPDFFont_Close(font)


def _sayable(text: str) -> str:
    """Without what no text of a PDF can hold: control characters, halves of surrogate pairs."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", re.sub("[\ud800-\udfff]", "\ufffd", text)).strip()


def _matrix(
    characters: int, box: tuple[float, float, float, float], turned: float
) -> tuple[float, float, float, float, float, float]:
    """What maps a line of font size 1 onto its box.

    Args:
        characters: of the line, each ``_ADVANCE`` wide.
        box: left, bottom, right, top in points, upwards.
        turned: degrees the page was turned to be read; the text is turned back, to the nearest quarter.
    """
    left, bottom, right, top = box
    quarter = round(turned / 90) * 90 % 360
    ax, bx, cx, dx = _QUARTERS[quarter]
    along, across = right - left, top - bottom
    if quarter in (90, 270):
        along, across = across, along
    em = _ASCENT + _DESCENT
    wide = along * em / (characters * _ADVANCE)
    a, b, c, d = ax * wide, bx * wide, cx * across, dx * across
    length, low, high = characters * _ADVANCE / em, -_DESCENT / em, _ASCENT / em
    xs = [a * x + c * y for x in (0, length) for y in (low, high)]
    ys = [b * x + d * y for x in (0, length) for y in (low, high)]
    return a, b, c, d, left - min(xs), bottom - min(ys)


def _add_note(document: Any, note: str) -> None:
    """A page that shows a note, in what the standard font has of its characters."""
    import pypdfium2.raw as pdfium

    added = document.new_page(*_A4)
    font = pdfium.FPDFText_LoadStandardFont(document, b"Helvetica")
    for number, line in enumerate(textwrap.wrap(note, 80)):
        shown = line.encode("latin-1", "replace").decode("latin-1")
        words = pdfium.FPDFPageObj_CreateTextObj(document, font, 12.0)
        units = ctypes.create_string_buffer(shown.encode("utf-16-le") + b"\0\0")
        pdfium.FPDFText_SetText(words, ctypes.cast(units, pdfium.FPDF_WIDESTRING))
        pdfium.FPDFPageObj_SetMatrix(words, pdfium.FS_MATRIX(1, 0, 0, 1, 57, 770 - 16 * number))
        pdfium.FPDFPage_InsertObject(added, words)
    pdfium.FPDFFont_Close(font)
    added.gen_content()
    added.close()


# -- the font ----------------------------------------------------------------------------------------


def _load_font(document: Any, codes: dict[str, int]) -> Any:
    """The font with two-byte codes for these characters.

    Raises:
        ValueError: PDFium refuses it.
    """
    import pypdfium2.raw as pdfium

    data = _font()
    glyphs = bytes(2 * (len(codes) + 1))  # every code shows glyph 0
    font = pdfium.FPDFText_LoadCidType2Font(
        document, _bytes(data), len(data), _to_unicode(codes).encode(), _bytes(glyphs), len(glyphs)
    )
    if not font:
        raise ValueError("PDFium refuses the font")
    return font


def _bytes(data: bytes) -> Any:
    return (ctypes.c_uint8 * len(data)).from_buffer_copy(data)


@functools.cache
def _font() -> bytes:
    """A TrueType font whose only glyph has bounds and no ink."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    pen.moveTo((0, -_DESCENT))  # an area of nothing with the bounds of a character: readers drop text
    pen.lineTo((_ADVANCE, _ASCENT))  # without bounds, and mark what was found by them
    pen.closePath()
    builder = FontBuilder(_ASCENT + _DESCENT, isTTF=True)
    builder.setupGlyphOrder([".notdef"])
    builder.setupCharacterMap({})
    builder.setupGlyf({".notdef": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (_ADVANCE, 0)})
    builder.setupHorizontalHeader(ascent=_ASCENT, descent=-_DESCENT)
    builder.setupNameTable({"familyName": "Invisible", "styleName": "Regular", "psName": "Invisible"})
    builder.setupOS2(
        sTypoAscender=_ASCENT, sTypoDescender=-_DESCENT, usWinAscent=_ASCENT, usWinDescent=_DESCENT
    )
    builder.setupPost(keepGlyphNames=False)
    held = io.BytesIO()
    builder.font.save(held)
    return held.getvalue()


def _to_unicode(codes: dict[str, int]) -> str:
    """The CMap from codes to characters (Adobe Technical Note 5411, section 1.4)."""
    pairs = [f"<{code:04X}> <{c.encode('utf-16-be').hex().upper()}>" for c, code in codes.items()]
    lines: list[str] = []
    for start in range(0, len(pairs), 100):  # a section holds 100 at most
        section = pairs[start : start + 100]
        lines += [f"{len(section)} beginbfchar", *section, "endbfchar"]
    return _CMAP.format("\n".join(lines))


_CMAP = """\
/CIDInit /ProcSet findresource begin
12 dict begin
begincmap
/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def
/CMapName /Adobe-Identity-UCS def
/CMapType 2 def
1 begincodespacerange
<0000> <FFFF>
endcodespacerange
{}
endcmap
CMapName currentdict /CMap defineresource pop
end
end
"""
