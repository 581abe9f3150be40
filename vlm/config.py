"""Frozen settings of each stage, under the checkpoint's own field names.

Loading translates nothing: a field here is a field of the Hub's ``config.json``. What can be
derived (the patch grid, the pattern of layers where the file leaves it out) is a property, never a
second copy. Defaults are those of ``transformers`` 5 (``configuration_gemma3.py``), because the
Hub's files leave out what equals them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import inf
from pathlib import Path
from typing import Any, Literal, Self

from vlm.errors import CheckpointError

LayerType = Literal["sliding_attention", "full_attention"]


@dataclass(frozen=True)
class VisionConfig:
    """SigLIP vision tower (arXiv 2303.15343; So400m/14 at 896 in Gemma 3)."""

    hidden_size: int = 1152
    intermediate_size: int = 4304
    num_hidden_layers: int = 27
    num_attention_heads: int = 16
    image_size: int = 896  # pixels, both sides
    patch_size: int = 14  # pixels, both sides
    num_channels: int = 3
    layer_norm_eps: float = 1e-6

    @property
    def patches_per_side(self) -> int:
        """Patches along one side of a window (64 for 896 / 14)."""
        return self.image_size // self.patch_size

    @property
    def head_dim(self) -> int:
        """Width of one attention head (72 for So400m)."""
        return self.hidden_size // self.num_attention_heads


@dataclass(frozen=True)
class TextConfig:
    """Gemma 3 decoder (arXiv 2503.19786, section 2)."""

    vocab_size: int = 262208
    hidden_size: int = 2304
    intermediate_size: int = 9216
    num_hidden_layers: int = 26
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    head_dim: int = 256
    max_position_embeddings: int = 131072
    rms_norm_eps: float = 1e-6
    query_pre_attn_scalar: float = 256.0  # scores are scaled by its inverse square root
    sliding_window: int = 4096  # tokens a local layer sees, itself included
    sliding_window_pattern: int = 6  # every sixth layer is global
    layer_types: tuple[LayerType, ...] = ()  # derived from the pattern where the file has none
    rope_theta: float = 1_000_000.0  # global layers
    rope_local_base_freq: float = 10_000.0  # local layers
    rope_factor: float = 1.0  # linear scaling of the global layers' positions
    bos_token_id: int = 2
    eos_token_id: tuple[int, ...] = (1,)
    pad_token_id: int = 0

    def __post_init__(self) -> None:
        if not self.layer_types:
            pattern = self.sliding_window_pattern
            types: tuple[LayerType, ...] = tuple(
                "full_attention" if (i + 1) % pattern == 0 else "sliding_attention"
                for i in range(self.num_hidden_layers)
            )
            object.__setattr__(self, "layer_types", types)


@dataclass(frozen=True)
class ModelConfig:
    """A whole checkpoint: text alone, or text with vision."""

    text: TextConfig
    vision: VisionConfig | None = None
    mm_tokens_per_image: int = 256  # soft tokens a window
    boi_token_index: int = 255999  # <start_of_image>
    eoi_token_index: int = 256000  # <end_of_image>
    image_token_index: int = 262144  # <image_soft_token>
    eos_token_id: tuple[int, ...] = (1, 106)  # all ids that end an answer
    dtype: str = "float32"  # of the stored weights
    # (layer, head) pairs whose attention says where an answer was read; "evidence_heads" of config.json,
    # a key of ours that others ignore. Empty where it is missing: see ``evidence.default_heads``.
    evidence_heads: tuple[tuple[int, int], ...] = ()

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Read ``config.json`` and, where present, ``generation_config.json``.

        Raises:
            CheckpointError: file missing or no JSON, another architecture, a field out of range.
        """
        raw = _read_json(folder / "config.json")
        generation = folder / "generation_config.json"
        more = _read_json(generation) if generation.is_file() else {}
        return cls.from_dict(raw, generation=more)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], *, generation: Mapping[str, Any] | None = None) -> Self:
        """Build from the parsed JSON of the Hub's files.

        Args:
            raw: ``config.json``, multimodal (``gemma3``) or text-only (``gemma3_text``).
            generation: ``generation_config.json``; its stop ids win over the config's.

        Raises:
            CheckpointError: another architecture, or a field that makes no model.
        """
        kind = raw.get("model_type")
        if kind not in ("gemma3", "gemma3_text"):
            raise CheckpointError(
                f"config.json says model_type {kind!r}; vlm runs Gemma 3 checkpoints "
                "(model_type 'gemma3' or 'gemma3_text')"
            )
        multimodal = kind == "gemma3"
        text_raw = _part(raw, "text_config") if multimodal else raw
        text = _text_config(text_raw)
        eos = (generation or {}).get("eos_token_id", raw.get("eos_token_id", text_raw.get("eos_token_id", 1)))
        common: dict[str, Any] = {
            "eos_token_id": _as_ids(eos),
            "dtype": raw.get("dtype") or raw.get("torch_dtype") or text_raw.get("dtype") or "float32",
        }
        if not multimodal:
            return cls(text=text, **common)
        vision = _vision_config(_part(raw, "vision_config"))
        for name in ("mm_tokens_per_image", "boi_token_index", "eoi_token_index", "image_token_index"):
            if raw.get(name) is not None:
                common[name] = raw[name]
        _positive(common, ("mm_tokens_per_image", "boi_token_index", "eoi_token_index", "image_token_index"))
        common["evidence_heads"] = _heads(raw.get("evidence_heads"), text)
        config = cls(text=text, vision=vision, **common)
        config._check_pooling()
        return config

    @property
    def stop_ids(self) -> frozenset[int]:
        """Every id that ends an answer, from both files."""
        return frozenset(self.eos_token_id) | frozenset(self.text.eos_token_id)

    def _check_pooling(self) -> None:
        assert self.vision is not None
        patches, tokens = self.vision.patches_per_side, round(self.mm_tokens_per_image**0.5)
        if tokens * tokens != self.mm_tokens_per_image or patches % tokens:
            raise CheckpointError(
                f"config.json: {patches}x{patches} patches can't be pooled to "
                f"{self.mm_tokens_per_image} tokens a window"
            )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; a checkpoint folder needs it") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path}: expected a JSON object")
    return raw


def _part(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A nested object; empty where the file has none."""
    part = raw.get(name) or {}
    if not isinstance(part, Mapping):
        raise CheckpointError(f"config.json: {name} must be a JSON object, not {part!r}")
    return part


def _as_ids(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    ids = tuple(value) if isinstance(value, list) else (value,)
    if not all(isinstance(id, int) for id in ids):
        raise CheckpointError(
            f"config.json: eos_token_id must be a number or a list of numbers, not {value!r}"
        )
    return ids


def _heads(value: Any, text: TextConfig) -> tuple[tuple[int, int], ...]:
    """(layer, head) pairs of the decoder."""
    limits = (text.num_hidden_layers, text.num_attention_heads)
    pairs = [tuple(pair) if isinstance(pair, list) else (pair,) for pair in value or ()]
    for pair in pairs:
        fits = len(pair) == 2 and all(
            type(i) is int and 0 <= i < n for i, n in zip(pair, limits, strict=True)
        )
        if not fits:
            raise CheckpointError(
                f"config.json: evidence_heads must list [layer, head] of this decoder, not {list(pair)!r}"
            )
    return tuple(pairs)


def _picked(cls: type, raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``raw`` that ``cls`` has and that are set."""
    names = {f.name for f in fields(cls)}
    return {k: v for k, v in raw.items() if k in names and v is not None}


def _positive(values: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        value = values.get(name, 1)  # what is left out has a valid default
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise CheckpointError(f"config.json: {name} must be a positive integer, not {value!r}")


def _above_zero(values: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        value = values.get(name, 1.0)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < inf:
            raise CheckpointError(f"config.json: {name} must be a number above 0, not {value!r}")


def _vision_config(raw: Mapping[str, Any]) -> VisionConfig:
    if raw.get("model_type", "siglip_vision_model") != "siglip_vision_model":
        raise CheckpointError(
            f"config.json: vision tower {raw['model_type']!r}; expected siglip_vision_model"
        )
    values = _picked(VisionConfig, raw)
    shape = "hidden_size intermediate_size num_hidden_layers num_attention_heads image_size patch_size"
    _positive(values, tuple(shape.split()))
    _above_zero(values, ("layer_norm_eps",))
    config = VisionConfig(**values)
    if config.hidden_size % config.num_attention_heads or config.image_size % config.patch_size:
        raise CheckpointError(
            "config.json: vision hidden_size must divide by num_attention_heads, image_size by patch_size"
        )
    return config


def _text_config(raw: Mapping[str, Any]) -> TextConfig:
    """Text fields; RoPE in the old flat form and in transformers 5's ``rope_parameters``."""
    values = _picked(TextConfig, raw)
    if "layer_types" in values:
        types = values["layer_types"]
        values["layer_types"] = tuple(map(str, types if isinstance(types, list) else [types]))
    if "eos_token_id" in values:
        values["eos_token_id"] = _as_ids(values["eos_token_id"])
    values.pop("rope_factor", None)
    scaling = _part(raw, "rope_scaling")
    rope = _part(raw, "rope_parameters")
    if "full_attention" in rope:
        scaling = _part(rope, "full_attention")
        values["rope_theta"] = scaling.get("rope_theta", TextConfig.rope_theta)
    if "sliding_attention" in rope:
        local = _part(rope, "sliding_attention")
        values["rope_local_base_freq"] = local.get("rope_theta", TextConfig.rope_local_base_freq)
        if local.get("rope_type", "default") != "default":
            raise CheckpointError("config.json: scaled RoPE on local layers; Gemma 3 scales global ones")
    if scaling:
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        if kind not in ("default", "linear"):
            raise CheckpointError(f"config.json: rope type {kind!r}; Gemma 3 uses 'linear' or none")
        values["rope_factor"] = scaling.get("factor", 1.0) if kind == "linear" else 1.0
    for name in ("attn_logit_softcapping", "final_logit_softcapping", "attention_bias"):
        if raw.get(name):
            raise CheckpointError(f"config.json: {name} is set; Gemma 3 has none")
    if raw.get("use_bidirectional_attention"):
        raise CheckpointError("config.json: use_bidirectional_attention is for embedding models")
    shape = (
        "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads "
        "num_key_value_heads head_dim max_position_embeddings sliding_window sliding_window_pattern"
    )
    _positive(values, tuple(shape.split()))
    real = "rms_norm_eps query_pre_attn_scalar rope_theta rope_local_base_freq rope_factor"
    _above_zero(values, tuple(real.split()))
    config = TextConfig(**values)
    if config.head_dim % 2:
        raise CheckpointError(f"config.json: head_dim {config.head_dim} is odd; RoPE turns channels in pairs")
    if config.num_attention_heads % config.num_key_value_heads:
        raise CheckpointError("config.json: num_attention_heads must be a multiple of num_key_value_heads")
    known = {"sliding_attention", "full_attention"}
    if len(config.layer_types) != config.num_hidden_layers or not known.issuperset(config.layer_types):
        raise CheckpointError("config.json: layer_types must name each layer sliding_ or full_attention")
    return config


def _family(**text: Any) -> TextConfig:
    return TextConfig(**{"sliding_window": 1024, "rope_factor": 8.0} | text)


# Shapes of the released checkpoints (tech report, table 1; Hub config.json), for benchmarks and
# parity on random weights. Loading never reads this: a checkpoint's own config.json wins.
PRESETS: dict[str, ModelConfig] = {
    "270m": ModelConfig(
        text=TextConfig(
            vocab_size=262144, hidden_size=640, intermediate_size=2048, num_hidden_layers=18,
            num_attention_heads=4, num_key_value_heads=1, sliding_window=512,
            max_position_embeddings=32768,
        )
    ),
    "1b": ModelConfig(
        text=TextConfig(
            vocab_size=262144, hidden_size=1152, intermediate_size=6912, num_hidden_layers=26,
            num_attention_heads=4, num_key_value_heads=1, sliding_window=512,
            max_position_embeddings=32768,
        )
    ),
    "4b": ModelConfig(
        text=_family(
            hidden_size=2560, intermediate_size=10240, num_hidden_layers=34,
            num_attention_heads=8, num_key_value_heads=4,
        ),
        vision=VisionConfig(),
    ),
    "12b": ModelConfig(
        text=_family(
            hidden_size=3840, intermediate_size=15360, num_hidden_layers=48,
            num_attention_heads=16, num_key_value_heads=8,
        ),
        vision=VisionConfig(),
    ),
    "27b": ModelConfig(
        text=_family(
            hidden_size=5376, intermediate_size=21504, num_hidden_layers=62,
            num_attention_heads=32, num_key_value_heads=16, head_dim=128,
            query_pre_attn_scalar=168.0,
        ),
        vision=VisionConfig(),
    ),
}  # fmt: skip
