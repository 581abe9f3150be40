"""Thousands of malformed bodies and images: every one is refused in shape, nothing grows, nothing falls."""

from __future__ import annotations

import base64
import copy
import gc
import io
import json
import os
import random
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import picture
from serving import Served, data_url, error_of, scripted, user

from vlm.server.limits import Limits

MEGABYTE = 1 << 20
GROWTH = 64 * MEGABYTE  # allowed between the first part and the end: caches fill, allocators keep some

FULL: Any = {
    "model": "test",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "One?"}]},
        {"role": "assistant", "content": "Yes.", "tool_calls": None},
        user(picture(1, 20, 20), "What?"),
    ],
    "max_tokens": 4,
    "temperature": 0.5,
    "top_p": 0.9,
    "n": 1,
    "stop": ["x"],
    "seed": 1,
    "stream": False,
    "logprobs": True,
    "top_logprobs": 1,
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "tool_choice": "auto",
    "response_format": {"type": "text"},
    "vlm": {"policy": "off", "max_windows": 2, "evidence": True},
}
JUNK: list[Any] = [
    None, True, -1, 0, 10**400, -(2**63), 1e308, float("nan"), float("inf"), "", "\x00", "\ud800", "\u202e",
    "x" * 5000, [], {}, [[]], [None], {"": None}, {"$ref": "#"}, {"type": "image_url"}, {"url": "data:,"},
    {"type": "text", "text": {}}, "data:image/png;base64,", "https://169.254.169.254/", "file:///etc/passwd",
    {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#"}}},
    {"type": "json_schema", "json_schema": {"name": "x", "schema": {"allOf": [{"$ref": "#/x"}]}}},
    {"regex": "((a*)*)*" * 20}, {"regex": "a{1000}{1000}"}, {"grammar": "start: start"}, {"choice": [""]},
]  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a value."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


def malformed(chance: random.Random) -> bytes:
    """A body with something wrong in its structure or in its letters."""
    body = copy.deepcopy(FULL)
    for _ in range(chance.choice([1, 1, 2, 5])):
        container, key = chance.choice(list(places(body)))
        act = chance.random()
        if act < 0.6:
            container[key] = copy.deepcopy(chance.choice(JUNK))
        elif act < 0.8 and isinstance(container, dict):
            container[chance.choice(["response_format", "structured_outputs", "stop", "wéird", "n"])] = (
                copy.deepcopy(chance.choice(JUNK))
            )
        elif isinstance(container, dict):
            del container[key]
        else:
            container.append(container[key])
    text = bytearray(json.dumps(body, ensure_ascii=chance.random() < 0.9).encode("utf-8", "surrogatepass"))
    for _ in range(chance.choice([0, 0, 1, 4])):
        at = chance.randrange(len(text))
        act = chance.randrange(4)
        if act == 0:
            text[at] = chance.randrange(256)
        elif act == 1:
            del text[at:]
        elif act == 2:
            text[at:at] = chance.choice([b"[" * 300, b"\x00", b"{", b'"', b"\xff", b"1e999", b","])
        else:
            del text[at : at + chance.randrange(9)]
        if not text:
            break
    return bytes(text)


def broken_image(chance: random.Random) -> bytes:
    """A file of some kind, odd or damaged."""
    mode = chance.choice(["RGB", "RGBA", "L", "1", "P", "I;16", "CMYK", "LA"])
    kinds = {"RGBA": ["PNG", "WEBP"], "I;16": ["PNG", "TIFF"], "CMYK": ["JPEG", "TIFF"], "LA": ["PNG"]}
    kind = chance.choice(
        kinds.get(mode, ["PNG", "GIF", "BMP", "TIFF", "WEBP"] if mode != "1" else ["PNG", "BMP"])
    )
    size = chance.choice([(1, 1), (1, 90), (90, 1), (33, 17), (200, 3)])
    held = io.BytesIO()
    picture(chance.randrange(9), *size).convert(
        "RGB" if mode == "CMYK" else "L" if mode == "I;16" else mode
    ).convert(mode if mode in ("CMYK", "I;16") else None).save(held, kind)
    data = bytearray(held.getvalue())
    for _ in range(chance.choice([0, 1, 3, 10])):
        at = chance.randrange(len(data))
        act = chance.randrange(4)
        if act == 0:
            data[at] = chance.randrange(256)
        elif act == 1 and len(data) > 2:
            del data[at:]
        elif act == 2:
            data[at:at] = chance.randbytes(chance.randrange(1, 40))
        else:
            data[at : at + 4] = b"\xff\xff\xff\xff"
        if not data:
            break
    return bytes(data)


def memory() -> int:
    """Bytes this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    limits = Limits(grace=1.0, values=5000, text=20_000, pixels=1_000_000)
    with scripted(tmp_path_factory.mktemp("hostile"), says='{"a": 1}', limits=limits) as (served, _):
        yield served


def sent(served: Served, body: bytes) -> int:
    """Send a body; how it was answered."""
    response = served.plain.post("/v1/chat/completions", content=body)
    assert response.status_code < 500, (body, response.text)
    if response.status_code != 200:
        error = error_of(response, response.status_code)
        assert not re.search(r"(?<!\d)0x[0-9a-f]|Traceback", error["message"]), error  # 90x40 is a size
    return response.status_code


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_malformed_bodies(served: Served, count: int) -> None:
    chance = random.Random(5)
    refused = 0
    start = 0
    for index in range(count):
        refused += sent(served, malformed(chance)) != 200
        if index == count // 5:
            start = memory()
    assert refused > count // 2
    assert memory() - start < GROWTH
    _still_well(served)


@pytest.mark.parametrize("count", [40, pytest.param(500, marks=pytest.mark.slow)])
def test_malformed_images(served: Served, count: int) -> None:
    chance = random.Random(6)
    start, statuses = 0, []
    for index in range(count):
        url = "data:image/png;base64," + base64.b64encode(broken_image(chance)).decode()
        part = {"type": "image_url", "image_url": url}
        statuses.append(sent(served, json.dumps({"messages": [user(part, "What?")]}).encode()))
        if index == count // 5:
            start = memory()
    assert {200, 400} == set(statuses)  # odd ones are read, damaged ones refused
    assert memory() - start < GROWTH
    _still_well(served)


def test_a_bomb_is_refused_by_its_header(served: Served) -> None:
    held = io.BytesIO()
    picture(1).save(held, "PNG")
    data = bytearray(held.getvalue())
    data[16:24] = struct.pack(">II", 20_000, 20_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    start = memory()
    part = {"type": "image_url", "image_url": "data:;base64," + base64.b64encode(data).decode()}
    error = served.error(400, messages=[user(part, "What?")])
    assert "pixels" in error["message"] and memory() - start < GROWTH


def _still_well(served: Served) -> None:
    served.settled()
    answer = served.ask(messages=[user(data_part(), "What?")])
    assert answer.json()["choices"][0]["message"]["content"] == '{"a": 1}'


def data_part() -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url(picture(1, 30, 30))}}
