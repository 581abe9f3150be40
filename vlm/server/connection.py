"""A connection that has to begin a request in time.

uvicorn waits for the first request of a connection for ever, and for the rest of a header, too: whoever
opens connections and says nothing, or a letter a minute, would hold them all. Bodies and answers have
limits of their own (``limits``).
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vlm.server.limits import Limits


class Connection(HttpToolsProtocol):
    """One client's connection.

    Args:
        arguments: uvicorn's.
        limits: for ``header_seconds`` and ``connections``.
        named: uvicorn's.
    """

    def __init__(self, *arguments: Any, limits: Limits, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._limits = limits
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Close it at once where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Something came: a whole header ends the waiting."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if not self._is_idle():
            self._stop_watching()
        elif self._late is None:
            self._late = self.loop.call_later(self._limits.header_seconds, self._give_up)

    def _is_idle(self) -> bool:
        """Whether no request has begun: a cycle is made when its header is whole."""
        return self.cycle is None or self.cycle.response_complete

    def _stop_watching(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if self._is_idle():
            self.transport.close()
