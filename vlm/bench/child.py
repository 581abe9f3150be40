"""A fresh process that loads a checkpoint, looks at one window, answers, and tells its own memory.

Run as ``python -m vlm.bench.child MODEL DTYPE TOKENS``. The peak is ``VmHWM`` of ``/proc/self/status``: what
``getrusage`` tells begins, on Linux, with the memory of the process that started this one.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def memory() -> dict[str, int]:
    """Bytes resident at most so far, and now: all, and without what is mapped from files."""
    try:
        told = _STATUS.read_text("ascii")
    except OSError:  # not Linux: bytes on macOS, KiB elsewhere
        unit = 1 if sys.platform == "darwin" else 1024
        return {"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    names = {"peak_bytes": "VmHWM", "resident_bytes": "VmRSS", "anonymous_bytes": "RssAnon"}
    found = {ours: re.search(rf"^{theirs}:\s*(\d+) kB", told, re.MULTILINE) for ours, theirs in names.items()}
    return {name: int(match[1]) * 1024 for name, match in found.items() if match}


def main(model: str, dtype: str, tokens: int) -> None:
    """Print one JSON object: memory after the imports, after loading, after the answer."""
    from vlm.options import Options
    from vlm.session import VLM

    seen = {"imported": memory()}
    vlm = VLM.load(model, dtype=dtype, offline=True)  # type: ignore[arg-type]  # told there if unknown
    seen["loaded"] = memory()
    options = Options(policy="off", max_tokens=tokens)
    if vlm.engine.vision is None:
        said = vlm.generate("What does it say?", options=options).read()
    else:
        from PIL import Image

        noise = Image.effect_noise((vlm.window_size, vlm.window_size), 64.0).convert("RGB")
        said = vlm.ask(noise, "What does it say?", options)
    seen["answered"] = memory()
    print(json.dumps({"tokens": said.usage.completion_tokens, "memory": seen}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
