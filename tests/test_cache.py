"""The cache gives back exactly what was made for the same request, and costs nothing but time when it cannot."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from edgekit import cache, profiles
from edgekit.recipe import Recipe

_RECIPE = Recipe(model="lsnet_t", target="onnx", precision="fp32")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _contents(directory: Path) -> dict[str, bytes]:
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def test_what_is_kept_is_found_byte_for_byte(folder: Path, tiny_artifact: Path) -> None:
    assert cache.find("key") is None
    cache.keep(tiny_artifact, "key")
    found = cache.find("key")
    assert found is not None
    assert found.from_cache
    assert _contents(found.directory) == _contents(tiny_artifact)
    assert cache.find("other") is None
    assert [path.name for path in folder.iterdir()] == ["artifacts"], "nothing of the work is left"


def test_keeping_again_is_harmless(folder: Path, tiny_artifact: Path) -> None:
    cache.keep(tiny_artifact, "key")
    cache.keep(tiny_artifact, "key")
    assert [path.name for path in (folder / "artifacts").iterdir()] == ["key"]
    assert cache.find("key") is not None


@pytest.mark.parametrize("damaged", ["model.onnx", "manifest.json", "reference.npz"])
def test_a_damaged_entry_is_a_miss_and_removed(folder: Path, tiny_artifact: Path, damaged: str) -> None:
    cache.keep(tiny_artifact, "key")
    os.truncate(folder / "artifacts" / "key" / damaged, 10)
    assert cache.find("key") is None
    assert not (folder / "artifacts" / "key").exists()
    cache.keep(tiny_artifact, "key")
    assert cache.find("key") is not None


def _key(recipe: Recipe = _RECIPE, device: str = "host", identity: str = "weights") -> str:
    return cache.key(recipe, profiles.load(device), identity)


def test_an_equal_request_has_the_same_key() -> None:
    assert _key() == _key(Recipe(model="lsnet_t", target="onnx", precision="fp32"))


@pytest.mark.parametrize(
    "change",
    [
        {"model": "lsnet_s"},
        {"target": "executorch"},
        {"precision": "fp16"},
        {"input_size": 320},
        {"passes": ()},
        {"passes": ("fold_batchnorm",)},
        {"conversion_sqnr_db": 80.0},
    ],
)
def test_every_part_of_the_recipe_decides_the_key(change: dict[str, Any]) -> None:
    assert _key(_RECIPE.model_copy(update=change)) != _key()


def test_device_weights_tools_and_edgekit_s_own_code_decide_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    key = _key()
    other = profiles.load("host").model_copy(update={"description": "another"})
    assert cache.key(_RECIPE, other, "weights") != key
    assert _key(identity="other weights") != key
    versions = cache.tool_versions()
    with monkeypatch.context() as patched:
        patched.setattr(cache, "tool_versions", lambda: {**versions, "onnx": "0"})
        assert _key() != key
    with monkeypatch.context() as patched:
        patched.setattr(cache, "_code_hash", lambda: "other code")
        assert _key() != key
    assert _key() == key


def test_the_longest_unused_entries_go_first(folder: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(len(content) for content in _contents(tiny_artifact).values())
    monkeypatch.setattr(cache, "LIMIT_BYTES", int(2.5 * size))
    for age, key in ((300, "a"), (200, "b")):
        cache.keep(tiny_artifact, key)
        os.utime(folder / "artifacts" / key, (age, age))
    assert cache.find("a") is not None, "used now, so b is the oldest"
    cache.keep(tiny_artifact, "c")
    assert {path.name for path in (folder / "artifacts").iterdir()} == {"a", "c"}
    assert cache.size_bytes() == 2 * size


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere"])
def test_a_cache_that_cannot_be_is_no_error(
    place: str, tmp_path: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / place))
    cache.keep(tiny_artifact, "key")
    assert cache.find("key") is None
    assert cache.recall("fact", lambda: "computed") == "computed"
    assert cache.size_bytes() == 0


def test_a_cache_that_may_only_be_read_still_gives(folder: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.keep(tiny_artifact, "key")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    assert cache.find("key") is not None
    cache.keep(tiny_artifact, "other")
    assert cache.find("other") is None


def test_an_entry_nobody_may_read_is_a_miss(folder: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.keep(tiny_artifact, "key")

    def refuse(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_dir", refuse)
    assert cache.find("key") is None


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"EDGEKIT_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a"),
        ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/edgekit"),
        ({"EDGEKIT_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/edgekit"),
        ({"HOME": ""}, "/of/the/user/.cache/edgekit"),
        ({}, "/of/the/user/.cache/edgekit"),
    ],
)
def test_where_the_cache_lies(environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDGEKIT_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    user = list(pwd.getpwuid(os.getuid()))
    user[5] = "/of/the/user"
    monkeypatch.setattr(pwd, "getpwuid", lambda number: pwd.struct_passwd(user))
    assert cache.folder() == Path(expected)


def test_without_any_home_there_is_no_cache(monkeypatch: pytest.MonkeyPatch, tiny_artifact: Path) -> None:
    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("EDGEKIT_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    cache.keep(tiny_artifact, "key")
    assert cache.find("key") is None


def test_a_fact_is_computed_once_for_the_same_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["first", "second"])
    assert cache.recall("fact", lambda: next(answers)) == "first"
    assert cache.recall("fact", lambda: next(answers)) == "first"
    monkeypatch.setattr(cache, "_code_hash", lambda: "newer")
    assert cache.recall("fact", lambda: next(answers)) == "second"
