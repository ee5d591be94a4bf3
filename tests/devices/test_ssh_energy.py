"""Meters and conditions over a real OpenSSH server: what is read there is what is read here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sshd

from edgekit.devices.link.openssh import SshShell
from edgekit.devices.link.shell import LocalShell
from edgekit.profiling import conditions, energy
from edgekit.profiling.energy import Meter, NotMeasured, fuel_gauge


@pytest.fixture
def shell(board: sshd.Server) -> Iterator[SshShell]:
    shell = SshShell(board.device, f"{board.user}@127.0.0.1", board.port)
    yield shell
    shell.close()


def test_the_condition_and_the_absence_of_a_counter_are_the_same_there(shell: SshShell) -> None:
    here, there = LocalShell(), conditions.read(shell)
    assert there.load_1min is not None
    assert there.governors == conditions.read(here).governors
    assert conditions.time_in_state(shell) is None or conditions.time_in_state(here) is not None
    assert type(energy.find(shell)) is type(energy.find(here))


def test_a_gauges_loop_goes_on_there_between_the_readings_and_ends_with_them(
    board: sshd.Server, shell: SshShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuel_gauge, "_PERIOD_S", 1)
    battery = tmp_path / "BAT0"
    battery.mkdir()
    for name, text in {"type": "Battery", "status": "Discharging", "voltage_now": 5_000_000, "current_now": 800_000}.items():
        (battery / name).write_text(f"{text}\n")
    meter = fuel_gauge.find(shell, str(tmp_path))
    assert isinstance(meter, Meter)
    with meter:
        meter.read()
        (battery / "status").write_text("Charging\n")
        sampled = board.temporary / "edgekit-fuel-gauge"
        sshd.until(lambda: "status=Charging" in sampled.read_text())
        (battery / "status").write_text("Discharging\n")
        with pytest.raises(NotMeasured, match="unplug"):  # only the loop saw it
            meter.read()
    with meter:
        first = meter.read()
        time.sleep(0.5)
        last = meter.read()
    assert (last.joules - first.joules) / (last.at_s - first.at_s) == pytest.approx(4.0)
