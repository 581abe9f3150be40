"""A PDF page's own text, and whether it can be trusted.

A text layer that is right is better than any reading of the image, and one that is wrong looks just the
same. So the layer is not believed until it has passed every test here: its characters are characters,
lie on the page, are drawn and can be seen in the rendered image, aren't an earlier OCR's guess under a
scan, and aren't all but a stamp on one. ``TextLayer.why`` names the first test that failed; the page is
then read from its image as if there were no layer.

Places are points of the upright page, y downwards, until the page is rendered; ``survey`` comes first
because the resolution to render at depends on what it finds.

Every function that takes a pypdfium2 object needs ``vlm.reading.pdf.PDFIUM`` held by the caller.
"""

from __future__ import annotations

import ctypes
import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from PIL import Image

from vlm.reading.layout import Glyph, Place, arrange
from vlm.reading.record import Block, Box, Line

MAX_CHARACTERS = 100_000  # of a page; a newspaper's has 30,000
MAX_OBJECTS = 50_000  # of a page that are looked at for images

_COVERED = 0.7  # share of the page an image covers to be a scan; the rest is margin
_SCAN_DPI = 50.0  # below, an image is a background: letters of a scan would be 7 pixels high
_STAMP = 0.02  # share of the page; text on less is no page of text
_GARBLED = 0.1  # shares of the characters: some bullets and formulas are private use characters,
_OUTSIDE = 0.2  # some printer's marks lie beyond the crop box,
_UNSEEN = 0.05  # and hidden words may be there for a search engine or a model to find
_CONTRAST = 12  # of 255; ink that differs less from its ground is not seen

_NOT_DRAWN = (3, 7)  # text render modes: invisible, and clip only (ISO 32000-1, table 106)
_HYPHENS = ("\x02", "\xad")  # pdfium's own sign for a hyphen at a line's end; the soft hyphen
_MISSING = "\ufffd"


@dataclass(frozen=True)
class TextLayer:
    """The page's own text.

    Attributes:
        blocks: in reading order, boxes in pixels of the rendered page, confidence 1; what can't be seen
            is left out.
        sound: the text can be used in place of reading the image.
        why: why it is not sound, in one line; empty if it is.
    """

    blocks: tuple[Block, ...]
    sound: bool
    why: str


@dataclass(frozen=True)
class PlacedImage:
    """An image on a page."""

    box: Place  # in points, cut to the page
    dpi: float  # its own pixels an inch at the size it is shown
    on_top: bool  # drawn after most of the page's text


@dataclass(frozen=True)
class Survey:
    """What a PDF page holds, in points of the upright page.

    Attributes:
        width: of the page.
        height: of the page.
        glyphs: characters that lie on the page and have a meaning.
        characters: how many the page has in all, white space left out.
        outside: of these, how many lie beyond the page's edges.
        garbled: how many have no meaning: no Unicode known, private use, control characters.
        hidden: how many are drawn without ink.
        images: those on the page.
        filled: form fields with a value and typed notes, which are drawn but are not in the text.
    """

    width: float
    height: float
    glyphs: tuple[Glyph, ...]
    characters: int
    outside: int
    garbled: int
    hidden: int
    images: tuple[PlacedImage, ...]
    filled: int

    @property
    def scan(self) -> PlacedImage | None:
        """The largest of the images, if together they cover most of the page finely enough for letters."""
        page = self.width * self.height
        scans = [image for image in self.images if image.dpi >= _SCAN_DPI]
        if not scans or sum(_area(image.box) for image in scans) < _COVERED * page:
            return None
        return max(scans, key=lambda image: _area(image.box))

    @property
    def body_size(self) -> float | None:
        """Median font size over the characters, in points; None without any."""
        sizes = sorted(glyph.size for glyph in self.glyphs if not glyph.text.isspace())
        return sizes[len(sizes) // 2] if sizes else None

    @property
    def distrust(self) -> str:
        """Why the text can't be trusted, as far as can be told before rendering; empty if it can."""
        count, scan = self.characters, self.scan
        ink = sum(_area(glyph.box) for glyph in self.glyphs)
        sideways = sum(not glyph.upright for glyph in self.glyphs)
        tests = (
            (not count, "the page has no text of its own"),
            (count > MAX_CHARACTERS, f"the page has more than {MAX_CHARACTERS:,} characters"),
            (
                self.garbled > _GARBLED * count,
                f"{self.garbled} of its {count} characters have no meaning in Unicode",
            ),
            (
                self.outside > _OUTSIDE * count,
                f"{self.outside} of its {count} characters lie outside of the page",
            ),
            (
                scan is not None and (self.hidden > count / 2 or scan.on_top),
                "its text lies hidden with a scan: an earlier OCR's reading, not the document's own text",
            ),
            (self.hidden > _UNSEEN * count, f"{self.hidden} of its {count} characters are invisible"),
            (
                scan is not None and ink < _STAMP * self.width * self.height,
                "an image covers the page, its text only a small part of it",
            ),
            (self.filled > 0, "its form fields or notes are filled in, and its text leaves them out"),
            (sideways > len(self.glyphs) / 2, "most of its text runs sideways"),
        )
        return next((why for failed, why in tests if failed), "")


def survey(page: Any, text_page: Any) -> Survey:
    """Look at a page.

    Args:
        page: a ``pypdfium2.PdfPage``.
        text_page: its ``PdfTextPage``.

    Raises:
        pypdfium2.PdfiumError: the page is damaged.
    """
    upright = _Upright(page)
    glyphs: list[Glyph] = []
    outside = garbled = hidden = characters = 0
    for glyph, drawn in islice(_glyphs(text_page, upright), MAX_CHARACTERS + 1):
        if glyph.text.isspace():
            glyphs.append(glyph)
            continue
        characters += 1
        hidden += not drawn
        if glyph.text == _MISSING:
            garbled += 1
        elif not _on_page(glyph.box, upright):
            outside += 1
        else:
            glyphs.append(glyph)
    return Survey(
        width=upright.width,
        height=upright.height,
        glyphs=tuple(glyphs),
        characters=characters,
        outside=outside,
        garbled=garbled,
        hidden=hidden,
        images=tuple(_images(page, upright)),
        filled=_filled(page),
    )


def text_layer(found: Survey, image: Image.Image) -> TextLayer:
    """The layer in pixels of the rendered page.

    Args:
        found: what the page holds.
        image: the page as it was rendered, RGB.
    """
    if not found.characters:
        return TextLayer((), sound=False, why=found.distrust)
    scale = image.width / found.width, image.height / found.height
    grey = image.convert("L")
    seen = [glyph for glyph in found.glyphs if glyph.text.isspace() or _is_seen(glyph, grey, scale)]
    unseen = len(found.glyphs) - len(seen)
    blocks = tuple(
        Block(tuple(Line(line.text, _pixels(line.box, scale, image.size), 1.0) for line in lines))
        for lines in arrange(seen)
    )
    why = found.distrust
    if not why and unseen > _UNSEEN * found.characters:
        why = f"{unseen} of its {found.characters} characters can't be seen on the page"
    return TextLayer(blocks, sound=not why, why=why)


def _is_seen(glyph: Glyph, grey: Image.Image, scale: tuple[float, float]) -> bool:
    """Whether the rendered page is anything but even where a character should be."""
    left, top, right, bottom = _pixels(glyph.box, scale, grey.size)
    # A pixel more around it: some letters fill their box. Beyond the edge, a crop is black.
    around = max(0, left - 1), max(0, top - 1), min(grey.width, right + 1), min(grey.height, bottom + 1)
    low, high = cast(tuple[int, int], grey.crop(around).getextrema())
    return high - low >= _CONTRAST


def _pixels(place: Place, scale: tuple[float, float], size: tuple[int, int]) -> Box:
    """A place in whole pixels, at least one, within the image."""
    left, top, right, bottom = place
    left, top = min(int(left * scale[0]), size[0] - 1), min(int(top * scale[1]), size[1] - 1)
    right, bottom = math.ceil(right * scale[0]), math.ceil(bottom * scale[1])
    left, top = max(0, left), max(0, top)
    return left, top, min(max(right, left + 1), size[0]), min(max(bottom, top + 1), size[1])


def _area(place: Place) -> float:
    return max(0.0, place[2] - place[0]) * max(0.0, place[3] - place[1])


class _Upright:
    """PDF coordinates (y upwards, before /Rotate, from the crop box) -> points of the upright page."""

    def __init__(self, page: Any) -> None:
        self._left, self._bottom, self._right, self._top = page.get_bbox()
        self._rotation = page.get_rotation()
        self.width, self.height = page.get_size()

    def point(self, x: float, y: float) -> tuple[float, float]:
        if self._rotation == 90:
            return y - self._bottom, x - self._left
        if self._rotation == 180:
            return self._right - x, y - self._bottom
        if self._rotation == 270:
            return self._top - y, self._right - x
        return x - self._left, self._top - y

    def place(self, left: float, bottom: float, right: float, top: float) -> Place:
        (x0, y0), (x1, y1) = self.point(left, bottom), self.point(right, top)
        return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)

    def level(self, x: float, y: float) -> bool:
        """A direction that is from left to right on the page, give or take 10 degrees."""
        (x0, y0), (x1, y1) = self.point(0, 0), self.point(x, y)
        return x1 > x0 and abs(y1 - y0) <= 0.18 * (x1 - x0)


def _on_page(box: Place, upright: _Upright) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return 0 <= x <= upright.width and 0 <= y <= upright.height


def _glyphs(text_page: Any, upright: _Upright) -> Iterator[tuple[Glyph, bool]]:
    """Characters with whether they are drawn; those without a meaning as U+FFFD."""
    from pypdfium2 import raw

    drawn: dict[int, bool] = {}  # by text object
    matrix = raw.FS_MATRIX()
    x, y = ctypes.c_double(), ctypes.c_double()
    for index in range(text_page.count_chars()):
        code = raw.FPDFText_GetUnicode(text_page, index)
        if code in (10, 13):  # pdfium's guess of where lines end; places tell better
            continue
        left, bottom, right, top = text_page.get_charbox(index)
        if not raw.FPDFText_GetCharOrigin(text_page, index, x, y):
            continue
        matrix.a, matrix.b, matrix.c, matrix.d = 1.0, 0.0, 0.0, 1.0
        raw.FPDFText_GetMatrix(text_page, index, matrix)
        numbers = (left, bottom, right, top, x.value, y.value, matrix.a, matrix.b, matrix.c, matrix.d)
        if not all(map(math.isfinite, numbers)):
            continue
        known = raw.FPDFText_HasUnicodeMapError(text_page, index) != 1
        handle = raw.FPDFText_GetTextObject(text_page, index)
        address = ctypes.cast(handle, ctypes.c_void_p).value or 0
        if address not in drawn:
            drawn[address] = not address or raw.FPDFTextObj_GetTextRenderMode(handle) not in _NOT_DRAWN
        glyph = Glyph(
            text=_character(code) if known else _MISSING,
            box=upright.place(left, bottom, right, top),
            baseline=upright.point(x.value, y.value)[1],
            size=raw.FPDFText_GetFontSize(text_page, index) * math.hypot(matrix.c, matrix.d),
            upright=upright.level(matrix.a, matrix.b),
        )
        yield glyph, drawn[address]


def _character(code: int) -> str:
    """The character of a code point, U+FFFD where it has none of its own."""
    if not 0 < code <= 0x10FFFF:
        return _MISSING
    character = chr(code)
    if character in _HYPHENS:
        return "-"
    if character.isspace():
        return " "
    if "\ufb00" <= character <= "\ufb06":  # ff, fi, fl...: letters tied by the typesetter
        return unicodedata.normalize("NFKC", character)
    return _MISSING if unicodedata.category(character) in ("Cc", "Cn", "Co", "Cs") else character


def _images(page: Any, upright: _Upright) -> Iterator[PlacedImage]:
    from pypdfium2 import raw

    found: list[tuple[Place, float, int]] = []
    texts = 0
    for item in islice(page.get_objects(max_depth=5), MAX_OBJECTS):
        if item.type == raw.FPDF_PAGEOBJ_TEXT:
            texts += 1
        elif item.type == raw.FPDF_PAGEOBJ_IMAGE:
            placed = _placed(item, upright)
            if placed is not None:
                found.append((*placed, texts))
    for box, dpi, before in found:
        yield PlacedImage(box, dpi, on_top=before > texts / 2)


def _placed(item: Any, upright: _Upright) -> tuple[Place, float] | None:
    """Box and resolution of an image; None if it shows nothing."""
    across, down = item.get_px_size()
    matrix = item.get_matrix()  # an image is a unit square, put in its place
    form = item.container
    while form is not None:
        matrix = matrix.multiply(form.get_matrix())
        form = form.container
    wide, high = math.hypot(matrix.a, matrix.b), math.hypot(matrix.c, matrix.d)
    if not (math.isfinite(wide) and math.isfinite(high) and wide > 0 and high > 0):
        return None
    left, top, right, bottom = upright.place(*matrix.on_rect(0, 0, 1, 1))
    box = max(0.0, left), max(0.0, top), min(upright.width, right), min(upright.height, bottom)
    return (box, 72 * max(across / wide, down / high)) if _area(box) > 0 else None


def _filled(page: Any) -> int:
    """Form fields with a text in them, and free text notes."""
    from pypdfium2 import raw

    typed = (raw.FPDF_FORMFIELD_TEXTFIELD, raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX)
    count = 0
    for index in range(min(raw.FPDFPage_GetAnnotCount(page), MAX_OBJECTS)):
        note = raw.FPDFPage_GetAnnot(page, index)
        if not note:
            continue
        kind = raw.FPDFAnnot_GetSubtype(note)
        if kind == raw.FPDF_ANNOT_FREETEXT:
            count += 1
        elif kind == raw.FPDF_ANNOT_WIDGET and page.formenv:
            field = raw.FPDFAnnot_GetFormFieldType(page.formenv, note)
            value = raw.FPDFAnnot_GetFormFieldValue(page.formenv, note, None, 0)  # bytes, with a NUL of two
            count += field in typed and value > 2
        raw.FPDFPage_CloseAnnot(note)
    return count
