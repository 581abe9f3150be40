"""The command line: what it prints, what it exits with, and that no input ends in a traceback.

Commands run in this process through ``main``, as the ``vlm`` script calls it; an error that is not
turned into one line would come out here as an exception. What needs a process of its own (imports,
signals, pipes) gets one.
"""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from fakes import TOKENS, ScriptedEngine, picture, rewrite, tiny_checkpoint
from PIL import Image
from runner import Ran, Run, heeding_ctrl_c

from vlm import __version__
from vlm.cli import main
from vlm.session import VLM
from vlm.weights import hub

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[2]
QUESTION = "What does it say?"


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """Whatever model is named, this engine answers."""
    engine = ScriptedEngine(tmp_path / "scripted")
    monkeypatch.setattr(VLM, "load", lambda *_, **__: engine.vlm())
    return engine


def huge(path: Path) -> Path:
    """A PNG whose header promises 30000 x 30000 pixels: a few bytes, gigabytes once decoded."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 1, 0, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(30000 // 8 + 1) * 100))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + rows + chunk(b"IEND", b""))
    return path


def jpeg(side: int = 300) -> bytes:
    held = io.BytesIO()
    picture(2, side, side).save(held, "JPEG")
    return held.getvalue()


# -- windows -----------------------------------------------------------------------------------------


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Four quarters; one holds nothing."""
    image = Image.new("RGB", (400, 400), "white")
    image.paste(picture(3, 200, 400), (0, 0))
    image.paste(picture(4, 200, 200), (200, 0))
    path = tmp_path / "page.png"
    image.save(path)
    return path


def test_windows_prints_a_table(run: Run, page: Path) -> None:
    ran = run("windows", page, "--window-size", 200)
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0] == f"{page}: 400 x 400, policy adaptive, 5 windows"
    assert [line.split() for line in lines[1:]] == [
        ["0", "whole", "0", "0", "400", "400", "400", "x", "400"],
        ["1", "crop", "0", "0", "200", "200", "200", "x", "200"],
        ["2", "crop", "200", "0", "400", "200", "200", "x", "200"],
        ["3", "crop", "0", "200", "200", "400", "200", "x", "200"],
        ["4", "blank", "200", "200", "400", "400", "200", "x", "200"],
    ]


def test_windows_json_is_one_object_an_image(run: Run, page: Path, photo: Path) -> None:
    ran = run("windows", page, photo, "--json", "--window-size", 200)
    first, second = (json.loads(line) for line in ran.out.splitlines())
    assert list(first) == ["file", "width", "height", "policy", "windows"]
    assert first == {
        "file": str(page),
        "width": 400,
        "height": 400,
        "policy": "adaptive",
        "windows": [
            {"box": [0, 0, 400, 400], "kind": "whole"},
            {"box": [0, 0, 200, 200], "kind": "crop"},
            {"box": [200, 0, 400, 200], "kind": "crop"},
            {"box": [0, 200, 200, 400], "kind": "crop"},
            {"box": [200, 200, 400, 400], "kind": "blank"},
        ],
    }
    assert (second["width"], second["height"]) == (80, 80)
    assert second["windows"] == [{"box": [0, 0, 80, 80], "kind": "whole"}]


def test_windows_of_a_model_are_those_of_its_square(run: Run, tmp_path: Path, tiny: Path) -> None:
    path = tmp_path / "strip.png"
    picture(1, 224, 56).save(path)
    boxes = [
        window["box"] for window in json.loads(run("windows", path, "-m", tiny, "--json").out)["windows"]
    ]
    assert boxes == [[0, 0, 224, 56], *([at, 0, at + 56, 56] for at in (0, 56, 112, 168))]
    assert len(json.loads(run("windows", path, "--json").out)["windows"]) == 1
    assert len(json.loads(run("windows", path, "-m", "mini", "--json").out)["windows"]) == 1
    assert "leave out --window-size" in run("windows", path, "-m", "mini", "--window-size", 56).refused()
    assert "no such" in run("windows", path, "-m", tmp_path / "nowhere").refused()


def test_windows_takes_the_published_policy(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    picture(1, 900, 300).save(path)
    shown = json.loads(run("windows", path, "--policy", "gemma3", "--json").out)
    assert shown["policy"] == "gemma3"
    assert [w["box"] for w in shown["windows"][1:]] == [
        [0, 0, 300, 300],
        [300, 0, 600, 300],
        [600, 0, 900, 300],
    ]


@pytest.mark.parametrize("name", ["drawn.png", "drawn.JPG", "drawn.webp"])
def test_windows_save_draws_the_image_with_its_windows(run: Run, page: Path, name: str) -> None:
    target = page.with_name(name)
    target.write_bytes(b"what was there before")
    assert run("windows", page, "--window-size", 200, "--save", target).code == 0
    with Image.open(target) as drawn, Image.open(page) as plain:
        assert drawn.size == (400, 400)
        assert drawn.convert("RGB").tobytes() != plain.tobytes()
    assert sorted(p.name for p in page.parent.iterdir()) == sorted([page.name, name])
    assert target.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("drawn.txt", "can't tell the format"),
        ("drawn", "can't tell the format"),
        ("no folder/drawn.png", "no such folder"),
        ("taken.png", "is a folder"),
    ],
)
def test_windows_save_that_fails_leaves_nothing(run: Run, page: Path, target: str, named: str) -> None:
    (page.parent / "taken.png").mkdir()  # a folder stands where the file should go
    before = sorted(page.parent.rglob("*"))
    assert named in run("windows", page, "--save", page.parent / target).refused()
    assert sorted(page.parent.rglob("*")) == before


def test_windows_saves_one_image_at_a_time(run: Run, page: Path, photo: Path) -> None:
    assert "one image at a time" in run("windows", page, photo, "--save", page.with_name("a.png")).refused()


def test_a_file_name_cannot_drive_the_terminal(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[2J\udcff.png"  # an escape sequence and a byte that is no UTF-8
    try:
        picture(1).save(path)
    except OSError:
        pytest.skip("this file system takes no such name")
    ran = run("windows", path)
    assert ran.code == 0 and "a\\x1b[2J\\udcff.png" in ran.out
    assert json.loads(run("windows", path, "--json").out)["file"] == str(path)


# -- ask ---------------------------------------------------------------------------------------------


def test_ask_prints_the_answer(run: Run, photo: Path, scripted: ScriptedEngine) -> None:
    ran = run("ask", photo, QUESTION)
    assert ran == Ran(0, "The sign says NO PARKING.\n", "")
    said = scripted.tokenizer.decode(scripted.heard[0].ids)
    assert said.endswith(f"{QUESTION}\nmodel\n") and scripted.crops == [(80, 80)]


def test_ask_prints_the_published_json(run: Run, photo: Path, tiny: Path) -> None:
    ran = run("ask", photo, QUESTION, "--model", tiny, "--max-tokens", 7, "--json", "--policy", "off")
    assert (ran.code, ran.err) == (0, "")
    shown = json.loads(ran.out)
    timings = shown.pop("timings")
    assert list(timings) == ["load", "encode", "prefill", "decode"]
    assert all(isinstance(seconds, float) and seconds >= 0 for seconds in timings.values())
    assert len(shown.pop("answer")) == 7
    assert 0 < shown.pop("probability") < shown.pop("confidence") < 1
    prompt = shown["usage"].pop("prompt_tokens")
    assert prompt > len(QUESTION) + TOKENS
    assert shown == {
        "model": str(tiny),
        "finish_reason": "length",
        "windows": [{"image": 0, "box": [0, 0, 80, 80], "kind": "whole"}],
        "evidence": [{"image": 0, "box": [0, 0, 80, 80], "score": 1.0}],
        "usage": {"image_tokens": TOKENS, "completion_tokens": 7},
    }


def test_ask_says_why_an_answer_was_cut(run: Run, photo: Path, scripted: ScriptedEngine) -> None:
    ran = run("ask", photo, QUESTION, "--max-tokens", 8)
    assert ran == Ran(0, "The sign\n", "[stopped at --max-tokens]\n")


def test_ask_streams(photo: Path, scripted: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pieces(io.StringIO):
        """Standard output that keeps every write apart."""

        def __init__(self) -> None:
            super().__init__()
            self.writes: list[str] = []

        def write(self, text: str) -> int:
            self.writes.append(text)
            return len(text)

    out = Pieces()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "argv", ["vlm", "ask", str(photo), QUESTION])
    with pytest.raises(SystemExit):
        main()
    assert len(out.writes) > 20 and "".join(out.writes) == "The sign says NO PARKING.\n"


def test_ask_takes_several_images_and_standard_input(
    run: Run, photo: Path, scripted: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(jpeg(120))))
    shown = json.loads(run("ask", photo, "-", QUESTION, "--json").out)
    assert [(w["image"], w["box"]) for w in shown["windows"]] == [(0, [0, 0, 80, 80]), (1, [0, 0, 120, 120])]
    assert scripted.crops == [(80, 80), (120, 120)]


def test_ask_without_standard_input_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert "there is none" in run("ask", "-", QUESTION).refused()


def test_sampling_options_reach_the_sampler(run: Run, photo: Path, tiny: Path) -> None:
    def ask(seed: int, top_k: int = 0) -> str:
        sampled = ("--temperature", 2, "--seed", seed, "--top-k", top_k)
        return run("ask", photo, QUESTION, "--model", tiny, "--max-tokens", 20, *sampled).out

    assert ask(1) == ask(1) != ask(2)
    assert ask(1, top_k=1) == run("ask", photo, QUESTION, "--model", tiny, "--max-tokens", 20).out


def test_a_question_longer_than_a_file_name_may_be_is_a_question(
    run: Run, photo: Path, scripted: ScriptedEngine
) -> None:
    assert run("ask", photo, "why " * 1500).code == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["{photo}"], "no question"),
        (["{photo}", "{photo}"], "no question"),
        (["{photo}", " "], "no question"),
        ([QUESTION], "no image"),
        ([], "Missing argument"),
        (["{photo}", QUESTION, "--policy", "never"], "unknown policy 'never'; choose one of off, gemma3"),
        (["{photo}", QUESTION, "--max-windows", "0"], "--max-windows"),
        (["{photo}", QUESTION, "--max-tokens", "many"], "--max-tokens"),
        (["{photo}", QUESTION, "--temperature", "-1"], "--temperature"),
        (["{photo}", QUESTION, "--temperature", "nan"], "temperature"),
        (["{photo}", QUESTION, "--top-p", "0"], "top_p must be above 0"),
        (["{photo}", QUESTION, "--seed", str(2**70)], "--seed"),
        (["{photo}", QUESTION, "--dtype", "fp8"], "unknown dtype 'fp8'"),
        (["{photo}", QUESTION, "--frobnicate"], "--frobnicate"),
        (["{photo}", QUESTION, "--model", "gemma"], "unknown model 'gemma'"),
        (["{photo}", QUESTION, "--model", "./nowhere"], "./nowhere: no such file or folder"),
        (["{photo}", QUESTION, "--model", "{photo}"], "give the checkpoint's folder, or a .gguf file"),
        (["{photo}", QUESTION, "--model", "a/b", "--offline"], "a/b is not (completely) in the cache"),
    ],
)
def test_wrong_arguments_are_one_line(run: Run, photo: Path, arguments: list[str], named: str) -> None:
    assert named in run("ask", *(a.format(photo=photo) for a in arguments)).refused()


def test_without_a_command_the_help_is_shown(run: Run) -> None:
    ran = run()
    assert ran.code == 2 and "Usage: vlm" in ran.out + ran.err and "windows" in ran.out + ran.err
    assert "No such command 'see'" in run("see").refused()


# -- hostile images ----------------------------------------------------------------------------------

HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.png": (lambda path: path.write_bytes(b""), "is empty"),
    "text.png": (lambda path: path.write_text("TOTAL 24.85"), "is not an image"),
    "cut.jpg": (lambda path: path.write_bytes(jpeg()[:2000]), "cut off or damaged"),
    "bomb.png": (huge, "more pixels than"),
    "folder.png": (lambda path: path.mkdir(), "file"),  # to ask, a folder is pages; this one holds none
    "missing.png": (lambda path: None, "no such file"),
}


@pytest.mark.parametrize("command", ["windows", "ask", "generate"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_image_is_one_line(run: Run, tmp_path: Path, command: str, name: str) -> None:
    make, named = HOSTILE[name]
    path = tmp_path / name
    make(path)
    # The model isn't there either: the image is judged first.
    arguments = {
        "windows": [path],
        "ask": [path, QUESTION, "--model", "./nowhere"],
        "generate": ["Once", "--image", path, "--model", "./nowhere"],
    }
    line = run(command, *arguments[command]).refused()
    assert f"{name}: " in line and named in line


def test_a_hostile_image_on_standard_input_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert "is empty" in run("ask", "-", QUESTION).refused()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 5000), (5000, 1)])
@pytest.mark.parametrize("policy", ["off", "gemma3", "adaptive"])
def test_the_smallest_and_thinnest_images_work(
    run: Run, tmp_path: Path, tiny: Path, width: int, height: int, policy: str
) -> None:
    path = tmp_path / "thin.png"
    picture(1, width, height).save(path)
    assert run("windows", path, "--policy", policy, "--save", tmp_path / "drawn.png").code == 0
    ran = run("ask", path, QUESTION, "--model", tiny, "--max-tokens", 3, "--policy", policy)
    assert ran.code == 0 and len(ran.out.strip()) == 3


# -- hostile checkpoints -----------------------------------------------------------------------------

NORM = "language_model.model.norm.weight"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({NORM: None}, f"1 missing: {NORM}"),
        ({"language_model.model.more.weight": torch.zeros(1)}, "1 extra: language_model.model.more.weight"),
        ({NORM: torch.zeros(31)}, f"1 mis-shaped: {NORM} expected [32], found [31]"),
    ],
)
def test_a_wrong_tensor_is_named_without_a_traceback(
    run: Run, photo: Path, tmp_path: Path, changes: dict[str, torch.Tensor | None], named: str
) -> None:
    folder = tiny_checkpoint(tmp_path / "wrong")
    rewrite(folder, changes)
    ran = run("ask", photo, QUESTION, "--model", folder)
    assert (ran.code, ran.out) == (2, "") and named in ran.err


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"model_type": "llama"}, "model_type 'llama'"),
        ({}, "model_type None"),
        ([], "expected a JSON object"),
    ],
)
def test_another_architecture_is_one_line(
    run: Run, photo: Path, tmp_path: Path, config: object, named: str
) -> None:
    folder = tiny_checkpoint(tmp_path / "other")
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    assert named in run("ask", photo, QUESTION, "--model", folder).refused()


def test_a_text_checkpoint_says_that_it_reads_no_images(run: Run, photo: Path, tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "text", vision=False)
    assert "reads text only" in run("ask", photo, QUESTION, "--model", folder).refused()
    assert run("generate", "Once", "--model", folder, "--max-tokens", 3).code == 0


# -- the other commands ------------------------------------------------------------------------------


def test_generate_continues_without_a_template(run: Run, photo: Path, scripted: ScriptedEngine) -> None:
    scripted.says = " upon a time"
    assert run("generate", "Once").out == " upon a time\n"
    assert scripted.tokenizer.decode(scripted.heard[0].ids, keep_special=True) == "<bos>Once"
    shown = json.loads(run("generate", "Once", "--image", photo, "--image", photo, "--json").out)
    assert shown["usage"]["image_tokens"] == 2 * TOKENS and shown["answer"] == " upon a time"


def test_models_lists_what_is_here_and_what_can_be_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    tiny_checkpoint(tmp_path / "mini")
    monkeypatch.setattr(hub, "ASSETS", tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "no cache"))
    lines = run("models").out.splitlines()
    assert lines[0] == "On this machine:" and lines[1].split()[0] == "mini"
    assert any(line.split()[:3] == ["google/gemma-3-4b-it", "8.6", "GB"] for line in lines)
    shown = json.loads(run("models", "--json").out)
    assert [entry["name"] for entry in shown["here"]] == ["mini"]
    assert {"id": "google/gemma-3-4b-it", "vision": True, "gigabytes": 8.6} in shown["known"]


def test_version(run: Run) -> None:
    assert run("--version") == Ran(0, f"vlm {__version__}\n", "")


def test_ui_without_gradio_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gradio" else find(name))
    assert "pip install 'vlm[ui]'" in run("ui").refused()


def test_ui_opens_the_page_over_the_named_model(
    run: Run, scripted: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio")
    opened: list[tuple[VLM, str, int, list[str]]] = []
    page = ModuleType("demos.app")  # the real one is tested in tests/demos
    vars(page)["launch"] = lambda vlm, *, host, port, others, load: opened.append((vlm, host, port, others))
    monkeypatch.setitem(sys.modules, "demos.app", page)
    assert run("ui", "--port", 0).code == 0
    [(vlm, host, port, others)] = opened
    assert vlm.engine is scripted and (host, port) == ("127.0.0.1", 0)
    assert "mini" in others
    assert vlm.on_window is None  # or every question of the page would draw bars on the terminal


# -- processes ---------------------------------------------------------------------------------------

MAIN = "import sys; from vlm.cli import main; main()"


def start(*arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *map(str, arguments)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom vlm.cli import main\ntry: main()\nexcept SystemExit as e: assert not e.code\n"
        "print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "windows" in ran.stdout
    loaded = set(ran.stdout.rpartition("LOADED")[2].split())
    heavy = "torch torchvision transformers PIL gradio numpy huggingface_hub tokenizers safetensors"
    assert "vlm" in loaded and not loaded & set(heavy.split())


def test_ctrl_c_ends_without_a_traceback(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe.png"
    os.mkfifo(fifo)
    with heeding_ctrl_c():
        process = start("windows", fifo)
    with fifo.open("wb"):  # returns once the command has opened its end; now it waits for bytes
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err.decode().strip()) == (130, "vlm: stopped")


def test_ctrl_c_in_an_answer_keeps_what_was_said(
    run: Run, photo: Path, scripted: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = scripted.tokenizer.token_bytes

    def interrupted(id: int) -> bytes:
        if said(id) == b",":
            raise KeyboardInterrupt
        return said(id)

    scripted.says = "One, two"
    monkeypatch.setattr(scripted.tokenizer, "token_bytes", interrupted)
    ran = run("ask", photo, QUESTION)
    assert (ran.code, ran.out.strip(), ran.err.strip()) == (130, "One", "vlm: stopped")


def test_a_reader_that_goes_away_is_no_error(photo: Path) -> None:
    process = start("windows", *[photo] * 3000)  # more than a pipe holds
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 1
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_reader_that_is_gone_at_the_end_is_no_error(photo: Path) -> None:
    process = start("windows", photo)  # so little that it is written at the end
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 1
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_one_line(photo: Path) -> None:
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            [sys.executable, "-c", "from vlm.cli import main; main()", "windows", photo],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert ran.returncode == 2
    assert ran.stderr == "vlm: standard output can't be written (No space left on device): make room\n"
