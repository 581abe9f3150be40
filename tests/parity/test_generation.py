"""Generated ids beside transformers': greedy, and the distribution of every sampling setting."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import set_seed

from tests.parity.checkpoints import Conversation, Pair, picture, save_multimodal, save_text
from vlm.generate import Token
from vlm.prompt import PromptPlan
from vlm.sampling import Sampling, adjusted
from vlm.session import VLM

WIDE, SMALL = picture(700, 400, 1), picture(90, 60, 3)
ASKED: dict[str, tuple[Conversation, bool]] = {
    "text": ([("user", ["The quick brown fox jumps over the lazy dog."])], False),
    "image": ([("user", [SMALL, "What?"])], False),
    "crops": ([("user", [WIDE, "What does it say?"])], True),
    "two images": ([("user", [SMALL, WIDE, "Compare."])], False),
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(save_multimodal(tmp_path_factory.mktemp("checkpoint")))


def our_answer(pair: Pair, plan: PromptPlan, hidden_TD: torch.Tensor, tokens: int) -> list[Token]:
    _, run = pair.engine.start(plan, hidden_TD, pair.engine.new_cache(), Sampling(), tokens)
    return list(run)


@pytest.mark.parametrize("name", ASKED)
def test_64_greedy_tokens(pair: Pair, name: str) -> None:
    conversation, crops = ASKED[name]
    expected = pair.their_answer(pair.their_inputs(conversation, crops=crops), 64)
    plan, hidden_TD = pair.our_prompt(conversation, crops=crops)
    assert [token.id for token in our_answer(pair, plan, hidden_TD, 64)] == expected
    assert len(expected) == 64
    assert len(set(expected)) > 10  # not one token over and over


@pytest.mark.parametrize("size", ["270m", "4b", "27b"])  # the decoder test has the other two
def test_64_greedy_tokens_of_each_size(size: str, tmp_path: Path) -> None:
    pair = Pair(save_text(tmp_path, size))
    ids = torch.randint(10, 500, (1, 20), generator=torch.Generator().manual_seed(4))
    expected = pair.their_answer({"input_ids": ids}, 64)
    plan = PromptPlan(tuple(ids[0].tolist()), ())
    assert [token.id for token in our_answer(pair, plan, pair.engine.embed(plan, None), 64)] == expected
    assert len(set(expected)) > 10


def test_log_probabilities(pair: Pair) -> None:
    conversation, _ = ASKED["image"]
    inputs = pair.their_inputs(conversation)
    out = pair.model.generate(
        **inputs, do_sample=False, max_new_tokens=8, output_logits=True, return_dict_in_generate=True
    )
    plan, hidden_TD = pair.our_prompt(conversation)
    for token, logits in zip(our_answer(pair, plan, hidden_TD, 8), out.logits, strict=True):
        assert token.logprob == pytest.approx(float(logits[0].log_softmax(-1)[token.id]), abs=1e-4)


def test_every_stop_id_ends_the_answer(pair: Pair) -> None:
    """The end both reach when a likely token is declared a stop id."""
    conversation, _ = ASKED["text"]
    inputs = pair.their_inputs(conversation)
    free = pair.their_answer(inputs, 32)
    stop = next(id for at, id in enumerate(free) if at > 5 and id not in free[:at])
    ended = pair.their_answer(inputs, 32, eos_token_id=[1, stop])
    assert ended == free[: free.index(stop) + 1]
    plan, hidden_TD = pair.our_prompt(conversation)
    generation, run = pair.engine.start(plan, hidden_TD, pair.engine.new_cache(), Sampling(), 32)
    object.__setattr__(generation.limits, "stop_ids", frozenset([1, stop]))
    assert [token.id for token in run] == ended[:-1]
    assert generation.finish_reason == "stop"


def test_a_chat_of_two_turns(pair: Pair) -> None:
    """Through the session: the second answer comes off a cache that was cut back and extended."""
    chat = VLM(pair.engine).chat(policy="gemma3", max_tokens=12)
    conversation: list[tuple[str, list[Any]]] = []
    for question, images in (("What does it say?", [WIDE]), ("And this?", [SMALL]), ("Sure?", [])):
        conversation.append(("user", [*images, question]))
        expected = pair.their_answer(pair.their_inputs(conversation, crops=True), 12)
        text = pair.engine.tokenizer.decode(expected).strip()
        answer = chat.ask(question, images)
        assert answer.text == text
        assert answer.usage.completion_tokens == len(expected)
        conversation.append(("assistant", [text]))


SETTINGS: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": 0.7},
    "hot": {"temperature": 1.8},
    "top_k": {"temperature": 1.0, "top_k": 20},
    "top_k beyond the vocabulary": {"temperature": 1.0, "top_k": 100_000},
    "top_p": {"temperature": 1.0, "top_p": 0.8},
    "narrow top_p": {"temperature": 1.0, "top_p": 0.01},
    "min_p": {"temperature": 1.0, "min_p": 0.1},
    "penalty": {"temperature": 1.0, "repetition_penalty": 1.3},
    "reward": {"temperature": 1.0, "repetition_penalty": 0.8},
    "all, as Gemma's own": {
        "temperature": 1.2, "top_k": 64, "top_p": 0.95, "min_p": 0.02, "repetition_penalty": 1.1,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_distribution_of_sampling_settings(pair: Pair, name: str) -> None:
    """At each step: transformers' processed scores from its raw logits, ours from the same."""
    settings = SETTINGS[name]
    conversation, _ = ASKED["image"]
    inputs = pair.their_inputs(conversation)
    set_seed(11)
    out = pair.model.generate(
        **inputs, do_sample=True, max_new_tokens=12, return_dict_in_generate=True,
        output_scores=True, output_logits=True, **{"top_k": 0, "top_p": 1.0} | settings,
    )  # fmt: skip
    prompt = inputs["input_ids"].shape[1]
    for step, (raw, scores) in enumerate(zip(out.logits, out.scores, strict=True)):
        history = out.sequences[0, : prompt + step].tolist()
        ours = adjusted(raw[0], Sampling(**settings), history)
        assert torch.equal(ours.isinf(), scores[0].isinf())
        assert torch.allclose(ours.softmax(-1), scores[0].softmax(-1), atol=1e-6)


def test_greedy_with_a_penalty(pair: Pair) -> None:
    conversation, _ = ASKED["image"]
    expected = pair.their_answer(pair.their_inputs(conversation), 32, repetition_penalty=1.5)
    plan, hidden_TD = pair.our_prompt(conversation)
    sampling = Sampling(repetition_penalty=1.5)
    _, run = pair.engine.start(plan, hidden_TD, pair.engine.new_cache(), sampling, 32)
    assert [token.id for token in run] == expected
