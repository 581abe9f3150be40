"""Characters at their places -> lines and blocks in reading order.

A PDF says where each character stands and nothing of lines or columns; the order in which it draws
them is the producer's own. So lines are found from places alone:

1. Characters on one baseline without a wide gap make a *piece*.
2. Empty strips cut the pieces into regions: a strip from top to bottom between two columns of running
   text (XY-cut; Nagy and Seth, "Hierarchical representation of optically scanned documents", 1984).
   The cells of a table and the prices of a receipt also stand in columns, but are read row by row: a
   strip only counts where what it parts is wide and filled, or where the rows on both sides don't line
   up.
3. The pieces of a region that share a height are a line; lines at an even distance are a block.

Units are those of the places given (points or pixels); y grows downwards.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

Place = tuple[float, float, float, float]  # left, top, right, bottom

# In multiples of the font size (em).
_PIECE_GAP = 1.0  # a space is 0.25 em, one in justified text seldom above 0.8
_BASELINE = 0.5  # a superscript stays below
_GUTTER = 0.9  # column gaps begin at about 1.2
_COLUMN_WIDTH = 10.0  # about 20 characters: less is a cell
_ALIGNED = 0.35  # rows this near to each other line up
_SPACIOUS = 2.0  # no more than double-spaced lines belong together
_SECTION = 1.5  # an empty row of this height ends a table

_COLUMN_FILL = 0.5  # share of a column's width its rows cover; ragged text has 0.8, columns of cells less
_SHARED_ROWS = 0.7  # from this share on two columns line up
_PARAGRAPH = 1.35  # distance of two lines, in multiples of the usual one, that ends a block
_OTHER_SIZE = 1.25  # ratio of font sizes that ends a block
_DEEPEST = 20  # regions within regions; no page that a person laid out comes near


@dataclass(frozen=True, slots=True)
class Glyph:
    """A character and its place."""

    text: str  # one character; whitespace parts words
    box: Place  # around its ink
    baseline: float  # y
    size: float  # font size
    upright: bool  # runs from left to right (or right to left), not up, down or askew


@dataclass(frozen=True)
class TextLine:
    """A line of text and the box around its ink."""

    text: str
    box: Place


@dataclass(frozen=True)
class _Piece:
    text: str
    box: Place
    baseline: float
    size: float
    upright: bool

    @property
    def cell(self) -> tuple[float, float]:
        """Top and bottom of its line, whichever letters it has."""
        return self.baseline - 0.75 * self.size, self.baseline + 0.25 * self.size


def arrange(glyphs: Iterable[Glyph]) -> list[list[TextLine]]:
    """Find lines and blocks.

    Args:
        glyphs: in the order they are drawn, which decides within a word only.

    Returns:
        Blocks in reading order, each of at least one line; text that runs sideways comes last, a
        block each.
    """
    pieces = _pieces(glyphs)
    across = [piece for piece in pieces if piece.upright]
    blocks: list[list[TextLine]] = []
    if across:
        for region in _regions(across, _em(across)):
            blocks += _blocks(_rows(region))
    return blocks + [[TextLine(piece.text, piece.box)] for piece in pieces if not piece.upright]


def _pieces(glyphs: Iterable[Glyph]) -> list[_Piece]:
    pieces: list[_Piece] = []
    run: list[Glyph] = []
    words: list[str] = []
    spaced = False
    for glyph in glyphs:
        if glyph.text.isspace():
            spaced = True
            continue
        if run and not _continues(run[-1], glyph):
            pieces.append(_piece(run, words))
            run, words = [], []
        if spaced and run:
            words.append(" ")
        spaced = False
        run.append(glyph)
        words.append(glyph.text)
    if run:
        pieces.append(_piece(run, words))
    return pieces


def _continues(last: Glyph, glyph: Glyph) -> bool:
    em = max(last.size, glyph.size)
    if last.upright != glyph.upright:
        return False
    apart = _apart((last.box[0], last.box[2]), (glyph.box[0], glyph.box[2]))
    if glyph.upright:
        return abs(last.baseline - glyph.baseline) <= _BASELINE * em and apart <= _PIECE_GAP * em
    below = _apart((last.box[1], last.box[3]), (glyph.box[1], glyph.box[3]))
    return apart <= _PIECE_GAP * em and below <= _PIECE_GAP * em


def _apart(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The gap between two spans; below 0 where they overlap."""
    return max(one[0], other[0]) - min(one[1], other[1])


def _piece(run: Sequence[Glyph], words: Sequence[str]) -> _Piece:
    return _Piece(
        text="".join(words),
        box=hull(glyph.box for glyph in run),
        baseline=median(glyph.baseline for glyph in run),
        size=median(glyph.size for glyph in run),
        upright=run[0].upright,
    )


def hull(places: Iterable[Place]) -> Place:
    """The smallest place that holds all of them; there is at least one."""
    lefts, tops, rights, bottoms = zip(*places, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _em(pieces: Sequence[_Piece]) -> float:
    """The usual font size, counted by characters."""
    by_size = sorted(pieces, key=lambda piece: piece.size)
    half = sum(len(piece.text) for piece in pieces) / 2
    for piece in by_size:
        half -= len(piece.text)
        if half <= 0:
            return piece.size
    return by_size[-1].size


def _regions(pieces: Sequence[_Piece], em: float, depth: int = 0) -> list[list[_Piece]]:
    """Pieces that are read row by row, region after region."""
    bands = _bands(pieces)
    if depth > _DEEPEST or len(bands) == 1:
        return _region(bands, em, depth)
    regions: list[list[_Piece]] = []
    plain: list[list[_Piece]] = []  # bands that go into no columns
    start = 0
    while start < len(bands):
        end = _run(bands, start, em)
        run = bands[start:end]
        while len(run) > 1 and plain and _gaps(_spans([*run, plain[-1]]), em):
            run.insert(0, plain.pop())  # one column begins higher than the other
        inner = _sections(run, em, depth)
        if len(inner) == 1:
            plain += run
        else:
            regions += ([_joined(plain)] if plain else []) + inner
            plain = []
        start = end
    return regions + ([_joined(plain)] if plain else [])


def _region(bands: Sequence[list[_Piece]], em: float, depth: int) -> list[list[_Piece]]:
    """Bands as columns, or as they are."""
    columns = _columns(_joined(bands), em) if depth <= _DEEPEST else []
    if len(columns) > 1:
        return [region for column in columns for region in _regions(column, em, depth + 1)]
    return [_joined(bands)]


def _sections(bands: Sequence[list[_Piece]], em: float, depth: int) -> list[list[_Piece]]:
    """The regions of bands that share an empty strip; one if it parts no columns.

    A table above two columns may share their strip, so sections are judged each by itself.
    """
    parts = [[bands[0]]]
    for above, band in pairwise(bands):
        if min(p.box[1] for p in band) - max(p.box[3] for p in above) >= _SECTION * em:
            parts.append([])
        parts[-1].append(band)
    grouped: list[tuple[bool | None, list[list[_Piece]]]] = []
    for part in parts:
        kind = _in_columns(part, em)
        before = grouped[-1][0] if grouped else None
        if grouped and (kind is None or before is None or kind == before):
            grouped[-1] = (before if kind is None else kind), grouped[-1][1] + part
        else:
            grouped.append((kind, part))
    regions = [
        [_joined(group)] if kind is False and len(grouped) > 1 else _region(group, em, depth)
        for kind, group in grouped
    ]
    if all(len(inner) == 1 for inner in regions):
        return [_joined(bands)]
    return [region for inner in regions for region in inner]


def _in_columns(bands: Sequence[list[_Piece]], em: float) -> bool | None:
    """Whether bands are columns of text and not cells; None if they are too few to tell."""
    if len(_columns(_joined(bands), em)) > 1:
        return True
    return False if len(bands) >= 3 and _gaps(_spans(bands), em) else None


def _joined(bands: Iterable[Sequence[_Piece]]) -> list[_Piece]:
    return [piece for band in bands for piece in band]


def _spans(bands: Iterable[Sequence[_Piece]]) -> list[tuple[float, float]]:
    """What the bands' pieces cover from left to right."""
    return _merged((piece.box[0], piece.box[2]) for piece in _joined(bands))


def _bands(pieces: Sequence[_Piece]) -> list[list[_Piece]]:
    """Pieces from top to bottom, those together that share a height."""
    bands: list[list[_Piece]] = []
    bottom = float("-inf")
    for piece in sorted(pieces, key=lambda piece: (piece.box[1], piece.box[0])):
        if bands and piece.box[1] < bottom:
            bands[-1].append(piece)
        else:
            bands.append([piece])
        bottom = max(bottom, piece.box[3])
    return bands


def _run(bands: Sequence[Sequence[_Piece]], start: int, em: float) -> int:
    """Where the bands end that share an empty strip with band ``start``."""
    spans = _spans([bands[start]])
    end = start + 1
    while end < len(bands) and _gaps(spans, em):
        spans = _merged([*spans, *_spans([bands[end]])])
        if not _gaps(spans, em):
            break
        end += 1
    return end


def _columns(pieces: Sequence[_Piece], em: float) -> list[list[_Piece]]:
    """The pieces by columns of running text; all in one where there are none."""
    cuts = _gaps(_spans([pieces]), em)
    if not cuts:
        return [list(pieces)]
    cells: list[list[_Piece]] = [[] for _ in range(len(cuts) + 1)]
    for piece in pieces:
        cells[sum(piece.box[0] >= cut for cut in cuts)].append(piece)
    columns = [cells[0]]
    for before, cell in pairwise(cells):
        if (_is_text(before, em) and _is_text(cell, em)) or not _line_up(before, cell, em):
            columns.append(cell)
        else:
            columns[-1] = columns[-1] + cell
    return columns


def _is_text(column: Sequence[_Piece], em: float) -> bool:
    rows = _rows(column)
    left, _, right, _ = hull(piece.box for piece in column)
    covered = sum(piece.box[2] - piece.box[0] for piece in column)
    return (
        len(rows) >= 2
        and right - left >= _COLUMN_WIDTH * em
        and covered >= _COLUMN_FILL * (right - left) * len(rows)
    )


def _line_up(one: Sequence[_Piece], other: Sequence[_Piece], em: float) -> bool:
    fewer, more = sorted((_baselines(one), _baselines(other)), key=len)
    shared = sum(any(abs(y - there) <= _ALIGNED * em for there in more) for y in fewer)
    return shared >= _SHARED_ROWS * len(fewer)


def _baselines(column: Sequence[_Piece]) -> list[float]:
    return [row[0].baseline for row in _rows(column)]


def _merged(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans in order, those that touch made one."""
    merged: list[tuple[float, float]] = []
    for low, high in sorted(spans):
        if merged and low <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return merged


def _gaps(spans: Sequence[tuple[float, float]], em: float) -> list[float]:
    """Middles of the gaps wide enough for a gutter."""
    pairs = pairwise(spans)
    return [(one[1] + two[0]) / 2 for one, two in pairs if two[0] - one[1] >= _GUTTER * em]


def _rows(pieces: Sequence[_Piece]) -> list[list[_Piece]]:
    """Pieces on one line, each line from left to right, lines from top to bottom."""
    rows: list[list[_Piece]] = []
    top = bottom = 0.0
    for piece in sorted(pieces, key=lambda piece: sum(piece.cell)):
        high, low = piece.cell
        if rows and min(low, bottom) - max(high, top) >= min(low - high, bottom - top) / 2:
            rows[-1].append(piece)
        else:
            rows.append([piece])
            top, bottom = high, low
    return [sorted(row, key=lambda piece: piece.box[0]) for row in rows]


def _blocks(rows: Sequence[list[_Piece]]) -> list[list[TextLine]]:
    """Lines, those together that follow each other evenly in one size."""
    steps = [below[0].baseline - above[0].baseline for above, below in pairwise(rows)]
    usual = median(steps) if steps else 0.0
    blocks = [[_line(rows[0])]]
    for above, below, step in zip(rows, rows[1:], steps, strict=False):
        small, large = sorted((_em(above), _em(below)))
        if step > _PARAGRAPH * min(usual, _SPACIOUS * large) or large > _OTHER_SIZE * small:
            blocks.append([])
        blocks[-1].append(_line(below))
    return blocks


def _line(row: Sequence[_Piece]) -> TextLine:
    letters = [unicodedata.bidirectional(c) for piece in row for c in piece.text]
    leftwards = sum(kind in ("R", "AL") for kind in letters) > sum(kind == "L" for kind in letters)
    texts = [piece.text for piece in (reversed(row) if leftwards else row)]
    return TextLine(" ".join(texts), hull(piece.box for piece in row))
