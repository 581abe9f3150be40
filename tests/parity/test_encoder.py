"""Encoder and projector beside transformers', each fed the same."""

from pathlib import Path

import pytest
import torch

from tests.parity.checkpoints import Pair, Sight, picture, rewrite_as_on_the_hub, save_multimodal

SIGHTS = {
    "small": Sight(),
    "head of 72, as So400m": Sight(width=144, heads=2),
    "pooled 4x4": Sight(tokens=4),
    "not pooled": Sight(image_size=56, tokens=16),
    "odd grid": Sight(image_size=126, tokens=9),
}


@pytest.fixture(params=SIGHTS.values(), ids=SIGHTS.keys(), scope="module")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(save_multimodal(tmp_path_factory.mktemp("checkpoint"), sight=request.param))


def noise(pair: Pair, windows: int) -> torch.Tensor:
    side = pair.engine.window_size
    return torch.rand((windows, 3, side, side), generator=torch.Generator().manual_seed(1)) * 2 - 1


@torch.inference_mode()
def test_encoder_output(pair: Pair) -> None:
    assert pair.engine.vision is not None
    pixels = noise(pair, 3)
    expected = pair.model.model.vision_tower(pixel_values=pixels).last_hidden_state
    patches = pair.engine.vision.encoder(pixels)
    assert expected.std() > 0.5
    assert (patches - expected).abs().max() < 1e-4
    # One window at a time is the same as all at once: windows do not see each other.
    alone = torch.cat([pair.engine.vision.encoder(window[None]) for window in pixels])
    assert (alone - expected).abs().max() < 1e-4


@torch.inference_mode()
def test_projector_output(pair: Pair) -> None:
    assert pair.engine.vision is not None
    side = pair.engine.window_size // 14
    patches = torch.randn((2, side * side, pair.engine.vision.encoder.config.hidden_size)) * 2
    expected = pair.model.model.multi_modal_projector(patches)
    soft = pair.engine.vision.projector(patches)
    assert soft.shape == (2, pair.engine.config.mm_tokens_per_image, 64)
    assert expected.std() > 0.5
    assert (soft - expected).abs().max() < 1e-4


@torch.inference_mode()
def test_image_to_soft_tokens(pair: Pair) -> None:
    image = picture(300, 200)
    inputs = pair.their_inputs([("user", [image, "?"])])
    expected = pair.model.model.get_image_features(inputs["pixel_values"]).pooler_output
    assert (pair.engine.encode([image]) - expected).abs().max() < 1e-4


def test_both_spellings_of_a_checkpoint_are_one_model(tmp_path: Path) -> None:
    image = picture(200, 200)
    here = Pair(save_multimodal(tmp_path / "new"))
    folder = save_multimodal(tmp_path / "hub")
    rewrite_as_on_the_hub(folder)
    there = Pair(folder)
    assert there.engine.config.text == here.engine.config.text
    assert torch.equal(there.engine.encode([image]), here.engine.encode([image]))
