"""From a folder to tokens: loading, encoding, and where soft tokens land."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fakes import IMAGE_SIZE, TOKENS, picture, rewrite, tiny_checkpoint

from vlm.engine import Engine
from vlm.errors import CheckpointError, PromptError, UsageError
from vlm.prompt import ImagePart, plan_raw
from vlm.sampling import Sampling

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return Engine.load(folder)


def test_loading_fills_every_parameter_and_trains_none(engine: Engine, folder: Path) -> None:
    assert engine.vision is not None
    for module in (engine.vision, engine.decoder):
        assert not any(p.is_meta or p.requires_grad or p.dtype != torch.float32 for p in module.parameters())
        assert not module.training
    assert engine.name == str(folder) and engine.load_seconds > 0
    assert engine.window_size == IMAGE_SIZE


def test_bf16_is_kept_from_weights_to_cache(folder: Path) -> None:
    engine = Engine.load(folder, dtype="bf16")
    assert engine.encode([picture(1)]).dtype == torch.bfloat16
    plan = plan_raw(engine.tokenizer, ("a",), TOKENS)
    hidden = engine.embed(plan, None)
    cache = engine.new_cache()
    _, tokens = engine.start(plan, hidden, cache, Sampling(), 2)
    assert len(list(tokens)) == 2 and hidden.dtype == torch.bfloat16


def test_an_unknown_dtype_is_refused_before_the_folder_is_read() -> None:
    with pytest.raises(UsageError, match="unknown dtype 'fp8': use one of auto, fp32, bf16, int8"):
        Engine.load("nowhere", dtype="fp8")  # type: ignore[arg-type]


def test_windows_become_soft_tokens(engine: Engine) -> None:
    crops = [picture(1), picture(2, 30, 90)]
    soft = engine.encode(crops)
    assert soft.shape == (2, TOKENS, engine.config.text.hidden_size)
    alone = torch.cat([engine.encode([crop]) for crop in crops])
    torch.testing.assert_close(soft, alone, atol=1e-5, rtol=1e-5)
    assert (soft[0] - soft[1]).abs().max() > 0.1


def test_soft_tokens_land_in_their_spans_and_nowhere_else(engine: Engine) -> None:
    plan = plan_raw(engine.tokenizer, (ImagePart(2), "ab", ImagePart(1)), TOKENS)
    soft = torch.arange(3.0)[:, None, None].expand(3, TOKENS, engine.config.text.hidden_size) + 100
    hidden = engine.embed(plan, soft)
    inside = torch.zeros(len(plan.ids), dtype=torch.bool)
    for span, value in zip(plan.spans, (100.0, 101.0, 102.0), strict=True):
        assert (hidden[span.start : span.end] == value).all()
        inside[span.start : span.end] = True
    text = engine.decoder.embed(torch.tensor(plan.ids))
    assert torch.equal(hidden[~inside], text[~inside])


def test_a_text_checkpoint_has_no_window_size(tmp_path: Path) -> None:
    engine = Engine.load(tiny_checkpoint(tmp_path, vision=False))
    assert engine.vision is None
    with pytest.raises(PromptError, match="reads text only"):
        _ = engine.window_size
    with pytest.raises(PromptError, match="use a checkpoint with vision"):
        engine.encode([picture(1)])


def test_every_stop_id_of_the_config_ends_the_answer(engine: Engine, folder: Path, tmp_path: Path) -> None:
    plan = plan_raw(engine.tokenizer, ("Once",), TOKENS)
    _, tokens = engine.start(plan, engine.embed(plan, None), engine.new_cache(), Sampling(), 6)
    said = [token.id for token in tokens]
    tiny_checkpoint(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, said[-1]]}), "utf-8")
    other = Engine.load(tmp_path)
    generation, tokens = other.start(plan, other.embed(plan, None), other.new_cache(), Sampling(), 6)
    assert [token.id for token in tokens] == said[: said.index(said[-1])]
    assert generation.finish_reason == "stop"


EMBEDDING = "language_model.model.embed_tokens.weight"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({EMBEDDING: None}, rf"1 missing: {EMBEDDING}"),
        ({"language_model.model.norm.bias": torch.zeros(32)}, r"1 extra: language_model\.model\.norm\.bias"),
        ({EMBEDDING: torch.zeros(8, 32)}, rf"1 mis-shaped: {EMBEDDING} expected .* found \[8, 32\]"),
    ],
)
def test_a_wrong_tensor_is_named(tmp_path: Path, changes: dict[str, torch.Tensor | None], named: str) -> None:
    rewrite(tiny_checkpoint(tmp_path), changes)
    with pytest.raises(CheckpointError, match=named):
        Engine.load(tmp_path)


@pytest.mark.parametrize("gone", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, gone: str) -> None:
    (tiny_checkpoint(tmp_path) / gone).unlink()
    with pytest.raises(CheckpointError, match=gone.replace(".", r"\.")):
        Engine.load(tmp_path)
