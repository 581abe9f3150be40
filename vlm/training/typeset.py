"""Pages laid out by Typst, with the place of every character taken from the finished PDF.

Typst breaks lines and places blocks; pypdfium2 draws the page and says what was set where. What it
says must equal, character by character, what the draft put there: a page where it does not (a glyph
the font lacks, a block set in another order) is thrown away, so the truth stays exact.
"""

from __future__ import annotations

import functools
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pypdfium2 as pdfium
import typst
from PIL import Image

from vlm.training.draft import Draft, Template, Told, quoted, rgb
from vlm.training.fonts import FONT_ROOTS, Split, find_fonts
from vlm.training.page import Color, Fact, Glyph, Page
from vlm.training.text import TextSampler


@dataclass(frozen=True)
class Sheet:
    """What a page is set on. Lengths in pixels of the finished image."""

    width: int
    height: int | None  # None: as long as its content
    em: float  # size of the body text
    ground: Color
    ink: Color
    margin: float


@dataclass(frozen=True)
class _Face:
    family: str
    style: str
    weight: int


@functools.cache
def _fonts() -> typst.Fonts:
    roots = [str(root) for root in FONT_ROOTS if root.is_dir()]
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=roots)


@functools.cache
def _faces(split: Split) -> tuple[tuple[_Face, ...], ...]:
    """Faces of a split, grouped by family, so that large families are not drawn more often."""
    wanted = set(find_fonts(split))
    families: dict[str, set[_Face]] = defaultdict(set)
    for font in _fonts().fonts():
        if font.path is not None and Path(font.path) in wanted:
            families[font.family].add(_Face(font.family, font.style.lower(), font.weight))
    return tuple(tuple(sorted(faces, key=_face_order)) for _, faces in sorted(families.items()))


def _face_order(face: _Face) -> tuple[str, str, int]:
    """Order of faces, so that a seed means the same on one machine."""
    return face.family, face.style, face.weight


class Typesetter:
    """Sets drafts in the fonts of one split."""

    def __init__(self, split: Split, rng: random.Random) -> None:
        self.rng = rng
        self.text = TextSampler(split, rng)
        self.families = _faces(split)
        self.compiler = typst.Compiler(font_paths=_fonts())

    def page(self, template: Template, sheet: Sheet) -> Page | None:
        """Set one page by a template.

        Returns:
            The page, or None where what was set is not what was put.
        """
        columns = (sheet.width - 2 * sheet.margin) / sheet.em
        room = sheet.height if sheet.height is not None else 1.6 * sheet.width
        draft = Draft(self.rng, self.text, columns, (room - 2 * sheet.margin) / sheet.em)
        markup = self._preamble(sheet) + template(draft)
        try:
            pdf = self.compiler.compile(input=markup.encode(), format="pdf", pdf_tags=False)
        except typst.TypstError as error:
            raise ValueError(f"template {template.__name__}: {error}\n{markup}") from error
        assert isinstance(pdf, bytes)
        image, chars = _read(pdf)
        return _match(image, chars, draft)

    def _preamble(self, sheet: Sheet) -> str:
        """Page and text settings; no ligatures, nor required ones, by which some fonts draw "ae" as "æ"."""
        face = self.rng.choice(self.rng.choice(self.families))
        height = "auto" if sheet.height is None else f"{sheet.height}pt"
        return (
            f"#set page(width: {sheet.width}pt, height: {height}, margin: {sheet.margin:.2f}pt, "
            f"fill: {rgb(sheet.ground)})\n"
            f"#set text(font: {quoted(face.family)}, style: {quoted(face.style)}, weight: {face.weight}, "
            f"size: {sheet.em:.2f}pt, fill: {rgb(sheet.ink)}, ligatures: false, "
            "features: (rlig: 0), hyphenate: false, fallback: false)\n"
            f"#set par(leading: {self.rng.uniform(0.4, 0.8):.2f}em, "
            f"spacing: {self.rng.uniform(0.6, 1.1):.2f}em)\n"
        )


def _read(pdf: bytes) -> tuple[Image.Image, list[Glyph]]:
    """First page of a PDF at one pixel a point, and its characters, line ends included."""
    document = pdfium.PdfDocument(pdf)
    try:
        page = document[0]
        image = page.render(scale=1.0).to_pil().convert("RGB")
        text = page.get_textpage()
        chars: list[Glyph] = []
        height = page.get_height()
        for index, char in enumerate(text.get_text_range()):
            left, bottom, right, top = text.get_charbox(index, loose=True)
            chars.append(Glyph(char, (left + right) / 2, height - (bottom + top) / 2))
    finally:
        document.close()
    return image, chars


def _match(image: Image.Image, chars: list[Glyph], draft: Draft) -> Page | None:
    """Lines and glyphs as they were set, and the facts whose text is on the page."""
    lines: list[str] = []
    glyphs: list[Glyph] = []
    inked: list[int] = []  # glyph of each inked character
    for line in _lines(chars):
        lines.append("".join(glyph.char for glyph in line))
        for glyph in line:
            if glyph.char != " ":
                inked.append(len(glyphs))
            glyphs.append(glyph)
    seen = "".join(glyphs[index].char for index in inked)
    if not seen or not draft.inked.startswith(seen):
        return None
    # What is told of the page as a whole (how many rows) is false where some of it fell off.
    cut = len(seen) < len(draft.inked)
    whole = [told for told in draft.told if not (cut and told.start == told.end)]
    facts = tuple(fact for told in whole if (fact := _fact(told, inked, glyphs)) is not None)
    return Page(image, tuple(lines), tuple(glyphs), facts)


def _lines(chars: list[Glyph]) -> list[list[Glyph]]:
    """Characters by line; runs of white space inside a line become one space between its neighbours."""
    lines: list[list[Glyph]] = [[]]
    gap = False
    for glyph in chars:
        if glyph.char in "\r\n":
            if lines[-1]:
                lines.append([])
            gap = False
        elif glyph.char.isspace():
            gap = bool(lines[-1])
        else:
            if gap:
                before = lines[-1][-1]
                lines[-1].append(Glyph(" ", (before.x + glyph.x) / 2, (before.y + glyph.y) / 2))
                gap = False
            lines[-1].append(glyph)
    return [line for line in lines if line]


def _fact(told: Told, inked: list[int], glyphs: list[Glyph]) -> Fact | None:
    """A told answer with the glyph of each of its characters; None where it fell off the page."""
    if told.end > len(inked):
        return None
    if told.start == told.end:
        return Fact(told.key, told.answer, told.subject)
    upcoming = iter(inked[told.start : told.end])
    at = tuple(None if char.isspace() else next(upcoming) for char in told.answer)
    return Fact(told.key, told.answer, told.subject, at)
