"""A thread's work as an iterator, and what becomes of it when nobody listens any more."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from demos.background import followed, relayed

SECONDS = 20


def test_steps_come_in_order_then_the_result() -> None:
    def work(tell: Callable[[int], None]) -> str:
        for step in range(5):
            tell(step)
        return "done"

    steps = relayed(followed(work), str)
    shown = []
    while True:
        try:
            shown.append(next(steps))
        except StopIteration as end:
            shown = list(dict.fromkeys(shown))  # on a busy machine a step may come again
            assert (shown, end.value) == (["0", "1", "2", "3", "4"], "done")
            return


def test_a_silent_work_repeats_its_last_step_so_that_one_can_leave() -> None:
    gone = threading.Event()

    def work(tell: Callable[[str], None]) -> None:
        tell("reading")
        gone.wait(SECONDS)

    steps = followed(work)
    assert [next(steps) for _ in range(3)] == ["reading"] * 3
    steps.close()
    gone.set()


def test_an_error_of_the_work_is_raised_to_the_listener() -> None:
    def work(tell: Callable[[int], None]) -> None:
        tell(1)
        raise ValueError("broken")

    steps = followed(work)
    assert next(steps) == 1
    with pytest.raises(ValueError, match="broken"):
        list(steps)


def test_work_that_nobody_follows_ends_at_its_next_word() -> None:
    gone, ended, reached = threading.Event(), threading.Event(), []

    def work(tell: Callable[[int], None]) -> None:
        try:
            tell(1)
            gone.wait(SECONDS)
            tell(2)
            reached.append("too far")
        finally:
            ended.set()

    steps = relayed(followed(work), str)
    assert next(steps) == "1"
    steps.close()
    gone.set()
    assert ended.wait(SECONDS) and not reached


@pytest.mark.parametrize("late", [True, False])
def test_a_result_that_nobody_takes_is_dropped_once(late: bool) -> None:
    gone, dropped, dropping = threading.Event(), [], threading.Event()

    def work(tell: Callable[[int], None]) -> str:
        tell(1)
        if late:
            gone.wait(SECONDS)
        return "stream"

    def drop(result: str) -> None:
        dropped.append(result)
        dropping.set()

    steps = followed(work, drop)
    next(steps)
    if not late:  # the result lies in the queue when the listener leaves
        threading.Event().wait(0.2)
    steps.close()
    gone.set()
    assert dropping.wait(SECONDS) and dropped == ["stream"]


def test_a_result_that_was_taken_is_not_dropped() -> None:
    dropped: list[str] = []
    steps = followed(lambda tell: "stream", dropped.append)
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value == "stream" and dropped == []
