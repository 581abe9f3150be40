"""An int8 checkpoint: written once, mapped, refused where it is somebody else's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from fakes import picture, tiny_checkpoint
from runner import calls
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vlm.config import ModelConfig
from vlm.engine import Engine, empty_modules, named_parts
from vlm.errors import CheckpointError, UsageError
from vlm.session import VLM
from vlm.weights import stored_form, write_rounded, writer

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("float"))


@pytest.fixture(scope="module")
def int8(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(source, tmp_path_factory.mktemp("int8") / "out")


def written(source: Path, out: Path) -> Path:
    told = []
    config = ModelConfig.from_folder(source)
    write_rounded(source, out, named_parts(*empty_modules(config)), lambda done, of: told.append((done, of)))
    assert told and told[-1][0] == told[-1][1] == len(told)
    return out


def test_written_and_rounded_at_loading_are_one_model(source: Path, int8: Path) -> None:
    loaded, rounded = VLM.load(int8), VLM.load(source, dtype="int8")
    assert loaded.engine.products == rounded.engine.products == "int8"
    image = picture(1)
    soft = [model.engine.encode([image]) for model in (loaded, rounded)]
    assert torch.equal(*soft)
    answers = [model.ask(image, "What is it?", max_tokens=12).ids for model in (loaded, rounded)]
    assert answers[0] == answers[1]


def test_int8_says_what_fp32_says(source: Path, int8: Path) -> None:
    fp32, rounded = Engine.load(source), Engine.load(int8)
    a, b = (engine.encode([picture(1)]) for engine in (fp32, rounded))
    assert (a - b).norm() / a.norm() < 0.05
    again = Engine.load(int8, dtype="fp32")
    assert again.products == "fp32"
    assert (a - again.encode([picture(1)])).norm() / a.norm() < 0.05


def test_linear_weights_alone_are_int8(int8: Path) -> None:
    assert stored_form(int8) == "int8"
    with safe_open(int8 / "model.safetensors", "pt") as shard:
        kinds = {name: str(shard.get_slice(name).get_dtype()) for name in shard.keys()}  # noqa: SIM118
    assert kinds["language_model.model.layers.0.self_attn.q_proj.weight"] == "I8"
    assert kinds["language_model.model.layers.0.self_attn.q_proj.weight_scale"] == "F32"
    assert kinds["language_model.model.embed_tokens.weight"] != "I8"
    assert kinds["vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight"] == "I8"
    assert not [name for name, kind in kinds.items() if kind == "I8" and "norm" in name]


def test_shards_are_bounded_and_indexed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SHARD", 20_000)
    out = written(source, tmp_path / "out")
    assert (out / "model.safetensors.index.json").is_file()
    assert len(list(out.glob("model-*.safetensors"))) > 2
    assert Engine.load(out).encode([picture(1)]).isfinite().all()


def test_another_scheme_is_refused(int8: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(int8, other)
    config = json.loads((other / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "compressed-tensors"}
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"quantised in another way .*vlm quantize"):
        Engine.load(other)


def test_nothing_is_written_over_or_twice(source: Path, int8: Path, tmp_path: Path) -> None:
    modules = named_parts(*empty_modules(Engine.load(source).config))
    with pytest.raises(UsageError, match="there already"):
        write_rounded(source, int8, modules, lambda done, of: None)
    with pytest.raises(CheckpointError, match="int8 already"):
        write_rounded(int8, tmp_path / "again", modules, lambda done, of: None)


def test_a_write_that_fails_leaves_nothing(source: Path, tmp_path: Path) -> None:
    def full(done: int, of: int) -> None:
        raise OSError(28, "No space left on device")

    modules = named_parts(*empty_modules(Engine.load(source).config))
    with pytest.raises(UsageError, match="No space left"):
        write_rounded(source, tmp_path / "out", modules, full)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_and_the_folder_answers(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm = calls(capsys, monkeypatch, "quantize")
    said = vlm(source, tmp_path / "out")
    assert said.code == 0 and "MB of weights" in said.out
    assert "there already" in vlm(source, tmp_path / "out").refused()


def test_what_could_not_be_loaded_is_not_rounded(source: Path, tmp_path: Path) -> None:
    for name, without in (("bare", "tokenizer.json"), ("cut", "")):
        broken = shutil.copytree(source, tmp_path / name)
        if without:
            (broken / without).unlink()
        else:
            (at,) = broken.glob("*.safetensors")
            tensors = load_file(at)
            tensors.pop(next(key for key in tensors if key.endswith("up_proj.weight")))
            save_file(tensors, at, {"format": "pt"})
        with pytest.raises(CheckpointError, match=without or "1 missing"):
            written(broken, tmp_path / "out")
        assert not (tmp_path / "out").exists()
