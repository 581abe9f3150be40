"""What a measurement says: rows of seconds, further figures, and one JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from vlm.bench.machine import Machine
from vlm.bench.timing import Timing

Figure = float | int | str | None


@dataclass(frozen=True)
class Row:
    """One contender.

    Attributes:
        seconds: median as measured.
        all_layers_seconds: scaled to all layers; None where all were measured.
        tokens_per_second: of all layers; None where no tokens are counted.
        ratio: this one's seconds over the first row's, both with all layers.
        relative_error: of the first row's output against this one's, by their 2-norms.
        same_tokens: tokens of the answer that agree with the first row's, from its beginning on.
    """

    name: str
    seconds: float
    fastest: float
    slowest: float
    all_layers_seconds: float | None = None
    tokens_per_second: float | None = None
    ratio: float | None = None
    relative_error: float | None = None
    same_tokens: int | None = None


@dataclass(frozen=True)
class Report:
    """One measurement.

    Attributes:
        bench: which command.
        subject: shape or checkpoint.
        layers: stack to (layers measured, layers of the whole).
        figures: numbers beside the rows, their units in their names.
        notes: sentences on how they came about.
    """

    bench: str
    subject: str
    machine: Machine
    dtype: str
    rounds: int
    rows: tuple[Row, ...] = ()
    layers: dict[str, tuple[int, int]] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The line ``--json`` prints and ``vlm bench plot`` reads."""
        rows = [
            {name: _rounded(value) for name, value in asdict(row).items() if value is not None}
            for row in self.rows
        ]
        return {
            "bench": self.bench,
            "subject": self.subject,
            "dtype": self.dtype,
            "rounds": self.rounds,
            "layers": {stack: list(counts) for stack, counts in self.layers.items()},
            "rows": rows,
            **{name: _rounded(value) for name, value in self.figures.items()},
            "notes": list(self.notes),
            "machine": self.machine.to_json(),
        }


def rows_of(timings: Sequence[Timing], tokens: int | None = None) -> tuple[Row, ...]:
    """Rows in the order of the turns, all set against the first.

    Args:
        timings: ours first.
        tokens: read or written in a turn.
    """
    first = timings[0]
    return tuple(
        Row(
            name=timing.name,
            seconds=timing.median,
            fastest=min(timing.seconds),
            slowest=max(timing.seconds),
            all_layers_seconds=timing.whole if timing.cut else None,
            tokens_per_second=tokens / timing.whole if tokens else None,
            ratio=timing.whole / first.whole if timing is not first else None,
            relative_error=_error(first.output, timing.output) if timing is not first else None,
            same_tokens=_agreeing(first.output, timing.output) if timing is not first else None,
        )
        for timing in timings
    )


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Length of the difference over the length of theirs."""
    ours, theirs = ours.float(), theirs.float()
    return float((ours - theirs).norm() / theirs.norm())


def _error(ours: Any, theirs: Any) -> float | None:
    both = isinstance(ours, Tensor) and isinstance(theirs, Tensor)
    return relative_error(ours, theirs) if both else None


def _agreeing(ours: Any, theirs: Any) -> int | None:
    if not (isinstance(ours, list) and isinstance(theirs, list)):
        return None
    pairs = zip(ours, theirs, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(theirs)))


def _rounded(value: Figure) -> Figure:
    """Six digits: what a clock or a float32 tells."""
    return float(f"{value:.6g}") if isinstance(value, float) else value
