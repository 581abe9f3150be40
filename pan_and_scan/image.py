"""Anything a user calls an image -> the upright RGB picture a person sees.

What the model sees must be what a person sees: a sideways photo, a transparent background or a
16-bit scan that only the viewer interprets is an error nobody notices (GHSA-8jr5-v98p-w75m). So
EXIF orientation is applied here, once, and taken out of the result; transparency lies on white;
16-bit levels are scaled, not clipped.

Files are hostile until decoded: only formats decoded by a library in this process are opened
(never EPS, which starts ghostscript), the size is judged by the header before a pixel is decoded,
and no text of Pillow's reaches a message, because it can hold object addresses (CVE-2026-22778).
"""

from __future__ import annotations

import io
import math
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from PIL import Image, ImageChops, UnidentifiedImageError

MAX_PIXELS = 80_000_000  # below the 89.5 million at which Pillow itself warns (Image.MAX_IMAGE_PIXELS)
MAX_STREAM_BYTES = 1 << 29  # read from a pipe, which has no size to ask for
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")  # Pillow's names; JPEG brings MPO
_READABLE = "PNG, JPEG, WebP, GIF, BMP, TIFF, PPM and AVIF"

_ORIENTATION = 0x0112  # EXIF 2.32, tag Orientation
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_GREY16 = ("I;16", "I;16B", "I;16L", "I;16N")

_filters = threading.Lock()  # warnings.catch_warnings swaps a global list


class ImageError(Exception):
    """An image that can't be used: the message names it and says what to do about it."""


ImageSource = str | os.PathLike[str] | bytes | BinaryIO | Image.Image


def load_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read an image as a person sees it.

    Args:
        source: A path, the bytes of a file, a binary file object (read from its start, left open) or
            a PIL image (left as it is; the frame it stands on is taken).
        max_pixels: Width times height allowed; where Pillow's own limit is lower, that one counts.

    Returns:
        A new image, mode RGB, upright, without metadata. The first frame of an animation.

    Raises:
        ImageError: missing, unreadable, empty, unknown, damaged or too large.
        TypeError: ``source`` is none of the above.
        ValueError: ``max_pixels`` is below 1.
    """
    if max_pixels < 1:
        raise ValueError(f"max_pixels must be at least 1, not {max_pixels}")
    name = _name(source)
    max_pixels = min(max_pixels, Image.MAX_IMAGE_PIXELS or max_pixels)
    if isinstance(source, Image.Image):
        return _decoded(source, name, max_pixels)
    with _stream(source, name) as stream:
        return _decoded(_header(stream, name, max_pixels), name, max_pixels)


def _name(source: object) -> str:
    """What a message calls the source; printable, so that no file name can drive a terminal."""
    if isinstance(source, Image.Image):
        name = getattr(source, "filename", "") or "the given image"
    elif isinstance(source, bytes | bytearray | memoryview):
        name = "the given bytes"
    elif isinstance(source, str | os.PathLike):
        name = os.fspath(source) or "'' (an empty path)"
    elif hasattr(source, "read"):
        name = getattr(source, "name", "")
        name = name if isinstance(name, str) and name else "the given bytes"  # a descriptor has a number
    else:
        raise TypeError(
            f"an image is a path, bytes, a binary file object or a PIL image, not {type(source).__name__}"
        )
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in os.fsdecode(name))


@contextmanager
def _stream(source: object, name: str) -> Iterator[BinaryIO]:
    """A seekable stream at its start that holds at least one byte; closed only if opened here."""
    if isinstance(source, bytes | bytearray | memoryview):
        yield _started(io.BytesIO(source), name)
    elif isinstance(source, str | os.PathLike):
        try:
            file = open(source, "rb")  # noqa: SIM115 - closed below; only opening has these errors
        except (OSError, ValueError) as error:
            raise ImageError(f"{name}: {_why_not_opened(error)}") from None
        with file:
            yield _started(file, name)
    elif isinstance(source, io.TextIOBase):
        raise ImageError(f"{name}: is opened as text; open it in binary mode ('rb')")
    else:
        yield _started(cast(BinaryIO, source), name)


def _why_not_opened(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file; check the path"
    if isinstance(error, IsADirectoryError):
        return "is a directory; name the image files in it"
    if isinstance(error, PermissionError):
        return "may not be read; check its permissions"
    reason = (error.strerror if isinstance(error, OSError) else None) or "not a valid path"
    return f"can't be opened ({reason}); check the path"


def _started(stream: BinaryIO, name: str) -> BinaryIO:
    try:
        if not stream.seekable():
            held = stream.read(MAX_STREAM_BYTES + 1)
            if len(held) > MAX_STREAM_BYTES:
                raise ImageError(f"{name}: holds more than {MAX_STREAM_BYTES >> 20} MB; save a smaller image")
            stream = io.BytesIO(held)
        stream.seek(0)
        empty = not stream.read(1)
        stream.seek(0)
    except (OSError, ValueError):  # ValueError: closed before it came here
        raise ImageError(f"{name}: can't be read; open it again, or give its path") from None
    if empty:
        raise ImageError(f"{name}: is empty; copy or download it again")
    return stream


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow's remarks on size (judged here anyway) and odd metadata dropped; never held while decoding."""
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _header(stream: BinaryIO, name: str, max_pixels: int) -> Image.Image:
    """Format and size; no pixel is decoded yet."""
    try:
        with _quiet():
            return Image.open(stream, formats=FORMATS)
    except Image.DecompressionBombError:  # from twice Pillow's limit on
        raise ImageError(f"{name}: {_too_large(max_pixels)}") from None
    except UnidentifiedImageError:
        raise ImageError(
            f"{name}: is not an image that can be read here; save it as PNG or JPEG ({_READABLE} are read)"
        ) from None
    except Exception:  # Pillow's plugins raise anything on a broken header: struct, zlib, Index, Value...
        raise ImageError(f"{name}: {_DAMAGED}") from None


_DAMAGED = "is cut off or damaged; copy or download it again, or save it anew from a viewer that shows it"


def _too_large(max_pixels: int) -> str:
    return f"has more pixels than the {max_pixels:,} allowed; scale it down or cut it into pages first"


def _decoded(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: has no pixels ({width}x{height}); choose another image")
    if width * height > max_pixels:
        raise ImageError(f"{name}: {width}x{height} {_too_large(max_pixels)}")
    raw_mode = _raw_mode(image)
    try:
        image.load()
    except MemoryError:
        raise ImageError(f"{name}: {width}x{height} pixels don't fit in memory; scale it down") from None
    except Exception:  # as for the header: the exceptions of decoders are no closed set
        raise ImageError(f"{name}: {_DAMAGED}") from None
    try:
        rgb = _on_white(image, raw_mode)
    except ValueError:  # samples that are no numbers, modes Pillow has no conversion for
        raise ImageError(f"{name}: its colours ({image.mode}) can't be read; save it as RGB") from None
    turn = _UPRIGHT.get(_orientation(image))
    rgb = rgb.transpose(turn) if turn is not None else rgb
    rgb.info.clear()  # or the EXIF would be obeyed a second time by whoever comes next
    return rgb


def _raw_mode(image: Image.Image) -> str:
    """How the file packs its samples ("L;4", "RGB;16B"); known until the pixels are decoded."""
    tiles = getattr(image, "tile", None)
    args = tiles[0].args if tiles else None
    return args if isinstance(args, str) else ""


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1-8; asked after decoding, as TIFF turns itself and PNG may keep EXIF at its end."""
    try:
        with _quiet():
            value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken metadata: a viewer shows the picture as it is stored
        return 1
    return value if isinstance(value, int) else 1


def _on_white(image: Image.Image, raw_mode: str) -> Image.Image:
    """A new RGB image, whatever is transparent laid on white."""
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("RGBA", "RGBa", "LA", "PA") or (image.mode == "P" and image.has_transparency_data):
        rgba = image.convert("RGBA")
        return _flattened(rgba.convert("RGB"), rgba.getchannel("A"))
    rgb = _opaque(image)
    mask = _keyed_mask(image, raw_mode)
    return rgb if mask is None else _flattened(rgb, mask)


def _flattened(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    white = Image.new("RGB", rgb.size, "white")
    white.paste(rgb, mask=alpha)
    return white


def _keyed_mask(image: Image.Image, raw_mode: str) -> Image.Image | None:
    """Alpha of a PNG that declares one grey level or colour transparent (tRNS); None without one.

    Pillow 12 keeps the file's number while it widens 2- and 4-bit samples and narrows 16-bit colour,
    so its own conversion misses the pixels meant (PNG specification, section 11.3.2.1).
    """
    key = image.info.get("transparency")
    if isinstance(key, int) and image.mode in ("1", "L"):
        if image.mode == "1":
            key = 255 if key else 0
        elif raw_mode in ("L;2", "L;4"):
            key = key * 255 // ((1 << int(raw_mode[2:])) - 1)
        return image.convert("L").point([0 if level == key else 255 for level in range(256)])
    if isinstance(key, int) and image.mode in _GREY16:
        return image.convert("I").point([0 if level == key else 255 for level in range(65536)], "L")
    if isinstance(key, tuple) and image.mode == "RGB":
        key = tuple(level >> 8 for level in key) if raw_mode.startswith("RGB;16") else key
        masks = [
            band.point([0 if level == wanted else 255 for level in range(256)])
            for band, wanted in zip(image.split(), key, strict=True)
        ]
        return ImageChops.lighter(ImageChops.lighter(masks[0], masks[1]), masks[2])
    return None


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode in _GREY16:
        return _levels(image.convert("I"), 0, 65535)
    if image.mode in ("I", "F"):
        low, high = cast(tuple[float, float], image.getextrema())
        return _levels(image, *_range(image.mode, low, high))
    return image.convert("RGB")


def _range(mode: str, low: float, high: float) -> tuple[float, float]:
    """Black and white of samples whose file doesn't say: the smallest usual range that holds them."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("samples are not finite")
    for white in (1, 255, 65535) if mode == "F" else (255, 65535):
        if low >= 0 and high <= white:
            return 0, white
    return low, max(high, low + 1)  # an even image has no range of its own


def _levels(image: Image.Image, black: float, white: float) -> Image.Image:
    """Modes I and F to 8 bits: black -> 0, white -> 255, rounded (Pillow's convert would clip)."""
    scale = 255 / (white - black)
    offset = 0.5 - black * scale  # the conversion to L cuts off
    return image.convert("F").point(lambda level: level * scale + offset).convert("L").convert("RGB")
