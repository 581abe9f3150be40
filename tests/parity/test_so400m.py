"""The true shape of Gemma 3's vision tower, with two of its 27 layers."""

import dataclasses
import time
from collections.abc import Callable

import pytest
import torch
from transformers import Gemma3Config, Gemma3TextConfig, SiglipVisionConfig, SiglipVisionModel
from transformers.models.gemma3.modeling_gemma3 import Gemma3MultiModalProjector

from tests.parity.checkpoints import picture, randomise
from vlm.config import PRESETS
from vlm.pixels import to_pixels
from vlm.projector import Projector
from vlm.siglip import SiglipEncoder

LAYERS = 2
TEXT_WIDTH = 2560  # of the 4B


@pytest.mark.slow
@torch.inference_mode()
def test_896_pixels_4096_patches(record_property: Callable[[str, object], None]) -> None:
    released = PRESETS["4b"].vision
    assert released is not None
    config = dataclasses.replace(released, num_hidden_layers=LAYERS)
    vision = SiglipVisionConfig(**dataclasses.asdict(config), vision_use_head=False)
    tower = SiglipVisionModel(vision).eval()
    whole = Gemma3Config(vision_config=vision, text_config=Gemma3TextConfig(hidden_size=TEXT_WIDTH))
    projector = Gemma3MultiModalProjector(whole)
    for module, seed in ((torch.nn.ModuleDict({"vision_tower": tower}), 1), (projector, 2)):
        randomise(module, seed)

    ours = SiglipEncoder(config)
    ours.load_state_dict({k.removeprefix("vision_model."): v for k, v in tower.state_dict().items()})
    our_projector = Projector(1152, TEXT_WIDTH, 256)
    our_projector.load_state_dict(projector.state_dict())

    pixels = to_pixels([picture(1300, 700)], 896)
    assert pixels.shape == (1, 3, 896, 896)
    expected = tower(pixel_values=pixels).last_hidden_state
    started = time.perf_counter()
    patches = ours(pixels)
    record_property("seconds a layer", (time.perf_counter() - started) / LAYERS)
    record_property("largest difference", float((patches - expected).abs().max()))
    assert patches.shape == (1, 4096, 1152)
    assert expected.std() > 0.5
    assert (patches - expected).abs().max() < 1e-4
    soft = our_projector(patches)
    assert soft.shape == (1, 256, TEXT_WIDTH)
    assert (soft - projector(expected)).abs().max() < 1e-4
