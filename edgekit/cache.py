"""The cache: finished artifacts, found by everything that decided their content.

It lives in `$EDGEKIT_CACHE`, else `$XDG_CACHE_HOME/edgekit`, else `~/.cache/edgekit`, and holds 8 GiB at most: what was
used longest ago goes first. A cache that cannot be read or written costs time, never an export.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import pwd
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from edgekit import artifact, scratch
from edgekit.artifact import Artifact
from edgekit.errors import ArtifactError
from edgekit.profiles import DeviceProfile
from edgekit.recipe import Recipe

LIMIT_BYTES = 8 * 2**30

_TOOLS = ("torch", "torchao", "onnx", "onnxruntime", "onnxscript", "onnxsim", "coremltools", "executorch", "numpy")


def folder() -> Path:
    """Where the cache lies; a place that cannot exist when there is no home to keep it in."""
    if explicit := os.environ.get("EDGEKIT_CACHE"):
        return Path(explicit)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "edgekit"
    return _home() / ".cache" / "edgekit"


def keep_small(path: Path, value: object) -> None:
    """Write `value` as JSON to `path` in the cache, whole or not at all. A cache that cannot be written fails nothing."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as staging:
            json.dump(value, staging)
        os.replace(staging.name, path)


def _home() -> Path:
    if home := os.environ.get("HOME"):
        return Path(home)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:  # a user without an entry, as containers have them
        return Path(os.devnull)


def tool_versions() -> dict[str, str]:
    """The versions that decide what an artifact looks like."""
    return {
        "edgekit": importlib.metadata.version("edgekit"),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _TOOLS},
    }


def key(recipe: Recipe, device: DeviceProfile, identity: str) -> str:
    """The name under which the artifact of this request is kept. `identity` stands for the model's graph and weights."""
    content = {
        "recipe": recipe.model_dump(mode="json"),
        "device": device.model_dump(mode="json"),
        "identity": identity,
        "versions": tool_versions(),
        "platform": [sys.platform, platform.machine()],
        "code": _code_hash(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def find(key: str) -> Artifact | None:
    """The artifact kept under `key`; None when there is none, or it was damaged (it is then removed)."""
    entry = folder() / "artifacts" / key
    with contextlib.suppress(OSError):
        if not entry.is_dir():
            return None
        try:
            found = artifact.load(entry)
        except ArtifactError:
            shutil.rmtree(entry, ignore_errors=True)
            return None
        with contextlib.suppress(OSError):  # a cache that may only be read
            os.utime(entry)
        return Artifact(found.directory, found.manifest, from_cache=True)
    return None


def keep(built: Path, key: str) -> None:
    """Keep a copy of the artifact in `built`, where the cache can be written."""
    entries = folder() / "artifacts"
    with contextlib.suppress(OSError):
        entries.mkdir(parents=True, exist_ok=True)
        with scratch.folder(folder()) as staging:
            shutil.copytree(built, staging / key)
            (staging / key).rename(entries / key)
        _trim(entries)


def _trim(entries: Path) -> None:
    sized = [(e.stat().st_mtime, e, _size_bytes(e)) for e in entries.glob("*") if e.is_dir()]
    total = sum(size for _, _, size in sized)
    for _, entry, size in sorted(sized):
        if total <= LIMIT_BYTES:
            return
        shutil.rmtree(entry, ignore_errors=True)
        total -= size


def recall(name: str, compute: Callable[[], str]) -> str:
    """The text that `compute` gave under this `name` before, by the same edgekit; computed and kept when there is none."""
    kept = folder() / "facts" / f"{name}-{_code_hash()}"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if text := kept.read_text(encoding="utf-8"):
            return text
    text = compute()
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with scratch.folder(folder()) as staging:
            (staging / kept.name).write_text(text, encoding="utf-8")
            (staging / kept.name).rename(kept)
    return text


def size_bytes() -> int:
    """Bytes the kept artifacts take."""
    with contextlib.suppress(OSError):
        return _size_bytes(folder() / "artifacts")
    return 0


def _size_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


@functools.cache
def _code_hash() -> str:
    """The hash of edgekit's own sources as this process began: an edited pass makes other artifacts."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
