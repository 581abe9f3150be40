"""``vlm ask`` about documents and videos, and the picture of where an answer was read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from clips import write
from fakes import ScriptedEngine, picture
from fpdf import FPDF
from PIL import Image
from runner import Run

from vlm.session import VLM

PAGES = ("Invoice of March. Total 12.40 EUR", "Terms and conditions of sale", "Our gardens in March")


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    engine = ScriptedEngine(tmp_path / "scripted", says="12.40")
    monkeypatch.setattr(VLM, "load", lambda *_, **__: engine.vlm())
    return engine


@pytest.fixture
def invoice(tmp_path: Path) -> Path:
    pdf = FPDF()
    pdf.set_font("helvetica", size=14)
    for text in PAGES[::-1]:
        pdf.add_page()
        pdf.cell(text=text)
    path = tmp_path / "invoice.pdf"
    pdf.output(str(path))
    return path


def test_the_page_that_matters_is_found(run: Run, scripted: ScriptedEngine, invoice: Path) -> None:
    ran = run("ask", invoice, "What is the total of the invoice?")
    assert (ran.code, ran.out) == (0, "12.40\n")
    assert ran.err == f"[{invoice}, page 3]\n"


def test_json_tells_the_page_and_the_ranking(run: Run, scripted: ScriptedEngine, invoice: Path) -> None:
    told = json.loads(run("ask", invoice, "What is the total?", "--json").out)
    assert told["answer"] == "12.40" and told["page"] == {"file": str(invoice), "number": 3, "turned": 0.0}
    assert told["ranking"][0]["page"] == 3
    assert {one["by"] for one in told["ranking"]} == {"text layer"}


def test_a_single_page_is_not_ranked(run: Run, scripted: ScriptedEngine, invoice: Path) -> None:
    ran = run("ask", invoice, "What is the total?", "--pages", "2", "--policy", "off")
    assert ran.out == "12.40\n" and len(scripted.heard) == 1 and len(scripted.heard[0].spans) == 1


def test_all_pages_of_a_tiff_and_of_a_folder(run: Run, scripted: ScriptedEngine, tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    pages = [picture(n, 60, 60) for n in range(3)]
    pages[0].save(folder / "three.tiff", save_all=True, append_images=pages[1:])
    told = json.loads(run("ask", folder, "Which?", "--json").out)
    assert len(told["ranking"]) == 3 and {one["by"] for one in told["ranking"]} == {"first look"}


def test_what_is_wrong_is_told_before_a_model_is_loaded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoice: Path
) -> None:
    monkeypatch.setattr(VLM, "load", lambda *_, **__: pytest.fail("loaded"))
    assert "no such file" in run("ask", tmp_path / "none.pdf", "What?").refused()
    assert "pages" in run("ask", invoice, "What?", "--pages", "x").refused()
    assert "can't tell the format" in run("ask", invoice, "What?", "--save-evidence", "x.txt").refused()


def test_evidence_is_drawn(run: Run, tiny: Path, tmp_path: Path) -> None:
    photo, out = tmp_path / "photo.png", tmp_path / "where.png"
    picture(1, 120, 60).save(photo)
    ran = run("ask", photo, "Where?", "--model", tiny, "--max-tokens", 4, "--save-evidence", out)
    assert ran.code == 0
    with Image.open(out) as drawn, Image.open(photo) as plain:
        assert drawn.size == plain.size and drawn.tobytes() != plain.tobytes()


def test_evidence_of_a_page_lies_on_that_page(run: Run, tiny: Path, tmp_path: Path, invoice: Path) -> None:
    out = tmp_path / "where.png"
    ran = run("ask", invoice, "total?", "--model", tiny, "--max-tokens", 3, "--save-evidence", out)
    assert ran.code == 0 and out.is_file()


def test_frames_of_a_video_come_with_their_times(run: Run, scripted: ScriptedEngine, tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mp4", [picture(n, 64, 48) for n in range(20)])
    ran = run("ask", clip, "What happens?", "--frames", 4)
    assert (ran.code, ran.out) == (0, "12.40\n")
    (plan,) = scripted.heard
    assert len(plan.spans) == 4
    assert "Frame 00:00:" in scripted.tokenizer.decode(plan.ids)
    assert "alone" in run("ask", clip, clip, "What happens?").refused()
    told = json.loads(run("ask", clip, "What happens?", "--frames", 4, "--json").out)
    assert [frame["image"] for frame in told["frames"]] == [0, 1, 2, 3]
    times = [frame["seconds"] for frame in told["frames"]]
    assert times == sorted(set(times)) and times[-1] < 20


def test_what_would_be_left_out_is_refused(
    run: Run, scripted: ScriptedEngine, tmp_path: Path, invoice: Path
) -> None:
    clip = write(tmp_path / "clip.mp4", [picture(n, 64, 48) for n in range(4)])
    photo = tmp_path / "photo.png"
    picture(1, 60, 60).save(photo)
    assert "a video is asked about alone" in run("ask", clip, invoice, "What happens?").refused()
    assert "--pages and --password" in run("ask", photo, "What?", "--pages", "1").refused()
    assert "--pages and --password" in run("ask", photo, "What?", "--password", "x").refused()


def test_a_pdf_is_known_by_its_first_bytes(
    run: Run, scripted: ScriptedEngine, invoice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nameless = invoice.rename(invoice.with_name("download"))
    told = json.loads(run("ask", nameless, "What is the total of the invoice?", "--json").out)
    assert told["page"]["number"] == 3
    with nameless.open("rb") as piped:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=piped))
        told = json.loads(run("ask", "-", "What is the total of the invoice?", "--json").out)
    assert told["page"] == {"file": "-", "number": 3, "turned": 0.0}
