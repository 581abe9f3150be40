"""The Python interface in one page: ask about an image, and ask on.

Run ``python -m demos.ask [IMAGE] [QUESTION] [--model NAME]``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from vlm import VLM

SIGN = Path(__file__).resolve().parent / "images" / "sign.png"


def main(arguments: Sequence[str] | None = None) -> None:
    """Stream one answer, then ask a second question about the same image."""
    parser = argparse.ArgumentParser(description="Ask a model about an image.")
    parser.add_argument("image", nargs="?", default=str(SIGN))
    parser.add_argument("question", nargs="?", default="What does it say?")
    parser.add_argument("--model", default="mini")
    chosen = parser.parse_args(arguments)

    chat = VLM.load(chosen.model).chat(max_tokens=64)
    stream = chat.stream(chosen.question, chosen.image)
    for piece in stream:
        print(piece, end="", flush=True)
    print()

    answer = chat.ask("Say it again.")  # the image is not read a second time
    print(answer.text)
    print(f"{answer.usage.prompt_tokens} prompt tokens, {answer.usage.image_tokens} of them image")


if __name__ == "__main__":
    main()
