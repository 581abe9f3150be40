"""The same questions to a model on another machine: any server that speaks as OpenAI's does."""

from vlm.remote.client import RemoteChat, RemoteVLM
from vlm.remote.transport import Patience

__all__ = ["Patience", "RemoteChat", "RemoteVLM"]
