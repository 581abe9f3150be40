"""Stage one: the SigLIP encoder learns to see letters.

Three signals on one pass over a rendered page:

* dense: each *pooled* token names the characters whose centres lie in each of its patches. It is
  read after the projector's pooling, so the encoder learns to keep apart what pooling will mix;
* contrastive: SigLIP's sigmoid loss (open_clip's ``SigLipLoss``) between page and text.

The encoder is frozen after this stage. Wall-clock time is the budget, so rates follow the clock.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.loss import SigLipLoss
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from vlm.config import VisionConfig
from vlm.siglip import SiglipEncoder
from vlm.training.fonts import Split
from vlm.training.optim import RunLog, optimizers, rate_factor, save_state, set_rates
from vlm.training.render import Page, PageSampler, PageStyle
from vlm.training.text import CHARSET

SLOTS = 4  # characters kept a patch
TEXT_LENGTH = 128  # characters the text tower sees
EMPTY = 0  # class of an empty slot; a character is its CHARSET index + 1
CLASSES = len(CHARSET) + 1
POOL = 2  # patches along one side of a soft token
_CLASS_OF = {char: index + 1 for index, char in enumerate(CHARSET)}


def slot_classes(page: Page, config: VisionConfig) -> np.ndarray:
    """Classes of the characters in each patch, grouped by soft token.

    Returns:
        uint8 [tokens, POOL * POOL, SLOTS]; patches of a token row by row, characters in reading
        order, ``EMPTY`` where there is none.
    """
    side = config.patches_per_side
    grid = np.zeros((side, side, SLOTS), dtype=np.uint8)
    used = np.zeros((side, side), dtype=np.int64)
    for glyph in page.glyphs:
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

    def __iter__(self) -> Any:
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
            yield pixels, torch.from_numpy(slot_classes(page, self.config)), padded


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
        padding = classes_NL == EMPTY
        hidden = self.blocks(self.embed(classes_NL) + self.position, src_key_padding_mask=padding)
        kept = (~padding).unsqueeze(-1)
        return self.out((hidden * kept).sum(1) / kept.sum(1))


class EncoderHeads(nn.Module):
    """Everything that is thrown away after the stage."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.dense = nn.Linear(width, POOL * POOL * SLOTS * CLASSES)
        self.image_out = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 128))
        self.text = TextTower(128, 128)
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def losses(self, patches_NPD: Tensor, slots: Tensor, text: Tensor) -> dict[str, Tensor]:
        pooled_NTD = pool(patches_NPD)
        logits = self.dense(pooled_NTD).view(*slots.shape, CLASSES)
        filled = slots != EMPTY
        # A tenth of the empty slots stand for all of them: the loss learns from letters.
        chosen = filled | (torch.rand(slots.shape, device=slots.device) < 0.1)
        chosen_logits = logits[chosen].float()
        dense = F.cross_entropy(chosen_logits, slots[chosen].long())
        with torch.no_grad():
            hit = chosen_logits.argmax(-1) == slots[chosen]
            accuracy = hit[filled[chosen]].float().mean()
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
        layer.compile()  # fuses what lies between the products: 1.5x the images a second
    log = RunLog(stage.out / "encoder.jsonl")
    log.write(stage=str(asdict(stage)), parameters=sum(p.numel() for p in encoder.parameters()))
    easy = PageStyle(letter_px=(20.0, 40.0), lines=(3, 9), noise=0.1)
    pages = {
        "easy": EncoderPages("train", config, easy, stage.seed + step),
        "full": EncoderPages("train", config, PageStyle(letter_px=(15.0, 40.0), lines=(2, 12)), stage.seed + step + 1),
    }
    check = EncoderPages("validation", config, PageStyle(letter_px=(20.0, 32.0), lines=(1, 8)), 7)
    check_batch = next(iter(DataLoader(check, 128)))
    started = mark = time.monotonic()
    budget = stage.minutes * 60
    loader = iter(DataLoader(pages["easy"], stage.batch, num_workers=1, prefetch_factor=4))
    widened = False
    running: dict[str, float] = {}
    path = stage.out / "encoder.pt"

    def save() -> None:
        save_state(
            path,
            {
                "encoder": encoder.state_dict(),
                "heads": heads.state_dict(),
                "optimizers": [o.state_dict() for o in groups],
                "step": step,
            },
        )

    while (done := (time.monotonic() - started) / budget) < 1.0:
        if done > 0.1 and not widened:
            loader = iter(DataLoader(pages["full"], stage.batch, num_workers=1, prefetch_factor=4))
            widened = True
        pixels, slots, text = next(loader)
        set_rates(groups, rate_factor(done))
        with torch.autocast("cpu", torch.bfloat16, enabled=stage.bf16):
            losses = heads.losses(encoder(as_pixels(pixels)), slots, text)
        total = losses["dense"] + stage.contrast_weight * losses["contrast"]
        for optimizer in groups:
            optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_([*encoder.parameters(), *heads.parameters()], 1.0)
        for optimizer in groups:
            optimizer.step()
        step += 1
        for name, value in losses.items():
            running[name] = running.get(name, 0.0) + value.item() / 20
        if step % 20 == 0:
            log.write(step=step, images_per_s=20 * stage.batch / (time.monotonic() - mark), **running)
            running, mark = {}, time.monotonic()
        if step % 200 == 0:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=stage.bf16):
                scores = heads.losses(encoder(as_pixels(check_batch[0])), *check_batch[1:])
            log.write(step=step, validation={k: round(v.item(), 4) for k, v in scores.items()})
            save()
            mark = time.monotonic()
    save()
    return encoder
