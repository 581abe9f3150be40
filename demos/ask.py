"""The Python interface in one page: stream an answer, and see what another came from.

Run ``python -m demos.ask [IMAGE] [QUESTION] [--model NAME]``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from vlm import VLM

NOTICE = Path(__file__).resolve().parent / "images" / "notice.png"


def main(arguments: Sequence[str] | None = None) -> None:
    """Stream one answer, then ask a second question and show its confidence and tokens."""
    parser = argparse.ArgumentParser(description="Ask a model about an image.")
    parser.add_argument("image", nargs="?", default=str(NOTICE))
    parser.add_argument("question", nargs="?", default="What does it say?")
    parser.add_argument("--model", default="mini")
    chosen = parser.parse_args(arguments)

    model = VLM.load(chosen.model)
    for piece in model.stream(chosen.image, chosen.question, max_tokens=64):
        print(piece, end="", flush=True)
    print()

    answer = model.ask(chosen.image, "What does the last line say?", max_tokens=64)
    print(f"{answer.text} (confidence {answer.confidence:.2f})")
    print(f"{answer.usage.prompt_tokens} prompt tokens, {answer.usage.image_tokens} of them image")


if __name__ == "__main__":
    main()
