"""``vlm bench startup``: seconds of wall time from a cold command to its end, in fresh processes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from vlm.bench.memory import environment
from vlm.bench.report import Report, rows_of
from vlm.bench.run import Run
from vlm.bench.shapes import Subject
from vlm.bench.timing import Contender, alternate
from vlm.errors import UsageError

_VLM = "from vlm.cli import main; main()"
QUESTION = "What does it say?"


def startup(subject: Subject, run: Run) -> Report:
    """Measure an answer, the help text, and the import of torch alone, which is the floor.

    Raises:
        UsageError: a shape, which can't be asked; or a command that failed.
    """
    run.checked(subject)
    if subject.path is None:
        raise UsageError("startup asks a real question: name a checkpoint with --model, or leave --shape out")
    with tempfile.TemporaryDirectory(prefix="vlm-bench-") as folder:
        asking = ["generate", QUESTION, "--max-tokens", "16"]
        if subject.config.vision is not None:
            picture = Path(folder) / "sign.png"
            sign().save(picture)
            asking = ["ask", str(picture), QUESTION]
        model = str(subject.path)
        commands = {
            f"vlm {asking[0]}": [_VLM, *asking, "--model", model, "--dtype", run.dtype, "--offline"],
            "vlm --help": [_VLM, "--help"],
            "import torch": ["import torch"],
        }
        contenders = [
            Contender(name, partial(_ready, name, arguments, Path(folder)))
            for name, arguments in commands.items()
        ]
        rows = rows_of(alternate(contenders, run.rounds, run.tell))
    note = "wall time of fresh processes, files in the system's cache after the warm-up; ratio: to the first"
    return run.report("startup", subject, rows, (), {}, (note,))


def sign() -> Image.Image:
    """A line of print, the same on every machine."""
    page = Image.new("RGB", (224, 224), "white")
    draw = ImageDraw.Draw(page)
    draw.text((24, 90), "NO PARKING", fill="black", font=ImageFont.load_default(size=28))
    return page


def _ready(name: str, arguments: Sequence[str], folder: Path) -> Callable[[], None]:
    return partial(_call, name, [sys.executable, "-c", *arguments], folder)


def _call(name: str, command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment(), check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise UsageError(f"{name} failed: {last}")
