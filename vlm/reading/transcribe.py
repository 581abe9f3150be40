"""A page to text: turn it upright, cut it into tiles, read each, put the lines back on the page.

What was not read is said, never guessed: a tile that loops or stays silent is read again at a higher
temperature, then in halves, and what is left then is named in the page's ``error``. A page of which
more than half failed has failed as a whole. A tile of which fewer lines were read than can be seen is
read again in halves, too: leaving out is the quietest way to be wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from statistics import mean
from typing import Literal

from PIL import Image

from pan_and_scan import ImageError, Window, windows_of
from vlm.answer import NOT_IN_IMAGE, Answer
from vlm.asking import Model
from vlm.errors import OutageError, UsageError, VlmError
from vlm.options import Options
from vlm.reading.ink import SPECKS, Row, ink_of, is_blank, rows_of
from vlm.reading.loops import CHECKED, SAID, loop_of
from vlm.reading.record import Block, Box, Line, PageText, around
from vlm.reading.sources import OpenedPage, SourcePage
from vlm.reading.tiles import CHARACTERS, LETTER, Cut, Room, Tile, cut_out, lines_of, tiles_of
from vlm.reading.upright import ON_ITS_SIDE, Turn, angle_of, turned, ways_up
from vlm.sampling import Sampling

TextLayerUse = Literal["auto", "never", "only"]
UNSURE = 0.6  # confidence below which a page may stand on its head
OVERTURN = 0.8  # and that it must be read with then
SILENT = ("", NOT_IN_IMAGE)
FEWEST = 3  # letters that are dirt at most, where nothing could be read
SLACK = 1.5  # characters of a text for each letter seen: letters touch, and spaces aren't seen
OVER = 2  # times the lines that are seen, and so many more, are too many
CROWDED = 40_000  # letters of a page; a newspaper's has 30,000. What has far more tiles is no text
SHORT_TILES = 100  # that a page may have besides those that so many letters fill
PROMPTS = 4  # prompts a tile, retries and halves included, that a page is worth


@dataclass(frozen=True)
class ReadOptions:
    """How pages are read."""

    question: str = "Transcribe all text."
    policy: str = "adaptive"  # how a tile is cut into windows
    max_windows: int | None = None  # a tile, the whole of it included; None: what the model reads best
    text_layer: TextLayerUse = "auto"  # of a born-digital PDF: where it is sound, never, or nothing else
    density: float = CHARACTERS  # letters read at once for each soft token of a window
    letter: float = LETTER  # pixels of the encoder's square that a capital gets
    max_tokens: int = 512  # of a tile
    temperatures: tuple[float, ...] = (0.0, 0.5)  # of the tries at a tile
    seed: int = 0

    def __post_init__(self) -> None:
        if self.text_layer not in ("auto", "never", "only"):
            raise UsageError(f"text layer {self.text_layer!r}: choose auto, never or only")
        if not self.question.strip() or not self.temperatures:
            raise UsageError("reading needs a question and at least one temperature")
        Options(policy=self.policy, max_windows=self.max_windows, max_tokens=self.max_tokens)


@dataclass(frozen=True)
class _Said:
    """A tile as it was read."""

    lines: tuple[Line, ...]  # boxes on the turned page
    blocks: tuple[int, ...]  # one a line
    windows: tuple[Box, ...]  # on the turned page
    tries: int
    whole: Box | None = None  # of the line that it is a part of; None: it is lines that are whole
    lost: tuple[Box, ...] = ()  # lines, or parts of one, that could not be read


@dataclass
class _Budget:
    """Prompts that a page may still take."""

    left: int

    def spend(self) -> bool:
        """Take one; whether there was one left."""
        self.left -= 1
        return self.left >= 0


@dataclass(frozen=True)
class _Read:
    """What a tile was read as while it was tried which way up the page lies."""

    tile: Tile
    answer: Answer | None


class PageReader:
    """Reads pages with a model, or takes a PDF's own text where that is sound."""

    def __init__(self, vlm: Model, options: ReadOptions | None = None) -> None:
        self.vlm = vlm
        self.options = options or ReadOptions()
        self.on_tile: Callable[[int, int], None] | None = None  # told (tiles read, tiles in all)
        self.on_try: Callable[[int], None] | None = None  # told the windows of every prompt, retries included

    def read(self, page: SourcePage) -> PageText:
        """Read one page; whatever goes wrong with it is in the result.

        Raises:
            OutageError: the model's server is away, which is no page's fault.
        """
        try:
            opened = page.open()
        except (VlmError, ImageError) as error:
            return unread(page, (0, 0), str(error))
        try:
            return self._read(page, opened)
        except OutageError:
            raise
        except (VlmError, ImageError) as error:
            return replace(unread(page, opened.image.size, str(error)), model=self.vlm.name)

    def _read(self, page: SourcePage, opened: OpenedPage) -> PageText:
        use = self.options.text_layer
        if use == "only" or (use == "auto" and opened.layer is not None and opened.layer.sound):
            return _of_layer(page, opened)
        return self.transcribe(opened.image, unread(page, opened.image.size, ""))

    def transcribe(self, image: Image.Image, empty: PageText) -> PageText:
        """Read a page's pixels.

        Args:
            image: upright RGB, as a person sees it.
            empty: what is known of the page so far.
        """
        ink = ink_of(image)
        blank = replace(empty, source="model", model=self.vlm.name)  # an empty page is no failure
        if is_blank(ink):
            return blank
        letters = sum(row.letters for row in rows_of(ink)) if ink.mean() < SPECKS else FEWEST
        said, turn = self._best_way_up(image, angle_of(ink))
        if letters < FEWEST and not any(part.lines for part in said):
            return blank
        lines = _whole_lines(said)
        lost = {part.whole or box for part in said for box in part.lost}
        blocks = (
            [replace(line, box=turn.back(line.box)) for _, line in group]
            for _, group in groupby(lines, key=lambda pair: pair[0])
        )
        return replace(
            empty,
            blocks=tuple(Block(tuple(block)) for block in blocks),
            source="failed" if len(lost) > len(lines) else "model",
            model=self.vlm.name,
            windows=tuple(Window(*turn.back(box)) for part in said for box in part.windows),
            turned=turn.degrees,
            attempts=max((part.tries for part in said), default=1),
            error=f"{len(lost)} of {len(lost) + len(lines)} lines could not be read" if lost else "",
            lost=tuple(turn.back(box) for part in said for box in part.lost),
        )

    def _best_way_up(self, image: Image.Image, degrees: float) -> tuple[list[_Said], Turn]:
        """Read the page as its lines lie; where that reads badly, try it the other way up.

        A page on its feet is stood on its head only where it then reads surely: what can't be read is
        answered upside down, too, and a loop says nothing about how a page lies.
        """
        on_its_side = degrees >= ON_ITS_SIDE
        surest = -1.0
        for way in ways_up(degrees) if on_its_side else (degrees, degrees + 180.0):
            page, turn = turned(image, way)
            tiles = self._tiles(page)
            probe = max(tiles, key=lambda tile: tile.letters)
            answer = self._try(cut_out(page, probe, self.room), probe, 0)
            sure = _sureness(answer)
            if sure > surest and (way <= degrees or sure >= OVERTURN):
                surest, best = sure, (page, turn, tiles, _Read(probe, answer))
            if sure >= UNSURE and not on_its_side:
                break
        page, turn, tiles, read = best
        return list(self._read_tiles(page, tiles, read)), turn

    @property
    def room(self) -> Room:
        """What a prompt of this model holds."""
        options = self.options
        room = Room(
            self.vlm.window_size, self.vlm.tokens_per_image, density=options.density, letter=options.letter
        )
        most = self.options.max_windows
        return room if most is None else replace(room, windows=max(1, most - 1))

    def _tiles(self, page: Image.Image) -> list[Tile]:
        # Ink without letters (a photo, a raster): the page is asked about as a whole.
        whole = Row((0, 0, page.width, page.height), 1, LETTER)
        room = self.room
        tiles = tiles_of(lines_of(rows_of(ink_of(page)) or [whole]), room)
        if len(tiles) > CROWDED / room.letters + SHORT_TILES:  # grain, a raster, a crowd of specks
            return tiles_of(lines_of([whole]), room)
        return tiles

    def _read_tiles(self, page: Image.Image, tiles: Sequence[Tile], read: _Read) -> Iterator[_Said]:
        budget = _Budget(PROMPTS * (len(tiles) + 2))
        for done, tile in enumerate(tiles):
            if self.on_tile is not None:
                self.on_tile(done, len(tiles))
            yield from self._read_tile(page, tile, budget, read)

    def _read_tile(
        self, page: Image.Image, tile: Tile, budget: _Budget, read: _Read | None = None
    ) -> Iterator[_Said]:
        """Read a tile; where no temperature helps, or lines were left out, its halves.

        A page that can't be read is not asked for ever: once its prompts are spent, the rest is lost.
        """
        cut = cut_out(page, tile, self.room)
        for number in range(len(self.options.temperatures)):
            if number == 0 and read is not None and read.tile is tile:
                answer = read.answer
            else:
                answer = self._try(cut, tile, number) if budget.spend() else None
            if answer is None:
                continue
            if tile.halves and len(_texts(answer)) < len(tile.lines):
                break
            yield _placed(answer, tile, cut, number + 1)
            return
        halves = tile.halves if budget.left > 0 else ()
        if not halves:
            lost = tuple(line.box for line in tile.lines)
            yield _Said((), (), (), len(self.options.temperatures), tile.lines[0].whole, lost)
        for half in halves:
            yield from self._read_tile(page, half, budget)

    def _try(self, cut: Cut, tile: Tile, number: int) -> Answer | None:
        """One reading; None where it loops, runs over, or stays silent."""
        options = self.options
        temperature = options.temperatures[number]
        sampling = Sampling(temperature=temperature, top_p=0.95, seed=options.seed + number)
        asked = Options(
            policy=options.policy, max_windows=self.room.windows + 1, max_tokens=options.max_tokens,
            sampling=sampling,
        )  # fmt: skip
        if self.on_try is not None:
            planned = windows_of(cut.image, asked.windowing(self.vlm.window_size))
            self.on_try(sum(window.kind != "blank" for window in planned))
        stream = self.vlm.stream(cut.image, options.question, asked)
        text, checked = "", 0
        for piece in stream:
            text += piece
            if len(text) - checked >= CHECKED:
                checked = len(text)
                if _repeats(text, tile):
                    return None
        assert stream.answer is not None
        done = stream.answer.finish_reason == "stop" and not _repeats(text, tile)
        return stream.answer if done and stream.answer.text.strip() not in SILENT else None


def _repeats(text: str, tile: Tile) -> bool:
    """Whether a text repeats itself beyond what is seen (pages repeat "0.00", too), or has far more lines.

    More lines than are seen, one of them twice in a row, are enough where the tile can be read in halves.
    """
    said = [line for line in text.split("\n") if line.strip()]
    if tile.halves and len(said) > len(tile.lines) and any(a == b for a, b in pairwise(said)):
        return True
    if tile.letters > len(tile.lines) and text.count("\n") > OVER * len(tile.lines) + OVER:
        return True
    return len(text) > SLACK * tile.letters + SAID and bool(loop_of(text))


def _texts(answer: Answer) -> list[str]:
    """The lines of an answer that hold something."""
    return [text for text in answer.text.split("\n") if text.strip()]


def _sureness(answer: Answer | None) -> float:
    return 0.0 if answer is None else answer.confidence


def read_layer(page: SourcePage) -> PageText:
    """Take a PDF page's own text and nothing else, which needs no model."""
    try:
        return _of_layer(page, page.open())
    except (VlmError, ImageError) as error:
        return unread(page, (0, 0), str(error))


def _of_layer(page: SourcePage, opened: OpenedPage) -> PageText:
    empty, layer = unread(page, opened.image.size, ""), opened.layer
    if layer is None or not layer.sound:
        return replace(empty, error=f"no sound text layer: {'it has none' if layer is None else layer.why}")
    return replace(empty, blocks=layer.blocks, source="text layer")


def unread(page: SourcePage, size: tuple[int, int], error: str) -> PageText:
    """A page of which nothing is known but why."""
    width, height = size
    return PageText(page.file, page.number, width, height, page.sha256, (), "failed", error=error)


def _placed(answer: Answer, tile: Tile, cut: Cut, tries: int) -> _Said:
    """The lines of an answer on the page.

    Where as many lines were read as were seen, they are the same ones; otherwise each goes to the
    line its letters were read from, as the decoder's attention tells.
    """
    texts = [text.strip() for text in answer.text.split("\n")]
    sure, downs = _tokens_of(answer, len(texts))
    kept = [index for index, text in enumerate(texts) if text]
    lines: list[Line] = []
    blocks: list[int] = []
    for order, index in enumerate(kept):
        if len(kept) == len(tile.lines):
            seen = tile.lines[order]
        else:
            y = downs[index]
            share = (order + 0.5) / len(kept)
            fallback = tile.lines[min(len(tile.lines) - 1, int(share * len(tile.lines)))]
            seen = fallback if y is None else min(tile.lines, key=lambda line: _off(line.box, cut, y))
        lines.append(Line(texts[index], seen.box, sure[index]))
        blocks.append(seen.block)
    windows = tuple(cut.back(used.window.box) for used in answer.windows if used.window.kind != "blank")
    return _Said(tuple(lines), tuple(blocks), windows, tries, tile.lines[0].whole)


def _whole_lines(said: Iterable[_Said]) -> list[tuple[int, Line]]:
    """The lines that were read, each with its block; what one line was cut into is put together again."""
    found: list[tuple[int, Line]] = []
    begun: Box | None = None  # of the line that the last ones found are a part of
    for part in said:
        lines = list(part.lines)
        if part.whole is not None and lines:
            before = [found.pop()[1]] if part.whole == begun else []
            lines = [_side_by_side([*before, *lines])]
        found += zip(part.blocks, lines, strict=False)  # a part's lines are all of one block
        begun = part.whole if lines else begun
    return found


def _side_by_side(parts: Sequence[Line]) -> Line:
    """One line of what stands beside each other."""
    sizes = [len(part.text) for part in parts]
    sure = sum(part.confidence * size for part, size in zip(parts, sizes, strict=True)) / sum(sizes)
    return Line(" ".join(part.text for part in parts), around(part.box for part in parts), sure)


def _off(box: Box, cut: Cut, y: float) -> float:
    """Pixels of the page between a line's middle and a height on the tile's image."""
    _, down, _, _ = cut.back((0.0, y, 1.0, y + 1.0))
    return abs((box[1] + box[3]) / 2 - down)


def _tokens_of(answer: Answer, count: int) -> tuple[list[float], list[float | None]]:
    """Of each line: mean probability of its tokens, and how far down its letters were read."""
    sure: list[list[float]] = [[] for _ in range(count)]
    downs: list[list[float]] = [[] for _ in range(count)]
    for index, (line, logprob) in enumerate(zip(_line_numbers(answer.pieces), answer.logprobs, strict=True)):
        at = min(line, count - 1)
        sure[at].append(math.exp(logprob))
        point = answer.attention.point(index) if answer.attention is not None else None
        if point is not None:
            downs[at].append(point[2])
    return (
        [mean(values) if values else 0.0 for values in sure],
        [sorted(values)[len(values) // 2] if values else None for values in downs],
    )


def _line_numbers(pieces: Sequence[bytes]) -> Iterator[int]:
    """The line each token's text begins in, blank lines before the text left out as its trimming does."""
    number, begun = 0, False
    for piece in pieces:
        begun = begun or bool(piece.strip())
        yield number
        number += piece.count(b"\n") if begun else 0
