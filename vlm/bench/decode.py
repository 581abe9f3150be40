"""``vlm bench decode``: one token after the other, beside the rate at which weights come from memory.

A token needs every weight of the layers and of the head once, and nothing of it can be kept near the
processor: the time to read them is the bound no code gets below, and the share of it that is reached
says how much is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from torch import nn

from vlm.bench.llama import NAME, LlamaPeer, check_llama, llama_name
from vlm.bench.machine import GB, READ_BYTES, read_rate
from vlm.bench.peers import TextPeer
from vlm.bench.prefill import check_length, random_prompt, text_models
from vlm.bench.report import Report, rows_of
from vlm.bench.run import AGAINST, Run
from vlm.bench.shapes import Subject, weight_bytes
from vlm.bench.timing import Contender, Stack, alternate
from vlm.config import TextConfig
from vlm.engine import Engine
from vlm.gemma import GemmaDecoder
from vlm.generate import Generation, Limits, Token, prefill
from vlm.prompt import PromptPlan
from vlm.sampling import Sampler, Sampling

PROMPT = 16  # tokens read before


def decode(subject: Subject, run: Run, tokens: int = 64, read_bytes: int = READ_BYTES) -> Report:
    """Measure greedy tokens after a short prompt. Each is one step: read it, choose the next.

    Args:
        subject: what writes.
        run: how.
        tokens: steps a turn.
        read_bytes: of the buffer that the memory's rate is measured with.

    Raises:
        UsageError: too many tokens, a peer that isn't there, or too little memory.
    """
    run = run.checked(subject, AGAINST)
    check_length(subject, PROMPT, tokens + 2)
    run.tell("measuring the memory's rate")
    rate = read_rate(read_bytes)
    plan = random_prompt(subject.whole, PROMPT, windows=0).plan
    subject, engine, theirs = text_models(subject, run, images=False)
    count = subject.whole.text.num_hidden_layers
    contenders = [
        Contender(run.ours, partial(_ready, engine, plan, tokens), (Stack(engine.decoder.layers, count),))
    ]
    for dtype, peer in zip(run.peer_dtypes, theirs, strict=True):
        ready = partial(_ready_peer, peer, plan, tokens)
        contenders.append(Contender(f"transformers {dtype}", ready, (Stack(peer.layers, count),)))
    if NAME in run.against:
        path = check_llama(subject)
        llama = LlamaPeer(path, PROMPT + tokens + 8)
        contenders.append(Contender(llama_name(path), partial(_ready_llama, llama, plan, tokens)))
    timings = alternate(contenders, run.rounds, run.tell)
    text = subject.config.text
    head = text.vocab_size * text.hidden_size
    read = weight_bytes(weights_a_token(text) - head, head, run.dtype)
    figures = {
        "tokens": tokens,
        "weight_bytes_a_token": read,
        "read_rate_gb_s": rate / GB,
        "weights_read_gb_s": read * tokens / timings[0].median / GB,
        "share_of_read_rate": read * tokens / timings[0].median / rate,
    }
    note = "share_of_read_rate: weights a step reads, over its seconds, over the rate of summing int8 memory"
    return run.report("decode", subject, rows_of(timings, tokens), ("decoder",), {**figures}, (note,))


def weights_a_token(config: TextConfig) -> int:
    """Weights of every product of a step: all linear layers and the head, not the embedding's one row."""
    import torch

    with torch.device("meta"):
        decoder = GemmaDecoder(config)
    linear = (part.weight.numel() for part in decoder.modules() if isinstance(part, nn.Linear))
    return sum(linear) + decoder.embed_tokens.weight.numel()


def _ready(engine: Engine, plan: PromptPlan, tokens: int) -> Callable[[], list[int]]:
    """By the same ``Generation`` that answers people, without stop ids."""
    cache = engine.new_cache()
    logits_V = prefill(engine.decoder, engine.embed(plan, None), (), cache)
    limits = Limits(frozenset(), tokens + 2, engine.context)
    generation = Generation(engine.decoder, cache, Sampler(Sampling()), limits, plan.ids)
    run = generation.run(logits_V)
    return partial(_take, [next(run).id], run, tokens)  # the first is chosen already


def _take(ids: list[int], run: Iterator[Token], tokens: int) -> list[int]:
    for _ in range(tokens):
        ids.append(next(run).id)
    return ids[:tokens]


def _ready_peer(peer: TextPeer, plan: PromptPlan, tokens: int) -> Callable[[], list[int]]:
    return partial(peer.decode, peer.start(plan.ids), tokens)


def _ready_llama(peer: LlamaPeer, plan: PromptPlan, tokens: int) -> Callable[[], list[int]]:
    return partial(peer.decode, peer.start(plan.ids), tokens)
