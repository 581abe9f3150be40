"""Tesseract on the same pages, for the same table. It runs as its own program and is never a dependency."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from vlm.errors import UsageError
from vlm.evaluation.compare import Read

NAME = "tesseract"
_PATIENCE = 300  # seconds a page


def find_tesseract() -> str:
    """Path of the program.

    Raises:
        UsageError: it isn't installed; says how to.
    """
    found = shutil.which(NAME)
    if found is None:
        raise UsageError("tesseract is not installed: apt-get install tesseract-ocr")
    return found


def read_with_tesseract(file: Path, policy: str) -> Read:
    """Read a page with Tesseract's own defaults (English, automatic segmentation).

    Args:
        file: the image.
        policy: of no meaning to it.
    """
    command = [find_tesseract(), str(file.absolute()), "stdout"]
    alone = os.environ | {"OMP_THREAD_LIMIT": "1"}  # its threads wait for each other more than they help
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, env=alone, check=False)
    except subprocess.TimeoutExpired:
        return Read("", error=f"tesseract took more than {_PATIENCE} s")
    text = done.stdout.decode("utf-8", errors="replace").replace("\f", "").strip()
    if done.returncode:
        said = done.stderr.decode("utf-8", errors="replace").strip().splitlines()
        return Read(text, error=f"tesseract: {said[-1] if said else done.returncode}")
    return Read(text)
