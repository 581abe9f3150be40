"""Safetensors into modules built on the meta device.

Headers are compared first, so a wrong checkpoint is refused in milliseconds and before any memory is
spent. Then each tensor is taken from the memory map, cast alone if it must be, and *assigned*: the
module never holds a tensor of its own beside it. Where no cast is needed the parameters are the map
itself (private pages: writing to them never reaches the file), so a file must not be overwritten
while a model loaded from it is in use.

Pickle is never read (ecosystem.md, "Hostile input"), and an index can name no file outside its folder.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from vlm.errors import CheckpointError
from vlm.quantize import give_back, join_layers
from vlm.weights.forms import (
    FORMS,
    SCALE,
    check_ours,
    formed,
    from_rounded,
    lay_out,
    logical_shape,
    scale_of,
    scale_shape,
    swap,
)
from vlm.weights.names import EMBEDDING, HEAD, Place, Shape, check_match, hub_name, listed, place_of

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PARTS = ("vision", "projector", "text")
_DTYPES = ("F32", "F16", "BF16")
_ROUNDED = ("I8", "U8")  # where a scale lies beside them
_LARGE = 1 << 20  # bytes of a tensor after which memory is given back
_SLICE_ROWS = 4096  # rows compared at once when a stored head is checked against the embedding


@dataclass(frozen=True)
class _Stored:
    """One tensor as its shard's header describes it."""

    file: Path
    name: str
    shape: Shape
    dtype: str


def load_folder_into(modules: Mapping[str, nn.Module], folder: Path, *, dtype: torch.dtype) -> None:
    """Fill modules from a checkpoint folder.

    Args:
        modules: "vision", "projector", "text" (those the config has), built on the meta device.
        folder: holds ``model.safetensors``, or ``model.safetensors.index.json`` and its shards.
        dtype: of the parameters afterwards. With ``torch.int8`` linear layers become ``Int8Linear``, with
            ``vlm.int4.INT4`` the decoder's ``Int4Linear`` where their width allows it; the other parameters
            become float32, the embedding stays as it is stored.

    Raises:
        CheckpointError: no safetensors, an unreadable or cut-off shard, an index that disagrees with
            its shards, a stored dtype that is no float, or any tensor missing, extra or mis-shaped.
    """
    assert modules and set(modules) <= set(PARTS), sorted(modules)
    expected = _expected(modules)
    stored = places(folder, survey(folder), with_vision="vision" in modules)
    scales = {place: stored.pop(place) for place in list(stored) if place.key.endswith(SCALE)}
    head = stored.pop(HEAD, None) if EMBEDDING in expected and HEAD not in expected else None
    check_complete(folder, modules, stored)
    if scales:
        check_ours(folder)
        _check_scales(scales, stored if head is None else stored | {HEAD: head})
    if head is not None and not scales:
        _check_tied(folder, head, stored[EMBEDDING])
    if head is not None and scales:
        stored[HEAD] = head
    if dtype in FORMS:
        swap(modules, FORMS[dtype])
        lay_out(modules)
    wanted = {part: module.state_dict() for part, module in modules.items()}
    for part, state in _tensors(stored, scales, dtype, wanted).items():
        modules[part].load_state_dict(state, strict=True, assign=True)
        modules[part].requires_grad_(False)
        if dtype in FORMS:
            join_layers(modules[part])


def check_complete(folder: Path, modules: Mapping[str, nn.Module], stored: Mapping[Place, _Stored]) -> None:
    """Make sure that a folder holds the modules' tensors and no others.

    Raises:
        CheckpointError: names those that are missing, extra or mis-shaped.
    """
    check_match(
        folder,
        _expected(modules),
        {place: (s.name, s.shape) for place, s in stored.items()},
        lambda place: hub_name(place, multimodal="vision" in modules),
    )


def _expected(modules: Mapping[str, nn.Module]) -> dict[Place, Shape]:
    return {
        Place(part, key): tuple(tensor.shape)
        for part, module in modules.items()
        for key, tensor in module.state_dict().items()
    }


def _shard_files(folder: Path) -> dict[Path, set[str] | None]:
    """The safetensors files of a folder, each with the names its index promises (None: no index).

    A single file is taken before an index, the order of ``transformers``.
    """
    if (folder / SINGLE).is_file():
        return {folder / SINGLE: None}
    if (folder / INDEX).is_file():
        return {folder / shard: names for shard, names in _read_index(folder / INDEX).items()}
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder")
    names = sorted(p.name for p in folder.iterdir())
    if any(n.endswith((".bin", ".pt", ".pth", ".ckpt")) for n in names):
        raise CheckpointError(
            f"{folder}: only pickled weights here, which can run code when read; vlm never opens them. "
            "Save the checkpoint again as safetensors (transformers: model.save_pretrained(folder))"
        )
    if any(n.startswith("adapter_model") for n in names):
        raise CheckpointError(f"{folder}: an adapter alone; merge it into its base model and save that")
    raise CheckpointError(f"{folder}: no weights; expected {SINGLE} or {INDEX} (found: {listed(names)})")


def _read_index(path: Path) -> dict[str, set[str]]:
    """Shard name to tensor names, with every shard known to lie beside the index."""
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
        weight_map = dict(raw["weight_map"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a safetensors index ({error!r})") from None
    shards: defaultdict[str, set[str]] = defaultdict(set)
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or set(shard) & set("/\\:\0") or not shard.endswith(".safetensors"):
            raise CheckpointError(f"{path}: {name} points to {shard!r}; a shard is a .safetensors beside it")
        shards[shard].add(name)
    absent = [shard for shard in sorted(shards) if not (path.parent / shard).is_file()]
    if absent:
        raise CheckpointError(f"{path.parent}: shards of the index are not there: {listed(absent)}")
    if not shards:
        raise CheckpointError(f"{path}: names no tensor")
    return dict(shards)


def survey(folder: Path) -> list[_Stored]:
    """Every tensor of every shard, from the headers."""
    found = []
    for file, promised in _shard_files(folder).items():
        with _opened(file) as shard:
            names = list(shard.keys())
            if promised is not None and promised != set(names):
                only = [f"{n} (index only)" for n in sorted(promised - set(names))]
                only += [f"{n} (file only)" for n in sorted(set(names) - promised)]
                raise CheckpointError(f"{file}: the index and the shard disagree: {listed(only)}")
            for name in names:
                view = shard.get_slice(name)
                found.append(_Stored(file, name, tuple(view.get_shape()), str(view.get_dtype())))
    return found


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """A memory-mapped shard; what is wrong with it is told with its name."""
    try:
        with safe_open(file, framework="pt") as shard:
            yield shard
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{file}: damaged or no safetensors file ({error}); fetch or copy it again"
        ) from None


def places(folder: Path, found: list[_Stored], *, with_vision: bool) -> dict[Place, _Stored]:
    """Stored tensors by place, refusing two names for one place and dtypes that are not weights."""
    stored: dict[Place, _Stored] = {}
    scaled = {tensor.name for tensor in found if tensor.name.endswith(SCALE)}
    for tensor in found:
        place = place_of(tensor.name)
        if place.unused and with_vision:
            continue
        rounded = tensor.dtype in _ROUNDED and f"{tensor.name}{SCALE.removeprefix('.weight')}" in scaled
        if tensor.dtype not in _DTYPES and not rounded:
            raise CheckpointError(
                f"{tensor.file}: {tensor.name} is stored as {tensor.dtype}; vlm loads F32, F16 and BF16 "
                "(a quantised checkpoint must be saved unquantised, or as .gguf)"
            )
        if place in stored:
            raise CheckpointError(f"{folder}: {stored[place].name} and {tensor.name} are the same tensor")
        stored[place] = replace(tensor, shape=logical_shape(tensor.shape, tensor.dtype))
    return stored


def _check_scales(scales: Mapping[Place, _Stored], stored: Mapping[Place, _Stored]) -> None:
    """Every scale must be that of a rounded weight, and every group have one."""
    weights = {scale_of(place): tensor for place, tensor in stored.items() if tensor.dtype in _ROUNDED}
    for place, scale in scales.items():
        weight = weights.get(place)
        if weight is None:
            raise CheckpointError(f"{scale.file}: {scale.name} is the scale of no rounded weight")
        if scale.shape != scale_shape(weight.shape, weight.dtype):
            raise CheckpointError(
                f"{scale.file}: {scale.name} {list(scale.shape)} is no scale of {weight.name} "
                f"{list(weight.shape)}"
            )


def _check_tied(folder: Path, head: _Stored, embedding: _Stored) -> None:
    """A stored output head must be the embedding again: Gemma 3 has no other.

    Both stay on disk: rows are compared a slice at a time.
    """
    same = head.shape == embedding.shape
    with _opened(head.file) as first, _opened(embedding.file) as second:
        a, b = first.get_slice(head.name), second.get_slice(embedding.name)
        for row in range(0, head.shape[0] if same else 0, _SLICE_ROWS):
            rows = slice(row, row + _SLICE_ROWS)
            same = same and torch.equal(a[rows].float(), b[rows].float())
    if not same:
        raise CheckpointError(
            f"{folder}: {head.name} {list(head.shape)} differs from {embedding.name} "
            f"{list(embedding.shape)}; Gemma 3's output head is its embedding"
        )


def _tensors(
    stored: Mapping[Place, _Stored],
    scales: Mapping[Place, _Stored],
    dtype: torch.dtype,
    wanted: Mapping[str, Mapping[str, Tensor]],
) -> dict[str, dict[str, Tensor]]:
    """Every tensor once, in its final form, by part and key."""
    held = {place: tensor for _, place, tensor in read_all(scales)}
    states: defaultdict[str, dict[str, Tensor]] = defaultdict(dict)
    for _, place, tensor in read_all(stored):
        scale = held.get(scale_of(place))
        entries = (
            formed(place, tensor, dtype, wanted[place.part], headless=HEAD not in stored, mapped=True)
            if scale is None
            else from_rounded(place, tensor, scale, dtype, wanted[place.part])
        )
        states[place.part] |= entries
        if dtype in FORMS and tensor.nbytes >= _LARGE:
            give_back()  # what rounding took: a norm put there would keep the next one from using it again
    return states


def read_all(stored: Mapping[Place, _Stored]) -> Iterator[tuple[str, Place, Tensor]]:
    """(stored name, place, tensor) of each, every shard opened once."""
    by_file: defaultdict[Path, list[tuple[Place, _Stored]]] = defaultdict(list)
    for place, tensor in stored.items():
        by_file[tensor.file].append((place, tensor))
    for file, entries in by_file.items():
        with _opened(file) as shard:
            for place, tensor in entries:
                yield tensor.name, place, shard.get_tensor(tensor.name)
