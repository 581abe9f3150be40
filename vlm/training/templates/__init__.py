"""Templates of documents, by split: no template serves two."""

from __future__ import annotations

from vlm.training.draft import Template
from vlm.training.fonts import Split


def templates_of(split: Split) -> tuple[tuple[float, Template], ...]:
    """Weighted templates of a split."""
    if split == "heldout":
        from vlm.training.templates import heldout

        return heldout.TEMPLATES
    if split == "validation":
        from vlm.training.templates import validation

        return validation.TEMPLATES
    from vlm.training.templates import office, shop, signs, tickets

    return (*shop.TEMPLATES, *tickets.TEMPLATES, *office.TEMPLATES, *signs.TEMPLATES)
