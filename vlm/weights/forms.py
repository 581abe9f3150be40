"""A stored tensor in the form a model computes with: cast, rounded, or rounded as it is stored.

A rounded checkpoint is a Hub folder whose linear weights are int8 and turned (``vlm.quantize``) or, in the
decoder, 4 bits wide (``vlm.int4``), each with its ``weight_scale`` beside it; it also holds an int8
``lm_head``. ``quantization_config`` of its config.json says so. Its weights are mapped, and read when they
are first used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vlm.errors import CheckpointError
from vlm.int4 import GROUP, INT4, dequantised, divides, quantised4, swap_linears4
from vlm.quantize import TURNED, empty_groups, lay_together, let_go, quantised, swap_linears, turned
from vlm.weights.names import EMBEDDING, HEAD, Place

Form = Literal["int8", "int4"]

SCALE = ".weight_scale"
FORMS: dict[torch.dtype, Form] = {torch.int8: "int8", INT4: "int4"}
MARKS: dict[Form, dict[str, Any]] = {  # config.json's "quantization_config"
    "int8": {"quant_method": "vlm", "bits": 8, "turned": TURNED},
    "int4": {"quant_method": "vlm", "bits": 4, "group": GROUP, "turned": TURNED},
}


def swap(modules: Mapping[str, nn.Module], form: Form) -> None:
    """Put empty rounded layers into the parts of a model, in place; the decoder's alone are ever 4 bits."""
    for part, module in modules.items():
        if form == "int4" and part == "text":
            swap_linears4(module)
        else:
            swap_linears(module)


def lay_out(modules: Mapping[str, nn.Module]) -> None:
    """Give the empty int8 layers memory for a loader to write into, those that will be joined side by side.

    Before the first weight is rounded: weights that lie between what rounding takes for a while would keep
    the C library from using that place again, a quarter of a 4B model's memory.
    """
    for module in modules.values():
        for layers in empty_groups(module):
            lay_together(layers)


def formed(
    place: Place,
    stored: Tensor,
    dtype: torch.dtype,
    state: Mapping[str, Tensor],
    *,
    headless: bool = True,
    mapped: bool = False,
) -> dict[str, Tensor]:
    """What a stored float tensor becomes.

    Args:
        place: where it belongs.
        stored: as it is in the file.
        dtype: what the model's parameters are to be; one of ``FORMS`` for products of rounded weights.
        state: of the module to be filled, which says what is wanted rounded, and how.
        headless: whether the int8 head is to be made from the embedding.
        mapped: ``stored`` lies in a mapped file, whose pages are let go once they are read.

    Returns:
        Entries of the module's state.
    """
    if dtype not in FORMS:
        return {place.key: stored.to(dtype)}
    if place == EMBEDDING:  # rows are looked up as they are stored; the head has its own form
        kept = {place.key: stored}
        return kept | _rounded_into(state, "head", stored, mapped) if headless else kept
    layer = place.key.removesuffix(".weight")
    if f"{layer}{SCALE}" not in state:
        return {place.key: stored.float()}
    return _rounded_into(state, layer, stored, mapped)


def _rounded_into(
    state: Mapping[str, Tensor], layer: str, weight_OI: Tensor, mapped: bool = False
) -> dict[str, Tensor]:
    """A layer's rounded entries, written where the module to be filled has memory for them."""
    weight, scale = state[f"{layer}.weight"], state[f"{layer}{SCALE}"]
    entries = rounded(layer, weight_OI, weight.dtype, None if weight.is_meta else (weight, scale), mapped)
    if mapped:
        let_go(weight_OI)
    return entries


def rounded(
    layer: str,
    weight_OI: Tensor,
    dtype: torch.dtype,
    into: tuple[Tensor, Tensor] | None = None,
    mapped: bool = False,
) -> dict[str, Tensor]:
    """A layer's rounded weight, int8 or (uint8) two in a byte, and its scales, by key.

    Args:
        layer: its name.
        weight_OI: what to round.
        dtype: of the rounded weight.
        into: of int8, where to write them.
        mapped: as in ``quantised``.
    """
    four = dtype == torch.uint8
    values, scales = quantised4(weight_OI) if four else quantised(weight_OI, into, mapped=mapped)
    return {f"{layer}.weight": values, f"{layer}{SCALE}": scales}


def from_rounded(
    place: Place, weight: Tensor, scale: Tensor, dtype: torch.dtype, state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What a stored rounded weight becomes: itself, float again, or rounded in another way.

    Args:
        place: where it belongs.
        weight: int8 [out, in], or uint8 [out, in / 2].
        scale: as the weight's form has them.
        dtype: as in ``formed``.
        state: as in ``formed``.
    """
    layer = "head" if place == HEAD else place.key.removesuffix(".weight")
    if dtype in FORMS and state[f"{layer}.weight"].dtype == weight.dtype:
        return {f"{layer}.weight": weight, f"{layer}{SCALE}": scale}
    if place == HEAD and dtype not in FORMS:  # it is the embedding again
        return {}
    plain_OI = dequantised(weight, scale) if weight.dtype == torch.uint8 else unrounded(weight, scale)
    if place == HEAD:
        return _rounded_into(state, layer, plain_OI)
    return formed(place, plain_OI, dtype, state)


def unrounded(weight_OI: Tensor, scale_O: Tensor) -> Tensor:
    """An int8 weight in float32, turned back."""
    return turned(weight_OI.float().mul_(scale_O[:, None]))


def logical_shape(shape: tuple[int, ...], stored: str) -> tuple[int, ...]:
    """The shape of the weight that is stored rounded, as safetensors names the type: U8 holds two a byte."""
    return (*shape[:-1], *(2 * width for width in shape[-1:])) if stored == "U8" else shape


def scale_shape(shape: tuple[int, ...], stored: str) -> tuple[int, ...]:
    """The shape of the scales of a weight of this logical shape; none fits where groups are not whole."""
    if stored != "U8":
        return shape[:-1]
    return (*shape[:-1], *(width // GROUP if divides(width) else -1 for width in shape[-1:]))


def scale_of(place: Place) -> Place:
    """Where the scales of a weight are."""
    return Place(place.part, f"{place.key.removesuffix('.weight')}{SCALE}")


def stored_form(folder: Path) -> Form | None:
    """Which rounded checkpoint of ours a folder holds, if any."""
    found = _quantisation(folder)
    return next((form for form, mark in MARKS.items() if mark == found), None)


def check_ours(folder: Path) -> None:
    """Refuse rounded weights of another scheme.

    Raises:
        CheckpointError: says what was found.
    """
    if stored_form(folder) is None:
        raise CheckpointError(
            f"{folder}: quantised in another way ({_quantisation(folder)!r}); load the checkpoint "
            "it was made from with --dtype int8, or write it with: vlm quantize MODEL OUT"
        )


def _quantisation(folder: Path) -> Any:
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8")).get("quantization_config")
    except (OSError, ValueError, AttributeError):
        return None
