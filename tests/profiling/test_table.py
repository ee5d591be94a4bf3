"""What people read."""

from __future__ import annotations

from collections.abc import Callable

from edgekit.profiling import roofline, table
from edgekit.profiling.measurement import Measurement, Process
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
        [process([0.001] * 8 + [0.002] * 8, steady=False, waited_share=0.5), process([0.001] * 16)], peak=busy_peak
    )
    waited, unsteady, drifted, apart, busy, beaten = table.warnings(restless)
    assert waited.startswith("another program had the core 50% of the time")
    assert unsteady.startswith("not steady")
    assert drifted.startswith("latency drifted by +100%")
    assert apart.startswith("processes disagree by 100%")
    assert busy.startswith("the floor may be too high")
    assert beaten.startswith("faster than its floor")


def test_the_reference_interpreter_s_timing_is_told_for_what_it_is(measurement: Callable[..., Measurement]) -> None:
    made = measurement(runtime=f"Core ML {REFERENCE} (as declared)")
    (warning,) = table.warnings(made)
    assert warning.startswith("reference timing, not a phone's")
    assert made.as_dict()["reference_timing"] is True
    assert measurement().as_dict()["reference_timing"] is False
