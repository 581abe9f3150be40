"""PDF pages to images and their own text, through pypdfium2.

PDFium may not be entered by two threads at once, whatever the documents, so all of it happens under
one lock. A document is opened for each page and closed again: parsing it costs milliseconds where
reading a page costs seconds, and what PDFium keeps of pages gone by can't pile up.

The resolution a page is rendered at, unless the user gives one:

- *Its text says how large it is written.* Body text (the median font size) becomes 20 pixels high:
  letters half as high are still told apart, larger ones only cost more windows. Kept to 72..400 dpi.
- *A scan has a resolution of its own*: more would invent pixels, less would lose some. At most 400 dpi.
- *Neither* (text drawn as curves, a drawing): 150 dpi, where 10 point text is 21 pixels high.
- A page that is not a scan has at least the encoder's input on its longer side: the encoder would
  stretch it to that anyway, and letters drawn larger are sharper than letters stretched.
- No page has more pixels than ``pan_and_scan.MAX_PIXELS``.

UserUnit, with which a page may count in other units than points, is not told by PDFium and not obeyed.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from PIL import Image

from pan_and_scan import MAX_PIXELS
from vlm.errors import ImageError, UsageError
from vlm.reading.textlayer import Survey, TextLayer, survey, text_layer

BODY_PIXELS = 20.0
LOWEST_DPI, USUAL_DPI, HIGHEST_DPI = 72.0, 150.0, 400.0

PDFIUM = threading.RLock()  # whoever else calls PDFium takes this one
_DAMAGED = "copy or download it again, or save it anew from a viewer that shows it"


@dataclass(frozen=True)
class Rendering:
    """How to open PDFs."""

    password: str = ""
    dpi: float | None = None  # None: chosen for each page
    window_size: int = 896  # side of the encoder's input in pixels


class MissingPackage(UsageError):
    """A kind of file that needs a package which is not installed."""


def need_pdf() -> None:
    """Check that PDFs can be read here.

    Raises:
        MissingPackage: pypdfium2 is not installed.
    """
    try:
        import pypdfium2  # noqa: F401
    except ImportError:
        raise MissingPackage("reading a PDF needs pypdfium2: pip install 'vlm[pdf]'") from None


def count_pages(stream: BinaryIO, name: str, rendering: Rendering) -> int:
    """How many pages a PDF says it has.

    Raises:
        UsageError: it is encrypted and the password is missing or wrong.
        ImageError: it is damaged, or no PDF.
    """
    with _document(stream, name, rendering) as document:
        return len(document)


def open_page(
    stream: BinaryIO, name: str, number: int, rendering: Rendering
) -> tuple[Image.Image, TextLayer, float]:
    """Render a page.

    Args:
        stream: the file.
        name: what messages call it.
        number: of the page, from 1.
        rendering: how.

    Returns:
        The page upright, RGB; its own text; the resolution it was rendered at.

    Raises:
        UsageError: as ``count_pages``, or more pixels than are allowed at the resolution asked for.
        ImageError: the file or this page is damaged.
    """
    import pypdfium2

    with _document(stream, name, rendering) as document:
        try:
            with closing(document[number - 1]) as page:
                with closing(page.get_textpage()) as text_page:
                    found = survey(page, text_page)
                dpi = choose_dpi(found, f"{name}, page {number}", rendering)
                with closing(page.render(scale=dpi / 72, rev_byteorder=True)) as bitmap:
                    image = bitmap.to_pil().convert("RGB")  # a copy: the bitmap's memory goes with it
        except (pypdfium2.PdfiumError, ValueError, MemoryError):
            raise ImageError(f"{name}: page {number} is damaged; {_DAMAGED}") from None
    return image, text_layer(found, image), dpi


@contextmanager
def _document(stream: BinaryIO, name: str, rendering: Rendering) -> Iterator[Any]:
    """An open document; the lock is held while it is."""
    import pypdfium2
    from pypdfium2 import raw

    with PDFIUM:
        try:
            document = pypdfium2.PdfDocument(stream, password=rendering.password or None)
        except pypdfium2.PdfiumError as error:
            code = error.err_code
            if code == raw.FPDF_ERR_PASSWORD and rendering.password:
                raise UsageError(f"{name}: the password is wrong") from None
            if code == raw.FPDF_ERR_PASSWORD:
                raise UsageError(f"{name}: is encrypted; give its password") from None
            if code == raw.FPDF_ERR_SECURITY:
                raise UsageError(f"{name}: is encrypted in a way that is not supported here") from None
            raise ImageError(f"{name}: is no PDF, or a damaged one; {_DAMAGED}") from None
        with closing(document):
            with suppress(pypdfium2.PdfiumError):
                document.init_forms()  # or what was typed into forms would not be drawn
            yield document


def choose_dpi(found: Survey, name: str, rendering: Rendering) -> float:
    """The resolution to render a page at; the module's text says why.

    Raises:
        UsageError: the page would have more pixels than are allowed at the resolution asked for.
        ImageError: the page has no area.
    """
    width, height = found.width / 72, found.height / 72  # inches
    if not (math.isfinite(width * height) and width * height > 0):
        raise ImageError(f"{name}: has no area; {_DAMAGED}")
    # (width * dpi + 1) * (height * dpi + 1) = MAX_PIXELS, as sides are rounded up
    half = (width + height) / (2 * width * height)
    most = math.sqrt(half**2 + (MAX_PIXELS - 1) / (width * height)) - half
    if rendering.dpi is not None:
        if rendering.dpi > most:
            raise UsageError(
                f"{name}: has more than {MAX_PIXELS:,} pixels at {rendering.dpi:g} dpi; "
                f"ask for {math.floor(most)} dpi or less"
            )
        return rendering.dpi
    size, scan = found.body_size, found.scan
    if scan is not None and (size is None or found.distrust):
        return min(scan.dpi, HIGHEST_DPI, most)
    dpi = USUAL_DPI if size is None else BODY_PIXELS * 72 / size if size > 0 else HIGHEST_DPI
    dpi = max(dpi, LOWEST_DPI, rendering.window_size / max(width, height))
    return min(dpi, HIGHEST_DPI, most)
