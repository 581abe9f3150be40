"""Images of a request: data URLs are decoded here, addresses are fetched by ``remote``.

Nothing that came over the wire is trusted: base64 is checked strictly, sizes are bounded before anything
is decoded, and ``pan_and_scan.load_image`` judges the pixels by the file's header before it reads them.
What the URL says of the type is ignored; the bytes tell it.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from PIL import Image

from pan_and_scan import load_image
from vlm.errors import ImageError
from vlm.server.errors import ApiError
from vlm.server.limits import Limits

_DATA = "data:"
_SHOWN_TYPES = ("image/", "application/octet-stream")


@dataclass(frozen=True)
class ImageRef:
    """An image of a request, not opened yet."""

    url: str
    param: str  # where in the request it stands

    @property
    def remote(self) -> bool:
        """Whether it has to be fetched."""
        return self.url[: len(_DATA)].lower() != _DATA


def check_count(refs: Sequence[ImageRef], limits: Limits) -> None:
    """Refuse more images than allowed."""
    if len(refs) > limits.images:
        raise ApiError(
            400,
            f"{len(refs)} images; at most {limits.images} are looked at in one request",
            "too_many_images",
            refs[limits.images].param,
        )


def check_size(size: int, ref: ImageRef, limits: Limits) -> None:
    """Refuse a file larger than allowed."""
    if size > limits.image_bytes:
        raise _refused(ref, f"the image is larger than {limits.image_bytes} bytes", "image_too_large")


def data_of(ref: ImageRef, limits: Limits) -> bytes:
    """The bytes in a data URL.

    Raises:
        ApiError: not ``data:image/...;base64,...``, or too large.
    """
    head, comma, payload = ref.url.partition(",")
    kind, *marks = head[len(_DATA) :].lower().split(";")
    if not comma or "base64" not in (mark.strip() for mark in marks):
        raise _refused(ref, "not of the form data:image/png;base64,...", "invalid_image_url")
    if kind and not kind.strip().startswith(_SHOWN_TYPES):
        raise _refused(ref, "no image by its type; send PNG or JPEG", "invalid_image_url")
    # Four letters are three bytes, and letters may be escaped, each as three.
    check_size(len(payload) // 4, ref, limits)
    try:
        data = base64.b64decode(b"".join(_unescaped(payload).split()), validate=True)
    except (binascii.Error, ValueError):
        raise _refused(ref, "not valid base64", "invalid_image_url") from None
    check_size(len(data), ref, limits)
    return data


def pixels_of(files: Iterable[bytes]) -> int:
    """How many pixels images have by their headers; none of those that ``opened`` will refuse to open."""
    pixels = 0
    for data in files:
        with suppress(Exception), Image.open(io.BytesIO(data)) as image:
            pixels += image.width * image.height
    return pixels


def opened(data: bytes, ref: ImageRef, most: int) -> Image.Image:
    """The picture in the bytes: upright RGB.

    Args:
        data: of a file.
        ref: names it in an error.
        most: pixels it may have.

    Raises:
        ApiError: empty, damaged, unknown or too large.
    """
    try:
        return load_image(data, max_pixels=most)
    except ImageError as error:
        raise _refused(ref, str(error).replace("the given bytes", "the image", 1), "invalid_image") from None


def _unescaped(payload: str) -> bytes:
    try:
        return unquote_to_bytes(payload) if "%" in payload else payload.encode("ascii")
    except UnicodeEncodeError:
        raise ValueError("letters beyond ASCII") from None


def _refused(ref: ImageRef, why: str, code: str) -> ApiError:
    return ApiError(400, f"{ref.param}: {why}", code, ref.param)
