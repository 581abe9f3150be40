"""Random checkpoints, saved by transformers itself, small but with the true shapes of attention.

Weights are drawn so that nothing is degenerate: norms have weights of their own, attention is far
from uniform, the layers outweigh the embedding (a tied head would repeat the last token), and the
control tokens are never the likeliest, so that a generation runs its full length.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoProcessor,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    SiglipVisionConfig,
)

from pan_and_scan import Gemma3, Off, crop, windows_of
from vlm.config import PRESETS
from vlm.engine import Engine
from vlm.masks import Queries
from vlm.prompt import ImagePart, Part, PromptPlan, Turn, plan_chat
from vlm.tokenizer import GemmaTokenizer
from vlm.training.tokenizer import CONTROL, build_mini_tokenizer
from vlm.verify import PAN_AND_SCAN

WINDOW = 32  # tokens a local layer sees
LAYERS = 8  # five local, one global, two local

Content = str | Image.Image
Conversation = Sequence[tuple[str, Sequence[Content]]]


def text_config(size: str, vocab_size: int, **changes: Any) -> Gemma3TextConfig:
    """The head layout of a released size; narrow, with few layers and a short window."""
    text = PRESETS[size].text
    rope = {
        "sliding_attention": {"rope_type": "default", "rope_theta": text.rope_local_base_freq},
        "full_attention": {"rope_type": "default", "rope_theta": text.rope_theta},
    }
    if text.rope_factor != 1.0:
        rope["full_attention"] |= {"rope_type": "linear", "factor": text.rope_factor}
    values: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": text.num_attention_heads,
        "num_key_value_heads": text.num_key_value_heads,
        "head_dim": text.head_dim,
        "query_pre_attn_scalar": int(text.query_pre_attn_scalar),
        "sliding_window": WINDOW,
        "rope_parameters": rope,
        "max_position_embeddings": 2048,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
    }
    return Gemma3TextConfig(**values | changes)


def randomise(model: nn.Module, seed: int) -> None:
    """Fill every parameter; see the module's text for how."""
    random = torch.Generator().manual_seed(seed)

    def normal(like: Tensor, mean: float, deviation: float) -> Tensor:
        return mean + deviation * torch.randn(like.shape, generator=random)

    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            vision = "vision_tower" in name
            if "embed_tokens" in name:
                weight.copy_(normal(weight, 0.0, 0.08))
                weight[: len(CONTROL)] *= 0.1
            elif "position_embedding" in name:
                weight.copy_(normal(weight, 0.0, 0.3))
            elif name.endswith("bias"):
                weight.copy_(normal(weight, 0.0, 0.1))
            elif "q_norm" in name or "k_norm" in name:  # scores of 2 standard deviations
                weight.copy_(normal(weight, 0.4, 0.2))
            elif "norm" in name:  # Gemma's add 1 to the weight, SigLIP's don't
                weight.copy_(normal(weight, 1.0, 0.2))
            elif name.endswith("mm_input_projection_weight"):
                weight.copy_(normal(weight, 0.0, weight.shape[0] ** -0.5))
            else:
                fan_in = weight[0].numel() if weight.dim() > 1 else weight.shape[0]
                weight.copy_(normal(weight, 0.0, (1.5 if vision else 1.0) * fan_in**-0.5))


def save_text(folder: Path, size: str, *, seed: int = 0, **changes: Any) -> Path:
    """A text-only checkpoint with the head layout of a released size."""
    build_mini_tokenizer(folder)
    vocab_size = GemmaTokenizer.from_folder(folder).vocab_size
    model = Gemma3ForCausalLM(text_config(size, vocab_size, **changes))
    randomise(model, seed)
    model.save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Sight:
    """Shape of the vision tower and of its pooling."""

    width: int = 48
    heads: int = 4
    image_size: int = 112  # pixels; patches of 14, so 8x8 of them
    tokens: int = 16  # 8x8 patches pooled to 4x4 soft tokens


def save_multimodal(
    folder: Path, size: str = "4b", *, sight: Sight = Sight(), seed: int = 0, **changes: Any
) -> Path:
    """A checkpoint with vision, under the names transformers 5 writes."""
    build_mini_tokenizer(folder, image_size=sight.image_size, image_seq_length=sight.tokens)
    tokenizer = GemmaTokenizer.from_folder(folder)
    special = tokenizer.special
    vision = SiglipVisionConfig(
        hidden_size=sight.width, intermediate_size=80, num_hidden_layers=3,
        num_attention_heads=sight.heads, image_size=sight.image_size, patch_size=14,
    )  # fmt: skip
    config = Gemma3Config(
        text_config=text_config(size, tokenizer.vocab_size, **changes),
        vision_config=vision,
        mm_tokens_per_image=sight.tokens,
        boi_token_index=special.start_of_image,
        eoi_token_index=special.end_of_image,
        image_token_index=special.image_soft,
        eos_token_id=[special.eos, special.end_of_turn],
    )
    model = Gemma3ForConditionalGeneration(config)
    randomise(model, seed)
    model.generation_config.eos_token_id = [special.eos, special.end_of_turn]
    model.save_pretrained(folder)
    return folder


def rewrite_as_on_the_hub(folder: Path) -> None:
    """The names and the flat config of google/gemma-3-*-it, in shards with an index, no pooling head."""
    file = folder / "model.safetensors"
    tensors = {
        name.replace("vision_tower.", "vision_tower.vision_model."): tensor
        for name, tensor in load_file(file).items()
        if not name.startswith("vision_tower.head.")
    }
    file.unlink()
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for shard, held in shards.items():
        save_file({name: tensors[name].clone() for name in held}, folder / shard, {"format": "pt"})
    weight_map = {name: shard for shard, held in shards.items() for name in held}
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    config = json.loads((folder / "config.json").read_text())
    text = config["text_config"]
    rope = text.pop("rope_parameters")
    text["rope_theta"] = rope["full_attention"]["rope_theta"]
    text["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
    text["rope_scaling"] = {"factor": rope["full_attention"]["factor"], "rope_type": "linear"}
    text["sliding_window_pattern"] = 6
    del text["layer_types"]
    config["vision_config"]["vision_use_head"] = False
    (folder / "config.json").write_text(json.dumps(config))


class Pair:
    """One checkpoint loaded by both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = Engine.load(folder, dtype="fp32")
        kind = Gemma3ForConditionalGeneration if self.engine.vision else Gemma3ForCausalLM
        self.model: Any = kind.from_pretrained(folder, dtype=torch.float32).eval()
        self.processor: Any = AutoProcessor.from_pretrained(folder) if self.engine.vision else None

    def their_inputs(self, conversation: Conversation, *, crops: bool = False) -> Any:
        """Ids, token types and pixels by transformers' processor."""

        def content(part: Content) -> dict[str, Any]:
            return (
                {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part}
            )

        messages = [{"role": role, "content": [content(p) for p in parts]} for role, parts in conversation]
        return self.processor.apply_chat_template(
            messages,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            add_generation_prompt=True,
            processor_kwargs={"images_kwargs": PAN_AND_SCAN} if crops else None,
        )

    def our_prompt(self, conversation: Conversation, *, crops: bool = False) -> tuple[PromptPlan, Tensor]:
        """The plan and its embeddings [T, hidden_size], images encoded by us."""
        policy = Gemma3() if crops else Off()
        seen: list[Image.Image] = []

        def part(content: Content) -> Part:
            if isinstance(content, str):
                return content
            cut = crop(content, windows_of(content, policy))
            seen.extend(cut)
            return ImagePart(len(cut))

        turns = [Turn(role, tuple(part(c) for c in parts)) for role, parts in conversation]  # type: ignore[arg-type]
        plan = plan_chat(self.engine.tokenizer, turns, self.engine.config.mm_tokens_per_image)
        return plan, self.engine.embed(plan, self.engine.encode(seen) if seen else None)

    def our_logits(self, plan: PromptPlan, hidden_TD: Tensor) -> Tensor:
        """[T, vocab_size], the whole prompt at once and without a cache."""
        decoder = self.engine.decoder
        with torch.inference_mode():
            return decoder.logits(decoder(hidden_TD[None], Queries(0, len(plan.ids), plan.spans)))[0]

    def their_logits(self, inputs: Any) -> Tensor:
        """[T, vocab_size]."""
        with torch.inference_mode():
            logits: Tensor = self.model(**inputs, use_cache=False).logits[0]
            return logits

    def their_answer(self, inputs: Any, tokens: int, **settings: Any) -> list[int]:
        """Generated ids; greedy unless told otherwise."""
        settings = {"do_sample": False, "temperature": None, "top_k": None, "top_p": None} | settings
        out = self.model.generate(**inputs, **settings, max_new_tokens=tokens)
        ids: list[int] = out[0, inputs["input_ids"].shape[1] :].tolist()
        return ids


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Blobs of colour and noise: neighbouring windows look different."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand((1, 3, 1 + height // 40, 1 + width // 40), generator=random)
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    noisy = 0.8 * smooth + 0.2 * torch.rand((1, 3, height, width), generator=random)
    pixels = (noisy[0] * 255).to(torch.uint8).permute(1, 2, 0).contiguous()
    return Image.frombytes("RGB", (width, height), pixels.numpy().tobytes())
