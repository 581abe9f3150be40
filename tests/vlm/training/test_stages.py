"""Each stage trains what it should and nothing else, stops, resumes, and ends in a usable folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch

pytest.importorskip("fontTools")
pytest.importorskip("open_clip")

from vlm.errors import UsageError
from vlm.gemma import GemmaDecoder
from vlm.layers import DecoderLayer
from vlm.masks import Queries, Span
from vlm.session import VLM
from vlm.training.checkpoint import write_skeleton, write_weights
from vlm.training.encoder import DENSE_CLASSES, SLOTS, EncoderStage, train_encoder
from vlm.training.fonts import find_fonts
from vlm.training.loop import load_state, rate_factor
from vlm.training.reader import AttentionTap, Layout, Reader, ReaderStage, load_reader, train_reader

pytestmark = [
    pytest.mark.slow,
    # open_clip and DataLoader workers warn about things that are not ours.
    pytest.mark.filterwarnings("ignore"),
]
SMALL = (Layout(0.5, 1, 2), Layout(0.3, 3, 2), Layout(0.2, 1, 2, images=2))


@pytest.fixture(scope="module", autouse=True)
def _fonts_and_no_compiler() -> Iterator[None]:
    try:
        find_fonts("train")
    except FileNotFoundError:
        pytest.skip("the fonts of `make fonts` are not installed")
    torch.compiler.set_stance("force_eager")
    yield
    torch.compiler.set_stance("default")


@pytest.fixture(scope="module")
def encoder_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("encoder")
    config = write_skeleton(out / "mini").vision
    assert config is not None
    train_encoder(config, EncoderStage(out=out, minutes=0.02, batch=2, check_pages=2))
    return out / "encoder.pt"


def _encoder_of(path: Path) -> dict[str, torch.Tensor]:
    state = torch.load(path, weights_only=True)
    if "encoder" in state:
        return dict(state["encoder"])
    prefix = "vision.encoder."
    return {k.removeprefix(prefix): v for k, v in state["reader"].items() if k.startswith(prefix)}


def _stage(
    start: Path, out: Path, share: float, projector_share: float = 0.0, alone: float = 0.0
) -> ReaderStage:
    write_skeleton(out / "mini")
    return ReaderStage(
        projector_share=projector_share,
        encoder_alone=alone,
        folder=out / "mini",
        start=start,
        out=out,
        minutes=0.05,
        encoder_share=share,
        layouts=SMALL,
        check_pages=2,
    )


def test_encoder_stage_resumes(encoder_state: Path, tmp_path: Path) -> None:
    steps = torch.load(encoder_state, weights_only=True)["step"]
    config = write_skeleton(tmp_path / "mini").vision
    assert config is not None
    stage = EncoderStage(out=tmp_path, minutes=0.02, batch=2, resume=encoder_state, check_pages=2)
    train_encoder(config, stage)
    names = [json.loads(line).get("name") for line in (encoder_state.parent / "encoder.jsonl").open()]
    assert [name for name in names if name] == ["encoder at 112 px", "encoder at 224 px"]
    assert torch.load(tmp_path / "encoder.pt", weights_only=True)["step"] > steps > 0
    assert json.loads((tmp_path / "encoder.jsonl").read_text().splitlines()[0])["parameters"] > 1e6


def test_frozen_encoder_does_not_change(encoder_state: Path, tmp_path: Path) -> None:
    train_reader(_stage(encoder_state, tmp_path, 0.0))
    before, after = _encoder_of(encoder_state), _encoder_of(tmp_path / "reader.pt")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def _changed(before: Path, after: Path) -> set[str]:
    """Names of the tensors in which two readers differ."""
    old, new = (torch.load(path, weights_only=True)["reader"] for path in (before, after))
    return {name for name in old if not torch.equal(old[name], new[name])}


def test_the_projector_learns_alone_first(encoder_state: Path, tmp_path: Path) -> None:
    train_reader(_stage(encoder_state, tmp_path / "a", 0.0))
    start = tmp_path / "a" / "reader.pt"
    train_reader(_stage(start, tmp_path / "b", 0.0, projector_share=1.0))
    changed = _changed(start, tmp_path / "b" / "reader.pt")
    assert {name.split(".")[0] for name in changed} == {"vision"}
    assert "vision.projector.mm_input_projection_weight" in changed


def test_the_encoder_learns_alone_first(encoder_state: Path, tmp_path: Path) -> None:
    train_reader(_stage(encoder_state, tmp_path / "a", 0.5))
    start = tmp_path / "a" / "reader.pt"
    train_reader(_stage(start, tmp_path / "b", 0.5, alone=1.0))
    changed = _changed(start, tmp_path / "b" / "reader.pt")
    assert changed and all(name.startswith(("vision.encoder.", "heads.")) for name in changed), changed


def test_heads_that_begin_anew_do_not_move_the_encoder(encoder_state: Path, tmp_path: Path) -> None:
    train_reader(_stage(encoder_state, tmp_path / "a", 0.5))
    exported = tmp_path / "exported"
    trained = load_reader(tmp_path / "a" / "reader.pt", write_skeleton(exported))
    write_weights(exported, trained.vision, trained.decoder)
    first = _stage(exported, tmp_path / "b", 0.5, alone=1.0)
    train_reader(replace(first, new_heads=1.0, replays=1))
    reader = load_reader(tmp_path / "b" / "reader.pt", write_skeleton(exported))
    kept = trained.vision.encoder.state_dict()
    for name, value in reader.vision.encoder.state_dict().items():
        assert torch.equal(value.bfloat16(), kept[name].bfloat16()), name
    train_reader(replace(first, out=tmp_path / "c", new_heads=0.0, replays=1))
    moved = load_reader(tmp_path / "c" / "reader.pt", write_skeleton(exported)).vision.encoder.state_dict()
    assert any(not torch.equal(value.bfloat16(), kept[name].bfloat16()) for name, value in moved.items())


def test_heads_of_the_run_before_are_taken_up(encoder_state: Path, tmp_path: Path) -> None:
    train_reader(_stage(encoder_state, tmp_path / "a", 0.5))
    saved = tmp_path / "a" / "reader.pt"
    config = write_skeleton(tmp_path / "mini")
    before = load_state(saved, "reader")
    few = dict(before["reader"])
    known = DENSE_CLASSES - 3  # a run that did not know the last three classes
    for name in ("heads.dense.weight", "heads.dense.bias"):
        every = few[name].view(SLOTS, DENSE_CLASSES, *few[name].shape[1:])
        few[name] = every[:, :known].flatten(0, 1).clone()
    older = tmp_path / "older.pt"
    torch.save({**before, "reader": few}, older)
    reader = Reader(config)
    own = reader.heads.dense.weight.detach().clone().view(SLOTS, DENSE_CLASSES, -1)
    assert reader.take_heads(older) is True
    taken = reader.heads.dense.weight.view(SLOTS, DENSE_CLASSES, -1)
    wanted = before["reader"]["heads.dense.weight"].view(SLOTS, DENSE_CLASSES, -1)
    assert torch.equal(taken[:, :known], wanted[:, :known]) and torch.equal(taken[:, known:], own[:, known:])
    assert torch.equal(reader.heads.spread.weight, before["reader"]["heads.spread.weight"])
    torch.save({**before, "reader": {"heads.spread.weight": torch.zeros(2, 2)}}, older)
    with pytest.raises(UsageError, match="another shape"):
        reader.take_heads(older)


def test_a_tap_computes_the_attention_of_its_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    decoder = GemmaDecoder(write_skeleton(tmp_path).text)
    layer = cast(DecoderLayer, decoder.layers[1])
    for norm in (layer.self_attn.q_norm, layer.self_attn.k_norm, layer.input_layernorm):
        torch.nn.init.normal_(norm.weight, std=0.1)
    tap = AttentionTap(layer)
    hidden = torch.randn(2, 7, decoder.config.hidden_size)
    decoder(hidden, Queries(0, 7, (Span(1, 4),)))
    rows = torch.zeros(2, 7, dtype=torch.bool)
    rows[0, 2] = rows[1, 5] = rows[1, 6] = True

    assert tap.seen is not None
    seen, inputs = tap.seen
    q, k, _ = layer.self_attn.project(layer.input_layernorm(seen), inputs)
    for head in range(q.shape[1]):
        scores = q[:, head] @ k[:, head // (q.shape[1] // k.shape[1])].transpose(1, 2) * layer.self_attn.scale
        mask = inputs.mask if inputs.mask is not None else torch.ones(7, 7, dtype=torch.bool).tril()
        whole = scores.masked_fill(~mask, -torch.inf).softmax(-1)
        torch.testing.assert_close(tap.log_weights(head, rows).exp(), whole[rows])


def test_joint_stage_moves_the_encoder_and_goes_on_frozen(encoder_state: Path, tmp_path: Path) -> None:
    train_reader(_stage(encoder_state, tmp_path / "joint", 0.5))
    joint = tmp_path / "joint" / "reader.pt"
    before, after = _encoder_of(encoder_state), _encoder_of(joint)
    assert not all(torch.equal(before[name], after[name]) for name in before)
    train_reader(_stage(joint, tmp_path / "frozen", 0.0))
    frozen = tmp_path / "frozen" / "reader.pt"
    assert all(torch.equal(value, after[name]) for name, value in _encoder_of(frozen).items())

    folder = tmp_path / "export"
    config = write_skeleton(folder)
    reader = load_reader(frozen, config)
    write_weights(folder, reader.vision, reader.decoder)
    model = VLM.load(folder)
    stored = model.engine.decoder.state_dict()["norm.weight"]
    assert torch.equal(stored, reader.decoder.norm.weight.detach().bfloat16().float())

    # What ships is enough to go on from on another machine.
    train_reader(_stage(folder, tmp_path / "again", 0.0))
    again = _encoder_of(tmp_path / "again" / "reader.pt")
    assert all(torch.equal(value, again[name].bfloat16().float()) for name, value in _stored(folder).items())


def _stored(folder: Path) -> dict[str, torch.Tensor]:
    vision = VLM.load(folder).engine.vision
    assert vision is not None
    return dict(vision.encoder.state_dict())


def test_rates_warm_up_and_decay() -> None:
    assert rate_factor(0.0) < 0.1 < rate_factor(0.02) == rate_factor(0.5) == 1.0
    assert rate_factor(0.8) == pytest.approx(0.5)
    assert rate_factor(1.0) == pytest.approx(0.02)
