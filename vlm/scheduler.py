"""One engine for many users: continuous batching.

Requests run in threads of their own and use the engine as if it were theirs. Behind it one worker
does all the computing. It takes turns: one decode step for everybody who is answering, their rows in
one product, then some reading for those who wait longest: a window to encode or a chunk of a prompt, and
further pieces while that has taken next to no time, as where a prompt's beginning was read before. So a long
document holds up the others by one piece at a time, many who come at once soon answer together, and
nobody is overtaken for ever.
A conversation keeps its own cache throughout; only products with the weights are shared.
"""

from __future__ import annotations

import atexit
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Self

import torch
from PIL import Image
from torch import Tensor

from vlm.config import TextConfig
from vlm.engine import Engine
from vlm.errors import VlmError
from vlm.generate import Generation, Scores, Token, chunks, decode_many
from vlm.masks import Queries
from vlm.prompt import PromptPlan
from vlm.reuse import ReadPrompt, soft_of

MOST = 16  # conversations decoded together
SMALL = 1 << 18  # numbers in a weight, up to which a second core costs a step more than it brings
PAUSE = 0.1  # seconds of reading after which those who are answering get a step


class ClosedError(VlmError):
    """The engine was shut down while an answer was being made."""


class GivenUpError(VlmError):
    """Who asked has left."""


@dataclass(frozen=True)
class SharingStats:
    """What a shared engine is doing and has done."""

    decoding: int  # conversations that get a token at every step
    waiting: int  # windows and prompts that wait to be read
    tokens: int  # generated so far
    windows_encoded: int
    windows_reused: int
    prompt_tokens_read: int
    prompt_tokens_reused: int
    cache_bytes: int  # kept for reuse


@dataclass(frozen=True)
class SharedEngine(Engine):
    """An engine that any number of threads may use at once."""

    worker: Worker = field(default_factory=lambda: Worker(MOST), kw_only=True)
    given_up: threading.Event = field(default_factory=threading.Event, kw_only=True)

    @classmethod
    def over(cls, engine: Engine, most: int = MOST) -> Self:
        """The same checkpoint, shared; ``engine`` itself must not be used any more.

        Args:
            engine: a loaded one.
            most: conversations that are decoded together; further ones wait.
        """
        held = {f.name: getattr(engine, f.name) for f in fields(Engine)}
        made = cls(**held, worker=Worker(most))
        # Once nobody can use the weights any more, nobody needs the worker.
        weakref.finalize(engine.decoder, made.worker.leave).atexit = False
        return made

    def until(self, given_up: threading.Event) -> Self:
        """The same engine for one user, who may give up at any time by setting an event.

        What runs then ends with a ``GivenUpError`` in its own thread: before the next window or chunk
        of its prompt, at the latest.
        """
        return replace(self, given_up=given_up)

    def encode(self, crops: Sequence[Image.Image]) -> Tensor:
        """Windows to soft tokens: [N, tokens, hidden_size]; the worker makes what is new, in turn."""
        return torch.stack([self._known_tokens(crop) for crop in crops])

    def _known_tokens(self, window: Image.Image) -> Tensor:
        known = self.windows.get(self.windows.key(window))
        return self.worker.do(partial(self._wanted_tokens, window)) if known is None else known

    def _wanted_tokens(self, window: Image.Image) -> Tensor:
        if self.given_up.is_set():
            raise GivenUpError("nobody waits for this answer any more")
        return self._soft_tokens(window)

    def _generate(self, generation: Generation, plan: PromptPlan, hidden_TD: Tensor) -> Generator[Token]:
        """Hand the generation to the worker when its first token is asked for."""
        with self.worker.serving(_Request(self, generation, plan, hidden_TD)) as request:
            while (token := request.next_token()) is not None:
                yield token
        if generation.finish_reason is None:
            raise GivenUpError("nobody waits for this answer any more")

    def close(self) -> None:
        """Stop the worker; answers that are still being made end with a ``ClosedError``."""
        self.worker.close()

    def stats(self) -> SharingStats:
        """What it is doing now and has done so far."""
        decoding, waiting, tokens = self.worker.load()
        return SharingStats(
            decoding, waiting, tokens,
            self.windows.encoded, self.windows.reused, self.prompts.read, self.prompts.reused,
            self.windows.nbytes + self.prompts.nbytes,
        )  # fmt: skip


@contextmanager
def _cores_for(config: TextConfig) -> Iterator[None]:
    """One core for the steps of a very small model, whose hundreds of products take microseconds each.

    Handing half of one to another thread and waiting for it takes longer, above all where that thread's
    core is at something else. Holds for the process, in which nothing else computes meanwhile.
    """
    threads = torch.get_num_threads()
    if threads == 1 or config.hidden_size * config.intermediate_size > SMALL:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


_END = None
_Said = Token | BaseException | None


class _Request:
    """A generation in the worker's hands."""

    def __init__(
        self, engine: SharedEngine, generation: Generation, plan: PromptPlan, hidden_TD: Tensor
    ) -> None:
        self.generation = generation
        self.last: Token | None = None
        self.done_with = threading.Event()  # set by its user
        self.gone = threading.Event()  # set by the worker, which touches nothing of it afterwards
        self._engine = engine
        self._hidden_TD, self._plan = hidden_TD, plan
        self._said: queue.SimpleQueue[_Said] = queue.SimpleQueue()
        self._reading: Iterator[tuple[int, int]] | None = None

    def next_token(self) -> Token | None:
        """Wait for the next token; None at the end."""
        said = self._said.get()
        if isinstance(said, BaseException):
            raise said
        return said

    def end(self, error: BaseException | None = None) -> None:
        """No further token comes."""
        self.gone.set()
        self._said.put(error or _END)

    @property
    def left(self) -> bool:
        """Whether nobody reads it any more."""
        return self.done_with.is_set() or self._engine.given_up.is_set()

    @property
    def begun(self) -> bool:
        """Whether some of its prompt was read."""
        return self._reading is not None

    @property
    def prompt(self) -> ReadPrompt:
        """What others may begin with, as far as it was read."""
        soft = soft_of(self._hidden_TD, self._plan.spans)
        return ReadPrompt(self._plan.ids, soft, self.generation.cache)

    def read_some(self, running: Sequence[_Request]) -> bool:
        """Read one chunk of the prompt; True when it was the last."""
        generation, plan = self.generation, self._plan
        cache, decoder = generation.cache, generation.decoder
        if self._reading is None:
            others = [other.prompt for other in running]
            self._engine.prompts.fill(cache, plan, self._hidden_TD, others)
            self._reading = chunks(cache.length, len(plan.ids), plan.spans)
        start, end = next(self._reading)
        queries = Queries(start, end, plan.spans)
        last_D = decoder(self._hidden_TD[None, start:end], queries, cache)[0, -1]
        if end < len(plan.ids):
            return False
        self.take(Scores.of_each(decoder.logits(last_D)[None])[0])
        return True

    def take(self, scores: Scores) -> None:
        """Choose the next token and tell it; at the end of the answer, end."""
        self.last = self.generation.take(scores)
        if self.last is not None:
            self._said.put(self.last)
        if self.generation.finish_reason is not None:
            self.end()


@dataclass
class _Call:
    """Anything else the worker does for a request."""

    work: Callable[[], Tensor]
    done: Future[Tensor] = field(default_factory=Future)


class Worker:
    """The thread that computes, and what waits for it."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._waiting: deque[_Call | _Request] = deque()  # what is to be read, begun or not
        self._decoding: list[_Request] = []
        self._changed = threading.Condition()
        self._closed = False
        self._tokens = 0
        self._thread = threading.Thread(target=self._run, name="vlm-worker", daemon=True)

    def do(self, work: Callable[[], Tensor]) -> Tensor:
        """Have it done by the worker, in turn."""
        call = _Call(work)
        self._add(call)
        return call.done.result()

    def serving(self, request: _Request) -> _Serving:
        """Have an answer generated; leaving the context drops what is not done."""
        self._add(request)
        return _Serving(request)

    def load(self) -> tuple[int, int, int]:
        """(conversations decoded, things that wait, tokens so far)."""
        with self._changed:
            return len(self._decoding), len(self._waiting), self._tokens

    def leave(self) -> None:
        """Tell the thread to end, and don't wait for it."""
        atexit.unregister(self.close)
        with self._changed:
            self._closed = True
            self._changed.notify()

    def close(self) -> None:
        """End everything."""
        self.leave()
        if self._thread.is_alive():
            self._thread.join()

    def _add(self, work: _Call | _Request) -> None:
        with self._changed:
            if self._closed:
                raise ClosedError("the model was shut down")
            if self._thread.ident is None:
                self._thread.start()
                atexit.register(self.close)  # Python's end aborts a program that has a thread in torch
            self._waiting.append(work)
            self._changed.notify()

    def _run(self) -> None:
        with torch.inference_mode():
            while self._wait():
                self._drop_those_who_left()
                if self._decoding:
                    self._step()
                self._read()
        error = ClosedError("the model was shut down before the answer was whole; ask again")
        for work in (*self._waiting, *self._decoding):
            if isinstance(work, _Call):
                work.done.set_exception(error)
            else:
                work.end(error)

    def _wait(self) -> bool:
        """Until there is something to do; False when it is time to end."""
        with self._changed:
            while not (self._closed or self._waiting or self._decoding):
                self._changed.wait()
            return not self._closed

    def _drop_those_who_left(self) -> None:
        with self._changed:
            everybody = [*self._decoding, *(work for work in self._waiting if isinstance(work, _Request))]
            left = [request for request in everybody if request.left]
            if left:
                self._decoding = [request for request in self._decoding if request not in left]
                self._waiting = deque(work for work in self._waiting if work not in left)
        for request in left:
            request.end()

    def _step(self) -> None:
        """One token for everybody who is answering."""
        requests = self._decoding
        last = [request.last.id for request in requests if request.last is not None]
        try:
            decoder = requests[0].generation.decoder
            caches = [request.generation.cache for request in requests]
            with _cores_for(decoder.config):
                scores = Scores.of_each(decode_many(decoder, last, caches))
        except Exception as error:  # the worker outlives whatever one step runs into
            self._decoding = []
            for request in requests:
                request.end(error)
            return
        for request, its in zip(requests, scores, strict=True):
            self._guarded(request, partial(request.take, its))
        self._tokens += len(requests)
        self._decoding = [request for request in requests if not request.gone.is_set()]

    def _read(self) -> None:
        """A window or a chunk of a prompt for who has waited longest; then the next, while that is quick."""
        started = time.perf_counter()
        while (work := self._next()) is not None:
            self._read_some(work)
            if time.perf_counter() - started > PAUSE:
                return

    def _read_some(self, work: _Call | _Request) -> None:
        """One window or one chunk of a prompt."""
        if isinstance(work, _Call):
            try:
                work.done.set_result(work.work())
            except Exception as error:  # it belongs to who asked
                work.done.set_exception(error)
        elif not self._guarded(work, lambda: work.read_some(self._decoding)):
            with self._changed:
                self._waiting.append(work)  # the next in line comes before its next chunk
        else:
            self._tokens += 1
            if not work.gone.is_set():
                self._decoding.append(work)

    def _next(self) -> _Call | _Request | None:
        """What has waited longest; nobody new begins while as many as may be are at it."""
        with self._changed:
            begun = sum(isinstance(work, _Request) and work.begun for work in self._waiting)
            full = begun + len(self._decoding) >= self.most
            for at, work in enumerate(self._waiting):
                if isinstance(work, _Call) or work.begun or not full:
                    del self._waiting[at]
                    return work
            return None

    @staticmethod
    def _guarded(request: _Request, work: Callable[[], bool | None]) -> bool:
        """Do something for a request; True where it is done with it, also by its failing."""
        try:
            return work() is not False
        except Exception as error:  # it belongs to who asked
            request.end(error)
            return True


class _Serving:
    """Context of a request: on leaving it, wait until the worker has let go of it."""

    def __init__(self, request: _Request) -> None:
        self._request = request

    def __enter__(self) -> _Request:
        return self._request

    def __exit__(self, *_: object) -> None:
        self._request.done_with.set()
        self._request.gone.wait()
