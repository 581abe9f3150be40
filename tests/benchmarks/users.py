"""Tokens a second of many users against one, over one shared engine.

Run ``python -m tests.benchmarks.users [--model NAME] [--users 16] [--tokens 128] [--rounds 3]``; it prints
one JSON line. One user and many alternate, medians are told. Every user asks another question about the
same image, streams, and answers do not stop before ``--tokens``.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median

from vlm.engine import Engine
from vlm.scheduler import SharedEngine
from vlm.session import VLM

IMAGE = Path(__file__).resolve().parents[2] / "demos" / "images" / "notice.png"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--users", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    engine = Engine.load(chosen.model)
    text = replace(engine.config.text, eos_token_id=())
    endless = replace(engine, config=replace(engine.config, eos_token_id=(), text=text))
    model = VLM(SharedEngine.over(endless, most=chosen.users))
    ask(model, 0, chosen.tokens)  # threads, tables and the image are there now
    alone, together = [], []
    for turn in range(chosen.rounds):
        alone.append(measured(model, 1, chosen.tokens, turn))
        together.append(measured(model, chosen.users, chosen.tokens, turn))
    one, many = (median(rate for rate, _ in rounds) for rounds in (alone, together))
    told = {
        "users": chosen.users,
        "tokens_a_second_one": round(one, 1),
        "tokens_a_second_all": round(many, 1),
        "ratio": round(many / one, 2),
        "first_token_seconds_one": round(median(first for _, first in alone), 3),
        "first_token_seconds_last_of_all": round(median(first for _, first in together), 3),
    }
    print(json.dumps(told))


def measured(model: VLM, users: int, tokens: int, turn: int) -> tuple[float, float]:
    """(tokens a second of all users, seconds until the last of them had a token)."""
    started = time.perf_counter()
    with ThreadPoolExecutor(users) as pool:
        jobs = [pool.submit(ask, model, turn * users + user, tokens) for user in range(users)]
        firsts = [job.result() for job in jobs]
    return users * tokens / (time.perf_counter() - started), max(firsts)


def ask(model: VLM, number: int, tokens: int) -> float:
    """Stream one answer; seconds until its first token."""
    started = time.perf_counter()
    stream = model.stream(IMAGE, f"What is number {number}?", max_tokens=tokens)
    first = 0.0
    for _ in stream:
        first = first or time.perf_counter() - started
    assert stream.answer is not None and stream.answer.usage.completion_tokens == tokens
    return first


if __name__ == "__main__":
    main()
