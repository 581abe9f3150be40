"""Files a person drops on the page -> pictures to ask about: images, and pages of PDFs and TIFFs.

A picture is a name, the place of its file and a thumbnail. The file stays where the upload put it and is
opened when a question is asked, so that a long document costs nothing until one of its pages is wanted.
What people are told names a file as they named it, never its place on the server.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from pan_and_scan import ImageError
from vlm.errors import UsageError
from vlm.reading.sources import SourceOptions, SourcePage, list_pages
from vlm.session import VLM

THUMB_SIDE = 256  # pixels; what a conversation keeps of an image in the browser
MOST_PICTURES = 8  # of one question
MOST_LOOKED_AT = 24  # pages of one question among which the model looks for the right one
SUFFIXES = ("image", ".pdf", ".tif", ".tiff", ".heic", ".heif", ".avif")  # what an upload may be
_PAGE_DPI = 32.0  # of thumbnails in the page picker


@dataclass(frozen=True)
class Picture:
    """An image, or a page of a document.

    Attributes:
        name: as people call it.
        path: of its file; empty if that is not held any more.
        page: of the file, from 1.
        thumb: a small WebP as a data URL.
    """

    name: str
    path: str
    page: int = 1
    thumb: str = ""

    def open(self) -> Image.Image:
        """The picture, upright, RGB.

        Raises:
            ImageError: the file is gone or can't be read.
        """
        if not self.path or not os.path.isfile(self.path):
            raise ImageError(f"{self.name}: is not held here any more; attach it again")
        [page] = pages_of(self.path, pages=str(self.page))
        return opened(page, self.path)


def opened(page: SourcePage, path: str) -> Image.Image:
    """A page's pixels.

    Raises:
        ImageError, UsageError: it can't be read; the message names the file without its folder.
    """
    try:
        return page.open().image
    except (ImageError, UsageError) as error:
        raise type(error)(spoken(str(error), path)) from None


def spoken(message: str, path: str) -> str:
    """A message without the folder of an upload."""
    return message.replace(str(Path(path).parent) + os.sep, "")


def pages_of(
    path: str, *, pages: str = "", password: str = "", dpi: float | None = None, window_size: int = 896
) -> list[SourcePage]:
    """The pages of an uploaded file, under the name it was uploaded by.

    Raises:
        UsageError: pages that are no pages; messages name the file without its folder.
    """
    options = SourceOptions(pages=pages, password=password, dpi=dpi, window_size=window_size)
    name = Path(path).name
    try:
        found = list(list_pages([path], options))
    except UsageError as error:
        raise UsageError(spoken(str(error), path)) from None
    return [
        replace(page, file=name, source=replace(page.source, name=name), problem=spoken(page.problem, path))
        for page in found
    ]


def many_paged(paths: Sequence[str]) -> list[str]:
    """The files that have more than one page."""
    return [path for path in paths if len(pages_of(path)) > 1]


def page_thumbs(path: str, first: int, count: int) -> list[tuple[Image.Image, str]]:
    """Small pictures of some pages, each with its number; a damaged page is left grey.

    Args:
        path: of the file.
        first: page to begin with, from 1.
        count: pages at most.
    """
    pages = [p for p in pages_of(path, dpi=_PAGE_DPI, window_size=1) if p.number >= first][:count]
    thumbs: list[tuple[Image.Image, str]] = []
    for page in pages:
        try:
            image = opened(page, path)
        except (ImageError, UsageError):
            image = Image.new("RGB", (180, 255), (190, 190, 190))
        image.thumbnail((THUMB_SIDE, THUMB_SIDE))
        thumbs.append((image, str(page.number)))
    return thumbs


def picture(path: str, page: int, name: str) -> Picture:
    """A picture with its thumbnail.

    Raises:
        ImageError: it can't be read.
    """
    bare = Picture(name, path, page)
    return replace(bare, thumb=thumb_of(bare.open()))


def thumb_of(image: Image.Image) -> str:
    """A small WebP as a data URL."""
    small = image.copy()
    small.thumbnail((THUMB_SIDE, THUMB_SIDE))
    held = io.BytesIO()
    small.save(held, "WEBP", quality=70)
    return "data:image/webp;base64," + base64.b64encode(held.getvalue()).decode("ascii")


def pictures_of(
    vlm: VLM, paths: Sequence[str], pages: str, question: str, tell: Callable[[str], None]
) -> tuple[Picture, ...]:
    """The pictures that a question with these files is about.

    Of a document all pages that were named are taken; where none were, the one that a first look finds the
    answer on.

    Args:
        vlm: takes the first look.
        paths: of the files.
        pages: of documents, as in "1-3,7"; empty: find the page.
        question: that is asked.
        tell: told what goes on.

    Raises:
        ImageError, UsageError: a file that can't be read, pages there are none of, or too many pictures.
    """
    taken: list[Picture] = []
    for path in paths:
        listed = pages_of(path)
        if len(listed) > 1:
            chosen = _named(path, pages) if pages.strip() else [_best(vlm, path, question, tell)]
            names = [f"{page.file}, page {page.number}" for page in chosen]
        else:
            chosen, names = listed, [listed[0].file]
        if len(taken) + len(chosen) > MOST_PICTURES:
            raise UsageError(f"a question takes {MOST_PICTURES} images or pages; choose fewer")
        for page, name in zip(chosen, names, strict=True):
            if page.problem:
                raise UsageError(page.problem)
            taken.append(picture(path, page.number, name))
    return tuple(taken)


def _named(path: str, pages: str) -> list[SourcePage]:
    found = pages_of(path, pages=pages)
    if len(found) > MOST_PICTURES:
        raise UsageError(f"a question takes {MOST_PICTURES} images or pages; choose fewer")
    return found


def _best(vlm: VLM, path: str, question: str, tell: Callable[[str], None]) -> SourcePage:
    from vlm.reading.choose import rank

    pages = pages_of(path, window_size=vlm.engine.window_size)
    if len(pages) > MOST_LOOKED_AT:
        raise UsageError(
            f"{pages[0].file}: has {len(pages)} pages, and the right one is looked for among "
            f"{MOST_LOOKED_AT} at most; name some pages"
        )
    tell(f"Looking for the page among {len(pages)} …")
    return rank(vlm, pages, question, lambda done: tell(f"Looking for the page: {done} of {len(pages)} …"))[
        0
    ].page
