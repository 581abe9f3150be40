"""Stage one: the SigLIP encoder learns to see letters.

Two signals on one pass over a rendered page:

* dense: each *pooled* token names the characters whose centres lie in each of its patches. It is
  read after the projector's pooling, so the encoder learns to keep apart what pooling will mix;
* contrastive: SigLIP's sigmoid loss (open_clip's ``SigLipLoss``) between page and text.

``reader`` adds a captioning loss when it trains encoder and decoder together; then the encoder is frozen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from open_clip.loss import SigLipLoss
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, IterableDataset

from vlm.config import VisionConfig
from vlm.siglip import SiglipEncoder
from vlm.training.fonts import Split, find_fonts
from vlm.training.loop import Loop, RunLog, load_optimizers, load_state, optimizers, save_state
from vlm.training.page import Glyph, Mark
from vlm.training.render import PageSampler, PageStyle
from vlm.training.shape_forms import FORMS
from vlm.training.shapes import SHADES
from vlm.training.text import CHARSET

SLOTS = 4  # characters kept a patch
TEXT_LENGTH = 128  # characters the text tower sees
EMPTY = 0  # class of an empty slot; a character is its CHARSET index + 1
CLASSES = len(CHARSET) + 1
LARGEST, SMALLEST = "largest", "smallest"  # of all that the page shows: a shape, or what a chart names
LEVELS = tuple(f"level {index}" for index in range(10))  # how much what a chart names is of its axis
SEEN_CLASSES = {
    name: CLASSES + index for index, name in enumerate((*SHADES, *sorted(FORMS), LARGEST, SMALLEST, *LEVELS))
}
DENSE_CLASSES = CLASSES + len(SEEN_CLASSES)  # a character, colour or kind of a shape, an extreme, a level
IGNORED_SLOT = 255  # of a window whose letters are too small to read
WHOLE = 0.75  # share of a shape that must be shown for its kind to be seen
POOL = 2  # patches along one side of a soft token
_CLASS_OF = {char: index + 1 for index, char in enumerate(CHARSET)}


def slot_classes(
    glyphs: Iterable[Glyph],
    config: VisionConfig,
    marks: Iterable[Mark] = (),
    extremes: Iterable[tuple[str, Glyph | Mark]] = (),
    levels: Iterable[tuple[str, Glyph]] = (),
) -> np.ndarray:
    """Classes of the characters in each patch, grouped by soft token.

    The patches around the middle of a shape name its colour and its kind; the others within it say
    nothing, so that large shapes don't count for more. Of a shape that is cut off nothing is asked.
    What is the largest or the smallest says so in the last slot of its patches: the encoder, which sees
    all of a chart at once, learns to compare before the decoder has to. Likewise the slot before it says
    how long the bar of a label is, or how high its point lies.

    Args:
        glyphs: in reading order, in pixels of the encoder's square; those outside are left out.
        config: shape of the tower.
        marks: shapes, in the same pixels.
        extremes: ``LARGEST`` or ``SMALLEST``, and a shape that is so or a character of its name.
        levels: one of ``LEVELS``, and a character of the label it belongs to.

    Returns:
        uint8 [tokens, POOL * POOL, SLOTS]; patches of a token row by row, characters in reading
        order, ``EMPTY`` where there is none.
    """
    side = config.patches_per_side
    grid = np.zeros((side, side, SLOTS), dtype=np.uint8)
    used = np.zeros((side, side), dtype=np.int64)
    y, x = (np.mgrid[:side, :side] + 0.5) * config.patch_size
    for mark in marks:
        reach_x, reach_y = (
            max(0.7 * half, config.patch_size / 2) for half in (mark.half_width, mark.half_height)
        )
        inside = (abs(x - mark.x) <= reach_x) & (abs(y - mark.y) <= reach_y)
        middle = inside & (abs(x - mark.x) <= config.patch_size) & (abs(y - mark.y) <= config.patch_size)
        grid[inside] = IGNORED_SLOT
        if _shown(mark, config.image_size) > WHOLE:
            grid[middle] = EMPTY
            grid[middle, 0], grid[middle, 1] = SEEN_CLASSES[mark.color], SEEN_CLASSES[mark.kind]
    for glyph in glyphs:
        column, row = int(glyph.x // config.patch_size), int(glyph.y // config.patch_size)
        on_grid = 0 <= column < side and 0 <= row < side
        if on_grid and used[row, column] < SLOTS and glyph.char in _CLASS_OF:
            grid[row, column, used[row, column]] = _CLASS_OF[glyph.char]
            used[row, column] += 1
    for slot, told in ((-1, extremes), (-2, levels)):
        for name, place in told:
            column, row = int(place.x // config.patch_size), int(place.y // config.patch_size)
            if 0 <= column < side and 0 <= row < side and grid[row, column, slot] == EMPTY:
                grid[row, column, slot] = SEEN_CLASSES[name]
    cells = grid.reshape(side // POOL, POOL, side // POOL, POOL, SLOTS).transpose(0, 2, 1, 3, 4)
    return cells.reshape(-1, POOL * POOL, SLOTS)


def text_classes(lines: Sequence[str]) -> Tensor:
    """Classes of a page's first characters for the text tower: uint8 [TEXT_LENGTH], ``EMPTY`` behind them."""
    classes = [_CLASS_OF[char] for char in " ".join(lines) if char in _CLASS_OF][:TEXT_LENGTH]
    padded = torch.full((TEXT_LENGTH,), EMPTY, dtype=torch.uint8)
    padded[: len(classes)] = torch.tensor(classes, dtype=torch.uint8)
    return padded


def _shown(mark: Mark, side: int) -> float:
    """Share of a mark's box that lies on a square."""

    def along(middle: float, half: float) -> float:
        return max(0.0, min(middle + half, side) - max(middle - half, 0.0)) / (2 * half)

    return along(mark.x, mark.half_width) * along(mark.y, mark.half_height)


class EncoderPages(IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """Endless (pixels uint8 [3, S, S], slots, text classes) of one split."""

    def __init__(self, split: Split, config: VisionConfig, style: PageStyle, seed: int) -> None:
        self.split, self.config, self.style, self.seed = split, config, style, seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        sampler = PageSampler(self.split, self.seed)
        side = self.config.image_size
        while True:
            page = sampler.page(self.style, side, side)
            if not page.glyphs:
                continue
            pixels = torch.from_numpy(np.asarray(page.image).transpose(2, 0, 1).copy())
            slots = torch.from_numpy(slot_classes(page.glyphs, self.config))
            yield pixels, slots, text_classes(page.lines)


class TextTower(nn.Module):
    """The contrastive partner: two transformer layers over characters, mean pooled."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(CLASSES, width, padding_idx=EMPTY)
        self.position = nn.Parameter(torch.randn(TEXT_LENGTH, width) * 0.02)
        block = nn.TransformerEncoderLayer(
            width, 2, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.out = nn.Linear(width, out)

    def forward(self, classes_NL: Tensor) -> Tensor:
        """Classes of a page's characters, ``EMPTY`` behind them, to one vector a page."""
        padding = classes_NL == EMPTY
        hidden = self.blocks(self.embed(classes_NL) + self.position, src_key_padding_mask=padding)
        kept = (~padding).unsqueeze(-1)
        return self.out((hidden * kept).sum(1) / kept.sum(1))


class EncoderHeads(nn.Module):
    """Everything that is thrown away after the stage."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.spread = nn.Linear(width, POOL * POOL * width)  # a token to its patches again
        self.dense = nn.Linear(width, SLOTS * DENSE_CLASSES)
        self.image_out = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 128))
        self.text = TextTower(128, 128)
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def dense_loss(self, pooled_NTD: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy over the slots, and the share of characters named right.

        Shapes fill few slots beside letters, so theirs is a mean of its own.
        """
        n, t, d = pooled_NTD.shape
        patches = F.gelu(self.spread(pooled_NTD)).view(n, t, POOL * POOL, d)
        logits = self.dense(patches).view(*slots.shape, DENSE_CLASSES)
        read = slots != IGNORED_SLOT
        seen = (slots >= CLASSES) & read
        filled = (slots != EMPTY) & read & ~seen
        # A tenth of the empty slots stand for all of them: the loss learns from letters.
        chosen = filled | (read & (slots == EMPTY) & (torch.rand(slots.shape, device=slots.device) < 0.1))
        dense, accuracy = pooled_NTD.sum() * 0.0, torch.zeros(())
        if seen.any():
            dense = dense + F.cross_entropy(logits[seen].float(), slots[seen].long())
        if filled.any():  # something legible in the batch
            chosen_logits = logits[chosen].float()
            dense = dense + F.cross_entropy(chosen_logits, slots[chosen].long())
            hit = chosen_logits.detach().argmax(-1) == slots[chosen]
            accuracy = hit[filled[chosen]].float().mean()
        return dense, accuracy

    def losses(self, patches_NPD: Tensor, slots: Tensor, text: Tensor) -> dict[str, Tensor]:
        """Dense and contrastive losses of a batch, and the dense accuracy."""
        pooled_NTD = pool(patches_NPD)
        dense, accuracy = self.dense_loss(pooled_NTD, slots)
        return {"dense": dense, "contrast": self.contrast_loss(pooled_NTD, text), "accuracy": accuracy}

    def contrast_loss(self, pooled_NTD: Tensor, text_NL: Tensor) -> Tensor:
        """Sigmoid loss between pages and their texts; pages without text are left out."""
        told = (text_NL != EMPTY).any(1)
        if not told.any():
            return pooled_NTD.sum() * 0.0
        image = F.normalize(self.image_out(pooled_NTD[told]).mean(1).float(), dim=-1)
        words = F.normalize(self.text(text_NL[told].long()).float(), dim=-1)
        return SigLipLoss()(image, words, self.scale.exp(), self.bias)


def pool(patches_NPD: Tensor) -> Tensor:
    """Average POOL x POOL patches: [N, P, D] to [N, P / 4, D]."""
    n, p, d = patches_NPD.shape
    side = round(p**0.5)
    cells = patches_NPD.view(n, side // POOL, POOL, side // POOL, POOL, d)
    return cells.mean(dim=(2, 4)).view(n, -1, d)


def init_encoder(encoder: SiglipEncoder) -> None:
    """Start from 2-D sine-cosine positions and small weights, so that place is known from step one."""
    config = encoder.config
    for module in encoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.6 / math.sqrt(module.in_features))
            nn.init.zeros_(module.bias)
    side, quarter = config.patches_per_side, config.hidden_size // 4
    frequency = 1.0 / 100.0 ** (torch.arange(quarter) / quarter)
    angle = torch.arange(side)[:, None] * frequency  # [side, quarter]
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)  # [side, 2 * quarter]
    rows = wave[:, None, :].expand(side, side, -1)
    columns = wave[None, :, :].expand(side, side, -1)
    table = torch.cat([rows, columns], dim=-1).reshape(side * side, -1)
    with torch.no_grad():
        encoder.embeddings.position_embedding.weight.copy_(0.5 * table)


def as_pixels(pixels: Tensor) -> Tensor:
    """uint8 [N, 3, S, S] to the encoder's [-1, 1]."""
    return pixels.float() / 127.5 - 1.0


EASY = PageStyle(letter_px=(20.0, 40.0), lines=(1, 9), noise=0.1)
FULL = PageStyle(letter_px=(15.0, 40.0), lines=(2, 12))
CHECK = PageStyle(letter_px=(20.0, 32.0), lines=(1, 8))


@dataclass(frozen=True)
class EncoderStage:
    """Settings of the stage."""

    out: Path
    minutes: float  # wall-clock budget; the rate decays towards the end of each resolution
    low_share: float = 0.25  # of the time at half the resolution, where letters are learnt cheaply
    batch: int = 32
    muon_rate: float = 0.02
    adam_rate: float = 2e-3
    contrast_weight: float = 0.2
    seed: int = 1
    resume: Path | None = None  # an encoder.pt of full resolution
    bf16: bool | None = None  # as in ``Loop``
    check_pages: int = 128


def train_encoder(config: VisionConfig, stage: EncoderStage) -> SiglipEncoder:
    """Run the stage and write ``encoder.pt`` (encoder, heads, optimisers) into ``stage.out``.

    It begins at half the resolution, on windows of a quarter of the patches; then the positions are
    interpolated and it goes on at full resolution. A resumed stage goes on at full resolution.
    """
    torch.manual_seed(stage.seed)
    find_fonts("train")  # before anything is written
    log = RunLog(stage.out / "encoder.jsonl")
    heads = EncoderHeads(config)
    encoder = SiglipEncoder(config)
    init_encoder(encoder)
    if stage.resume is None and stage.low_share > 0:
        low = SiglipEncoder(replace(config, image_size=config.image_size // 2))
        init_encoder(low)
        early = _Phase("encoder-low.pt", stage.minutes * stage.low_share, EASY)
        _train_at(low, heads, stage, log, early)
        raise_resolution(low, encoder)
        left = stage.minutes - early.minutes
    else:
        left = stage.minutes
    _train_at(encoder, heads, stage, log, _Phase("encoder.pt", left, FULL))
    return encoder


def raise_resolution(low: SiglipEncoder, high: SiglipEncoder) -> None:
    """Copy an encoder into one of more patches, positions interpolated (bicubic, as SigLIP 2 does)."""
    name = "embeddings.position_embedding.weight"
    states = low.state_dict()
    few, many = low.config.patches_per_side, high.config.patches_per_side
    grid_1DHW = states[name].view(few, few, -1).permute(2, 0, 1)[None]
    grown = F.interpolate(grid_1DHW, (many, many), mode="bicubic", align_corners=False)
    states[name] = grown[0].permute(1, 2, 0).reshape(many * many, -1)
    high.load_state_dict(states)


@dataclass(frozen=True)
class _Phase:
    """What differs between the resolutions."""

    file: str  # of the checkpoint; only encoder.pt can be resumed or read with
    minutes: float
    style: PageStyle


def _train_at(
    encoder: SiglipEncoder, heads: EncoderHeads, stage: EncoderStage, log: RunLog, phase: _Phase
) -> None:  # fmt: skip
    """Train at the encoder's own resolution."""
    config = encoder.config
    groups = optimizers(encoder, stage.muon_rate, stage.adam_rate, outside=(heads,))
    step = 0
    if stage.resume is not None:
        state = load_state(stage.resume, "encoder")
        encoder.load_state_dict(state["encoder"])
        heads.load_state_dict(state["heads"])
        load_optimizers(groups, state["optimizers"])
        step = state["step"]
    for layer in encoder.encoder.layers:
        layer.compile()  # fuses what lies between the products
    log.write(
        name=f"encoder at {config.image_size} px",
        first_step=step,
        stage=str(asdict(stage)),
        image_size=config.image_size,
        parameters=sum(p.numel() for p in encoder.parameters()),
    )
    check = next(iter(DataLoader(EncoderPages("validation", config, CHECK, 7), stage.check_pages)))
    pages = EncoderPages("train", config, phase.style, stage.seed + step)
    batches = iter(DataLoader(pages, stage.batch, num_workers=1, prefetch_factor=4))

    def losses(batch: list[Tensor]) -> dict[str, Tensor]:
        pixels, slots, text = batch
        return heads.losses(encoder(as_pixels(pixels)), slots, text)

    def save(step: int) -> None:
        states = {"encoder": encoder.state_dict(), "heads": heads.state_dict()}
        optimizer_states = [o.state_dict() for o in groups]
        save_state(stage.out / phase.file, states | {"optimizers": optimizer_states, "step": step})

    weights = {"dense": 1.0, "contrast": stage.contrast_weight}
    loop: Loop[list[Tensor]] = Loop(
        groups, weights, phase.minutes, log, stage.bf16, lambda _: stage.batch, step
    )
    with sdpa_kernel(SDPBackend.MATH):  # whose backward takes half the time of the fused kernel's here
        loop.run(batches, losses, lambda: losses(check), save)
