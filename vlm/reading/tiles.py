"""Which parts of a page are read at once, and in which order.

A tile is some lines of one block, cut where nothing is written, so that no line and no word is cut in
two. What a prompt can hold bounds it: about ``CHARACTERS`` for each soft token of a window, and a
height of a few lines. A line that is longer than that is read in parts, cut where a word ends. Letters
are brought to the size the encoder reads best; a tile is laid on paper of whole windows, so that pan and
scan cuts it without stretching.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from statistics import median

from PIL import Image

from vlm.reading.ink import Row
from vlm.reading.record import Box, around
from vlm.reading.upright import paper_of

CHARACTERS = 3.0  # a soft token can hold, see ``vlm eval``; more are mixed up
LETTER = 20.0  # pixels a capital should have in the encoder's square, whose patches are 14 wide
LARGEST = 2.0  # how much small letters are enlarged at most: there is no more in them
GUTTER = 2.0  # letter heights of blank that part two columns
PROSE = 9.0  # letter heights from which on a row is a line of a column, not a cell of a table
APART = 1.6  # usual gaps between lines from which on a new block begins
ALIKE = 1.8  # how much larger letters may be than others that are read with them
MARGIN = 0.5  # letter heights around a tile
WORDS_APART = 0.25  # letter heights between two words at least
WORTH_A_CUT = 24  # letters of a row that is cut because it can't be read; fewer don't get clearer


@dataclass(frozen=True)
class TextLine:
    """Rows side by side: what a person reads as one line."""

    rows: tuple[Row, ...]  # from the left
    block: int = 0  # number of the block it belongs to
    whole: Box | None = None  # box of the line it was cut from; None: it is whole

    @property
    def box(self) -> Box:
        """The smallest box around its rows."""
        return around(row.box for row in self.rows)

    @property
    def letters(self) -> int:
        """About how many letters it has."""
        return sum(row.letters for row in self.rows)

    @property
    def height(self) -> float:
        """Of its largest letters in pixels."""
        return max(row.height for row in self.rows)

    def halves(self, blank: float = 0.0) -> tuple[TextLine, ...]:
        """Two parts, cut at the widest blank of its middle third, else at the one next to its middle.

        Args:
            blank: letter heights that must be free where it is cut.

        Returns:
            The parts, from the left; none where it has no such blank.
        """
        left, _, right, _ = self.box
        middle, third = (left + right) / 2, (right - left) / 3
        blanks = [(before, after) for before, after in self._blanks() if after - before > blank * self.height]
        if not blanks:
            return ()

        def off(gap: tuple[int, int]) -> float:
            return abs((gap[0] + gap[1]) / 2 - middle)

        central = [gap for gap in blanks if off(gap) <= third / 2]
        gap = max(central, key=lambda gap: gap[1] - gap[0]) if central else min(blanks, key=off)
        parts = (_clipped(self.rows, 0, gap[0]), _clipped(self.rows, gap[1], right))
        return tuple(TextLine(rows, self.block, self.whole or self.box) for rows in parts)

    def _blanks(self) -> Iterator[tuple[int, int]]:
        """Columns without ink between its letters: the first one and that after the last."""
        pieces = sorted(piece for row in self.rows for piece in row.pieces or (row.box,))
        reach = pieces[0][2]
        for left, _, right, _ in pieces:
            if left > reach:
                yield reach, left
            reach = max(reach, right)


def _clipped(rows: Sequence[Row], left: int, right: int) -> tuple[Row, ...]:
    """What of the rows lies between two columns; they cut no letter."""
    clipped: list[Row] = []
    for row in rows:
        if left <= row.box[0] and row.box[2] <= right:
            clipped.append(row)
            continue
        pieces = tuple(piece for piece in row.pieces if left <= piece[0] and piece[2] <= right)
        if pieces:
            letters = max(1, round(row.letters * len(pieces) / len(row.pieces)))
            clipped.append(Row(around(pieces), letters, row.height, pieces))
    return tuple(clipped)


@dataclass(frozen=True)
class Tile:
    """Lines that are read at once."""

    lines: tuple[TextLine, ...]

    @property
    def box(self) -> Box:
        """The smallest box around its lines."""
        return around(line.box for line in self.lines)

    @property
    def letters(self) -> int:
        """About how many letters it has."""
        return sum(line.letters for line in self.lines)

    @property
    def halves(self) -> tuple[Tile, ...]:
        """Two tiles of half its lines, or of half its line; none where that would be too short."""
        if len(self.lines) > 1:
            middle = len(self.lines) // 2
            return Tile(self.lines[:middle]), Tile(self.lines[middle:])
        (line,) = self.lines
        if len(line.rows) == 1 and line.letters < WORTH_A_CUT:
            return ()
        return tuple(Tile((part,)) for part in line.halves(WORDS_APART))


@dataclass(frozen=True)
class Cut:
    """A tile as it is shown to the model."""

    image: Image.Image
    part: Box  # of the page that is shown
    shown: Box  # where on the image it lies

    def back(self, box: tuple[float, float, float, float]) -> Box:
        """A box on the image -> the page, kept inside the part that is shown."""
        left, top, right, bottom = self.part
        x0, y0, x1, y1 = self.shown
        across, down = (right - left) / (x1 - x0), (bottom - top) / (y1 - y0)
        xs = [min(max(left + (x - x0) * across, left), right) for x in (box[0], box[2])]
        ys = [min(max(top + (y - y0) * down, top), bottom) for y in (box[1], box[3])]
        first = min(math.floor(xs[0]), right - 1), min(math.floor(ys[0]), bottom - 1)
        return *first, max(math.ceil(xs[1]), first[0] + 1), max(math.ceil(ys[1]), first[1] + 1)


@dataclass(frozen=True)
class Room:
    """What one prompt holds."""

    side: int  # of the encoder's square in pixels
    tokens: int  # soft tokens a window
    windows: int = 5  # besides the whole tile
    density: float = CHARACTERS  # letters a soft token holds
    letter: float = LETTER  # pixels of the encoder's square that a capital gets

    @property
    def letters(self) -> float:
        """Letters a tile may hold."""
        return self.density * self.tokens


def lines_of(rows: Sequence[Row]) -> list[TextLine]:
    """Lines in reading order, columns from the left, each with the number of its block."""
    found: list[TextLine] = []
    block = -1
    for column in _columns(list(rows)):
        lines = _lines(column)
        usual = median([below.box[1] - above.box[3] for above, below in pairwise(lines)] or [0])
        above: TextLine | None = None
        for line in lines:
            if above is None or _new_block(above, line, usual):
                block += 1
            above = replace(line, block=block)
            found.append(above)
    return found


def _new_block(above: TextLine, below: TextLine, usual: float) -> bool:
    """Whether a gap is wider than those between the column's lines usually are, or the letters change."""
    gap = below.box[1] - above.box[3]
    small, large = sorted((above.height, below.height))
    return gap > max(APART * usual, small) or large > ALIKE * small


def _columns(rows: list[Row]) -> list[list[Row]]:
    """Cut rows into columns at gutters, and around what spans them (headings), from the top."""
    if len(rows) < 4:
        return [rows]
    letter = median(row.height for row in rows)
    cut = _gutter(rows, letter)
    if cut is None:
        return [rows]
    spanning = sorted((row for row in rows if row.box[0] < cut < row.box[2]), key=lambda row: row.box[1])
    parts: list[list[Row]] = []
    rest = [row for row in rows if row not in spanning]
    for wide in spanning:
        above = [row for row in rest if row.box[3] <= (wide.box[1] + wide.box[3]) / 2]
        rest = [row for row in rest if row not in above]
        parts += [*_sides(above, cut), [wide]]
    parts += _sides(rest, cut)
    return _merged([part for part in parts if part])


def _sides(rows: list[Row], cut: float) -> list[list[Row]]:
    left = [row for row in rows if row.box[2] <= cut]
    right = [row for row in rows if row.box[0] >= cut]
    return [side for half in (left, right) if half for side in _columns(half)]


def _merged(parts: list[list[Row]]) -> list[list[Row]]:
    """Neighbouring single rows (a heading of two lines) belong together."""
    merged: list[list[Row]] = []
    for part in parts:
        if merged and len(part) == 1 and len(merged[-1]) == 1:
            merged[-1] = [*merged[-1], *part]
        else:
            merged.append(part)
    return merged


def _gutter(rows: list[Row], letter: float) -> float | None:
    """Where a column ends: a blank that prose stands on both sides of; None where there is none."""
    wide = sorted(rows, key=lambda row: row.box[0])
    edges = sorted({row.box[2] for row in wide})
    best: tuple[float, float] | None = None
    for edge in edges[:-1]:
        left = [row for row in rows if row.box[2] <= edge]
        right = [row for row in rows if row.box[0] > edge]
        crossing = len(rows) - len(left) - len(right)
        if len(left) < 2 or len(right) < 2 or crossing > 0.2 * len(rows):
            continue
        gap = min(row.box[0] for row in right) - edge
        prose = (
            min(median(row.box[2] - row.box[0] for row in side) for side in (left, right)) > PROSE * letter
        )
        if gap >= GUTTER * letter and prose and (best is None or gap > best[0]):
            best = gap, edge + gap / 2
    return None if best is None else best[1]


def _lines(rows: Sequence[Row]) -> list[TextLine]:
    """Rows of one column as lines: what overlaps by half its height stands in one line."""
    lines: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: (row.box[1] + row.box[3]) / 2):
        home = next((line for line in reversed(lines[-3:]) if _beside(line, row)), None)
        if home is None:
            lines.append([row])
        else:
            home.append(row)
    return [TextLine(tuple(sorted(line, key=lambda row: row.box[0]))) for line in lines]


def _beside(line: list[Row], row: Row) -> bool:
    left, top, right, bottom = row.box
    for other in line:
        shared = min(bottom, other.box[3]) - max(top, other.box[1])
        apart = left >= other.box[2] or right <= other.box[0]
        if shared < 0.5 * min(bottom - top, other.box[3] - other.box[1]) or not apart:
            return False
    return True


def tiles_of(lines: Sequence[TextLine], room: Room) -> list[Tile]:
    """Group lines in reading order to tiles that a prompt can hold."""
    tiles: list[Tile] = []
    group: list[TextLine] = []
    for line in chain.from_iterable(_parts(whole, room) for whole in lines):
        grown = [*group, line]
        if group and not (_fits_on(group, line) and _holds(grown, room) and _alone(grown, lines)):
            tiles.append(Tile(tuple(group)))
            group = []
        group.append(line)
    return [*tiles, Tile(tuple(group))] if group else tiles


def _parts(line: TextLine, room: Room) -> Iterator[TextLine]:
    """The line, or what it has to be cut into so that a prompt can hold each part."""
    halves = () if _holds([line], room) else line.halves()
    if not halves:
        yield line
    for half in halves:
        yield from _parts(half, room)


def _fits_on(group: Sequence[TextLine], line: TextLine) -> bool:
    """Whether a line goes on below the others, in letters of about their size."""
    if line.whole is not None or group[-1].whole is not None:
        return False  # a part of a line is read alone
    below = line.box[1] >= group[-1].box[3] - line.height
    small, large = sorted((group[0].height, line.height))
    return below and large <= ALIKE * small


def _alone(group: Sequence[TextLine], lines: Sequence[TextLine]) -> bool:
    """Whether no other line lies in the group's box: a heading over two columns is as wide as both."""
    left, top, right, bottom = around(line.box for line in group)
    mine = set(map(id, group))
    return not any(
        line.box[0] < right and line.box[2] > left and top < (line.box[1] + line.box[3]) / 2 < bottom
        for line in lines
        if id(line) not in mine
    )


def _holds(lines: Sequence[TextLine], room: Room) -> bool:
    left, top, right, bottom = around(line.box for line in lines)
    scale = scale_of(lines, room.letter)
    columns, rows = _windows((right - left) * scale, (bottom - top) * scale, room.side)
    return sum(line.letters for line in lines) <= room.letters and columns * rows <= room.windows


def _windows(width: float, height: float, side: int) -> tuple[int, int]:
    return max(1, -(-round(width) // side)), max(1, -(-round(height) // side))


def scale_of(lines: Sequence[TextLine], letter: float = LETTER) -> float:
    """How much to enlarge lines so that their letters have the size that is read best."""
    heights = [line.height for line in lines for _ in range(line.letters)]
    return min(LARGEST, letter / max(1.0, median(heights)))


def cut_out(page: Image.Image, tile: Tile, room: Room) -> Cut:
    """A tile on paper of whole windows, its letters at the size that is read best.

    Where that takes more windows than a prompt holds, the letters get smaller.
    """
    scale = scale_of(tile.lines, room.letter)
    margin = round(MARGIN * max(line.height for line in tile.lines)) + 2
    left, top, right, bottom = tile.box
    box = (
        max(0, left - margin), max(0, top - margin),
        min(page.width, right + margin), min(page.height, bottom + margin),
    )  # fmt: skip
    part = page.crop(box)
    columns, rows = _windows(part.width * scale, part.height * scale, room.side)
    while columns * rows > room.windows:
        scale *= 0.9
        columns, rows = _windows(part.width * scale, part.height * scale, room.side)
    width, height = max(1, round(part.width * scale)), max(1, round(part.height * scale))
    paper = Image.new("RGB", (columns * room.side, rows * room.side), paper_of(part))
    width, height = min(width, paper.width), min(height, paper.height)
    x, y = (paper.width - width) // 2, (paper.height - height) // 2
    how = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    paper.paste(part.resize((width, height), how), (x, y))
    return Cut(paper, box, (x, y, x + width, y + height))
