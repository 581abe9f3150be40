"""How much a client may ask for, and how many at once: plain numbers, and the gate that keeps three of them.

What a request may cost is bounded before it is paid: bytes before they are parsed, values before they
become objects, pixels before they are decoded, windows before they are encoded. Whoever waits holds only
the bytes sent, because images are opened when their turn has come.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass, fields

from vlm.errors import UsageError
from vlm.server.errors import ApiError


@dataclass(frozen=True)
class Limits:
    """What one client may ask for, and what all of them get together."""

    body_bytes: int = 32 << 20  # of a request; a photo in base64 takes 4/3 of its file
    held_bytes: int = 256 << 20  # of all requests that are read, wait or run
    connections: int = 512  # at once, those that say nothing included
    header_seconds: float = 10.0  # to send a request's header
    header_bytes: int = 64 << 10  # of it
    body_seconds: float = 30.0  # to send a body, and to take a piece of an answer
    values: int = 200_000  # commas and brackets of a body: one object in memory each
    text: int = 1_000_000  # characters of a conversation
    images: int = 16  # of a request
    image_bytes: int = 20 << 20  # of one image
    pixels: int = 40_000_000  # of one image
    all_pixels: int = 80_000_000  # of a request's images
    held_pixels: int = 120_000_000  # of all requests that run; each takes up to a dozen bytes
    windows: int = 64  # of a request, over all its images
    tokens: int = 4096  # of an answer
    choices: int = 8  # answers to one request (n)
    running: int = 16  # answers at once; the decode steps of all are computed together
    waiting: int = 64  # requests in the queue
    seconds: float = 600.0  # a request may take, its time in the queue included
    grace: float = 20.0  # seconds that running requests get when the server is stopped
    ping: float = 10.0  # seconds between signs of life in a silent stream
    patience: float = 2.0  # seconds in which errors still come as an HTTP status of a stream

    def __post_init__(self) -> None:
        for limit in fields(self):
            least = 0 if limit.name in ("waiting", "grace", "images", "windows") else 1e-3
            if getattr(self, limit.name) < least:
                raise UsageError(f"the limit {limit.name} must be above 0, not {getattr(self, limit.name)}")
        if self.choices > self.running:
            raise UsageError(f"{self.choices} choices can't run at once when {self.running} answers may")
        if self.all_pixels > self.held_pixels:
            raise UsageError(f"{self.all_pixels} pixels of a request are more than all may hold together")


class Gate:
    """Gives out places, of answers or of pixels, in the order they were asked for. Belongs to one event loop.

    Args:
        places: that can be taken at once.
        waiting: requests that may wait for theirs.
    """

    def __init__(self, places: int, waiting: float = math.inf) -> None:
        self._free = self._places = places
        self._most_waiting = waiting
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._usual = 1.0  # seconds a request takes, a moving mean
        self.closed = False

    @property
    def running(self) -> int:
        """Places taken: answers under way."""
        return self._places - self._free

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    async def take(self, places: int) -> None:
        """Wait for so many places.

        Raises:
            ApiError: 429 if too many wait already, 503 if the server is being stopped.
        """
        if self.closed:
            raise stopping()
        if not self._queue and places <= self._free:
            self._free -= places
            return
        if len(self._queue) >= self._most_waiting:
            again = self._usual * (1 + len(self._queue) / self._places)
            raise ApiError(
                429,
                f"{len(self._queue)} requests wait already: try again later",
                "queue_full",
                retry_after=min(max(1, round(again)), 60),
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = places, turn
        self._queue.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._free += places  # its turn came in the same moment
            else:
                self._queue.remove(entry)
            self._next()
            raise

    def give_back(self, places: int, seconds: float | None = None) -> None:
        """Free places.

        Args:
            places: as many as were taken.
            seconds: how long they were in use, for what is said to whom there is no room for.
        """
        self._free += places
        if seconds is not None:
            self._usual += 0.1 * (seconds - self._usual)
        self._next()

    def _next(self) -> None:
        while self._queue and self._queue[0][0] <= self._free:
            places, turn = self._queue.popleft()
            if not turn.done():
                self._free -= places
                turn.set_result(None)


def stopping() -> ApiError:
    """What is said while the server is being stopped."""
    return ApiError(503, "the server is shutting down", "shutting_down", retry_after=5)
