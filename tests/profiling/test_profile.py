"""`profile` from end to end on a tiny model: structure, not speed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Command

from edgekit import artifact, recipe
from edgekit.errors import UnknownName, Unsupported, UsageError
from edgekit.profiling import Settings, profile, roofline
from edgekit.profiling.measurement import Measurement


@pytest.fixture
def tiny_artifact(tiny_onnx: Path, tmp_path: Path) -> Path:
    """The tiny model as an artifact of 4,096 multiply-adds."""
    directory = tmp_path / "tiny_artifact"
    directory.mkdir()
    tiny_onnx.rename(directory / "model.onnx")
    (directory / artifact.REFERENCE).write_bytes(b"")
    unknown = artifact.Parity(
        sqnr_db=None,
        max_error_over_spread=None,
        cosine=None,
        top1_agreement=None,
        bound_sqnr_db=60,
        passed=None,
        reason="not asked",
    )
    manifest = artifact.Manifest(
        model=artifact.Model(name="tiny", weights="seeded", weights_sha256="", parameters=4096, macs=4096, operators=1),
        target="onnx",
        precision="fp32",
        inputs=(artifact.Tensor(name="x", shape=(1, 64), dtype="float32"),),
        outputs=(artifact.Tensor(name="y", shape=(1, 64), dtype="float32"),),
        files=artifact.list_files(directory, [directory / "model.onnx"]),
        device={},
        passes=(),
        parity=artifact.ParityRecord(reference="", runtime=None, conversion=unknown, precision=unknown),
        stages_s={},
        versions={},
        recipe=recipe.Recipe(model="tiny", target="onnx"),
    )
    artifact.write_manifest(directory, manifest)
    return directory


def test_an_artifact_is_measured_with_its_floor(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "of_machine", lambda threads, cores: roofline.Peak(1e9, 1e12, calm=True))
    seen: list[tuple[int, int]] = []
    [made] = profile(
        [tiny_artifact], settings=Settings(duration_s=0.1), progress=lambda done, total: seen.append((done, total))
    )
    assert made.subject == str(tiny_artifact)
    assert made.model.macs == 4096
    assert made.model.size_bytes == (tiny_artifact / "model.onnx").stat().st_size
    assert made.floor.floor_s == pytest.approx(4.096e-6)
    assert made.floor.bound == "compute"
    assert made.model.sha256 == artifact.load(tiny_artifact).sha256
    assert made.fingerprint.device == "host"
    assert made.fingerprint.runtime.startswith("onnxruntime ")
    assert seen == [(step, 12) for step in range(1, 13)]
    assert Measurement.from_json(made.to_json()) == made


def test_two_subjects_get_two_fresh_processes_each_and_every_sample_is_kept(tiny_onnx: Path) -> None:
    first, second = profile([tiny_onnx, str(tiny_onnx)], settings=Settings(duration_s=0.1))
    for made in (first, second):
        assert len(made.processes) == 2
        for process in made.processes:
            assert len(process.block_runs) == 5
            assert sum(process.block_runs) == len(process.latency_s) > 0
            assert process.warmup_runs >= 9
        assert made.fingerprint.threads == 1
        assert made.model.sha256 == hashlib.sha256(tiny_onnx.read_bytes()).hexdigest()
        assert made.conditions.inputs.startswith("standard normal")
        assert made.model.macs is None
        assert made.floor.reason is not None
        assert "multiply-adds" in made.floor.reason
    assert first.job == second.job
    assert first.processes != second.processes


@pytest.mark.parametrize(
    ("call", "error", "what"),
    [
        (lambda: profile([]), UsageError, "nothing to measure"),
        (lambda: profile(["a.onnx"], settings=Settings(duration_s=0)), UsageError, "cannot measure for 0 s"),
        (lambda: profile(["a.onnx"], settings=Settings(duration_s=float("nan"))), UsageError, "cannot measure for nan s"),
        (lambda: profile(["a.onnx"], settings=Settings(threads=0)), UsageError, "cannot measure with 0 threads"),
        (lambda: profile(["a.onnx"], settings=Settings(threads=10_000)), UsageError, "cannot measure with 10000 threads"),
        (lambda: profile(["a.onnx"], device="hots"), UnknownName, "unknown device 'hots'"),
        (
            lambda: profile(["a.onnx"], device="iphone-13"),
            Unsupported,
            "iphone-13 is a profile to export for, not a device within reach",
        ),
    ],
)
def test_a_request_that_cannot_be_is_refused_before_anything_runs(
    call: Callable[[], object], error: type[Exception], what: str
) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).splitlines()[0] == what


_HEAVY = "{'torch', 'onnx', 'onnxruntime', 'executorch', 'coremltools'}"


@pytest.mark.parametrize(
    ("imported", "heavy"),
    [
        ("edgekit.profiling.job", _HEAVY),
        # every measuring process starts with these: what they import is what each of a subject's fourteen starts takes longer
        ("edgekit.profiling.worker; edgekit.runtimes.find('.onnx')", f"{_HEAVY} | {{'pydantic', 'yaml', 'typer'}}"),
    ],
)
def test_what_measures_imports_nothing_heavy(imported: str, heavy: str) -> None:
    program = f"import sys, {imported}; print(sorted(({heavy}) & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_operators_come_when_asked_for_and_in_every_output(tiny_artifact: Path, edgekit: Command, tmp_path: Path) -> None:
    request = ["profile", tiny_artifact, "--duration", 0.1]
    assert edgekit(*request, "--json").json[0]["operators"] is None
    written = tmp_path / "results.json"
    done = edgekit(*request, "--operators", "--output", written)
    assert done.code == 0
    assert "MatMul" in done.out
    assert "the operators take" in done.out
    (told,) = json.loads(written.read_text())
    assert [operator["operator"] for operator in told["operators"]["operators"]] == ["MatMul"]
    assert told["operators"]["operators"][0]["macs"] == 4096
