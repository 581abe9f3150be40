"""Several at once: the order stays, no more is taken on than is said, and nobody is waited for in vain."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from vlm.parallel import AHEAD, in_order, wait_for_calls


@pytest.mark.parametrize("at_once", [1, 3])
def test_the_order_stays(at_once: int) -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return number * number

    assert list(in_order(range(20), slow_at_first, at_once)) == [(n, n * n) for n in range(20)]


def test_so_many_are_done_at_the_same_time() -> None:
    met = threading.Barrier(3, timeout=30)  # breaks unless three come to it together
    assert len(list(in_order(range(6), lambda _: met.wait(), 3))) == 6


def test_items_are_taken_as_they_are_needed() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    with closing(in_order(items(), str, 3)) as done:
        assert next(done) == (1, "1")
        assert taken == 3 * AHEAD
        assert next(done) == (2, "2")
        assert taken == 3 * AHEAD + 1


@pytest.mark.parametrize("at_once", [1, 3])
def test_what_goes_wrong_is_told_in_its_turn(at_once: int) -> None:
    def odd(number: int) -> float:
        return 1 / (number - 2)

    done = in_order(range(9), odd, at_once)
    assert [next(done), next(done)] == [(0, -0.5), (1, -1.0)]
    with pytest.raises(ZeroDivisionError):
        next(done)
    assert wait_for_calls(30)


def test_closing_waits_for_nobody_and_begins_nothing_more() -> None:
    hold, begun = threading.Event(), []

    def wait(number: int) -> None:
        begun.append(number)
        if number:
            hold.wait(30)

    done = in_order(range(100), wait, 2)
    next(done)
    done.close()
    known = len(begun)
    assert known <= 3
    hold.set()
    for thread in [t for t in threading.enumerate() if t.name == "in order"]:
        thread.join(30)
        assert not thread.is_alive()
    assert len(begun) == known


def test_calls_under_way_are_waited_for() -> None:
    hold = threading.Event()
    done = in_order(range(4), lambda number: hold.wait(30), 2)
    thread = threading.Thread(target=lambda: next(done, None))
    thread.start()
    while wait_for_calls(0):
        time.sleep(0.001)
    assert not wait_for_calls(0.01)
    hold.set()
    thread.join(30)
    assert wait_for_calls(30)
