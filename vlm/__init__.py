"""Ask questions about images and read documents with Gemma 3's vision-language design.

>>> from vlm import VLM
>>> VLM.load("mini").ask("sign.png", "What does it say?").text  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlm.answer import Answer as Answer
    from vlm.remote import RemoteVLM as RemoteVLM
    from vlm.sampling import Sampling as Sampling
    from vlm.session import VLM as VLM
    from vlm.session import Options as Options

__version__ = "0.1.0"
__all__ = ["VLM", "Answer", "Options", "RemoteVLM", "Sampling"]

_HOMES = {
    "VLM": "session", "Answer": "answer", "Options": "session", "RemoteVLM": "remote", "Sampling": "sampling",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import torch and the rest only when something of them is used: ``vlm --help`` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'vlm' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"vlm.{_HOMES[name]}"), name)
