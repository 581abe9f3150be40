"""The embedded model's shape, and its checkpoint written as the Hub writes Gemma 3.

``transformers``, vLLM and this project load the folder alike: Hub tensor names, ``config.json``,
tokenizer, processor and chat template. Weights are stored in bfloat16, as Gemma 3's are.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from vlm.config import ModelConfig
from vlm.engine import Vision
from vlm.errors import UsageError
from vlm.gemma import GemmaDecoder
from vlm.tokenizer import GemmaTokenizer
from vlm.training.plots import read_log
from vlm.training.tokenizer import build_mini_tokenizer

IMAGE_SIZE, PATCH_SIZE, TOKENS = 224, 14, 64  # pixels, pixels, soft tokens a window
RECORD = "training.json"  # hours and steps of the stages
GUIDED = ((2, 0), (4, 0))  # (layer, head) pairs that learn where to look

_VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": 192,
    "intermediate_size": 768,
    "num_hidden_layers": 6,
    "num_attention_heads": 3,
    "image_size": IMAGE_SIZE,
    "patch_size": PATCH_SIZE,
    "num_channels": 3,
    "layer_norm_eps": 1e-6,
    "hidden_act": "gelu_pytorch_tanh",
    "vision_use_head": False,
}
_TEXT = {
    "model_type": "gemma3_text",
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "query_pre_attn_scalar": 64,
    "sliding_window": 1024,
    "sliding_window_pattern": 6,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
    "rope_local_base_freq": 10_000.0,
    "hidden_activation": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
}


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A folder to write in, whose files come to ``folder`` at the end of the block, none of them on an error.

    Raises:
        UsageError: ``folder`` can't be made.
    """
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".unfinished.", dir=folder))
    except OSError as error:
        raise UsageError(f"{folder}: can't be written ({error.strerror})") from None
    try:
        yield beside
        for made in sorted(beside.iterdir()):
            os.replace(made, folder / made.name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        if new:
            with suppress(OSError):
                folder.rmdir()  # where nothing came into it


def write_skeleton(folder: Path) -> ModelConfig:
    """Everything of the checkpoint but its weights: what training starts from."""
    build_mini_tokenizer(folder, image_size=IMAGE_SIZE, image_seq_length=TOKENS)
    tokenizer = GemmaTokenizer.from_folder(folder)
    special = tokenizer.special
    stops = [special.eos, special.end_of_turn]
    text = _TEXT | {
        "vocab_size": tokenizer.vocab_size,
        "bos_token_id": special.bos,
        "eos_token_id": special.eos,
        "pad_token_id": special.pad,
    }
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "dtype": "bfloat16",
        "boi_token_index": special.start_of_image,
        "eoi_token_index": special.end_of_image,
        "image_token_index": special.image_soft,
        "eos_token_id": stops,
        "mm_tokens_per_image": TOKENS,
        "evidence_heads": [list(pair) for pair in GUIDED],
        "text_config": text,
        "vision_config": _VISION,
    }
    _write(folder / "config.json", config)
    generation = {"bos_token_id": special.bos, "eos_token_id": stops, "pad_token_id": special.pad}
    _write(folder / "generation_config.json", generation | {"do_sample": False})
    return ModelConfig.from_folder(folder)


def write_weights(folder: Path, vision: Vision, decoder: GemmaDecoder) -> Path:
    """Write ``model.safetensors`` beside the skeleton, under the Hub's names.

    Returns:
        The path of the file.
    """
    parts = {
        "vision_tower.vision_model.": vision.encoder,
        "multi_modal_projector.": vision.projector,
        "language_model.model.": decoder,
    }
    tensors = {
        prefix + name: tensor.detach().to(torch.bfloat16).contiguous()
        for prefix, module in parts.items()
        for name, tensor in module.state_dict().items()
    }
    path = folder / "model.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors writes it for the owner alone
    return path


def write_record(folder: Path, logs: Sequence[Path], before: Path | None = None) -> None:
    """Write ``training.json`` beside the weights: hours and steps of each stage, from the logs.

    Args:
        folder: of the checkpoint.
        logs: of the stages, in order.
        before: the exported folder that the first of them began with; its record comes first.

    Raises:
        UsageError: a file is not a log of ``vlm train``, or the folder has no record.
    """
    stages = [] if before is None else _record_of(before)
    for path in logs:
        lines = read_log(path)
        begins = [index for index, line in enumerate(lines) if "stage" in line]
        for begin, end in zip(begins, [*begins[1:], len(lines)], strict=True):
            head, run = lines[begin], lines[begin:end]
            hours = (max(line["seconds"] for line in run) - head["seconds"]) / 3600
            steps = max(line.get("step", 0) for line in run) - head["first_step"]
            if stages and stages[-1]["stage"] == head["name"]:  # the same stage, resumed
                hours, steps = hours + stages[-1]["hours"], steps + stages.pop()["steps"]
            stages.append({"stage": head["name"], "hours": round(hours, 3), "steps": steps})
    _write(folder / RECORD, stages)


def write_blended(folder: Path, second: Path, share: float) -> None:
    """Write the record of a mean of two models: that of the later one, and how much of it was taken."""
    stage = {"stage": f"mean with the weights before: {share:.3f} of the new", "hours": 0.0, "steps": 0}
    _write(folder / RECORD, [*_record_of(second), stage])


def _record_of(folder: Path) -> list[dict[str, Any]]:
    path = folder / RECORD
    try:
        stages = json.loads(path.read_text(encoding="utf-8"))
        return [{key: stage[key] for key in ("stage", "hours", "steps")} for stage in stages]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{path}: no record of training ({error!r})") from None


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
