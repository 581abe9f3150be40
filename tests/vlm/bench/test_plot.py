"""Bars from JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")

from PIL import Image

from vlm.bench.plot import panels_of, plot, read_lines
from vlm.errors import UsageError

MACHINE = {"processor": "Some CPU", "threads": 2}


def line(bench: str, **changes: Any) -> dict[str, Any]:
    """As the commands print it."""
    ours = {"name": "vlm int8", "seconds": 2.0, "tokens_per_second": 256.0}
    theirs = {"name": "transformers fp32", "seconds": 8.0, "tokens_per_second": 64.0}
    made = {"bench": bench, "subject": "270m", "layers": {}, "rows": [ours, theirs], "machine": MACHINE}
    return made | changes


def test_a_picture_of_all_three(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    lines = [line("encode", pixels=896), line("prefill", tokens=512), line("decode"), line("reuse")]
    lines.append(line("prefill", subject="4b", tokens=768, windows=2, layers={"decoder": [12, 34]}))
    file.write_text("encode, 4b: a table\n" + "\n".join(map(json.dumps, lines)))
    plot(read_lines([str(file)]), tmp_path / "bench.png")
    with Image.open(tmp_path / "bench.png") as image:
        assert image.format == "PNG" and image.width > 900
        colors = image.convert("RGB").getcolors(1 << 24)
    assert colors is not None and len(colors) > 100


def test_seconds_are_those_of_all_layers_and_tokens_are_a_rate() -> None:
    cut = line("encode")
    cut["rows"][0]["all_layers_seconds"] = 6.0
    encode, prefill = panels_of([line("prefill"), line("reuse"), cut])
    assert encode.bench == "encode" and encode.bars == {"vlm int8": 6.0, "transformers fp32": 8.0}
    assert prefill.bench == "prefill" and prefill.bars == {"vlm int8": 256.0, "transformers fp32": 64.0}


def test_peers_measured_apart_stand_together() -> None:
    other = line("decode", rows=[{"name": "llama.cpp", "seconds": 1.0, "tokens_per_second": 30.0}])
    together, apart = panels_of([line("decode"), other, line("decode", subject="1b")])
    assert list(together.bars) == ["vlm int8", "transformers fp32", "llama.cpp"]
    assert apart.label == "1b"


def test_labels_say_what_was_measured() -> None:
    cut = {"tokens": 768, "windows": 2, "layers": {"decoder": [6, 34]}}
    (panel,) = panels_of([line("prefill", subject="/a/b/gemma.gguf", **cut)])
    assert panel.label == "gemma.gguf\n768 tokens, 2 windows\n6 of 34 layers, scaled"


@pytest.mark.parametrize("text", ["", "not json", '{"bench": "encode"}', "{broken"])
def test_other_lines_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text(text)
    with pytest.raises(UsageError, match="vlm bench"):
        read_lines([str(tmp_path / "lines")])


def test_a_missing_file_and_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be read"):
        read_lines([str(tmp_path / "missing")])
    with pytest.raises(UsageError, match="can't be written"):
        plot([line("encode")], tmp_path / "missing" / "bench.png")
