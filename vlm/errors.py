"""Every error a user can cause, each with what to do about it.

The command line prints the message and exits with ``exit_code``; the server maps the class to a
status. Anything that is not a ``VlmError`` is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

from pan_and_scan.image import ImageError


class VlmError(Exception):
    """Base of the errors that are answered with a message instead of a traceback."""

    exit_code = 2


class CheckpointError(VlmError):
    """A checkpoint that cannot be read, or that is not what its config says."""


class HubError(VlmError):
    """A Hub repository that cannot be had: gated, missing, offline or cut off."""


class PromptError(VlmError):
    """Turns that make no valid prompt: roles out of order, no question, too long."""


class UsageError(VlmError):
    """Arguments that contradict each other or lie outside their range."""


__all__ = ["CheckpointError", "HubError", "ImageError", "PromptError", "UsageError", "VlmError"]
