"""``vlm bench prefill``: reading a prompt from an empty cache, up to the logits after it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from vlm.bench import peers
from vlm.bench.llama import NAME, LlamaPeer, check_llama, llama_name
from vlm.bench.report import Report, rows_of
from vlm.bench.run import AGAINST, Run, once
from vlm.bench.shapes import Copies, Subject, Weights, check_room, engine_of, fit, load, random_decoder
from vlm.bench.timing import Contender, Stack, alternate
from vlm.config import ModelConfig
from vlm.engine import Engine
from vlm.errors import UsageError
from vlm.generate import prefill as read
from vlm.masks import Span
from vlm.prompt import PromptPlan

TEXT_TOKENS = 512  # of a prompt without images
WINDOWS = 2  # of one with images; a third window's worth of text comes with them
_LEAST_ID = 1000  # of a random token: beyond control tokens and single bytes
AROUND = 8  # tokens of text before each window
SOFT = 0.5  # deviation of random soft tokens: about what a random projector makes at true widths


@dataclass(frozen=True)
class Made:
    """A random prompt."""

    plan: PromptPlan
    soft_NTD: Tensor | None


def random_prompt(config: ModelConfig, tokens: int, *, seed: int = 1, windows: int = WINDOWS) -> Made:
    """Text, with windows near its beginning where the model sees and they fit.

    Args:
        config: of the model.
        tokens: length of the prompt.
        seed: of ids and soft tokens.
        windows: at most so many.
    """
    random = torch.Generator().manual_seed(seed)
    low = min(_LEAST_ID, config.text.vocab_size // 2)
    ids = torch.randint(low, config.text.vocab_size, (tokens,), generator=random).tolist()
    ids[0] = config.text.bos_token_id
    each = AROUND + config.mm_tokens_per_image + 2  # with the tokens that frame it
    count = min(windows, (tokens - 1) // each) if config.vision is not None else 0
    spans = []
    for index in range(count):
        start = index * each + AROUND + 1
        end = start + config.mm_tokens_per_image
        ids[start - 1], ids[end] = config.boi_token_index, config.eoi_token_index
        ids[start:end] = [config.image_token_index] * config.mm_tokens_per_image
        spans.append(Span(start, end))
    shape = (count, config.mm_tokens_per_image, config.text.hidden_size)
    soft_NTD = torch.randn(shape, generator=random) * SOFT if count else None
    return Made(PromptPlan(tuple(ids), tuple(spans)), soft_NTD)


def prefill(subject: Subject, run: Run, tokens: int | None = None) -> Report:
    """Measure a random prompt.

    Args:
        subject: what reads.
        run: how.
        tokens: length of the prompt; None takes 512, or three windows' worth where the model sees.

    Raises:
        UsageError: too long a prompt, a peer that isn't there, or too little memory.
    """
    run = run.checked(subject, AGAINST)
    config = subject.whole
    if tokens is None:
        tokens = TEXT_TOKENS if config.vision is None else (WINDOWS + 1) * config.mm_tokens_per_image
    check_length(subject, tokens, 0)
    prompt = random_prompt(config, tokens)
    subject, engine, theirs = text_models(subject, run, images=prompt.soft_NTD is not None)
    count = config.text.num_hidden_layers
    own = prompt.soft_NTD.to(engine.dtype) if prompt.soft_NTD is not None else None

    def ours() -> Tensor:
        return read(engine.decoder, engine.embed(prompt.plan, own), prompt.plan.spans, engine.new_cache())

    contenders = [Contender(run.ours, once(ours), (Stack(engine.decoder.layers, count),))]
    for dtype, peer in zip(run.peer_dtypes, theirs, strict=True):
        reading = partial(peer.prefill, prompt.plan.ids, prompt.plan.spans, prompt.soft_NTD)
        contenders.append(Contender(f"transformers {dtype}", once(reading), (Stack(peer.layers, count),)))
    if NAME in run.against:
        path = check_llama(subject)
        llama = LlamaPeer(path, tokens + 8)
        contenders.append(Contender(llama_name(path), once(partial(llama.prefill, prompt.plan.ids))))
    rows = rows_of(alternate(contenders, run.rounds, run.tell), tokens)
    windows = len(prompt.plan.spans)
    return run.report("prefill", subject, rows, ("decoder",), {"tokens": tokens, "windows": windows})


def check_length(subject: Subject, prompt: int, answer: int) -> None:
    """Refuse what the model's context doesn't hold.

    Raises:
        UsageError: names the context.
    """
    context = subject.whole.text.max_position_embeddings
    if prompt + answer >= context:
        raise UsageError(f"--tokens: {prompt + answer} are too many, {subject.name}'s context is {context}")


def text_models(subject: Subject, run: Run, *, images: bool) -> tuple[Subject, Engine, list[peers.TextPeer]]:
    """Ours and transformers' models of a subject; no encoder is built for a shape.

    Returns:
        The subject as it was cut, our engine, and one peer for each of ``run.peer_dtypes``.
    """
    dtypes = run.peer_dtypes
    subject = fit(subject, Copies(run.dtype, dtypes), run.layers, ("decoder",))
    run.tell(f"making {subject.name}")
    if subject.path is None:
        weights = Weights(keep=bool(dtypes))
        decoder = random_decoder(subject.config.text, weights, run.dtype)
        theirs = [peers.text_peer(subject, weights, dtype, images=images) for dtype in dtypes]
        return subject, engine_of(subject, run.dtype, None, decoder), theirs
    check_room(subject, run.dtype, dtypes)
    theirs = [peers.loaded_text(subject, dtype) for dtype in dtypes]
    return subject, load(subject, run.dtype), theirs
