"""The official ``openai`` client against ``vlm serve``: an image, a streamed answer, and what was seen.

Run ``vlm serve`` in one terminal and ``python -m demos.openai_client [IMAGE] [QUESTION]`` in another, or add
``--serve`` for a server of its own.
"""

from __future__ import annotations

import argparse
import base64
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import openai

NOTICE = Path(__file__).resolve().parent / "images" / "notice.png"


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask over HTTP, print the answer as it comes, then how much of the image was looked at."""
    parser = argparse.ArgumentParser(description="Ask a server in OpenAI's protocol about an image.")
    parser.add_argument("image", nargs="?", default=str(NOTICE))
    parser.add_argument("question", nargs="?", default="What does it say?")
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--serve", action="store_true", help="start a server on a free port first")
    chosen = parser.parse_args(arguments)
    if not chosen.serve:
        ask(chosen.url, chosen.image, chosen.question)
        return
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "from vlm.cli import main; main()", "serve", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            ask(f"http://127.0.0.1:{port}/v1", chosen.image, chosen.question)
        finally:
            server.terminate()


def ask(url: str, image: str, question: str) -> None:
    """One question; waits for a server that is just starting."""
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=30)
    picture = "data:image/png;base64," + base64.b64encode(Path(image).read_bytes()).decode("ascii")
    stream = client.chat.completions.create(
        model=client.models.list().data[0].id,
        messages=[{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": question},
        ]}],
        max_tokens=64,
        stream=True,
        extra_body={"vlm": {"policy": "adaptive", "evidence": True}},
    )  # fmt: skip
    extras: dict[str, list[object]] = {}
    for choice in (choice for chunk in stream for choice in chunk.choices):
        print(choice.delta.content or "", end="", flush=True)
        extras = getattr(choice.delta, "vlm", None) or extras  # with the last piece
    print(f"\n{len(extras['windows'])} windows, {len(extras['evidence'])} places of evidence")


if __name__ == "__main__":
    main()
