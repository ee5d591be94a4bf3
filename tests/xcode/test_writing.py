"""What goes into a project besides Xcode's own files, and when none is written."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from commands import Command, assert_error
from handmade import INPUTS, OUTPUTS, Build

from edgekit import api, artifact, metrics, xcode
from edgekit.errors import ArtifactError, OutputError, UsageError
from edgekit.runtimes import Array


def _read(project: Path, kind: str, sample: int) -> dict[str, Array]:
    """The arrays as the format's description says, without edgekit."""
    index = json.loads((project / "EdgekitReference.json").read_text(encoding="utf-8"))
    stored = (project / "EdgekitReference.bin").read_bytes()
    types = {"float32": "<f4", "int32": "<i4"}
    return {
        name: np.frombuffer(stored, types[entry["dtype"]], int(np.prod(entry["shape"])), entry["offset"]).reshape(
            entry["shape"]
        )
        for name, entry in index["samples"][sample][kind].items()
    }


@pytest.mark.parametrize(("kind", "expected"), [("inputs", INPUTS), ("outputs", OUTPUTS)])
@pytest.mark.parametrize("sample", [0, 1])
def test_the_reference_is_stored_as_core_ml_takes_it(
    made: Build, tmp_path: Path, kind: str, expected: dict[str, Array], sample: int
) -> None:
    project = xcode.write(made(), tmp_path / "project").directory
    found = _read(project, kind, sample)
    assert list(found) == list(expected)
    for name, array in expected.items():
        wanted = np.float32 if np.issubdtype(array.dtype, np.floating) else np.int32
        assert found[name].dtype == wanted
        assert found[name].shape == (array.shape or (1,))
        np.testing.assert_array_equal(found[name], array.reshape(found[name].shape).astype(wanted))


def test_the_bound_is_the_manifest_s(made: Build, tmp_path: Path) -> None:
    directory = made()
    bound = artifact.load(directory).manifest.parity.precision.bound_sqnr_db
    project = xcode.write(directory, tmp_path / "project").directory
    index = json.loads((project / "EdgekitReference.json").read_text(encoding="utf-8"))
    assert index["bound_sqnr_db"] == bound


def test_the_package_is_the_artifact_s(made: Build, tmp_path: Path) -> None:
    directory = made()
    project = xcode.write(directory, tmp_path / "project").directory
    files = {path.relative_to(directory / "model.mlpackage"): path for path in directory.rglob("*.bin")}
    assert files
    for inside, path in files.items():
        assert (project / "Artifact.mlpackage" / inside).read_bytes() == path.read_bytes()


def test_whole_numbers_that_core_ml_has_no_type_for_are_refused(made: Build, tmp_path: Path) -> None:
    directory = made({"ids": np.array([2**40])})
    with pytest.raises(ArtifactError, match="'ids' of the reference holds whole numbers beyond 32 bits"):
        xcode.write(directory, tmp_path / "project")
    assert not (tmp_path / "project").exists()


def test_a_project_is_never_overwritten_unless_forced(made: Build, tmp_path: Path) -> None:
    directory, output = made(), tmp_path / "project"
    xcode.write(directory, output)
    (output / "mine.txt").write_text("x")
    with pytest.raises(OutputError, match="exists already"):
        xcode.write(directory, output)
    assert (output / "mine.txt").exists()
    xcode.write(directory, output, force=True)
    assert not (output / "mine.txt").exists()
    assert (output / "README.md").is_file()


def test_force_replaces_no_folder_of_anybody_else_s(made: Build, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis"
    (thesis / "Benchmark.xcodeproj").mkdir(parents=True)
    with pytest.raises(OutputError, match="is not edgekit's"):
        xcode.write(made(), thesis, force=True)
    assert [path.name for path in thesis.iterdir()] == ["Benchmark.xcodeproj"]


def test_only_core_ml_artifacts_are_taken(tiny_artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is an artifact for onnx") as caught:
        xcode.write(tiny_artifact, tmp_path / "project")
    assert "--target coreml" in caught.value.next_step
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize("team", ["ABCDE1234", "abcde12345", "ABCDE12345; rm"])
def test_what_is_no_team_is_refused(made: Build, tmp_path: Path, team: str) -> None:
    with pytest.raises(UsageError, match="is no team identifier"):
        xcode.write(made(), tmp_path / "project", team=team)


def test_the_commands_are_printed_whole_and_stand_in_the_readme(made: Build, tmp_path: Path, edgekit: Command) -> None:
    directory = made()
    done = edgekit("xcode", directory, "--output", tmp_path / "pro jekt")
    assert done.code == 0, done.err
    commands = done.out.splitlines()[1:]
    readme = (tmp_path / "pro jekt" / "README.md").read_text(encoding="utf-8")
    assert "\n".join(commands) in readme
    words = [shlex.split(command) for command in commands]
    assert words[0] == ["cd", str(tmp_path / "pro jekt")]
    assert words[1][:2] == ["xcodebuild", "build-for-testing"]
    assert words[2][:2] == ["xcodebuild", "test-without-building"]
    assert words[3][:5] == ["xcrun", "xcresulttool", "get", "test-results", "metrics"]
    assert words[4][:2] == ["edgekit", "ingest"]
    assert str(directory) in words[4]


def test_json_holds_the_commands(made: Build, tmp_path: Path, edgekit: Command) -> None:
    done = edgekit("xcode", made(), "--output", tmp_path / "project", "--json")
    assert done.json["directory"] == str(tmp_path / "project")
    assert len(done.json["commands"]) == 5


MODULE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.conv = nn.Embedding(10, 8), nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, image, ids, mask):
        maps = self.conv(image)
        scores = (maps.mean((2, 3)) + self.embedding(ids).sum(1)) * mask.float().sum()
        return {"feature maps": maps, "scores": scores, "best": scores.argmax()}


def build():
    torch.manual_seed(0)
    return Net(), {"image": torch.randn(1, 3, 16, 16), "ids": torch.tensor([[1, 2, 3]]), "mask": torch.tensor([[True, False]])}
"""


@pytest.mark.slow
def test_what_the_phone_is_given_is_what_the_artifact_takes_and_gives(tmp_path: Path) -> None:
    (tmp_path / "größe.py").write_text(MODULE, encoding="utf-8")
    made = api.export(f"{tmp_path / 'größe.py'}:build", "coreml", output=tmp_path / "art e facts")
    project = xcode.write(made.directory, tmp_path / "project").directory
    by_core_ml = {tensor.name: tensor for tensor in (*made.manifest.inputs, *made.manifest.outputs)}
    with api.open(made.directory) as session:
        for sample in range(4):
            inputs, expected = _read(project, "inputs", sample), _read(project, "outputs", sample)
            found = session.run({name: array.astype(by_core_ml[name].dtype) for name, array in inputs.items()})
            assert set(found) == set(expected)
            for name, array in found.items():
                assert metrics.sqnr_db(expected[name], np.atleast_1d(array)) >= 30


def test_what_is_no_artifact_is_said_so(tmp_path: Path, edgekit: Command) -> None:
    done = edgekit("xcode", tmp_path / "nowhere", "--output", tmp_path / "project")
    assert_error(done, 2, "is not an edgekit artifact")
