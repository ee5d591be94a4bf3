"""The meters that are libraries of Python's, with stand-ins of the documented interfaces: no GPU and no Mac is here."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from shims import Shims

from edgekit.devices.link.shell import LocalShell
from edgekit.profiling import energy
from edgekit.profiling.energy import Meter, apple_silicon
from edgekit.profiling.measurement import Energy

_PYNVML = """
class NVMLError(Exception): pass
class NVMLError_NotSupported(NVMLError): pass
class NVMLError_NoPermission(NVMLError): pass
def nvmlInit(): pass
def nvmlDeviceGetHandleByIndex(index): return f"index {index}"
def nvmlDeviceGetName(gpu): return "NVIDIA of " + gpu
def nvmlDeviceGetTotalEnergyConsumption(gpu): COUNTED
"""
_ZEUS = """
class Counted:
    cpu_total_mj, gpu_mj, gpu_sram_mj, ane_mj, dram_mj = 1000, 200, None, 30, 4
    efficiency_cores_mj = [1, 2]
class AppleEnergyMonitor:
    def get_cumulative_energy(self): return Counted()
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_a_gpus_counter_is_read_in_joules(library: Path) -> None:
    (library / "pynvml.py").write_text(_PYNVML.replace("COUNTED", "return 1234567"))
    found = energy.find(LocalShell(), 1)
    assert isinstance(found, Meter)
    assert found.read().joules == pytest.approx(1234.567)
    assert (found.scope, found.update_interval_s) == ("gpu", 0.1)
    assert "NVIDIA of index 1" in found.method


@pytest.mark.parametrize(
    ("counted", "status", "reason"),
    [
        ("raise NVMLError_NotSupported('Not Supported')", "no_counter", "counts no energy"),
        ("raise NVMLError_NoPermission('Insufficient Permissions')", "permission_denied", "as root"),
        ("raise NVMLError('Driver Not Loaded')", "no_counter", "nvidia-smi"),
    ],
)
def test_a_gpu_that_cannot_be_read_says_why(library: Path, counted: str, status: str, reason: str) -> None:
    (library / "pynvml.py").write_text(_PYNVML.replace("COUNTED", counted))
    found = energy.find(LocalShell(), 1)
    assert isinstance(found, Energy)
    assert (found.status, found.gross_j) == (status, None)
    assert reason in (found.reason or "")


def test_a_machine_without_nvml_is_told_what_is_missing() -> None:
    found = energy.find(LocalShell(), 1)
    if importlib.util.find_spec("pynvml") is None:
        assert isinstance(found, Energy)
        assert "pip install 'edgekit[cuda]'" in (found.reason or "")
    elif isinstance(found, Energy):
        assert found.reason


def test_a_macs_parts_are_added(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Shims(tmp_path / "bin", monkeypatch).prints("uname", {"-sm": "Darwin arm64\n"})
    (library / "zeus_apple_silicon.py").write_text(_ZEUS)
    found = energy.find(LocalShell())
    assert isinstance(found, Meter)
    assert found.name == "apple_silicon"
    assert found.read().joules == pytest.approx(1.234)
    assert found.scope == "chip: cpu_total, gpu, ane, dram"


def test_a_mac_without_zeus_is_told_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Shims(tmp_path / "bin", monkeypatch).prints("uname", {"-sm": "Darwin arm64\n"})
    found = apple_silicon.find(LocalShell())
    assert isinstance(found, Energy)
    assert "pip install zeus-apple-silicon" in (found.reason or "")


def test_another_machine_is_no_mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Shims(tmp_path / "bin", monkeypatch).prints("uname", {"-sm": "Linux x86_64\n"})
    assert apple_silicon.find(LocalShell()) is None
