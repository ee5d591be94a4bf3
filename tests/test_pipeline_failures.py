"""An export that fails, at whatever stage, says why and leaves nothing."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from edgekit import cache, parity, passes, pipeline
from edgekit.errors import ConversionError, EdgekitError, ModelError, OutputError, ParityError, UnknownName, Unsupported
from edgekit.isolation import Worker
from edgekit.passes import fold_batchnorm
from edgekit.program import Program
from edgekit.recipe import Recipe
from edgekit.targets import onnx as onnx_target

_SHAPES = ((1, 3, 32, 32),)


def _contents(directory: Path) -> dict[str, bytes]:
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def _fails(kind: type[EdgekitError], recipe: Recipe, tmp_path: Path, **options: Any) -> EdgekitError:
    """The error of an export that must leave nothing: no artifact, no folder, nothing in the cache."""
    kept = [path.name for path in (cache.folder() / "artifacts").glob("*")]
    with pytest.raises(kind) as caught:
        pipeline.export(recipe, tmp_path / "out" / "made", **options)
    assert type(caught.value) is kind
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []
    assert [path.name for path in (cache.folder() / "artifacts").glob("*")] == kept
    assert caught.value.next_step
    return caught.value


# --- parity


def test_a_pass_that_changes_the_result_publishes_nothing_and_is_named(
    recipe: Recipe, tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = fold_batchnorm.apply

    def inexact(program: Program, profile: Any) -> passes.Changes:
        changes = exact(program, profile)
        for graph_module in program:
            for name, parameter in list(graph_module.named_parameters()):
                owner, _, leaf = name.rpartition(".")
                setattr(graph_module.get_submodule(owner), leaf, torch.nn.Parameter(parameter * 1.01))
        return changes

    monkeypatch.setattr(fold_batchnorm, "apply", inexact)
    error = _fails(ConversionError, recipe, tmp_path)
    assert error.exit_code == 1
    assert error.what == "pass fold_batchnorm changed what the model computes"
    assert re.search(r"SQNR \d+\.\d dB", error.cause)
    assert "--passes" in error.next_step


def test_a_converter_that_changes_the_result_publishes_nothing(
    recipe: Recipe, tmp_path: Path, empty_cache: Path, lowered: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Worker.call

    def noisy(self: Worker, function: str, *arguments: object, **options: Any) -> Any:
        answer = call(self, function, *arguments, **options)
        if function == "edgekit.parity:runs_of":
            noisy = [{name: value + np.float32(0.1) for name, value in found.items()} for found in answer.outputs]
            return parity.Runs(answer.runtime, noisy, None)
        return answer

    monkeypatch.setattr(Worker, "call", noisy)
    error = _fails(ParityError, recipe, tmp_path)
    assert error.exit_code == 1
    assert "misses the conversion bound" in error.what
    assert "60 dB needed" in error.what
    assert "every pass is exact in float64" in error.cause
    assert "nothing was published" in error.next_step


def test_the_recipe_states_the_bound(recipe: Recipe, tmp_path: Path, empty_cache: Path, lowered: None) -> None:
    reached = pipeline.export(recipe, tmp_path / "made").manifest.parity.conversion.sqnr_db
    assert reached is not None
    strict = recipe.model_copy(update={"conversion_sqnr_db": reached + 1})
    assert f"{reached + 1:.0f} dB needed" in _fails(ParityError, strict, tmp_path).what


def test_what_cannot_run_here_is_recorded_as_null_with_the_reason(
    recipe: Recipe, tmp_path: Path, empty_cache: Path, lowered: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Worker, function: str, *_: object, **__: object) -> None:
        assert function == "edgekit.parity:runs_of"
        raise Unsupported("this runtime needs a phone")

    monkeypatch.setattr(Worker, "call", refuse)
    proof = pipeline.export(recipe, tmp_path / "made").manifest.parity
    assert proof.runtime is None
    for answer in (proof.conversion, proof.precision):
        assert (answer.passed, answer.sqnr_db, answer.reason) == (None, None, "this runtime needs a phone")


# --- refused before any work


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"target": "onx"}, UnknownName, ["unknown target 'onx'", "did you mean onnx?"]),
        ({"device": "hoost"}, UnknownName, ["unknown device 'hoost'", "host"]),
        ({"passes": ("fold_batchnrom",)}, UnknownName, ["unknown pass 'fold_batchnrom'", "fold_batchnorm"]),
        ({"model": "lsnt"}, UnknownName, ["unknown model 'lsnt'", "lsnet"]),
    ],
)
def test_unknown_names_are_refused_before_any_work(
    recipe: Recipe, tmp_path: Path, change: dict[str, Any], kind: type[EdgekitError], words: list[str]
) -> None:
    announced: list[str] = []
    error = _fails(kind, recipe.model_copy(update=change), tmp_path, announce=announced.append)
    assert not [word for word in words if word not in str(error)]
    assert announced == []


def test_a_precision_the_target_lacks_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(EdgekitError, match="onnx does not compute in fp16") as caught:
        pipeline.export(recipe.model_copy(update={"precision": "fp16"}), tmp_path / "made")
    assert caught.value.exit_code == 2


def test_a_target_the_device_does_not_run_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    assert (
        "does not run coreml"
        in _fails(Unsupported, recipe.model_copy(update={"target": "coreml", "device": "host"}), tmp_path).what
    )


def test_an_existing_output_is_refused_before_any_work(recipe: Recipe, artifact_copy: Path) -> None:
    announced: list[str] = []
    before = _contents(artifact_copy)
    with pytest.raises(OutputError, match="exists already"):
        pipeline.export(recipe, artifact_copy, announce=announced.append)
    assert announced == []
    assert _contents(artifact_copy) == before


# --- fails on the way


_UNCAPTURABLE = """
import torch
from torch import nn

class Branches(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x + 1
        return x - 1

@torch.library.custom_op("edgekit_test::opaque", mutates_args=())
def opaque(x: torch.Tensor) -> torch.Tensor:
    return x.clone()

class Opaque(nn.Module):
    def forward(self, x):
        return opaque(x)

class Picky(nn.Module):
    def forward(self, x):
        return x.reshape(5, -1)

class NotANumber(nn.Module):
    def forward(self, x):
        return x / 0 * 0

class Text(nn.Module):
    def forward(self, x):
        return "hello"
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Branches", ["cannot capture Branches", "aten.item", "net.py:7", "if x.sum() > 0:", "rewrite that line"]),
        ("Opaque", ["cannot capture Opaque", "edgekit_test.opaque", "net.py:17", "return opaque(x)"]),
        ("Picky", ["Picky does not run on inputs of x [1, 3, 32, 32]", "net.py:21", "x.reshape(5, -1)", "input shapes"]),
        ("NotANumber", ["NaN or infinity", "weights"]),
        ("Text", ["outputs are not all tensors", "forward returned str"]),
    ],
)
def test_a_module_that_cannot_be_captured_is_told_with_operator_and_line(
    tmp_path: Path, name: str, words: list[str], lowered: None, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "net.py"
    file.write_text(_UNCAPTURABLE)
    error = _fails(ModelError, Recipe(model=f"{file}:{name}", target="onnx", input_shapes=_SHAPES), tmp_path)
    assert error.exit_code == 2
    assert not [word for word in words if word not in str(error)], str(error)
    assert capfd.readouterr() == ("", ""), "torch.export's own words are not the user's"


@pytest.fixture
def bare_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker imports nothing ahead."""
    monkeypatch.setattr(onnx_target, "REQUIRES", ())


@pytest.mark.parametrize(
    ("function", "words"),
    [("os:abort", ["lowering", "crashed", "SIGABRT"]), ("math:sqrt", ["lowering", "failed", "TypeError"])],
)
def test_a_converter_that_crashes_or_fails_leaves_nothing(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare_worker: None, function: str, words: list[str]
) -> None:
    monkeypatch.setattr(pipeline, "_lowered", lambda worker, *_: worker.call(function, stage="lowering"))
    error = _fails(ConversionError, recipe, tmp_path, use_cache=False)
    assert error.exit_code == 1
    assert not [word for word in words if word not in str(error)]


@pytest.mark.parametrize("stage", ["capture", "passes", "verify"])
def test_an_interrupt_at_any_stage_leaves_nothing(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_cache: Path, lowered: None, stage: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()

    def interrupt(reached: str) -> None:
        if reached == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.export(recipe, tmp_path / "out" / "made", announce=interrupt)
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "tmp").glob(".edgekit-*"))
    assert not empty_cache.exists()


# --- disks


def test_a_disk_that_fills_up_while_publishing_leaves_nothing(
    recipe: Recipe, tmp_path: Path, lowered: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_up(source: Path, destination: Path) -> None:
        destination.mkdir()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copytree", fill_up)
    error = _fails(Unsupported, recipe, tmp_path, use_cache=False)
    assert error.exit_code == 4
    assert "no space left" in error.what


def test_a_temporary_folder_that_fills_up_is_told(
    recipe: Recipe, tmp_path: Path, lowered: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_up(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(parity.np, "savez", fill_up)
    error = _fails(Unsupported, recipe, tmp_path, use_cache=False)
    assert "temporary folder" in error.what
    assert "TMPDIR" in error.next_step


def test_too_little_temporary_space_is_told_before_a_converter_meets_it(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare_worker: None
) -> None:
    monkeypatch.setattr(pipeline.shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    error = _fails(Unsupported, recipe, tmp_path, use_cache=False)
    assert "temporary space" in error.what
    assert "TMPDIR" in error.next_step


def test_no_temporary_folder_at_all_is_told(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    monkeypatch.setattr(Worker, "__init__", lambda self, preload=(): None)
    monkeypatch.setattr(Worker, "__exit__", lambda self, *_: None)
    assert "temporary" in _fails(Unsupported, recipe, tmp_path, use_cache=False).what


def test_an_operator_no_converter_knows_is_named(tmp_path: Path, bare_worker: None) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "import torch\n"
        "@torch.library.custom_op('edgekit_test::mine', mutates_args=())\n"
        "def mine(x: torch.Tensor) -> torch.Tensor: return x.clone()\n"
        "mine.register_fake(torch.empty_like)\n"
        "class Net(torch.nn.Module):\n    def forward(self, x): return mine(x)\n"
    )
    error = _fails(ConversionError, Recipe(model=f"{file}:Net", target="onnx", input_shapes=((4,),)), tmp_path)
    assert "edgekit_test.mine" in error.what
    assert "custom operator" in error.cause
