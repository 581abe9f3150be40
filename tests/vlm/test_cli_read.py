"""``vlm read``: where the text goes, what the exit code is, and that no input ends in a traceback.

A stand-in reads the pages (their file's name is their text); files, listing, jobs and outputs are real.
"""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pypdfium2
import pytest
from fake_pages import page
from fakes import ScriptedEngine, picture
from fpdf import FPDF
from PIL import Image
from runner import Ran, Run, calls, heeding_ctrl_c

from vlm.cli import main
from vlm.errors import ImageError
from vlm.reading import transcribe
from vlm.reading.record import PageText
from vlm.session import VLM

TESTS = Path(__file__).resolve().parents[1]


class NameReader:
    """Reads a page as its file's name; a file that can't be opened fails."""

    loads: ClassVar[list[tuple[str, dict[str, Any]]]] = []
    options: Any = None
    on_tile: Any = None

    def __init__(self, vlm: Any, options: Any) -> None:
        NameReader.options = options

    def read(self, source: Any) -> PageText:
        where = {"file": source.file, "number": source.number, "sha256": source.sha256}
        try:
            source.open()
        except ImageError as error:
            return page(**where, source="failed", error=str(error))
        if self.on_tile is not None:
            self.on_tile(0, 2)
        return page(f"{Path(source.file).name} p{source.number}", **where)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def load(name: str, **how: Any) -> Any:
        NameReader.loads.append((name, how))
        return SimpleNamespace(window_size=896)

    monkeypatch.setattr(VLM, "load", load)
    monkeypatch.setattr(transcribe, "PageReader", NameReader)
    NameReader.loads.clear()

    return calls(capsys, monkeypatch, "read")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder of two images and a TIFF of three pages."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        picture(1, 8, 8).save(folder / name)
    frames = [picture(seed, 8, 8) for seed in range(3)]
    frames[0].save(folder / "c.tiff", save_all=True, append_images=frames[1:])
    return folder


@pytest.fixture
def broken(scans: Path) -> Path:
    """The folder with a file more that is no image."""
    (scans / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return scans


# -- to standard output ------------------------------------------------------------------------------


def test_prints_markdown(run: Run, scans: Path) -> None:
    assert run(scans / "a.png") == Ran(0, "a.png p1\n", "")


def test_of_several_files_the_first_is_named_too(run: Run, scans: Path) -> None:
    a, b = scans / "a.png", scans / "b.png"
    assert run(a, b).out == f"<!-- {a}, page 1 -->\n\na.png p1\n\n---\n\n<!-- {b}, page 1 -->\n\nb.png p1\n"


def test_prints_pages_of_many_files_in_order(run: Run, scans: Path) -> None:
    ran = run(scans, "--to", "txt")
    assert ran == Ran(0, "\f".join(f"{at}\n" for at in ("a.png p1", "b.png p1", *tiff(1, 2, 3))), "")


def test_several_pages_at_once_come_in_the_same_order(run: Run, scans: Path) -> None:
    one = run(scans)
    assert run(scans, "--at-once", 3) == one and one.code == 0


def tiff(*pages: int) -> list[str]:
    return [f"c.tiff p{number}" for number in pages]


def test_prints_the_pages_asked_for(run: Run, scans: Path) -> None:
    ran = run(scans / "c.tiff", "--pages", "2-", "--to", "jsonl")
    assert [json.loads(line)["text"] for line in ran.out.splitlines()] == tiff(2, 3)


def test_prints_one_document_of_all_files(run: Run, scans: Path) -> None:
    assert len(json.loads(run(scans, "--to", "json").out)["pages"]) == 5
    html = run(scans / "a.png", scans / "b.png", "--to", "html").out
    assert html.count("<title>Documents</title>") == 1 and html.count("<h2>") == 2


def test_reads_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    held = io.BytesIO()
    picture(1, 8, 8).save(held, "PNG")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(held.getvalue())))
    assert run("-", "--to", "txt") == Ran(0, "- p1\n", "")


def test_a_failed_page_is_in_the_output_and_counted(run: Run, broken: Path) -> None:
    ran = run(broken, "--to", "txt")
    assert (ran.code, ran.err) == (0, "vlm: 1 of 6 pages failed\n")
    assert re.search(r"\[page 1 of \S*bad.png was not read: is not an image", ran.out)


def test_too_many_failures_are_exit_code_1(run: Run, broken: Path) -> None:
    assert run(broken, "--max-error-rate", 0.1).code == 1
    assert run(broken / "bad.png", broken / "a.png").code == 1


def test_files_of_which_none_can_be_opened_are_refused_before_the_model_is_loaded(
    run: Run, broken: Path
) -> None:
    (broken / "worse.pdf").write_bytes(b"no PDF")
    assert "bad.png: is not an image" in run(broken / "bad.png", broken / "worse.pdf").refused()
    assert not NameReader.loads


def test_a_text_layer_alone_needs_no_model(run: Run, scans: Path, tmp_path: Path) -> None:
    pdf = FPDF()
    pdf.set_font("helvetica", size=14)
    pdf.add_page()
    pdf.cell(text="Its own text")
    pdf.output(str(tmp_path / "typed.pdf"))
    ran = run(tmp_path / "typed.pdf", scans / "a.png", "--text-layer", "only", "--to", "jsonl")
    typed, scanned = map(json.loads, ran.out.splitlines())
    assert typed["text"] == "Its own text" and typed["source"] == "text layer"
    assert scanned["error"] == "no sound text layer: it has none"
    assert not NameReader.loads


def test_too_many_failures_end_the_output_early_and_whole(run: Run, scans: Path) -> None:
    for number in range(30):
        (scans / f"x{number}.png").write_bytes(b"nothing")
    ran = run(scans, "--to", "json")
    assert ran.code == 1 and len(json.loads(ran.out)["pages"]) == 20
    assert ran.err.startswith("vlm: stopped: 15 of 20 pages failed, --max-error-rate 0.2 allows fewer")


def test_options_reach_the_model_and_the_reader(run: Run, scans: Path) -> None:
    run(scans / "a.png", "-m", "some/model", "--dtype", "bf16", "--offline", "--policy", "off",
        "--max-windows", 3, "--max-tokens", 77, "--text-layer", "never")  # fmt: skip
    assert NameReader.loads == [("some/model", {"dtype": "bf16", "device": "auto", "offline": True})]
    told = NameReader.options
    assert (told.policy, told.max_windows, told.max_tokens, told.text_layer) == ("off", 3, 77, "never")


def test_the_reader_itself(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, with an engine that says what it is told."""
    monkeypatch.undo()
    engine = ScriptedEngine(tmp_path / "scripted", "Total 12,50")
    monkeypatch.setattr(VLM, "load", lambda *_, **__: engine.vlm())
    sheet = Image.new("RGB", (200, 80), "white")
    sheet.paste("black", (20, 30, 150, 42))
    sheet.save(tmp_path / "a.png")
    monkeypatch.setattr(
        sys, "argv", ["vlm", "read", str(tmp_path / "a.png"), "--out", str(tmp_path / "a.json")]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    (read,) = json.loads((tmp_path / "a.json").read_bytes())["pages"]
    assert not ended.value.code and read["text"] == "Total 12,50" and read["windows"]


# -- into a file -------------------------------------------------------------------------------------


def test_a_file_says_its_form_by_its_name(run: Run, scans: Path, tmp_path: Path) -> None:
    assert run(scans, "--out", tmp_path / "all.JSONL") == Ran(0, "", "")
    assert len((tmp_path / "all.JSONL").read_text().splitlines()) == 5


def test_a_searchable_pdf_of_everything(run: Run, scans: Path, tmp_path: Path) -> None:
    assert run(scans, "--out", tmp_path / "all.pdf").code == 0
    document = pypdfium2.PdfDocument(tmp_path / "all.pdf")
    assert [at.get_textpage().get_text_range() for at in document] == ["a.png p1", "b.png p1", *tiff(1, 2, 3)]


def test_a_file_is_there_whole_or_not_at_all(run: Run, scans: Path, tmp_path: Path) -> None:
    class Stops(NameReader):
        def read(self, source: Any) -> PageText:
            if source.file.endswith("b.png"):
                raise KeyboardInterrupt
            return super().read(source)

    out = tmp_path / "all.md"
    out.write_text("before")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transcribe, "PageReader", Stops)
        assert run(scans, "--out", out).code == 130
    assert out.read_text() == "before" and not list(tmp_path.glob(".*"))


# -- into a folder -----------------------------------------------------------------------------------


def test_a_folder_gets_a_document_a_file(run: Run, scans: Path, tmp_path: Path) -> None:
    ran = run(scans, "--out", tmp_path / "out", "--to", "txt")
    assert ran == Ran(0, f"5 pages read: 3 documents in {tmp_path / 'out'}\n", "")
    assert (tmp_path / "out" / "c.tiff.txt").read_text() == "\f".join(f"{at}\n" for at in tiff(1, 2, 3))


def test_a_job_goes_on(run: Run, broken: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run(broken, "--out", out)
    assert first.code == 0 and first.err == "vlm: 1 of 6 pages failed; --retry-failed tries them again\n"
    assert "holds a job already; go on with it by --resume" in run(broken, "--out", out).refused()
    picture(5, 8, 8).save(broken / "d.png")
    again = run(broken, "--out", out, "--resume")
    assert again.out == f"7 pages read, 6 of them before: 5 documents in {out}\n"
    refused = run(broken, "--out", out, "--resume", "--policy", "off", "--max-windows", 2).refused()
    assert "begun with --max-windows none, --policy adaptive, not --max-windows 2, --policy off" in refused
    assert run(broken, "--out", out, "--retry-failed").out.startswith("7 pages read, 6 of them before")


def test_other_pages_are_another_job(run: Run, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(scans / "c.tiff", "--out", out, "--pages", "1-2").code == 0
    refused = run(scans / "c.tiff", "--out", out, "--resume", "--pages", "3").refused()
    assert "begun with --pages 1-2, not --pages 3" in refused
    assert "not --pages none" in run(scans / "c.tiff", "--out", out, "--resume").refused()


def test_a_resumed_job_does_not_forget_what_failed(run: Run, broken: Path, tmp_path: Path) -> None:
    for _ in range(2):
        ran = run(broken, "--out", tmp_path / "out", "--resume", "--max-error-rate", 0.1)
        assert (ran.code, ran.err) == (1, "vlm: 1 of 6 pages failed; --retry-failed tries them again\n")


def test_ctrl_c_says_how_to_go_on(run: Run, scans: Path, tmp_path: Path) -> None:
    class Stops(NameReader):
        def read(self, source: Any) -> PageText:
            if source.number == 2:
                raise KeyboardInterrupt
            return super().read(source)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transcribe, "PageReader", Stops)
        ran = run(scans, "--out", tmp_path / "out")
    done = f"vlm: 3 pages done in {tmp_path / 'out'}; go on with --resume"
    assert (ran.code, ran.out, ran.err) == (130, "", f"{done}\n\nvlm: stopped\n")
    assert run(scans, "--out", tmp_path / "out", "--resume").out.startswith("5 pages read, 3 of them before")


# -- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.png"], "missing.png: no such file"),
        (["a.png", "--pages", "0"], "pages are given as in"),
        (["a.png", "--dpi", "3"], "dpi must be between"),
        (["a.png", "--policy", "best"], "policy"),
        (["a.png", "--policy", "guided"], "--policy guided is for questions"),
        (["a.png", "--resume"], "--resume needs the folder of a job"),
        (["a.png", "--out", "x.md", "--retry-failed"], "--resume needs the folder of a job"),
        (["a.png", "--out", "x.html", "--to", "md"], "ends in .html, but --to says md"),
        (["a.png", "--out", "nowhere/x.html"], "no such folder"),
        (["a.png", "--out", "a.png"], "is no folder"),
        (["a.png", "--out", os.devnull], "is no folder"),
        (["a.png", "--out", "pipe.md"], "is no plain file"),
        (["a.png", "--to", "docx"], "docx"),
        (["a.png", "--text-layer", "some"], "some"),
        ([], "INPUT"),
    ],
)
def test_what_can_not_be_is_refused_before_the_model_is_loaded(
    run: Run, scans: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(scans)
    os.mkfifo("pipe.md")
    assert said in run(*arguments).refused()
    assert not NameReader.loads and not list(scans.glob("x.*"))


# -- a process of its own ----------------------------------------------------------------------------

SLOW = """
import sys, time
from types import SimpleNamespace
from fake_pages import page
from vlm.cli import main
from vlm.reading import transcribe
from vlm.session import VLM
seconds = float(sys.argv.pop(1))
class Slow:
    def __init__(self, vlm, options): pass
    def read(self, source):
        time.sleep(seconds)
        return page("read", file=source.file, number=source.number, sha256=source.sha256)
VLM.load = lambda *_, **__: SimpleNamespace(window_size=896)
transcribe.PageReader = Slow
sys.argv.insert(1, "read")
main()
"""


def started(*arguments: object, **how: Any) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    environment = os.environ | {"PYTHONPATH": path}
    with heeding_ctrl_c():
        return subprocess.Popen([sys.executable, "-c", SLOW, *map(str, arguments)], env=environment, **how)


@pytest.mark.slow
def test_ctrl_c_of_a_real_process(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = started(0.3, scans, "--out", out, stderr=subprocess.PIPE)
    while not list(out.rglob("*p0001*.json")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and b"go on with --resume" in said and b"Traceback" not in said


@pytest.fixture
def terminal() -> Iterator[tuple[int, Callable[[], str]]]:
    """A terminal to be a process's stderr, and what was shown on it in the end."""
    ours, theirs = pty.openpty()

    def shown() -> str:
        os.close(theirs)
        said = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux says so that no one writes any more
                piece = b""
            if not piece:
                return said.decode()
            said += piece

    yield theirs, shown
    os.close(ours)


@pytest.mark.slow
def test_a_terminal_is_shown_pages_a_second(scans: Path, terminal: tuple[int, Callable[[], str]]) -> None:
    theirs, shown = terminal
    process = started(0.4, scans, stderr=theirs, stdout=subprocess.PIPE)
    out, _ = process.communicate(timeout=120)
    said = shown()
    assert process.returncode == 0 and out.count(b"read") == 5
    assert "c.tiff, page 3" in said and "pages/s" in said and "4/5" in said
