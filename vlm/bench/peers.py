"""transformers beside us: the same config, and for random weights the very same tensors.

It is given every advantage a caller could give it: logits of the last token alone, its own cache, its
fastest attention (SDPA, its default), no sampling machinery around a decode step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vlm.bench.shapes import Subject, Weights
from vlm.config import ModelConfig, TextConfig
from vlm.errors import CheckpointError, UsageError
from vlm.masks import Span
from vlm.verify import quiet_transformers

PEERS = {"transformers": "fp32", "transformers-bf16": "bf16"}  # by their names after --against
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def check_transformers() -> None:
    """Find out before anything slow whether the peer is there.

    Raises:
        UsageError: it isn't; says how to install it.
    """
    try:
        import accelerate  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise UsageError(f"--against transformers needs {error.name}: pip install 'vlm[bench]'") from None


@dataclass(frozen=True, eq=False)
class VisionPeer:
    """Its vision tower and projector."""

    tower: Any
    projector: Any
    dtype: torch.dtype

    def __call__(self, pixels_NCHW: Tensor) -> Tensor:
        """[N, 3, S, S] to soft tokens [N, tokens, hidden_size]."""
        patches_NPD = self.tower(pixel_values=pixels_NCHW.to(self.dtype)).last_hidden_state
        return self.projector(patches_NPD)

    @property
    def layers(self) -> nn.ModuleList:
        """Of the tower."""
        layers: nn.ModuleList = getattr(self.tower, "vision_model", self.tower).encoder.layers
        return layers


@dataclass(frozen=True, eq=False)
class TextPeer:
    """A whole model of its, or the decoder with a head."""

    model: Any
    dtype: torch.dtype

    def prefill(self, ids: Sequence[int], spans: Sequence[Span], soft_NTD: Tensor | None) -> Tensor:
        """Logits after the last token: [vocab_size]."""
        common: dict[str, Any] = {"use_cache": True, "logits_to_keep": 1}
        if soft_NTD is None:
            return self.model(input_ids=torch.tensor([ids]), **common).logits[0, -1]
        row, types = torch.tensor([ids]), torch.zeros((1, len(ids)), dtype=torch.long)
        for span in spans:
            row[0, span.start : span.end] = 0  # the image id may lie outside the embedding
            types[0, span.start : span.end] = 1
        hidden_1TD = self.model.get_input_embeddings()(row)
        for span, soft_TD in zip(spans, soft_NTD, strict=True):
            hidden_1TD[0, span.start : span.end] = soft_TD.to(self.dtype)
        return self.model(inputs_embeds=hidden_1TD, token_type_ids=types, **common).logits[0, -1]

    def start(self, ids: Sequence[int]) -> tuple[Tensor, Any]:
        """Read a prompt: logits after it, and the cache."""
        out = self.model(input_ids=torch.tensor([ids]), use_cache=True, logits_to_keep=1)
        return out.logits[0, -1], out.past_key_values

    def decode(self, begun: tuple[Tensor, Any], tokens: int) -> list[int]:
        """The next tokens, greedily. One step a token: the last of them is read as well."""
        logits_V, cache = begun
        ids: list[int] = []
        for _ in range(tokens):
            ids.append(int(logits_V.argmax()))
            row = torch.tensor([[ids[-1]]])
            out = self.model(input_ids=row, past_key_values=cache, use_cache=True, logits_to_keep=1)
            logits_V, cache = out.logits[0, -1], out.past_key_values
        return ids

    @property
    def layers(self) -> nn.ModuleList:
        """Of the decoder."""
        inner = self.model.model
        layers: nn.ModuleList = getattr(inner, "language_model", inner).layers
        return layers


def vision_peer(subject: Subject, weights: Weights, dtype: str) -> VisionPeer:
    """The tower and the projector with the tensors ours has."""
    import transformers
    from accelerate import init_empty_weights
    from transformers.models.gemma3.modeling_gemma3 import Gemma3MultiModalProjector

    config = subject.config
    their = transformers.Gemma3Config(
        vision_config=_vision_config(config),
        text_config=transformers.Gemma3TextConfig(hidden_size=config.text.hidden_size),
        mm_tokens_per_image=config.mm_tokens_per_image,
    )
    with quiet_transformers(), init_empty_weights(include_buffers=False):
        tower = transformers.SiglipVisionModel(their.vision_config)
        projector = Gemma3MultiModalProjector(their)
    nested = any(key.startswith("vision_model.") for key in tower.state_dict())
    prefix = "vision_model." if nested else ""
    encoder = {prefix + key: tensor for key, tensor in weights.named("vision.encoder.").items()}
    _assign(tower, encoder, dtype)
    _assign(projector, weights.named("vision.projector."), dtype)
    return VisionPeer(tower.eval(), projector.eval(), _DTYPES[dtype])


def text_peer(subject: Subject, weights: Weights, dtype: str, *, images: bool) -> TextPeer:
    """A model with the decoder tensors ours has.

    Args:
        subject: the shape.
        weights: kept while ours was filled.
        dtype: fp32 or bf16.
        images: the multimodal model, whose masks let an image see itself; its tower stays empty.
    """
    import transformers
    from accelerate import init_empty_weights

    text = _text_config(subject.config.text)
    with quiet_transformers(), init_empty_weights(include_buffers=False):
        if images:
            whole = transformers.Gemma3Config(
                text_config=text, vision_config=_vision_config(subject.config),
                mm_tokens_per_image=subject.config.mm_tokens_per_image,
            )  # fmt: skip
            model = transformers.Gemma3ForConditionalGeneration(whole)
        else:
            model = transformers.Gemma3ForCausalLM(text)
    decoder = model.model.language_model if images else model.model
    _assign(decoder, weights.named("text."), dtype)
    model.lm_head.weight = decoder.embed_tokens.weight
    return TextPeer(model.eval(), _DTYPES[dtype])


def loaded(subject: Subject, dtype: str) -> Any:
    """A checkpoint as transformers loads it.

    Raises:
        CheckpointError: it can't.
    """
    import transformers

    path = subject.path
    assert path is not None
    source: dict[str, Any] = {"pretrained_model_name_or_path": path}
    if path.suffix == ".gguf":
        source = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    vision = subject.config.vision is not None
    kind = transformers.Gemma3ForConditionalGeneration if vision else transformers.AutoModelForCausalLM
    try:
        with quiet_transformers():
            return kind.from_pretrained(**source, dtype=_DTYPES[dtype]).eval()
    except Exception as error:  # it raises anything, and whatever it is, there is nothing to compare with
        first = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"{path}: transformers can't load it ({type(error).__name__}: {first})"
        ) from error


def loaded_vision(subject: Subject, dtype: str) -> VisionPeer:
    """The tower and the projector of a checkpoint."""
    inner = loaded(subject, dtype).model
    return VisionPeer(inner.vision_tower, inner.multi_modal_projector, _DTYPES[dtype])


def loaded_text(subject: Subject, dtype: str) -> TextPeer:
    """The whole model of a checkpoint."""
    return TextPeer(loaded(subject, dtype), _DTYPES[dtype])


def _assign(module: Any, tensors: dict[str, Tensor], dtype: str) -> None:
    """Strictly; fp32 tensors are taken as they are, not copied."""
    cast = {name: tensor.to(_DTYPES[dtype]) for name, tensor in tensors.items()}
    module.load_state_dict(cast, strict=True, assign=True)
    module.requires_grad_(False)


def _vision_config(config: ModelConfig) -> Any:
    from transformers import SiglipVisionConfig

    assert config.vision is not None
    return SiglipVisionConfig(**asdict(config.vision), vision_use_head=False)


def _text_config(text: TextConfig) -> Any:
    from transformers import Gemma3TextConfig

    values = asdict(text)
    for ours in ("rope_theta", "rope_local_base_freq", "rope_factor", "sliding_window_pattern"):
        del values[ours]  # told by rope_parameters and layer_types
    full: dict[str, Any] = {"rope_type": "default", "rope_theta": text.rope_theta}
    if text.rope_factor != 1.0:
        full |= {"rope_type": "linear", "factor": text.rope_factor}
    local = {"rope_type": "default", "rope_theta": text.rope_local_base_freq}
    values |= {
        "layer_types": list(text.layer_types),
        "eos_token_id": list(text.eos_token_id),
        "query_pre_attn_scalar": int(text.query_pre_attn_scalar),  # its type there
        "rope_parameters": {"sliding_attention": local, "full_attention": full},
    }
    return Gemma3TextConfig(**values)
