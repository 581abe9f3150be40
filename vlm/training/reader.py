"""Stage two: projector and decoder learn to answer; the encoder is frozen.

The prompt is the one of inference, windows included, and the loss falls on answer tokens only. A
guide helps the alignment: one attention head of some layers is asked to look at the soft token that
holds the character coming next. It teaches the reading order in minutes instead of hours, and
leaves behind a head that says where an answer was read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from pan_and_scan import Policy, Window, crop, named_policy, plan
from vlm.config import ModelConfig
from vlm.engine import Vision
from vlm.errors import UsageError
from vlm.gemma import GemmaDecoder
from vlm.layers import DecoderLayer, LayerInputs
from vlm.masks import Queries, Span
from vlm.pixels import resize_square
from vlm.prompt import ImagePart, Turn, plan_chat
from vlm.tokenizer import GemmaTokenizer
from vlm.training.encoder import EncoderHeads, as_pixels, slot_classes
from vlm.training.fonts import Split
from vlm.training.loop import Loop, RunLog, optimizers, save_state
from vlm.training.questions import ask_about
from vlm.training.render import Glyph, Page, PageSampler, PageStyle

GUIDED = ((2, 0), (4, 0))  # (layer, head) pairs that learn where to look
IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """Examples of one layout: as many windows each, images before the question."""

    pixels: Tensor  # uint8 [B * windows, 3, S, S]
    ids: Tensor  # int64 [B, T], padded at the end
    labels: Tensor  # int64 [B, T], the next token where it belongs to the answer, else IGNORED
    places: Tensor  # bool [B, T, soft], soft tokens that hold the next character
    slots: Tensor  # uint8 [B * windows, tokens, patches of a token, SLOTS], as in stage one
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Layout:
    """A kind of batch."""

    share: float  # of the batches
    windows: int  # a page, the whole page included
    batch: int
    lines: tuple[int, int]


# More windows a page cost more, so their batches are smaller.
LAYOUTS = (Layout(0.80, 1, 32, (1, 4)), Layout(0.15, 3, 12, (1, 3)), Layout(0.05, 5, 8, (1, 4)))


class ReaderBatches(IterableDataset[Batch]):
    """Endless batches of questions about pages of one split."""

    def __init__(self, split: Split, folder: Path, seed: int, layouts: tuple[Layout, ...] = LAYOUTS) -> None:
        self.split, self.folder, self.seed, self.layouts = split, folder, seed, layouts

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        config = ModelConfig.from_folder(self.folder)
        tokenizer = GemmaTokenizer.from_folder(self.folder)
        maker = _BatchMaker(config, tokenizer, PageSampler(self.split, self.seed))
        while True:
            (layout,) = maker.sampler.rng.choices(self.layouts, [x.share for x in self.layouts])
            yield from maker.batches(layout)


@dataclass(frozen=True)
class _Example:
    pixels: Tensor  # uint8 [windows, 3, S, S]
    slots: Tensor
    ids: list[int]  # prompt, answer, end of turn
    answer_at: int
    places: list[list[int]]  # soft tokens of each answer character
    spans: tuple[Span, ...]


class _BatchMaker:
    def __init__(self, config: ModelConfig, tokenizer: GemmaTokenizer, sampler: PageSampler) -> None:
        assert config.vision is not None
        self.vision = config.vision
        self.side = config.vision.image_size
        self.tokens = config.mm_tokens_per_image
        self.tokenizer = tokenizer
        self.sampler = sampler

    def batches(self, layout: Layout, together: int = 4) -> Iterator[Batch]:
        """Some batches of one layout, sorted by length, so that little padding is computed."""
        examples = [self._example(layout) for _ in range(layout.batch * together)]
        examples.sort(key=lambda example: len(example.ids))
        groups = [examples[at : at + layout.batch] for at in range(0, len(examples), layout.batch)]
        self.sampler.rng.shuffle(groups)
        return map(self._collate, groups)

    def _collate(self, examples: list[_Example]) -> Batch:
        longest = max(len(example.ids) for example in examples)
        length = -(-longest // 32) * 32  # few lengths, so that few graphs are compiled
        count, soft = len(examples), examples[0].pixels.shape[0] * self.tokens
        ids_BT = torch.zeros(count, length, dtype=torch.long)
        labels_BT = torch.full((count, length), IGNORED)
        places_BTS = torch.zeros(count, length, soft, dtype=torch.bool)
        for row, example in enumerate(examples):
            at, end = example.answer_at, len(example.ids)
            ids_BT[row, :end] = torch.tensor(example.ids)
            labels_BT[row, at - 1 : end - 1] = ids_BT[row, at:end]
            for offset, held in enumerate(example.places):
                places_BTS[row, at - 1 + offset, held] = True
        pixels = torch.cat([example.pixels for example in examples])
        slots = torch.cat([example.slots for example in examples])
        return Batch(pixels, ids_BT, labels_BT, places_BTS, slots, examples[0].spans)

    def _example(self, layout: Layout) -> _Example:
        page, windows = self._page(layout)
        question = ask_about(page, self.sampler.rng, self.sampler.text.words)
        pixels = torch.stack([resize_square(c, self.side) for c in crop(page.image, windows)])
        slots = [slot_classes(self._seen(page, window), self.vision) for window in windows]
        turn = Turn("user", (ImagePart(len(windows)), question.text))
        prompt = plan_chat(self.tokenizer, (turn,), self.tokens)
        answer = self.tokenizer.encode_text(question.answer)
        assert len(answer) == len(question.answer), question.answer
        ids = [*prompt.ids, *answer, self.tokenizer.special.end_of_turn]
        places = [self._held(glyph, windows) for glyph in question.sources]
        return _Example(pixels, torch.from_numpy(np.stack(slots)), ids, len(prompt.ids), places, prompt.spans)

    def _seen(self, page: Page, window: Window) -> list[Glyph]:
        """Glyphs in pixels of a window's square."""
        scale_x, scale_y = self.side / window.size[0], self.side / window.size[1]
        return [
            Glyph(g.char, (g.x - window.left) * scale_x, (g.y - window.top) * scale_y) for g in page.glyphs
        ]

    def _page(self, layout: Layout) -> tuple[Page, tuple[Window, ...]]:
        """A page whose policy cuts it into as many windows as the layout wants."""
        rng = self.sampler.rng
        while True:
            width, height = self.side, self.side
            policy: Policy = named_policy("off")
            if layout.windows > 1:
                crops = layout.windows - 1
                name = rng.choice(("adaptive", "gemma3"))
                columns = rng.choice([c for c in range(1, crops + 1) if crops % c == 0])
                width = round(self.side * columns * rng.uniform(1.0, 1.4))
                height = round(self.side * (crops // columns) * rng.uniform(1.0, 1.4))
                policy = named_policy(name, window_size=self.side)
            windows = plan(width, height, policy)
            if len(windows) != layout.windows:
                continue
            style = PageStyle(letter_px=(15.0, 40.0), lines=layout.lines, noise=0.25)
            page = self.sampler.page(style, width, height)
            if page.lines and sum(map(len, page.lines)) < 130:
                return page, windows

    def _held(self, glyph: Glyph | None, windows: tuple[Window, ...]) -> list[int]:
        """Soft tokens, counted over all windows, that hold a glyph's centre."""
        if glyph is None:
            return []
        grid = round(self.tokens**0.5)
        held: list[int] = []
        for index, w in enumerate(windows):
            column = int((glyph.x - w.left) / (w.right - w.left) * grid)
            row = int((glyph.y - w.top) / (w.bottom - w.top) * grid)
            if w.left <= glyph.x < w.right and w.top <= glyph.y < w.bottom:
                held.append(index * self.tokens + row * grid + column)
        return held


class AttentionTap:
    """Remembers what a layer was given, so that its attention can be computed again."""

    def __init__(self, layer: DecoderLayer) -> None:
        self.layer = layer
        self.seen: tuple[Tensor, LayerInputs] | None = None
        layer.register_forward_pre_hook(self._remember)

    def _remember(self, _: nn.Module, arguments: tuple[Any, ...]) -> None:
        self.seen = (arguments[0], arguments[1])

    def log_weights(self, head: int, rows_BT: Tensor) -> Tensor:
        """Log attention of one head at the chosen positions: [rows, T]."""
        assert self.seen is not None
        hidden, inputs = self.seen
        attention = self.layer.self_attn
        q, k, _ = attention.project(self.layer.input_layernorm(hidden), inputs)
        group = head * k.shape[1] // q.shape[1]
        scores = (q[:, head] @ k[:, group].transpose(1, 2)).float() * attention.scale  # [B, T, T]
        t = scores.shape[-1]
        mask = inputs.mask if inputs.mask is not None else torch.ones(t, t, dtype=torch.bool).tril()
        return scores.masked_fill(~mask, -1e4)[rows_BT].log_softmax(-1)


@dataclass(frozen=True)
class ReaderStage:
    """Settings of the stage."""

    folder: Path  # config.json and tokenizer of the model to be
    start: Path  # encoder.pt of stage one, or a reader.pt to go on from
    out: Path
    minutes: float
    muon_rate: float = 0.02
    adam_rate: float = 3e-3
    encoder_share: float = 0.0  # of those rates for the encoder; 0: frozen
    guide_weight: float = 0.3
    seed: int = 2
    bf16: bool = True
    layouts: tuple[Layout, ...] = field(default=LAYOUTS)
    check_pages: int = 96


class Reader(nn.Module):
    """Everything the stage holds: the model and what helps it learn."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.vision is not None
        self.vision = Vision(config)
        self.decoder = GemmaDecoder(config.text)
        self.heads = EncoderHeads(config.vision)
        init_reader(self.vision, self.decoder)
        self.taps = [AttentionTap(cast(DecoderLayer, self.decoder.layers[layer])) for layer, _ in GUIDED]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Answer loss, guide loss, dense loss, and the share of answer tokens guessed right."""
        patches = self.vision.encoder(as_pixels(batch.pixels))
        soft = self.vision.projector(patches)
        b, t = batch.ids.shape
        soft_BSD = soft.view(b, -1, soft.shape[-1])
        image_at = torch.cat([torch.arange(span.start, span.end) for span in batch.spans])
        hidden = self.decoder.embed(batch.ids.index_fill(1, image_at, 0))
        hidden = hidden.index_copy(1, image_at, soft_BSD.to(hidden.dtype))
        hidden = self.decoder(hidden, Queries(0, t, batch.spans))
        answers = batch.labels != IGNORED
        logits = self.decoder.logits(hidden[answers]).float()
        wanted = batch.labels[answers]
        dense, named = self.heads.dense_loss(self.vision.projector.pool(patches), batch.slots)
        return {
            "answer": F.cross_entropy(logits, wanted),
            "guide": self._guide(batch, image_at),
            "dense": dense,
            "named": named,
            "accuracy": (logits.argmax(-1) == wanted).float().mean(),
        }

    def _guide(self, batch: Batch, image_at: Tensor) -> Tensor:
        """How far the guided heads look from the soft tokens of the next character."""
        placed = batch.places.any(-1)
        wanted = batch.places[placed]
        total = torch.zeros(())
        for tap, (_, head) in zip(self.taps, GUIDED, strict=True):
            weights = tap.log_weights(head, placed)[:, image_at]
            total = total - weights.masked_fill(~wanted, -1e4).logsumexp(-1).mean()
        return total / len(GUIDED)


def init_reader(vision: Vision, decoder: GemmaDecoder) -> None:
    """Random start that keeps the residual stream near unit size."""
    width = decoder.config.hidden_size
    with torch.no_grad():
        for module in decoder.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(std=module.in_features**-0.5)
        decoder.embed_tokens.weight.normal_(std=width**-0.5)
        for layer in cast(list[DecoderLayer], list(decoder.layers)):
            layer.post_attention_layernorm.weight.fill_(-0.6)
            layer.post_feedforward_layernorm.weight.fill_(-0.6)
        projection = vision.projector.mm_input_projection_weight
        projection.normal_(std=projection.shape[0] ** -0.5)


def train_reader(stage: ReaderStage) -> Reader:
    """Run the stage and write ``reader.pt`` into ``stage.out``."""
    torch.manual_seed(stage.seed)
    reader = Reader(ModelConfig.from_folder(stage.folder))
    vision, decoder = reader.vision, reader.decoder
    groups = optimizers(decoder, stage.muon_rate, stage.adam_rate, outside=(vision.projector,))
    weights = {"answer": 1.0, "guide": stage.guide_weight}
    if stage.encoder_share > 0:
        rates = (stage.muon_rate * stage.encoder_share, stage.adam_rate * stage.encoder_share)
        groups += optimizers(vision.encoder, *rates, outside=(reader.heads,))
        weights["dense"] = 1.0
    else:
        vision.encoder.requires_grad_(False)
        reader.heads.requires_grad_(False)
    step = _start(reader, groups, stage.start)
    for layer in [*decoder.layers, *vision.encoder.encoder.layers]:
        layer.compile(dynamic=True)  # fuses the norms and what lies between the products
    log = RunLog(stage.out / "reader.jsonl")
    log.write(stage=str(asdict(stage)), parameters=sum(p.numel() for p in reader.parameters()))
    check = _check_batch(stage)
    pages = ReaderBatches("train", stage.folder, stage.seed + step, stage.layouts)
    batches = iter(DataLoader(pages, batch_size=None, num_workers=1, prefetch_factor=4))

    def save(step: int) -> None:
        states = {"reader": reader.state_dict(), "optimizers": [o.state_dict() for o in groups]}
        save_state(stage.out / "reader.pt", states | {"step": step})

    loop: Loop[Batch] = Loop(groups, weights, stage.minutes, log, stage.bf16, step)
    loop.run(batches, reader.losses, lambda: reader.losses(check), save)
    return reader


def _check_batch(stage: ReaderStage) -> Batch:
    """Validation pages of one or two lines, the same in every run."""
    config = ModelConfig.from_folder(stage.folder)
    tokenizer = GemmaTokenizer.from_folder(stage.folder)
    maker = _BatchMaker(config, tokenizer, PageSampler("validation", 7))
    return next(maker.batches(Layout(1.0, 1, stage.check_pages, (1, 2)), together=1))


def _start(reader: Reader, groups: list[torch.optim.Optimizer], path: Path) -> int:
    """Fill the reader from a checkpoint of either stage; returns the step to go on from."""
    state = torch.load(path, weights_only=True)
    if "reader" not in state:
        reader.vision.encoder.load_state_dict(state["encoder"])
        reader.heads.load_state_dict(state["heads"])
        return 0
    reader.load_state_dict(state["reader"])
    # Freezing the encoder leaves the decoder's optimisers, which come first, as they were.
    for optimizer, saved in zip(groups, state["optimizers"], strict=False):
        optimizer.load_state_dict(saved)
    return int(state["step"])


def load_reader(path: Path, config: ModelConfig) -> Reader:
    """What ``train_reader`` saved.

    Raises:
        UsageError: not a reader.pt of this shape.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        reader = Reader(config)
        reader.load_state_dict(state["reader"])
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise UsageError(f"{path}: not a reader.pt of stage two ({error})") from None
    return reader
