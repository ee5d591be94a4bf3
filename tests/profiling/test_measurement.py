"""A measurement survives JSON exactly; what is not one is refused with the reason."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.errors import InputError
from edgekit.profiling import roofline
from edgekit.profiling.measurement import Measurement, Process

_Build = Callable[..., Measurement]
_MakeProcess = Callable[..., Process]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the fixtures are pure functions
@given(
    latencies=st.lists(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=40), min_size=1, max_size=3),
    peak=st.none() | st.just(roofline.Peak(5e10, 2e10, calm=True)),
    core=st.none() | st.integers(0, 300),
)
def test_json_brings_back_every_field(
    measurement: _Build, process: _MakeProcess, latencies: list[list[float]], peak: Any, core: int | None
) -> None:
    made = measurement([process(samples, core=core) for samples in latencies], peak=peak)
    assert Measurement.from_json(made.to_json()) == made
    assert json.loads(made.to_json()) == made.as_dict()


def test_json_is_one_object_with_the_units_in_its_names_and_null_for_what_is_unknown(measurement: _Build) -> None:
    data = json.loads(measurement().to_json())
    assert data["schema_version"] == 1
    assert data["p50_s"] == {"value": 0.01, "low": 0.01, "high": 0.01, "reason": None}
    assert data["p99_s"]["low"] is None
    assert (data["energy_j"], data["energy_status"]) == (None, "not_requested")
    assert data["processes"][0]["latency_s"] == [0.01] * 20


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda d: d.update(schema_version=2), "schema_version: Input should be 1"),
        (lambda d: d.update(schema_version=2, new_field=1), "schema_version: Input should be 1"),
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
            process([0.01] * 10, cold_load_s=0.1, first_run_s=1.0, peak_memory_bytes=5, load_memory_bytes=3, waited_share=0.5),
            process([0.03] * 30, cold_load_s=0.3, first_run_s=2.0, peak_memory_bytes=4, load_memory_bytes=2, steady=False),
        ]
    )
    assert made.runs == 40
    assert made.p50_s.value == 0.03
    assert made.p90_s.low is not None
    assert made.p99_s.reason == "an interval takes 299 runs, there are 40"
    assert not made.steady
    assert made.cold_load_s == pytest.approx(0.2)
    assert made.first_run_s == 1.5
    assert (made.peak_memory_bytes, made.load_memory_bytes) == (5, 3)
    assert made.drift == 1.0
    assert made.waited_share == 0.5
    assert measurement([process([0.01], waited_share=None)]).waited_share is None


def test_the_fingerprint_says_what_was_measured_on_what(measurement: _Build) -> None:
    fingerprint = dataclasses.asdict(measurement(threads=3).fingerprint)
    assert fingerprint["threads"] == 3
    assert fingerprint["artifact_sha256"] == "ab" * 32
    assert fingerprint["cores"] >= 1
    assert fingerprint["os"]
