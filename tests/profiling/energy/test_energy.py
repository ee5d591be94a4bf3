"""What three windows of a meter, idle, busy, idle, say of one run; and which meter is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.devices.link.shell import COMMAND_LIMIT_S, Completed, LocalShell, Shell
from edgekit.profiling import energy
from edgekit.profiling.energy import Meter, NotMeasured, Reading, Window


@dataclass
class Desk(Shell):
    """A device whose power is known: `sleep` passes its time, and so do the runs that a test makes."""

    idle_w: Callable[[float], float] = lambda at_s: 2.0
    now_s: float = 100.0
    joules: float = 5.0
    busy: list[float] = field(default_factory=list)

    def pass_time(self, seconds: float, more_w: float = 0.0) -> None:
        self.joules += (self.idle_w(self.now_s) + more_w) * seconds
        self.now_s += seconds

    def run(self, arguments: Sequence[str], *, limit_s: float = COMMAND_LIMIT_S) -> Completed:
        assert arguments[0] == "sleep"
        assert limit_s > float(arguments[1])
        self.pass_time(float(arguments[1]))
        return Completed(0, "")

    def run_for(self, seconds: float) -> int:
        """Runs of 10 ms at 3 W above idle."""
        self.busy.append(seconds)
        self.pass_time(seconds, 3.0)
        return round(seconds / 0.01)


class Exact(Meter):
    """Reads the desk, after `fails` good readings a failure."""

    name, scope, method, update_interval_s = "exact", "desk", "read before and after", 0.001

    def __init__(self, desk: Desk, *, fails: int = 99, why: NotMeasured | None = None) -> None:
        super().__init__(desk)
        self.desk, self.fails, self.why = desk, fails, why

    def read(self) -> Reading:
        self.fails -= 1
        if self.fails < 0 and self.why:
            raise self.why
        return Reading(self.desk.joules, self.desk.now_s)


def test_a_runs_energy_is_told_with_and_without_the_idle_share() -> None:
    desk = Desk()
    measured = energy.measure(Exact(desk), desk.run_for)
    assert measured.status == "measured"
    assert measured.gross_j == pytest.approx(5.0 * 0.01)
    assert measured.net_j == pytest.approx(3.0 * 0.01)
    assert measured.idle_w == pytest.approx(2.0)
    assert (measured.runs, measured.window_s) == (500, pytest.approx(5.0))
    assert (measured.meter, measured.scope, measured.reason) == ("exact", "desk", None)
    assert desk.now_s == pytest.approx(115.0)


def test_idle_power_that_moves_by_more_than_a_tenth_is_said() -> None:
    desk = Desk(idle_w=lambda at_s: 2.0 if at_s < 107 else 2.4)
    measured = energy.measure(Exact(desk), desk.run_for)
    assert measured.status == "measured"
    assert measured.idle_w == pytest.approx(2.2)
    assert "2 W before the runs and 2.4 W after" in (measured.reason or "")


def test_runs_that_take_no_more_than_the_idle_device_have_no_net_energy() -> None:
    judged = energy.judge(Exact(Desk()), Window(10.0, 5.0), Window(9.9, 5.0), 100, Window(10.0, 5.0))
    assert judged.status == "measured"
    assert (judged.gross_j, judged.net_j) == (pytest.approx(0.099), None)
    assert "no more with the runs than idle" in (judged.reason or "")


def test_a_counter_that_stands_still_is_not_zero_joules() -> None:
    judged = energy.judge(Exact(Desk()), Window(0.0, 5.0), Window(0.0, 5.0), 100, Window(0.0, 5.0))
    assert (judged.status, judged.gross_j, judged.net_j) == ("counter_static", None, None)
    assert "did not move in 5.0 s" in (judged.reason or "")


def test_a_counter_that_stands_still_while_idle_gives_no_net_energy() -> None:
    judged = energy.judge(Exact(Desk()), Window(0.0, 5.0), Window(9.0, 5.0), 100, Window(0.1, 5.0))
    assert (judged.status, judged.gross_j, judged.net_j, judged.idle_w) == ("measured", 0.09, None, None)
    assert "no idle share" in (judged.reason or "")


@pytest.mark.parametrize(("interval_s", "window_s"), [(0.001, 1.9), (0.5, 9.0), (3.0, 50.0)])
def test_a_window_too_short_for_its_counter_is_not_measured(interval_s: float, window_s: float) -> None:
    desk = Desk()
    meter = Exact(desk)
    meter.update_interval_s = interval_s
    measured = energy.measure(meter, desk.run_for, window_s=window_s)
    assert (measured.status, measured.gross_j) == ("window_too_short", None)
    assert f"needs runs for {max(2.0, 20 * interval_s):g} s" in (measured.reason or "")


def test_not_one_whole_run_is_not_measured() -> None:
    desk = Desk()
    measured = energy.measure(Exact(desk), lambda seconds: 0 * desk.run_for(seconds))
    assert measured.status == "window_too_short"


def test_a_window_in_which_the_counter_may_wrap_twice_is_not_measured() -> None:
    desk = Desk()
    meter = Exact(desk)
    meter.longest_window_s = 60.0
    measured = energy.measure(meter, desk.run_for, window_s=61.0)
    assert (measured.status, measured.gross_j) == ("no_counter", None)
    assert "wrap more than once" in (measured.reason or "")


def test_the_windows_grow_with_the_counters_interval_and_wait_for_a_counter_that_lags() -> None:
    desk = Desk()
    meter = Exact(desk)
    meter.update_interval_s, meter.settle_s = 3.0, 8.0
    measured = energy.measure(meter, desk.run_for)
    assert desk.busy == [8.0, 75.0]
    assert (measured.window_s, measured.gross_j) == (pytest.approx(75.0), pytest.approx(0.05))
    assert desk.now_s == pytest.approx(100 + 3 * 83)


@pytest.mark.parametrize("fails", range(6))
@pytest.mark.parametrize("status", ["permission_denied", "charging", "no_counter"])
def test_a_meter_lost_in_any_window_says_why(fails: int, status: energy.Absence) -> None:
    desk = Desk()
    measured = energy.measure(Exact(desk, fails=fails, why=NotMeasured(status, "because")), desk.run_for)
    assert (measured.status, measured.reason, measured.gross_j, measured.meter) == (status, "because", None, "exact")


@given(
    idle_w=st.floats(0.1, 300),
    more_w=st.floats(0.1, 300),
    run_s=st.floats(1e-4, 1),
    seconds=st.floats(2, 60),
    scale=st.floats(0.5, 2),
)
def test_what_was_put_in_comes_out(idle_w: float, more_w: float, run_s: float, seconds: float, scale: float) -> None:
    runs = max(1, round(seconds / run_s))
    idle = Window(idle_w * seconds * scale, seconds * scale)
    judged = energy.judge(Exact(Desk()), idle, Window((idle_w + more_w) * seconds, seconds), runs, idle)
    assert judged.gross_j == pytest.approx((idle_w + more_w) * seconds / runs)
    assert judged.net_j == pytest.approx(more_w * seconds / runs, rel=1e-6)
    assert judged.idle_w == pytest.approx(idle_w)


def test_every_meter_is_asked_once() -> None:
    assert sorted((*energy.ORDER, "nvml")) == energy.names()


def test_a_machine_without_a_counter_is_told_so_in_words() -> None:
    found = energy.find(LocalShell())
    if isinstance(found, Meter):
        assert found.read().joules >= 0
    else:
        assert found.status in ("no_counter", "permission_denied", "charging")
        assert found.reason
        assert found.gross_j is None
