"""``vlm bench quality``: what the quick type loses against fp32, on ordinary text and on questions.

Text is read in chunks, each by itself from its first token on, and every token but the first is
predicted: perplexity of both types, how often both hold the same token for the likeliest, and the mean
Kullback-Leibler divergence of ours from fp32's. A model that sees is also asked the questions of the
reading evaluation, and its greedy answers in both types are set beside each other, letter by letter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vlm.bench.prose import ordinary_text
from vlm.bench.report import Figure, Report
from vlm.bench.run import Run
from vlm.bench.shapes import Subject, check_room, load
from vlm.engine import Engine
from vlm.errors import UsageError
from vlm.masks import Queries

if TYPE_CHECKING:
    from vlm.evaluation.scores import Outcome

CHUNK = 512  # tokens read together
TOKENS = 20_000
_ROWS = 64  # positions whose scores over the vocabulary are held at once
_SEED = 20261122  # of the evaluation's own held-out questions


@dataclass(frozen=True)
class Text:
    """What is read."""

    file: Path | None = None  # None: ``prose.ordinary_text``
    tokens: int = TOKENS
    questions: int = 100  # a task of the reading evaluation; 0: none


def quality(subject: Subject, run: Run, text: Text = Text()) -> Report:
    """Compare ``run.dtype`` with fp32.

    Raises:
        UsageError: a shape, whose random weights predict nothing; an unreadable or too short text.
    """
    run = run.checked(subject)
    if subject.path is None:
        raise UsageError("random weights predict nothing: name a checkpoint with --model")
    if run.dtype == "fp32":
        raise UsageError("fp32 is what it is compared with: name --dtype int8, int4 or bf16")
    written = _written(text.file)
    check_room(subject, run.dtype, ["fp32"])
    run.tell(f"loading {subject.name}")
    exact, quick = load(subject, "fp32"), load(subject, run.dtype)
    rows = chunks_of(exact, written, min(CHUNK, exact.context - 1), text.tokens)
    if not rows:
        raise UsageError(f"{text.file or 'the text'}: too short, there is nothing to predict")
    compared = Compared()
    for number, ids in enumerate(rows):
        run.tell(f"reading, {number} of {len(rows)} chunks")
        compared.add(exact, quick, ids)
    figures = compared.figures()
    notes = [f"text: {text.file or 'prose of the Python language reference (pydoc_data.topics)'}"]
    if subject.config.vision is not None and text.questions:
        figures |= _answers(exact, quick, run, text.questions)
        notes.append(f"questions: {text.questions} a task of `vlm eval reading`, held-out split, greedy")
    return run.report("quality", subject, (), (), figures, notes)


def _written(file: Path | None) -> str:
    if file is None:
        return ordinary_text()
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: can't be read as text ({error})") from None


def chunks_of(engine: Engine, text: str, size: int, tokens: int) -> list[list[int]]:
    """Runs of ids, each begun anew.

    Args:
        engine: whose tokenizer cuts the text.
        text: any.
        size: ids a chunk, BOS included.
        tokens: ids of the text at most; fewer where it is shorter.
    """
    ids = engine.tokenizer.encode_text(text)[:tokens]
    bos = engine.tokenizer.special.bos
    return [[bos, *ids[start : start + size - 1]] for start in range(0, len(ids), size - 1)]


@dataclass
class Compared:
    """Sums over all predicted tokens."""

    predicted: int = 0
    same_top: int = 0
    nats: dict[str, float] = field(default_factory=lambda: {"fp32": 0.0, "ours": 0.0})
    divergence: float = 0.0

    @torch.inference_mode()
    def add(self, exact: Engine, quick: Engine, ids: Sequence[int]) -> None:
        """Read one chunk with both."""
        truth = torch.tensor(ids[1:])
        both = zip(_logs(exact, ids[:-1]), _logs(quick, ids[:-1]), strict=True)
        for number, (wanted_RV, got_RV) in enumerate(both):
            next_R1 = truth[number * _ROWS : (number + 1) * _ROWS, None]
            self.predicted += len(next_R1)
            self.same_top += int((wanted_RV.argmax(-1) == got_RV.argmax(-1)).sum())
            self.nats["fp32"] -= float(wanted_RV.gather(1, next_R1).double().sum())
            self.nats["ours"] -= float(got_RV.gather(1, next_R1).double().sum())
            self.divergence += float((wanted_RV.exp() * (wanted_RV - got_RV)).double().sum())

    def figures(self) -> dict[str, Figure]:
        """Per token."""
        exact, ours = (math.exp(self.nats[name] / self.predicted) for name in ("fp32", "ours"))
        return {
            "predicted_tokens": self.predicted,
            "perplexity_fp32": exact,
            "perplexity": ours,
            "perplexity_ratio": ours / exact,
            "same_top_token": self.same_top / self.predicted,
            "mean_kl_nats": self.divergence / self.predicted,
        }


def _logs(engine: Engine, ids: Sequence[int]) -> Iterator[Tensor]:
    """Log probabilities after each position, a few rows at a time: a vocabulary is a megabyte a row."""
    if not ids:
        return
    hidden_1TD = engine.decoder.embed(torch.tensor([ids]))
    hidden_TD = engine.decoder(hidden_1TD, Queries(0, len(ids)), engine.new_cache())[0]
    for rows_RD in hidden_TD.split(_ROWS):
        yield engine.decoder.logits(rows_RD).float().log_softmax(-1)


def _answers(exact: Engine, quick: Engine, run: Run, questions: int) -> dict[str, Figure]:
    """Shares of the reading evaluation's cases."""
    from vlm.evaluation.scores import READING
    from vlm.evaluation.scores import run as score
    from vlm.session import VLM

    pairs: list[tuple[Outcome, Outcome]] = []
    for task in READING:
        outcomes = []
        for name, engine in (("fp32", exact), (run.dtype, quick)):
            run.tell(f"asking {name}: {task.title}")
            outcomes.append(score(VLM(engine), task, "heldout", questions, _SEED).outcomes)
        pairs += zip(*outcomes, strict=True)
    return {
        "questions": len(pairs),
        "same_answer": sum(a.said == b.said for a, b in pairs) / len(pairs),
        "right_fp32": sum(a.right for a, _ in pairs) / len(pairs),
        "right": sum(b.right for _, b in pairs) / len(pairs),
    }
