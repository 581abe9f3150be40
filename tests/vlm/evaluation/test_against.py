"""Tesseract as a program beside ours: a stand-in on the path, and a word where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("jiwer")

from vlm.errors import UsageError
from vlm.evaluation.against import find_tesseract, read_with_tesseract


def install(folder: Path, script: str) -> None:
    program = folder / "tesseract"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_its_text_is_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    install(tmp_path, r'printf "Total 3.50\n$(basename "$1") $2 $OMP_THREAD_LIMIT\n\f"')
    read = read_with_tesseract(Path("some/page.png"), "tesseract")
    assert read.text == "Total 3.50\npage.png stdout 1" and not read.error and not read.windows


def test_a_page_it_fails_on_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    install(tmp_path, 'echo "Error in pixRead" >&2; exit 1')
    read = read_with_tesseract(Path("page.png"), "tesseract")
    assert read.error == "tesseract: Error in pixRead" and not read.text


def test_without_it_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="apt-get install tesseract-ocr"):
        find_tesseract()
