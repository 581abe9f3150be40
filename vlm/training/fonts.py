"""Fonts for rendered training images, split by family.

Fonts are looked up on the machine (Debian and PyPI font packages; ``make fonts`` installs the list
the shipped weights were trained with) and never shipped. A family belongs to exactly one split, and
so do its metric twins (Carlito is Lato redrawn, Arimo is Liberation Sans), so that held-out letters
were never seen under another name.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Literal

from fontTools.ttLib import TTFont, TTLibError

Split = Literal["train", "validation", "heldout"]

FONT_ROOTS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".fonts")

# Families of the two splits that training never sees; every other text family is for training.
HELDOUT_FAMILIES = ("opensans", "cabin", "gentium", "go", "inconsolata", "vollkorn", "play")
VALIDATION_FAMILIES = ("lato", "carlito", "charis", "quicksand", "hermit")
# Looks too much like a held-out family (Noto Sans is Open Sans drawn further).
EXCLUDED_FAMILIES = ("notosans", "notosansdisplay", "droidsans")
# Symbols, capitals only, handwriting, and weights too thin to survive at 14 px.
_UNREADABLE = re.compile(
    r"math|symbol|integral|nonunicode|variants|size.*sym|initial|keyboard|script|swash|smallcap|"
    r"titling|stixup|thin|hairline|extralight|ultralight|terminus|chorus|z003|d050000|emoji|"
    r"dingbat|^(cm|dsrom|esint|eufm|msam|msbm|rsfs|stmary|wasy)|romandeadfstyle|gfs|fell|notosansm",
    re.IGNORECASE,
)
_REQUIRED = frozenset(map(ord, "AZaz09.,:;-/()&%+@#!?'\"$"))


def split_of_family(family: str) -> Split | None:
    """Say which split a font family belongs to, None where it is left out."""
    key = re.sub(r"[^a-z0-9]", "", family.lower())
    if key in EXCLUDED_FAMILIES:
        return None
    if key in ("go", "gomono", "gomedium") or key.startswith(HELDOUT_FAMILIES[:3] + HELDOUT_FAMILIES[4:]):
        return "heldout"
    if key.startswith(VALIDATION_FAMILIES):
        return "validation"
    return "train"


def _usable(path: Path) -> str | None:
    """Family of a font file that can set Latin text, else None."""
    try:
        with TTFont(path, lazy=True) as font:
            family = font["name"].getBestFamilyName() or ""
            full_name = font["name"].getBestFullName() or family
            covered = font.getBestCmap().keys() >= _REQUIRED
    except (TTLibError, KeyError, AttributeError, OSError):
        return None
    squeezed = (family + full_name).replace(" ", "")
    if not covered or _UNREADABLE.search(squeezed) or _UNREADABLE.search(path.stem):
        return None
    if family.startswith("Noto ") and family not in ("Noto Serif", "Noto Mono", "Noto Serif Display"):
        return None  # Latin in the script families is Noto Sans again
    return family


@functools.cache
def _text_fonts() -> tuple[tuple[Path, str], ...]:
    """Every font file of the machine that can set Latin text, with its family."""
    paths = (path for root in FONT_ROOTS for path in sorted(root.rglob("*.[to]tf")))
    families = ((path, _usable(path)) for path in paths)
    return tuple((path, family) for path, family in families if family is not None)


@functools.cache
def find_fonts(split: Split) -> tuple[Path, ...]:
    """List the font files of one split, sorted, so that a seed means the same on one machine.

    Returns:
        Paths of .ttf and .otf files.

    Raises:
        FileNotFoundError: no font of that split is installed; says which command installs them.
    """
    found = tuple(path for path, family in _text_fonts() if split_of_family(family) == split)
    if not found:
        raise FileNotFoundError(f"no fonts of the {split} split are installed: run `make fonts`")
    return found
