"""Names to folders, against a stand-in hub on loopback."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from tests.standin_hub import COMMIT, Repo, StandinHub
from vlm.errors import CheckpointError, HubError
from vlm.weights import KNOWN, cached_models, hub, resolve

NAME = "someone/tiny-gemma"
SHARD = bytes(range(256)) * 8192  # 2 MB: several network reads
FILES = {
    "config.json": json.dumps({"model_type": "gemma3_text"}).encode(),
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"{{ bos_token }}",
    "model.safetensors": SHARD,
}
UNWANTED = {
    "README.md": b"#",
    "pytorch_model.bin": b"\x80pickle",
    "original/model.safetensors": b"twice",
    "consolidated.safetensors": b"twice",
    "onnx/config.json": b"{}",
}
ROOT = Path(__file__).parents[3]


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandinHub]:
    """A hub holding one repository, and an empty cache."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    close_session()
    with StandinHub() as server:
        server.repos[NAME] = Repo(FILES | UNWANTED)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server
        close_session()


def resolve_alone(
    standin: StandinHub, cache: Path, env: dict[str, str], *, terminal: bool = False
) -> tuple[int, str]:
    """``resolve(NAME)`` in a process of its own: its exit code, and what it wrote to stderr."""
    code = f"from vlm.weights import resolve; resolve({NAME!r})"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TQDM"))}
    env = kept | {"HF_ENDPOINT": standin.url, "HF_HUB_CACHE": str(cache), "HF_HUB_DISABLE_XET": "1"} | env
    if not terminal:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.stdout == ""
        return done.returncode, done.stderr
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))  # a new one has no columns, and bars none to draw in
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        try:
            while chunk := os.read(ours, 4096):
                seen += chunk
        except OSError:  # Linux ends a terminal whose other side is closed with EIO
            pass
    os.close(ours)
    return process.returncode, seen.decode(errors="replace")


def test_downloads_what_a_model_needs_and_nothing_else(standin: StandinHub) -> None:
    folder = resolve(NAME)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == FILES
    assert folder.name == COMMIT


def test_second_call_takes_the_cache(standin: StandinHub) -> None:
    first = resolve(NAME)
    count = len(standin.fetched())
    assert resolve(NAME) == first
    assert len(standin.fetched()) == count


def test_cut_connection_resumes_where_it_broke(standin: StandinHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)  # a cut loses what fills no chunk (10 MB)
    standin.repos[NAME].cut_once["model.safetensors"] = 1_000_000
    folder = resolve(NAME)
    assert (folder / "model.safetensors").read_bytes() == SHARD
    (range_,) = standin.ranges()
    assert 0 < int(range_.removeprefix("bytes=").rstrip("-")) <= 1_000_000


def test_broken_download_says_what_to_do_and_the_next_call_completes_it(standin: StandinHub) -> None:
    standin.repos[NAME].short["model.safetensors"] = 1000
    with pytest.raises(HubError, match=r"broke off.*same command again"):
        resolve(NAME)
    standin.repos[NAME].short.clear()
    kept = {f for f in FILES if f != "model.safetensors"} & set(standin.fetched())
    standin.requests.clear()
    assert (resolve(NAME) / "model.safetensors").read_bytes() == SHARD
    assert "model.safetensors" in standin.fetched()
    assert kept.isdisjoint(standin.fetched())


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("where", ["everything", "files"])
def test_gated(standin: StandinHub, status: int, where: str) -> None:
    standin.repos[NAME] = Repo(FILES, status, "GatedRepo", where=where)  # type: ignore[arg-type]
    with pytest.raises(HubError) as caught:
        resolve(NAME)
    assert f"https://huggingface.co/{NAME}" in str(caught.value)
    assert "hf auth login" in str(caught.value)


@pytest.mark.parametrize("status", [401, 404])
def test_unknown_repository(standin: StandinHub, status: int) -> None:
    standin.repos["no/where"] = Repo({}, status, "RepoNotFound")
    with pytest.raises(HubError, match="no/where: no such model"):
        resolve("no/where")


@pytest.mark.parametrize("where", ["everything", "files"])
def test_error_of_the_hub_itself(standin: StandinHub, where: str) -> None:
    standin.repos[NAME] = Repo(FILES, 418, where=where)  # type: ignore[arg-type]
    with pytest.raises(HubError, match="the Hub answered 418; later, run the same command again"):
        resolve(NAME)


def test_repository_without_safetensors(standin: StandinHub) -> None:
    standin.repos[NAME] = Repo({"config.json": b"{}", "model.gguf": b"GGUF"})
    with pytest.raises(HubError, match=r"no config.json with safetensors.*\.gguf"):
        resolve(NAME)


def test_no_network(standin: StandinHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # discard: nothing listens there
    with pytest.raises(HubError, match=r"cannot be reached.*check the network"):
        resolve(NAME)


def test_no_network_but_cached(standin: StandinHub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = resolve(NAME)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert resolve(NAME) == folder


def test_offline_with_an_empty_cache_asks_nobody(standin: StandinHub) -> None:
    with pytest.raises(HubError, match=r"not \(completely\) in the cache.*without --offline"):
        resolve(NAME, offline=True)
    assert standin.requests == []


def test_offline_with_a_filled_cache_asks_nobody(standin: StandinHub) -> None:
    folder = resolve(NAME)
    standin.requests.clear()
    assert resolve(NAME, offline=True) == folder
    assert standin.requests == []


def test_offline_with_half_a_checkpoint(standin: StandinHub) -> None:
    (resolve(NAME) / "model.safetensors").unlink()
    with pytest.raises(HubError, match=r"not \(completely\) in the cache"):
        resolve(NAME, offline=True)


def test_offline_by_environment(standin: StandinHub, tmp_path: Path) -> None:
    code, seen = resolve_alone(standin, tmp_path / "other", {"HF_HUB_OFFLINE": "1"})
    assert code == 1
    assert "run once without --offline" in seen
    assert standin.requests == []


def test_progress_on_a_terminal_alone(standin: StandinHub, tmp_path: Path) -> None:
    assert resolve_alone(standin, tmp_path / "piped", {}) == (0, "")
    code, seen = resolve_alone(standin, tmp_path / "terminal", {}, terminal=True)
    assert code == 0
    assert "100%" in seen


def test_full_disk(standin: StandinHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    with pytest.raises(HubError, match=r"disk is full.*HF_HOME"):
        resolve(NAME)


@pytest.mark.parametrize(
    "name", ["own er/model", "owner/mo--del", "owner/model.git", "-a/b", "a/" + "b" * 200]
)
def test_no_hub_id(standin: StandinHub, name: str) -> None:
    with pytest.raises(HubError, match="is no Hub id"):
        resolve(name)
    assert standin.requests == []


@pytest.mark.parametrize(
    "name", ["./none", "/none/at/all", "~/none", "a/b/c", "none.gguf", "x\\y", "C:/x", "a/"]
)
def test_missing_path(standin: StandinHub, name: str) -> None:
    with pytest.raises(CheckpointError, match="no such file or folder"):
        resolve(name)
    assert standin.requests == []


@pytest.mark.parametrize(
    ("name", "hint"), [("gemma-3-4b-it", "did you mean google/gemma-3-4b-it"), ("", "vlm models")]
)
def test_bare_name(name: str, hint: str) -> None:
    with pytest.raises(HubError, match=hint):
        resolve(name)


def test_paths_are_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.gguf").touch()
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "google" / "gemma-3-4b-it").mkdir(parents=True)
    assert resolve(str(tmp_path)) == tmp_path
    assert resolve(str(tmp_path / "m.gguf")) == tmp_path / "m.gguf"
    with pytest.raises(CheckpointError, match="give the checkpoint's folder"):
        resolve(str(tmp_path / "model.safetensors"))
    monkeypatch.chdir(tmp_path)
    assert resolve("google/gemma-3-4b-it") == Path("google/gemma-3-4b-it")  # disk goes before the Hub


def test_mini_is_the_embedded_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.ASSETS == ROOT / "vlm" / "assets"
    monkeypatch.setattr(hub, "ASSETS", tmp_path)
    with pytest.raises(CheckpointError, match="reinstall"):
        resolve("mini")
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "config.json").write_text("{}")
    assert resolve("mini") == tmp_path / "mini"


def test_cached_models(standin: StandinHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "ASSETS", tmp_path)
    assert cached_models() == []
    standin.repos["some/llama"] = Repo(FILES | {"config.json": b'{"model_type": "llama"}'})
    folder, _ = resolve(NAME), resolve("some/llama")
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "config.json").write_text("{}")
    embedded, cached = cached_models()
    assert (embedded.name, embedded.path, embedded.source) == ("mini", tmp_path / "mini", "embedded")
    assert (cached.name, cached.path, cached.source) == (NAME, folder, "cache")
    assert cached.gigabytes == pytest.approx(sum(map(len, FILES.values())) / 1e9)


def test_known_models() -> None:
    ids = {m.id: m.vision for m in KNOWN}
    assert ids["google/gemma-3-270m"] is False
    assert ids["google/gemma-3-4b-it"] is True
    assert "google/gemma-3-270m-pt" not in ids
    assert len(ids) == 10


def test_import_is_light() -> None:
    code = (
        "import sys, vlm.weights; "
        "print({'torch', 'huggingface_hub', 'gguf', 'numpy', 'safetensors'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
