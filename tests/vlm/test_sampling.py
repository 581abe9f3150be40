import math
from collections import Counter
from typing import Any

import pytest
import torch

from vlm.errors import UsageError
from vlm.sampling import Sampler, Sampling, adjusted

LOGITS = torch.tensor([1.0, 3.0, 2.0, -1.0, 0.0])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1), ("temperature", 101.0), ("temperature", math.nan), ("temperature", math.inf),
        ("top_k", -1), ("top_p", 0.0), ("top_p", 1.01), ("top_p", math.nan), ("min_p", -0.1), ("min_p", 1.5),
        ("repetition_penalty", 0.0), ("repetition_penalty", -1.0), ("repetition_penalty", math.nan),
        ("seed", 2**64), ("seed", -1), ("frequency_penalty", 2.1), ("presence_penalty", math.nan),
    ],
)  # fmt: skip
def test_out_of_range(field: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"{field} must be"):
        Sampling(**{field: value})  # type: ignore[arg-type]


def test_greedy_takes_the_likeliest_and_of_a_tie_the_first() -> None:
    sampler = Sampler(Sampling())
    assert sampler.pick(LOGITS, []) == 1
    assert {sampler.pick(torch.tensor([0.0, 2.0, 2.0, 1.0]), []) for _ in range(20)} == {1}


def picks(count: int, **settings: Any) -> list[int]:
    sampler = Sampler(Sampling(**settings))
    return [sampler.pick(LOGITS, []) for _ in range(count)]


def test_same_seed_same_choice() -> None:
    assert picks(50, temperature=1.5, seed=7) == picks(50, temperature=1.5, seed=7)
    assert picks(50, temperature=1.5, seed=7) != picks(50, temperature=1.5, seed=8)
    assert picks(50, temperature=1.5) != picks(50, temperature=1.5)


def test_choice_leaves_the_global_source_of_chance_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    picks(5, temperature=1.0, seed=3)
    assert torch.equal(torch.rand(1), expected)


def test_frequencies_are_the_probabilities() -> None:
    counts = Counter(picks(4000, temperature=1.0, seed=0))
    for token, probability in enumerate(LOGITS.softmax(-1).tolist()):
        assert counts[token] / 4000 == pytest.approx(probability, abs=0.03)


def kept(logits: torch.Tensor = LOGITS, **settings: Any) -> set[int]:
    scores = adjusted(logits, Sampling(**{"temperature": 1.0} | settings), [])
    return set(scores.isfinite().nonzero().flatten().tolist())


def test_cuts() -> None:
    assert kept() == {0, 1, 2, 3, 4}
    assert kept(top_k=2) == {1, 2}
    assert kept(top_k=99) == {0, 1, 2, 3, 4}
    # Probabilities .636 .234 .086 .032 .012: two reach .8, one alone .5.
    assert kept(top_p=0.8) == {1, 2}
    assert kept(top_p=0.5) == kept(top_p=1e-9) == {1}
    assert kept(min_p=0.3) == {1, 2}
    assert kept(min_p=1.0) == {1}
    assert kept(top_k=3, top_p=0.97, min_p=0.2) == {1, 2}


def test_temperature_comes_before_the_cuts() -> None:
    assert kept(top_p=0.8, temperature=4.0) == {0, 1, 2, 4}


def test_repetition_penalty() -> None:
    settings = Sampling(repetition_penalty=2.0)
    assert adjusted(LOGITS, settings, [1, 3, 1]).tolist() == [1.0, 1.5, 2.0, -2.0, 0.0]
    assert LOGITS.tolist() == [1.0, 3.0, 2.0, -1.0, 0.0]  # the model's own scores stay as they are
    assert Sampler(settings).pick(LOGITS, [1]) == 2
    assert adjusted(LOGITS, settings, []).tolist() == LOGITS.tolist()


def test_half_precision_scores() -> None:
    assert adjusted(LOGITS.bfloat16(), Sampling(temperature=0.5), []).dtype == torch.float32


def test_what_the_answer_said_loses_by_openais_penalties() -> None:
    often = Sampling(frequency_penalty=0.5)
    assert adjusted(LOGITS, often, [0, 0], [1, 2, 1]).tolist() == [1.0, 2.0, 1.5, -1.0, 0.0]
    once = Sampling(presence_penalty=2.0)
    assert adjusted(LOGITS, once, [0], [1, 2, 1]).tolist() == [1.0, 1.0, 0.0, -1.0, 0.0]
    assert not often.plain and Sampler(Sampling(presence_penalty=2.0)).pick(LOGITS, [], [1]) == 2
    assert adjusted(LOGITS, often, [1, 1]).tolist() == LOGITS.tolist()  # the prompt counts for nothing
