"""Long jobs: killed at any moment, every page is there exactly once at the end, and nothing is read twice.

The pages are fake and take no time; the folder, the lock, the kills are real.
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_pages import FakePage, fake_pages, page, read_fake
from runner import heeding_ctrl_c

from vlm.errors import UsageError
from vlm.reading.jobs import FIRST_JUDGED, JobSettings, JobSummary, run_job
from vlm.reading.output import writer
from vlm.reading.record import PageText

TESTS = Path(__file__).resolve().parents[2]
Job = Callable[..., JobSummary]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def job(out: Path) -> Job:
    """Run a job on pages (three of one file unless told) with settings changed as named."""

    def run(pages: Any = None, read: Any = read_fake, progress: Any = None, **changes: Any) -> JobSummary:
        settings = JobSettings(out, {"model": "mini", "policy": "adaptive"}, writer("md"), ".md")
        told = {} if progress is None else {"progress": progress}
        return run_job(pages or fake_pages(3), read, replace(settings, **changes), **told)

    return run


class Reader:
    """Counts what it reads; some pages fail."""

    def __init__(self, *failing: int) -> None:
        self.failing = set(failing)
        self.read: list[tuple[str, int]] = []

    def __call__(self, source: Any) -> PageText:
        self.read.append((source.file, source.number))
        return read_fake(replace(source, damaged=source.number in self.failing))


def manifest(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "job" / "manifest.jsonl").read_text().splitlines()]


def page_files(out: Path) -> list[Path]:
    return list((out / "job" / "pages").glob("*/[!.]*.json"))


# -- what a job leaves -------------------------------------------------------------------------------


def test_a_job_writes_pages_documents_and_a_manifest(job: Job, out: Path) -> None:
    summary = job([*fake_pages(3, "in/a.pdf"), *fake_pages(1, "in/b.png")])
    assert summary == JobSummary(read=4, documents=2)
    assert (out / "b.png.md").read_text() == "in/b.png page 1\n"
    assert (out / "a.pdf.md").read_text().count("---") == 2
    assert [(at["file"], at["page"]) for at in manifest(out)] == [
        ("in/a.pdf", 1), ("in/a.pdf", 2), ("in/a.pdf", 3), ("in/b.png", 1),
    ]  # fmt: skip
    for at in manifest(out):
        kept = json.loads((out / "job" / at["page_file"]).read_bytes())
        assert (kept["file"], kept["page"], kept["sha256"]) == (at["file"], at["page"], at["sha256"])
    assert len(page_files(out)) == 4


@pytest.mark.parametrize("form", ["json", "jsonl", "txt", "html", "pdf"])
def test_documents_of_every_form(job: Job, out: Path, form: str) -> None:
    job(write=writer(form), suffix=f".{form}")
    assert (out / f"scan.pdf.{form}").stat().st_size > 0


def test_pages_read_at_the_same_time_leave_the_same_files(job: Job, out: Path, tmp_path: Path) -> None:
    met = threading.Barrier(3, timeout=30)

    def together(source: Any) -> PageText:
        met.wait()  # breaks unless three pages are read at the same time
        time.sleep(0.01 * (source.number % 3))
        return read_fake(source)

    files = [*fake_pages(5, "a"), *fake_pages(5, "b"), *fake_pages(2, "a"), *fake_pages(2, "c")]
    assert job(files, together, at_once=3) == JobSummary(read=12, documents=3)
    made = _contents(out)
    assert job(files, out=tmp_path / "other") == JobSummary(read=12, documents=3)
    assert _contents(tmp_path / "other") == made


def _contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_files_of_one_name_keep_apart(job: Job, out: Path) -> None:
    files = ["a/x.png", "b/x.png", "b/X.PNG", "-", "é" * 120 + ".png"]
    assert job([FakePage(file) for file in files]).documents == 5
    texts = {path.read_text().lstrip("\\") for path in out.glob("*.md")}
    assert texts == {f"{file} page 1\n" for file in files}
    assert (out / "x.png.md").read_text() == "a/x.png page 1\n" and (out / "stdin.md").exists()


def test_a_file_named_twice_is_read_once(job: Job, out: Path) -> None:
    reader = Reader()
    pages = [*fake_pages(2, "a"), *fake_pages(2, "a"), *fake_pages(1, "b"), *fake_pages(2, "a")]
    job(pages, reader)
    assert len(reader.read) == len(manifest(out)) == 3


def test_progress_is_told_of_each_page_before_it_is_read(job: Job) -> None:
    told: list[tuple[int, int]] = []
    job(progress=lambda source, summary: told.append((source.number, summary.read)))
    assert told == [(1, 0), (2, 1), (3, 2)]


# -- going on ----------------------------------------------------------------------------------------


def test_resume_reads_no_page_twice_and_loses_none(job: Job, out: Path) -> None:
    def stop_at_three(source: Any) -> PageText:
        if source.number == 3:
            raise KeyboardInterrupt
        return read_fake(source)

    stopped = job(fake_pages(5), stop_at_three)
    assert stopped == JobSummary(read=2, stopped="interrupted")
    assert len(page_files(out)) == 2 and not (out / "scan.pdf.md").exists()
    reader = Reader()
    assert job(fake_pages(5), reader, begin="resume") == JobSummary(read=3, kept=2, documents=1)
    assert [number for _, number in reader.read] == [3, 4, 5]
    assert [at["page"] for at in manifest(out)] == [1, 2, 3, 4, 5]


def test_a_page_is_kept_though_ctrl_c_falls_on_its_writing(
    job: Job, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.replace, []

    def interrupted(*names: Any) -> None:
        calls.append(names)
        if len(calls) == 2:  # the first is the settings
            raise KeyboardInterrupt
        real(*names)

    monkeypatch.setattr(os, "replace", interrupted)
    assert job().stopped == "interrupted"
    assert len(page_files(out)) == 1


def test_resume_without_a_job_begins_one(job: Job) -> None:
    assert job(begin="resume").read == 3


def test_another_job_is_not_begun_over_one(job: Job, out: Path) -> None:
    job()
    with pytest.raises(UsageError, match="holds a job already; go on with it by --resume"):
        job()


def test_resume_with_other_settings_is_refused(job: Job) -> None:
    job()
    with pytest.raises(UsageError, match="begun with policy adaptive, not policy off; use the same"):
        job(reading={"model": "mini", "policy": "off"}, begin="resume")
    with pytest.raises(UsageError, match="with dpi none, not dpi 300"):
        job(reading={"model": "mini", "policy": "adaptive", "dpi": 300}, begin="resume")


def test_another_form_is_made_without_reading_again(job: Job, out: Path) -> None:
    job()
    assert job(write=writer("txt"), suffix=".txt", begin="resume").read == 0
    assert (out / "scan.pdf.txt").exists() and (out / "scan.pdf.md").exists()


def test_a_changed_file_is_read_again_and_its_document_made_again(job: Job, out: Path) -> None:
    job(fake_pages(2))
    changed = Reader()
    summary = job(
        fake_pages(2, content="new"),
        lambda at: replace(changed(at), blocks=page("new").blocks),
        begin="resume",
    )
    assert summary.read == 2 and len(page_files(out)) == 2
    assert (out / "scan.pdf.md").read_text().startswith("new\n")
    assert len(manifest(out)) == 2


def test_a_finished_document_is_left_alone_and_a_lost_one_made_again(job: Job, out: Path) -> None:
    job()
    document = out / "scan.pdf.md"
    before = document.stat().st_ino
    job(begin="resume")
    assert document.stat().st_ino == before
    document.unlink()
    job(begin="resume")
    assert document.exists()


def test_a_damaged_page_file_is_read_again(job: Job, out: Path) -> None:
    job()
    first, second, _ = page_files(out)
    first.write_bytes(first.read_bytes()[:50])
    second.write_text("[]")
    assert job(begin="resume") == JobSummary(read=2, kept=1, documents=1)


def test_what_was_read_belongs_to_the_page_it_was_read_from(job: Job) -> None:
    job(read=lambda source: page("x", file="basename only"))
    assert job(begin="resume").kept == 3


# -- failures ----------------------------------------------------------------------------------------


def test_failed_pages_are_kept_as_such_until_another_try_is_asked_for(job: Job, out: Path) -> None:
    assert job(read=Reader(2)) == JobSummary(read=3, failed=1, documents=1)
    assert "**page 2 of scan.pdf was not read: is cut off**" in (out / "scan.pdf.md").read_text()
    assert manifest(out)[1]["source"] == "failed"
    assert job(read=Reader(), begin="resume") == JobSummary(kept=3, kept_failed=1, documents=1)
    again = Reader()
    assert job(read=again, begin="retry failed") == JobSummary(read=1, kept=2, documents=1)
    assert again.read == [("scan.pdf", 2)]
    assert "not read" not in (out / "scan.pdf.md").read_text()


def test_too_many_failures_stop_a_job(job: Job, out: Path) -> None:
    reader = Reader(*range(1, 100, 3))
    summary = job(fake_pages(100), reader)
    assert (summary.stopped, summary.read) == ("error rate", FIRST_JUDGED)
    assert len(page_files(out)) == FIRST_JUDGED  # what is done is kept
    rest = job(fake_pages(100), reader, begin="resume", max_error_rate=0.5)
    assert (rest.stopped, rest.read, rest.kept) == ("", 80, 20)


def test_failures_below_the_limit_do_not(job: Job) -> None:
    summary = job(fake_pages(50), Reader(*range(1, 50, 10)))
    assert (summary.stopped, summary.failed) == ("", 5)


def test_a_few_failures_at_the_beginning_do_not(job: Job) -> None:
    assert job(fake_pages(60), Reader(1, 2, 3)).stopped == ""


# -- the folder --------------------------------------------------------------------------------------


def test_a_folder_that_can_not_be_made_is_told(job: Job, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match=r"file/out: can't be written \(Not a directory\)"):
        job(out=tmp_path / "file" / "out")


def test_a_full_disk_is_told_and_costs_no_page(job: Job, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 12:
            raise OSError(28, "No space left on device")
        real(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(UsageError, match=r"No space left on device\); make room .* --resume"):
            job(fake_pages(20))
    done = len(page_files(out))
    assert 0 < done < 20 and not list(out.rglob(".*"))
    assert job(fake_pages(20), begin="resume") == JobSummary(read=20 - done, kept=done, documents=1)


def test_a_file_of_another_origin_is_not_replaced(job: Job, out: Path) -> None:
    out.mkdir()
    (out / "scan.pdf.md").write_text("mine")
    with pytest.raises(UsageError, match="is in the way and not of this job"):
        job()
    assert (out / "scan.pdf.md").read_text() == "mine"


def test_documents_among_the_inputs_are_not_read(job: Job, out: Path) -> None:
    def inputs() -> Iterator[Any]:
        return (FakePage(str(path)) for path in sorted(out.iterdir()) if path.is_file())

    out.mkdir()
    (out / "a.png").write_text("x")
    assert job(inputs()).read == 1
    assert job(inputs(), begin="resume") == JobSummary(kept=1, documents=1)


HOLD = """
import sys
from pathlib import Path
from fake_pages import fake_pages, read_fake
from vlm.reading.jobs import JobSettings, run_job
from vlm.reading.output import writer
out, count, seconds, log, at_once = sys.argv[1:]
import time
def read(source):
    page = read_fake(source)
    time.sleep(float(seconds))
    with open(log, "a") as file:
        print(source.number, file=file)
    return page
settings = JobSettings(
    Path(out), {"model": "mini"}, writer("jsonl"), ".jsonl", begin="resume", at_once=int(at_once)
)
summary = run_job(fake_pages(int(count)), read, settings)
sys.exit(0 if not summary.stopped else 130)
"""


def started(out: Path, seconds: float, count: int = 200, at_once: int = 1) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    given = [str(value) for value in (out, count, seconds, out.parent / "log", at_once)]
    with heeding_ctrl_c():
        return subprocess.Popen(
            [sys.executable, "-c", HOLD, *given],
            env=os.environ | {"PYTHONPATH": path},
        )


def wait_for_pages(out: Path, process: subprocess.Popen[bytes], count: int = 1) -> None:
    while len(page_files(out) if out.exists() else ()) < count:
        assert process.poll() is None
        time.sleep(0.01)


def test_two_processes_do_not_share_a_folder_and_a_dead_one_holds_none(job: Job, out: Path) -> None:
    first = started(out, 0.05)
    try:
        wait_for_pages(out, first)
        with pytest.raises(UsageError, match="another process is reading into this folder"):
            job(reading={"model": "mini"}, begin="resume")
    finally:
        first.kill()
        first.wait()
    summary = job(fake_pages(200), reading={"model": "mini"}, begin="resume")
    assert summary.read + summary.kept == 200 and summary.kept >= 1


@pytest.mark.parametrize("at_once", [1, 4])
def test_ctrl_c_ends_a_job_cleanly(out: Path, at_once: int) -> None:
    process = started(out, 0.02, at_once=at_once)
    wait_for_pages(out, process, 3)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert not list(out.rglob("*.part"))


def kill_and_go_on(out: Path, pages: int, kills: int, at_once: int = 1) -> None:
    """Kill a job again and again, let it finish, and count."""
    rng = random.Random(kills)
    for done in sorted(rng.sample(range(pages - 10), kills)):
        process = started(out, 0.002, pages, at_once)
        wait_for_pages(out, process, done)
        time.sleep(rng.uniform(0, 0.05))  # anywhere between two pages, or in the writing of one
        process.kill()
        process.wait()
    assert started(out, 0.0, pages, at_once).wait() == 0
    assert [at["page"] for at in manifest(out)] == list(range(1, pages + 1))
    document = (out / "scan.pdf.jsonl").read_text().splitlines()
    assert [json.loads(line)["page"] for line in document] == list(range(1, pages + 1))
    assert len(page_files(out)) == pages and not list((out / "job" / "pages").rglob("*.part"))
    log = Counter((out.parent / "log").read_text().split())
    # A kill costs the pages at work, no other.
    assert len(log) == pages and sum(log.values()) <= pages + kills * at_once


@pytest.mark.parametrize("at_once", [1, 4])
def test_killed_three_times_every_page_is_there_once(out: Path, at_once: int) -> None:
    kill_and_go_on(out, 50, 3, at_once)


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 4])
def test_killed_twenty_times_every_page_is_there_once(out: Path, at_once: int) -> None:
    kill_and_go_on(out, 200, 20, at_once)


# -- memory ------------------------------------------------------------------------------------------


def test_a_thousand_pages_are_never_held_at_once(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # a thousand of them take their time
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    def read(source: Any) -> PageText:
        nonlocal most
        gc.collect(0)
        most = max(most, len(alive))
        read = read_fake(source)
        alive.update([read, *read.lines])
        return read

    job((at for file in range(20) for at in fake_pages(50, f"{file}.pdf")), read)
    assert most <= 4  # a page and its line, perhaps those of the page before
