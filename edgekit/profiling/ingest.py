"""Xcode's performance metrics as measurements: the JSON of `xcrun xcresulttool get test-results metrics`.

It holds, for each test, each of its runs (by device and test plan configuration) with the samples of every metric. Measurements
are of predictions: one for each run of a test that has wall times. A test whose name says `load` gives the load time of the
predictions measured on the same device in the same configuration; a name that ends in `20InARow` says that each sample is the
time of twenty predictions.
"""

from __future__ import annotations

import datetime
import json
import math
import re
import statistics
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

import edgekit
from edgekit.errors import InputError, UsageError
from edgekit.profiling import roofline, static
from edgekit.profiling.measurement import Conditions, Energy, Fingerprint, Measurement, Memory, Model, Process
from edgekit.profiling.subject import describe
from edgekit.profiling.summary import summarize

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
# Of 1000: footprints are whole bytes, and Xcode's come out whole so
_BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}

# Xcode may leave the identifier out; the name on display is always there
_CLOCK = ("XCTMetric_Clock.time.monotonic", "Clock Monotonic Time")
_PEAK_MEMORY = ("XCTMetric_Memory.physical_peak", "Memory Peak Physical")

_AGAIN = "write it again: xcrun xcresulttool get test-results metrics --path RESULT.xcresult --compact > RESULT.xcresult.json"
_NO_JOULES = Energy(
    status="no_counter",
    reason="iOS tells no joules; Instruments' Power Profiler shows the battery's percent an hour, unplugged",
)

_Number = Annotated[float, Field(allow_inf_nan=False)]


class _Read(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, strict=True, frozen=True)


class _Metric(_Read):
    display_name: str
    unit_of_measurement: str
    measurements: list[_Number]
    identifier: str = ""

    def is_one(self, names: tuple[str, str]) -> bool:
        return self.identifier.endswith(names[0]) if self.identifier else self.display_name == names[1]


class _Device(_Read):
    device_id: str | None = None
    device_name: str | None = None
    model_name: str | None = None
    platform: str | None = None
    os_version: str | None = None


class _Configuration(_Read):
    configuration_name: str | None = None


class _Run(_Read):
    metrics: list[_Metric]
    device: _Device = _Device()
    test_plan_configuration: _Configuration = _Configuration()

    def one(self, names: tuple[str, str]) -> _Metric | None:
        return next((metric for metric in self.metrics if metric.is_one(names)), None)


class _Test(_Read):
    test_identifier: str
    test_runs: list[_Run]

    @property
    def is_load(self) -> bool:
        return re.search(r"Load|(?<![A-Za-z])load", self.test_identifier.rpartition("/")[2]) is not None

    @property
    def in_a_row(self) -> int:
        """Predictions a sample."""
        said = re.search(r"(\d+)InARow\b", self.test_identifier)
        return max(int(said[1]), 1) if said else 1


@dataclass(frozen=True)
class Ingested:
    """What a file held."""

    measurements: tuple[Measurement, ...]
    notes: tuple[str, ...]
    """What of it is in no measurement, and why."""


def ingest(path: Path, artifact: Path | None = None) -> Ingested:
    """The measurements in the file `path`, of the Core ML `artifact` where one is given. They start when the file was written,
    which is the nearest that can be known.

    Raises InputError, naming the place, for a file that is cut short, holds something else or no measurements, and for
    numbers and units that cannot be; UsageError for an artifact that is not Core ML's, ArtifactError for a damaged one.
    """
    owner = None if artifact is None else _owner(artifact)
    tests = _tests(path)
    loads = _loads(path, tests)
    written = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC).isoformat(timespec="seconds")
    found = []
    for test in tests:
        for place, run in enumerate(test.test_runs, 1):
            where = f"{path}, {test.test_identifier}, run {place}"
            if test.is_load or run.one(_CLOCK) is None:
                continue
            process = _process(where, test, run, loads.get(_setting(run)))
            found.append(_measurement(path, test, run, process, owner, written))
    if not found:
        raise InputError(
            f"{path} holds no measurements of predictions",
            cause="no test in it has wall times (XCTClockMetric), but for loading" if tests else "it lists no tests",
            next_step="run the tests of the project that `edgekit xcode` writes: testPredict measures them",
        )
    return Ingested(tuple(found), tuple(_notes(tests)))


@dataclass(frozen=True)
class _Owner:
    """The artifact that was measured."""

    name: str
    model: Model
    input_shapes: dict[str, tuple[int, ...]]
    io_bytes: int


def _owner(directory: Path) -> _Owner:
    import numpy as np

    from edgekit import artifact

    manifest = artifact.load(directory).manifest
    if manifest.target != "coreml":
        raise UsageError(
            f"{directory} cannot have been measured by Xcode's tests",
            cause=f"it is for {manifest.target}, they run Core ML",
            next_step="give --artifact the one that `edgekit xcode` was given",
        )
    subject = describe(directory)
    return _Owner(
        name=subject.name,
        model=static.completed(subject.model, subject.model_file),
        input_shapes={tensor.name: tensor.shape for tensor in manifest.inputs},
        io_bytes=sum(
            math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize for tensor in (*manifest.inputs, *manifest.outputs)
        ),
    )


def _tests(path: Path) -> list[_Test]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}", cause=str(error.strerror), next_step="check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is no JSON",
            cause="it is not text",
            next_step="give the JSON that xcresulttool prints, not the .xcresult itself",
        ) from error
    except json.JSONDecodeError as error:
        cause = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise InputError(f"{path} is no JSON, or cut short", cause=cause, next_step=_AGAIN) from error
    listed = found if isinstance(found, list) else [found]  # asked for one test, xcresulttool prints it alone
    try:
        return TypeAdapter(list[_Test]).validate_python(listed)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path} does not hold Xcode's performance metrics", cause=f"{place}: {first['msg']}", next_step=_AGAIN
        ) from error


Setting = tuple[str | None, str | None]


def _setting(run: _Run) -> Setting:
    """What runs of different tests have in common: the device and the configuration."""
    return run.device.device_id or run.device.device_name, run.test_plan_configuration.configuration_name


def _loads(path: Path, tests: list[_Test]) -> dict[Setting, float]:
    """The median load time of each device and configuration."""
    loads: dict[Setting, list[float]] = {}
    for test in tests:
        for place, run in enumerate(test.test_runs, 1):
            clock = run.one(_CLOCK)
            if test.is_load and clock is not None:
                where = f"{path}, {test.test_identifier}, run {place}"
                loads.setdefault(_setting(run), []).extend(_positive(where, clock, _SECONDS))
    return {setting: statistics.median(samples) for setting, samples in loads.items()}


def _process(where: str, test: _Test, run: _Run, load_s: float | None) -> Process:
    clock, memory = run.one(_CLOCK), run.one(_PEAK_MEMORY)
    assert clock is not None  # the caller looked
    latency_s = tuple(sample / test.in_a_row for sample in _positive(where, clock, _SECONDS))
    peak = None if memory is None else round(max(_converted(where, memory, _BYTES)))
    return Process(
        latency_s=latency_s,
        block_runs=(len(latency_s),),
        memory=Memory(process_peak_bytes=peak),
        load_s=load_s,
        load_was_cold=None if load_s is None else False,
    )


def _converted(where: str, metric: _Metric, units: dict[str, float]) -> list[float]:
    unit = metric.unit_of_measurement
    if unit not in units:
        raise InputError(
            f"{where}: {metric.display_name} is in {unit!r}",
            cause=f"units that are known here: {', '.join(units)}",
            next_step="report it with the file",
        )
    if not metric.measurements:
        raise InputError(f"{where}: {metric.display_name} has no measurements", cause="its list is empty", next_step=_AGAIN)
    return [sample * units[unit] for sample in metric.measurements]


def _positive(where: str, metric: _Metric, units: dict[str, float]) -> list[float]:
    converted = _converted(where, metric, units)
    for place, sample in enumerate(converted, 1):
        if sample <= 0 or not math.isfinite(sample):
            raise InputError(
                f"{where}: {metric.display_name}, sample {place}, is {metric.measurements[place - 1]:g} "
                f"{metric.unit_of_measurement}",
                cause="nothing takes no time",
                next_step=_AGAIN,
            )
    return converted


def _notes(tests: list[_Test]) -> Iterator[str]:
    """What no field of a measurement holds, and what to doubt."""
    metrics = [metric for test in tests for run in test.test_runs for metric in run.metrics]
    if left := {m.display_name for m in metrics if not (m.is_one(_CLOCK) or m.is_one(_PEAK_MEMORY))}:
        yield f"in no measurement: {', '.join(sorted(left))}"
    for test in tests:
        if any(run.one(_CLOCK) is None for run in test.test_runs):
            yield f"{test.test_identifier} has runs without wall times (XCTClockMetric): they are in no measurement"
        elif test.is_load:
            yield f"{test.test_identifier} is the load time of the predictions measured beside it"
    if any("simulator" in (run.device.platform or "").lower() for test in tests for run in test.test_runs):
        yield "measured in a simulator: these are the Mac's figures, not a phone's"


def _measurement(path: Path, test: _Test, run: _Run, process: Process, owner: _Owner | None, started_at: str) -> Measurement:
    device, units = run.device, run.test_plan_configuration.configuration_name
    model = owner.model if owner else Model(name=test.test_identifier, target="coreml")
    samples = f"{test.test_identifier}, each sample "
    samples += "one prediction" if test.in_a_row == 1 else f"the mean of {test.in_a_row} predictions in a row"
    return summarize(
        owner.name if owner else test.test_identifier,
        model,
        [process],
        job=uuid.uuid4().hex,  # one each: tests run one after another, not interleaved
        started_at=started_at,
        provenance="ingested",
        source=str(path),
        conditions=Conditions(
            inputs=samples,
            input_shapes=owner.input_shapes if owner else None,
            mode="burst" if test.in_a_row == 1 else "sustained",
        ),
        fingerprint=Fingerprint(
            device=f"iphone:{device.device_id}" if device.device_id else "iphone",
            hardware=device.model_name or device.device_name,
            os=" ".join(filter(None, (device.platform or "iOS", device.os_version))),
            cpu=None,
            cpu_flags=None,
            cores=None,
            gpu=None,
            threads=None,
            runtime=f"Core ML ({units})" if units else "Core ML",
            edgekit=edgekit.__version__,
        ),
        floor=roofline.floor(
            macs=model.macs,
            model_bytes=model.size_bytes,
            io_bytes=owner.io_bytes if owner else 0,
            precision=model.precision,
            latency_s=statistics.median(process.latency_s),
            peak=None,
        ),
        energy=_NO_JOULES,
    )
