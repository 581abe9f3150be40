"""``vlm bench``: what it prints, and that wrong input ends in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from runner import Run

from vlm.bench.shapes import Subject


def test_json_is_the_line_alone(run: Run, tiny: Path) -> None:
    code, out, err = run("bench", "encode", "--model", tiny, "--dtype", "fp32", "--rounds", 1, "--json")
    assert code == 0 and err == "" and out.count("\n") == 1
    line = json.loads(out)
    assert line["bench"] == "encode" and line["subject"] == str(tiny) and line["rounds"] == 1
    assert {"processor", "flags", "threads", "torch"} <= line["machine"].keys()
    assert line["rows"][0]["name"] == "vlm fp32" and line["rows"][0]["seconds"] > 0


def test_a_table_and_the_line(run: Run, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vlm.bench import decode

    monkeypatch.setattr(decode, "read_rate", lambda size: 2e10)  # summing a gigabyte takes a while
    code, out, _ = run("bench", "decode", "--model", tiny, "--dtype", "fp32", "--rounds", 1, "--tokens", 3)
    assert code == 0
    *table, last = out.splitlines()
    line = json.loads(last)
    shown = "\n".join(table)
    assert "tokens/s" in shown and "vlm fp32" in shown and line["machine"]["processor"] in shown
    assert "read_rate_gb_s" in shown and "20.0" in shown and f"{line['weight_bytes_a_token']:,}" in shown


def test_against_transformers(run: Run, tiny: Path) -> None:
    pytest.importorskip("transformers")
    arguments = ("--model", tiny, "--dtype", "fp32", "--rounds", 1, "--against", "transformers")
    code, out, err = run("bench", "prefill", *arguments, "--tokens", 40)
    assert code == 0 and err == ""
    assert "relative error" in out and "transformers fp32" in out and "times ours" in out


def test_a_shape_in_part(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.vlm.bench.subjects import seeing

    monkeypatch.setattr(Subject, "shape", lambda name: seeing())
    code, out, _ = run("bench", "reuse", "--shape", "4b", "--dtype", "fp32", "--layers", 1, "--rounds", 1)
    assert code == 0
    assert "random weights" in out and "measured on 1 of 3 encoder layers and 1 of 4 decoder layers" in out
    assert "all layers" in out


def test_lines_become_a_picture(run: Run, tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    arguments = ("--model", tiny, "--dtype", "fp32", "--rounds", 1, "--json")
    (tmp_path / "lines").write_text(run("bench", "prefill", *arguments, "--tokens", 40).out)
    code, out, _ = run("bench", "plot", tmp_path / "lines", "--out", tmp_path / "bench.png")
    assert code == 0 and out.strip() == str(tmp_path / "bench.png")
    with Image.open(tmp_path / "bench.png") as image:
        assert image.format == "PNG"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("encode", "--shape", "5b"), "no shape '5b'"),
        (("encode", "--shape", "270m"), "reads text only"),
        (("encode", "--shape", "4b", "--model", "mini"), "exclude each other"),
        (("decode", "--against", "vllm"), "no 'vllm' to compare with"),
        (("prefill", "--dtype", "fp8"), "unknown dtype 'fp8'"),
        (("prefill", "--shape", "270m", "--tokens", 10**6), "context is 32768"),
        (("quality", "--dtype", "fp32"), "is what it is compared with"),
        (("reuse", "--model", "mini", "--layers", 2), "--layers is of a shape"),
        (("prefill", "--model", "no/such/folder"), "no/such/folder"),
    ],
)
def test_wrong_input_is_one_line(run: Run, arguments: tuple[object, ...], said: str) -> None:
    assert said in run("bench", *arguments).refused()
