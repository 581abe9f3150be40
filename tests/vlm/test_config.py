import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlm.config import PRESETS, ModelConfig, TextConfig
from vlm.errors import CheckpointError

# google/gemma-3-4b-it's config.json on the Hub, as far as it matters here.
HUB_4B: dict[str, Any] = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "boi_token_index": 255999,
    "eoi_token_index": 256000,
    "eos_token_id": [1, 106],
    "image_token_index": 262144,
    "mm_tokens_per_image": 256,
    "model_type": "gemma3",
    "text_config": {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    },
    "torch_dtype": "bfloat16",
    "vision_config": {
        "hidden_size": 1152,
        "image_size": 896,
        "intermediate_size": 4304,
        "model_type": "siglip_vision_model",
        "num_attention_heads": 16,
        "num_hidden_layers": 27,
        "patch_size": 14,
        "vision_use_head": False,
    },
}


def copy(**changes: Any) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(json.dumps(HUB_4B))
    for path, value in changes.items():
        *outer, name = path.split("__")
        inner = raw
        for step in outer:
            inner = inner[step]
        inner[name] = value
    return raw


@pytest.mark.parametrize(
    ("size", "layers", "whole", "head_dim"),
    [("270m", 18, 3, 256), ("1b", 26, 4, 256), ("4b", 34, 5, 256), ("12b", 48, 8, 256), ("27b", 62, 10, 128)],
)
def test_presets(size: str, layers: int, whole: int, head_dim: int) -> None:
    config = PRESETS[size]
    text = config.text
    assert len(text.layer_types) == text.num_hidden_layers == layers
    assert text.layer_types.count("full_attention") == whole
    assert all((kind == "full_attention") == (i % 6 == 5) for i, kind in enumerate(text.layer_types))
    assert text.head_dim == head_dim
    assert text.query_pre_attn_scalar == (168 if size == "27b" else 256)
    small = size in ("270m", "1b")
    assert (config.vision is None) == small
    assert (text.sliding_window, text.rope_factor) == ((512, 1.0) if small else (1024, 8.0))
    assert text.max_position_embeddings == (32768 if small else 131072)
    assert config.stop_ids == {1, 106}
    if config.vision is not None:
        assert (config.vision.patches_per_side, config.vision.head_dim) == (64, 72)


def test_the_hubs_4b_is_the_preset() -> None:
    config = ModelConfig.from_dict(HUB_4B)
    assert config.text == PRESETS["4b"].text
    assert config.vision == PRESETS["4b"].vision
    assert config.dtype == "bfloat16"
    assert config.stop_ids == {1, 106}


def test_text_only_and_the_new_rope_fields() -> None:
    raw = {
        "model_type": "gemma3_text",
        "num_hidden_layers": 3,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e5},
            "sliding_attention": {"rope_type": "default", "rope_theta": 2e4},
        },
        "eos_token_id": 1,
        "dtype": "float32",
    }
    config = ModelConfig.from_dict(raw)
    assert config.vision is None
    text = config.text
    assert (text.rope_theta, text.rope_factor, text.rope_local_base_freq) == (5e5, 4.0, 2e4)
    assert text.layer_types == ("sliding_attention", "full_attention", "sliding_attention")


def test_stop_ids_of_the_generation_config_win() -> None:
    config = ModelConfig.from_dict(copy(eos_token_id=1), generation={"eos_token_id": [1, 106, 7]})
    assert config.stop_ids == {1, 7, 106}


def test_pattern() -> None:
    assert TextConfig(num_hidden_layers=3, sliding_window_pattern=2).layer_types == (
        "sliding_attention",
        "full_attention",
        "sliding_attention",
    )


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another architecture": (copy(model_type="llama"), "'llama'.*Gemma 3"),
    "no architecture": ({}, "model_type None"),
    "another tower": (copy(vision_config__model_type="clip_vision_model"), "clip_vision_model"),
    "zero layers": (copy(text_config__num_hidden_layers=0), "num_hidden_layers must be a positive"),
    "negative width": (copy(text_config__hidden_size=-1), "hidden_size"),
    "text for a number": (copy(text_config__head_dim="256"), "head_dim.*'256'"),
    "true for a number": (copy(text_config__vocab_size=True), "vocab_size"),
    "broken number": (copy(vision_config__image_size=896.5), "image_size"),
    "heads do not divide": (copy(text_config__num_key_value_heads=3), "multiple of num_key_value_heads"),
    "patches do not divide": (copy(vision_config__patch_size=15), "image_size by patch_size"),
    "tokens are no square": (copy(mm_tokens_per_image=200), "200 tokens"),
    "tokens do not divide": (copy(mm_tokens_per_image=9), "9 tokens"),
    "no tokens": (copy(mm_tokens_per_image=0), "mm_tokens_per_image"),
    "layer types of another count": (copy(text_config__layer_types=["full_attention"]), "layer_types"),
    "unknown layer type": (copy(text_config__layer_types=["chunked_attention"] * 34), "layer_types"),
    "other rope": (copy(text_config__rope_scaling={"rope_type": "yarn", "factor": 2.0}), "yarn"),
    "soft caps": (copy(text_config__final_logit_softcapping=30.0), "softcapping"),
    "embedding model": (copy(text_config__use_bidirectional_attention=True), "embedding models"),
    "query scale of zero": (copy(text_config__query_pre_attn_scalar=0), "query_pre_attn_scalar"),
    "rope factor of zero": (
        copy(text_config__rope_scaling={"rope_type": "linear", "factor": 0}),
        "rope_factor",
    ),
    "rope as text": (copy(text_config__rope_scaling="linear"), "rope_scaling"),
    "theta as text": (copy(text_config__rope_theta="1e6"), "rope_theta"),
    "negative epsilon": (copy(text_config__rms_norm_eps=-1.0), "rms_norm_eps"),
    "odd head": (copy(text_config__head_dim=5), "head_dim"),
    "text part is no object": (copy(text_config=[1]), "text_config"),
    "vision part is no object": (copy(vision_config="siglip"), "vision_config"),
    "stop id as text": (copy(eos_token_id="<eos>"), "eos_token_id"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    raw, message = REFUSED[name]
    with pytest.raises(CheckpointError, match=message):
        ModelConfig.from_dict(raw)


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "no such file"),
    "not JSON": (lambda path: path.write_text("{'a': 1}"), "not readable as JSON"),
    "cut off": (lambda path: path.write_text('{"model_type": "gem'), "not readable as JSON"),
    "empty": (lambda path: path.write_text(""), "not readable as JSON"),
    "bytes": (lambda path: path.write_bytes(b"\xff\xfe\x00"), "not readable as JSON"),
    "a list": (lambda path: path.write_text("[]"), "expected a JSON object"),
    "a folder": (lambda path: path.mkdir(), "not readable as JSON"),
}


@pytest.mark.parametrize("name", FILES)
def test_refused_files(tmp_path: Path, name: str) -> None:
    make, message = FILES[name]
    make(tmp_path / "config.json")
    with pytest.raises(CheckpointError, match=message) as caught:
        ModelConfig.from_folder(tmp_path)
    assert "config.json" in str(caught.value)


def test_generation_config_is_read_from_the_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(HUB_4B))
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [1, 106, 9]}')
    assert ModelConfig.from_folder(tmp_path).stop_ids == {1, 9, 106}


@pytest.mark.parametrize("heads", [[[0]], [[0, 9]], [[99, 0]], [["0", 0]], [3], [[0, 0, 0]]])
def test_evidence_heads_must_be_the_decoders(heads: object) -> None:
    raw = {**HUB_4B}
    with pytest.raises(CheckpointError, match="evidence_heads"):
        ModelConfig.from_dict(raw | {"evidence_heads": heads})
    assert ModelConfig.from_dict(raw | {"evidence_heads": None}).evidence_heads == ()
