"""The embedded model is a real Gemma 3 checkpoint: transformers loads it and says the same."""

import pytest

from tests.parity.checkpoints import Pair
from vlm.session import VLM
from vlm.verify import sample_picture, verify
from vlm.weights.hub import ASSETS

MINI = ASSETS / "mini"


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair(MINI)


@pytest.mark.parametrize("crops", [False, True], ids=["whole", "crops"])
def test_logits_and_text(pair: Pair, crops: bool) -> None:
    picture = sample_picture()
    conversation = [("user", [picture, "What does it say?"])]
    inputs = pair.their_inputs(conversation, crops=crops)
    plan, hidden_TD = pair.our_prompt(conversation, crops=crops)
    assert list(plan.ids) == inputs["input_ids"][0].tolist()
    assert (pair.our_logits(plan, hidden_TD) - pair.their_logits(inputs)).abs().max() < 1e-4

    expected = pair.their_answer(inputs, 64)
    policy = "gemma3" if crops else "off"
    answer = VLM(pair.engine).ask(picture, "What does it say?", policy=policy, max_tokens=64)
    assert answer.text == pair.processor.decode(expected, skip_special_tokens=True).strip()


def test_verify_says_identical() -> None:
    report = verify("mini", offline=True)
    assert report.verdict, report
    assert not any(row.skipped for row in report.rows)
