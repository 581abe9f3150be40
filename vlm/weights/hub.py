"""From what a user types to files on this machine.

``mini`` is the embedded model, a path is itself, ``owner/name`` is fetched from the Hub by
huggingface_hub, whose cache, resuming and progress bars are left as they are (but silent off a
terminal). What this file adds is the answer to "what now?" for each way a download can fail.

Only top-level safetensors, JSON and tokenizer files are fetched: no pickle, no second copy in
another format (``original/``, ``consolidated*``).
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vlm.errors import CheckpointError, HubError

if TYPE_CHECKING:
    from huggingface_hub import CachedRepoInfo, CachedRevisionInfo

ASSETS = Path(__file__).resolve().parent.parent / "assets"
EMBEDDED = "mini"
WANTED = ["*.safetensors", "*.json", "tokenizer*", "chat_template*", "*.jinja"]
UNWANTED = ["*/*", "consolidated*", "*.bin", "*.pth", "*.pt"]
_HUB = "https://huggingface.co"


@dataclass(frozen=True)
class KnownModel:
    """A released Gemma 3 checkpoint, all of them gated by the Gemma terms of use."""

    id: str
    vision: bool
    gigabytes: float  # download, bf16: parameters x 2 bytes


@dataclass(frozen=True)
class CachedModel:
    """A checkpoint that needs no download."""

    name: str  # what ``resolve`` takes
    path: Path
    gigabytes: float
    source: Literal["embedded", "cache"]
    vision: bool = True  # reads images


_SIZES = {
    "270m": (False, 0.5),
    "1b": (False, 2.0),
    "4b": (True, 8.6),
    "12b": (True, 24.4),
    "27b": (True, 54.9),
}

# The 270M is published without "-pt": its pretrained checkpoint has the bare name.
KNOWN: tuple[KnownModel, ...] = tuple(
    KnownModel(f"google/gemma-3-{size}{suffix}", *facts)
    for size, facts in _SIZES.items()
    for suffix in ("-it", "" if size == "270m" else "-pt")
)


def resolve(name_or_path: str, *, offline: bool = False) -> Path:
    """Find a checkpoint, downloading it if it is a Hub id that is not in the cache.

    Args:
        name_or_path: "mini", a checkpoint folder, a .gguf file, or a Hub id "owner/name". What exists
            on disk goes before the Hub.
        offline: never use the network (also by ``HF_HUB_OFFLINE=1``).

    Returns:
        A folder, or a .gguf file.

    Raises:
        CheckpointError: a path that is not there, or no checkpoint.
        HubError: the Hub has no such model, does not give it, cannot be reached, or broke off.
    """
    if name_or_path == EMBEDDED:
        return _embedded()
    path = Path(name_or_path).expanduser()
    if name_or_path and path.is_dir():
        return path
    if path.is_file():
        if path.suffix != ".gguf":
            raise CheckpointError(f"{path}: give the checkpoint's folder, or a .gguf file")
        return path
    if _looks_like_path(name_or_path):
        raise CheckpointError(f"{name_or_path}: no such file or folder")
    if "/" not in name_or_path:
        near = [m.id for m in KNOWN if m.id.removeprefix("google/") == name_or_path.lower()]
        hint = f"did you mean {near[0]}?" if near else "`vlm models` lists what there is"
        raise HubError(
            f"unknown model {name_or_path!r}: not {EMBEDDED!r}, no folder or .gguf file, and a Hub id "
            f"is owner/name; {hint}"
        )
    return _from_hub(name_or_path, offline=offline)


def cached_models() -> list[CachedModel]:
    """Checkpoints that are here already: the embedded one, and Gemma 3 in the Hub's cache."""
    from huggingface_hub import constants, scan_cache_dir

    models = []
    if (ASSETS / EMBEDDED / "config.json").is_file():
        folder = ASSETS / EMBEDDED
        size = sum(f.stat().st_size for f in folder.iterdir() if f.is_file())
        models.append(CachedModel(EMBEDDED, folder, size / 1e9, "embedded"))
    if not Path(constants.HF_HUB_CACHE).is_dir():
        return models
    repos = [
        r for r in scan_cache_dir(constants.HF_HUB_CACHE).repos if r.repo_type == "model" and r.revisions
    ]
    for repo in sorted(repos, key=lambda r: r.repo_id):
        revision = _current(repo)
        kind = _kind_of(revision.snapshot_path)
        if kind is not None:
            models.append(
                CachedModel(
                    repo.repo_id,
                    revision.snapshot_path,
                    revision.size_on_disk / 1e9,
                    "cache",
                    kind == "gemma3",
                )
            )
    return models


def _embedded() -> Path:
    folder = ASSETS / EMBEDDED
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder}: the embedded model is not in this installation; reinstall vlm")
    return folder


def _looks_like_path(name: str) -> bool:
    """True for what can only be meant as a path: a Hub id has one slash and begins with a letter or digit."""
    windows = "\\" in name or re.match(r"[A-Za-z]:", name)
    return bool(windows) or name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith(
        ("/", ".gguf", ".safetensors")
    )  # fmt: skip


def _from_hub(repo: str, *, offline: bool) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError

    offline = offline or constants.HF_HUB_OFFLINE
    try:
        folder = Path(
            snapshot_download(
                repo,
                allow_patterns=WANTED,
                ignore_patterns=UNWANTED,
                local_files_only=offline,
                tqdm_class=_terminal_bar(),
                # read now: huggingface_hub looks at the variable only once, when it is imported
                endpoint=os.environ.get("HF_ENDPOINT") or None,
            )
        )
    except HFValidationError as error:
        raise HubError(f"{repo!r} is no Hub id: {error}") from None
    except (OSError, _transport_error()) as error:
        raise HubError(_advice(repo, error, offline=offline)) from error
    if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
        return folder
    if offline:
        raise HubError(_not_cached(repo))
    raise HubError(
        f"{repo}: the repository has no config.json with safetensors weights; "
        "if it holds a .gguf, download that file and give its path"
    )


def _terminal_bar() -> type[Any]:
    """huggingface_hub's bar, silent off a terminal: its count of files is not, of itself."""
    from huggingface_hub.utils.tqdm import tqdm as hub_bar

    class TerminalBar(hub_bar):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            if not sys.stderr.isatty():
                kwargs["disable"] = True
            super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]

    return TerminalBar


def _transport_error() -> type[Exception]:
    """Base of the HTTP library's errors, whichever one (httpx, httpx2) huggingface_hub stands on."""
    from huggingface_hub.errors import HfHubHTTPError

    bases = [base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError"]
    return bases[0] if bases and issubclass(bases[0], Exception) else HfHubHTTPError


def _advice(repo: str, error: Exception, *, offline: bool) -> str:
    """What happened and what to do; the most particular class first, they inherit from each other."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        IncompleteSnapshotError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    again = "run the same command again: finished files are kept"
    if isinstance(error, GatedRepoError):
        return (
            f"{repo} is gated: accept its terms at {_HUB}/{repo} with your account, then `hf auth login` "
            "with a token of that account"
        )
    if isinstance(error, RepositoryNotFoundError):
        return f"{repo}: no such model on the Hub, or a private one (`hf auth login`); see {_HUB}/{repo}"
    if isinstance(error, LocalEntryNotFoundError) and offline:
        return _not_cached(repo)
    answers = [e for e in _causes(error) if isinstance(e, HfHubHTTPError)]
    if answers:
        status = answers[0].response.status_code
        what = " (too many requests; `hf auth login` raises the limit)" if status == 429 else ""
        return f"{repo}: the Hub answered {status}{what}; later, {again}"
    if isinstance(error, IncompleteSnapshotError):
        return f"{repo}: half downloaded, and the Hub cannot be reached; online, {again}"
    if isinstance(error, LocalEntryNotFoundError):
        return (
            f"{repo} is not on this machine and the Hub cannot be reached "
            f"({_root(error)}); check the network, or give a folder"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{repo}: the disk is full; free some space or set HF_HOME to another disk, then {again}"
    return f"{repo}: the download broke off ({_root(error)}); {again}"


def _not_cached(repo: str) -> str:
    return f"{repo} is not (completely) in the cache, and this is offline; run once without --offline"


def _causes(error: BaseException | None) -> list[BaseException]:
    """The error and what it was raised from, outermost first."""
    return [] if error is None else [error, *_causes(error.__cause__)]


def _root(error: BaseException) -> str:
    """First line of the innermost cause: what the network itself said."""
    innermost = _causes(error)[-1]
    return f"{type(innermost).__name__}: {innermost}".splitlines()[0]


def _current(repo: CachedRepoInfo) -> CachedRevisionInfo:
    """The revision ``resolve`` would give: that of main, else the newest."""
    return max(repo.revisions, key=lambda r: ("main" in r.refs, r.last_modified))


def _kind_of(snapshot: Path) -> str | None:
    """The kind of Gemma 3 whose weights lie beside its config; other tools leave a config alone behind."""
    try:
        raw = json.loads((snapshot / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    kind = raw.get("model_type") if isinstance(raw, dict) else None
    return kind if kind in ("gemma3", "gemma3_text") and any(snapshot.glob("*.safetensors")) else None
