"""encode, prefill, decode and reuse at tiny shapes, beside transformers with the same tensors."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from tests.vlm.bench.subjects import TEXT, longer, reading, seeing
from vlm.bench import llama, peers
from vlm.bench.decode import decode, weights_a_token
from vlm.bench.encode import encode
from vlm.bench.prefill import prefill, random_prompt
from vlm.bench.report import Report
from vlm.bench.reuse import question, reuse
from vlm.bench.run import Run
from vlm.bench.shapes import Subject, Weights, random_decoder
from vlm.errors import UsageError

BOTH = ("transformers", "transformers-bf16")


def by_name(report: Report) -> dict[str, dict[str, Any]]:
    """Rows as they are written into the JSON line."""
    written = json.loads(json.dumps(report.to_json()))
    return {row["name"]: row for row in written["rows"]}


def test_encode_computes_what_transformers_computes() -> None:
    report = encode(seeing(), Run("fp32", BOTH, rounds=2))
    rows = by_name(report)
    assert list(rows) == ["vlm fp32", "transformers fp32", "transformers bf16"]
    assert rows["transformers fp32"]["relative_error"] < 1e-5
    assert 1e-4 < rows["transformers bf16"]["relative_error"] < 0.1
    assert rows["transformers fp32"]["ratio"] > 0 and "ratio" not in rows["vlm fp32"]
    written = report.to_json()
    assert written["layers"] == {"encoder": [3, 3]} and written["pixels"] == 56
    assert written["notes"] == ["random weights"] and written["rounds"] == 2


def test_a_part_of_the_layers_says_so_and_is_scaled() -> None:
    report = encode(seeing(), Run("fp32", ("transformers",), rounds=1, layers=1))
    assert report.layers == {"encoder": (1, 3)}
    for row in report.rows:
        assert row.all_layers_seconds is not None and row.all_layers_seconds > row.seconds
    assert any("1 of 3 encoder layers" in note for note in report.notes)


def test_int8_is_near_and_not_the_same() -> None:
    error = by_name(encode(seeing(), Run("int8", ("transformers",), rounds=1)))["transformers fp32"]
    assert 1e-5 < error["relative_error"] < 0.1


def test_prefill_of_text_computes_what_transformers_computes() -> None:
    rows = by_name(prefill(reading(), Run("fp32", BOTH, rounds=1), tokens=100))  # beyond the local window
    assert rows["transformers fp32"]["relative_error"] < 1e-5
    assert rows["transformers bf16"]["relative_error"] < 0.1
    assert rows["vlm fp32"]["tokens_per_second"] > 0


def test_prefill_with_windows_computes_what_transformers_computes() -> None:
    report = prefill(seeing(), Run("fp32", ("transformers",), rounds=1), tokens=60)
    assert report.figures == {"tokens": 60, "windows": 2}
    assert by_name(report)["transformers fp32"]["relative_error"] < 1e-5


def test_an_image_that_does_not_see_itself_would_be_noticed() -> None:
    """The masks matter at this size: without token types the peer's logits are others."""
    weights = Weights(keep=True)
    random_decoder(TEXT, weights, "fp32")
    peer = peers.text_peer(seeing(), weights, "fp32", images=True)
    made = random_prompt(seeing().whole, 40)
    assert made.soft_NTD is not None
    with torch.inference_mode():
        seen = peer.prefill(made.plan.ids, made.plan.spans, made.soft_NTD * 50)
        model = peer.model

        def causal(**given: Any) -> Any:
            return model(**given | {"token_type_ids": torch.zeros_like(given["token_type_ids"])})

        blind = replace(peer, model=_With(model, causal))
        other = blind.prefill(made.plan.ids, made.plan.spans, made.soft_NTD * 50)
    assert (seen - other).norm() / seen.norm() > 1e-3


class _With:
    """A model called another way."""

    def __init__(self, model: Any, call: Any) -> None:
        self._model, self._call = model, call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, **given: Any) -> Any:
        return self._call(**given)


def test_prompts_have_their_windows_apart() -> None:
    made = random_prompt(seeing().whole, 60)
    first, second = made.plan.spans
    assert len(made.plan.ids) == 60 and first.end + 1 < second.start
    assert all(
        made.plan.ids[span.start - 1] == 5 and made.plan.ids[span.end] == 6 for span in (first, second)
    )
    assert made.soft_NTD is not None and made.soft_NTD.shape == (2, 4, TEXT.hidden_size)
    assert random_prompt(seeing().whole, 20).plan.spans == (first,), "as many as fit"


def test_decode_writes_what_transformers_writes() -> None:
    report = decode(reading(), Run("fp32", ("transformers",), rounds=1), 30, read_bytes=1 << 16)
    rows = by_name(report)
    assert rows["transformers fp32"]["same_tokens"] == 30
    written = report.to_json()
    assert written["tokens"] == 30 and written["weight_bytes_a_token"] == 4 * weights_a_token(TEXT)
    share = written["weights_read_gb_s"] / written["read_rate_gb_s"]
    assert written["share_of_read_rate"] == pytest.approx(share, rel=1e-3)


def test_weights_a_token_are_the_products_of_a_step() -> None:
    attention = 32 * (32 + 16 + 16) + 32 * 32  # query, key, value; output
    assert weights_a_token(TEXT) == 4 * (attention + 3 * 32 * 64) + 512 * 32


def test_decode_counts_steps_and_not_the_prompt() -> None:
    report = decode(reading(), Run("int8", rounds=2), 5, read_bytes=1 << 16)
    (row,) = report.rows
    assert row.tokens_per_second == pytest.approx(5 / row.seconds)


def test_the_next_question_reads_only_what_is_new() -> None:
    report = reuse(seeing(), Run("fp32", rounds=2, layers=2))
    assert [row.name for row in report.rows] == ["next question", "first question"]
    assert report.figures["next_question_windows_encoded"] == 0
    assert 0 < int(report.figures["next_question_tokens_read"] or 0) <= 16
    assert report.figures["prompt_tokens"] == len(question(seeing().whole, 1).ids)
    assert report.rows[1].ratio is not None
    assert report.layers == {"encoder": (2, 3), "decoder": (2, 4)}


def test_questions_share_all_but_their_end() -> None:
    a, b = question(seeing().whole, 1), question(seeing().whole, 2)
    assert a.ids[:-16] == b.ids[:-16] and a.ids[-16:] != b.ids[-16:]
    assert a.spans == b.spans and a.spans[0].end + 1 == len(a.ids) - 16


def test_what_cannot_be_measured_is_said_first() -> None:
    with pytest.raises(UsageError, match="reads text only"):
        encode(reading(), Run("fp32"))
    with pytest.raises(UsageError, match="no 'vllm' to compare with here: it compares with transformers"):
        encode(seeing(), Run("fp32", ("vllm",)))
    with pytest.raises(UsageError, match=r"no 'llama\.cpp' to compare with here"):
        encode(seeing(), Run("fp32", ("llama.cpp",)))
    with pytest.raises(UsageError, match="leave --against out"):
        reuse(seeing(), Run("fp32", ("transformers",)))
    with pytest.raises(UsageError, match="unknown dtype 'fp8': auto, fp32, bf16, int8, int4"):
        encode(seeing(), Run("fp8"))
    with pytest.raises(UsageError, match="context is 64"):
        prefill(longer(reading(), 64), Run("fp32"), tokens=64)


class FakeLlama:
    """llama-cpp-python's interface over a row of numbers."""

    made: ClassVar[dict[str, Any]] = {}

    def __init__(self, **given: Any) -> None:
        FakeLlama.made = given
        self.read: list[int] = []
        self.steps = 0

    def reset(self) -> None:
        self.read = []

    def eval(self, tokens: Sequence[int]) -> None:
        assert not self.read, "the cache is emptied before a prompt"
        self.read = list(tokens)

    def generate(self, tokens: Sequence[int], *, temp: float) -> Iterator[int]:
        assert temp == 0.0
        token = sum(tokens)
        while True:
            self.steps += 1
            yield token
            token += 1


@pytest.fixture
def llama_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("llama_cpp")
    module.Llama = FakeLlama  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "llama_cpp", module)


def test_llama_cpp_is_given_our_threads_and_one_step_a_token(llama_cpp: None) -> None:
    peer = llama.LlamaPeer(Path("x.gguf"), 99)
    given = FakeLlama.made
    assert given["n_threads"] == given["n_threads_batch"] == torch.get_num_threads()
    assert given["n_ctx"] == 99 and not given["logits_all"] and not given["verbose"]
    peer.prefill([1, 2])
    peer.prefill([3, 4])
    begun = peer.start([1, 2])
    assert peer._model.steps == 1, "the prompt is read before the clock runs"
    assert peer.decode(begun, 3) == [3, 4, 5] and peer._model.steps == 4


def test_llama_cpp_needs_a_file(llama_cpp: None) -> None:
    with pytest.raises(UsageError, match=r"--model FILE\.gguf"):
        prefill(reading(), Run("fp32", ("llama.cpp",)))


@pytest.mark.parametrize("name", ["llama_cpp", "transformers", "accelerate"])
def test_a_missing_peer_is_one_line_with_the_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    against = "llama.cpp" if name == "llama_cpp" else "transformers"
    with pytest.raises(UsageError, match=r"pip install 'vlm\[bench\]'"):
        prefill(reading(), Run("fp32", (against,)))


def test_a_checkpoint_is_measured_as_it_is_loaded(tiny: Path) -> None:
    subject = Subject.checkpoint(str(tiny))
    assert (
        by_name(encode(subject, Run("fp32", ("transformers",), 1)))["transformers fp32"]["relative_error"]
        < 1e-4
    )
    read = prefill(subject, Run("fp32", ("transformers",), 1), tokens=60)
    assert read.figures["windows"] == 2 and "random weights" not in read.notes
    assert by_name(read)["transformers fp32"]["relative_error"] < 1e-4
    with pytest.raises(UsageError, match="leave it out with --model"):
        encode(subject, Run("fp32", layers=2))
