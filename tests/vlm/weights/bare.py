"""Modules that are nothing but named parameters, to be filled."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


def bare_module(shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
    """A module on the meta device whose ``state_dict`` has these keys and shapes."""
    root = nn.Module()
    for key, shape in shapes.items():
        *path, leaf = key.split(".")
        inner = root
        for step in path:
            if not hasattr(inner, step):
                inner.add_module(step, nn.Module())
            inner = getattr(inner, step)
        inner.register_parameter(leaf, nn.Parameter(torch.empty(shape, device="meta")))
    return root
