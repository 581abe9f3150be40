"""Stand-ins that run the real code: a checkpoint small enough to make in a test, a scripted engine.

``tiny_checkpoint`` has random weights and nonsense to say, but every file, shape and step of a real
one. ``ScriptedEngine`` says what it is told; it drives what lies above the engine (session, command
line, page) where a test must know the answer.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from PIL import Image
from torch import Tensor

from vlm.cache import KVCache
from vlm.config import ModelConfig
from vlm.constrain import Constraint
from vlm.engine import Engine, Vision
from vlm.gemma import GemmaDecoder
from vlm.generate import FinishReason, Token, check_fits
from vlm.prompt import PromptPlan
from vlm.sampling import Sampling
from vlm.session import VLM
from vlm.tokenizer import GemmaTokenizer
from vlm.training.checkpoint import write_weights
from vlm.training.tokenizer import CHARACTERS, build_mini_tokenizer

IMAGE_SIZE, PATCH_SIZE, TOKENS = 56, 14, 4  # pixels, pixels, soft tokens a window

_VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": IMAGE_SIZE,
    "patch_size": PATCH_SIZE,
}
_TEXT = {
    "model_type": "gemma3_text",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "query_pre_attn_scalar": 16,
    "sliding_window": 64,
    "sliding_window_pattern": 3,
}


def tiny_checkpoint(folder: Path, *, context: int = 2048, vision: bool = True) -> Path:
    """Write a random checkpoint in the Hub's format; the same one every time.

    It answers with letters, digits and signs, which differ with the prompt and with the image, and it
    never ends an answer by itself.

    Args:
        folder: made if missing.
        context: positions the model is made for.
        vision: False for a text-only checkpoint.

    Returns:
        The folder.
    """
    build_mini_tokenizer(folder, image_size=IMAGE_SIZE, image_seq_length=TOKENS)
    tokenizer = GemmaTokenizer.from_folder(folder)
    raw = _config(tokenizer, context)
    (folder / "config.json").write_text(json.dumps(raw if vision else raw["text_config"]), "utf-8")
    config = ModelConfig.from_dict(raw)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(7)
        encoder, decoder = Vision(config), GemmaDecoder(config.text)
        for parameter in (*encoder.parameters(), *decoder.parameters()):
            if parameter.ndim > 1:
                parameter.normal_(std=0.2)
        # Faint beside what the layers add, so that the last token doesn't decide the next alone.
        embedding = decoder.embed_tokens.weight
        embedding.normal_(std=0.02)
        sayable = {tokenizer.encode_text(c)[0] for c in CHARACTERS}
        for id in set(range(tokenizer.vocab_size)) - sayable:
            embedding[id] = 0.0  # scores 0 where others score more: never chosen
    write_weights(folder, encoder, decoder)
    if not vision:
        _keep_text(folder / "model.safetensors")
    return folder


def rewrite(folder: Path, changes: dict[str, Tensor | None]) -> None:
    """Put tensors into a checkpoint's file under their names, or take them out (None)."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path) | {name: t for name, t in changes.items() if t is not None}
    kept = {name: t.clone() for name, t in tensors.items() if changes.get(name, t) is not None}
    save_file(kept, path, metadata={"format": "pt"})


def _keep_text(path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    text = {
        n.removeprefix("language_model."): t for n, t in tensors.items() if n.startswith("language_model.")
    }
    save_file(text, path, metadata={"format": "pt"})


def _config(tokenizer: GemmaTokenizer, context: int) -> dict[str, object]:
    special = tokenizer.special
    text = _TEXT | {
        "vocab_size": tokenizer.vocab_size,
        "max_position_embeddings": context,
        "bos_token_id": special.bos,
        "eos_token_id": special.eos,
        "pad_token_id": special.pad,
    }
    return {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "boi_token_index": special.start_of_image,
        "eoi_token_index": special.end_of_image,
        "image_token_index": special.image_soft,
        "eos_token_id": [special.eos, special.end_of_turn],
        "mm_tokens_per_image": TOKENS,
        "text_config": text,
        "vision_config": _VISION,
    }


@dataclass
class Said:
    """What ``Generation`` is to the session: ids so far and why they ended."""

    finish_reason: FinishReason | None = None
    ids: list[int] = field(default_factory=list)


@dataclass
class ScriptedEngine:
    """An engine that says ``says``, whatever it is asked, and remembers what that was.

    Args:
        folder: where its tokenizer is written.
        says: the answer.
        pause: seconds before each character.
    """

    folder: Path
    says: str = "The sign says NO PARKING."
    pause: float = 0.0
    name: str = "scripted"
    load_seconds: float = 0.25
    window_size: int = 224
    heard: list[PromptPlan] = field(default_factory=list)
    crops: list[tuple[int, int]] = field(default_factory=list)  # sizes of the windows encoded
    forgotten: int = 0  # times

    def __post_init__(self) -> None:
        build_mini_tokenizer(self.folder, image_size=self.window_size, image_seq_length=TOKENS)
        self.tokenizer = GemmaTokenizer.from_folder(self.folder)
        raw = _config(self.tokenizer, context=8192)
        self.config = ModelConfig.from_dict(raw)

    def vlm(self) -> VLM:
        """A session over this engine."""
        return VLM(cast(Engine, self))

    def forget(self) -> None:
        self.forgotten += 1

    def encode(self, crops: Sequence[Image.Image]) -> Tensor:
        self.crops += [crop.size for crop in crops]
        return torch.zeros(len(crops), TOKENS, self.config.text.hidden_size)

    def check_fits(self, plan: PromptPlan) -> None:
        check_fits(len(plan.ids), self.config.text.max_position_embeddings)

    def embed(self, plan: PromptPlan, soft_NTD: Tensor | None) -> Tensor:
        assert len(plan.spans) == (0 if soft_NTD is None else len(soft_NTD))
        return torch.zeros(len(plan.ids), self.config.text.hidden_size)

    def new_cache(self) -> KVCache:
        return KVCache(self.config.text)

    def start(
        self,
        plan: PromptPlan,
        hidden_TD: Tensor,
        cache: KVCache,
        sampling: Sampling,
        max_tokens: int,
        constraint: Constraint | None = None,
    ) -> tuple[Said, Generator[Token]]:
        self.check_fits(plan)
        self.heard.append(plan)
        said = Said()
        return said, self._say(said, max_tokens)

    def keep(self, plan: PromptPlan, hidden_TD: Tensor, generation: Said) -> None:
        """Nothing to keep."""

    def _say(self, said: Said, max_tokens: int) -> Generator[Token]:
        for id in self.tokenizer.encode_text(self.says):
            time.sleep(self.pause)
            said.ids.append(id)
            yield Token(id, logprob=0.0)
            if len(said.ids) >= max_tokens:
                said.finish_reason = "length"
                return
        said.finish_reason = "stop"


PAGE = """
import sys, torch
from pathlib import Path
from fakes import ScriptedEngine
from demos.app import launch
torch.set_num_threads(1)
folder, says, pause = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
first = ScriptedEngine(folder, says, pause).vlm()
def other(name):
    return ScriptedEngine(folder / "other", f"{name}: {says}", pause, name=name).vlm()
launch(first, host="127.0.0.1", port=0, others=["other"], load=other)
"""


@contextmanager
def page_served(folder: Path, *, says: str, pause: float = 0.0) -> Iterator[str]:
    """The page over a scripted engine, at the URL that is given. A model ``other`` says its name first.

    In a process of its own: gradio's server leaves sockets and event loops behind, which pytest would
    lay at another test's door.
    """
    tests = Path(__file__).resolve().parent
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PAGE, str(folder), says, str(pause)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)])},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("vlm: open http://127.0.0.1:"), line
        yield line.split()[2]
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()


def picture(seed: int, width: int = 80, height: int = 80) -> Image.Image:
    """Coloured noise: two seeds are two images that no encoder takes for the same."""
    cells = Image.frombytes("RGB", (8, 8), random.Random(seed).randbytes(8 * 8 * 3))
    return cells.resize((width, height), Image.Resampling.NEAREST)
