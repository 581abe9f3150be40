"""Where a model computes: the device is named, checked, and nothing strays to another.

No graphics card is needed: torch's fake tensors compute nothing, but know their device, and an operation
on tensors of two devices fails as it would on a card.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from runner import Run
from torch._subclasses.fake_tensor import FakeTensorMode

from vlm.cache import KVCache
from vlm.config import ModelConfig
from vlm.device import chosen_device
from vlm.engine import Engine, Vision
from vlm.errors import UsageError
from vlm.evidence import AttentionWatch
from vlm.gemma import GemmaDecoder
from vlm.masks import Queries, Span
from vlm.precision import chosen_dtype
from vlm.session import VLM
from vlm.weights import resolve

CARD = torch.device("cuda", 0)


@pytest.fixture(scope="module")
def config() -> ModelConfig:
    return ModelConfig.from_folder(resolve("mini"))


@pytest.fixture
def card() -> Iterator[FakeTensorMode]:
    with FakeTensorMode(allow_non_fake_inputs=False) as mode, torch.inference_mode():
        yield mode


def test_a_processor_is_taken_where_there_is_no_card() -> None:
    if not torch.cuda.is_available():
        assert chosen_device("auto") == torch.device("cpu")
    assert chosen_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:-3", "", "cuda:99", "mps:7"])
def test_a_device_that_is_not_there_is_one_clear_error(name: str) -> None:
    with pytest.raises(UsageError, match="device"):
        chosen_device(name)


def test_the_command_line_says_so_too(run: Run, photo: Path) -> None:
    told = run("ask", photo, "What is it?", "--device", "cuda:99").refused()
    assert "cuda:99" in told and "--device cpu" in told


def test_a_card_computes_in_bf16_and_not_in_int8(config: ModelConfig) -> None:
    assert chosen_dtype("auto", config.text, CARD) == "bf16"
    assert chosen_dtype("fp32", config.text, CARD) == "fp32"
    for dtype in ("int8", "int4"):
        with pytest.raises(UsageError, match="CPU only"):
            chosen_dtype(dtype, config.text, CARD)  # type: ignore[arg-type]


def test_windows_are_encoded_on_the_card(config: ModelConfig, card: FakeTensorMode) -> None:
    assert config.vision is not None
    with torch.device(CARD):
        vision = Vision(config)
    side = config.vision.image_size
    soft_NTD = vision(torch.empty(2, 3, side, side, device=CARD))
    assert soft_NTD.device == CARD and soft_NTD.shape[:2] == (2, config.mm_tokens_per_image)


def test_a_prompt_is_read_and_tokens_decoded_on_the_card(config: ModelConfig, card: FakeTensorMode) -> None:
    with torch.device(CARD):
        decoder = GemmaDecoder(config.text)
    cache = KVCache(config.text, device=CARD)
    span = Span(3, 3 + config.mm_tokens_per_image)
    watch = AttentionWatch(config, [span], [(2, 0)])
    cache.watch = watch
    assert decoder.embed(torch.zeros(1, 4, dtype=torch.long)).device == CARD
    end = span.end + 5
    for start, stop in ((0, end), (end, end + 1)):
        hidden = decoder.embed(torch.zeros(1, stop - start, dtype=torch.long))
        scores = decoder.logits(decoder(hidden, Queries(start, stop, (span,)), cache))
        assert scores.device == CARD
    other = KVCache(config.text, device=CARD)
    other.copy_prefix(cache, end)
    hidden = decoder.embed(torch.zeros(2, 1, dtype=torch.long))
    assert decoder.step(hidden, [cache, other]).device == CARD
    watch.take()


def test_the_fake_card_refuses_what_a_card_refuses(card: FakeTensorMode) -> None:
    with pytest.raises(RuntimeError, match="device"):
        torch.empty(3, device=CARD) + torch.empty(3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_rounded_weights_have_compiled_loops_of_their_own() -> None:
    plain = VLM.load("mini", dtype="int8")
    fused = VLM.load("mini", dtype="int8", compiled=True)
    image, question = "demos/images/notice.png", "What does it say?"
    assert fused.ask(image, question).text == plain.ask(image, question).text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_answers_are_the_same() -> None:
    plain = VLM.load("mini", dtype="fp32")
    fused = VLM(Engine.load("mini", dtype="fp32", compiled=True))
    image, question = "demos/images/sign.png", "What does it say?"
    assert fused.ask(image, question).text == plain.ask(image, question).text
