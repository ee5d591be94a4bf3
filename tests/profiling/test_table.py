"""What people read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from edgekit.profiling import roofline, table
from edgekit.profiling.measurement import DeviceState, Energy, Measurement, Process
from edgekit.runtimes import REFERENCE


def test_rows_give_units_intervals_and_ratios(measurement: Callable[..., Measurement], process: Callable[..., Process]) -> None:
    first, second = measurement(), measurement([process([0.02] * 20)] * 2, peak=None)
    rows = table.rows([first, second])
    assert list(rows[0]) == list(rows[1])
    assert rows[0]["p50 ms [95 %]"] == "10.0 [10.0, 10.0]"
    assert rows[0]["p99 ms"] == "10.0"
    assert rows[0]["to the first"] == "1"
    assert rows[0]["floor ms"] == "2.00 (5.0x, compute)"
    assert (rows[0]["memory MB"], rows[0]["load ms, cold"], rows[0]["warm"]) == ("50", "100", "-")
    assert rows[1]["to the first"] == "2.000 [2.000, 2.000]"
    assert rows[1]["floor ms"] == "-"


def test_the_first_is_not_its_own_comparison_but_a_second_time_it_is(measurement: Callable[..., Measurement]) -> None:
    rows = table.rows([measurement(), measurement()])
    assert [row["to the first"] for row in rows] == ["1", "1.000 [1.000, 1.000]"]


def test_a_calm_measurement_warns_of_nothing(measurement: Callable[..., Measurement]) -> None:
    assert table.warnings(measurement()) == []


def test_every_doubt_is_told(measurement: Callable[..., Measurement], process: Callable[..., Process]) -> None:
    busy_peak = roofline.Peak(5e10, 2e10, calm=False)
    restless = measurement(
        [process([0.001] * 8 + [0.002] * 8, steady=False, waited_share=0.5), process([0.001] * 8 + [0.0012] * 8, steady=False)],
        peak=busy_peak,
    )
    waited, unsteady, drifted, apart, busy, beaten = table.warnings(restless)
    assert waited.startswith("another program had the core 50% of the time")
    assert unsteady.startswith("not steady")
    assert drifted.startswith("latency drifted by +55%")
    assert apart.startswith("processes disagree by 29%")
    assert busy.startswith("the floor may be too high")
    assert beaten.startswith("faster than its floor")


def test_heat_is_told_always_and_a_governor_where_there_is_doubt(measurement: Callable[..., Measurement]) -> None:
    def under(made: Measurement, **state: Any) -> Measurement:
        return replace(made, conditions=replace(made.conditions, before=DeviceState(**state)))

    calm, restless = measurement(), replace(measurement(), steady=False)
    assert table.warnings(under(calm, governors=("schedutil",), thermal_status=0)) == []
    (hot,) = table.warnings(under(calm, governors=("performance",), thermal_status=2))
    assert "thermal status 2 of 6" in hot
    assert [text for text in table.warnings(under(restless, governors=("performance",))) if "governor" in text] == []
    assert "governor powersave" in table.warnings(under(restless, governors=("performance", "powersave")))[-1]


def test_energy_has_a_column_where_it_was_asked_for_and_its_doubts_are_told(measurement: Callable[..., Measurement]) -> None:
    drifting = Energy("measured", gross_j=0.0123, net_j=None, reason="the idle device took more")
    denied = Energy("permission_denied", reason="`sudo chmod a+r` opens it")
    first, second = (replace(measurement(), energy=energy) for energy in (drifting, denied))
    rows = table.rows([first, second])
    assert [(row["energy mJ"], row["net"]) for row in rows] == [("12.3", "-"), ("-", "-")]
    assert table.warnings(first) == ["energy: the idle device took more"]
    assert table.warnings(second) == ["no energy (permission_denied): `sudo chmod a+r` opens it"]


def test_the_reference_interpreter_s_timing_is_told_for_what_it_is(measurement: Callable[..., Measurement]) -> None:
    made = measurement(runtime=f"Core ML {REFERENCE} (as declared)")
    (warning,) = table.warnings(made)
    assert warning.startswith("reference timing, not a phone's")
    assert made.as_dict()["reference_timing"] is True
    assert measurement().as_dict()["reference_timing"] is False


def test_a_busy_machine_is_told_where_there_is_doubt(measurement: Callable[..., Measurement]) -> None:
    def at_load(made: Measurement, load: float) -> list[str]:
        return table.warnings(replace(made, conditions=replace(made.conditions, before=DeviceState(load_1min=load))))

    restless = replace(measurement(), steady=False)
    assert at_load(measurement(), 2.4) == []
    assert [text for text in at_load(restless, 1.2) if "busy" in text] == []
    busy = at_load(restless, 2.4)[-1]
    assert busy.startswith("the machine was busy before it started (load 2.4)")
    assert busy.endswith("close them and measure again")


def test_many_interrupted_runs_are_told(measurement: Callable[..., Measurement], process: Callable[..., Process]) -> None:
    few, many = [process([0.01] * 99 + [0.03])] * 2, [process([0.01] * 97 + [0.03] * 3)] * 2
    assert table.warnings(measurement(few)) == []
    (told,) = table.warnings(measurement(many))
    assert told.startswith("3.0% of the runs took far longer")


def test_one_odd_process_is_no_disagreement(measurement: Callable[..., Measurement], process: Callable[..., Process]) -> None:
    odd = [process([0.0099, 0.01, 0.0101] * 7)] * 6 + [process([0.01055, 0.01056, 0.01057] * 7)]
    assert table.warnings(measurement(odd)) == []
    (told,) = table.warnings(measurement([process([latency] * 20) for latency in (0.01, 0.01, 0.011, 0.012)]))
    assert told.startswith("processes disagree by 12%")
