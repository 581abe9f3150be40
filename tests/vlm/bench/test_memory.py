"""Peak memory of a fresh process, the cache's bytes, and the random checkpoint they are measured on."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.vlm.bench.subjects import SEEING, TEXT, longer, reading, seeing
from vlm.bench import checkpoint, child, memory
from vlm.bench.checkpoint import is_of, write_random
from vlm.bench.memory import cache_bytes, full_cache_bytes
from vlm.bench.run import Run
from vlm.bench.shapes import Subject, parameters
from vlm.cache import KVCache
from vlm.config import PRESETS
from vlm.errors import UsageError
from vlm.session import VLM


def larger(subject: Subject) -> Subject:
    """With a vocabulary that holds the tokenizer's, and room for an answer."""
    subject = longer(subject, 2048)
    config = replace(subject.whole, text=replace(subject.whole.text, vocab_size=1024))
    return replace(subject, config=config, whole=config)


def quiet(what: str) -> None:
    """Told nothing."""


def test_a_random_checkpoint_loads_and_says_only_what_it_can_spell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SHARD", 20_000)
    told: list[str] = []
    subject = larger(seeing())
    write_random(tmp_path / "made", subject, told.append)
    assert len(list((tmp_path / "made").glob("*.safetensors"))) > 3 and told
    vlm = VLM.load(tmp_path / "made")
    config = vlm.engine.config
    assert config.vision == subject.config.vision and config.text.layer_types == TEXT.layer_types
    assert config.text.rope_factor == TEXT.rope_factor
    said = vlm.generate("What does it say?", max_tokens=12).read()
    assert said.usage.completion_tokens == 12 and said.text.isprintable()
    assert is_of(tmp_path / "made", subject.config) and not is_of(tmp_path / "made", SEEING)
    assert not is_of(tmp_path, subject.config)


def test_the_process_tells_its_peak(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    subject = larger(seeing())
    report = memory.memory(subject, Run("int8", rounds=1), kept)
    figures = report.to_json()
    assert figures["weight_bytes"] == parameters(subject.config).total
    assert figures["resident_bytes_imported"] <= figures["resident_bytes_loaded"] <= figures["peak_bytes"]
    assert figures["peak_over_weights"] == pytest.approx(
        figures["peak_bytes"] / figures["weight_bytes"], rel=1e-3
    )
    assert figures["cache_tokens"] == 2048 and figures["cache_over_full"] < 1
    index = kept / "model.safetensors.index.json"
    written = index.stat().st_mtime_ns
    with memory._folder(subject, Run("int8"), kept) as folder:
        assert folder == kept and index.stat().st_mtime_ns == written, "taken again, not written again"
    with pytest.raises(UsageError, match="holds something else"):
        memory.memory(larger(reading()), Run("int8"), kept)


def test_the_peak_covers_what_was_held() -> None:
    before = child.memory()["peak_bytes"]
    held = torch.ones(200_000_000, dtype=torch.uint8)
    assert child.memory()["peak_bytes"] >= max(before, held.nbytes)
    del held
    assert child.memory()["peak_bytes"] >= 200_000_000


def test_cache_bytes_are_those_of_a_real_cache() -> None:
    cache = KVCache(TEXT)
    for count in (512, 512, 276):
        cache.prepare(count)
        cache.advance(count)
    assert cache_bytes(TEXT, "int8", 1300) == cache.nbytes


def test_full_cache_bytes() -> None:
    assert full_cache_bytes(TEXT, "int8", 100) == 2 * 4 * 16 * 100 * 4
    assert full_cache_bytes(TEXT, "bf16", 100) == 2 * 4 * 16 * 100 * 2
    ours = cache_bytes(PRESETS["4b"].text, "int8", 32768)
    assert 5 / 34 < ours / full_cache_bytes(PRESETS["4b"].text, "int8", 32768) <= 0.2


def test_no_room_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: usage(0, 0, 5 * 10**9))
    with pytest.raises(UsageError, match=r"8\.6 GB are needed there and 5\.0 GB are free"):
        write_random(tmp_path / "made", Subject.shape("4b"), quiet)
    assert not (tmp_path / "made").exists()
    monkeypatch.setattr(memory, "available_bytes", lambda: 4 * 10**9)
    with pytest.raises(UsageError, match=r"4b needs 5\.3 GB here and 4\.0 GB are free"):
        memory.memory(Subject.shape("4b"), Run("int8"))


def test_keep_at_is_of_a_shape(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave it out with --model"):
        memory.memory(Subject.checkpoint(str(tiny)), Run("int8"), tmp_path)
