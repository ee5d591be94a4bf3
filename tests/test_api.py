"""The verbs as Python calls, and what importing them costs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgekit
from edgekit import api, artifact, pipeline
from edgekit.errors import ArtifactError, EdgekitError, UnknownName, UsageError
from edgekit.recipe import Recipe


def _printed(code: str) -> str:
    """What a fresh Python prints, on both streams."""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    return done.stdout


def test_importing_edgekit_is_quiet_and_light() -> None:
    heavy = ("torch", "numpy", "onnxruntime", "coremltools", "executorch", "pandas", "matplotlib", "rich", "typer")
    assert _printed(f"import sys, edgekit; print([name for name in {heavy} if name in sys.modules])") == "[]\n"


def test_the_public_names_are_there_and_no_others() -> None:
    assert sorted(edgekit.__all__) == edgekit.__all__ == dir(edgekit)
    for name in edgekit.__all__:
        assert getattr(edgekit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'exprt'"):
        edgekit.exprt  # noqa: B018


def test_every_error_is_an_edgekit_error() -> None:
    assert edgekit.EdgekitError is EdgekitError


class _Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 4)

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        return {"mixed": self.mix(left) + right, "product": left * right}


def test_a_module_of_one_s_own_goes_the_whole_way(tmp_path: Path) -> None:
    module, inputs = _Pair(), {"left": torch.randn(2, 4), "right": torch.randn(2, 4)}
    made = edgekit.export(module, "onnx", inputs=inputs, name="pair", output=tmp_path)
    assert made.directory == tmp_path / "pair-onnx"
    assert [spec.name for spec in made.manifest.outputs] == ["mixed", "product"]
    assert edgekit.verify(made.directory).conversion.passed
    with edgekit.open(made.directory) as session:
        found = session.run({name: tensor.numpy() for name, tensor in inputs.items()})
    expected = module(**inputs)
    np.testing.assert_allclose(found["mixed"], expected["mixed"].detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["product"], expected["product"], rtol=1e-5)


def test_a_module_without_inputs_is_refused() -> None:
    with pytest.raises(UsageError, match="needs example inputs") as caught:
        edgekit.export(nn.ReLU(), "onnx")
    assert "torch.randn" in caught.value.next_step


# --- what becomes of a request


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Recipe, Path, dict[str, Any]]]:
    """The requests that reach the pipeline."""
    reached: list[tuple[Recipe, Path, dict[str, Any]]] = []
    monkeypatch.setattr(pipeline, "export", lambda recipe, directory, **options: reached.append((recipe, directory, options)))
    return reached


def test_a_family_s_name_becomes_its_smallest_variant_everywhere(asked: list[Any], tmp_path: Path) -> None:
    edgekit.export("lsnet", "onnx", output=tmp_path)
    [(recipe, directory, _)] = asked
    assert recipe.model == "lsnet_t"
    assert directory == tmp_path / "lsnet_t-onnx"


def test_so_does_a_family_s_name_in_a_recipe(asked: list[Any], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model: lsnet\ntarget: coreml\nprecision: fp32\n")
    edgekit.export(tmp_path / "mine.yaml", output=tmp_path, precision="fp16")
    [(recipe, directory, _)] = asked
    assert (recipe.model, recipe.precision) == ("lsnet_t", "fp16")
    assert directory == tmp_path / "lsnet_t-coreml"


def test_a_module_named_like_a_family_stays_what_it_is(asked: list[Any], tmp_path: Path) -> None:
    edgekit.export(nn.ReLU(), "onnx", inputs={"x": torch.ones(1)}, name="lsnet", output=tmp_path)
    [(recipe, directory, options)] = asked
    assert recipe.model == "lsnet"
    assert directory == tmp_path / "lsnet-onnx"
    assert options["model"].weights == "module"


def test_a_name_of_one_s_own_names_the_artifact(asked: list[Any], tiny_file: Path) -> None:
    edgekit.export(f"{tiny_file}:build", "onnx", input_shapes=((1, 3, 32, 32),))
    edgekit.export(f"{tiny_file}:build", "onnx", input_shapes=((1, 3, 32, 32),), name="mine")
    assert [directory for _, directory, _ in asked] == [Path("artifacts/tiny_build-onnx"), Path("artifacts/mine-onnx")]


def test_an_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown key 'wieghts'") as caught:
        edgekit.export("lsnet_t", "onnx", wieghts="w.pth")
    assert caught.value.next_step == "did you mean weights?"


# --- models


def test_a_model_is_loaded_by_its_name_in_eval_mode() -> None:
    module = edgekit.load_model("lsnet")
    assert not module.training
    assert module(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)


def test_loading_a_model_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UnknownName):
        edgekit.load_model("lsnt")
    with pytest.raises(UsageError, match="100x100"):
        edgekit.load_model("lsnet_t", input_size=100)
    with pytest.raises(EdgekitError, match="does not exist"):
        edgekit.load_model("lsnet_t", tmp_path / "nowhere.pth")


# --- verify


def test_a_whole_artifact_is_verified_as_it_was_when_it_was_made(tiny_artifact: Path) -> None:
    record = edgekit.verify(tiny_artifact)
    assert record.conversion.passed
    assert record.precision.passed
    assert record.runtime is not None
    assert record.runtime.startswith("onnxruntime")
    assert record.conversion == artifact.load(tiny_artifact).manifest.parity.conversion


def test_an_artifact_that_computes_something_else_fails(artifact_copy: Path) -> None:
    """Its reference was replaced, and the manifest with it, so that only running it can tell."""
    reference = artifact_copy / artifact.REFERENCE
    with np.load(reference) as arrays:
        changed = {name: array * (0.9 if name.startswith("outputs/") else 1) for name, array in arrays.items()}
    np.savez(reference, **changed)
    manifest = artifact.Manifest.model_validate(json.loads((artifact_copy / artifact.MANIFEST).read_text()))
    files = artifact.list_files(artifact_copy, [artifact_copy / "model.onnx"])
    artifact.write_manifest(artifact_copy, manifest.model_copy(update={"files": files}))
    record = edgekit.verify(artifact_copy)
    assert record.conversion.passed is False
    assert record.conversion.sqnr_db == pytest.approx(20 * np.log10(9), abs=0.1)


def test_a_damaged_artifact_is_refused_by_every_verb(artifact_copy: Path, tmp_path: Path) -> None:
    (artifact_copy / "model.onnx").write_bytes(b"cut")
    for verb in (edgekit.verify, edgekit.open, lambda path: edgekit.predict(path, tmp_path / "p.png")):
        with pytest.raises(ArtifactError, match="not the file that was exported"):
            verb(artifact_copy)


def test_the_device_profiles_are_listed() -> None:
    assert "host" in [device.name for device in api.device_profiles()]
