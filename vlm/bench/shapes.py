"""What is measured: a checkpoint, or a released shape with random weights, whole or some of its layers.

Random tensors are drawn by name, each from its own seed, so that the same name holds the same numbers in
whichever order they are asked for. Where a peer computes too, the drawn fp32 tensors are kept and both
sides hold the very same memory; where none does, each matrix is turned into its final type as soon as it
is drawn, so that an int8 model never exists in fp32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast
from zlib import crc32

import torch
from torch import Tensor, nn

from vlm.bench.machine import GB, available_bytes
from vlm.config import PRESETS, ModelConfig, TextConfig
from vlm.engine import Engine, Vision
from vlm.errors import UsageError
from vlm.gemma import GemmaDecoder
from vlm.int4 import Int4Linear, divides
from vlm.precision import ROUNDED
from vlm.quantize import Int8Linear, to_int8
from vlm.tokenizer import GemmaTokenizer
from vlm.weights import gguf_config, resolve

DEVIATION = 0.02
SLACK = 10**9  # bytes: the interpreter, torch, activations
SHARE = 0.9  # of the free memory that may be taken
WEIGHT_BYTES = {"fp32": 4.0, "bf16": 2.0, "int8": 1.0, "int4": 0.625}  # int4: 32 bits a group beside it


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes:
        name: of the shape, or of the checkpoint as the user gave it.
        config: with the layers that are measured.
        whole: with all layers.
        path: folder or ``.gguf`` file; None where the weights are random.
    """

    name: str
    config: ModelConfig
    whole: ModelConfig
    path: Path | None = None

    @classmethod
    def checkpoint(cls, name: str) -> Subject:
        """A checkpoint by its Hub id, folder, file or ``mini``.

        Raises:
            HubError: the repository can't be had.
            CheckpointError: no complete Gemma 3 checkpoint.
        """
        path = resolve(name)
        config = gguf_config(path) if path.suffix == ".gguf" else ModelConfig.from_folder(path)
        return cls(name, config, config, path)

    @classmethod
    def shape(cls, name: str) -> Subject:
        """A released shape, all of its layers.

        Raises:
            UsageError: no such shape.
        """
        if name not in PRESETS:
            raise UsageError(f"no shape {name!r}: {', '.join(PRESETS)}")
        return cls(name, PRESETS[name], PRESETS[name])

    def with_layers(self, vision: int | None, text: int | None) -> Subject:
        """The same shape cut to the first layers of each stack; None leaves a stack whole."""
        config = self.whole
        if text is not None:
            kinds = config.text.layer_types[:text]
            config = replace(
                config, text=replace(config.text, num_hidden_layers=len(kinds), layer_types=kinds)
            )
        if vision is not None and config.vision is not None:
            kept = min(vision, config.vision.num_hidden_layers)
            config = replace(config, vision=replace(config.vision, num_hidden_layers=kept))
        return replace(self, config=config)

    def need_vision(self) -> None:
        """Refuse what reads text only.

        Raises:
            UsageError: names what has a vision tower.
        """
        if self.whole.vision is None:
            raise UsageError(f"{self.name} reads text only: name mini, another checkpoint with vision, or "
                             "--shape 4b")  # fmt: skip

    def layers(self, *stacks: str) -> dict[str, tuple[int, int]]:
        """Layers measured and layers in all, of the stacks named "encoder" and "decoder"."""
        counts = {"decoder": (self.config.text.num_hidden_layers, self.whole.text.num_hidden_layers)}
        if self.config.vision is not None and self.whole.vision is not None:
            counts["encoder"] = (self.config.vision.num_hidden_layers, self.whole.vision.num_hidden_layers)
        return {stack: counts[stack] for stack in stacks if stack in counts}


class Weights:
    """Random fp32 tensors by name.

    Args:
        keep: hold on to what was drawn, for who shares it.
    """

    def __init__(self, *, keep: bool) -> None:
        self.keep = keep
        self.kept: dict[str, Tensor] = {}

    def draw(self, name: str, like: Tensor) -> Tensor:
        """Normal with deviation 0.02; biases, and weights of norms, are those that change nothing.

        Args:
            name: in full, from "vision.", "projector." or "text." on; says what kind of tensor it is.
            like: its shape.
        """
        if name in self.kept:
            return self.kept[name]
        made = torch.empty(like.shape)
        layer_norm = name.startswith("vision.") and "mm_soft_emb_norm" not in name
        if like.ndim == 1:  # a LayerNorm multiplies by its weight, an RMSNorm by 1 + weight
            made.fill_(1.0 if layer_norm and name.endswith("weight") else 0.0)
        else:
            made.normal_(0.0, DEVIATION, generator=torch.Generator().manual_seed(crc32(name.encode())))
        if self.keep:
            self.kept[name] = made
        return made

    def named(self, prefix: str) -> dict[str, Tensor]:
        """What was drawn and kept under a prefix, which is cut off."""
        return {n.removeprefix(prefix): t for n, t in self.kept.items() if n.startswith(prefix)}


@torch.no_grad()
def fill(module: nn.Module, prefix: str, weights: Weights, dtype: str) -> None:
    """Give a module on the meta device its random tensors, in their final type.

    Args:
        module: built on the meta device.
        prefix: put before its parameters' names.
        weights: where the tensors come from.
        dtype: fp32, bf16, int8 or int4, the last for the decoder alone, as in a checkpoint.
    """
    final = torch.bfloat16 if dtype == "bf16" else torch.float32
    for name, owner in list(module.named_modules()):
        for key, parameter in list(owner.named_parameters(recurse=False)):
            drawn = weights.draw(f"{prefix}{name}.{key}" if name else prefix + key, parameter).to(final)
            setattr(owner, key, nn.Parameter(drawn, requires_grad=False))
        if dtype in ROUNDED and isinstance(owner, nn.Linear):  # now, so that its fp32 may go
            above, _, last = name.rpartition(".")
            narrow = dtype == "int4" and prefix == "text." and divides(owner.in_features)
            rounded = Int4Linear.of(owner) if narrow else Int8Linear.of(owner)
            setattr(module.get_submodule(above), last, rounded)
    if dtype in ROUNDED:
        to_int8(module)
    module.eval()


def random_vision(config: ModelConfig, weights: Weights, dtype: str) -> Vision:
    """Encoder and projector with random weights, named "vision." + our names."""
    with torch.device("meta"):
        vision = Vision(config)
    fill(vision, "vision.", weights, dtype)
    return vision


def random_decoder(config: TextConfig, weights: Weights, dtype: str) -> GemmaDecoder:
    """A decoder with random weights, named "text." + our names."""
    with torch.device("meta"):
        decoder = GemmaDecoder(config)
    fill(decoder, "text.", weights, dtype)
    return decoder


def engine_of(subject: Subject, dtype: str, vision: Vision | None, decoder: GemmaDecoder) -> Engine:
    """An engine around modules made here. It has no tokenizer: only ids go in and come out."""
    return Engine(
        name=subject.name, config=subject.config, tokenizer=cast(GemmaTokenizer, None), vision=vision,
        decoder=decoder, dtype=torch.bfloat16 if dtype == "bf16" else torch.float32,
    )  # fmt: skip


def load(subject: Subject, dtype: str) -> Engine:
    """A checkpoint, by the way everything loads it."""
    assert subject.path is not None
    return Engine.load(subject.path, dtype=dtype)  # type: ignore[arg-type]  # told there if unknown


@dataclass(frozen=True)
class Parameters:
    """Numbers of weights, by what becomes of them."""

    layers: int  # of all decoder layers
    embedding: int
    encoder: int  # of all encoder layers
    rest: int  # patch embedding, projector, norms outside layers

    @property
    def total(self) -> int:
        """All of them."""
        return self.layers + self.embedding + self.encoder + self.rest


def parameters(config: ModelConfig) -> Parameters:
    """Count a config's weights without making them."""
    with torch.device("meta"):
        decoder = GemmaDecoder(config.text)
        vision = Vision(config) if config.vision is not None else None
    layers, embedding = _count(decoder.layers), decoder.embed_tokens.weight.numel()
    encoder = _count(vision.encoder.encoder) if vision else 0
    everything = _count(decoder) + (_count(vision) if vision else 0)
    return Parameters(layers, embedding, encoder, everything - layers - embedding - encoder)


def weight_bytes(layers: int, others: int, dtype: str) -> int:
    """Bytes of weights, each counted once.

    Args:
        layers: weights of the decoder's layers.
        others: all other weights, which are int8 in an int4 model.
        dtype: of ours.
    """
    beside = "int8" if dtype == "int4" else dtype
    return round(layers * WEIGHT_BYTES[dtype] + others * WEIGHT_BYTES[beside])


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@dataclass(frozen=True)
class Copies:
    """Which copies of random weights lie in memory at once, and so how many layers fit.

    Attributes:
        dtype: of ours.
        peers: dtypes of the peers' models ("fp32", "bf16").
    """

    dtype: str
    peers: Sequence[str] = field(default=())

    @property
    def matrix(self) -> float:
        """Bytes a weight of a layer."""
        drawn = 4.0 if self.peers or self.dtype == "fp32" else 0.0
        ours = 0.0 if self.dtype == "fp32" else WEIGHT_BYTES[self.dtype]
        return drawn + ours + 2.0 * self.peers.count("bf16")

    @property
    def embedding(self) -> float:
        """Bytes a weight of the embedding: its rows stay fp32 beside an int8 head."""
        return max(4.0 + WEIGHT_BYTES["int8"] if self.dtype in ROUNDED else 4.0, self.matrix)


def fit(subject: Subject, copies: Copies, layers: int | None, stacks: Sequence[str]) -> Subject:
    """Cut a shape to what is asked for, or to what the free memory holds.

    Args:
        subject: a shape with all layers; a checkpoint is left as it is.
        copies: what lies in memory at once.
        layers: asked for, of each stack; None takes as many as fit, of the decoder in whole patterns of
            local and global layers.
        stacks: "encoder", "decoder" or both: what is built.

    Raises:
        UsageError: they don't fit; names what does.
    """
    if subject.path is not None:
        return subject
    fixed, each = _bytes(subject, copies, stacks)
    free = SHARE * available_bytes() - SLACK - fixed
    counts = {stack: whole for stack, (_, whole) in subject.layers(*stacks).items()}
    if layers is None:
        scarce = stacks[-1]  # the decoder where both are built
        fixed_by_others = sum(each[stack] * counts[stack] for stack in stacks if stack != scarce)
        fitting = min(counts[scarce], max(0, int((free - fixed_by_others) // each[scarce])))
        pattern = subject.whole.text.sliding_window_pattern if scarce == "decoder" else 1
        if fitting < counts[scarce] and fitting > pattern:
            fitting -= fitting % pattern
        counts[scarce] = fitting
    else:
        counts = {stack: min(layers, whole) for stack, whole in counts.items()}
    needed = sum(each[stack] * count for stack, count in counts.items())
    if needed > free or not all(counts.values()):
        fits = max(0, int(free // sum(each.values())))
        advice = f"--layers {fits} fits" if fits else "a smaller shape or fewer --against may fit"
        raise UsageError(
            f"{subject.name} needs {(needed + fixed + SLACK) / GB:.1f} GB here and "
            f"{available_bytes() / GB:.1f} GB are free: {advice}"
        )
    return subject.with_layers(counts.get("encoder"), counts.get("decoder"))


def _bytes(subject: Subject, copies: Copies, stacks: Sequence[str]) -> tuple[float, dict[str, float]]:
    """Bytes whatever the layers, and bytes of one layer of each stack."""
    held, layers = parameters(subject.whole), subject.layers(*stacks)
    each: dict[str, float] = {}
    fixed = held.rest * 4.0 * 2
    if "decoder" in stacks:
        each["decoder"] = held.layers / layers["decoder"][1] * copies.matrix
        fixed += held.embedding * copies.embedding
    if "encoder" in stacks:
        each["encoder"] = held.encoder / layers["encoder"][1] * copies.matrix
    return fixed, each


def check_room(subject: Subject, dtype: str, peers: Sequence[str]) -> None:
    """Refuse to load a checkpoint several times over into less memory than that takes.

    Raises:
        UsageError: says what is needed and what is free.
    """
    held = parameters(subject.config)
    ours = weight_bytes(held.layers, held.total - held.layers, dtype if dtype in WEIGHT_BYTES else "fp32")
    needed = ours + held.total * sum(WEIGHT_BYTES[peer] for peer in peers) + SLACK
    free = available_bytes()
    if needed > SHARE * free:
        raise UsageError(
            f"{subject.name} needs {needed / GB:.1f} GB here and {free / GB:.1f} GB are free: leave out "
            "--against, or measure its shape in part (--shape with --layers)"
        )
