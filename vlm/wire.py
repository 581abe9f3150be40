"""An answer's attention as JSON, for whoever asked from another machine.

Everything that is known of where an answer was read (evidence, heat, the place of a single field or
line) is computed from the attention, so the attention itself crosses the wire and both ends compute the
same. Its numbers go as they are, float32 in base64: 4 bytes for each soft token and token of the answer.
"""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
import torch

from pan_and_scan import Window
from vlm.evidence import Attention, Place


def attention_to_json(attention: Attention) -> dict[str, Any]:
    """The attention of an answer, with the windows its soft tokens belong to."""
    rows = attention.rows_NS.numpy().astype("<f4")
    return {
        "tokens": attention.tokens,
        "windows": [
            {"image": place.image, "box": list(place.window.box), "kind": place.window.kind}
            for place in attention.places
        ],
        "rows": base64.b64encode(rows.tobytes()).decode("ascii"),
    }


def attention_from_json(told: Any) -> Attention:
    """What ``attention_to_json`` wrote.

    Raises:
        ValueError: something else.
    """
    if not isinstance(told, dict) or not isinstance(told.get("windows"), list):
        raise ValueError("no attention")
    tokens = told.get("tokens")
    if type(tokens) is not int or not 1 <= tokens <= 1 << 16 or math.isqrt(tokens) ** 2 != tokens:
        raise ValueError("tokens that make no square")
    places = tuple(Place(*window_from_json(window)) for window in told["windows"])
    flat = np.frombuffer(base64.b64decode(str(told.get("rows")), validate=True), dtype="<f4")
    rows = flat.reshape(-1, tokens * len(places)).astype(np.float32) if places else flat.reshape(0, 0)
    if not np.isfinite(rows).all() or (rows < 0).any():
        raise ValueError("rows that are no shares")
    return Attention(torch.from_numpy(rows.copy()), places, tokens)


def window_from_json(told: Any) -> tuple[int, Window]:
    """Index of the image, and the window: ``{"image": 0, "box": [left, top, right, bottom], "kind": ...}``.

    Raises:
        ValueError: something else.
    """
    if not isinstance(told, dict):
        raise ValueError("no window")
    image, box, kind = told.get("image"), told.get("box"), told.get("kind")
    whole = [value for value in (image, *(box if isinstance(box, list) else ())) if type(value) is int]
    if len(whole) != 5 or kind not in ("whole", "crop", "blank"):
        raise ValueError("no window")
    index, left, top, right, bottom = whole
    if not (index >= 0 and 0 <= left < right < 1 << 24 and 0 <= top < bottom < 1 << 24):
        raise ValueError("a window that lies nowhere")
    return index, Window(left, top, right, bottom, kind)
