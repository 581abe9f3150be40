"""A 4-bit checkpoint: written once, mapped, read by every type, refused where it is damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fakes import picture, tiny_checkpoint
from runner import calls
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vlm.engine import Engine, empty_modules, named_parts
from vlm.errors import CheckpointError, UsageError
from vlm.int4 import Int4Linear, dequantised
from vlm.masks import Queries
from vlm.precision import Dtype
from vlm.quantize import Int8Linear
from vlm.session import VLM
from vlm.weights import stored_form, write_rounded
from vlm.weights.forms import Form, unrounded

torch.set_num_threads(1)

Q_PROJ = "language_model.model.layers.0.self_attn.q_proj"
HEAD = "language_model.model.lm_head.weight"
FC1 = "vision_tower.vision_model.encoder.layers.0.mlp.fc1"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("float"))


@pytest.fixture(scope="module")
def int4(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(source, tmp_path_factory.mktemp("int4") / "out", "int4")


@pytest.fixture(scope="module")
def plain(int4: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The float checkpoint whose weights are the rounded ones."""
    folder = tmp_path_factory.mktemp("plain") / "out"
    shutil.copytree(int4, folder)
    state = load_file(folder / "model.safetensors")
    for name in [name for name in state if name.endswith("weight_scale")]:
        key, scale = name.removesuffix("_scale"), state.pop(name)
        packed = state[key].dtype == torch.uint8
        state[key] = dequantised(state[key], scale) if packed else unrounded(state[key], scale)
    del state[HEAD]
    save_file(state, folder / "model.safetensors")
    edited(folder, lambda config: config.pop("quantization_config"))
    return folder


def written(source: Path, out: Path, form: Form) -> Path:
    modules = named_parts(*empty_modules(Engine.load(source).config))
    write_rounded(source, out, modules, lambda done, of: None, form)
    return out


def edited(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def changed(int4: Path, folder: Path, changes: dict[str, Tensor | None]) -> Path:
    shutil.copytree(int4, folder)
    state: dict[str, Tensor | None] = {**load_file(int4 / "model.safetensors"), **changes}
    save_file({k: v for k, v in state.items() if v is not None}, folder / "model.safetensors")
    return folder


def scores(folder: Path, dtype: Dtype) -> Tensor:
    engine = Engine.load(folder, dtype=dtype)
    rows = torch.randn(1, 20, 32, generator=torch.Generator().manual_seed(0)).to(engine.dtype)
    with torch.inference_mode():
        return engine.decoder.logits(engine.decoder(rows, Queries(0, 20)))


def error(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


def test_written_and_rounded_at_loading_are_one_model(source: Path, int4: Path) -> None:
    loaded, rounded = VLM.load(int4), VLM.load(source, dtype="int4")
    assert loaded.engine.products == rounded.engine.products == "int4"
    assert loaded.engine.dtype == torch.float32
    image = picture(1)
    assert torch.equal(*(model.engine.encode([image]) for model in (loaded, rounded)))
    answers = [model.ask(image, "What is it?", max_tokens=12).ids for model in (loaded, rounded)]
    assert answers[0] == answers[1]
    assert torch.equal(scores(int4, "auto"), scores(source, "int4"))


def test_the_decoder_is_4_bits_wide_and_the_tower_int8(int4: Path) -> None:
    engine = Engine.load(int4)
    assert engine.vision is not None
    forms = [{type(part) for part in of.modules()} for of in (engine.decoder, engine.vision)]
    assert Int4Linear in forms[0] and nn.Linear not in forms[0]
    assert Int8Linear in forms[1] and not {Int4Linear, nn.Linear} & forms[1]
    assert type(engine.decoder.head) is Int8Linear


def test_the_folder_says_what_it_holds(source: Path, int4: Path) -> None:
    assert stored_form(int4) == "int4" and stored_form(source) is None
    mark = json.loads((int4 / "config.json").read_text())["quantization_config"]
    assert mark["bits"] == 4 and mark["group"] == 32
    state = load_file(int4 / "model.safetensors")
    assert state[f"{Q_PROJ}.weight"].dtype == torch.uint8
    assert state[f"{Q_PROJ}.weight_scale"].dtype == torch.float16
    assert state[f"{FC1}.weight"].dtype == state[HEAD].dtype == torch.int8
    assert not [name for name, tensor in state.items() if "norm" in name and tensor.dtype == torch.uint8]


def test_linear_weights_take_a_quarter_of_bf16(source: Path, int4: Path) -> None:
    weights, rounded = load_file(source / "model.safetensors"), load_file(int4 / "model.safetensors")
    names = [name for name in rounded if name.endswith("weight") and rounded[name].dtype == torch.uint8]
    assert len(names) == 3 * 7
    before = sum(2 * weights[name].numel() for name in names)
    after = sum(rounded[name].nbytes + rounded[f"{name}_scale"].nbytes for name in names)
    assert after / before == pytest.approx(0.28, abs=0.01)


@pytest.mark.parametrize(("dtype", "near"), [("fp32", 1e-5), ("bf16", 0.05), ("int8", 0.05)])
def test_every_type_reads_the_same_weights(int4: Path, plain: Path, dtype: Dtype, near: float) -> None:
    wanted = scores(plain, "fp32")
    assert error(scores(int4, dtype).float(), wanted) < near
    assert error(scores(int4, "int4"), wanted) < 0.05
    assert Engine.load(int4, dtype=dtype).products == dtype


def test_an_int8_folder_can_be_rounded_again(source: Path, tmp_path: Path) -> None:
    int8 = written(source, tmp_path / "int8", "int8")
    assert error(scores(int8, "int4"), scores(source, "int4")) < 0.2
    assert Engine.load(int8, dtype="int4").products == "int4"


def test_it_is_not_rounded_twice_on_disk(int4: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is int4 already; load it as it is, or round the checkpoint"):
        written(int4, tmp_path / "out", "int8")


def test_another_group_is_refused(int4: Path, tmp_path: Path) -> None:
    other = changed(int4, tmp_path / "other", {})
    mark = {"quant_method": "vlm", "bits": 4, "group": 64}
    edited(other, lambda config: config.update(quantization_config=mark))
    with pytest.raises(CheckpointError, match=r"quantised in another way .*vlm quantize"):
        Engine.load(other)


HALVES = torch.ones(32, 2, dtype=torch.float16)
BYTES = torch.zeros(32, 15, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({f"{Q_PROJ}.weight_scale": HALVES}, "is no scale of .*q_proj.weight"),
        ({f"{Q_PROJ}.weight_scale": None}, r"stored as U8; vlm loads F32, F16 and BF16"),
        ({f"{Q_PROJ}.weight": torch.ones(32, 32)}, "q_proj.weight_scale is the scale of no rounded weight"),
        ({f"{Q_PROJ}.weight": BYTES}, r"expected \[32, 32\], found \[32, 30\]"),
        ({f"{FC1}.weight_scale": torch.ones(3)}, "is no scale of .*fc1.weight"),
    ],
)  # fmt: skip
def test_damage_is_told(int4: Path, tmp_path: Path, changes: dict[str, Tensor | None], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        Engine.load(changed(int4, tmp_path / "changed", changes))


def test_the_command_writes_and_the_folder_answers(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm = calls(capsys, monkeypatch, "quantize")
    said = vlm(source, tmp_path / "out", "--to", "int4")
    assert said.code == 0 and "MB of weights" in said.out
    assert VLM.load(tmp_path / "out").engine.products == "int4"
    assert "load it as it is" in vlm(tmp_path / "out", tmp_path / "again", "--to", "int4").refused()


def test_nothing_is_written_over(source: Path, int4: Path) -> None:
    with pytest.raises(UsageError, match="there already"):
        written(source, int4, "int4")
