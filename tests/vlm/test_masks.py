"""Masks against written-out literals: rows are queries, columns keys, 1 where a query may look."""

import pytest
import torch

from vlm.masks import Queries, Span, attention_mask, is_plain_causal, span_ids, window_of

# Text 0-2, image 3-5, text 6, image 7-8, text 9.
IMAGES = (Span(3, 6), Span(7, 9))

GLOBAL = """
1000000000
1100000000
1110000000
1111110000
1111110000
1111110000
1111111000
1111111110
1111111110
1111111111
"""

# A window of 4: a query sees itself and three before it, and ahead what its own image reaches.
LOCAL = """
1000000000
1100000000
1110000000
1111110000
0111110000
0011110000
0001111000
0000111110
0000011110
0000001111
"""


def rows(literal: str) -> torch.Tensor:
    return torch.tensor([[char == "1" for char in line] for line in literal.split()])


@pytest.mark.parametrize(("window", "literal"), [(None, GLOBAL), (4, LOCAL)], ids=["global", "local"])
def test_text_image_text_image_text(window: int | None, literal: str) -> None:
    assert torch.equal(attention_mask(Queries(0, 10, IMAGES), 0, window), rows(literal))


@pytest.mark.parametrize(("window", "literal"), [(None, GLOBAL), (4, LOCAL)], ids=["global", "local"])
@pytest.mark.parametrize("start", [2, 3, 6, 7])
def test_a_chunk_is_the_last_rows(window: int | None, literal: str, start: int) -> None:
    mask = attention_mask(Queries(start, 10, IMAGES), 0, window)
    assert torch.equal(mask, rows(literal)[start:])
    # Where a local layer no longer holds the first keys, their columns are gone.
    held = attention_mask(Queries(start, 10, IMAGES), 2, window)
    assert torch.equal(held, rows(literal)[start:, 2:])


def test_neighbouring_images_stay_apart() -> None:
    mask = attention_mask(Queries(0, 6, (Span(1, 3), Span(3, 5))), 0, None)
    assert torch.equal(mask, rows("100000 111000 111000 111110 111110 111111"))


def test_one_query_needs_no_mask_unless_keys_lie_outside_its_window() -> None:
    assert attention_mask(Queries(9, 10), 0, None) is None
    assert attention_mask(Queries(9, 10), 6, 4) is None
    beyond = attention_mask(Queries(9, 10), 4, 4)
    assert torch.equal(beyond, rows("001111"))


def test_plain_causal() -> None:
    text = Queries(0, 10)
    assert is_plain_causal(text, 0, None)
    assert is_plain_causal(text, 0, 10)
    assert not is_plain_causal(text, 0, 9)  # the last query no longer sees the first key
    assert not is_plain_causal(Queries(5, 10), 0, None)  # keys before the chunk
    assert not is_plain_causal(Queries(0, 10, IMAGES), 0, None)
    assert not is_plain_causal(Queries(5, 6), 5, None)
    behind = Queries(9, 14, IMAGES)  # its images all lie before the chunk
    assert is_plain_causal(behind, 9, None)
    triangle = torch.ones(10, 10, dtype=torch.bool).tril()
    assert torch.equal(attention_mask(text, 0, 10), triangle)


def test_span_ids() -> None:
    assert span_ids(0, 10, IMAGES).tolist() == [-1, -1, -1, 0, 0, 0, -1, 1, 1, -1]
    assert span_ids(4, 8, IMAGES).tolist() == [0, 0, -1, 1]


def test_window_of() -> None:
    assert window_of("sliding_attention", 512) == 512
    assert window_of("full_attention", 512) is None
