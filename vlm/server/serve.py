"""Running the application: uvicorn on a socket of ours, told in time when it has to stop.

uvicorn asks the application to shut down only after every connection has ended, which a long answer would
put off for ever. So the service hears of it first: it takes no more requests, lets those that run finish
within the time of grace, and ends the rest with an error that their clients understand.
"""

from __future__ import annotations

import socket
from functools import partial
from typing import Any, cast

import uvicorn

from vlm.server.app import create_app
from vlm.server.connection import Connection
from vlm.server.service import Service

BACKLOG = 256  # connections that may wait to be accepted
_MARGIN = 5  # seconds that streams get to end after the time of grace


class Server(uvicorn.Server):
    """A server over a service.

    Args:
        service: what answers.
    """

    def __init__(self, service: Service) -> None:
        config = uvicorn.Config(
            create_app(service),
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nobody's word on where a request comes from is needed
            ws="none",
            http=cast(Any, partial(Connection, limits=service.limits)),
            lifespan="on",
            timeout_graceful_shutdown=round(service.limits.grace) + _MARGIN,
        )
        super().__init__(config)
        self._service = service
        service.on_failure = self.leave

    def leave(self) -> None:
        """Stop, from whichever thread."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop the service first, then the connections."""
        self._service.stop()
        await super().shutdown(sockets)


def url_of(listener: socket.socket) -> str:
    """Where clients of this machine find it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
