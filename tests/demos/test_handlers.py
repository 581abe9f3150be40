"""What the page and the demo script do, without a browser and without gradio."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fakes import TOKENS, ScriptedEngine, picture, tiny_checkpoint
from PIL import Image

from demos import ask
from demos.handlers import SHOWN_SIDE, Settings, answer
from vlm.errors import ImageError, PromptError, UsageError
from vlm.session import VLM

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[2]
QUESTION = "What does it say?"


@pytest.fixture
def engine(tmp_path: Path) -> ScriptedEngine:
    return ScriptedEngine(tmp_path / "scripted", pause=0.01)


def test_windows_come_first_then_the_text_then_the_facts(engine: ScriptedEngine) -> None:
    steps = answer(engine.vlm(), picture(1, 448, 448), QUESTION, Settings())
    first = next(steps)
    assert engine.crops == []  # shown before the model has looked at any of them
    assert first.text == "" and first.windows is not None and first.facts == "Looking at 5 windows …"
    assert first.windows.tobytes() != picture(1, 448, 448).tobytes()  # numbered
    *growing, last = steps
    texts = [shown.text for shown in growing]
    assert len(texts) > 2 and all(b.startswith(a) and len(b) > len(a) for a, b in itertools.pairwise(texts))
    assert all(shown.windows is None for shown in growing)
    assert last.text == "The sign says NO PARKING." and last.text.startswith(texts[-1])
    assert (
        f"5 windows · {len(engine.heard[0].ids)} tokens in, {5 * TOKENS} of them image · 25 tokens out"
        in last.facts
    )


def test_settings_reach_the_model(engine: ScriptedEngine) -> None:
    *_, last = answer(engine.vlm(), picture(1, 448, 448), QUESTION, Settings("adaptive", 3, max_tokens=8))
    assert last.text == "The sign" and last.facts.endswith("stopped at the token limit")
    assert len(engine.crops) <= 3
    *_, last = answer(engine.vlm(), picture(1, 448, 448), QUESTION, Settings("off"))
    assert last.facts.startswith("1 window ·")


def test_blank_windows_are_counted_apart(engine: ScriptedEngine) -> None:
    page = Image.new("RGB", (448, 224), "white")
    page.paste(picture(1, 224, 224), (0, 0))
    *_, last = answer(engine.vlm(), page, QUESTION, Settings())
    assert last.facts.startswith("2 windows and 1 blank ·") and len(engine.crops) == 2


def test_a_large_page_is_shrunk_for_the_browser(engine: ScriptedEngine) -> None:
    shown = next(answer(engine.vlm(), picture(1, 3000, 1500), QUESTION, Settings()))
    assert shown.windows is not None and shown.windows.size == (SHOWN_SIDE, SHOWN_SIDE // 2)


@pytest.mark.parametrize(
    ("image", "question", "settings", "error"),
    [
        (None, QUESTION, Settings(), PromptError),
        (picture(1), "  ", Settings(), PromptError),
        (picture(1), "why " * 5000, Settings(), PromptError),
        (b"TOTAL", QUESTION, Settings(), ImageError),
        (picture(1), QUESTION, Settings(policy="never"), UsageError),
        (picture(1), QUESTION, Settings(max_windows=0), UsageError),
    ],
)
def test_what_can_not_be_answered_is_refused(
    engine: ScriptedEngine, image: Image.Image | bytes | None, question: str, settings: Settings, error: type
) -> None:
    with pytest.raises(error):
        list(answer(engine.vlm(), image, question, settings))


def test_leaving_early_stops_the_model(engine: ScriptedEngine) -> None:
    engine.says = "on and on " * 1000
    steps = answer(engine.vlm(), picture(1), QUESTION, Settings(max_tokens=10_000))
    shown = [next(steps) for _ in range(3)]
    steps.close()
    assert len(shown[-1].text) < 100


def test_a_text_model_says_that_it_sees_nothing(tmp_path: Path) -> None:
    model = VLM.load(tiny_checkpoint(tmp_path, vision=False))
    with pytest.raises(PromptError, match="reads text only"):
        next(answer(model, picture(1), QUESTION, Settings()))


def test_handlers_know_no_gradio() -> None:
    code = "import sys, demos.handlers; sys.exit('gradio' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


def test_the_demo_script_asks_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_checkpoint(tmp_path)
    ask.main(["--model", str(folder)])
    first, second, usage = capsys.readouterr().out.splitlines()
    said, confidence = second.rsplit(" (confidence ", 1)
    assert first and said and said != first
    assert 0.0 <= float(confidence.rstrip(")")) <= 1.0
    assert usage.endswith(f"{7 * TOKENS} of them image")
