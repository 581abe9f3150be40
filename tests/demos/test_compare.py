"""The same question under three policies, one after the other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fakes import TOKENS, ScriptedEngine, picture, tiny_checkpoint

from demos.compare import COMPARED, compare, summary_html
from demos.handlers import Settings
from vlm.errors import PromptError
from vlm.session import VLM

torch.set_num_threads(1)


def test_windows_first_then_answer_after_answer(tmp_path: Path) -> None:
    engine = ScriptedEngine(tmp_path, pause=0.01)
    every = compare(engine.vlm(), picture(1, 900, 450), "What?", Settings())
    first = next(every)
    assert [column.policy for column in first] == list(COMPARED) and engine.crops == []
    steps = list(every)
    assert all(column.text == "" and column.status == "Waiting" for column in first)
    last = steps[-1]
    assert all(column.text == engine.says and column.seen is not None for column in last)
    assert [len(column.answer.windows) for column in last if column.answer] == [1, 3, 9]
    done = [sum(column.answer is not None for column in columns) for columns in steps]
    assert done == sorted(done) and set(done) == {0, 1, 2, 3}


def test_the_summary_tells_windows_tokens_and_answers_of_all(tmp_path: Path) -> None:
    engine = ScriptedEngine(tmp_path, says="<b>No</b>\nparking")
    first, *_, last = compare(engine.vlm(), picture(1, 900, 450), "What?", Settings())
    assert summary_html(first).count("Waiting") == 3
    told = summary_html(last)
    assert "&lt;b&gt;No&lt;/b&gt; / parking" in told and "<b>No" not in told
    for windows in (1, 3, 9):
        assert f"<td>{windows * TOKENS}</td>" in told


def test_no_policy_lives_on_what_another_read(tmp_path: Path) -> None:
    model = VLM.load(tiny_checkpoint(tmp_path))
    page = picture(1, 600, 300)
    model.ask(page, "What?", max_tokens=1)
    before = vars(model.engine.windows).copy(), model.engine.prompts.reused
    *_, last = compare(model, page, "What?", Settings(max_tokens=1))
    assert all(column.answer is not None for column in last)
    # Neither asked nor filled: each policy had to look and to read for itself.
    assert (vars(model.engine.windows), model.engine.prompts.reused) == before


@pytest.mark.parametrize(("source", "question"), [(None, "What?"), (picture(1), "  ")])
def test_what_can_not_be_compared_is_refused(tmp_path: Path, source: object, question: str) -> None:
    with pytest.raises(PromptError):
        list(compare(ScriptedEngine(tmp_path).vlm(), source, question, Settings()))  # type: ignore[arg-type]
