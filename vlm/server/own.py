"""A server for this process alone: what ``vlm batch`` asks where no URL is given."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vlm.addresses import listening
from vlm.scheduler import SharedEngine
from vlm.server.limits import Limits
from vlm.server.serve import BACKLOG, Server, url_of
from vlm.server.service import Service, Settings
from vlm.session import VLM

_LOOK = 0.05  # seconds between looks at whether the model is there


@contextmanager
def own_server(load: Callable[[], VLM], name: str, limits: Limits) -> Iterator[tuple[str, str]]:
    """Its address and key, once the model is loaded; on loopback, with a key nobody else knows.

    Args:
        load: gives the model, over an engine that many may share.
        name: what requests call the model.
        limits: what one request may ask for.

    Raises:
        VlmError: the model can't be had.
    """
    key = secrets.token_urlsafe(32)
    service = Service(load, Settings(name=name, limits=limits, api_key=key))
    server = Server(service)
    with listening("127.0.0.1", 0, BACKLOG) as listener:
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="vlm-server", daemon=True
        )
        thread.start()
        try:
            while service.model is None and service.error is None and thread.is_alive():
                thread.join(_LOOK)
            if service.error is not None:
                raise service.error
            yield url_of(listener), key
        finally:
            server.leave()
            thread.join(limits.grace + 10)
            close_engine(service.model)


def close_engine(model: VLM | None) -> None:
    """End the worker of a served model, if there is one."""
    if model is not None and isinstance(model.engine, SharedEngine):
        model.engine.close()
