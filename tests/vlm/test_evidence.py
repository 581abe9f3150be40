"""Attention as evidence: the numbers are the decoder's own, and places come back to the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from fakes import TOKENS, picture, tiny_checkpoint
from PIL import Image
from torch import Tensor

from pan_and_scan import Window
from vlm.cache import KVCache
from vlm.config import ModelConfig
from vlm.engine import Engine
from vlm.evidence import (
    AT_ONCE,
    Attention,
    AttentionWatch,
    Heat,
    Place,
    default_heads,
    draw_evidence,
    heat_map,
    regions,
    worth_a_look,
)
from vlm.layers import DecoderLayer
from vlm.masks import Queries, Span
from vlm.prompt import ImagePart, Turn, plan_chat
from vlm.session import VLM
from vlm.training.reader import AttentionTap

PAGE = Window(0, 0, 400, 200, "whole")
LEFT, RIGHT = Window(0, 0, 200, 200), Window(200, 0, 400, 200)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return VLM.load(tiny_checkpoint(tmp_path_factory.mktemp("tiny")))


def test_rows_are_the_attention_of_the_heads(model: VLM) -> None:
    engine = model.engine
    answer = model.ask(picture(1, 60, 120), "Which?", max_tokens=9)
    assert answer.attention is not None and len(answer.windows) == 3
    plan = plan_chat(engine.tokenizer, (Turn("user", (ImagePart(3), "Which?")),), TOKENS)
    layer = cast(DecoderLayer, engine.decoder.layers[2])
    heads = default_heads(engine.config)
    assert heads == ((2, 0), (2, 1))  # the only global layer
    tap = AttentionTap(layer)
    # The whole conversation at once, without a cache: another way to the same numbers.
    ids = (*plan.ids, *answer.ids)
    with torch.inference_mode():
        windows = [used.window for used in answer.windows]
        soft = engine.encode([picture(1, 60, 120).crop(window.box) for window in windows])
        hidden = torch.cat([engine.embed(plan, soft), engine.decoder.embed(torch.tensor(answer.ids))])
        engine.decoder(hidden[None], Queries(0, len(ids), plan.spans))
        rows_BT = torch.zeros(1, len(ids), dtype=torch.bool)
        rows_BT[0, len(plan.ids) - 1 : len(ids) - 1] = True  # those that choose the answer's tokens
        weights = torch.stack([tap.log_weights(head, rows_BT).exp() for _, head in heads]).mean(0)
    at = torch.cat([torch.arange(span.start, span.end) for span in plan.spans])
    torch.testing.assert_close(answer.attention.rows_NS, weights[:, at], rtol=1e-4, atol=1e-6)


def test_a_local_layer_sees_no_further_than_its_window(tmp_path: Path) -> None:
    model = VLM.load(tiny_checkpoint(tmp_path))
    object.__setattr__(model.engine.config, "evidence_heads", ((0, 0),))  # 64 tokens
    near = model.ask(picture(1), "Q", max_tokens=2).attention
    far = model.ask(picture(1), "Q" + "q" * 80, max_tokens=2).attention
    assert near is not None and far is not None
    assert near.rows_NS.sum() > 0 and far.rows_NS.sum() == 0
    assert far.evidence() == () and far.point(0) is None


def test_tokens_computed_together_are_those_computed_one_by_one(model: VLM) -> None:
    config = model.engine.config
    text, window = config.text, config.text.sliding_window
    random = torch.Generator().manual_seed(4)
    heads = ((0, 1), (2, 0), (2, 1))  # layer 0 is a local one
    span = Span(3, 3 + TOKENS)
    cache = KVCache(text, slack=AT_ONCE)  # the least that will do
    cache.watch = watch = AttentionWatch(config, [span], heads)
    kept: dict[int, Tensor] = {}
    expected = []
    for count in (20, *[1] * 5 * AT_ONCE):  # past the local window, and past what its buffers hold
        cache.prepare(count)
        for layer in range(text.num_hidden_layers):
            q = torch.randn(1, text.num_attention_heads, count, text.head_dim, generator=random)
            k = torch.randn(1, text.num_key_value_heads, count, text.head_dim, generator=random)
            cache.show(layer, q, cache.append(layer, k, k)[0])
            kept[layer] = torch.cat([kept[layer], k], dim=2) if layer in kept else k
            if layer == 0:
                row = torch.zeros(TOKENS)
            for head in (head for its, head in heads if its == layer):
                keys = kept[layer][0, head * text.num_key_value_heads // text.num_attention_heads]
                scores = keys @ q[0, head, -1] * text.query_pre_attn_scalar**-0.5
                if layer == 0:
                    scores[:-window] = -torch.inf
                row += scores.softmax(0)[span.start : span.end] / len(heads)
        cache.advance(count)
        watch.take()
        expected.append(row)
    assert cache.key_start("sliding_attention") > 0
    torch.testing.assert_close(watch.rows_NS(), torch.stack(expected))


def test_a_conversation_counts_its_images_on(model: VLM) -> None:
    chat = model.chat(policy="off", max_tokens=3)
    chat.ask("First?", picture(1))
    answer = chat.ask("Second?", picture(2))
    assert answer.attention is not None
    assert [place.image for place in answer.attention.places] == [0, 1]
    assert answer.attention.rows_NS.shape == (3, 2 * TOKENS)
    assert {found.image for found in answer.evidence} <= {0, 1}
    again = chat.ask("And?")
    assert again.attention is not None and len(again.attention.places) == 2


def test_text_alone_has_no_evidence(model: VLM) -> None:
    answer = model.generate("Once upon", max_tokens=3).read()
    assert answer.attention is None and answer.evidence == ()


def test_what_is_not_in_the_image_was_read_nowhere(model: VLM) -> None:
    answer = model.ask(picture(1), "What?", max_tokens=3)
    assert answer.evidence
    assert replace(answer, text="Not in the image.").evidence == ()


def test_windows_add_up_over_the_page() -> None:
    whole = [[1, 0], [0, 0]]
    left = [[0, 0], [0, 2]]
    right = [[0, 0], [4, 0]]
    heat = heat_map(np.array([whole, left, right], dtype=np.float32), [PAGE, LEFT, RIGHT])
    assert heat.cells.tolist() == [[0.5, 0.5, 0, 0], [0, 2, 4, 0]]
    assert heat.cells.sum() == 7


def test_regions_are_connected_and_sorted() -> None:
    cells = np.zeros((4, 10), dtype=np.float32)
    cells[0, 0:2] = 0.2
    cells[3, 5], cells[3, 6] = 0.3, 0.2
    cells[0, 9] = 0.05  # too faint
    best, second = regions(Heat(cells, 100, 40), image=3)
    assert (best.image, best.box, round(best.score, 4)) == (3, (50, 30, 70, 40), 0.5)
    assert second.box == (0, 0, 20, 10)


def test_a_gap_of_one_cell_parts_nothing() -> None:
    cells = np.array([[0, 0.4, 0, 0.4, 0, 0, 0.2]], dtype=np.float32)
    assert [found.box for found in regions(Heat(cells, 70, 10), 0)] == [(10, 0, 40, 10), (60, 0, 70, 10)]


def test_nothing_is_hot_where_nobody_looked() -> None:
    assert regions(Heat(np.zeros((3, 3), dtype=np.float32), 30, 30), 0) == []


def test_a_token_points_into_the_finest_window() -> None:
    rows = torch.zeros(2, 12)
    rows[0, 1] = 0.5  # upper right quarter of the page
    rows[0, 8 + 2] = 0.4  # lower left quarter of its right half
    places = tuple(Place(0, window) for window in (PAGE, LEFT, RIGHT))
    attention = Attention(rows, places, tokens=4)
    assert attention.point(0) == (0, 250.0, 150.0)
    assert attention.point(1) is None


def test_every_token_counts_the_same() -> None:
    rows = torch.tensor([[0.9, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.001]])
    heat = Attention(rows, (Place(0, PAGE),), tokens=4).heat(0)
    assert heat is not None and heat.cells.tolist() == [[0.5, 0], [0, 0.5]]


def test_the_drawing_glows_where_it_was_read() -> None:
    rows = torch.tensor([[0.0, 0.0, 0.0, 1.0]])
    image = Image.new("RGB", (400, 200), "white")
    drawn = draw_evidence(image, Attention(rows, (Place(0, PAGE),), tokens=4))
    assert drawn.size == image.size and drawn.getpixel((20, 180)) == (255, 255, 255)
    red, _, blue = cast(tuple[int, int, int], drawn.getpixel((300, 170)))
    assert red - blue > 60
    nothing = draw_evidence(image, Attention(torch.zeros(0, 4), (Place(0, PAGE),), tokens=4))
    assert nothing.tobytes() == image.tobytes()


def test_mini_names_its_heads() -> None:
    config = ModelConfig.from_folder(Path(__file__).parents[2] / "vlm/assets/mini")
    assert default_heads(config) == ((2, 0), (4, 0))


def test_mini_looks_at_what_it_reads() -> None:
    notice = Path(__file__).parents[2] / "demos/images/notice.png"
    answer = VLM.load("mini").ask(notice, "What does it say?")
    assert answer.attention is not None and answer.text.startswith("Fresh bread")
    first = [answer.attention.point(token) for token in range(len("Fresh bread"))]
    assert all(point is not None and 20 < point[2] < 95 for point in first)
    xs = [point[1] for point in first if point is not None]
    assert xs == sorted(xs)  # from left to right


def test_heat_is_shared_out_exactly() -> None:
    heat = Heat(np.array([[1.0, 3.0], [0.0, 4.0]], dtype=np.float32), 400, 200)
    assert heat.within(PAGE) == 8.0
    assert heat.within(LEFT) == 1.0 and heat.within(RIGHT) == 7.0
    assert heat.within(Window(100, 50, 300, 150)) == 0.25 * 8  # the middle: a quarter of each cell


def test_the_hottest_crops_are_worth_a_look() -> None:
    quarters = tuple(Window(x, y, x + 200, y + 100) for y in (0, 100) for x in (0, 200))
    heat = Heat(np.array([[1.0, 3.0], [0.0, 6.0]], dtype=np.float32), 400, 200)
    assert worth_a_look(heat, quarters, most=4) == (quarters[1], quarters[3])  # nine tenths, in their order
    assert worth_a_look(heat, quarters, most=1) == (quarters[3],)
    assert worth_a_look(None, quarters, most=2) == quarters[:2]


def test_guided_looks_at_half_the_windows_and_encodes_the_whole_once(
    model: VLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture(3, 168, 168)  # 3 x 3 windows of the stand-in's 56 pixels
    encoded: list[tuple[int, int]] = []
    encode = type(model.engine).encode

    def watched(engine: Engine, crops: Sequence[Image.Image]) -> torch.Tensor:
        encoded.extend(crop.size for crop in crops)
        return encode(engine, crops)

    monkeypatch.setattr(type(model.engine), "encode", watched)
    full = model.ask(image, "Which?", policy="adaptive", max_tokens=4)
    assert len(encoded) == len(full.windows) == 10
    encoded.clear()
    answer = model.ask(image, "Which?", policy="guided", max_tokens=4)
    assert 2 <= len(answer.windows) <= 5 and answer.windows[0].window.kind == "whole"
    assert len(encoded) == len(answer.windows) and encoded.count((168, 168)) == 1
    assert {used.window for used in answer.windows} < {used.window for used in full.windows}
    assert answer.attention is not None and len(answer.attention.places) == len(answer.windows)


def test_guided_is_adaptive_where_there_is_little_to_save(model: VLM) -> None:
    small = picture(3, 120, 60)
    one, other = (
        model.ask(small, "Which?", policy=policy, max_tokens=5) for policy in ("guided", "adaptive")
    )
    assert (one.text, one.windows) == (other.text, other.windows)


def test_guided_keeps_each_images_own_crops(model: VLM) -> None:
    images = [picture(3, 168, 168), picture(4, 60, 60), picture(5, 168, 112)]
    answer = model.ask(images, "Which?", policy="guided", max_tokens=4)
    kinds = [[used.window.kind for used in answer.windows if used.image == image] for image in range(3)]
    assert [kind[0] for kind in kinds] == ["whole"] * 3 and kinds[1] == ["whole"]
    assert 2 <= len(kinds[0]) <= 5 and 2 <= len(kinds[2]) <= 3
