"""A random checkpoint of a true shape in the Hub's format, written shard by shard.

Its tokenizer is mini's, whose few ids lie at the beginning of the vocabulary. Rows of the embedding that
stand for none of its characters are zero: they score 0 where others score more, so an answer is made of
what the tokenizer can say and never ends by itself.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vlm.bench.machine import GB
from vlm.bench.shapes import Subject, Weights, parameters
from vlm.config import ModelConfig
from vlm.engine import Vision
from vlm.errors import UsageError
from vlm.gemma import GemmaDecoder
from vlm.tokenizer import GemmaTokenizer
from vlm.training.tokenizer import CHARACTERS, build_mini_tokenizer
from vlm.weights.names import EMBEDDING, Place, hub_name

SHARD = 10**9  # bytes at most, unless one tensor is larger
_STORED = 2  # bytes a weight: bfloat16, as on the Hub
_INDEX = "model.safetensors.index.json"


def check_disk(folder: Path, config: ModelConfig) -> None:
    """Refuse to write what the disk doesn't hold.

    Raises:
        UsageError: says what is needed and what is free.
    """
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    needed, free = parameters(config).total * _STORED, shutil.disk_usage(there).free
    if needed > 0.95 * free:
        raise UsageError(
            f"{folder}: {needed / GB:.1f} GB are needed there and {free / GB:.1f} GB are free: name another "
            "folder with --keep-at, or measure a part with --layers"
        )


def is_of(folder: Path, config: ModelConfig) -> bool:
    """Whether a folder holds a checkpoint of this shape, written to its end."""
    try:
        there = ModelConfig.from_folder(folder) if (folder / _INDEX).is_file() else None
    except Exception:  # whatever it is, it is none of ours
        return False
    if there is None:
        return False
    shape = "hidden_size intermediate_size num_hidden_layers vocab_size layer_types"
    same = all(getattr(there.text, name) == getattr(config.text, name) for name in shape.split())
    return same and there.vision == config.vision


def write_random(folder: Path, subject: Subject, tell: Callable[[str], None]) -> None:
    """Write config, tokenizer and weights.

    Args:
        folder: made if missing.
        subject: the shape, with the layers to write.
        tell: told how far it is.

    Raises:
        UsageError: no room, or the disk failed.
    """
    config = subject.config
    check_disk(folder, config)
    try:
        side = config.vision.image_size if config.vision is not None else 224
        build_mini_tokenizer(folder, image_size=side, image_seq_length=config.mm_tokens_per_image)
        tokenizer = GemmaTokenizer.from_folder(folder)
        _write(folder / "config.json", _config(config, tokenizer))
        _write_shards(folder, config, tokenizer, tell)
    except OSError as error:
        raise UsageError(f"{folder}: can't be written ({error.strerror or error})") from None


def _write_shards(
    folder: Path, config: ModelConfig, tokenizer: GemmaTokenizer, tell: Callable[[str], None]
) -> None:
    total, written = parameters(config).total * _STORED, 0
    weight_map: dict[str, str] = {}
    shard: dict[str, Tensor] = {}

    def close() -> None:
        name = f"model-{len(set(weight_map.values())) + 1:05}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(shard, name))
        shard.clear()

    for name, tensor in _tensors(config, tokenizer):
        if shard and sum(held.nbytes for held in shard.values()) + tensor.nbytes > SHARD:
            close()
            tell(f"writing {written / GB:.1f} of {total / GB:.1f} GB of random weights")
        shard[name] = tensor
        written += tensor.nbytes
    close()
    _write(folder / _INDEX, {"metadata": {"total_size": written}, "weight_map": weight_map})  # says: whole


@torch.no_grad()
def _tensors(config: ModelConfig, tokenizer: GemmaTokenizer) -> Iterator[tuple[str, Tensor]]:
    """Every tensor under its Hub name, one at a time."""
    weights = Weights(keep=False)
    with torch.device("meta"):
        parts: dict[str, nn.Module] = {"text": GemmaDecoder(config.text)}
        if config.vision is not None:
            vision = Vision(config)
            parts |= {"vision": vision.encoder, "projector": vision.projector}
    for part, module in parts.items():
        for key, parameter in module.named_parameters():
            place = Place(part, key)
            drawn = weights.draw(f"{part}.{key}", parameter)
            if place == EMBEDDING:
                said = {tokenizer.encode_text(character)[0] for character in CHARACTERS}
                silent = torch.ones(len(drawn), dtype=torch.bool)
                silent[list(said)] = False
                drawn[silent] = 0.0
            yield hub_name(place, multimodal=config.vision is not None), drawn.to(torch.bfloat16)


def _config(config: ModelConfig, tokenizer: GemmaTokenizer) -> dict[str, Any]:
    special = tokenizer.special
    text: dict[str, Any] = asdict(config.text) | {
        "model_type": "gemma3_text",
        "architectures": ["Gemma3ForCausalLM"],
        "bos_token_id": special.bos,
        "eos_token_id": [special.eos],
        "pad_token_id": special.pad,
    }
    factor = text.pop("rope_factor")
    if factor != 1.0:
        text["rope_scaling"] = {"rope_type": "linear", "factor": factor}
    if config.vision is None:
        return text | {"dtype": "bfloat16"}
    return {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "dtype": "bfloat16",
        "boi_token_index": special.start_of_image,
        "eoi_token_index": special.end_of_image,
        "image_token_index": special.image_soft,
        "eos_token_id": [special.eos, special.end_of_turn],
        "mm_tokens_per_image": config.mm_tokens_per_image,
        "text_config": text,
        "vision_config": asdict(config.vision) | {"model_type": "siglip_vision_model"},
    }


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
