"""Random weights, cut shapes, and what memory they need."""

from __future__ import annotations

import pytest
import torch

from tests.vlm.bench.subjects import SEEING, reading, seeing
from vlm.bench import shapes
from vlm.bench.shapes import (
    Copies,
    Subject,
    Weights,
    fit,
    parameters,
    random_decoder,
    random_vision,
    weight_bytes,
)
from vlm.config import PRESETS
from vlm.errors import UsageError
from vlm.int4 import Int4Linear
from vlm.quantize import Int8Linear


def test_the_same_name_holds_the_same_numbers() -> None:
    like = torch.empty(8, 8)
    a, b = Weights(keep=True), Weights(keep=False)
    b.draw("another", like)
    assert torch.equal(a.draw("text.x.weight", like), b.draw("text.x.weight", like))
    assert not torch.equal(a.draw("text.x.weight", like), a.draw("text.y.weight", like))
    assert a.draw("text.x.weight", like) is a.kept["text.x.weight"] and not b.kept


def test_norms_and_biases_change_nothing() -> None:
    weights = Weights(keep=True)
    vision = random_vision(SEEING, weights, "fp32")
    layer = vision.encoder.encoder.layers[0]
    assert layer.layer_norm1.weight.eq(1).all() and layer.layer_norm1.bias.eq(0).all()
    assert vision.encoder.post_layernorm.weight.eq(1).all()
    assert vision.projector.mm_soft_emb_norm.weight.eq(0).all()
    assert layer.mlp.fc1.weight.std() == pytest.approx(0.02, rel=0.2)
    decoder = random_decoder(SEEING.text, weights, "fp32")
    assert decoder.norm.weight.eq(0).all() and decoder.embed_tokens.weight.std() > 0.015


def test_kept_tensors_are_shared_and_not_copied() -> None:
    weights = Weights(keep=True)
    decoder = random_decoder(SEEING.text, weights, "fp32")
    assert decoder.embed_tokens.weight.data_ptr() == weights.kept["text.embed_tokens.weight"].data_ptr()
    assert set(weights.named("text.")) == set(decoder.state_dict())


def test_int8_has_no_linear_layer_left() -> None:
    decoder = random_decoder(SEEING.text, Weights(keep=False), "int8")
    assert not any(type(part) is torch.nn.Linear for part in decoder.modules())
    assert any(isinstance(part, Int8Linear) for part in decoder.modules())
    assert not any(tensor.is_meta for tensor in decoder.state_dict().values())


def test_int4_is_of_the_decoder() -> None:
    decoder = random_decoder(SEEING.text, Weights(keep=False), "int4")
    vision = random_vision(SEEING, Weights(keep=False), "int4")
    forms = [{type(part) for part in module.modules()} for module in (decoder, vision)]
    assert Int4Linear in forms[0] and Int4Linear not in forms[1] and Int8Linear in forms[1]
    assert not any(torch.nn.Linear in held for held in forms)
    assert not any(tensor.is_meta for tensor in decoder.state_dict().values())


def test_beside_int4_layers_the_rest_is_int8() -> None:
    assert weight_bytes(800, 100, "int4") == 500 + 100
    assert weight_bytes(800, 100, "int8") == 900 and weight_bytes(800, 100, "bf16") == 1800


def test_released_shapes_have_their_released_sizes() -> None:
    assert parameters(PRESETS["4b"]).total == pytest.approx(4.3e9, rel=0.01)
    assert parameters(PRESETS["270m"]).total == pytest.approx(268e6, rel=0.01)


def test_a_shape_is_cut_to_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject.shape("4b")
    monkeypatch.setattr(shapes, "available_bytes", lambda: 14 * 10**9)
    cut = fit(subject, Copies("int8", ["fp32"]), None, ("decoder",))
    held = cut.config.text.num_hidden_layers
    assert held == 12, "whole patterns of local and global layers"  # (12.6 - 1 - 3.6) GB at 0.47 GB a layer
    assert cut.config.text.layer_types == subject.whole.text.layer_types[:held]
    assert cut.layers("decoder") == {"decoder": (12, 34)}
    assert fit(subject, Copies("int8"), None, ("encoder", "decoder")).config.text == subject.whole.text


def test_too_little_memory_is_told_with_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "available_bytes", lambda: 10 * 10**9)
    with pytest.raises(UsageError, match=r"4b needs 20\.\d GB here and 10\.0 GB are free: --layers 9 fits"):
        fit(Subject.shape("4b"), Copies("int8", ["fp32"]), 34, ("decoder",))
    with pytest.raises(UsageError, match="a smaller shape"):
        fit(Subject.shape("12b"), Copies("int8", ["fp32", "bf16"]), None, ("decoder",))


def test_a_checkpoint_too_large_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "available_bytes", lambda: 4 * 10**8)
    with pytest.raises(UsageError, match="leave out --against"):
        shapes.check_room(reading(), "int8", ["fp32"])


def test_layers_beyond_the_shape_are_all_of_them() -> None:
    assert fit(seeing(), Copies("fp32"), 99, ("encoder", "decoder")).config == SEEING


def test_unknown_shape() -> None:
    with pytest.raises(UsageError, match="no shape '5b': 270m, 1b"):
        Subject.shape("5b")
