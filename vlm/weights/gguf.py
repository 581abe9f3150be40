"""A Gemma 3 text .gguf into the decoder.

llama.cpp's converter renames the tensors, leaves out what it knows of the architecture (the layer
pattern, the local RoPE base, the query scale) and stores every RMSNorm weight with 1 added
(``convert_hf_to_gguf.py``, ``Gemma3Model.modify_tensors``); all three are undone here.
``transformers`` does the same (``modeling_gguf_pytorch_utils.py``, ``Gemma2TensorProcessor``).
"""

from __future__ import annotations

import re
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm.config import ModelConfig
from vlm.errors import CheckpointError
from vlm.gguf_header import GgufHeader, GgufTensor, read_header
from vlm.weights.names import EMBEDDING, HEAD, Place, check_match

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor, nn

_ENDS = {"token_embd": "embed_tokens", "output_norm": "norm", "output": "lm_head"}
_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_LAYERS_27B = 62  # llama.cpp tells the 27B by its layers; only there the query scale is not the head's
_CHUNK = 1 << 22  # elements dequantised at once: 16 MB of fp32


def gguf_config(path: Path) -> ModelConfig:
    """Read the config from a file's metadata.

    Raises:
        CheckpointError: damaged, another architecture, one piece of several, or a field missing.
    """
    return _config(path, read_header(path))


def load_gguf_into(decoder: nn.Module, path: Path, *, dtype: torch.dtype) -> None:
    """Dequantise every tensor into the decoder, one at a time and by slices of rows.

    Args:
        decoder: keys as ``GemmaDecoder``, built on the meta device from ``gguf_config(path)``.
        path: the .gguf file.
        dtype: of the parameters afterwards; they need no gradient. ``torch.int8``, ``vlm.int4.INT4``: linear
            layers become ``Int8Linear``, ``Int4Linear`` (a Q4_0 file's very numbers), the other parameters
            float32, the embedding float16.

    Raises:
        CheckpointError: damaged, a quantisation that cannot be undone, an output head that is not the
            embedding, or any tensor missing, extra or mis-shaped.
    """
    import numpy as np
    import torch

    from vlm.quantize import join_layers
    from vlm.weights.forms import FORMS, formed, lay_out, swap

    header = read_header(path)
    _check_architecture(path, header)
    expected = {Place("text", key): tuple(t.shape) for key, t in decoder.state_dict().items()}
    stored = {_place(name): tensor for name, tensor in header.tensors.items()}
    head = stored.pop(HEAD, None) if EMBEDDING in expected and HEAD not in expected else None
    check_match(path, expected, {p: (t.name, t.shape) for p, t in stored.items()}, _gguf_name)
    raw = np.memmap(path, dtype=np.uint8, mode="r")
    if head is not None:
        _check_tied(path, raw, head, stored[EMBEDDING])
    if dtype in FORMS:
        swap({"text": decoder}, FORMS[dtype])
        lay_out({"text": decoder})
    wanted = decoder.state_dict()
    state: dict[str, Tensor] = {}
    for place, tensor in stored.items():
        # Halves hold the rows of a table looked up: 11 bits, more than any quantised file has.
        kept = torch.float16 if place == EMBEDDING else torch.float32
        values = _dequantised(path, raw, tensor, kept if dtype in FORMS else dtype)
        state |= formed(place, values, dtype, wanted)
    decoder.load_state_dict(state, strict=True, assign=True)
    decoder.requires_grad_(False)
    if dtype in FORMS:
        join_layers(decoder)


def _check_architecture(path: Path, header: GgufHeader) -> None:
    kind = header.fields.get("general.architecture")
    if kind != "gemma3":
        raise CheckpointError(f"{path}: architecture {kind!r}; vlm reads Gemma 3 text .gguf files ('gemma3')")
    if header.fields.get("split.count", 1) not in (0, 1):
        raise CheckpointError(f"{path}: one piece of several; join them first (llama-gguf-split --merge)")


def _config(path: Path, header: GgufHeader) -> ModelConfig:
    """The metadata under the Hub's names, so that ``ModelConfig.from_dict`` checks it like any other."""
    _check_architecture(path, header)
    fields = header.fields
    embedding = header.tensors.get("token_embd.weight")
    if embedding is None:
        raise CheckpointError(f"{path}: no token_embd.weight; is it a vision projector (mmproj)?")

    def number(key: str, *default: float) -> float:
        value = fields.get(f"gemma3.{key}", *default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
            raise CheckpointError(f"{path}: gemma3.{key} is {value!r}, not a number")
        return value

    def count(key: str, *default: int) -> int:
        value = number(key, *default)
        if value != int(value):
            raise CheckpointError(f"{path}: gemma3.{key} is {value!r}, not a whole number")
        return int(value)

    tokens = fields.get("tokenizer.ggml.tokens", [])
    if not isinstance(tokens, list) or len(tokens) > embedding.shape[0]:
        many = len(tokens) if isinstance(tokens, list) else repr(tokens)
        raise CheckpointError(f"{path}: {many} tokens, but {embedding.shape[0]} rows in token_embd")
    layers, width, heads = (count(k) for k in ("block_count", "embedding_length", "attention.head_count"))
    if layers > len(header.tensors):
        raise CheckpointError(f"{path}: {layers} blocks, but {len(header.tensors)} tensors")
    head_dim = count("attention.key_length")
    raw: dict[str, Any] = {
        "model_type": "gemma3_text",
        "vocab_size": embedding.shape[0],
        "hidden_size": width,
        "intermediate_size": count("feed_forward_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": count("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "max_position_embeddings": count("context_length"),
        "rms_norm_eps": round(number("attention.layer_norm_rms_epsilon"), 12),  # fp32 in the file: 1e-6 again
        "query_pre_attn_scalar": float(width / (heads or 1) if layers == _LAYERS_27B else head_dim),
        "sliding_window": count("attention.sliding_window"),
        "rope_theta": float(number("rope.freq_base", 1_000_000.0)),
        "rope_local_base_freq": float(number("rope.freq_base_swa", 10_000.0)),
        "final_logit_softcapping": fields.get("gemma3.final_logit_softcapping"),
        "attn_logit_softcapping": fields.get("gemma3.attn_logit_softcapping"),
        "eos_token_id": _stop_ids(fields),
        "bos_token_id": _token_id(fields, "bos"),
        "pad_token_id": _token_id(fields, "padding"),
    }
    scaling = fields.get("gemma3.rope.scaling.type", "none")
    if scaling != "none":
        raw["rope_scaling"] = {"rope_type": scaling, "factor": number("rope.scaling.factor", 1.0)}
    try:
        return ModelConfig.from_dict(raw)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {str(error).removeprefix('config.json: ')}") from None


def _stop_ids(fields: dict[str, Any]) -> list[int]:
    """Every id that ends an answer: many files name <eos> alone, and chat ends in <end_of_turn>."""
    ids = {_token_id(fields, "eos"), _token_id(fields, "eot")}
    tokens = fields.get("tokenizer.ggml.tokens", [])
    if "<end_of_turn>" in tokens:
        ids.add(tokens.index("<end_of_turn>"))
    return sorted(i for i in ids if i is not None)


def _token_id(fields: dict[str, Any], name: str) -> int | None:
    value = fields.get(f"tokenizer.ggml.{name}_token_id")
    return value if isinstance(value, int) else None


def _place(name: str) -> Place:
    """A GGUF name's key in the decoder; a name of no known form is its own key, so it is told as extra."""
    stem = name.removesuffix(".weight")
    if stem in _ENDS:
        return Place("text", f"{_ENDS[stem]}.weight")
    block = re.fullmatch(r"blk\.(\d+)\.(\w+)", stem)
    if block and block[2] in _BLOCK and stem != name:
        return Place("text", f"layers.{block[1]}.{_BLOCK[block[2]]}.weight")
    return Place("text", f"gguf:{name}")


def _gguf_name(place: Place) -> str:
    """The inverse of ``_place``, for naming what is missing."""
    stem = place.key.removesuffix(".weight")
    ends = {ours: theirs for theirs, ours in _ENDS.items()}
    block = re.fullmatch(r"layers\.(\d+)\.(.+)", stem)
    inner = {ours: theirs for theirs, ours in _BLOCK.items()}
    if block and block[2] in inner:
        return f"blk.{block[1]}.{inner[block[2]]}.weight"
    return f"{ends.get(stem, stem)}.weight"


def _rows(path: Path, raw: npt.NDArray[np.uint8], tensor: GgufTensor, rows: slice) -> npt.NDArray[np.float32]:
    """Some rows of a tensor in fp32, as the model means them (norms without the added 1)."""
    import numpy as np
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize

    data = raw[tensor.offset : tensor.offset + tensor.nbytes].reshape(_row_count(tensor), -1)[rows]
    kind = GGMLQuantizationType(tensor.kind)
    values: npt.NDArray[np.float32]
    if kind in (GGMLQuantizationType.F32, GGMLQuantizationType.F16):
        stored = np.float32 if kind == GGMLQuantizationType.F32 else np.float16
        values = data.view(stored).astype(np.float32)  # a copy: the map is read-only
    else:
        try:
            values = np.asarray(dequantize(np.asarray(data), kind), dtype=np.float32)
        except NotImplementedError:
            raise CheckpointError(
                f"{path}: {tensor.name} is {kind.name}, which cannot be read here"
            ) from None
    return values - np.float32(1) if tensor.name.endswith("norm.weight") else values


def _row_count(tensor: GgufTensor) -> int:
    return tensor.shape[0] if len(tensor.shape) > 1 else 1


def _slices(tensor: GgufTensor) -> list[slice]:
    rows, step = _row_count(tensor), max(1, _CHUNK // tensor.shape[-1])
    return [slice(first, min(first + step, rows)) for first in range(0, rows, step)]


def _dequantised(path: Path, raw: npt.NDArray[np.uint8], tensor: GgufTensor, dtype: torch.dtype) -> Tensor:
    """The tensor in its final dtype; fp32 exists only for the slice at hand."""
    import torch

    out = torch.empty(tensor.shape, dtype=dtype)
    flat = out.view(_row_count(tensor), -1)
    for rows in _slices(tensor):
        flat[rows] = torch.from_numpy(_rows(path, raw, tensor, rows))
    return out


def _check_tied(path: Path, raw: npt.NDArray[np.uint8], head: GgufTensor, embedding: GgufTensor) -> None:
    """A stored output head must be the embedding again: Gemma 3 has no other."""
    import numpy as np

    same = head.shape == embedding.shape and all(
        np.array_equal(_rows(path, raw, head, rows), _rows(path, raw, embedding, rows))
        for rows in _slices(head)
    )
    if not same:
        raise CheckpointError(f"{path}: output.weight differs from token_embd.weight; Gemma 3's are one")
