"""Writes a rounded checkpoint: tensor by tensor, shard by shard, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vlm.errors import CheckpointError, UsageError
from vlm.tokenizer import GemmaTokenizer
from vlm.weights.folder import INDEX, SINGLE, check_complete, places, read_all, survey
from vlm.weights.forms import MARKS, SCALE, Form, rounded, stored_form, swap
from vlm.weights.names import EMBEDDING, HEAD, Place, hub_name

SHARD = 1 << 30  # bytes; what memory holds at once
_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack"}


def write_rounded(
    source: Path,
    out: Path,
    modules: Mapping[str, nn.Module],
    on_tensor: Callable[[int, int], None],
    form: Form = "int8",
) -> None:
    """Round a checkpoint's linear weights.

    Args:
        source: a checkpoint folder in the Hub's format.
        out: must not be there; appears when everything is written.
        modules: "vision", "projector", "text" as the config has them, on the meta device.
        on_tensor: told (tensors done, tensors in all).
        form: what weights become; int4 is the decoder's alone.

    Raises:
        CheckpointError: the source can't be read, or is rounded already.
        UsageError: there is something at ``out``, or it can't be written.
    """
    already = stored_form(source)
    if already is not None:
        raise CheckpointError(
            f"{source}: is {already} already; load it as it is, or round the checkpoint it was made from"
        )
    if out.exists():
        raise UsageError(f"{out}: is there already; name a folder that is not")
    stored = places(source, survey(source), with_vision="vision" in modules)
    stored.pop(HEAD, None)
    check_complete(source, modules, stored)
    GemmaTokenizer.from_folder(source)  # told now, and not after hours of rounding
    swap(modules, form)
    wanted = {part: module.state_dict() for part, module in modules.items()}
    try:
        beside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise UsageError(f"{out}: can't be written ({error.strerror})") from None
    try:
        shards = _Shards(beside)
        for done, (_, place, tensor) in enumerate(read_all(stored), 1):
            for where, values in _entries(place, tensor, wanted[place.part]):
                shards.add(hub_name(where, multimodal="vision" in modules), values)
            on_tensor(done, len(stored))
        shards.finish()
        _copy_others(source, beside, form)
        beside.chmod(0o755)
        os.replace(beside, out)
    except OSError as error:
        raise UsageError(f"{out}: can't be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _entries(place: Place, tensor: Tensor, wanted: Mapping[str, Tensor]) -> list[tuple[Place, Tensor]]:
    """What is stored in the place of a tensor."""
    layer = place.key.removesuffix(".weight")
    if place == EMBEDDING:
        head = rounded("lm_head", tensor, torch.int8)
        return [(place, tensor), *((Place("text", key), values) for key, values in head.items())]
    if f"{layer}{SCALE}" not in wanted:
        return [(place, tensor)]
    entries = rounded(layer, tensor, wanted[place.key].dtype)
    return [(Place(place.part, key), values) for key, values in entries.items()]


class _Shards:
    """Tensors into files of bounded size, and the index of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, Tensor] = {}
        self._files: list[list[str]] = []
        self._bytes = 0

    def add(self, name: str, tensor: Tensor) -> None:
        if self._held and sum(held.nbytes for held in self._held.values()) + tensor.nbytes > SHARD:
            self._flush()
        self._held[name] = tensor.contiguous()
        self._bytes += tensor.nbytes

    def finish(self) -> None:
        """Write what is left; one file alone needs no index."""
        self._flush()
        count = len(self._files)
        names = (
            [SINGLE]
            if count == 1
            else [f"model-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]
        )
        for number, name in enumerate(names):
            os.replace(self._folder / f"{number}.part", self._folder / name)
        if count > 1:
            weight_map = {key: name for keys, name in zip(self._files, names, strict=True) for key in keys}
            index = {"metadata": {"total_size": self._bytes}, "weight_map": weight_map}
            (self._folder / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")

    def _flush(self) -> None:
        save_file(self._held, self._folder / f"{len(self._files)}.part", metadata={"format": "pt"})
        self._files.append(list(self._held))
        self._held = {}


def _copy_others(source: Path, out: Path, form: Form) -> None:
    """Tokenizer, templates and configs; config.json says what became of the weights."""
    for file in sorted(source.iterdir()):
        if file.is_file() and file.suffix not in _WEIGHTS and file.name not in (INDEX, "config.json"):
            shutil.copyfile(file, out / file.name)
    config: dict[str, Any] = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = MARKS[form]
    (out / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
