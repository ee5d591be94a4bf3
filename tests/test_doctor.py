"""The doctor says what works, and for what does not, how to get it."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit import doctor, targets
from edgekit.doctor import Finding


def _assert_helpful(finding: Finding) -> None:
    assert finding.what
    assert finding.detail
    if finding.works is False:
        assert finding.next_step


@pytest.mark.slow
def test_this_machine_is_described_target_by_target() -> None:
    findings = doctor.examine()
    for finding in findings:
        _assert_helpful(finding)
        assert set(finding.as_dict()) == {"what", "works", "detail", "next_step"}
    exports = {finding.what: finding.works for finding in findings if finding.what.startswith("export to")}
    assert exports == {f"export to {name}": True for name in targets.names()}


def test_a_converter_that_does_not_import_is_told_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "find", lambda name: SimpleNamespace(REQUIRES=("edgekit_has_no_such_package",)))
    finding = doctor._target("onnx")
    _assert_helpful(finding)
    assert finding.works is False
    assert "No module named 'edgekit_has_no_such_package'" in finding.detail
    assert "pip install" in finding.next_step


def test_versions_as_pinned_are_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["torch==1.0", "numpy==2.0", "ruff==9; extra == 'dev'"])
    monkeypatch.setattr(importlib.metadata, "version", {"torch": "1.0+cpu", "numpy": "2.0"}.__getitem__)
    assert doctor._versions() == Finding("package versions", True, "all as tested")


def test_other_and_missing_versions_are_named_beside_the_tested_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "onnx":
            raise importlib.metadata.PackageNotFoundError(name)
        return "3.0"

    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["torch==1.0", "onnx==2.0", "numpy==3.0"])
    monkeypatch.setattr(importlib.metadata, "version", version)
    finding = doctor._versions()
    _assert_helpful(finding)
    assert finding.works is False
    assert finding.detail == "torch 3.0, tested with 1.0; onnx missing, tested with 2.0"


def test_core_ml_artifacts_run_off_a_mac_in_the_reference_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert doctor._core_ml_execution().works
    assert "reference interpreter" in doctor._core_ml_execution().detail
    monkeypatch.setattr("sys.platform", "darwin")
    assert doctor._core_ml_execution().works


def _free(gib: float) -> Any:
    return lambda path: SimpleNamespace(free=gib * 2**30)


def test_a_cache_with_room_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "not" / "yet" / "made"))
    monkeypatch.setattr(shutil, "disk_usage", _free(20))
    finding = doctor._cache()
    assert finding.works
    assert str(tmp_path) in finding.detail
    assert "20 GiB free" in finding.detail


def test_a_cache_without_room_says_where_to_make_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", _free(0.2))
    finding = doctor._cache()
    assert finding.works is False
    assert str(tmp_path) in finding.next_step
    assert "EDGEKIT_CACHE" in finding.next_step


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / place))
    finding = doctor._cache()
    assert finding.works is False
    assert "cannot be written" in finding.detail
    assert "EDGEKIT_CACHE" in finding.next_step
