"""The machine a figure belongs to: processor, what it can multiply, free memory, how fast it reads."""

from __future__ import annotations

import os
import platform
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

_CPUINFO, _MEMINFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")
# What decides how a matrix product is done here (x86, then ARM).
_FLAGS = (
    "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16",
    "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip
GB = 1e9
READ_BYTES = 10**9
_READ_RUNS = 5


@dataclass(frozen=True)
class Machine:
    """What a figure was measured on."""

    processor: str
    flags: tuple[str, ...]
    threads: int  # of torch
    torch: str
    memory_gb: float

    def to_json(self) -> dict[str, Any]:
        """The object under "machine"."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.processor} ({', '.join(self.flags)}), {self.threads} threads, torch {self.torch}"


def this_machine(cpuinfo: Path = _CPUINFO) -> Machine:
    """Name the machine this runs on."""
    try:
        told = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        told = ""
    name = re.search(r"^model name\s*:\s*(.+)$", told, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", told, re.MULTILINE)
    held = set(flags[1].split()) if flags else set()
    return Machine(
        processor=name[1].strip() if name else platform.processor() or platform.machine(),
        flags=tuple(flag for flag in _FLAGS if flag in held),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB, 1),
    )


def available_bytes() -> int:
    """Memory that can be taken without pushing anything out."""
    try:
        found = re.search(r"^MemAvailable:\s*(\d+) kB", _MEMINFO.read_text("ascii"), re.MULTILINE)
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # half of all: a guess elsewhere


def read_rate(size: int = READ_BYTES) -> float:
    """Bytes a second at which int8 weights come from memory with all threads: best of several sums.

    Args:
        size: bytes of the buffer; far larger than every cache, or the cache's rate is told.
    """
    # Filled, because pages never written are all one page, which lies in the cache.
    weights = torch.ones(max(1, size // 8) * 8, dtype=torch.int8).view(torch.int64)
    best = float("inf")
    for _ in range(_READ_RUNS):
        started = time.perf_counter()
        weights.sum()
        best = min(best, time.perf_counter() - started)
    return weights.nbytes / best
