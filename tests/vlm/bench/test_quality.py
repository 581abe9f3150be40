"""What int8 loses, against sums written out here; and the text it is measured on."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from tests.vlm.bench.subjects import reading
from vlm.bench.prose import ordinary_text
from vlm.bench.quality import Compared, Text, chunks_of, quality
from vlm.bench.run import Run
from vlm.bench.shapes import Subject
from vlm.engine import Engine
from vlm.errors import UsageError
from vlm.masks import Queries

WORDS = "The quick brown fox jumps over the lazy dog; 12 + 30 = 42. " * 4


@pytest.fixture(scope="module")
def engine(tiny: Path) -> Engine:
    return Engine.load(tiny)


@torch.inference_mode()
def test_perplexity_and_divergence_are_those_of_the_logits(engine: Engine, tiny: Path) -> None:
    ids = [engine.tokenizer.special.bos, *engine.tokenizer.encode_text(WORDS)][:130]
    other = Engine.load(tiny, dtype="bf16")
    compared = Compared()
    compared.add(engine, other, ids)

    def logs(of: Engine) -> torch.Tensor:
        hidden = of.decoder(of.decoder.embed(torch.tensor([ids[:-1]])), Queries(0, 129), of.new_cache())
        return of.decoder.logits(hidden)[0].double().log_softmax(-1)

    exact, quick = logs(engine), logs(other)
    truth = torch.tensor(ids[1:])[:, None]
    figures = compared.figures()
    assert figures["predicted_tokens"] == 129
    assert figures["perplexity_fp32"] == pytest.approx(math.exp(-exact.gather(1, truth).mean()), rel=1e-4)
    assert figures["perplexity"] == pytest.approx(math.exp(-quick.gather(1, truth).mean()), rel=1e-4)
    divergence = (exact.exp() * (exact - quick)).sum(-1).mean()
    assert figures["mean_kl_nats"] == pytest.approx(float(divergence), rel=1e-2, abs=1e-7)
    same = (exact.argmax(-1) == quick.argmax(-1)).double().mean()
    assert figures["same_top_token"] == pytest.approx(float(same))


def test_a_model_beside_itself_loses_nothing(engine: Engine) -> None:
    compared = Compared()
    compared.add(engine, engine, [engine.tokenizer.special.bos, *engine.tokenizer.encode_text(WORDS)])
    figures = compared.figures()
    assert figures["perplexity_ratio"] == 1.0 and figures["same_top_token"] == 1.0
    assert figures["mean_kl_nats"] == 0.0


def test_chunks_begin_anew_and_lose_nothing(engine: Engine) -> None:
    bos = engine.tokenizer.special.bos
    rows = chunks_of(engine, WORDS, 50, 120)
    assert [len(row) for row in rows] == [50, 50, 23] and all(row[0] == bos for row in rows)
    joined = [id for row in rows for id in row[1:]]
    assert joined == engine.tokenizer.encode_text(WORDS)[:120]


def test_a_text_of_the_users_own(tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text(WORDS)
    report = quality(Subject.checkpoint(str(tiny)), Run("bf16"), Text(file, tokens=100, questions=0))
    assert report.figures["predicted_tokens"] == 100
    assert "questions" not in report.figures and f"text: {file}" in report.notes


def test_the_ordinary_text_is_long_prose() -> None:
    text = ordinary_text()
    assert len(text) > 90_000 and text == ordinary_text()
    paragraphs = text.split("\n\n")
    assert len(set(paragraphs)) == len(paragraphs) and min(len(p.split()) for p in paragraphs) >= 12
    assert ">>>" not in text and "::=" not in text


def test_what_predicts_nothing_is_refused(tiny: Path, tmp_path: Path) -> None:
    subject = Subject.checkpoint(str(tiny))
    with pytest.raises(UsageError, match="random weights predict nothing"):
        quality(reading(), Run("int8"))
    with pytest.raises(UsageError, match="is what it is compared with"):
        quality(subject, Run("fp32"))
    with pytest.raises(UsageError, match="can't be read as text"):
        quality(subject, Run("bf16"), Text(tmp_path / "missing"))
    (tmp_path / "empty").write_text("")
    with pytest.raises(UsageError, match="too short"):
        quality(subject, Run("bf16"), Text(tmp_path / "empty"))


@pytest.mark.slow
def test_answers_are_set_beside_each_other(tiny: Path, fonts: None, tmp_path: Path) -> None:
    pytest.importorskip("jiwer")
    (tmp_path / "words").write_text("a few words")
    run, text = Run("bf16"), Text(tmp_path / "words", questions=1)
    report = quality(Subject.checkpoint(str(tiny)), run, text)
    assert report.figures["questions"] == 3
    assert 0.0 <= float(report.figures["same_answer"] or 0) <= 1.0
