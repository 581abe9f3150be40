"""A connection that has to begin a request in time, in few bytes, and to take what it asked for.

uvicorn waits for the first request of a connection for ever, and for the rest of a header, too, however
long that gets; and a connection whose client takes nothing is closed only when all was taken. Whoever
opens connections and says nothing, or a letter a minute, or never reads, would hold them all. Bodies and
answers have limits of their own (``limits``, ``guard``).
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
        self._head = 0  # bytes that came while no request had begun
        self._stuck: asyncio.TimerHandle | None = None
        self._left = 0  # bytes that waited for the client when it was looked at last

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
        self._head = self._head + len(data) if self._is_idle() else 0
        if self._head > self._limits.header_bytes:
            self.transport.abort()
        else:
            self._watch()

    def pause_writing(self) -> None:
        """The client takes nothing for now."""
        super().pause_writing()
        self._left = self.transport.get_write_buffer_size()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """It does again."""
        self._stop_waiting()
        super().resume_writing()

    def _wait_for_reader(self) -> None:
        self._stuck = self.loop.call_later(self._limits.body_seconds, self._look_at_reader)

    def _look_at_reader(self) -> None:
        """End it unless something was taken meanwhile: closing would wait for the rest to be taken."""
        left = self.transport.get_write_buffer_size()
        if left >= self._left:
            self.transport.abort()
            return
        self._left = left
        self._wait_for_reader()

    def _stop_waiting(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop_watching()
        self._stop_waiting()
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
