"""`edgekit export --explain` and `--ablate`: what each pass did, and what it is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import SHAPE, Command, assert_error, export_tiny

from edgekit import cache, passes, pipeline, profiling
from edgekit.artifact import Artifact, load
from edgekit.errors import ConversionError, Unsupported
from edgekit.passes import fold_batchnorm
from edgekit.recipe import Recipe

pytestmark = pytest.mark.slow

REFUSING = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Sigmoid(), nn.BatchNorm2d(4), nn.Tanh())
"""


@pytest.fixture(scope="module")
def refusing_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of which one pass leaves two places alone."""
    path = tmp_path_factory.mktemp("refusing") / "net.py"
    path.write_text(REFUSING)
    return path


def _published(output: Path) -> list[str]:
    return sorted(path.name for path in output.iterdir())


def test_explain_tells_each_pass_with_its_count(tiny_file: Path, tmp_path: Path, edgekit: Command) -> None:
    done = edgekit(*export_tiny(tiny_file, tmp_path, "--explain"))
    assert done.code == 0, done.err
    lines = {line.split()[0]: line.split() for line in done.out.splitlines() if line.strip()}
    assert lines["pass"] == ["pass", "changed", "refused"]
    assert lines["fold_batchnorm"] == ["fold_batchnorm", "1", "0"]
    assert set(passes.ORDER) <= set(lines)
    assert f"{load(tmp_path / 'tiny_build-onnx').manifest.model.operators} operators after the passes" in done.out
    assert _published(tmp_path) == ["tiny_build-onnx"]


def test_explain_tells_a_reason_once_with_its_places(refusing_file: Path, tmp_path: Path, edgekit: Command) -> None:
    done = edgekit("export", f"{refusing_file}:build", "-t", "onnx", "--input-shape", SHAPE, "-o", tmp_path, "--explain")
    assert done.code == 0, done.err
    told = [line for line in done.out.splitlines() if line.startswith("fold_batchnorm left")]
    assert len(told) == 2
    assert told[0].startswith("fold_batchnorm left batch_norm (2): no convolution or linear feeds it, and sigmoid (3) after it")


def test_without_asking_nothing_is_explained(tiny_file: Path, tmp_path: Path, edgekit: Command) -> None:
    done = edgekit(*export_tiny(tiny_file, tmp_path))
    assert done.code == 0, done.err
    assert "fold_batchnorm" not in done.out


def test_a_cached_export_explains_the_same(tiny_file: Path, tmp_path: Path, edgekit: Command, empty_cache: Path) -> None:
    first, again = (edgekit(*export_tiny(tiny_file, tmp_path / name, "--explain")).out for name in ("a", "b"))
    assert "cached" in again
    assert first[first.index("operators after") :] == again[again.index("operators after") :]


@pytest.mark.usefixtures("brief")
def test_ablate_measures_the_artifact_without_each_pass(
    tiny_file: Path, tmp_path: Path, edgekit: Command, empty_cache: Path
) -> None:
    done = edgekit(*export_tiny(tiny_file, tmp_path / "out", "--ablate"))
    assert done.code == 0, done.err
    made = load(tmp_path / "out" / "tiny_build-onnx")
    lines = {line.split()[0]: line for line in done.out.splitlines() if line.strip()}
    assert "latency without it" in lines["pass"]
    for record in made.manifest.passes:
        measured = lines[record.name].split()[3:]
        assert (measured != ["-", "-"]) == (record.changed > 0), lines[record.name]
    assert lines["fold_batchnorm"].split()[-1] == str(made.manifest.model.operators + 1)
    assert _published(tmp_path / "out") == ["tiny_build-onnx"]


@pytest.mark.usefixtures("brief")
def test_ablate_as_json(tiny_file: Path, tmp_path: Path, edgekit: Command) -> None:
    done = edgekit(*export_tiny(tiny_file, tmp_path, "--ablate", "--json", "--approximate", "gelu"))
    assert done.code == 0, done.err
    (record,) = done.json
    changed = [one["name"] for one in record["manifest"]["passes"] if one["changed"]]
    assert [line["without"] for line in record["ablation"]] == changed
    folded = next(line for line in record["ablation"] if line["without"] == "fold_batchnorm")
    assert folded["operators"] == record["manifest"]["model"]["operators"] + 1
    assert folded["latency_ratio"]["low"] <= folded["latency_ratio"]["value"] <= folded["latency_ratio"]["high"]
    assert folded["reason"] == ""
    assert record["directory"] == str(tmp_path / "tiny_build-onnx")
    assert _published(tmp_path) == ["tiny_build-onnx"]


@pytest.mark.usefixtures("brief")
def test_what_cannot_be_made_without_a_pass_has_its_reason(
    tiny_file: Path, tmp_path: Path, edgekit: Command, monkeypatch: pytest.MonkeyPatch, empty_cache: Path
) -> None:
    """Each artifact but the whole one fails to export."""
    whole = pipeline.export

    def export(recipe: Recipe, directory: Path, **options: Any) -> Artifact:
        if "edgekit-ablation-" in str(directory):
            raise ConversionError("lowering to onnx failed", cause="no kernel")
        return whole(recipe, directory, **options)

    monkeypatch.setattr(pipeline, "export", export)
    done = edgekit(*export_tiny(tiny_file, tmp_path, "--ablate", "--json"))
    assert done.code == 0, done.err
    assert {line["reason"] for line in done.json[0]["ablation"]} == {"it does not export without: no kernel"}
    assert {line["latency_ratio"] for line in done.json[0]["ablation"]} == {None}


def test_ablating_what_does_not_run_here_keeps_the_artifact(
    tiny_file: Path, tmp_path: Path, edgekit: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: object, **__: object) -> None:
        raise Unsupported("no such runtime here", next_step="run it elsewhere")

    whole = pipeline.export

    def export(recipe: Recipe, directory: Path, **options: Any) -> Artifact:
        variant = "edgekit-ablation-" in str(directory)  # they are not what is tested here
        return load(tmp_path / "tiny_build-onnx") if variant else whole(recipe, directory, **options)

    monkeypatch.setattr(profiling, "profile", absent)
    monkeypatch.setattr(pipeline, "export", export)
    done = edgekit(*export_tiny(tiny_file, tmp_path, "--ablate"))
    assert done.code == 4
    assert "no such runtime here" in done.err
    assert _published(tmp_path) == ["tiny_build-onnx"]


def test_a_pass_that_fails_is_an_error_of_the_conversion(
    tiny_file: Path, tmp_path: Path, edgekit: Command, monkeypatch: pytest.MonkeyPatch, empty_cache: Path
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(fold_batchnorm, "_fold", broken)
    done = edgekit(*export_tiny(tiny_file, tmp_path / "out"))
    assert_error(done, 1, "pass fold_batchnorm failed at batch_norm (bn)", "ZeroDivisionError: division by zero", "--passes")
    assert not (tmp_path / "out").exists()
    assert not list((cache.folder() / "artifacts").glob("*"))
