"""The one wiring point: a loaded checkpoint and the path from crops to tokens.

Nothing here knows of files, questions or turns; ``session`` does.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vlm.cache import KVCache
from vlm.config import ModelConfig
from vlm.constrain import Constraint
from vlm.device import AUTO, chosen_device
from vlm.errors import PromptError
from vlm.gemma import GemmaDecoder
from vlm.generate import Generation, Limits, Token, check_fits, prefill
from vlm.pixels import to_pixels
from vlm.precision import DTYPES, ROUNDED, Dtype, checked_dtype, chosen_dtype
from vlm.projector import Projector
from vlm.prompt import PromptPlan
from vlm.quantize import give_back
from vlm.reuse import Prompts, ReadPrompt, Windows, soft_of
from vlm.sampling import Sampler, Sampling
from vlm.siglip import SiglipEncoder
from vlm.tokenizer import GemmaTokenizer
from vlm.weights import gguf_config, load_gguf_into, load_into, resolve, stored_form


class Vision(nn.Module):
    """Encoder and projector of a multimodal checkpoint."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.vision is not None
        self.encoder = SiglipEncoder(config.vision)
        self.projector = Projector(
            config.vision.hidden_size, config.text.hidden_size, config.mm_tokens_per_image
        )

    def forward(self, pixels_NCHW: Tensor) -> Tensor:
        """[N, 3, S, S] to soft tokens [N, tokens, hidden_size]."""
        return self.projector(self.encoder(pixels_NCHW))


class _Unfilled(TorchFunctionMode):
    """Leaves new parameters as they are, for a checkpoint fills them.

    Drawing random numbers on the meta device imports torch's compiler, which takes as long as torch itself.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def empty_modules(config: ModelConfig) -> tuple[GemmaDecoder, Vision | None]:
    """A checkpoint's modules on the meta device, to be filled."""
    with torch.device("meta"), _Unfilled():
        return GemmaDecoder(config.text), Vision(config) if config.vision is not None else None


def named_parts(decoder: GemmaDecoder, vision: Vision | None) -> dict[str, nn.Module]:
    """Modules under the names by which ``vlm.weights`` knows the parts of a checkpoint."""
    if vision is None:
        return {"text": decoder}
    return {"text": decoder, "vision": vision.encoder, "projector": vision.projector}


@dataclass(frozen=True)
class Engine:
    """A checkpoint ready to run.

    Attributes:
        name: what the user called it.
        vision: None for a text-only checkpoint.
        dtype: of activations and caches; an int8 or int4 model's are float32.
        products: what the linear layers compute in.
        load_seconds: time the loading took.
    """

    name: str
    config: ModelConfig
    tokenizer: GemmaTokenizer
    vision: Vision | None
    decoder: GemmaDecoder
    dtype: torch.dtype
    load_seconds: float = 0.0
    products: Dtype = "fp32"
    windows: Windows = field(default_factory=Windows)  # soft tokens made before
    prompts: Prompts = field(default_factory=Prompts)  # prompts read before

    @classmethod
    def load(
        cls,
        name: str | Path,
        *,
        dtype: Dtype = "auto",
        device: str = AUTO,
        compiled: bool = False,
        offline: bool = False,
    ) -> Self:
        """Load a Hub id, a folder, a ``.gguf`` file or ``mini``.

        Args:
            name: which.
            dtype: what to compute in: "fp32", "bf16", "int8", "int4", or "auto" for the fastest here.
            device: where to compute: "cpu", "cuda", "cuda:1", "mps", or "auto": a CUDA card if there is one.
            compiled: fuse what lies between the products with ``torch.compile``. The first answers take
                minutes longer; meant for a server on a graphics card. Rounded weights, which compute on a
                processor and in loops of their own (``vlm.kernels``), are left as they are.
            offline: use only what was downloaded before.

        Raises:
            UsageError: unknown dtype or device, or they don't go together.
            HubError: the repository can't be had.
            CheckpointError: what was found is no complete Gemma 3 checkpoint.
        """
        wanted, place = checked_dtype(dtype), chosen_device(device)
        started = time.perf_counter()
        path = resolve(str(name), offline=offline)
        gguf = path.suffix == ".gguf"
        config = gguf_config(path) if gguf else ModelConfig.from_folder(path)
        stored = stored_form(path) if wanted == "auto" and not gguf else None
        if device == AUTO and (stored or wanted) in ROUNDED:
            place = torch.device("cpu")  # where rounded weights compute
        products = chosen_dtype(stored or wanted, config.text, place)
        decoder, vision = empty_modules(config)
        if gguf:
            load_gguf_into(decoder, path, dtype=DTYPES[products])
            tokenizer = GemmaTokenizer.from_gguf(path)
        else:
            load_into(named_parts(decoder, vision), path, dtype=DTYPES[products])
            tokenizer = GemmaTokenizer.from_folder(path)
        for part in (decoder, vision):
            if part is not None:
                part.to(place)
        if compiled and products not in ROUNDED:
            for part in [*decoder.layers, *([] if vision is None else [vision.encoder])]:
                part.compile(dynamic=True)
        return cls(
            name=str(name), config=config, tokenizer=tokenizer, vision=vision and vision.eval(),
            decoder=decoder.eval(), dtype=torch.bfloat16 if products == "bf16" else torch.float32,
            load_seconds=time.perf_counter() - started, products=products,
        )  # fmt: skip

    @property
    def window_size(self) -> int:
        """Side of the encoder's square in pixels."""
        return self._vision_of("an image").encoder.config.image_size

    @property
    def context(self) -> int:
        """Positions the model was made for."""
        return self.config.text.max_position_embeddings

    def check_fits(self, plan: PromptPlan) -> None:
        """Refuse a prompt that leaves no room for an answer.

        Raises:
            PromptError: names both lengths and what to leave out.
        """
        check_fits(len(plan.ids), self.context)

    def forget(self) -> None:
        """Forget the windows and prompts that were read before."""
        self.windows.clear()
        self.prompts.clear()

    def encode(self, crops: Sequence[Image.Image]) -> Tensor:
        """Windows to soft tokens: [N, tokens, hidden_size]. Those seen before are not computed again."""
        return torch.stack([self._soft_tokens(crop) for crop in crops])

    def _soft_tokens(self, window: Image.Image) -> Tensor:
        key = self.windows.key(window)
        soft_TD = self.windows.get(key)
        if soft_TD is None:
            soft_TD = self._encode([window])[0]
            self.windows.put(key, soft_TD)
        return soft_TD

    @torch.inference_mode()
    def _encode(self, crops: Sequence[Image.Image]) -> Tensor:
        vision = self._vision_of("an image")
        pixels_NCHW = to_pixels(crops, vision.encoder.config.image_size)
        soft_NTD = vision(pixels_NCHW.to(self.decoder.device, self.dtype))
        if self.products in ROUNDED:  # what follows the last layer leaves 30 MB more
            give_back()
        return soft_NTD

    @torch.inference_mode()
    def embed(self, plan: PromptPlan, soft_NTD: Tensor | None) -> Tensor:
        """Embeddings of a prompt with its soft tokens in place.

        Args:
            plan: ids and image spans.
            soft_NTD: [spans, tokens, hidden_size], in the order of the spans.

        Returns:
            [T, hidden_size].
        """
        ids = torch.tensor(plan.ids)
        for span in plan.spans:  # the image id may lie outside the embedding (text-only vocabularies)
            ids[span.start : span.end] = self.config.text.pad_token_id
        hidden_TD = self.decoder.embed(ids)
        count = 0 if soft_NTD is None else soft_NTD.shape[0]
        assert count == len(plan.spans), (count, len(plan.spans))
        if soft_NTD is not None:
            for span, soft_TD in zip(plan.spans, soft_NTD, strict=True):
                hidden_TD[span.start : span.end] = soft_TD
        return hidden_TD

    def new_cache(self) -> KVCache:
        """An empty cache for one conversation."""
        return KVCache(self.config.text, dtype=self.dtype, device=self.decoder.device)

    def start(
        self,
        plan: PromptPlan,
        hidden_TD: Tensor,
        cache: KVCache,
        sampling: Sampling,
        max_tokens: int,
        constraint: Constraint | None = None,
    ) -> tuple[Generation, Generator[Token]]:
        """Read the prompt and return the generation and its tokens.

        Args:
            plan: the prompt.
            hidden_TD: its embeddings, from ``embed``.
            cache: empty, or holding a prefix of the prompt that ends outside an image.
            sampling: how to choose tokens.
            max_tokens: length of the answer at most.
            constraint: what the answer must be.

        Raises:
            UsageError: no answer that keeps to the constraint is that short.
        """
        self.check_fits(plan)
        matcher = None
        if constraint is not None:
            constraint.check_fits(self.tokenizer, min(max_tokens, self.context - len(plan.ids) + 1))
            matcher = constraint.matcher(self.tokenizer, self.config.stop_ids)
        limits = Limits(self.config.stop_ids, max_tokens, self.context)
        generation = Generation(self.decoder, cache, Sampler(sampling), limits, plan.ids, matcher)
        return generation, self._generate(generation, plan, hidden_TD)

    def _generate(self, generation: Generation, plan: PromptPlan, hidden_TD: Tensor) -> Generator[Token]:
        """Read the prompt now; the tokens come as they are asked for."""
        self.prompts.fill(generation.cache, plan, hidden_TD)
        return generation.run(prefill(self.decoder, hidden_TD, plan.spans, generation.cache))

    def keep(self, plan: PromptPlan, hidden_TD: Tensor, generation: Generation) -> None:
        """Take over the cache of a conversation that has ended, for prompts that begin alike."""
        generation.cache.watch = None
        ids = (*plan.ids, *generation.ids)
        self.prompts.keep(ReadPrompt(ids, soft_of(hidden_TD, plan.spans), generation.cache))

    def _vision_of(self, wanted: str) -> Vision:
        if self.vision is None:
            raise PromptError(
                f"{self.name} reads text only and was given {wanted}: use a checkpoint with vision "
                "(mini, or google/gemma-3-4b-it and larger)"
            )
        return self.vision
