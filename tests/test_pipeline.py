"""From a recipe to an artifact: proven or not there, and made once for what is the same."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit import artifact, cache, passes, pipeline
from edgekit.recipe import Recipe
from edgekit.targets import onnx as onnx_target

_SHAPES = ((1, 3, 32, 32),)
_STAGES = ["imports", "model", "capture", "passes", "hand over", "lower", "verify", "write"]


def _contents(directory: Path) -> dict[str, bytes]:
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


# --- made, proven, recorded


def test_the_manifest_is_the_evidence(tiny_artifact: Path, tiny_file: Path) -> None:
    manifest = artifact.load(tiny_artifact).manifest
    assert (manifest.target, manifest.precision) == ("onnx", "fp32")
    assert [(spec.name, spec.shape, spec.dtype) for spec in manifest.inputs] == [("x", (1, 3, 32, 32), "float32")]
    assert [(spec.name, spec.shape, spec.dtype) for spec in manifest.outputs] == [("output", (1, 10), "float32")]
    assert [record.name for record in manifest.passes] == list(passes.ORDER)
    assert {record.name: record.changed for record in manifest.passes}["fold_batchnorm"] == 1
    assert manifest.parity.conversion.passed
    assert manifest.parity.conversion.sqnr_db is not None
    assert manifest.parity.conversion.sqnr_db > 100
    assert list(manifest.stages_s) == _STAGES[:-1]
    assert manifest.versions == cache.tool_versions()
    assert manifest.recipe.model == f"{tiny_file}:build"
    assert manifest.model.macs == 16 * 16 * 8 * 27 + 80
    assert manifest.device["name"] == "host"


def test_the_stages_are_announced_in_the_order_of_the_design(recipe: Recipe, tmp_path: Path, lowered: None) -> None:
    announced: list[str] = []
    made = pipeline.export(recipe, tmp_path / "made", use_cache=False, announce=announced.append)
    assert announced == _STAGES
    assert not made.from_cache
    assert list(tmp_path.iterdir()) == [tmp_path / "made"]


def test_nothing_is_left_in_the_temporary_folder(
    recipe: Recipe, tmp_path: Path, lowered: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    pipeline.export(recipe, tmp_path / "out" / "made", use_cache=False)
    assert not list((tmp_path / "tmp").glob(".edgekit-*"))


# --- the cache


def test_an_equal_export_comes_from_the_cache_byte_for_byte(recipe: Recipe, tiny_artifact: Path, tmp_path: Path) -> None:
    announced: list[str] = []
    made = pipeline.export(recipe, tmp_path / "again", announce=announced.append)
    assert made.from_cache
    assert made.directory == tmp_path / "again"
    assert "lower" not in announced
    assert _contents(tmp_path / "again") == _contents(tiny_artifact)


def test_without_the_cache_the_same_model_file_is_made_anew(recipe: Recipe, tiny_artifact: Path, tmp_path: Path) -> None:
    made = pipeline.export(recipe, tmp_path / "anew", use_cache=False)
    assert not made.from_cache
    for name in ("model.onnx", "reference.npz"):
        assert (tmp_path / "anew" / name).read_bytes() == (tiny_artifact / name).read_bytes()


class _ReachedError(Exception):
    """Lowering began: the cache had nothing."""


def _misses(recipe: Recipe, directory: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> bool:
    def reach(*_: object) -> None:
        raise _ReachedError

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "_lowered", reach)
        patched.setattr(onnx_target, "REQUIRES", ())
        try:
            pipeline.export(recipe, directory, **options)
        except _ReachedError:
            return True
    return False


@pytest.mark.parametrize(
    "change",
    [
        lambda recipe: recipe.model_copy(update={"passes": ("functionalize", "fold_batchnorm")}),
        lambda recipe: recipe.model_copy(update={"input_shapes": ((1, 3, 64, 64),)}),
        lambda recipe: recipe.model_copy(update={"conversion_sqnr_db": 90.0}),
    ],
)
def test_another_request_misses(
    recipe: Recipe, change: Callable[[Recipe], Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not _misses(recipe, tmp_path / "same", monkeypatch)
    assert _misses(change(recipe), tmp_path / "made", monkeypatch)
    assert _misses(recipe, tmp_path / "made", monkeypatch, use_cache=False)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("manual_seed(0)", "manual_seed(1)"),
        (".relu()", ".sigmoid()"),
        ("return Tiny()", "net = Tiny()\n    net.bn.running_mean += 1\n    return net"),
    ],
)
def test_a_changed_weight_statistic_or_operator_in_the_same_file_misses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lowered: None, tiny_file: Path, old: str, new: str
) -> None:
    file = tmp_path / "net.py"
    file.write_text(tiny_file.read_text())
    mine = Recipe(model=f"{file}:build", target="onnx", input_shapes=_SHAPES)
    pipeline.export(mine, tmp_path / "first")
    assert not _misses(mine, tmp_path / "second", monkeypatch)
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    assert _misses(mine, tmp_path / "third", monkeypatch)


def test_a_damaged_entry_is_made_again(
    recipe: Recipe, tmp_path: Path, empty_cache: Path, lowered: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.export(recipe, tmp_path / "first")
    [entry] = (empty_cache / "artifacts").iterdir()
    os.truncate(entry / "model.onnx", 10)
    assert _misses(recipe, tmp_path / "second", monkeypatch)
    pipeline.export(recipe, tmp_path / "second")
    assert pipeline.export(recipe, tmp_path / "third").from_cache
    assert _contents(tmp_path / "third") == _contents(tmp_path / "second")


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(
    recipe: Recipe, tmp_path: Path, lowered: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "file" / "cache"))
    assert not pipeline.export(recipe, tmp_path / "made").from_cache
    artifact.load(tmp_path / "made")
