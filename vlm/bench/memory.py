"""``vlm bench memory``: the peak of a fresh process by the operating system, and the cache at 32k tokens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

import vlm
from vlm.bench.checkpoint import check_disk, is_of, write_random
from vlm.bench.machine import GB, available_bytes
from vlm.bench.report import Figure, Report
from vlm.bench.run import Run
from vlm.bench.shapes import SHARE, SLACK, Subject, parameters, weight_bytes
from vlm.cache import KVCache
from vlm.config import TextConfig
from vlm.errors import UsageError
from vlm.generate import CHUNK

CACHED = 32768  # tokens the cache is measured at
ANSWER = 16  # tokens written
_DTYPES = {"bf16": torch.bfloat16}  # of a cache; fp32 where it isn't named


def memory(subject: Subject, run: Run, keep_at: Path | None = None) -> Report:
    """Measure loading, one window and an answer, in as many fresh processes as there are rounds.

    Args:
        subject: what is loaded; a shape is written as a random checkpoint before.
        run: how.
        keep_at: where a shape's checkpoint is kept, and taken from if it is there; None: written to a
            temporary folder and thrown away.

    Raises:
        UsageError: no room on disk or in memory, or the process failed.
    """
    run = run.checked(subject)
    if keep_at is not None and subject.path is not None:
        raise UsageError("--keep-at is of a shape: leave it out with --model")
    if run.layers is not None:
        subject = subject.with_layers(run.layers, run.layers)
    counts = parameters(subject.config)
    weights = weight_bytes(counts.layers, counts.total - counts.layers, run.dtype)
    if weights + SLACK > SHARE * available_bytes():
        raise UsageError(
            f"{subject.name} needs {(weights + SLACK) / GB:.1f} GB here and {available_bytes() / GB:.1f} GB "
            "are free: measure a part with --shape and --layers, or a smaller model"
        )
    figures: dict[str, Figure] = {"weight_bytes": weights}
    with _folder(subject, run, keep_at) as folder:
        peaks = []
        for number in range(run.rounds):
            run.tell(f"loading and answering, {number + 1} of {run.rounds}")
            told = _child(folder, run.dtype)
            peaks.append(told["answered"]["peak_bytes"])
        figures["peak_bytes"] = max(peaks)
        figures["peak_over_weights"] = max(peaks) / weights
        for when, seen in told.items():
            figures |= {f"{name}_{when}": value for name, value in seen.items() if name != "peak_bytes"}
    text = subject.whole.text
    cached = min(CACHED, text.max_position_embeddings)
    ours, full = cache_bytes(text, run.dtype, cached), full_cache_bytes(text, run.dtype, cached)
    figures |= {
        "cache_tokens": cached, "cache_bytes": ours, "full_cache_bytes": full, "cache_over_full": ours / full,
    }  # fmt: skip
    looks = "1 window, " if subject.whole.vision is not None else ""
    notes = [
        f"peak_bytes: VmHWM of a fresh process that loads, reads {looks}answers {ANSWER} tokens; the largest "
        f"of {run.rounds}",
        "full_cache_bytes: keys and values of all tokens in every layer",
    ]
    if subject.config != subject.whole:
        held = ", ".join(
            f"{a} of {b} {name} layers" for name, (a, b) in subject.layers("encoder", "decoder").items()
        )
        notes.append(f"the process held {held}, weight_bytes are theirs; cache_bytes are of all layers")
    report = run.report("memory", subject, (), ("encoder", "decoder"), figures)
    return replace(report, notes=(*notes, *(["random weights"] if subject.path is None else [])))


def cache_bytes(text: TextConfig, dtype: str, tokens: int) -> int:
    """Bytes our cache takes after so many tokens, read in chunks as a prompt is; nothing is allocated."""
    with torch.device("meta"):
        cache = KVCache(text, dtype=_DTYPES.get(dtype, torch.float32))
        while cache.length < tokens:
            count = min(CHUNK, tokens - cache.length)
            cache.prepare(count)
            cache.advance(count)
        return cache.nbytes


def full_cache_bytes(text: TextConfig, dtype: str, tokens: int) -> int:
    """Bytes of a cache whose every layer keeps every token."""
    width = text.num_key_value_heads * text.head_dim
    each = _DTYPES.get(dtype, torch.float32).itemsize
    return 2 * text.num_hidden_layers * width * tokens * each


@contextmanager
def _folder(subject: Subject, run: Run, keep_at: Path | None) -> Iterator[Path]:
    """The checkpoint: the subject's own, the one kept, or one written now."""
    if subject.path is not None:
        yield subject.path
        return
    if keep_at is None:
        check_disk(Path(tempfile.gettempdir()), subject.config)
        with tempfile.TemporaryDirectory(prefix="vlm-bench-") as made:
            write_random(Path(made), subject, run.tell)
            yield Path(made)
        return
    if not is_of(keep_at, subject.config):
        if keep_at.exists() and (not keep_at.is_dir() or any(keep_at.iterdir())):
            raise UsageError(f"{keep_at}: holds something else than this shape; name an empty folder")
        write_random(keep_at, subject, run.tell)
    yield keep_at


def _child(folder: Path, dtype: str) -> dict[str, dict[str, int]]:
    """What the fresh process tells: by moment and name, bytes."""
    command = [sys.executable, "-m", "vlm.bench.child", str(folder), dtype, str(ANSWER)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise UsageError(f"the process that loads {folder} failed: {last}")
    return json.loads(done.stdout.splitlines()[-1])["memory"]


def environment() -> dict[str, str]:
    """This process's environment, with this very package first among those a fresh Python finds."""
    home = str(Path(vlm.__file__).resolve().parent.parent)
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
