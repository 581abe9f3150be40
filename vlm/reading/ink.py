"""Where the letters are: ink, what of it is letter-sized, and the rows they stand in.

Nothing here reads. It finds the places where a page may be cut without cutting a line, and how large
its letters are. Works on dark and on light letters, on uneven light and on coloured boxes, because a
pixel is ink when it differs from the paper around it, whichever way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from scipy import ndimage

from vlm.reading.record import Box, around

COARSE = 4  # the paper is looked at this much smaller
PAPER = 15  # side of the median filter there, in its pixels: wider than strokes, smaller than boxes
FAINTEST = 24  # of 255: what differs less from the paper is noise, not ink
CONTRAST = 0.35  # of the page's strongest contrast; JPEG halos differ less
HOLLOW = 0.15  # share of ink below which a large piece is a frame; letters have more
SPECK = 0.4  # of the usual letter's height; what is smaller is no letter of its own
LARGE = 20.0  # times the usual letter's height: what is larger is no letter
WORD = 3  # letters of unusual size that have to stand together, to be taken for a word
LEGIBLE = 6  # pixels of small letters that can be read
SPECKS = 1e-3  # share of ink up to which a page may be empty but for dirt
MOST_PIECES = 60_000  # connected pieces; a page with more is a picture or noise


@dataclass(frozen=True)
class Row:
    """Letters that stand side by side."""

    box: Box
    letters: int  # connected pieces in it, about as many as letters
    height: float  # of its letters in pixels, from the top of capitals to the baseline
    pieces: tuple[Box, ...] = field(default=(), repr=False, compare=False)  # boxes of what it consists of


def ink_of(image: Image.Image) -> np.ndarray:
    """Which pixels are ink: bool [height, width]."""
    grey = np.asarray(image.convert("L"), dtype=np.int16)
    small = image.convert("L").resize(
        (max(1, image.width // COARSE), max(1, image.height // COARSE)), Image.Resampling.BOX
    )
    paper = Image.fromarray(ndimage.median_filter(np.asarray(small), size=PAPER, mode="nearest"))
    across = np.asarray(paper.resize(image.size, Image.Resampling.BILINEAR), dtype=np.int16)
    difference = np.abs(grey - across)
    strongest = float(np.percentile(difference, 99.5)) if difference.size else 0.0
    return difference > max(FAINTEST, CONTRAST * strongest)


def is_blank(ink: np.ndarray) -> bool:
    """Whether a page shows nothing that may be a letter: no ink, or the dust and holes of a scan's back."""
    return bool(ink.mean() < SPECKS) and not rows_of(ink)


def rows_of(ink: np.ndarray) -> list[Row]:
    """Rows of letters, from the top; words far apart in a line are rows of their own.

    Rules, frames, pictures and specks are left out.
    """
    pieces, filled = _pieces(ink)
    if not pieces:
        return []
    tall = np.array([bottom - top for _, top, _, bottom in pieces])
    usual = float(np.median(tall[tall >= 4])) if (tall >= 4).any() else float(np.median(tall))
    letters: list[Box] = []
    large: list[Box] = []
    for piece, height, fill in zip(pieces, tall, filled, strict=True):
        width = piece[2] - piece[0]
        frame = fill < HOLLOW and min(width, height) > 2 * usual
        if frame:
            continue
        if 0.2 * usual <= height <= 5 * usual and width <= 12 * max(usual, height):
            letters.append(piece)
        elif 5 * usual < height <= LARGE * usual and width <= 2 * height:
            large.append(piece)
    rows = _joined(letters, ink.shape) if letters else []
    # A heading's letters; one large piece alone is a picture.
    rows += [row for row in (_joined(large, ink.shape) if large else []) if row.letters >= WORD]
    return sorted(rows, key=lambda row: row.box[1])


def _pieces(ink: np.ndarray) -> tuple[list[Box], list[float]]:
    """Boxes of the connected pieces that may be letters, and how much of each is ink."""
    labels, count = ndimage.label(ink, np.ones((3, 3)))
    if count > MOST_PIECES:
        return [], []
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    boxes: list[Box] = []
    filled: list[float] = []
    for size, (vertical, horizontal) in zip(sizes, ndimage.find_objects(labels), strict=True):
        width, height = horizontal.stop - horizontal.start, vertical.stop - vertical.start
        speck = width <= 1 and height <= 1
        rule = (width > 15 * height and width > 40) or (height > 15 * width and height > 40)
        if not (speck or rule):
            boxes.append((horizontal.start, vertical.start, horizontal.stop, vertical.stop))
            filled.append(size / (width * height))
    return boxes, filled


def _joined(letters: Sequence[Box], shape: tuple[int, int]) -> list[Row]:
    """Join letters to rows: each is smeared sideways by its own height, and what touches is a row."""
    canvas = np.zeros(shape, dtype=bool)
    for left, top, right, bottom in letters:
        reach = round(0.5 * (bottom - top)) + 1
        middle = (bottom - top) // 4  # the outer quarters stay free, so that close lines don't touch
        canvas[
            top + middle : max(top + middle + 1, bottom - middle), max(0, left - reach) : right + reach
        ] = True
    labels, count = ndimage.label(canvas)
    members: list[list[Box]] = [[] for _ in range(count + 1)]
    for box in letters:
        members[labels[(box[1] + box[3]) // 2, (box[0] + box[2]) // 2]].append(box)
    rows = [_row(boxes) for boxes in members[1:] if boxes]
    usual = float(np.median(np.repeat([row.height for row in rows], [row.letters for row in rows])))
    # The dot of an i or an accent that touched nothing belongs to the row around it.
    specks = [row for row in rows if row.height < SPECK * usual]
    kept, alone = _absorbed([row for row in rows if row.height >= SPECK * usual], specks)
    small = [row for row in alone if row.letters > WORD and row.height >= LEGIBLE]
    return sorted([*kept, *small], key=lambda row: row.box[1])


def _row(boxes: Sequence[Box]) -> Row:
    heights = sorted(bottom - top for _, top, _, bottom in boxes)
    capitals = float(heights[(3 * len(heights)) // 4])  # not commas
    return Row(around(boxes), len(boxes), capitals, tuple(boxes))


def _absorbed(rows: list[Row], specks: list[Row]) -> tuple[list[Row], list[Row]]:
    """The rows with the specks that lie at them, and the specks that lie apart."""
    merged, alone = list(rows), []
    for speck in specks:
        for index, row in enumerate(merged):
            left, top, right, bottom = row.box
            near = row.height
            if (
                left - near <= speck.box[0] <= right + near
                and top - near / 2 <= speck.box[1]
                and speck.box[3] <= bottom + near / 2
            ):
                pieces = (*row.pieces, *speck.pieces)
                merged[index] = Row(around((row.box, speck.box)), row.letters, row.height, pieces)
                break
        else:
            alone.append(speck)
    return merged, alone
