"""Safetensors into modules: every spelling, strictly, without a second copy."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.vlm.weights.bare import bare_module
from vlm.config import ModelConfig, VisionConfig
from vlm.errors import CheckpointError
from vlm.gemma import GemmaDecoder
from vlm.projector import Projector
from vlm.siglip import SiglipEncoder
from vlm.weights import load_into
from vlm.weights.names import LISTED, Place, hub_name, place_of

TEXT = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "sliding_window": 4,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 7,
}
IMAGE_IDS = {"image_token_index": 60, "boi_token_index": 61, "eoi_token_index": 62}

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What transformers itself writes, one subfolder for each form."""
    from transformers import Gemma3Config, Gemma3ForCausalLM, Gemma3ForConditionalGeneration, Gemma3TextConfig

    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("saved")
    config = Gemma3Config(text_config=TEXT, vision_config=VISION, mm_tokens_per_image=4, **IMAGE_IDS)
    both = Gemma3ForConditionalGeneration(config)
    for parameter in both.parameters():
        torch.nn.init.normal_(parameter)
    both.save_pretrained(root / "both")
    both.save_pretrained(root / "sharded", max_shard_size="8KB")
    both.save_pretrained(root / "in_memory", save_original_format=False)
    both.to(torch.bfloat16).save_pretrained(root / "bf16")
    text = Gemma3ForCausalLM(Gemma3TextConfig(**TEXT))
    text.save_pretrained(root / "text")
    text.model.save_pretrained(root / "text_base")
    hub = root / "hub"
    hub.mkdir()
    state = load_file(root / "both" / "model.safetensors")
    with_prefix = {k.replace("vision_tower.", "vision_tower.vision_model."): v for k, v in state.items()}
    save_file({k: v for k, v in with_prefix.items() if ".head." not in k}, hub / "model.safetensors")
    (hub / "config.json").write_bytes((root / "both" / "config.json").read_bytes())
    return root


def modules_for(folder: Path) -> dict[str, nn.Module]:
    """The project's own modules, empty, as its engine builds them."""
    config = ModelConfig.from_folder(folder)
    with torch.device("meta"):
        modules: dict[str, nn.Module] = {"text": GemmaDecoder(config.text)}
        if config.vision:
            modules["vision"] = SiglipEncoder(config.vision)
            modules["projector"] = Projector(config.vision.hidden_size, config.text.hidden_size, 4)
    return modules


def loaded(folder: Path, dtype: torch.dtype = torch.float32) -> State:
    modules = modules_for(folder)
    load_into(modules, folder, dtype=dtype)
    return {f"{part}.{key}": t for part, module in modules.items() for key, t in module.state_dict().items()}


@pytest.mark.parametrize("form", ["hub", "sharded", "in_memory"])
def test_every_spelling_gives_the_same_tensors(saved: Path, form: str) -> None:
    ours, reference = loaded(saved / form), loaded(saved / "both")
    assert ours.keys() == reference.keys()
    assert all(torch.equal(ours[key], reference[key]) for key in reference)


def test_tensors_are_those_of_the_file(saved: Path) -> None:
    ours, file = loaded(saved / "hub"), load_file(saved / "hub" / "model.safetensors")
    assert len(ours) == len(file)
    for name, tensor in file.items():
        place = place_of(name)
        assert torch.equal(ours[f"{place.part}.{place.key}"], tensor), name


@pytest.mark.parametrize("form", ["text", "text_base"])
def test_text_alone(saved: Path, form: str) -> None:
    ours = loaded(saved / form)
    file = load_file(saved / form / "model.safetensors")
    assert {k.removeprefix("text.") for k in ours} == {k.removeprefix("model.") for k in file}
    assert torch.equal(
        ours["text.norm.weight"], file["model.norm.weight" if form == "text" else "norm.weight"]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", ["both", "bf16"])
def test_parameters_are_real_frozen_and_of_the_dtype(saved: Path, form: str, dtype: torch.dtype) -> None:
    modules = modules_for(saved / form)
    load_into(modules, saved / form, dtype=dtype)
    for module in modules.values():
        for parameter in module.parameters():
            assert (parameter.dtype, parameter.device.type) == (dtype, "cpu")
            assert not parameter.requires_grad


def test_without_a_cast_nothing_is_copied(tmp_path: Path) -> None:
    """The parameters lie in the file's own pages, as the kernel's map of this process shows."""
    file = tmp_path / "model.safetensors"
    save_file({"model.norm.weight": torch.ones(1 << 16)}, file)
    module = bare_module({"norm.weight": (1 << 16,)})
    load_into({"text": module}, tmp_path, dtype=torch.float32)
    address = module.get_parameter("norm.weight").data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(x, 16) for x in line.split()[0].split("-"))
        if first <= address < last:
            assert line.endswith(str(file))
            break
    else:
        pytest.fail("the parameter lies nowhere")
    with torch.no_grad():
        module.get_parameter("norm.weight").zero_()
    assert load_file(file)["model.norm.weight"].min() == 1  # the map is private


def test_a_cast_holds_one_copy(tmp_path: Path) -> None:
    """Anonymous memory grows by the cast parameters, not by the stored ones as well."""
    rows = 1 << 11
    names = [f"layers.{i}.mlp.up_proj.weight" for i in range(8)]
    save_file(
        {f"model.{n}": torch.ones(rows, 1024, dtype=torch.bfloat16) for n in names},
        tmp_path / "model.safetensors",
    )
    # In a process of its own: here, memory freed by earlier tests would be used again unseen.
    ran = subprocess.run(
        [sys.executable, "-c", _GROWTH, str(tmp_path), str(rows), *names],
        cwd=Path(__file__).parents[3],  # where -c finds the packages
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = len(names) * rows * 1024 * 4
    assert wanted * 0.9 < int(ran.stdout) < wanted * 1.25


_GROWTH = """
import sys
from pathlib import Path
import torch
from tests.vlm.weights.bare import bare_module
from vlm.weights import load_into

def anonymous_bytes():
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))

folder, rows, names = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
import vlm.weights.folder  # what the import itself takes is not counted
module = bare_module({name: (rows, 1024) for name in names})
before = anonymous_bytes()
load_into({"text": module}, folder, dtype=torch.float32)
print(anonymous_bytes() - before)
"""


def changed(saved: Path, target: Path, change: Callable[[State], object], form: str = "hub") -> Path:
    """A copy of a saved folder with other tensors."""
    state = load_file(saved / form / "model.safetensors")
    change(state)
    save_file(state, target / "model.safetensors")
    (target / "config.json").write_bytes((saved / form / "config.json").read_bytes())
    return target


def refusal(folder: Path, like: Path) -> str:
    modules = modules_for(like)
    with pytest.raises(CheckpointError) as caught:
        load_into(modules, folder, dtype=torch.float32)
    touched = [p for m in modules.values() for p in m.parameters() if p.device.type != "meta"]
    assert not touched, "a refused checkpoint leaves the modules as they were"
    return str(caught.value)


def test_missing_extra_and_misshaped_are_each_named(saved: Path, tmp_path: Path) -> None:
    def change(state: State) -> None:
        del state["language_model.model.norm.weight"]
        del state["vision_tower.vision_model.post_layernorm.bias"]
        state["language_model.model.layers.7.mlp.up_proj.weight"] = torch.zeros(3)
        state["audio_tower.weight"] = torch.zeros(2, 5)
        state["multi_modal_projector.mm_input_projection_weight"] = torch.zeros(16, 9)

    message = refusal(changed(saved, tmp_path, change), saved / "hub")
    assert str(tmp_path) in message
    assert "2 missing: " in message
    assert "language_model.model.norm.weight [16]" in message
    assert "vision_tower.vision_model.post_layernorm.bias [16]" in message
    assert "2 extra: " in message
    assert "language_model.model.layers.7.mlp.up_proj.weight [3]" in message
    assert "audio_tower.weight [2, 5]" in message
    assert (
        "1 mis-shaped: multi_modal_projector.mm_input_projection_weight expected [16, 16], found [16, 9]"
        in (message)
    )


def test_long_lists_are_cut_and_counted(saved: Path, tmp_path: Path) -> None:
    def change(state: State) -> None:
        state |= {f"model.other.{i}": torch.zeros(1) for i in range(LISTED + 3)}

    message = refusal(changed(saved, tmp_path, change), saved / "hub")
    assert f"{LISTED + 3} extra: " in message
    assert message.count("model.other.") == LISTED
    assert "and 3 more" in message


def test_missing_text_tensor_of_a_text_checkpoint_has_its_own_prefix(saved: Path, tmp_path: Path) -> None:
    folder = changed(saved, tmp_path, lambda s: s.pop("model.norm.weight"), "text")
    assert "1 missing: model.norm.weight [16]" in refusal(folder, saved / "text")


def test_vision_is_not_left_over_silently(saved: Path) -> None:
    with pytest.raises(CheckpointError, match=r"extra: .*vision_tower"):
        load_into({"text": modules_for(saved / "hub")["text"]}, saved / "hub", dtype=torch.float32)


def test_one_tensor_under_two_names(saved: Path, tmp_path: Path) -> None:
    def change(state: State) -> None:
        state["model.norm.weight"] = torch.zeros(16)

    assert "are the same tensor" in refusal(changed(saved, tmp_path, change), saved / "hub")


@pytest.mark.parametrize("name", ["lm_head.weight", "language_model.lm_head.weight"])
def test_tied_head_is_accepted_if_it_is_the_embedding(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("vlm.weights.folder._SLICE_ROWS", 10)  # 64 rows: the last slice is a short one
    embedding = load_file(saved / "hub" / "model.safetensors")["language_model.model.embed_tokens.weight"]
    (tmp_path / "same").mkdir()
    same = changed(saved, tmp_path / "same", lambda s: s.update({name: embedding.clone()}))
    assert loaded(same).keys() == loaded(saved / "hub").keys()
    for what, head in {"value": embedding.clone(), "shape": torch.zeros(65, 16)}.items():
        head[-1, -1] += 1
        (tmp_path / what).mkdir()
        other = changed(saved, tmp_path / what, lambda s, head=head: s.update({name: head}))  # type: ignore[misc]
        assert f"{name} {list(head.shape)} differs from" in refusal(other, saved / "hub")


def test_head_without_the_decoder_is_left_over(tmp_path: Path) -> None:
    state = {
        "multi_modal_projector.mm_soft_emb_norm.weight": torch.ones(4),
        "lm_head.weight": torch.ones(2, 4),
    }
    save_file(state, tmp_path / "model.safetensors")
    module = bare_module({"mm_soft_emb_norm.weight": (4,)})
    with pytest.raises(CheckpointError, match=r"1 extra: lm_head.weight \[2, 4\]"):
        load_into({"projector": module}, tmp_path, dtype=torch.float32)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn, torch.float64])
def test_quantised_tensors_are_refused_by_name(saved: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    name = "language_model.model.layers.0.mlp.up_proj.weight"
    folder = changed(saved, tmp_path, lambda s: s.update({name: s[name].to(dtype)}))
    message = refusal(folder, saved / "hub")
    assert name in message
    assert "F32, F16 and BF16" in message


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-100],
        lambda raw: raw[:20],
        lambda raw: b"",
        lambda raw: b"<html>502 Bad Gateway</html>",
        lambda raw: struct.pack("<Q", 1 << 62) + raw[8:],
        lambda raw: raw[:8] + b"!" + raw[9:],
    ],
    ids=["cut", "cut header", "empty", "error page", "forged length", "bad json"],
)
def test_damaged_shard_is_named(saved: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    for file in (saved / "sharded").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    shard = sorted(tmp_path.glob("*.safetensors"))[1]
    shard.write_bytes(damage(shard.read_bytes()))
    message = refusal(tmp_path, saved / "both")
    assert str(shard) in message
    assert "damaged" in message


def write_index(folder: Path, weight_map: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize(
    "shard", ["../out.safetensors", "/etc/x.safetensors", "a\\b.safetensors", "C:x.safetensors", "x.bin", 3]
)
def test_index_cannot_point_elsewhere(saved: Path, tmp_path: Path, shard: object) -> None:
    write_index(tmp_path, {"model.norm.weight": shard})
    assert "a shard is a .safetensors beside it" in refusal(tmp_path, saved / "text")


def test_index_and_shards_must_agree(saved: Path, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1), "b": torch.zeros(1)}, tmp_path / "one.safetensors")
    write_index(tmp_path, {"a": "one.safetensors", "c": "one.safetensors"})
    message = refusal(tmp_path, saved / "text")
    assert "c (index only)" in message
    assert "b (file only)" in message


def test_absent_shards_are_named(saved: Path, tmp_path: Path) -> None:
    write_index(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    (tmp_path / "two.safetensors").symlink_to(tmp_path / "gone")  # a pruned cache looks like this
    assert "are not there: one.safetensors; two.safetensors" in refusal(tmp_path, saved / "text")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {}}', "[" * 100_000])
def test_index_that_is_none(saved: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    assert "model.safetensors.index.json" in refusal(tmp_path, saved / "text")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("pytorch_model.bin", "pickled"),
        ("adapter_model.safetensors", "merge"),
        ("x.txt", "no weights.*found: x.txt"),
    ],
)
def test_folder_without_safetensors_says_what_to_do(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=says):
        load_into({"text": nn.Linear(1, 1)}, tmp_path, dtype=torch.float32)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        load_into({"text": nn.Linear(1, 1)}, tmp_path / "none", dtype=torch.float32)


@pytest.mark.parametrize("multimodal", [True, False])
def test_hub_name_is_the_inverse(multimodal: bool) -> None:
    with torch.device("meta"):
        keys = list(SiglipEncoder(VisionConfig(num_hidden_layers=1)).state_dict())
    places = [Place("text", "embed_tokens.weight"), Place("text", "layers.0.mlp.up_proj.weight")]
    places += [Place("vision", key) for key in keys] + [Place("projector", "mm_soft_emb_norm.weight")]
    for place in places:
        assert place_of(hub_name(place, multimodal=multimodal)) == place
