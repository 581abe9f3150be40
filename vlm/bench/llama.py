"""llama.cpp beside us, through llama-cpp-python: on the same file, with as many threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from vlm.bench.shapes import Subject
from vlm.errors import UsageError
from vlm.gguf_header import read_header

NAME = "llama.cpp"
_BATCH = 512
# llama.cpp's numbers of the whole file's type (llama.h, ``llama_ftype``).
_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 12: "Q3_K_M", 14: "Q4_K_S",
    15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 32: "BF16",
}  # fmt: skip


def check_llama(subject: Subject) -> Path:
    """The file llama.cpp would run, found out before anything slow.

    Raises:
        UsageError: the package is missing, or there is no ``.gguf`` file to run.
    """
    try:
        import llama_cpp  # noqa: F401
    except ImportError:
        raise UsageError(
            "--against llama.cpp needs llama-cpp-python: pip install 'vlm[bench]' (it compiles for minutes)"
        ) from None
    if subject.path is None or subject.path.suffix != ".gguf":
        raise UsageError("--against llama.cpp needs a file it reads: --model FILE.gguf")
    return subject.path


def llama_name(path: Path) -> str:
    """With the file's quantisation, as in "llama.cpp Q4_K_M"."""
    kind = read_header(path).fields.get("general.file_type")
    return f"{NAME} {_TYPES[kind]}" if isinstance(kind, int) and kind in _TYPES else NAME


class LlamaPeer:
    """A ``.gguf`` text model in llama.cpp.

    Args:
        path: the file.
        context: positions to make room for.
    """

    def __init__(self, path: Path, context: int) -> None:
        import llama_cpp

        threads = torch.get_num_threads()
        self._model: Any = llama_cpp.Llama(
            model_path=str(path), n_ctx=context, n_batch=_BATCH, n_threads=threads, n_threads_batch=threads,
            logits_all=False, verbose=False,
        )  # fmt: skip

    def prefill(self, ids: Sequence[int]) -> None:
        """Read a prompt from an empty cache."""
        self._model.reset()
        self._model.eval(list(ids))

    def start(self, ids: Sequence[int]) -> Iterator[int]:
        """Read a prompt; its greedy tokens from the second on, each made when it is asked for."""
        run: Iterator[int] = self._model.generate(list(ids), temp=0.0)
        return self._begun(run, next(run))

    @staticmethod
    def _begun(run: Iterator[int], first: int) -> Iterator[int]:
        yield first
        yield from run

    @staticmethod
    def decode(begun: Iterator[int], tokens: int) -> list[int]:
        """The next tokens, one step each: the first was chosen already, the last is not read any more."""
        return list(islice(begun, tokens + 1))[:tokens]
