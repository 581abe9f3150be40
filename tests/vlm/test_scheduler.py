"""One engine for many threads: the same answers as alone, in turn, and nothing left behind."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from fakes import picture, tiny_checkpoint
from torch import Tensor

from vlm.constrain import Constraint
from vlm.errors import ImageError, PromptError
from vlm.gemma import GemmaDecoder
from vlm.scheduler import ClosedError, GivenUpError, SharedEngine
from vlm.session import VLM, Message

QUESTIONS = [f"What is {word}?" for word in ("this", "that", "here", "there", "left", "right", "up", "down")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("shared") / "c", context=2048)


@pytest.fixture
def shared(folder: Path) -> Iterator[VLM]:
    engine = SharedEngine.over(VLM.load(folder).engine, most=4)
    yield VLM(engine)
    engine.close()


def engine_of(model: VLM) -> SharedEngine:
    assert isinstance(model.engine, SharedEngine)
    return model.engine


def eventually(holds: Callable[[], bool]) -> None:
    """The worker tells a token before it has put its books in order."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many conversations each shared decode step had."""
    sizes: list[int] = []
    step = GemmaDecoder.step

    def counted(self: GemmaDecoder, hidden_B1D: Tensor, caches: list[object]) -> Tensor:
        sizes.append(len(caches))
        return step(self, hidden_B1D, caches)  # type: ignore[arg-type]

    monkeypatch.setattr(GemmaDecoder, "step", counted)
    return sizes


def test_many_users_get_the_answers_each_would_get_alone(
    folder: Path, shared: VLM, batches: list[int]
) -> None:
    alone = VLM.load(folder)
    expected = [alone.ask(picture(i), q, max_tokens=12) for i, q in enumerate(QUESTIONS)]
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(shared.ask, picture(i), q, max_tokens=12) for i, q in enumerate(QUESTIONS)]
        answers = [job.result() for job in jobs]
    assert [a.text for a in answers] == [a.text for a in expected]
    for mine, theirs in zip(answers, expected, strict=True):
        assert mine.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
        assert mine.attention is not None and theirs.attention is not None
        torch.testing.assert_close(mine.attention.rows_NS, theirs.attention.rows_NS, atol=1e-4, rtol=1e-3)
        assert mine.usage == theirs.usage and mine.finish_reason == theirs.finish_reason
    assert max(batches) == 4  # together, and never more than were allowed


def test_a_batch_past_the_local_window_answers_as_alone(folder: Path, shared: VLM) -> None:
    long = "why " * 100  # several windows of the local layers
    alone = VLM.load(folder)
    expected = [alone.ask((), f"{long}{q}", max_tokens=40).text for q in QUESTIONS[:4]]
    with ThreadPoolExecutor(4) as pool:
        texts = list(pool.map(lambda q: shared.ask((), f"{long}{q}", max_tokens=40).text, QUESTIONS[:4]))
    assert texts == expected


@contextmanager
def busy(model: VLM) -> Iterator[None]:
    """While the worker is at something that takes its time."""
    begun, over = threading.Event(), threading.Event()

    def work() -> Tensor:
        begun.set()
        over.wait(30)
        return torch.zeros(())

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(engine_of(model).worker.do, work)
        begun.wait(30)
        try:
            yield
        finally:
            over.set()
            done.result()


@pytest.mark.parametrize(("pause", "together"), [(60.0, {4}), (0.0, {2, 3, 4})])
def test_short_prompts_are_read_together_while_that_is_quick(
    shared: VLM, batches: list[int], monkeypatch: pytest.MonkeyPatch, pause: float, together: set[int]
) -> None:
    shared.ask((), "What?", max_tokens=1)  # starts the worker
    monkeypatch.setattr("vlm.scheduler.PAUSE", pause)
    with ThreadPoolExecutor(4) as pool:
        with busy(shared):
            jobs = [pool.submit(shared.ask, (), q, max_tokens=12) for q in QUESTIONS[:4]]
            eventually(lambda: engine_of(shared).stats().waiting == 4)
        for job in jobs:
            job.result()
    assert set(batches[:10]) == together  # who came later is still at it when the first ends


def test_steps_of_a_very_small_model_keep_to_one_core(shared: VLM, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    logits = GemmaDecoder.logits

    def noted(self: GemmaDecoder, hidden: Tensor) -> Tensor:
        used.append(torch.get_num_threads())
        return logits(self, hidden)

    monkeypatch.setattr(GemmaDecoder, "logits", noted)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        shared.ask((), "What?", max_tokens=3)
        monkeypatch.setattr("vlm.scheduler.SMALL", 0)
        shared.ask((), "What?", max_tokens=3)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert used == [2, 1, 1, 2, 2, 2]  # a prompt is read by all


def test_a_window_seen_before_waits_for_nobody(shared: VLM) -> None:
    first = engine_of(shared).encode([picture(3)])
    with busy(shared):
        assert torch.equal(engine_of(shared).encode([picture(3)]), first)
    assert engine_of(shared).stats().windows_reused == 1


def test_who_leaves_is_dropped_and_the_others_are_served(shared: VLM) -> None:
    stream = shared.stream((), "Tell me a long story", max_tokens=1500)
    next(iter(stream))
    eventually(lambda: engine_of(shared).stats().decoding == 1)
    stream.close()
    assert engine_of(shared).stats().decoding == 0
    made = engine_of(shared).stats().tokens
    assert shared.ask((), "And now?", max_tokens=5).usage.completion_tokens == 5
    assert engine_of(shared).stats().tokens < made + 20


def test_who_leaves_before_its_turn_does_not_wait_for_it(folder: Path) -> None:
    model = VLM(SharedEngine.over(VLM.load(folder).engine, most=1))
    first = model.stream((), "Tell me a long story", max_tokens=1800)
    next(iter(first))
    came = threading.Event()

    def ask() -> None:
        for _ in model.stream((), "Me too", max_tokens=2):
            came.set()

    second = model.stream((), "And me", max_tokens=2)
    waiting = threading.Thread(target=ask)
    waiting.start()
    pieces = iter(second)
    left = threading.Thread(target=lambda: next(pieces, None))
    left.start()
    eventually(lambda: engine_of(model).stats().waiting == 2)
    assert not came.is_set()
    first.close()
    waiting.join(30)
    left.join(30)
    assert came.is_set()
    engine_of(model).close()


def test_who_gives_up_stops_what_runs_for_it_wherever_it_is(shared: VLM) -> None:
    given_up = threading.Event()
    mine = VLM(engine_of(shared).until(given_up))
    stream = mine.stream((), "Tell me a long story", max_tokens=1800)
    pieces = iter(stream)
    next(pieces)
    given_up.set()  # from anywhere, while the stream is being read
    with pytest.raises(GivenUpError):
        list(pieces)
    eventually(lambda: engine_of(shared).stats().decoding == 0)
    with pytest.raises(GivenUpError):  # before a window is encoded
        mine.ask(picture(9), "What is it?")
    assert engine_of(shared).stats().windows_encoded == 0
    assert shared.ask((), "And you?", max_tokens=3).text  # others are served


def test_a_mistake_of_one_is_the_error_of_that_one(shared: VLM) -> None:
    slow = shared.stream((), "Tell me a story", max_tokens=200)
    next(iter(slow))
    with pytest.raises(PromptError, match="context"):
        shared.ask((), "why " * 3000)
    with pytest.raises(ImageError):
        shared.ask(b"no image", "What is it?")
    assert slow.read().usage.completion_tokens == 200


def test_an_error_inside_the_worker_reaches_who_asked(shared: VLM, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Tensor:
        raise RuntimeError("out of order")

    with monkeypatch.context() as patch:
        patch.setattr(GemmaDecoder, "logits", broken)
        with pytest.raises(RuntimeError, match="out of order"):
            shared.ask((), "What?", max_tokens=3)
    assert shared.ask((), "What?", max_tokens=3).text


def test_constraints_and_stop_strings_hold_for_each(folder: Path, shared: VLM) -> None:
    choice = Constraint.choice(("left", "right"))
    plain = VLM.load(folder).ask((), "Say it", max_tokens=30).text
    stop = plain[3]
    with ThreadPoolExecutor(2) as pool:
        held = pool.submit(shared.ask, (), "Say it", constraint=choice)
        cut = pool.submit(shared.ask, (), "Say it", stop=(stop,), max_tokens=30)
    assert held.result().text in ("left", "right")
    assert cut.result().text == plain[: plain.index(stop)].strip()
    assert cut.result().finish_reason == "stop"
    assert cut.result().usage.completion_tokens <= 4


def test_an_image_is_encoded_once_for_all_and_prompts_are_shared(shared: VLM) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda q: shared.ask(picture(3), q, max_tokens=3), QUESTIONS[:4]))
    stats = engine_of(shared).stats()
    assert stats.windows_encoded == 1 and stats.windows_reused == 3
    read = stats.prompt_tokens_read
    answer = shared.reply([Message("user", (picture(3), "What is new?"))], max_tokens=3).read()
    new = engine_of(shared).stats().prompt_tokens_read - read
    assert new < answer.usage.prompt_tokens - answer.usage.image_tokens


def test_closing_ends_what_runs(folder: Path) -> None:
    model = VLM(SharedEngine.over(VLM.load(folder).engine))
    stream = model.stream((), "Tell me a long story", max_tokens=1900)
    pieces = iter(stream)
    next(pieces)
    engine_of(model).close()
    with pytest.raises(ClosedError):
        list(pieces)
    with pytest.raises(ClosedError):
        model.ask((), "Still there?")


def test_the_likeliest_tokens_are_told(shared: VLM) -> None:
    stream = shared.stream((), "What?", max_tokens=4, top_logprobs=3)
    answer = stream.read()
    assert [token.logprob for token in stream.tokens] == list(answer.logprobs)
    for token in stream.tokens:
        assert len(token.top) == 3
        assert token.top[0] == (token.piece, token.logprob)  # greedy: the first is what was said
        assert [p for _, p in token.top] == sorted((p for _, p in token.top), reverse=True)


ENDING = """
import sys, threading
from vlm.session import VLM
model = VLM.load(sys.argv[1]).shared()
if sys.argv[2] == "whole":
    threads = [threading.Thread(target=model.generate("a", max_tokens=8).read) for _ in range(4)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
else:
    stream = model.generate("a", max_tokens=1000)
    next(iter(stream))
"""


@pytest.mark.parametrize("read", ["whole", "part"])
def test_a_program_that_shares_a_model_ends_quietly(folder: Path, read: str) -> None:
    program = [sys.executable, "-c", ENDING, str(folder), read]
    ended = subprocess.run(program, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
