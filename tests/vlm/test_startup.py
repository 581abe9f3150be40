"""What a short answer waits for: `vlm ask` imports what the call uses, and nobody looks for garbage in it.

Times are not asserted here, `vlm bench startup` tells them; these are the reasons they were long.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vlm.cli_model import to_stay

ROOT = Path(__file__).resolve().parents[2]
RECEIPT = ROOT / "demos" / "images" / "receipt.png"

# Its last line on stderr tells what the process holds after the command.
TOLD = """
import gc, json, sys
from vlm.cli import main
try:
    main()
finally:
    held = {"modules": sorted(sys.modules), "frozen": gc.get_freeze_count(), "collects": gc.isenabled()}
    print(json.dumps(held), file=sys.stderr)
"""

# Of other commands, other inputs and other options, or of compiling, which nothing here does.
OTHERS = """
accelerate av fastapi fontTools gguf gradio httpx httpx2 huggingface_hub jinja2 jiwer jsonschema llguidance
matplotlib open_clip pandas pillow_heif prometheus_client pypdfium2 rapidfuzz requests scipy sympy torchvision
transformers triton typst uvicorn
torch._dynamo torch._inductor torch.distributed.tensor torch.distributed.fsdp torch.onnx
vlm.bench vlm.evaluation vlm.reading vlm.remote vlm.scheduler vlm.server vlm.training
vlm.verify vlm.wire vlm.weights.gguf
"""


@pytest.fixture(scope="module")
def held() -> dict[str, Any]:
    """What `vlm ask` holds when it has answered."""
    ran = subprocess.run(
        [sys.executable, "-c", TOLD, "ask", str(RECEIPT), "What is the total?", "--offline"],
        cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ran.stdout.strip()  # it did answer
    found: dict[str, Any] = json.loads(ran.stderr.splitlines()[-1])
    return found


@pytest.mark.parametrize("other", OTHERS.split())
def test_ask_does_not_import(held: dict[str, Any], other: str) -> None:
    assert [name for name in held["modules"] if name == other or name.startswith(f"{other}.")] == []


def test_ask_imports_what_it_uses(held: dict[str, Any]) -> None:
    """Or the names above say nothing."""
    assert {"torch", "PIL.Image", "tokenizers", "safetensors", "vlm.engine", "vlm.pixels"} <= {
        *held["modules"]
    }


def test_torch_is_no_garbage(held: dict[str, Any]) -> None:
    """All of what was imported and loaded is passed over; what comes later is collected as ever."""
    assert held["frozen"] > 100_000
    assert held["collects"]


def test_to_stay() -> None:
    try:
        with to_stay():
            assert not gc.isenabled()
            made = [[] for _ in range(1000)]  # type: ignore[var-annotated]
        assert gc.isenabled()
        collected = {id(one) for one in gc.get_objects()}
        assert not any(id(one) in collected for one in made)
    finally:
        gc.unfreeze()


def test_collects_again_after_an_error() -> None:
    try:
        with pytest.raises(ZeroDivisionError), to_stay():
            _ = 1 // 0
        assert gc.isenabled()
    finally:
        gc.unfreeze()
