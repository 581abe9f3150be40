"""Work that says how far it is, turned into an iterator.

The model tells its progress by callbacks, a page in the browser is fed by a generator: between the two
runs a thread. Whoever leaves the iterator early ends the work, too, at its next word. While the work is
silent the last step comes again, so that a listener is never held up for long and can leave.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from vlm.session import VLM

Step = TypeVar("Step")
Result = TypeVar("Result")
Shown = TypeVar("Shown")


BEAT = 0.3  # seconds after which the last step comes again


class _Left(Exception):
    """Nobody listens any more."""


@dataclass(frozen=True)
class _Told(Generic[Step]):
    step: Step


@dataclass(frozen=True)
class _Done(Generic[Result]):
    result: Result


def followed(
    work: Callable[[Callable[[Step], None]], Result], drop: Callable[[Result], None] = lambda result: None
) -> Generator[Step, None, Result]:
    """Run ``work`` in a thread, yielding what it tells; its result is the generator's value.

    Nothing comes before the first step is told, and then at least every ``BEAT`` seconds something.

    Args:
        work: is given the function to tell a step by, which raises once nobody listens.
        drop: gets a result that came after the listener had left.

    Raises:
        Exception: whatever ``work`` raises.
    """
    queue: SimpleQueue[_Told[Step] | _Done[Result] | BaseException] = SimpleQueue()
    handing = threading.Lock()  # a result is either taken or dropped
    left = threading.Event()

    def tell(step: Step) -> None:
        if left.is_set():
            raise _Left
        queue.put(_Told(step))

    def run() -> None:
        try:
            result = work(tell)
        except BaseException as error:
            queue.put(error)
            return
        with handing:
            if not left.is_set():
                queue.put(_Done(result))
                return
        drop(result)

    threading.Thread(target=run, daemon=True).start()
    last: _Told[Step] | None = None
    try:
        while True:
            try:
                word = queue.get(timeout=None if last is None else BEAT)
            except Empty:
                assert last is not None
                word = last
            if isinstance(word, _Told):
                last = word
                yield word.step
            elif isinstance(word, _Done):
                return word.result
            else:
                raise word
    finally:
        with handing:
            left.set()
        while not queue.empty():
            word = queue.get()
            if isinstance(word, _Done):
                drop(word.result)


@contextmanager
def heeded(vlm: VLM) -> Iterator[VLM]:
    """The model for as long as somebody waits: whoever leaves ends what it computes for them."""
    left = threading.Event()
    try:
        yield vlm.until(left)
    finally:
        left.set()


def relayed(
    steps: Generator[Step, None, Result], show: Callable[[Step], Shown]
) -> Generator[Shown, None, Result]:
    """The steps as something else; the same result, and left early when this is."""
    try:
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                result: Result = end.value
                return result
            yield show(step)
    finally:
        steps.close()
