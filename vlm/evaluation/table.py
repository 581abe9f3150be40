"""Outcomes -> the table: one row a policy and kind, and one a policy over all kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from vlm.evaluation import metrics
from vlm.evaluation.compare import Outcome

ALL = "all"
Figure = Callable[[Sequence[Outcome]], float | None]  # None: doesn't apply to these


def _mean(name: str) -> Figure:
    """Mean of a score over the outcomes that have it."""

    def figure(outcomes: Sequence[Outcome]) -> float | None:
        values = [outcome.scores[name] for outcome in outcomes if name in outcome.scores]
        return fmean(values) if values else None

    return figure


def _cer(outcomes: Sequence[Outcome]) -> float | None:
    return metrics.cer([o.item.text for o in outcomes], [o.said for o in outcomes])


def _wer(outcomes: Sequence[Outcome]) -> float | None:
    return metrics.wer([o.item.text for o in outcomes], [o.said for o in outcomes])


def _f1(outcomes: Sequence[Outcome]) -> float | None:
    return metrics.field_f1([o.item.fields for o in outcomes], [o.told for o in outcomes])


def _windows(outcomes: Sequence[Outcome]) -> float | None:
    return fmean(outcome.encoded for outcome in outcomes)


def _tokens(outcomes: Sequence[Outcome]) -> float | None:
    return fmean(outcome.tokens for outcome in outcomes)


def _seconds(outcomes: Sequence[Outcome]) -> float | None:
    return fmean(outcome.seconds for outcome in outcomes)


_COSTS: dict[str, Figure] = {"windows": _windows, "tokens": _tokens, "seconds": _seconds}
DOCVQA: dict[str, Figure] = {
    **{name: _mean(name) for name in ("exact", "anls", "textvqa", "relaxed", "hit", "area")},
    **_COSTS,
}
READING: dict[str, Figure] = {"cer": _cer, "wer": _wer, "exact": _mean("exact"), **_COSTS}
FIELDS: dict[str, Figure] = {"f1": _f1, "exact": _mean("exact"), "valid": _mean("valid"), **_COSTS}
WINDOWS: dict[str, Figure] = {"windows": _windows, "tokens": _tokens}

# How a column is headed and printed; what is no share has no percent sign.
_HEADS = {
    "exact": "exact", "anls": "ANLS", "textvqa": "TextVQA", "relaxed": "relaxed", "hit": "evidence",
    "area": "of page", "cer": "CER", "wer": "WER", "f1": "field F1", "valid": "valid",
    "windows": "windows", "tokens": "tokens", "seconds": "s/page",
}  # fmt: skip
_PLAIN = {"windows": "{:.1f}", "tokens": "{:.0f}", "seconds": "{:.2f}"}


@dataclass(frozen=True)
class Row:
    """Figures of one policy on one kind.

    Attributes:
        policy: its name.
        kind: of documents, or ``ALL``.
        cases: how many.
        figures: by column; those that don't apply are missing.
    """

    policy: str
    kind: str
    cases: int
    figures: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """One row of ``--json``."""
        rounded = {name: round(value, 4) for name, value in self.figures.items()}
        return {"policy": self.policy, "kind": self.kind, "cases": self.cases} | rounded

    def cells(self, columns: Sequence[str]) -> list[str]:
        """The row as it is printed."""
        shown = [shown_figure(name, self.figures.get(name)) for name in columns]
        return [self.kind, self.policy, str(self.cases), *shown]


def shown_figure(name: str, value: float | None) -> str:
    """A figure as a table prints it; empty where it doesn't apply."""
    return "" if value is None else _PLAIN.get(name, "{:.1%}").format(value)


def rows(outcomes: Sequence[Outcome], figures: Mapping[str, Figure]) -> list[Row]:
    """Kinds in the order they first came, policies in theirs; ``ALL`` last where there are several kinds."""
    kinds = dict.fromkeys(outcome.item.kind for outcome in outcomes)
    policies = dict.fromkeys(outcome.policy for outcome in outcomes)
    groups = [(kind, policy) for kind in kinds for policy in policies]
    if len(kinds) > 1:
        groups += [(ALL, policy) for policy in policies]
    made: list[Row] = []
    for kind, policy in groups:
        of = [o for o in outcomes if o.policy == policy and kind in (o.item.kind, ALL)]
        found = {name: value for name, figure in figures.items() if (value := figure(of)) is not None}
        made.append(Row(policy, kind, len(of), found))
    return made


def columns_of(made: Sequence[Row]) -> list[str]:
    """Columns that hold a figure in some row."""
    return [name for name in _HEADS if any(name in row.figures for row in made)]


def head(columns: Sequence[str]) -> list[str]:
    """What stands over the columns."""
    return ["kind", "policy", "cases", *(_HEADS[name] for name in columns)]


def to_text(made: Sequence[Row]) -> str:
    """The table for a terminal."""
    columns = columns_of(made)
    cells = [head(columns), *(row.cells(columns) for row in made)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = [
        "  ".join(f"{cell:<{w}}" if at < 2 else f"{cell:>{w}}" for at, (cell, w) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in cells)
    ]
    return "\n".join(line.rstrip() for line in aligned)
