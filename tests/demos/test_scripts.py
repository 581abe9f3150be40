"""The scripts that the README shows, as they are run there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fakes import TOKENS, tiny_checkpoint
from PIL import Image

from demos import compare_policies, read_receipt, video

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("tiny")))


def test_a_receipt_is_read_into_fields(capsys: pytest.CaptureFixture[str]) -> None:
    read_receipt.main([])
    first, *fields = capsys.readouterr().out.splitlines()
    assert first.startswith('{"shop":') and '"total":' in first
    assert [line.split(":")[0] for line in fields] == ["/shop", "/date", "/total"]
    assert all("confidence 0." in line or "confidence 1." in line for line in fields)
    # What it doesn't find is null and was read nowhere; what it finds has a place.
    assert all(line.endswith("nowhere") == ("None" in line) for line in fields)


def test_policies_stand_in_a_table(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    compare_policies.main(["--model", tiny])
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["policy", "windows", "tokens", "seconds", "sure", "answer"]
    named = {row.split()[0]: row.split()[1:3] for row in rows}
    assert named["off"] == ["1", str(TOKENS)] and set(named) == {"off", "gemma3", "guided", "adaptive"}
    windows = {policy: int(count) for policy, (count, _) in named.items()}
    assert windows["off"] < windows["gemma3"] and windows["guided"] < windows["adaptive"]


def test_a_video_is_answered_from_its_frames(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av", reason="pip install 'vlm[video]'")
    from clips import write

    colours = ["red"] * 10 + ["blue"] * 10 + ["green"] * 10
    clip = write(tmp_path / "clip.mp4", [Image.new("RGB", (64, 48), colour) for colour in colours])
    video.main([str(clip), "Which colour is last?", "--frames", "4", "--model", tiny])
    first, *said = capsys.readouterr().out.splitlines()
    assert first == "frames at 00:00, 00:01, 00:02" and said


@pytest.mark.slow
def test_openai_s_client_asks_a_server_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openai", reason="pip install openai")
    pytest.importorskip("fastapi", reason="pip install 'vlm[server]'")
    from demos import openai_client

    openai_client.main(["--serve"])
    *said, told = capfd.readouterr().out.splitlines()
    assert said == ["Fresh bread", "every morning"]
    assert told.endswith("places of evidence") and not told.startswith("0 windows")
