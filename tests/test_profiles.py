"""A device profile is found by its name or file, and says what the device does not run."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit import profiles
from edgekit.errors import UnknownName, Unsupported, UsageError
from edgekit.profiles import DeviceProfile

_MINE = """
name: mine
description: a board on my desk
transport: null
runtimes:
  onnx: {opset: 18, source: the vendor's manual}
peak_ops_per_s: {}
memory_bandwidth_bytes_per_s: {value: 1.0e+10, source: the vendor's manual}
memory_bytes: {value: null, source: nobody knows}
"""


def _mine(tmp_path: Path, text: str = _MINE) -> DeviceProfile:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return profiles.load(str(path))


def test_an_unknown_device_is_offered_the_near_names() -> None:
    with pytest.raises(UnknownName) as caught:
        profiles.load("hoost")
    assert "unknown device 'hoost'" in caught.value.what
    assert "did you mean host" in caught.value.next_step
    assert "edgekit devices" in caught.value.next_step


def test_a_profile_of_one_s_own_is_read_from_its_file(tmp_path: Path) -> None:
    device = _mine(tmp_path)
    assert (device.name, device.runtimes["onnx"].opset) == ("mine", 18)
    assert device.memory_bytes.value is None


def test_a_missing_profile_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml does not exist"):
        profiles.load(str(tmp_path / "nowhere.yaml"))


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("opset: 18", "opzet: 18", ["runtimes.onnx.opzet", "did you mean opset?"]),
        ("description:", "descripion:", ["'descripion'", "did you mean description?"]),
        ("opset: 18", "opset: eighteen", ["runtimes.onnx.opset", "'eighteen'", "integer"]),
        (", source: the vendor's manual}\npeak", "}\npeak", ["runtimes.onnx.source", "missing"]),
        ("value: 1.0e+10, source: the vendor's manual", "value: 1.0e+10", ["bandwidth_bytes_per_s.source", "missing"]),
    ],
)
def test_a_wrong_key_is_told_with_its_path_and_the_near_names(tmp_path: Path, right: str, wrong: str, words: list[str]) -> None:
    assert right in _MINE
    with pytest.raises(UsageError) as caught:
        _mine(tmp_path, _MINE.replace(right, wrong))
    assert not [word for word in words if word not in str(caught.value)]


def test_a_target_the_device_does_not_run_is_told_with_devices_that_do(tmp_path: Path) -> None:
    device = _mine(tmp_path)
    assert profiles.for_target(device, "onnx").opset == 18
    with pytest.raises(Unsupported, match="mine does not run coreml artifacts") as caught:
        profiles.for_target(device, "coreml")
    assert caught.value.cause == "its profile has runtimes for onnx"
    assert "choose a device that does: " in caught.value.next_step
    offered = caught.value.next_step.split(": ")[1].split(", ")
    assert all("coreml" in profiles.load(name).runtimes for name in offered)
