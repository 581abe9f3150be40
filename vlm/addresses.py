"""Addresses to listen on, of the server and of the page."""

from __future__ import annotations

import errno
import ipaddress
import socket

from vlm.errors import UsageError

_PORT_IS_WRONG = (errno.EADDRINUSE, errno.EACCES)


def listening(host: str, port: int, backlog: int | None = None) -> socket.socket:
    """A socket that is being listened on.

    Args:
        host: a name or an address of this machine.
        port: 0 takes a free one.
        backlog: connections that may wait to be accepted.

    Raises:
        UsageError: the address can't be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=backlog)
    except (OSError, OverflowError, UnicodeError) as error:
        number = error.errno if isinstance(error, OSError) else None
        reason = (error.strerror if isinstance(error, OSError) else None) or "not a valid address"
        reason = reason.partition(" (while attempting")[0]
        other = "--port, or 0" if number in _PORT_IS_WRONG else "--host"
        raise UsageError(f"can't listen on {host} port {port} ({reason}): choose another {other}") from None


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
