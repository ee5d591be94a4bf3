"""RAPL's counters, in a folder of real files laid out as the kernel's."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from counters import RANGE_UJ, Machine
from hypothesis import given
from hypothesis import strategies as st

from edgekit.devices.link.shell import COMMAND_LIMIT_S, Completed, Shell
from edgekit.profiling import energy
from edgekit.profiling.energy import NotMeasured, rapl
from edgekit.profiling.measurement import Energy


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_packages_are_added_and_their_parts_are_not(machine: Machine) -> None:
    machine.zone("intel-rapl:0", "package-0", watts=10.0)
    machine.zone("intel-rapl:0:0", "core", watts=7.0)
    machine.zone("intel-rapl:1", "package-1", watts=20.0)
    machine.zone("intel-rapl:2", "psys", watts=50.0)
    meter = machine.meter()
    measured = energy.measure(meter, machine.run_for)
    assert measured.gross_j == pytest.approx(3 * 30.0 * 0.02, rel=1e-3)
    assert measured.net_j == pytest.approx(2 * 30.0 * 0.02, rel=1e-3)
    assert measured.scope == "package"
    assert "2 packages, memory not counted, psys there and left out" in (measured.method or "")


def test_memorys_counter_is_added_where_every_package_has_one(machine: Machine) -> None:
    machine.zone("intel-rapl:0", "package-0", watts=10.0)
    machine.zone("intel-rapl:0:0", "dram", watts=4.0)
    measured = energy.measure(machine.meter(), machine.run_for)
    assert measured.gross_j == pytest.approx(3 * 14.0 * 0.02, rel=1e-3)
    assert measured.scope == "package and memory"


def test_a_counter_that_wraps_in_the_middle_of_the_runs_is_followed(machine: Machine) -> None:
    machine.zone("intel-rapl:0", "package-0", watts=10.0, at_uj=RANGE_UJ - 60_000_000)  # 50 J idle, then 150 J
    measured = energy.measure(machine.meter(), machine.run_for)
    assert measured.gross_j == pytest.approx(3 * 10.0 * 0.02, rel=1e-3)
    assert int((machine.folder / "intel-rapl:0/energy_uj").read_text()) < 250_000_000


def test_a_counter_that_was_set_back_is_not_taken_for_one_that_wrapped(machine: Machine) -> None:
    machine.zone("intel-rapl:0", "package-0", watts=10.0, at_uj=200_000_000_000)
    meter = machine.meter()

    def suspended(seconds: float) -> int:
        (machine.folder / "intel-rapl:0/energy_uj").write_text("5\n")
        return machine.run_for(seconds)

    measured = energy.measure(meter, suspended)
    assert (measured.status, measured.gross_j) == ("counter_static", None)
    assert "set back" in (measured.reason or "")


def test_a_counter_that_stands_still_is_not_measured(machine: Machine) -> None:
    machine.zone("intel-rapl:0", "package-0")
    assert energy.measure(machine.meter(), machine.run_for).status == "counter_static"


def test_a_counter_that_goes_away_is_not_measured(machine: Machine) -> None:
    machine.zone("intel-rapl:0", "package-0", watts=10.0)
    meter = machine.meter()

    def unplugged(seconds: float) -> int:
        (machine.folder / "intel-rapl:0/energy_uj").unlink()
        return machine.run_for(seconds)

    measured = energy.measure(meter, unplugged)
    assert (measured.status, measured.gross_j) == ("no_counter", None)
    assert "No such file" in (measured.reason or "")


class Nobody(Machine):
    """The same, asked by a user who is not root."""

    def run(self, arguments: Sequence[str], *, limit_s: float = COMMAND_LIMIT_S) -> Completed:
        if os.geteuid() == 0 and arguments[0] == "cat":
            arguments = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", *arguments]
        return super().run(arguments, limit_s=limit_s)


@pytest.fixture
def nobody() -> Iterator[Nobody]:
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root may read every file, and setpriv is not here to be somebody else")
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield Nobody(folder)


def test_counters_that_are_roots_only_say_how_to_open_them(nobody: Nobody) -> None:
    nobody.zone("intel-rapl:0", "package-0", watts=10.0)
    (nobody.folder / "intel-rapl:0/energy_uj").chmod(0o400)
    if os.geteuid() != 0:
        (nobody.folder / "intel-rapl:0/energy_uj").chmod(0o000)
    found = energy.find(nobody)
    assert isinstance(found, Energy)
    assert found.status == "permission_denied"
    assert "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj" in (found.reason or "")


def test_permission_lost_in_the_middle_of_the_runs_is_not_measured(nobody: Nobody) -> None:
    nobody.zone("intel-rapl:0", "package-0", watts=10.0)
    meter = nobody.meter()

    def closed(seconds: float) -> int:
        runs = nobody.run_for(seconds)
        (nobody.folder / "intel-rapl:0/energy_uj").chmod(0o000)
        return runs

    assert energy.measure(meter, closed).status == "permission_denied"


class Told(Shell):
    """A machine that answers what it is told to."""

    def __init__(self, answers: dict[str, Completed]) -> None:
        self.answers = answers

    def run(self, arguments: Sequence[str], *, limit_s: float = COMMAND_LIMIT_S) -> Completed:
        return self.answers.get(arguments[0], Completed(1, ""))


@pytest.mark.parametrize(
    ("system", "hypervisor", "reason"),
    [("Linux x86_64", 0, "virtual machine"), ("Linux x86_64", 1, "modprobe intel_rapl_msr"), ("Linux aarch64", 1, None)],
)
def test_no_counter_is_explained_on_the_machines_that_should_have_one(system: str, hypervisor: int, reason: str | None) -> None:
    found = rapl.find(Told({"uname": Completed(0, f"{system}\n"), "grep": Completed(hypervisor, "")}))
    if reason is None:
        assert found is None
    else:
        assert isinstance(found, Energy)
        assert found.status == "no_counter"
        assert reason in (found.reason or "")


@given(range_uj=st.integers(1_000_000, 2**48), start=st.integers(0, 2**48), steps=st.lists(st.floats(0, 0.999), max_size=20))
def test_what_passed_is_the_sum_of_the_steps_wherever_the_counter_wraps(range_uj: int, start: int, steps: list[float]) -> None:
    true_uj, counter, joules = 0, start % range_uj, 0.0
    for step in steps:
        moved = int(step * range_uj)
        true_uj += moved
        after = (counter + moved) % range_uj
        joules += rapl.passed_joules(counter, after, range_uj)
        counter = after
    assert joules == pytest.approx(true_uj / 1e6)


@given(st.lists(st.tuples(st.floats(2, 100), st.floats(0, 600)), min_size=1, max_size=8), st.integers(0, 65_532_610_986))
def test_a_meter_counts_on_over_wraps(windows: list[tuple[float, float]], start_uj: int) -> None:
    range_uj, now_s, count, true_j = 65_532_610_987, 10.0, start_uj, 0.0

    class Clocked(Told):
        def run(self, arguments: Sequence[str], *, limit_s: float = COMMAND_LIMIT_S) -> Completed:
            return Completed(0, f"{now_s:.2f} 3.00\n{count % range_uj}\n")

    meter = rapl.Rapl(Clocked({}), [rapl.Zone("/p/z/energy_uj", range_uj)], packages=1, with_memory=False, platform=False)
    first = meter.read()
    for seconds, watts in windows:
        now_s += seconds
        moved = round(seconds * watts * 1e6)
        count, true_j = count + moved, true_j + moved / 1e6
        last = meter.read()
    assert last.joules - first.joules == pytest.approx(true_j)
    assert last.at_s - first.at_s == pytest.approx(sum(seconds for seconds, _ in windows), abs=0.02)


def test_a_counter_that_moves_too_fast_is_refused() -> None:
    count = 0

    class Jumping(Told):
        def run(self, arguments: Sequence[str], *, limit_s: float = COMMAND_LIMIT_S) -> Completed:
            return Completed(0, f"5.00 3.00\n{count}\n")

    meter = rapl.Rapl(Jumping({}), [rapl.Zone("/p/z/energy_uj", RANGE_UJ)], packages=1, with_memory=False, platform=False)
    meter.read()
    count = 200_000_000
    with pytest.raises(NotMeasured, match="set back"):
        meter.read()
