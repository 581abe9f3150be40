"""What the pages share: settings, what the model saw, and that none of it needs gradio."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fakes import ScriptedEngine, picture
from PIL import Image

from demos.handlers import SHOWN_SIDE, Settings, facts, seen, stages_html
from vlm.answer import Answer
from vlm.errors import UsageError
from vlm.session import VLM

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[2]
QUESTION = "What does it say?"


@pytest.fixture
def engine(tmp_path: Path) -> ScriptedEngine:
    return ScriptedEngine(tmp_path / "scripted")


def answered(engine: ScriptedEngine, image: Image.Image, settings: Settings | None = None) -> Answer:
    return engine.vlm().ask(image, QUESTION, (settings or Settings()).options())


def test_settings_are_the_session_s() -> None:
    options = Settings("gemma3", 3, 8, 0.5, "  Be brief. ").options()
    assert (options.policy, options.max_windows, options.max_tokens) == ("gemma3", 3, 8)
    assert (options.sampling.temperature, options.system) == (0.5, "Be brief.")


@pytest.mark.parametrize("wrong", [{"policy": "never"}, {"max_windows": 0}, {"temperature": -1.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Settings(**wrong).options()  # type: ignore[arg-type]


def test_every_window_that_was_read_is_shown_as_the_encoder_got_it(engine: ScriptedEngine) -> None:
    page = Image.new("RGB", (448, 448), "white")
    page.paste(picture(1, 224, 224), (0, 0))
    answer = answered(engine, page)
    shown = seen(page, answer, 0, engine.window_size)
    read = [used.window for used in answer.windows if used.window.kind != "blank"]
    assert 1 < len(read) < len(answer.windows)  # some are blank
    assert shown.crops[0][1] == "0 whole" and len(shown.crops) == len(read)
    assert {crop.size for crop, _ in shown.crops} == {(224, 224)}
    assert shown.windows.tobytes() != page.tobytes()  # numbered


def test_a_large_page_is_shrunk_for_the_browser(engine: ScriptedEngine) -> None:
    page = picture(1, 3000, 1500)
    shown = seen(page, answered(engine, page), 0, engine.window_size)
    assert shown.windows.size == shown.evidence.size == (SHOWN_SIDE, SHOWN_SIDE // 2)


def test_only_the_windows_of_the_image_itself_are_drawn(engine: ScriptedEngine) -> None:
    images = [picture(1, 448, 448), picture(2, 80, 80)]
    answer = engine.vlm().ask(images, QUESTION, Settings().options())
    assert len(seen(images[0], answer, 0, 224).crops) == 5
    assert len(seen(images[1], answer, 1, 224).crops) == 1


def test_the_evidence_of_mini_lies_on_the_word(tmp_path: Path) -> None:
    page = Image.open(ROOT / "demos" / "images" / "notice.png").convert("RGB")
    answer = VLM.load("mini").ask(page, QUESTION)
    shown = seen(page, answer, 0, 224)
    assert answer.evidence and shown.evidence.tobytes() != page.tobytes()


def test_facts_and_stages_tell_the_same_story(engine: ScriptedEngine) -> None:
    page = Image.new("RGB", (448, 224), "white")
    page.paste(picture(1, 224, 224), (0, 0))
    answer = answered(engine, page, Settings(max_tokens=8))
    line, table = facts(answer), stages_html(answer)
    assert line.startswith("2 windows + 1 blank · ") and line.endswith("stopped at the token limit")
    assert f"{answer.usage.image_tokens} image tokens" in table and "8 tokens" in table
    assert "Stopped at the token limit." in table


def test_what_happens_knows_no_gradio() -> None:
    modules = "handlers, background, pictures, conversation, history, compare, documents"
    code = f"import sys\nfrom demos import {modules}\nsys.exit('gradio' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=240)
