"""Stage one: the SigLIP encoder learns to see letters.

Two signals on one pass over a rendered page:

* dense: each *pooled* token names the characters whose centres lie in each of its patches. It is
  read after the projector's pooling, so the encoder learns to keep apart what pooling will mix;
* contrastive: SigLIP's sigmoid loss (open_clip's ``SigLipLoss``) between page and text.

``reader`` adds a captioning loss when it trains encoder and decoder together; then the encoder is frozen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from open_clip.loss import SigLipLoss
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from vlm.config import VisionConfig
from vlm.siglip import SiglipEncoder
from vlm.training.fonts import Split
from vlm.training.loop import Loop, RunLog, optimizers, save_state
from vlm.training.render import Glyph, PageSampler, PageStyle
from vlm.training.text import CHARSET

SLOTS = 4  # characters kept a patch
TEXT_LENGTH = 128  # characters the text tower sees
EMPTY = 0  # class of an empty slot; a character is its CHARSET index + 1
CLASSES = len(CHARSET) + 1
POOL = 2  # patches along one side of a soft token
_CLASS_OF = {char: index + 1 for index, char in enumerate(CHARSET)}


def slot_classes(glyphs: Iterable[Glyph], config: VisionConfig) -> np.ndarray:
    """Classes of the characters in each patch, grouped by soft token.

    Args:
        glyphs: in reading order, in pixels of the encoder's square; those outside are left out.
        config: shape of the tower.

    Returns:
        uint8 [tokens, POOL * POOL, SLOTS]; patches of a token row by row, characters in reading
        order, ``EMPTY`` where there is none.
    """
    side = config.patches_per_side
    grid = np.zeros((side, side, SLOTS), dtype=np.uint8)
    used = np.zeros((side, side), dtype=np.int64)
    for glyph in glyphs:
        column, row = int(glyph.x // config.patch_size), int(glyph.y // config.patch_size)
        if 0 <= column < side and 0 <= row < side and used[row, column] < SLOTS:
            grid[row, column, used[row, column]] = _CLASS_OF[glyph.char]
            used[row, column] += 1
    cells = grid.reshape(side // POOL, POOL, side // POOL, POOL, SLOTS).transpose(0, 2, 1, 3, 4)
    return cells.reshape(-1, POOL * POOL, SLOTS)


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
            text = [_CLASS_OF[c] for c in " ".join(page.lines)][:TEXT_LENGTH]
            padded = torch.zeros(TEXT_LENGTH, dtype=torch.uint8)
            padded[: len(text)] = torch.tensor(text, dtype=torch.uint8)
            yield pixels, torch.from_numpy(slot_classes(page.glyphs, self.config)), padded


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
        self.dense = nn.Linear(width, SLOTS * CLASSES)
        self.image_out = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 128))
        self.text = TextTower(128, 128)
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def dense_loss(self, pooled_NTD: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy over the slots, and the share of characters named right."""
        n, t, d = pooled_NTD.shape
        patches = F.gelu(self.spread(pooled_NTD)).view(n, t, POOL * POOL, d)
        logits = self.dense(patches).view(*slots.shape, CLASSES)
        filled = slots != EMPTY
        # A tenth of the empty slots stand for all of them: the loss learns from letters.
        chosen = filled | (torch.rand(slots.shape, device=slots.device) < 0.1)
        chosen_logits = logits[chosen].float()
        dense = F.cross_entropy(chosen_logits, slots[chosen].long())
        with torch.no_grad():
            hit = chosen_logits.argmax(-1) == slots[chosen]
            accuracy = hit[filled[chosen]].float().mean()
        return dense, accuracy

    def losses(self, patches_NPD: Tensor, slots: Tensor, text: Tensor) -> dict[str, Tensor]:
        """Dense and contrastive losses of a batch, and the dense accuracy."""
        pooled_NTD = pool(patches_NPD)
        dense, accuracy = self.dense_loss(pooled_NTD, slots)
        image = F.normalize(self.image_out(pooled_NTD).mean(1).float(), dim=-1)
        words = F.normalize(self.text(text.long()).float(), dim=-1)
        contrast = SigLipLoss()(image, words, self.scale.exp(), self.bias)
        return {"dense": dense, "contrast": contrast, "accuracy": accuracy}


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


EASY = PageStyle(letter_px=(20.0, 40.0), lines=(3, 9), noise=0.1)
FULL = PageStyle(letter_px=(15.0, 40.0), lines=(2, 12))
CHECK = PageStyle(letter_px=(20.0, 32.0), lines=(1, 8))


@dataclass(frozen=True)
class EncoderStage:
    """Settings of the stage."""

    out: Path
    minutes: float  # wall-clock budget; the rate decays towards it
    batch: int = 32
    muon_rate: float = 0.02
    adam_rate: float = 2e-3
    contrast_weight: float = 0.2
    seed: int = 1
    resume: Path | None = None
    bf16: bool = True
    check_pages: int = 128


def train_encoder(config: VisionConfig, stage: EncoderStage) -> SiglipEncoder:
    """Run the stage and write ``encoder.pt`` (encoder, heads, optimisers) into ``stage.out``."""
    torch.manual_seed(stage.seed)
    encoder, heads = SiglipEncoder(config), EncoderHeads(config)
    init_encoder(encoder)
    groups = optimizers(encoder, stage.muon_rate, stage.adam_rate, outside=(heads,))
    step = 0
    if stage.resume:
        state = torch.load(stage.resume, weights_only=True)
        encoder.load_state_dict(state["encoder"])
        heads.load_state_dict(state["heads"])
        for optimizer, saved in zip(groups, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        step = state["step"]
    for layer in encoder.encoder.layers:
        layer.compile()  # fuses what lies between the products
    log = RunLog(stage.out / "encoder.jsonl")
    log.write(stage=str(asdict(stage)), parameters=sum(p.numel() for p in encoder.parameters()))
    check = next(iter(DataLoader(EncoderPages("validation", config, CHECK, 7), stage.check_pages)))

    def losses(batch: list[Tensor]) -> dict[str, Tensor]:
        pixels, slots, text = batch
        return heads.losses(encoder(as_pixels(pixels)), slots, text)

    def save(step: int) -> None:
        states = {"encoder": encoder.state_dict(), "heads": heads.state_dict()}
        optimizer_states = [o.state_dict() for o in groups]
        save_state(stage.out / "encoder.pt", states | {"optimizers": optimizer_states, "step": step})

    weights = {"dense": 1.0, "contrast": stage.contrast_weight}
    loop: Loop[list[Tensor]] = Loop(groups, weights, stage.minutes, log, stage.bf16, step)
    loop.run(_batches(config, stage, loop), losses, lambda: losses(check), save)
    return encoder


def _batches(config: VisionConfig, stage: EncoderStage, loop: Loop[list[Tensor]]) -> Iterator[list[Tensor]]:
    """Large letters for the first quarter, then all."""
    for style, until in ((EASY, 0.25), (FULL, 2.0)):
        pages = EncoderPages("train", config, style, stage.seed + loop.step)
        batches = iter(DataLoader(pages, stage.batch, num_workers=1, prefetch_factor=4))
        while loop.done < until:
            yield next(batches)
