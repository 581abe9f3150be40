"""The machine by its own account."""

from __future__ import annotations

from pathlib import Path

import torch

from vlm.bench.machine import available_bytes, read_rate, this_machine

X86 = """processor\t: 0
model name\t: Some CPU 9000
flags\t\t: fpu avx2 avx512f avx512_vnni amx_int8 sse

processor\t: 1
model name\t: Some CPU 9000
"""


def test_processor_and_what_it_multiplies(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(X86)
    machine = this_machine(tmp_path / "cpuinfo")
    assert machine.processor == "Some CPU 9000"
    assert machine.flags == ("avx2", "avx512f", "avx512_vnni", "amx_int8")
    assert machine.threads == torch.get_num_threads() and machine.torch == torch.__version__
    assert machine.to_json()["processor"] == "Some CPU 9000" and machine.memory_gb > 0


def test_a_machine_that_tells_nothing_is_named_all_the_same(tmp_path: Path) -> None:
    machine = this_machine(tmp_path / "missing")
    assert machine.processor and machine.flags == ()


def test_memory_and_its_rate() -> None:
    assert available_bytes() > 10**6
    assert read_rate(1 << 16) > 0
