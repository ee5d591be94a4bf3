"""Core ML packages on the command line: timed and classified with as any artifact, and told for what they are when damaged."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import Command, assert_error
from PIL import Image

from edgekit import api
from edgekit.runtimes import REFERENCE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "darwin", reason="the reference interpreter stands in for Core ML elsewhere"),
]


@pytest.fixture(scope="module")
def made(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of the tiny model."""
    output = tmp_path_factory.mktemp("core ml") / "made"
    return api.export(f"{tiny_file}:build", "coreml", precision="fp32", input_shapes=((1, 3, 32, 32),), output=output).directory


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "made"))


@pytest.mark.parametrize("bare", [False, True])
def test_a_profile_says_that_it_is_no_phone_s(made: Path, bare: bool, edgekit: Command, tmp_path: Path) -> None:
    subject = made / "model.mlpackage" if bare else made
    done = edgekit("profile", subject, "--duration", 0.5, "--output", tmp_path / "measured.json")
    assert done.code == 0
    assert "reference timing, not a phone's" in done.out
    [record] = json.loads((tmp_path / "measured.json").read_text(encoding="utf-8"))
    assert record["reference_timing"] is True
    assert REFERENCE in record["fingerprint"]["runtime"]


def _truncate(package: Path) -> None:
    weights = next(package.rglob("weight.bin"))
    weights.write_bytes(weights.read_bytes()[:-100])


def _empty(package: Path) -> None:
    shutil.rmtree(package)
    package.mkdir()


def _network(package: Path) -> None:
    import coremltools

    specification = next(package.rglob("*.mlmodel"))
    spec = coremltools.utils.load_spec(str(package))
    spec.neuralNetwork.SetInParent()
    specification.write_bytes(spec.SerializeToString())


@pytest.mark.parametrize(
    ("damage", "code", "alone", "in_artifact"),
    [
        (_truncate, 2, "weight.bin is damaged", "weight.bin is not the file that was exported"),
        (_empty, 2, "it has no Manifest.json", "lacks model.mlpackage/Data/com.apple.CoreML/model.mlmodel"),
        (_network, 4, "type neuralNetwork", "model.mlmodel is not the file that was exported"),
    ],
)
def test_every_command_tells_what_is_damaged(
    damage: Callable[[Path], None], code: int, alone: str, in_artifact: str, copied: Path, edgekit: Command
) -> None:
    package = copied / "model.mlpackage"
    damage(package)
    assert_error(edgekit("profile", package), code, alone)
    for arguments in (("verify", copied), ("predict", copied, "photo.png"), ("profile", copied)):
        assert_error(edgekit(*arguments), 2, in_artifact)
    for arguments in (("verify", package), ("predict", package, "photo.png")):
        assert_error(edgekit(*arguments), 2, "model.mlpackage is not an edgekit artifact", f"did you mean {copied}?")


def test_a_package_alone_is_no_artifact(made: Path, tmp_path: Path, edgekit: Command) -> None:
    package = shutil.copytree(made / "model.mlpackage", tmp_path / "alone.mlpackage")
    assert_error(edgekit("verify", package), 2, "holds no manifest.json", "a model file alone is for `edgekit profile`")


def test_a_photograph_s_classes_are_those_of_the_onnx_artifact(tmp_path: Path, edgekit: Command) -> None:
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    coarse.resize((320, 240), Image.Resampling.BICUBIC).save(tmp_path / "photo.jpg")
    found = {}
    for target in ("onnx", "coreml"):
        made = api.export("lsnet_t", target, precision="fp32", output=tmp_path).directory
        done = edgekit("predict", made, tmp_path / "photo.jpg", "--json")
        assert done.code == 0, done
        found[target] = done.json["top"]
    assert len(found["coreml"]) == 5
    assert [one["index"] for one in found["coreml"]] == [one["index"] for one in found["onnx"]]
    np.testing.assert_allclose(*([one["probability"] for one in top] for top in found.values()), rtol=1e-3)
    [measured] = api.profile(tmp_path / "lsnet_t-coreml", duration_s=0.5)
    assert (measured.memory.process_peak_bytes or 0) < 2**30, "the interpreter's libraries, the model and a run"
