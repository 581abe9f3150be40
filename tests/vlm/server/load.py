"""Many clients at a server for a while, well-behaved and otherwise: ``python tests/vlm/server/load.py URL``.

Each client asks one thing after another. Most read their answers and compare them with those that a
single user got before; some leave in the middle of a stream; some send rubbish. Prints one JSON object:
what went wrong (nothing should), how long first pieces took, and how fast a single user is before and
after.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import openai
from PIL import Image, ImageDraw

WORDS = ("total", "sign", "date", "name", "letter", "number", "colour", "shape")
RUBBISH: tuple[bytes, ...] = (
    b"",
    b"{",
    b"\xff" * 100,
    b"[" * 3000,
    b'{"messages": []}',
    b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "data:;base64,AAAA"}]}]}',
    b'{"messages": [{"role": "user", "content": "x"}], "n": 1000000}',
    b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": "many"}',
)
RARE = 10  # one client of so many leaves, and one sends rubbish


@dataclass
class Seen:
    """What happened."""

    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    first: list[float] = field(default_factory=list)  # seconds until the first piece


def question(index: int, model: str, tokens: int) -> dict[str, Any]:
    """One of the things that are asked; every second one is about a picture."""
    text = f"What {WORDS[index % len(WORDS)]} is it, number {index}?"
    content: Any = text
    if index % 2:
        image = Image.new("RGB", (160, 100), "white")
        ImageDraw.Draw(image).text((20, 40), f"NO {index}", fill="black")
        held = io.BytesIO()
        image.save(held, "PNG")
        url = "data:image/png;base64," + base64.b64encode(held.getvalue()).decode("ascii")
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    return {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": tokens,
        "extra_body": {"vlm": {"policy": "off"}},
    }


async def read(client: openai.AsyncOpenAI, asked: dict[str, Any], seen: Seen | None = None) -> str:
    """Stream an answer to its end."""
    began = time.monotonic()
    text: list[str] = []
    async with await client.chat.completions.create(**asked, stream=True) as stream:
        async for chunk in stream:
            piece = chunk.choices[0].delta.content if chunk.choices else None
            if piece:
                if seen is not None and not text:
                    seen.first.append(time.monotonic() - began)
                text.append(piece)
    return "".join(text).strip()


async def behave(client: openai.AsyncOpenAI, asked: dict[str, Any], expected: str, seen: Seen) -> None:
    """Ask, read and compare."""
    try:
        if seen.done["good"] % 2:
            answer = await client.chat.completions.create(**asked)
            got = answer.choices[0].message.content or ""
        else:
            got = await read(client, asked, seen)
    except openai.OpenAIError as error:
        seen.wrong.append(f"failed: {error}")
        return
    seen.done["good"] += 1
    if got != expected:
        seen.wrong.append(f"answered {got!r} instead of {expected!r}")


async def leave(client: openai.AsyncOpenAI, asked: dict[str, Any], chance: random.Random, seen: Seen) -> None:
    """Begin to read, and go."""
    try:
        async with await client.chat.completions.create(**asked, stream=True) as stream:
            left = chance.randrange(4)
            async for _ in stream:
                if not left:
                    break
                left -= 1
        seen.done["left"] += 1
    except openai.OpenAIError as error:
        seen.wrong.append(f"a client that would have left: {error}")


async def rave(client: openai.AsyncOpenAI, chance: random.Random, seen: Seen) -> None:
    """Send what is no request."""
    import httpx2

    async with httpx2.AsyncClient(base_url=str(client.base_url), timeout=60, trust_env=False) as plain:
        response = await plain.post(
            "chat/completions",
            content=chance.choice(RUBBISH),
            headers={"content-type": "application/json", "authorization": f"Bearer {client.api_key}"},
        )
    seen.done["rubbish"] += 1
    if not 400 <= response.status_code < 500 or "error" not in response.json():
        seen.wrong.append(f"rubbish was answered with {response.status_code}")


async def speed(client: openai.AsyncOpenAI, asked: list[dict[str, Any]]) -> float:
    """Questions a second that a single user gets answered."""
    began = time.monotonic()
    for one in asked:
        await read(client, one)
    return len(asked) / (time.monotonic() - began)


async def play(options: argparse.Namespace) -> dict[str, Any]:
    """The whole of it."""
    seen = Seen()
    async with openai.AsyncOpenAI(
        base_url=f"{options.url}/v1", api_key=options.key, max_retries=0, timeout=600
    ) as client:
        model = (await client.models.list()).data[0].id
        asked = [question(index, model, options.tokens) for index in range(options.questions)]
        expected = [await read(client, one) for one in asked]
        before = await speed(client, asked)
        end = time.monotonic() + options.seconds

        async def user(number: int) -> None:
            chance = random.Random(number)
            while time.monotonic() < end:
                index = chance.randrange(len(asked))
                if number % RARE == 1:
                    await leave(client, asked[index], chance, seen)
                elif number % RARE == 2:
                    await rave(client, chance, seen)
                    await asyncio.sleep(0.05)
                else:
                    await behave(client, asked[index], expected[index], seen)

        began = time.monotonic()
        await asyncio.gather(*(user(number) for number in range(options.clients)))
        took = time.monotonic() - began
        after = await speed(client, asked)
    first = sorted(seen.first) or [0.0]
    return {
        "done": dict(seen.done),
        "wrong": seen.wrong[:20],
        "answers_per_second": round(seen.done["good"] / took, 2),
        "first_piece": {"median": round(first[len(first) // 2], 3), "worst": round(first[-1], 3)},
        "alone_before": round(before, 3),
        "alone_after": round(after, 3),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of the server, without /v1")
    parser.add_argument("--key", default="none")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=16)
    print(json.dumps(asyncio.run(play(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
