"""Examples of the second stage: conversations about pages, in the prompt of inference, in batches.

A batch holds examples of one layout (as many windows each), so their image spans lie at the same
places and one mask serves all; examples are sorted by length, so little padding is computed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from pan_and_scan import Policy, Window, crop, named_policy, windows_of
from vlm.config import ModelConfig
from vlm.masks import Span
from vlm.pixels import resize_square
from vlm.prompt import ImagePart, Turn, plan_chat
from vlm.tokenizer import GemmaTokenizer
from vlm.training.encoder import IGNORED_SLOT, LARGEST, LEVELS, SMALLEST, slot_classes, text_classes
from vlm.training.fonts import Split
from vlm.training.page import ABSENT, Fact, Glyph, Level, Mark, Page, Question
from vlm.training.questions import Decoys, is_picture, talk_about, talk_about_two
from vlm.training.scenes import Scene, Scenes

IGNORED = -100
DECIDED = 3.0  # times the weight of an answer that is decided and not read: few of its tokens say anything
WEIGHT = -0.5  # a label weighs its answer's length to this power, so that long answers don't drown short ones
LEGIBLE = 3.5  # pixels between neighbouring characters of a window's square; below, nobody can read
TURNS = (1, 2, 3, 5)  # a further question costs a fraction of a further image
PICTURE_TURNS = (4, 6, 8, 10)  # of shapes and charts: short answers, each to be decided anew
SORTED = 16  # batches whose examples are sorted by length together; at 4, a third of a batch is padding
INNER = 0.7  # of half a shape's size: what lies within is shape, whatever its kind
_EXTREMES = {  # by the key of a fact, of charts and of shapes
    "largest": LARGEST, "lowest": SMALLEST, "biggest": LARGEST, "smallest": SMALLEST,
}  # fmt: skip
MOST_TEXT = 240  # characters of all answers of an example


@dataclass(frozen=True)
class Batch:
    """Examples of one layout: as many windows each, images before the question."""

    pixels: Tensor  # uint8 [B * windows, 3, S, S]
    ids: Tensor  # int64 [B, T], padded at the end
    labels: Tensor  # int64 [B, T], the next token where it belongs to an answer, else IGNORED
    weights: Tensor  # float [B, T], of each label in the loss; see WEIGHT
    places: Tensor  # bool [B, T, soft], soft tokens that hold the next character
    slots: Tensor  # uint8 [B * windows, tokens, patches of a token, SLOTS], as in stage one
    texts: Tensor  # uint8 [B, TEXT_LENGTH], classes of the first page's characters, as in stage one
    spans: tuple[Span, ...]
    encoder_alone: bool = False  # nothing is asked: the decoder does not see it


@dataclass(frozen=True)
class Layout:
    """A kind of batch."""

    share: float  # of the batches
    windows: int  # an image, the whole image included
    batch: int
    images: int = 1


# More windows an example cost more, so their batches are smaller. Sixteen windows a step learn more in the
# same time than thirty-two: every window holds a hundred characters to learn from.
LAYOUTS = (
    Layout(0.64, 1, 16),
    Layout(0.08, 1, 8, images=2),
    Layout(0.11, 3, 6),
    Layout(0.04, 4, 5),
    Layout(0.05, 5, 4),
    Layout(0.02, 7, 3),
    Layout(0.04, 10, 2),
    Layout(0.02, 13, 2),
)


class ReaderBatches(IterableDataset[Batch]):
    """Endless batches of conversations about pages of one split."""

    def __init__(self, split: Split, folder: Path, seed: int, layouts: tuple[Layout, ...] = LAYOUTS) -> None:
        self.split, self.folder, self.seed, self.layouts = split, folder, seed, layouts

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        maker = BatchMaker(self.folder, Scenes(self.split, self.seed))
        # One step of this layout, one of that: sixteen on end of one unlearn the others.
        waiting: dict[Layout, Iterator[Batch]] = {}
        while True:
            (layout,) = maker.scenes.rng.choices(self.layouts, [x.share for x in self.layouts])
            batch = next(waiting.get(layout, iter(())), None)
            if batch is None:
                waiting[layout] = maker.batches(layout)
                batch = next(waiting[layout])
            yield batch


@dataclass(frozen=True)
class _Answer:
    at: int  # index of its first token in the prompt
    ids: list[int]  # its tokens and the end of turn
    places: list[list[int]]  # soft tokens of each character
    weight: float  # of each token in the loss


@dataclass(frozen=True)
class _Example:
    pixels: Tensor  # uint8 [windows, 3, S, S]
    slots: Tensor
    text: Tensor
    ids: list[int]
    answers: list[_Answer]
    spans: tuple[Span, ...]


class BatchMaker:
    """Makes batches for the model whose config and tokenizer lie in ``folder``."""

    def __init__(self, folder: Path, scenes: Scenes) -> None:
        config = ModelConfig.from_folder(folder)
        assert config.vision is not None
        self.vision = config.vision
        self.side = config.vision.image_size
        self.tokens = config.mm_tokens_per_image
        self.tokenizer = GemmaTokenizer.from_folder(folder)
        self.scenes = scenes
        self.decoys = Decoys(scenes.text.words)

    def batches(self, layout: Layout, together: int = SORTED) -> Iterator[Batch]:
        """Some batches of one layout, sorted by length."""
        examples: list[_Example] = []
        while len(examples) < layout.batch * together:
            example = self._example(layout)
            if example is not None:
                examples.append(example)
        examples.sort(key=lambda example: len(example.ids))
        groups = [examples[at : at + layout.batch] for at in range(0, len(examples), layout.batch)]
        self.scenes.rng.shuffle(groups)
        return map(self._collate, groups)

    def _collate(self, examples: list[_Example]) -> Batch:
        longest = max(len(example.ids) for example in examples)
        length = -(-longest // 32) * 32  # few lengths, so that few graphs are compiled
        count, soft = len(examples), examples[0].pixels.shape[0] * self.tokens
        ids_BT = torch.zeros(count, length, dtype=torch.long)
        labels_BT = torch.full((count, length), IGNORED)
        weights_BT = torch.zeros(count, length)
        places_BTS = torch.zeros(count, length, soft, dtype=torch.bool)
        for row, example in enumerate(examples):
            ids_BT[row, : len(example.ids)] = torch.tensor(example.ids)
            for answer in example.answers:
                end = answer.at + len(answer.ids)
                labels_BT[row, answer.at - 1 : end - 1] = ids_BT[row, answer.at : end]
                weights_BT[row, answer.at - 1 : end - 1] = answer.weight
                for offset, held in enumerate(answer.places):
                    places_BTS[row, answer.at - 1 + offset, held] = True
        return Batch(
            pixels=torch.cat([example.pixels for example in examples]),
            ids=ids_BT,
            labels=labels_BT,
            weights=weights_BT,
            places=places_BTS,
            slots=torch.cat([example.slots for example in examples]),
            texts=torch.stack([example.text for example in examples]),
            spans=examples[0].spans,
        )

    def _example(self, layout: Layout) -> _Example | None:
        rng, words = self.scenes.rng, self.decoys
        made = [self._page(layout) for _ in range(layout.images)]
        pages = [page for page, _ in made]
        if layout.images == 2:
            questions = talk_about_two(pages, rng, words)
        else:
            turns = PICTURE_TURNS if is_picture(pages[0]) and layout.windows == 1 else TURNS
            questions = talk_about(pages[0], rng, words, turns=rng.choice(turns))
        for page in pages:
            words.note(page)
        questions = _within(questions, MOST_TEXT)
        if not questions:
            return None
        squares: list[Tensor] = []
        slots: list[Tensor] = []
        for page, windows in made:
            squares += [resize_square(cut, self.side) for cut in crop(page.image, windows)]
            slots += [self._slots(page, window) for window in windows]
        images = tuple(ImagePart(len(windows)) for _, windows in made)
        ids, spans, answers = self._converse(images, questions, [windows for _, windows in made])
        text = text_classes(pages[0].lines)
        return _Example(torch.stack(squares), torch.stack(slots), text, ids, answers, spans)

    def _converse(
        self,
        images: tuple[ImagePart, ...],
        questions: Sequence[Question],
        windows: list[tuple[Window, ...]],
    ) -> tuple[list[int], tuple[Span, ...], list[_Answer]]:
        """Tokens of the whole conversation, its image spans, and where its answers lie."""
        turns: list[Turn] = []
        answers: list[_Answer] = []
        ids: list[int] = []
        spans: tuple[Span, ...] = ()
        for index, question in enumerate(questions):
            turns.append(Turn("user", (*images, question.text) if index == 0 else (question.text,)))
            prompt = plan_chat(self.tokenizer, tuple(turns), self.tokens)
            spans = prompt.spans
            said = self.tokenizer.encode_text(question.answer)
            assert len(said) == len(question.answer), question.answer
            before = sum(map(len, windows[: question.image])) * self.tokens
            places = [self._held(glyph, windows[question.image], before) for glyph in question.sources]
            if question.seen:
                places = [self._covered(question.seen, windows[question.image], before)] * len(said)
            said.append(self.tokenizer.special.end_of_turn)
            weight = len(said) ** WEIGHT
            if not question.is_read and question.answer != ABSENT:
                weight *= DECIDED
            answers.append(_Answer(len(prompt.ids), said, places, weight))
            ids = [*prompt.ids, *said]
            turns.append(Turn("assistant", (question.answer,)))
        return ids, spans, answers

    def _slots(self, page: Page, window: Window) -> Tensor:
        """Classes of the characters a window shows, all ignored where they are too small to read."""
        scale_x, scale_y = self.side / window.size[0], self.side / window.size[1]
        glyphs = [
            Glyph(g.char, (g.x - window.left) * scale_x, (g.y - window.top) * scale_y) for g in page.glyphs
        ]
        marks = [
            Mark(
                m.color, m.kind, (m.x - window.left) * scale_x, (m.y - window.top) * scale_y,
                m.half_width * scale_x, m.half_height * scale_y,
            ) for m in page.marks
        ]  # fmt: skip
        # Of a part of the page nobody can tell what is the largest of the whole.
        whole = window.kind == "whole"
        extremes = _extremes(page.facts, glyphs, marks) if whole else ()
        levels = _levels(page.levels, glyphs) if whole else ()
        slots = torch.from_numpy(slot_classes(glyphs, self.vision, marks, extremes, levels))
        if 0 < _pitch(glyphs) < LEGIBLE:
            slots.fill_(IGNORED_SLOT)
        return slots

    def _page(self, layout: Layout) -> tuple[Page, tuple[Window, ...]]:
        """A page whose policy cuts it into as many windows as the layout wants."""
        rng = self.scenes.rng
        while True:
            if layout.windows == 1:
                policy: Policy = named_policy("off")
                longer, shape = self.side * rng.uniform(0.9, 2.0), rng.uniform(0.6, 1.0)
                sides = [round(longer), round(longer * shape)]
                rng.shuffle(sides)
                scene = Scene(sides[0], sides[1], longer / self.side, exact=False)
            else:
                crops = layout.windows - 1
                grids = [c for c in range(1, crops + 1) if crops % c == 0]
                columns = rng.choices(grids, [1 + 2 * (1 < c < crops) for c in grids])[0]  # strips are rarer
                rows = crops // columns
                # gemma3 cuts along the longer side only.
                strip = 1 in (columns, rows) and crops <= 4
                name = rng.choice(("adaptive", "gemma3")) if strip else "adaptive"
                policy = named_policy(name, window_size=self.side)
                scale = rng.uniform(1.0, 1.4)
                wobble = [rng.uniform(0.85, 1.0) for _ in range(2)]
                width = round(self.side * columns * max(1.0, scale * wobble[0]))
                height = round(self.side * rows * max(1.0, scale * wobble[1]))
                scene = Scene(width, height, scale, exact=True)
            page = self.scenes.page(scene)
            windows = tuple(w for w in windows_of(page.image, policy) if w.kind != "blank")
            if len(windows) == layout.windows and (page.lines or page.facts):
                return page, windows

    def _covered(self, marks: Sequence[Mark], windows: tuple[Window, ...], before: int) -> list[int]:
        """Soft tokens whose middle lies well within a mark, and those of the marks' own middles."""
        grid = round(self.tokens**0.5)
        held: set[int] = set()
        for index, w in enumerate(windows):
            wide, high = (w.right - w.left) / grid, (w.bottom - w.top) / grid
            for mark in marks:
                if not (w.left <= mark.x < w.right and w.top <= mark.y < w.bottom):
                    continue
                middle = int((mark.x - w.left) / wide), int((mark.y - w.top) / high)
                for row, column in itertools.product(range(grid), repeat=2):
                    x, y = w.left + (column + 0.5) * wide, w.top + (row + 0.5) * high
                    near = (
                        abs(x - mark.x) <= INNER * mark.half_width
                        and abs(y - mark.y) <= INNER * mark.half_height
                    )
                    if near or (column, row) == middle:
                        held.add(before + index * self.tokens + row * grid + column)
        return sorted(held)

    def _held(self, glyph: Glyph | None, windows: tuple[Window, ...], before: int) -> list[int]:
        """Soft tokens, counted over all windows, that hold a glyph's centre."""
        if glyph is None:
            return []
        grid = round(self.tokens**0.5)
        held: list[int] = []
        for index, w in enumerate(windows):
            column = int((glyph.x - w.left) / (w.right - w.left) * grid)
            row = int((glyph.y - w.top) / (w.bottom - w.top) * grid)
            if w.left <= glyph.x < w.right and w.top <= glyph.y < w.bottom:
                held.append(before + index * self.tokens + row * grid + column)
        return held


def _extremes(
    facts: Sequence[Fact], glyphs: Sequence[Glyph], marks: Sequence[Mark]
) -> list[tuple[str, Glyph | Mark]]:
    """What facts tell to be the largest or the smallest: its shape, or the characters of its name."""
    found: list[tuple[str, Glyph | Mark]] = []
    for fact in facts:
        if (name := _EXTREMES.get(fact.key)) is not None:
            found += [(name, glyphs[at]) for at in fact.at if at is not None]
            found += [(name, marks[at]) for at in fact.marks]
    return found


def _levels(levels: Sequence[Level], glyphs: Sequence[Glyph]) -> list[tuple[str, Glyph]]:
    """The class of each level, once a character of its label."""
    last = len(LEVELS) - 1
    classes = [(LEVELS[min(last, int(level.share * len(LEVELS)))], level.at) for level in levels]
    return [(name, glyphs[index]) for name, at in classes for index in at if index is not None]


def _within(questions: Sequence[Question], most: int) -> list[Question]:
    """The first questions whose answers together keep within ``most`` characters."""
    kept: list[Question] = []
    for question in questions:
        most -= len(question.answer)
        if most >= 0:
            kept.append(question)
    return kept


def _pitch(glyphs: Sequence[Glyph]) -> float:
    """Median distance of neighbouring characters, in pixels; 0 where there are too few to say."""
    pairs = pairwise(glyphs)
    steps = [float(np.hypot(b.x - a.x, b.y - a.y)) for a, b in pairs]
    return median(steps) if len(steps) >= 3 else 0.0
