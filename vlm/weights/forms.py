"""A stored tensor in the form a model computes with: cast, rounded to int8, or int8 as it is stored.

An int8 checkpoint is a Hub folder whose linear weights are int8 and turned (``vlm.quantize``), each with its
``weight_scale`` beside it; it also holds an int8 ``lm_head``. ``quantization_config`` of its config.json says
so. Its weights are mapped, and read when they are first used.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlm.errors import CheckpointError
from vlm.quantize import TURNED, let_go, quantised, turned
from vlm.weights.names import EMBEDDING, HEAD, Place

SCALE = ".weight_scale"
MARK = {"quant_method": "vlm", "bits": 8, "turned": TURNED}  # config.json's "quantization_config"


def formed(
    place: Place, stored: Tensor, dtype: torch.dtype, keys: set[str], *, headless: bool = True
) -> dict[str, Tensor]:
    """What a stored float tensor becomes.

    Args:
        place: where it belongs.
        stored: as it is in the file.
        dtype: what the model's parameters are to be; ``torch.int8`` for int8 products.
        keys: of the module's state, which say what is wanted in int8.
        headless: whether the int8 head is to be made from the embedding.

    Returns:
        Entries of the module's state.
    """
    if dtype != torch.int8:
        return {place.key: stored.to(dtype)}
    if place == EMBEDDING:  # rows are looked up as they are stored; the head has its own form
        return {place.key: stored} | (rounded("head", stored) if headless else {})
    layer = place.key.removesuffix(".weight")
    if f"{layer}{SCALE}" not in keys:
        return {place.key: stored.float()}
    entries = rounded(layer, stored)
    let_go(stored)
    return entries


def rounded(layer: str, weight_OI: Tensor) -> dict[str, Tensor]:
    """A layer's int8 weight and its scales, by key."""
    values, scales = quantised(weight_OI)
    return {f"{layer}.weight": values, f"{layer}{SCALE}": scales}


def from_int8(place: Place, weight_OI: Tensor, scale_O: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    """What a stored int8 weight becomes: itself, or float again."""
    if dtype == torch.int8:
        layer = "head" if place == HEAD else place.key.removesuffix(".weight")
        return {f"{layer}.weight": weight_OI, f"{layer}{SCALE}": scale_O}
    if place == HEAD:  # it is the embedding again
        return {}
    return {place.key: turned(weight_OI.float().mul_(scale_O[:, None])).to(dtype)}


def scale_of(place: Place) -> Place:
    """Where the scales of a weight are."""
    return Place(place.part, f"{place.key.removesuffix('.weight')}{SCALE}")


def is_int8(folder: Path) -> bool:
    """Whether a folder holds an int8 checkpoint of ours."""
    return _quantisation(folder) == MARK


def check_ours(folder: Path) -> None:
    """Refuse int8 weights of another scheme.

    Raises:
        CheckpointError: says what was found.
    """
    if not is_int8(folder):
        raise CheckpointError(
            f"{folder}: quantised in another way ({_quantisation(folder)!r}); load the checkpoint "
            "it was made from with --dtype int8, or write it with: vlm quantize MODEL OUT"
        )


def _quantisation(folder: Path) -> Any:
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8")).get("quantization_config")
    except (OSError, ValueError, AttributeError):
        return None
