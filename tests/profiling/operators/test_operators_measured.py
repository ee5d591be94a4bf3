"""Operators measured in a process of their own, with their floors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit import devices
from edgekit.devices import Device
from edgekit.devices.link.tape import Live
from edgekit.errors import ArtifactError
from edgekit.profiling.operators import measure
from edgekit.profiling.roofline import Peak
from edgekit.profiling.settings import Settings
from edgekit.profiling.subject import Subject, describe

_PEAK = Peak(macs_per_s=1e9, bytes_per_s=1e9, calm=True)


@pytest.fixture
def host() -> Iterator[Device]:
    with devices.connect("host", Live()) as reached:
        yield reached


@pytest.fixture
def subject(tiny_artifact: Path) -> Subject:
    return describe(tiny_artifact)


def test_an_operator_s_floor_is_the_longer_of_computing_and_moving(host: Device, subject: Subject) -> None:
    profile = measure(host, subject, Settings(), _PEAK)
    conv = next(operator for operator in profile.operators if operator.operator == "Conv")
    assert (conv.module, conv.macs) == ("conv", 8 * 16 * 16 * 27)
    assert conv.bytes_moved is not None
    assert conv.macs > conv.bytes_moved
    assert conv.floor_s == conv.macs / 1e9
    moving = next(operator for operator in profile.operators if operator.macs == 0)
    assert moving.bytes_moved is not None
    assert moving.floor_s == moving.bytes_moved / 1e9


def test_there_is_no_floor_without_a_peak(host: Device, subject: Subject) -> None:
    assert {operator.floor_s for operator in measure(host, subject, Settings(), None).operators} == {None}


def test_what_opening_raises_comes_through(host: Device, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ArtifactError, match="cannot load"):
        measure(host, describe(path), Settings(), _PEAK)
