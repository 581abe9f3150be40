"""``vlm bench encode``: one window through encoder and projector."""

from __future__ import annotations

from functools import partial

import torch

from vlm.bench import peers
from vlm.bench.report import Report, rows_of
from vlm.bench.run import Run, once
from vlm.bench.shapes import Copies, Subject, Weights, check_room, fit, load, random_vision
from vlm.bench.timing import Contender, Stack, alternate


def encode(subject: Subject, run: Run) -> Report:
    """Measure one window of noise.

    Raises:
        UsageError: nothing that sees, a peer that isn't there, or too little memory.
    """
    run = run.checked(subject, tuple(peers.PEERS))
    subject.need_vision()
    dtypes = run.peer_dtypes
    subject = fit(subject, Copies(run.dtype, dtypes), run.layers, ("encoder",))
    config, whole = subject.config.vision, subject.whole.vision
    assert config is not None and whole is not None
    side = config.image_size
    pixels_NCHW = torch.rand((1, 3, side, side), generator=torch.Generator().manual_seed(1)) * 2 - 1
    run.tell(f"making {subject.name}")
    if subject.path is None:
        weights = Weights(keep=bool(dtypes))
        vision = random_vision(subject.config, weights, run.dtype)
        theirs = [peers.vision_peer(subject, weights, dtype) for dtype in dtypes]
    else:
        check_room(subject, run.dtype, dtypes)
        loaded = load(subject, run.dtype).vision
        assert loaded is not None
        vision = loaded
        theirs = [peers.loaded_vision(subject, dtype) for dtype in dtypes]
    own = pixels_NCHW.to(torch.bfloat16) if run.dtype == "bf16" else pixels_NCHW
    count = whole.num_hidden_layers
    contenders = [
        Contender(run.ours, once(partial(vision, own)), (Stack(vision.encoder.encoder.layers, count),))
    ]
    for dtype, peer in zip(dtypes, theirs, strict=True):
        looking = once(partial(peer, pixels_NCHW))
        contenders.append(Contender(f"transformers {dtype}", looking, (Stack(peer.layers, count),)))
    rows = rows_of(alternate(contenders, run.rounds, run.tell))
    figures = {"pixels": side, "soft_tokens": subject.config.mm_tokens_per_image}
    return run.report("encode", subject, rows, ("encoder",), {**figures})
