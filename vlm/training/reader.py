"""Stage two: projector and decoder learn to answer; the encoder is frozen.

The prompt is the one of inference, windows included, and the loss falls on answer tokens only. A
guide helps the alignment: one attention head of some layers is asked to look at the soft token that
holds the character coming next. It teaches the reading order in minutes instead of hours, and
leaves behind a head that says where an answer was read.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader

from vlm.config import ModelConfig
from vlm.engine import Engine, Vision
from vlm.errors import UsageError
from vlm.evidence import default_heads
from vlm.gemma import GemmaDecoder
from vlm.layers import DecoderLayer, LayerInputs
from vlm.masks import Queries
from vlm.rope import rotate
from vlm.training.averaged import HORIZON, RunningMean, State
from vlm.training.encoder import SLOTS, EncoderHeads, as_pixels
from vlm.training.examples import IGNORED, LAYOUTS, Batch, BatchMaker, Layout, ReaderBatches
from vlm.training.loop import Loop, RunLog, load_optimizers, load_state, optimizers, save_state
from vlm.training.replay import with_replays
from vlm.training.scenes import Scenes


class AttentionTap:
    """Remembers what a layer was given, so that its attention can be computed again."""

    def __init__(self, layer: DecoderLayer) -> None:
        self.layer = layer
        self.seen: tuple[Tensor, LayerInputs] | None = None
        layer.register_forward_pre_hook(self._remember)

    def _remember(self, _: nn.Module, arguments: tuple[Any, ...]) -> None:
        self.seen = (arguments[0], arguments[1])

    def log_weights(self, head: int, rows_BT: Tensor) -> Tensor:
        """Log attention of one head at the chosen positions: [rows, T].

        Only this head is computed, and only the chosen rows of its scores are kept: they are a tenth.
        """
        assert self.seen is not None
        hidden, inputs = self.seen
        attention = self.layer.self_attn
        heads, groups = attention.counts
        normed_BTD = self.layer.input_layernorm(hidden)

        def of_head(product: nn.Linear, index: int) -> Tensor:
            size = attention.head_dim
            return F.linear(normed_BTD, product.weight[index * size : (index + 1) * size])

        q_BTd = rotate(attention.q_norm(of_head(attention.q_proj, head)), inputs.cos_Td, inputs.sin_Td)
        k_BTd = of_head(attention.k_proj, head * groups // heads)
        k_BTd = rotate(attention.k_norm(k_BTd), inputs.cos_Td, inputs.sin_Td)
        scores = (q_BTd @ k_BTd.transpose(1, 2))[rows_BT].float() * attention.scale
        t = scores.shape[-1]
        mask = inputs.mask if inputs.mask is not None else torch.ones(t, t, dtype=torch.bool).tril()
        return scores.masked_fill(~mask[rows_BT.nonzero()[:, 1]], -1e4).log_softmax(-1)


@dataclass(frozen=True)
class ReaderStage:
    """Settings of the stage."""

    folder: Path  # config.json and tokenizer of the model to be
    start: Path  # encoder.pt of stage one, or a reader.pt or an exported folder to go on from
    out: Path
    minutes: float
    muon_rate: float = 0.012
    adam_rate: float = 1.8e-3
    encoder_share: float = 0.0  # of those rates for the encoder; 0: frozen
    projector_share: float = 0.0  # of the time in which the projector learns alone, before the decoder joins
    encoder_alone: float = 0.0  # of the time in which the encoder learns alone, at a third of the cost
    replays: int = 0  # batches of the last minutes that the encoder sees again after each joint step
    new_heads: float = 0.03  # of the time in which heads that begin anew don't move the encoder
    guide_weight: float = 0.3
    contrast_weight: float = 0.1
    seed: int = 2
    bf16: bool | None = None  # as in ``Loop``
    heads: Path | None = None  # reader.pt of an earlier run, for the encoder's heads that ``start`` lacks
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
        self.guided = default_heads(config)  # those that learn where to look
        self.taps = [AttentionTap(cast(DecoderLayer, self.decoder.layers[layer])) for layer, _ in self.guided]

    def fill(self, state: State) -> None:
        """Take the weights of an exported model; the heads, which it has not, stay as they are.

        Raises:
            UsageError: they are of another shape.
        """
        try:
            missing, unexpected = self.load_state_dict(state, strict=False)
        except RuntimeError as error:
            raise UsageError(f"a model of another shape than mini ({error})") from None
        if unexpected or any(not name.startswith("heads.") for name in missing):
            raise UsageError("a model of another shape than mini")

    def take_heads(self, path: Path) -> bool:
        """Take the encoder's heads, which an exported model has not, from the reader.pt of a run before it.

        Returns:
            Whether they had learnt anything there.

        Raises:
            UsageError: not a reader.pt of this shape.
        """
        state = load_state(path, "reader")
        prefix = "heads."
        held = {k.removeprefix(prefix): v for k, v in state["reader"].items() if k.startswith(prefix)}
        own = self.heads.state_dict()
        for name in ("dense.weight", "dense.bias"):
            held[name] = _widened(held.get(name), own[name])
        try:
            self.heads.load_state_dict(held)
        except RuntimeError as error:
            raise UsageError(f"{path}: heads of another shape than this model's ({error})") from None
        return bool(state.get("has_heads", True))

    def losses(self, batch: Batch, encoder_alone: bool = False, new_heads: bool = False) -> dict[str, Tensor]:
        """Answer loss, guide loss, dense loss, and the share of answer tokens guessed right.

        Args:
            batch: conversations about pages.
            encoder_alone: leave out the decoder and what it says.
            new_heads: the encoder's heads know nothing yet, so they learn and it does not learn from them.
        """
        # Plain products: over 256 patches their backward takes half the time of the fused kernel's. The
        # decoder keeps the fused one, which wins where rows are longer.
        with sdpa_kernel(SDPBackend.MATH):
            patches = self.vision.encoder(as_pixels(batch.pixels))
        found = {} if encoder_alone else self._answered(batch, patches)
        if self.vision.encoder.embeddings.patch_embedding.weight.requires_grad:
            # A frozen encoder learns nothing from its own losses.
            found |= self._seen(batch, patches.detach() if new_heads else patches)
        return found

    def _seen(self, batch: Batch, patches: Tensor) -> dict[str, Tensor]:
        """Losses of the encoder: characters and shapes of the pooled patches, page against text."""
        pooled_NTD = self.vision.projector.pool(patches)
        dense, named = self.heads.dense_loss(pooled_NTD, batch.slots)
        b = batch.ids.shape[0]
        first_windows = pooled_NTD.view(b, -1, *pooled_NTD.shape[1:])[:, 0]
        contrast = self.heads.contrast_loss(first_windows, batch.texts)
        return {"dense": dense, "named": named, "contrast": contrast}

    def _answered(self, batch: Batch, patches: Tensor) -> dict[str, Tensor]:
        """Losses of the decoder."""
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
        weights = batch.weights[answers] / batch.weights.sum()
        return {
            "answer": (F.cross_entropy(logits, wanted, reduction="none") * weights).sum(),
            "guide": self._guide(batch, image_at),
            "accuracy": ((logits.argmax(-1) == wanted) * weights).sum(),
        }

    def _guide(self, batch: Batch, image_at: Tensor) -> Tensor:
        """How far the guided heads look from the soft tokens of the next character."""
        placed = batch.places.any(-1)
        wanted = batch.places[placed]
        share = batch.weights[placed] / batch.weights[placed].sum()
        total = torch.zeros(())
        if not placed.any():
            return total
        for tap, (_, head) in zip(self.taps, self.guided, strict=True):
            weights = tap.log_weights(head, placed)[:, image_at]
            total = total - (weights.masked_fill(~wanted, -1e4).logsumexp(-1) * share).sum()
        return total / len(self.guided)


def _widened(few: Tensor | None, many: Tensor) -> Tensor:
    """What a head knew of the classes of its time, and ``many``'s start for those that came since."""
    if few is None or few.shape[0] % SLOTS or few.shape[0] > many.shape[0]:
        raise UsageError("heads of another shape than this model's")
    grown = many.clone().view(SLOTS, -1, *many.shape[1:])
    known = few.view(SLOTS, -1, *few.shape[1:])
    grown[:, : known.shape[1]] = known
    return grown.view_as(many)


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
        weights |= {"dense": 1.0, "contrast": stage.contrast_weight}
    else:
        vision.encoder.requires_grad_(False)
        reader.heads.requires_grad_(False)
    step, has_heads = _start(reader, groups, stage.start)
    if stage.heads is not None:
        has_heads = reader.take_heads(stage.heads)
    new_heads = 0.0 if has_heads else stage.new_heads
    # Fuses the norms and what lies between the products. The encoder as a whole, which gains a fifth;
    # the decoder layer by layer, because of the taps.
    for part in [vision.encoder, *decoder.layers, decoder.norm]:
        part.compile(dynamic=True)
    check = check_batch(stage.folder, stage.check_pages)
    log = RunLog(stage.out / "reader.jsonl")
    name = "encoder and decoder" if stage.encoder_share > 0 else "decoder, encoder frozen"
    log.write(
        name=name,
        first_step=step,
        stage=str(asdict(stage)),
        parameters=sum(p.numel() for p in reader.parameters()),
    )
    pages = ReaderBatches("train", stage.folder, stage.seed + step, stage.layouts)
    # Spawned, not forked: the typesetter's threads of this process would be missing in a fork.
    loader = DataLoader(
        pages, batch_size=None, num_workers=1, prefetch_factor=16, multiprocessing_context="spawn"
    )
    pending = iter(loader)
    batches = itertools.chain([next(pending)], pending)  # its start is not training time
    shown = with_replays(batches, stage.replays, stage.seed + step)

    mean = RunningMean(reader, HORIZON * 60 * stage.minutes, _mean_of(stage.start))

    def save(step: int) -> None:
        states = {"reader": reader.state_dict(), "optimizers": [o.state_dict() for o in groups]}
        learnt = has_heads or (stage.encoder_share > 0 and loop.done >= new_heads)
        told = {"mean": mean.state, "step": step, "has_heads": learnt}
        save_state(stage.out / "reader.pt", states | told)

    def validated() -> dict[str, Tensor]:
        with mean.shown():
            return reader.losses(check)

    loop: Loop[Batch] = Loop(groups, weights, stage.minutes, log, stage.bf16, _size, step)

    def losses(batch: Batch) -> dict[str, Tensor]:
        decoder.requires_grad_(loop.done >= stage.projector_share)
        alone = batch.encoder_alone or loop.done < stage.encoder_alone
        return reader.losses(batch, alone, new_heads=loop.done < new_heads)

    loop.run(shown, losses, validated, save, mean.step)
    return reader


def _size(batch: Batch) -> int:
    return 0 if batch.encoder_alone else batch.ids.shape[0]


def check_batch(folder: Path, pages: int) -> Batch:
    """Validation pages, the same in every run, as the model in ``folder`` sees them."""
    maker = BatchMaker(folder, Scenes("validation", 7))
    return next(maker.batches(Layout(1.0, 1, pages), together=1))


def answer_loss(reader: Reader, batch: Batch) -> float:
    """The loss of the answers alone."""
    return float(reader.losses(batch)["answer"])


def _start(reader: Reader, groups: list[torch.optim.Optimizer], path: Path) -> tuple[int, bool]:
    """Fill the reader from a checkpoint of either stage.

    An exported folder will do as well, as the one that ships: what training threw away (heads and
    optimisers) begins anew.

    Returns:
        The step to go on from, and whether the encoder's heads have learnt anything.
    """
    if path.is_dir():
        reader.fill(exported_state(path))
        return 0, False
    state = load_state(path, "reader", "encoder")
    try:
        if "reader" not in state:
            reader.vision.encoder.load_state_dict(state["encoder"])
            reader.heads.load_state_dict(state["heads"])
            return 0, True
        reader.load_state_dict(state["reader"])
    except RuntimeError as error:
        raise UsageError(f"{path}: of another shape than this model ({error})") from None
    # Freezing the encoder leaves the decoder's optimisers, which come first, as they were.
    load_optimizers(groups, state["optimizers"])
    return int(state["step"]), bool(state.get("has_heads", True))


def _mean_of(start: Path) -> State | None:
    """The mean that an interrupted or an earlier run had come to."""
    return None if start.is_dir() else load_state(start, "reader", "encoder").get("mean")


def exported_state(folder: Path) -> State:
    """An exported model under the names it has in a reader.

    Raises:
        CheckpointError: the folder holds none.
        UsageError: it has no vision.
    """
    engine = Engine.load(folder, dtype="fp32")
    if engine.vision is None:
        raise UsageError(f"{folder}: reads text only; name a model that sees")
    parts = {"vision": engine.vision, "decoder": engine.decoder}
    return {
        f"{part}.{key}": value for part, module in parts.items() for key, value in module.state_dict().items()
    }


def load_reader(path: Path, config: ModelConfig) -> Reader:
    """What ``train_reader`` saved: the mean of its last weights.

    Raises:
        UsageError: not a reader.pt of this shape.
    """
    state = load_state(path, "reader")
    reader = Reader(config)
    _fill(reader, path, without_heads(state["reader"] | state.get("mean", {})))
    return reader


def without_heads(state: State) -> State:
    """A reader's weights but those of the encoder's heads, which training alone needs."""
    return {name: value for name, value in state.items() if not name.startswith("heads.")}


def _fill(reader: Reader, path: Path, state: State) -> None:
    try:
        reader.fill(state)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
