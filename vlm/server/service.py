"""What all requests share: the one model, the gate before it, the threads that read its answers."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vlm.errors import ImageError, VlmError
from vlm.scheduler import ClosedError
from vlm.server.errors import ApiError, log, told
from vlm.server.limits import Gate, Limits, stopping
from vlm.server.metrics import Metrics
from vlm.server.remote import Fetcher
from vlm.server.running import Replies
from vlm.session import VLM

State = Literal["ok", "loading", "failed", "stopping"]


@dataclass(frozen=True)
class Settings:
    """How a server is set up."""

    name: str  # what the model is called to clients
    limits: Limits = field(default_factory=Limits)
    api_key: str | None = field(default=None, repr=False)
    image_domains: tuple[str, ...] = ()  # whose images may be fetched by address
    local_only: bool = False  # talk only to who calls it localhost
    origins: tuple[str, ...] = ()  # whose web pages may ask from a browser; "*": all


class Service:
    """The model and what stands between it and the clients. All but the loading belongs to one event loop.

    Args:
        load: gives the model; called in a thread when the server starts.
        settings: limits, key, names.

    Attributes:
        live: requests that are answered or wait.
        error: why no model could be loaded.
        on_failure: called when that is known.
    """

    def __init__(self, load: Callable[[], VLM], settings: Settings) -> None:
        self.settings = settings
        self.limits = settings.limits
        self.gate = Gate(settings.limits.running, settings.limits.waiting)
        self.pixels = Gate(settings.limits.held_pixels)
        self.fetcher = Fetcher.of(settings.image_domains, settings.limits)
        self.pool = ThreadPoolExecutor(settings.limits.running, thread_name_prefix="vlm-answer")
        self.live: set[Replies] = set()
        self.created = int(time.time())
        self.error: BaseException | None = None
        self.on_failure: Callable[[], None] = lambda: None
        self.metrics = Metrics(self)
        self._load = load
        self._model: VLM | None = None

    @property
    def state(self) -> State:
        """What ``/health`` says."""
        if self.gate.closed:
            return "stopping"
        if self.error is not None:
            return "failed"
        return "loading" if self._model is None else "ok"

    @property
    def model(self) -> VLM | None:
        """The model, once it is there."""
        return self._model

    def ready(self, name: str | None = None) -> VLM:
        """The model.

        Args:
            name: what the client calls it; None: whichever there is.

        Raises:
            ApiError: 404 for another name, 503 while there is none.
        """
        if name is not None and name != self.settings.name:
            raise ApiError(
                404, "model: no such model here; GET /v1/models names it", "model_not_found", "model"
            )
        if self.gate.closed:
            raise stopping()
        if self._model is None:
            failed = self.error is not None
            raise ApiError(
                503,
                "the model could not be loaded" if failed else "the model is still being loaded",
                "model_failed" if failed else "model_loading",
                retry_after=None if failed else 5,
            )
        return self._model

    async def load(self) -> None:
        """Load the model, in a thread that a server which is stopped meanwhile doesn't wait for."""
        loaded: Future[VLM] = Future()

        def work() -> None:
            loaded.set_running_or_notify_cancel()
            try:
                loaded.set_result(self._load())
            except BaseException as error:
                loaded.set_exception(error)

        threading.Thread(target=work, name="vlm-load", daemon=True).start()
        try:
            self._model = await asyncio.wrap_future(loaded)
        except Exception as error:
            self.error = error
            if not isinstance(error, VlmError | ImageError):
                log.error("the model could not be loaded", exc_info=error)
            self.on_failure()

    def told(self, error: BaseException) -> ApiError:
        """An error as a client may see it: under the model's public name."""
        if isinstance(error, ClosedError):
            return stopping()
        hidden = {} if self._model is None else {self._model.engine.name: self.settings.name}
        return told(error, hidden)

    def stop(self) -> None:
        """Take no more requests, and end those that are still running after the time of grace."""
        if self.gate.closed:
            return
        self.gate.closed = True
        asyncio.get_running_loop().call_later(self.limits.grace, self.end_all)

    def end_all(self) -> None:
        """End what is still running or waits."""
        for replies in list(self.live):
            replies.fail(stopping())

    def close(self) -> None:
        """Let the threads go."""
        self.gate.closed = True
        self.end_all()
        self.pool.shutdown(wait=False, cancel_futures=True)


def public_name(model: str) -> str:
    """What a model is called to clients: a Hub id or ``mini`` as it is, of a path the last part."""
    path = Path(model)
    if model.endswith(".gguf"):
        return path.stem
    if path.is_absolute() or model.startswith(".") or os.path.isdir(model):
        return path.resolve().name
    return model
