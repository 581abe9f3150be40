"""Where a stored tensor belongs, and what to say when the tensors are not those expected.

Three spellings are in use for one model (gemma3-facts.md, "Checkpoint names"; seen by saving with
``transformers`` 5.23): the Hub's, the one ``save_pretrained`` writes today (no ``vision_model.``), and
the in-memory one (``model.`` in front of everything). All three differ in prefixes only, so a name is
a prefix, which says the part of the model, and a key, which is our module's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vlm.errors import CheckpointError

Shape = tuple[int, ...]

LISTED = 8  # names of each sort written out in an error; the rest is counted

_PREFIXES = (
    ("vision_tower.vision_model.", "vision"),
    ("vision_tower.", "vision"),
    ("multi_modal_projector.", "projector"),
    ("language_model.model.", "text"),
    ("language_model.", "text"),
)


@dataclass(frozen=True)
class Place:
    """A tensor's home: the part of the model and the key in that part's ``state_dict``."""

    part: str  # "vision", "projector" or "text"
    key: str

    @property
    def unused(self) -> bool:
        """SigLIP's pooling head: ``transformers`` saves one unless told not to, Gemma 3 never runs it."""
        return self.part == "vision" and self.key.startswith("head.")


EMBEDDING = Place("text", "embed_tokens.weight")
HEAD = Place("text", "lm_head.weight")  # tied to the embedding: stored by some, needed by none


def place_of(name: str) -> Place:
    """Read a stored name. A name of no known prefix is the decoder's, and so named if it is extra."""
    bare = name.removeprefix("model.")
    for prefix, part in _PREFIXES:
        if bare.startswith(prefix):
            return Place(part, bare.removeprefix(prefix))
    return Place("text", bare)


def hub_name(place: Place, *, multimodal: bool) -> str:
    """The name under which the Hub's own files hold a tensor; the inverse of ``place_of``."""
    prefixes = {
        "vision": "vision_tower.vision_model.",
        "projector": "multi_modal_projector.",
        "text": "language_model.model." if multimodal else "model.",
    }
    return prefixes[place.part] + place.key


def check_match(
    where: Path,
    expected: Mapping[Place, Shape],
    stored: Mapping[Place, tuple[str, Shape]],
    name_of: Callable[[Place], str],
) -> None:
    """Compare what the model needs with what the file holds, by headers alone.

    Args:
        where: the folder or file, for the message.
        expected: shape of each tensor the modules need.
        stored: name in the file and shape of each tensor it holds.
        name_of: how this format would name a tensor that is missing.

    Raises:
        CheckpointError: names every missing, extra and mis-shaped tensor, up to ``LISTED`` of each.
    """
    missing = [f"{name_of(p)} {list(s)}" for p, s in expected.items() if p not in stored]
    extra = [f"{name} {list(shape)}" for p, (name, shape) in stored.items() if p not in expected]
    misshaped = [
        f"{stored[p][0]} expected {list(shape)}, found {list(stored[p][1])}"
        for p, shape in expected.items()
        if p in stored and stored[p][1] != shape
    ]
    sorts = {"missing": missing, "extra": extra, "mis-shaped": misshaped}
    lines = [f"  {len(names)} {sort}: {listed(names)}" for sort, names in sorts.items() if names]
    if lines:
        raise CheckpointError("\n".join([f"{where}: the tensors are not those its config describes", *lines]))


def listed(names: list[str]) -> str:
    """The first names in full, the others as a number."""
    more = len(names) - LISTED
    return "; ".join(names[:LISTED]) + (f"; and {more} more" if more > 0 else "")
