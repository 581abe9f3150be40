"""What all measurements share: how they are asked for, and who takes part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vlm.bench.llama import NAME, check_llama
from vlm.bench.machine import this_machine
from vlm.bench.peers import PEERS, check_transformers
from vlm.bench.report import Figure, Report, Row
from vlm.bench.shapes import WEIGHT_BYTES, Subject
from vlm.bench.timing import Tell
from vlm.errors import UsageError
from vlm.precision import chosen_dtype

AGAINST = (*PEERS, NAME)


@dataclass(frozen=True)
class Run:
    """How to measure.

    Attributes:
        dtype: of ours; "auto" for the fastest here.
        against: names of peers.
        rounds: measured turns of each.
        layers: of each stack of a shape; None: as many as fit.
        tell: told what goes on.
    """

    dtype: str = "int8"
    against: Sequence[str] = ()
    rounds: int = 3
    layers: int | None = None
    tell: Tell = lambda what: None

    def checked(self, subject: Subject, known: Sequence[str] = ()) -> Run:
        """Find out before anything slow what can't be measured.

        Args:
            subject: what is measured.
            known: peers there are for this measurement.

        Returns:
            The same run; in place of "auto" what is fastest here.

        Raises:
            UsageError: says what is wrong.
        """
        if self.dtype not in ("auto", *WEIGHT_BYTES):
            raise UsageError(f"unknown dtype {self.dtype!r}: auto, {', '.join(WEIGHT_BYTES)}")
        if self.layers is not None and subject.path is not None:
            raise UsageError("--layers is of a shape: leave it out with --model")
        for name in self.against:
            if name not in known:
                instead = f"it compares with {', '.join(known)}" if known else "leave --against out"
                raise UsageError(f"no {name!r} to compare with here: {instead}")
        if self.peer_dtypes:
            check_transformers()
        if NAME in self.against:
            check_llama(subject)
        if self.dtype == "auto":
            return replace(self, dtype=chosen_dtype("auto", subject.whole.text))
        return self

    @property
    def peer_dtypes(self) -> list[str]:
        """Of transformers' models, in the order asked for."""
        return [PEERS[name] for name in self.against if name in PEERS]

    @property
    def ours(self) -> str:
        """Our name in the table."""
        return f"vlm {self.dtype}"

    def report(
        self,
        bench: str,
        subject: Subject,
        rows: tuple[Row, ...],
        stacks: Sequence[str],
        figures: dict[str, Figure],
        notes: Sequence[str] = (),
    ) -> Report:
        """The report, with a note where layers or weights are not a checkpoint's own."""
        layers = subject.layers(*stacks)
        said = list(notes)
        if subject.path is None:
            said.append("random weights")
        cut = [
            f"{held} of {whole} {stack} layers" for stack, (held, whole) in layers.items() if held != whole
        ]
        if cut:
            said.append(f"measured on {' and '.join(cut)}; scaled by the time spent inside them")
        return Report(
            bench, subject.name, this_machine(), self.dtype, self.rounds, rows, layers, figures, tuple(said)
        )


def once(function: Callable[[], object]) -> Callable[[], Callable[[], object]]:
    """A contender without anything to make ready."""
    return lambda: function
