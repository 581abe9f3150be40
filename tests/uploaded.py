"""Files as an upload leaves them: a folder named by a hash, in a folder of uploads."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from fakes import picture
from fpdf import FPDF

IMAGES = Path(__file__).resolve().parents[1] / "demos" / "images"


def upload(folder: Path, path: Path) -> str:
    """Where an uploaded copy of a file lies."""
    home = folder / hashlib.sha256(path.read_bytes()).hexdigest()
    home.mkdir(parents=True, exist_ok=True)
    return str(shutil.copy(path, home / path.name))


def noise(folder: Path, seed: int, name: str = "noise.png", side: int = 80) -> str:
    """An uploaded image like no other."""
    path = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    picture(seed, side, side).save(path)
    return upload(folder / "up", path)


def pdf(folder: Path, *texts: str, name: str = "letter.pdf") -> str:
    """An uploaded PDF, a page a text."""
    made = FPDF(format="A4")
    made.set_font("helvetica", size=16)
    for text in texts:
        made.add_page()
        made.multi_cell(0, 10, text)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(bytes(made.output()))
    return upload(folder / "up", path)
