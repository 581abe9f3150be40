"""One file of pages: what it is, how many pages it has, and how to open one of them.

Images go through ``pan_and_scan.load_image``, whose rules for hostile files hold here too: judged by
the header before a pixel is decoded, and no text of a library's in a message.
"""

from __future__ import annotations

import hashlib
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO, Literal, cast

from PIL import Image

from pan_and_scan import MAX_PIXELS, load_image
from vlm.errors import ImageError, printable
from vlm.reading.pdf import MissingPackage, Rendering, count_pages, need_pdf, open_page
from vlm.reading.textlayer import TextLayer

Kind = Literal["pdf", "tiff", "heic", "image"]
Opened = tuple[Image.Image, TextLayer | None, float | None]

_HEAD = 1024  # bytes within which a PDF's header may begin (ISO 32000-1, annex H.3.4.1)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # ISO 23008-12, annex B
_OTHERS = (b"\x89PNG", b"\xff\xd8", b"GIF8", b"RIFF", b"BM")  # images that may hold "%PDF-" by chance
_TOO_LARGE = f"has more pixels than the {MAX_PIXELS:,} allowed; scale it down or cut it into pages first"
_DAMAGED = "is cut off or damaged; copy or download it again, or save it anew from a viewer that shows it"

_filters = threading.Lock()  # warnings.catch_warnings swaps a global list


@dataclass(frozen=True)
class SourceFile:
    """A file, or bytes that came through a pipe.

    Attributes:
        name: what the user or the folder calls it.
        path: where it is; None for bytes.
        held: the bytes; None for a file.
    """

    name: str
    path: str | None = None
    held: bytes | None = None

    @cached_property
    def sha256(self) -> str:
        """Of its bytes, in hex; empty if they can't be read."""
        try:
            with self._stream() as stream:
                return hashlib.file_digest(cast(Any, stream), "sha256").hexdigest()
        except (ImageError, OSError):
            return ""

    def count(self, rendering: Rendering, most: int) -> int:
        """Pages it has; of a TIFF no more than ``most`` + 1 are counted.

        Raises:
            MissingPackage: of this kind, nothing can be read here.
            UsageError: a password is missing or wrong.
            ImageError: it can't be read.
        """
        with self._stream() as stream:
            kind = self._kind(stream)
            if kind == "pdf":
                need_pdf()
                return count_pages(stream, self._shown, rendering)
            if kind == "heic":
                _need_heif()
            return self._count_frames(stream, most) if kind == "tiff" else 1

    def open(self, number: int, rendering: Rendering) -> Opened:
        """Decode a page.

        Args:
            number: of the page, from 1.
            rendering: how to open a PDF.

        Returns:
            The page upright, RGB; its own text and its resolution, if it is a PDF's.

        Raises:
            UsageError: as ``count``.
            ImageError: it is damaged, too large or of no known kind.
        """
        with self._stream() as stream:
            kind = self._kind(stream)
            if kind == "pdf":
                need_pdf()
                return open_page(stream, self._shown, number, rendering)
            if kind == "heic":
                return self._heic(stream), None, None
            return self._frame(stream, number) if kind == "tiff" else load_image(stream), None, None

    @property
    def _shown(self) -> str:
        return "standard input" if self.name == "-" else printable(self.name)

    @contextmanager
    def _stream(self) -> Iterator[BinaryIO]:
        if self.path is None:
            held = io.BytesIO(self.held or b"")
            held.name = self._shown  # what load_image calls it
            yield held
            return
        try:
            file = open(self.path, "rb")  # noqa: SIM115 - closed below; only opening has these errors
        except FileNotFoundError:
            raise ImageError(f"{self._shown}: is not there any more") from None
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or "not a valid path"
            raise ImageError(f"{self._shown}: can't be opened ({reason})") from None
        with file:
            try:
                yield file
            except OSError as error:
                raise ImageError(
                    f"{self._shown}: can't be read ({error.strerror or 'no reason given'})"
                ) from None

    def _kind(self, stream: BinaryIO) -> Kind:
        head = stream.read(_HEAD)
        stream.seek(0)
        if head.startswith(_TIFF):
            return "tiff"
        if head[4:8] == b"ftyp" and head[8:12] in _HEIC and b"avif" not in head[:64]:
            return "heic"
        if head.startswith(b"%PDF-") or (head and self.name.lower().endswith(".pdf")):
            return "pdf"
        return "pdf" if b"%PDF-" in head and not head.startswith(_OTHERS) else "image"

    def _count_frames(self, stream: BinaryIO, most: int) -> int:
        """Directories of a TIFF; one that can't be read counts, and ends the chain."""
        with _quiet():
            try:
                image = Image.open(stream, formats=("TIFF",))
            except Exception:  # Pillow's plugins raise anything on a broken header
                raise ImageError(f"{self._shown}: {_DAMAGED}") from None
            for index in range(1, most + 1):
                try:
                    image.seek(index)
                except EOFError:
                    return index
                except Exception:
                    return index + 1
        return most + 1

    def _frame(self, stream: BinaryIO, number: int) -> Image.Image:
        name = f"{self._shown}, page {number}"
        try:
            with _quiet():
                image = Image.open(stream, formats=("TIFF",))
                image.seek(number - 1)
        except Image.DecompressionBombError:
            raise ImageError(f"{name}: {_TOO_LARGE}") from None
        except Exception:
            raise ImageError(f"{name}: {_DAMAGED}") from None
        image.filename = name
        return load_image(image)

    def _heic(self, stream: BinaryIO) -> Image.Image:
        _need_heif()
        import pillow_heif

        try:
            heif = pillow_heif.open_heif(stream)
            if heif.size[0] * heif.size[1] > MAX_PIXELS:
                raise ImageError(f"{self._shown}: {_TOO_LARGE}")
            image = heif.to_pillow()  # upright, and its EXIF says so
        except (ValueError, RuntimeError, OSError, EOFError, SyntaxError, MemoryError):
            raise ImageError(f"{self._shown}: {_DAMAGED}") from None
        image.filename = self._shown  # type: ignore[attr-defined]
        return load_image(image)


def _need_heif() -> None:
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        raise MissingPackage("reading HEIC needs pillow-heif: pip install 'vlm[heic]'") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow's remarks on size (judged by ``load_image``) and odd metadata dropped."""
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
