"""Checkpoints into modules: where they are (``hub``), what they hold (``folder``, ``gguf``).

torch, safetensors, huggingface_hub and gguf are imported only when a function needs them, so
``vlm --help`` pays for none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vlm.config import ModelConfig
from vlm.weights.hub import KNOWN, CachedModel, KnownModel, cached_models, resolve

if TYPE_CHECKING:
    import torch
    from torch import nn

    from vlm.weights.forms import Form

__all__ = [
    "KNOWN",
    "CachedModel",
    "KnownModel",
    "cached_models",
    "gguf_config",
    "load_gguf_into",
    "load_into",
    "resolve",
    "stored_form",
    "write_rounded",
]


def load_into(modules: Mapping[str, nn.Module], folder: Path, *, dtype: torch.dtype) -> None:
    """Fill modules from a folder of safetensors; see ``vlm.weights.folder.load_folder_into``."""
    from vlm.weights.folder import load_folder_into

    load_folder_into(modules, folder, dtype=dtype)


def gguf_config(path: Path) -> ModelConfig:
    """Read the config of a Gemma 3 text .gguf; see ``vlm.weights.gguf.gguf_config``."""
    from vlm.weights import gguf

    return gguf.gguf_config(path)


def load_gguf_into(decoder: nn.Module, path: Path, *, dtype: torch.dtype) -> None:
    """Fill the decoder from a .gguf; see ``vlm.weights.gguf.load_gguf_into``."""
    from vlm.weights import gguf

    gguf.load_gguf_into(decoder, path, dtype=dtype)


def stored_form(folder: Path) -> Form | None:
    """Which rounded weights of ours a folder holds, if any; see ``vlm.weights.forms.stored_form``."""
    from vlm.weights import forms

    return forms.stored_form(folder)


def write_rounded(
    source: Path,
    out: Path,
    modules: Mapping[str, nn.Module],
    on_tensor: Callable[[int, int], None],
    form: Form = "int8",
) -> None:
    """Write a checkpoint with rounded weights; see ``vlm.weights.writer.write_rounded``."""
    from vlm.weights import writer

    writer.write_rounded(source, out, modules, on_tensor, form)
