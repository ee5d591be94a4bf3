"""A measurement survives JSON exactly; what is not one is refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.errors import InputError
from edgekit.profiling import roofline
from edgekit.profiling.measurement import Measurement, Memory, Process

_Build = Callable[..., Measurement]
_MakeProcess = Callable[..., Process]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the fixtures are pure functions
@given(
    latencies=st.lists(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=40), min_size=1, max_size=3),
    peak=st.none() | st.just(roofline.Peak(5e10, 2e10, calm=True)),
    cores=st.none() | st.just((3, 7)),
)
def test_json_brings_back_every_field(
    measurement: _Build, process: _MakeProcess, latencies: list[list[float]], peak: Any, cores: tuple[int, ...] | None
) -> None:
    made = measurement([process(samples, cores=cores) for samples in latencies], peak=peak)
    assert Measurement.from_json(made.to_json()) == made
    assert json.loads(made.to_json()) == made.as_dict()


def test_json_is_one_object_with_the_units_in_its_names_and_null_for_what_is_unknown(measurement: _Build) -> None:
    data = json.loads(measurement().to_json())
    assert data["schema_version"] == 2
    assert data["p50_s"] == {"value": 0.01, "low": 0.01, "high": 0.01, "reason": None}
    assert data["p99_s"]["low"] is None
    assert (data["energy"]["gross_j"], data["energy"]["status"]) == (None, "not_requested")
    assert data["processes"][0]["latency_s"] == [0.01] * 20


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda d: d.update(schema_version=1), "schema_version: Input should be 2"),
        (lambda d: d.update(schema_version=3, new_field=1), "schema_version: Input should be 2"),
        (lambda d: d.update(latency=1), "latency: Unexpected keyword argument"),
        (lambda d: d.pop("drift"), "drift: Field required"),
        (lambda d: d.update(steady="yes"), "steady: Input should be a valid boolean"),
        (lambda d: d.update(processes=[]), "processes: Tuple should have at least 1 item after validation, not 0"),
        (lambda d: d["processes"][0].update(latency_s=[0.0]), "processes.0.latency_s.0: Input should be greater than 0"),
    ],
)
def test_what_is_not_a_measurement_is_refused_with_the_field_at_fault(
    measurement: _Build, change: Callable[[dict[str, Any]], object], cause: str
) -> None:
    data = json.loads(measurement().to_json())
    change(data)
    with pytest.raises(InputError) as caught:
        Measurement.from_json(json.dumps(data), where="old.json")
    assert caught.value.what.startswith("old.json is not a measurement")
    assert caught.value.cause == cause


def test_text_that_is_not_json_is_refused() -> None:
    with pytest.raises(InputError, match="is not a measurement"):
        Measurement.from_json("{")


def test_the_summary_takes_every_process_into_account(measurement: _Build, process: _MakeProcess) -> None:
    made = measurement(
        [
            process([0.01] * 10, load_s=0.1, first_run_s=1.0, memory=Memory(3, 5), waited_share=0.5),
            process([0.03] * 30, load_s=0.3, first_run_s=2.0, memory=Memory(2, None), steady=False),
            process([0.03], load_s=0.05, load_was_cold=False, first_run_s=1.5, memory=Memory(), steady=None),
        ]
    )
    assert made.runs == 41
    assert made.p50_s.value == 0.03
    assert made.p90_s.low is not None
    assert made.p99_s.reason == "an interval takes 299 runs, there are 41"
    assert made.steady is None, "one was, one was not, one does not tell"
    assert (made.cold_load_s, made.warm_load_s) == (pytest.approx(0.2), 0.05)
    assert made.first_run_s == 1.5
    assert made.memory == Memory(run_peak_bytes=3, process_peak_bytes=5)
    assert made.drift is None, "one process is too short to tell"
    assert made.waited_share == 0.5
    assert measurement([process([0.01], waited_share=None)]).waited_share is None


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        ((True, True, False), True),
        ((True, False), False),
        ((False, None), False),
        ((True, True, None), True),
        ((True, None), None),
    ],
)
def test_most_processes_decide_whether_it_was_steady(
    measurement: _Build, process: _MakeProcess, answers: tuple[bool | None, ...], verdict: bool | None
) -> None:
    assert measurement([process([0.01], steady=answer) for answer in answers]).steady is verdict


def test_the_fingerprint_says_what_was_measured_on_what(measurement: _Build) -> None:
    made = measurement(threads=3)
    assert (made.fingerprint.threads, made.fingerprint.device, made.model.sha256) == (3, "host", "ab" * 32)


def test_what_is_unknown_of_one_process_is_unknown_of_the_whole(measurement: _Build, process: _MakeProcess) -> None:
    told, silent = process([0.01]), process([0.01], steady=None, load_s=None, load_was_cold=None, first_run_s=None)
    assert measurement([told, silent]).steady is None
    made = measurement([silent])
    assert (made.cold_load_s, made.warm_load_s, made.first_run_s) == (None, None, None)


def test_runs_far_out_are_counted(measurement: _Build, process: _MakeProcess) -> None:
    assert measurement([process([0.010, 0.011, 0.012, 0.013] * 10 + [0.030])]).outliers == 1
    assert measurement().outliers == 0
