"""The header of a GGUF file, every count and offset checked against the file before it is used.

Ours and not ``gguf.GGUFReader`` for two reasons, both measured here on Gemma 3 270M: the reader makes
an object of each of 786,432 token fields (18 s for what takes 0.3 s), and it believes the counts it
reads, so a forged array length of 2**60 never returns. Trusting such fields is also what
CVE-2026-7482 was. Format: ggml ``docs/gguf.md``, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from vlm.errors import CheckpointError

_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_MAX_DIMS = 4  # ggml's own limit
_MAX_ALIGNMENT = 1 << 20


@dataclass(frozen=True)
class GgufTensor:
    """Where a tensor's bytes lie; they are known to be inside the file."""

    name: str
    shape: tuple[int, ...]  # rows first, as torch has it (the file counts the other way)
    kind: int  # ggml's number of the quantisation
    offset: int  # bytes from the start of the file
    nbytes: int


@dataclass(frozen=True)
class GgufHeader:
    """Metadata and tensor directory of one file."""

    fields: dict[str, Any]  # numbers, strings, and lists of either
    tensors: dict[str, GgufTensor]


class _Cursor:
    """Reads forward and never past the end."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 0

    def need(self, count: int, size: int, what: str) -> None:
        left = len(self.data) - self.at
        if count * size > left:
            raise ValueError(f"{what} asks for {count * size} bytes at {self.at}, {left} are left")

    def numbers(self, code: str, count: int = 1) -> tuple[Any, ...]:
        size = struct.calcsize("<" + code)
        self.need(count, size, "a field")
        values = struct.unpack_from(f"<{count}{code}", self.data, self.at)
        self.at += size * count
        return values

    def number(self, code: str) -> Any:
        return self.numbers(code)[0]

    def string(self) -> str:
        length = self.number("Q")
        self.need(length, 1, "a string")
        raw = self.data[self.at : self.at + length]
        self.at += length
        return raw.decode("utf-8")

    def value(self) -> Any:
        kind = self.number("I")
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.number(_scalar(kind))
        item, count = self.number("I"), self.number("Q")
        if item == _STRING:
            self.need(count, 8, "an array of strings")  # each has at least its length
            return [self.string() for _ in range(count)]
        return list(self.numbers(_scalar(item), count))


def read_header(path: Path) -> GgufHeader:
    """Read metadata and tensor directory; no tensor is touched.

    Raises:
        CheckpointError: not a GGUF file, cut off, or a count, type or offset the file cannot hold.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _parse(_Cursor(data))
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read ({error.strerror})") from None
    except ValueError as error:  # an empty file, too, is a ValueError (of mmap)
        raise CheckpointError(f"{path}: not a usable GGUF file ({error}); fetch or copy it again") from None


def _parse(cursor: _Cursor) -> GgufHeader:
    cursor.need(24, 1, "the header")
    magic, version = cursor.data[:4], struct.unpack_from("<I", cursor.data, 4)[0]
    if magic != b"GGUF":
        raise ValueError(f"it begins with {magic!r}, not b'GGUF'")
    if version not in (2, 3):
        raise ValueError(f"format version {version}; 2 and 3 are known, little-endian")
    cursor.at = 8
    tensor_count, field_count = cursor.numbers("Q", 2)
    cursor.need(field_count, 13, "the metadata")  # a key's length, one type, one byte of value
    cursor.need(tensor_count, 24, "the tensor directory")
    fields: dict[str, Any] = {}
    for _ in range(field_count):
        key = cursor.string()
        if key in fields:
            raise ValueError(f"{key} is there twice")
        fields[key] = cursor.value()
    entries = [_entry(cursor) for _ in range(tensor_count)]
    alignment = fields.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= _MAX_ALIGNMENT or alignment & (alignment - 1):
        raise ValueError(f"alignment {alignment!r} is no power of two")
    start = -(-cursor.at // alignment) * alignment
    tensors: dict[str, GgufTensor] = {}
    for name, shape, kind, offset in entries:
        if name in tensors:
            raise ValueError(f"tensor {name} is there twice")
        nbytes = _nbytes(name, shape, kind)
        if offset % alignment or start + offset + nbytes > len(cursor.data):
            raise ValueError(
                f"tensor {name} would lie at {start + offset} to {start + offset + nbytes} "
                f"of {len(cursor.data)} bytes"
            )
        tensors[name] = GgufTensor(name, shape, kind, start + offset, nbytes)
    return GgufHeader(fields, tensors)


def _entry(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    """Name, shape (rows first), quantisation and relative offset of one tensor."""
    name, dims = cursor.string(), cursor.number("I")
    if not 0 < dims <= _MAX_DIMS:
        raise ValueError(f"tensor {name} has {dims} dimensions")
    shape = cursor.numbers("Q", dims)[::-1]
    return name, shape, cursor.number("I"), cursor.number("Q")


def _nbytes(name: str, shape: tuple[int, ...], kind: int) -> int:
    from gguf.constants import GGML_QUANT_SIZES

    sizes = {int(k): v for k, v in GGML_QUANT_SIZES.items()}
    if kind not in sizes:
        raise ValueError(f"tensor {name} has the unknown quantisation {kind}")
    block, block_bytes = sizes[kind]
    if 0 in shape or shape[-1] % block:
        raise ValueError(f"tensor {name} {list(shape)} does not divide into blocks of {block}")
    return prod(shape) // block * block_bytes  # Python integers: no overflow to hide behind


def _scalar(kind: int) -> str:
    if kind not in _SCALARS:
        raise ValueError(f"unknown field type {kind}")
    return _SCALARS[kind]
