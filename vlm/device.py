"""Which device a model computes on.

The decoder, the encoder and the caches live there; pixels, token choice, constraints and evidence stay
with the processor, which needs a vector of scores a token and nothing else. On a graphics card
``scaled_dot_product_attention`` takes its flash kernels by itself. None was at hand to try it on: the
tests run the path on torch's fake tensors, which compute nothing but know their device, and refuse two
devices in one operation.
"""

from __future__ import annotations

import torch

from vlm.errors import UsageError

AUTO = "auto"


def chosen_device(name: str) -> torch.device:
    """The device of that name; ``auto`` takes a CUDA card where there is one.

    Raises:
        UsageError: no such device, or not on this machine.
    """
    if name == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}: use auto, cpu, cuda, cuda:1 or mps") from None
    if (device.index or 0) >= _count(device.type):
        raise UsageError(f"there is no device {name} here: use --device cpu, or leave it out")
    return device


def _count(kind: str) -> int:
    """How many devices of a kind this machine has."""
    if kind == "cuda":
        return torch.cuda.device_count()
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    return int(kind == "cpu")
