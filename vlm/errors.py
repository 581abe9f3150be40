"""Every error a user can cause, each with what to do about it.

The command line prints the message and exits with ``exit_code``; the server maps the class to a
status. Anything that is not a ``VlmError`` is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

from pan_and_scan.image import ImageError


def printable(name: object) -> str:
    """A file's name that no terminal takes for commands and every encoding can print."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(name))


class VlmError(Exception):
    """Base of the errors that are answered with a message instead of a traceback."""

    exit_code = 2


class CheckpointError(VlmError):
    """A checkpoint that cannot be read, or that is not what its config says."""


class HubError(VlmError):
    """A Hub repository that cannot be had: gated, missing, offline or cut off."""


class PromptError(VlmError):
    """Turns that make no valid prompt: roles out of order, no question, too long."""


class RemoteError(VlmError):
    """A server that can't be reached, refuses, or doesn't answer as an OpenAI-style server does."""


class OutageError(RemoteError):
    """A server is down, busy or refuses the key: no question's fault, and it may come back."""


class TooLongError(PromptError):
    """A prompt that the model's context can't hold."""


class UsageError(VlmError):
    """Arguments that contradict each other or lie outside their range."""


__all__ = [
    "CheckpointError", "HubError", "ImageError", "PromptError", "RemoteError", "UsageError", "VlmError",
    "printable",
]  # fmt: skip
