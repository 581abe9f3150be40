"""Stage two: projector and decoder learn to answer; the encoder is frozen.

The prompt is the one of inference, windows included, and the loss falls on answer tokens only. A
guide helps the alignment: one attention head of some layers is asked to look at the soft token that
holds the character coming next. It teaches the reading order in minutes instead of hours, and
leaves behind a head that says where an answer was read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from pan_and_scan import Policy, Window, crop, named_policy, plan
from vlm.config import ModelConfig
from vlm.engine import Vision
from vlm.gemma import GemmaDecoder
from vlm.layers import DecoderLayer, LayerInputs
from vlm.masks import Queries, Span
from vlm.pixels import resize_square
from vlm.prompt import ImagePart, Turn, plan_chat
from vlm.tokenizer import GemmaTokenizer
from vlm.training.encoder import as_pixels
from vlm.training.fonts import Split
from vlm.training.optim import RunLog, optimizers, rate_factor, save_state, set_rates
from vlm.training.questions import Question, ask_about
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
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Layout:
    """A kind of batch."""

    share: float  # of the batches
    windows: int  # a page, the whole page included
    batch: int
    lines: tuple[int, int]


# More windows a page cost more, so their batches are smaller.
LAYOUTS = (Layout(0.72, 1, 32, (1, 5)), Layout(0.18, 3, 12, (1, 3)), Layout(0.10, 5, 8, (1, 4)))


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
            yield maker.batch(layout)


class _BatchMaker:
    def __init__(self, config: ModelConfig, tokenizer: GemmaTokenizer, sampler: PageSampler) -> None:
        assert config.vision is not None
        self.side = config.vision.image_size
        self.tokens = config.mm_tokens_per_image
        self.tokenizer = tokenizer
        self.sampler = sampler

    def batch(self, layout: Layout) -> Batch:
        examples = [self._example(layout) for _ in range(layout.batch)]
        longest = max(len(ids) for _, ids, _, _, _ in examples)
        length = -(-longest // 32) * 32  # few lengths, so that few graphs are compiled
        soft = layout.windows * self.tokens
        ids_BT = torch.zeros(layout.batch, length, dtype=torch.long)
        labels_BT = torch.full((layout.batch, length), IGNORED)
        places_BTS = torch.zeros(layout.batch, length, soft, dtype=torch.bool)
        for row, (_, ids, answer_at, places, _) in enumerate(examples):
            ids_BT[row, : len(ids)] = torch.tensor(ids)
            labels_BT[row, answer_at - 1 : len(ids) - 1] = ids_BT[row, answer_at : len(ids)]
            for offset, held in enumerate(places):
                places_BTS[row, answer_at - 1 + offset, held] = True
        pixels = torch.cat([pixels for pixels, *_ in examples])
        return Batch(pixels, ids_BT, labels_BT, places_BTS, examples[0][4])

    def _example(self, layout: Layout) -> tuple[Tensor, list[int], int, list[list[int]], tuple[Span, ...]]:
        page, windows = self._page(layout)
        question = ask_about(page, self.sampler.rng, self.sampler.text.words)
        pixels = torch.stack([resize_square(c, self.side) for c in crop(page.image, windows)])
        turn = Turn("user", (ImagePart(len(windows)), question.text))
        prompt = plan_chat(self.tokenizer, (turn,), self.tokens)
        answer = self.tokenizer.encode_text(question.answer)
        assert len(answer) == len(question.answer), question.answer
        ids = [*prompt.ids, *answer, self.tokenizer.special.end_of_turn]
        places = [self._held(glyph, windows) for glyph in question.sources]
        return pixels, ids, len(prompt.ids), places, prompt.spans

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
    encoder: Path  # encoder.pt of stage one
    out: Path
    minutes: float
    muon_rate: float = 0.02
    adam_rate: float = 3e-3
    guide_weight: float = 0.3
    seed: int = 2
    resume: Path | None = None
    bf16: bool = True
    layouts: tuple[Layout, ...] = field(default=LAYOUTS)


def init_reader(vision: Vision, decoder: GemmaDecoder) -> None:
    """Random start that keeps the residual stream near unit size."""
    width = decoder.config.hidden_size
    with torch.no_grad():
        for module in decoder.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(std=module.in_features**-0.5)
        decoder.embed_tokens.weight.normal_(std=width**-0.5)
        for layer in decoder.layers:
            layer.post_attention_layernorm.weight.fill_(-0.6)
            layer.post_feedforward_layernorm.weight.fill_(-0.6)
        projection = vision.projector.mm_input_projection_weight
        projection.normal_(std=projection.shape[0] ** -0.5)


def losses(vision: Vision, decoder: GemmaDecoder, taps: list[AttentionTap], batch: Batch) -> dict[str, Tensor]:
    """Answer loss, guide loss and the share of answer tokens guessed right."""
    with torch.no_grad():
        patches = vision.encoder(as_pixels(batch.pixels))
    soft = vision.projector(patches)
    b, t = batch.ids.shape
    soft_BSD = soft.view(b, -1, soft.shape[-1])
    image_at = torch.cat([torch.arange(span.start, span.end) for span in batch.spans])
    ids = batch.ids.clone()
    ids[:, image_at] = 0
    hidden = decoder.embed(ids)
    hidden = hidden.index_copy(1, image_at, soft_BSD.to(hidden.dtype))
    hidden = decoder(hidden, Queries(0, t, batch.spans))
    answers = batch.labels != IGNORED
    logits = decoder.logits(hidden[answers]).float()
    wanted = batch.labels[answers]
    placed = batch.places.any(-1)
    guide = torch.zeros(())
    for tap, (_, head) in zip(taps, GUIDED, strict=True):
        weights = tap.log_weights(head, placed)[:, image_at]
        guide = guide - weights.masked_fill(~batch.places[placed], -1e4).logsumexp(-1).mean()
    return {
        "answer": F.cross_entropy(logits, wanted),
        "guide": guide / len(GUIDED),
        "accuracy": (logits.argmax(-1) == wanted).float().mean(),
    }


def train_reader(stage: ReaderStage) -> tuple[Vision, GemmaDecoder]:
    """Run the stage and write ``reader.pt`` into ``stage.out``."""
    torch.manual_seed(stage.seed)
    config = ModelConfig.from_folder(stage.folder)
    vision, decoder = Vision(config), GemmaDecoder(config.text)
    init_reader(vision, decoder)
    vision.encoder.load_state_dict(torch.load(stage.encoder, weights_only=True)["encoder"])
    vision.encoder.requires_grad_(False)
    groups = optimizers(decoder, stage.muon_rate, stage.adam_rate, outside=(vision.projector,))
    step = 0
    if stage.resume:
        state = torch.load(stage.resume, weights_only=True)
        decoder.load_state_dict(state["decoder"])
        vision.projector.load_state_dict(state["projector"])
        for optimizer, saved in zip(groups, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        step = state["step"]
    taps = [AttentionTap(decoder.layers[layer]) for layer, _ in GUIDED]
    for layer in [*decoder.layers, *vision.encoder.encoder.layers]:
        layer.compile(dynamic=True)  # fuses the norms and what lies between the products
    log = RunLog(stage.out / "reader.jsonl")
    log.write(stage=str(asdict(stage)), parameters=sum(p.numel() for p in decoder.parameters()))
    check = next(iter(ReaderBatches("validation", stage.folder, 7, (Layout(1.0, 1, 96, (1, 2)),))))
    batches = iter(
        DataLoader(
            ReaderBatches("train", stage.folder, stage.seed + step, stage.layouts),
            batch_size=None, num_workers=1, prefetch_factor=4,
        )
    )  # fmt: skip
    trained = [p for group in groups for g in group.param_groups for p in g["params"]]
    started = mark = time.monotonic()
    running: dict[str, float] = {}
    seen = 0

    def save() -> None:
        save_state(
            stage.out / "reader.pt",
            {
                "decoder": decoder.state_dict(),
                "projector": vision.projector.state_dict(),
                "optimizers": [o.state_dict() for o in groups],
                "step": step,
            },
        )

    while (done := (time.monotonic() - started) / (stage.minutes * 60)) < 1.0:
        batch = next(batches)
        set_rates(groups, rate_factor(done))
        with torch.autocast("cpu", torch.bfloat16, enabled=stage.bf16):
            found = losses(vision, decoder, taps, batch)
        total = found["answer"] + stage.guide_weight * found["guide"]
        for optimizer in groups:
            optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        for optimizer in groups:
            optimizer.step()
        step += 1
        seen += batch.ids.shape[0]
        for name, value in found.items():
            running[name] = running.get(name, 0.0) + value.item() / 20
        if step % 20 == 0:
            log.write(step=step, examples_per_s=seen / (time.monotonic() - mark), **running)
            running, seen, mark = {}, 0, time.monotonic()
        if step % 200 == 0:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=stage.bf16):
                scores = losses(vision, decoder, taps, check)
            log.write(step=step, validation={k: round(v.item(), 4) for k, v in scores.items()})
            save()
            mark = time.monotonic()
    save()
    return vision, decoder
