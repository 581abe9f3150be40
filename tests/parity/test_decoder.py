"""Decoder logits beside transformers': every head layout, longer than the window, with images."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.parity.checkpoints import (
    WINDOW,
    Conversation,
    Pair,
    picture,
    rewrite_as_on_the_hub,
    save_multimodal,
    save_text,
)
from vlm.config import PRESETS
from vlm.generate import chunks
from vlm.masks import Queries
from vlm.prompt import PromptPlan

WIDE, TALL, SMALL = picture(700, 400, 1), picture(300, 900, 2), picture(90, 60, 3)
LONG = "The quick brown fox jumps over the lazy dog. " * 3  # four windows of a local layer

CONVERSATIONS: dict[str, tuple[Conversation, bool]] = {
    "text longer than the window": ([("user", [LONG])], False),
    "image": ([("user", [SMALL, "What?"])], False),
    "image after more than a window": ([("user", [LONG, SMALL, "What?"])], False),
    "two images, one prompt": ([("user", [SMALL, WIDE, "Compare them."])], False),
    "two images apart": ([("user", ["One", SMALL, LONG, WIDE, "?"])], False),
    "image in turn two": (
        [("user", ["Hello"]), ("assistant", ["Hi. Show me."]), ("user", [SMALL, "Here. " + LONG])],
        False,
    ),
    "images in both turns": (
        [("system", ["Read."]), ("user", [WIDE, "?"]), ("assistant", ["A cat."]), ("user", ["And", SMALL])],
        False,
    ),
    "crops": ([("user", [WIDE, "What does it say?"])], True),
    "crops of two images": ([("user", [WIDE, "and", TALL, LONG])], True),
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = save_multimodal(tmp_path_factory.mktemp("checkpoint"))
    rewrite_as_on_the_hub(folder)
    return Pair(folder)


def read_in_chunks(pair: Pair, plan: PromptPlan, hidden_TD: Tensor, size: int) -> Tensor:
    """Logits of every position, through the cache."""
    decoder, cache = pair.engine.decoder, pair.engine.new_cache()
    read = []
    with torch.inference_mode():
        for start, end in chunks(0, len(plan.ids), plan.spans, size):
            hidden = decoder(hidden_TD[None, start:end], Queries(start, end, plan.spans), cache)
            read.append(decoder.logits(hidden)[0])
    assert cache.length == len(plan.ids)
    return torch.cat(read)


@pytest.mark.parametrize("size", PRESETS)
def test_head_layout_of_each_size(size: str, tmp_path: Path) -> None:
    pair = Pair(save_text(tmp_path, size))
    text, released = pair.engine.config.text, PRESETS[size].text
    for name in ("num_attention_heads", "num_key_value_heads", "head_dim", "query_pre_attn_scalar"):
        assert getattr(text, name) == getattr(released, name)
    assert (text.rope_factor, text.rope_theta) == (released.rope_factor, released.rope_theta)
    assert text.layer_types == released.layer_types[: len(text.layer_types)]

    ids = torch.randint(10, text.vocab_size, (1, 4 * WINDOW + 5), generator=torch.Generator().manual_seed(3))
    expected = pair.their_logits({"input_ids": ids})
    plan = PromptPlan(tuple(ids[0].tolist()), ())
    hidden_TD = pair.engine.embed(plan, None)
    assert expected.std() > 1.0
    assert (pair.our_logits(plan, hidden_TD) - expected).abs().max() < 1e-4
    for chunk in (1, 50):
        assert (read_in_chunks(pair, plan, hidden_TD, chunk) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_logits_of_a_conversation(pair: Pair, name: str) -> None:
    conversation, crops = CONVERSATIONS[name]
    inputs = pair.their_inputs(conversation, crops=crops)
    plan, hidden_TD = pair.our_prompt(conversation, crops=crops)
    assert list(plan.ids) == inputs["input_ids"][0].tolist()
    expected = pair.their_logits(inputs)
    assert (pair.our_logits(plan, hidden_TD) - expected).abs().max() < 1e-4
    # Borders of chunks fall before, behind and inside images; inside, the chunk gives way. Single
    # steps are decoding: an image, then more than a window of text.
    for chunk in (17, 61, 1) if name == "image in turn two" else (17, 61):
        assert (read_in_chunks(pair, plan, hidden_TD, chunk) - expected).abs().max() < 1e-4, chunk


def test_the_window_counts(pair: Pair) -> None:
    """The prompts above are long enough to notice a window of one token more."""
    inputs = pair.their_inputs([("user", [LONG])])
    expected = pair.their_logits(inputs)
    pair.model.config.text_config.sliding_window += 1
    try:
        assert (pair.their_logits(inputs) - expected).abs().max() > 1e-2
    finally:
        pair.model.config.text_config.sliding_window -= 1


def test_an_image_sees_itself_whole_and_no_other(pair: Pair) -> None:
    """Not parity but what it rests on: change an image, see who notices."""

    def hidden(*images: Image.Image) -> tuple[PromptPlan, Tensor]:
        plan, hidden_TD = pair.our_prompt([("user", [*images, "?"])])
        return plan, pair.our_logits(plan, hidden_TD)

    plan, before = hidden(SMALL, WIDE)
    _, after = hidden(SMALL, TALL)
    changed = (before - after).abs().amax(-1) > 0
    first, second = plan.spans
    assert not changed[: second.start].any()  # the first image does not see the later one
    assert changed[second.start :].all()
    assert first.end < second.start

    # Without its span, an image would be read causally: another result, from its first token on.
    bare_plan, hidden_TD = pair.our_prompt([("user", [SMALL, WIDE, "?"])])
    causal = pair.our_logits(PromptPlan(bare_plan.ids, ()), hidden_TD)
    assert ((causal - before).abs().amax(-1) > 1e-3)[first.start]
