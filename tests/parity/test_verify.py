"""``vlm verify``: it says identical where it is so, and finds a difference in each stage."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import typer
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from pan_and_scan import Gemma3, plan
from tests.parity.checkpoints import picture, save_multimodal, save_text
from vlm.cli_verify import verify as command
from vlm.engine import Engine
from vlm.errors import CheckpointError, UsageError, VlmError
from vlm.generate import Generation, Scores
from vlm.precision import Dtype
from vlm.verify import Report, Row, sample_picture, verify

STAGES = [
    "prompt ids, long text", "prompt ids, text", "prompt ids, one image", "prompt ids, image with crops",
    "pixels", "encoder", "projector", "logits, long text", "logits, image with crops", "greedy text",
]  # fmt: skip

app = typer.Typer()
app.command()(command)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_multimodal(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_text(tmp_path_factory.mktemp("text"), "270m")


def failed(report: Report) -> set[str]:
    return {row.stage for row in report.rows if row.passed is False}


def test_identical(folder: Path) -> None:
    told: list[str] = []
    report = verify(folder, on_stage=told.append)
    assert [row.stage for row in report.rows] == STAGES
    assert report.verdict
    assert all(row.passed and not row.skipped for row in report.rows)
    numbers = [row for row in report.rows if not row.unit]
    assert all(row.difference is not None and row.difference <= 1e-4 for row in numbers)
    assert report.rows[-1].detail.startswith("64 tokens")
    assert len(told) >= 5


def test_an_image_of_ones_own(folder: Path) -> None:
    report = verify(folder, picture(300, 900).convert("RGBA"), question="Why?", tokens=3)
    assert report.verdict
    assert report.rows[-1].detail.startswith("3 tokens")
    assert "[4, 3, 112, 112]" in next(row.detail for row in report.rows if row.stage == "pixels")


def test_text_only(text_folder: Path) -> None:
    report = verify(text_folder, tokens=8)
    assert report.verdict
    skipped = {row.stage for row in report.rows if row.skipped}
    assert skipped == {
        "prompt ids, one image",
        "prompt ids, image with crops",
        "pixels",
        "encoder",
        "projector",
    }
    assert all(row.passed is None for row in report.rows if row.skipped)


def test_without_a_chat_template(tmp_path: Path) -> None:
    """As the pretrained checkpoints: raw text after BOS."""
    folder = save_multimodal(tmp_path)
    (folder / "chat_template.jinja").unlink()
    report = verify(folder, tokens=8)
    assert report.verdict, failed(report)
    assert all(not row.skipped for row in report.rows)


def scaled(name: str) -> Callable[[Engine], None]:
    """A defect: one weight a hundredth off."""

    def change(engine: Engine) -> None:
        modules: dict[str, nn.Module | None] = {"decoder": engine.decoder, "vision": engine.vision}
        part, _, rest = name.partition(".")
        module = modules[part]
        assert module is not None
        weight = module.get_parameter(rest)
        weight.data = weight.data * 1.01

    return change


def other_tokens(engine: Engine) -> None:
    encode = engine.tokenizer.encode_text
    object.__setattr__(engine.tokenizer, "encode_text", lambda text: [*encode(text), 300])


def no_span(engine: Engine) -> None:
    """The oldest defect of all: images read causally."""
    decoder = engine.decoder
    inputs = decoder.layer_inputs
    object.__setattr__(
        decoder,
        "layer_inputs",
        lambda kind, start, queries, hidden: inputs(
            kind, start, type(queries)(queries.start, queries.end), hidden
        ),
    )


DEFECTS: dict[str, tuple[Callable[[Engine], None], set[str]]] = {
    "encoder": (scaled("vision.encoder.encoder.layers.1.mlp.fc1.weight"), {"encoder"}),
    "projector": (scaled("vision.projector.mm_input_projection_weight"), {"projector"}),
    "decoder": (
        scaled("decoder.layers.3.self_attn.q_norm.weight"),
        {"logits, long text", "logits, image with crops"},
    ),
    "mask": (no_span, {"logits, image with crops"}),
    "tokens": (other_tokens, {stage for stage in STAGES if stage.startswith("prompt")}),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_finds_a_defect(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    change, stages = DEFECTS[name]
    load = Engine.load

    def defective(path: Path, *, dtype: Dtype) -> Engine:
        engine = load(path, dtype=dtype)
        change(engine)
        return engine

    monkeypatch.setattr("vlm.verify.Engine.load", defective)
    report = verify(folder, tokens=16)
    assert not report.verdict
    assert failed(report) - {"greedy text"} == stages


def test_finds_other_pixels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nearest(crops: list[Image.Image], side: int) -> torch.Tensor:
        from vlm.pixels import to_pixels

        return to_pixels([crop.resize((side, side), Image.Resampling.NEAREST) for crop in crops], side)

    monkeypatch.setattr("vlm.verify.to_pixels", nearest)
    report = verify(folder, tokens=1)
    assert failed(report) == {"pixels"}


def test_a_wrong_answer_tells_where_and_how_near(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def worse(self: Generation, scores: Scores) -> int:
        return int(scores.logits_V.topk(2).indices[1])

    monkeypatch.setattr("vlm.verify.Generation._pick", worse)
    row = verify(folder, tokens=4).rows[-1]
    assert row.passed is False and row.difference
    assert row.detail.startswith("differs from token 1 on; transformers' two likeliest are ")


def test_the_rule_for_numbers() -> None:
    from vlm.verify import _compare_numbers

    small, large = torch.tensor([1.0, -2.0]), torch.tensor([100.0, -2.0])
    assert _compare_numbers("x", small, small + 0.9e-4).passed
    assert not _compare_numbers("x", small, small + 3e-4).passed
    assert _compare_numbers("x", large, large + 5e-3).passed  # 5e-5 of the largest value
    assert not _compare_numbers("x", large, large + 2e-2).passed
    assert not _compare_numbers("x", small, small * torch.nan).passed
    assert not _compare_numbers("x", small, small[:1]).passed


def test_json_holds_no_nan() -> None:
    report = Report("m", "5.0", (Row("encoder", float("nan"), float("inf"), 1e-4, passed=False),))
    shown = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert shown["identical"] is False
    assert shown["rows"][0]["difference"] is None


def test_sample_picture_is_cut_and_always_the_same() -> None:
    image = sample_picture()
    assert image.tobytes() == sample_picture().tobytes()
    assert len(plan(*image.size, Gemma3())) == 3
    assert len(image.getcolors(1 << 20) or ()) > 64


# The command


def test_command_prints_a_table(folder: Path) -> None:
    result = CliRunner().invoke(app, [str(folder), "--tokens", "4"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split("  ")[0].strip() for line in lines[1:-1]] == STAGES
    assert all(" ok " in line for line in lines[1:-1])
    assert "identical to transformers 5." in lines[-1]
    assert "\x1b" not in result.stdout
    assert result.stderr == ""


def test_command_prints_json(text_folder: Path) -> None:
    result = CliRunner().invoke(app, [str(text_folder), "--tokens", "4", "--json", "--offline"])
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert shown["identical"] is True
    assert [row["stage"] for row in shown["rows"]][-1] == "greedy text"
    assert {"stage", "difference", "relative", "tolerance", "passed", "skipped"} <= shown["rows"][0].keys()


def test_command_exits_1_when_they_differ(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row("encoder", 0.5, 0.1, 1e-4, passed=False, detail="[bold]no markup[/bold]")
    monkeypatch.setattr("vlm.verify.verify", lambda *_, **__: Report("m", "5.0", (row,)))
    result = CliRunner().invoke(app, [str(folder)])
    assert result.exit_code == 1
    assert "DIFFERS" in result.stdout
    assert "[bold]no markup[/bold]" in result.stdout
    assert "encoder: [bold]no" in result.stdout  # told in full below the table
    assert "m: DIFFERENT from transformers 5.0 (fp32)" in result.stdout


@pytest.mark.parametrize("arguments", [["nowhere/at/all"], ["unknown-model", "--offline"]])
def test_command_refuses_an_unknown_model(arguments: list[str]) -> None:
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, VlmError) and error.exit_code == 2


def test_command_reads_the_image_first(folder: Path, tmp_path: Path) -> None:
    from pan_and_scan import ImageError

    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    assert isinstance(CliRunner().invoke(app, [str(folder), "--image", str(bad)]).exception, ImageError)


def test_bad_arguments(folder: Path) -> None:
    with pytest.raises(UsageError, match="tokens"):
        verify(folder, tokens=0)
    with pytest.raises(UsageError, match="question"):
        verify(folder, question=" ")


def test_transformers_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"pip install 'vlm\[verify\]'"):
        verify(folder)


def test_a_folder_transformers_cannot_load(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(CheckpointError, match="transformers can't load it"):
        verify(tmp_path)
