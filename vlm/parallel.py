"""Several things done at once, told in the order they were asked for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

LEAVE = 10.0  # seconds that calls which were told to give up are waited for

_changed = threading.Condition()
_under_way: set[object] = set()  # calls of this process

T = TypeVar("T")
R = TypeVar("R")
AHEAD = 2  # times as many are taken on as are done at once, so that a slow one keeps no thread waiting


def in_order(items: Iterable[T], do: Callable[[T], R], at_once: int) -> Generator[tuple[T, R]]:
    """Each item with what came of it, in the items' order; what ``do`` raises is raised in its turn.

    Items are taken as they are needed, ``AHEAD * at_once`` at most before the first is told of. Nobody waits
    for what is under way when the iterator is closed; a program that is about to end does, for a while.

    Args:
        items: taken in the caller's thread.
        do: called in threads of its own, or in the caller's where one is done at once.
        at_once: calls at the same time.
    """
    if at_once == 1:
        for item in items:
            yield item, do(item)
        return
    asked: SimpleQueue[tuple[T, Future[R]] | None] = SimpleQueue()
    under_way: deque[tuple[T, Future[R]]] = deque()

    def work() -> None:
        while (task := asked.get()) is not None:
            item, future = task
            if not future.set_running_or_notify_cancel():
                continue
            with _counted(future):
                try:
                    future.set_result(do(item))
                except BaseException as error:
                    future.set_exception(error)

    for _ in range(at_once):  # no ThreadPoolExecutor: Python waits at its end for what that has begun
        threading.Thread(target=work, daemon=True, name="in order").start()
    try:
        for item in items:
            under_way.append((item, Future()))
            asked.put(under_way[-1])
            if len(under_way) >= AHEAD * at_once:
                first, done = under_way.popleft()
                yield first, done.result()
        while under_way:
            first, done = under_way.popleft()
            yield first, done.result()
    finally:
        for _, future in under_way:
            future.cancel()
        for _ in range(at_once):
            asked.put(None)


def wait_for_calls(seconds: float = LEAVE) -> bool:
    """Wait until no call of ``in_order`` is under way: Python's end aborts the program where one is in torch.

    Returns:
        False where there still is one.
    """
    with _changed:
        return _changed.wait_for(lambda: not _under_way, seconds)


@contextmanager
def _counted(call: object) -> Iterator[None]:
    with _changed:
        _under_way.add(call)
    try:
        yield
    finally:
        with _changed:
            _under_way.discard(call)
            _changed.notify_all()
