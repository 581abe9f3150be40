"""The same question under every policy: what windows cost and what they bring.

Run ``python -m demos.compare_policies [IMAGE] [QUESTION] [--model NAME]``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from vlm import VLM

TALL = Path(__file__).resolve().parent / "images" / "tall.png"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line a policy: windows, image tokens, seconds, confidence, answer."""
    parser = argparse.ArgumentParser(description="Ask the same question under every policy.")
    parser.add_argument("image", nargs="?", default=str(TALL))
    parser.add_argument("question", nargs="?", default="What does it say?")
    parser.add_argument("--model", default="mini")
    chosen = parser.parse_args(arguments)

    model = VLM.load(chosen.model)
    print(f"{'policy':<10}{'windows':>8}{'tokens':>8}{'seconds':>9}{'sure':>6}  answer")
    for policy in ("off", "gemma3", "guided", "adaptive"):
        answer = model.ask(chosen.image, chosen.question, policy=policy, max_tokens=64)
        seen = sum(used.window.kind != "blank" for used in answer.windows)
        seconds = answer.timings.encode + answer.timings.prefill + answer.timings.decode
        said = " / ".join(answer.text.splitlines())
        print(
            f"{policy:<10}{seen:>8}{answer.usage.image_tokens:>8}{seconds:>9.2f}"
            f"{answer.confidence:>6.2f}  {said}"
        )


if __name__ == "__main__":
    main()
