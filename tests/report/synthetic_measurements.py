"""Measurements with everything in them, made up: reports of them say nothing of any machine."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

from edgekit.profiling import statistics
from edgekit.profiling.measurement import (
    Conditions,
    DeviceState,
    Energy,
    Estimate,
    Fingerprint,
    Floor,
    Measurement,
    Memory,
    Model,
    OperatorProfile,
    OperatorTime,
    Process,
)

HERE = Fingerprint(
    device="host",
    hardware=None,
    os="Linux 6.1",
    cpu="A processor",
    cpu_flags=("avx2", "avx512f"),
    cores=2,
    gpu=None,
    threads=1,
    runtime="onnxruntime 1.31.1",
    edgekit="0.1.0",
)
PHONE = dataclasses.replace(
    HERE, device="android:SERIAL", hardware="Pixel 8", os="Android 16", cpu="Tensor G3", cpu_flags=None, cores=9, threads=4
)

EAGER = dataclasses.replace(HERE, runtime="torch 2.13.0+cpu eager")
ODD = "<script>alert(1) $x$ &\"'ü模型|*`"
"""A name to be escaped everywhere."""


def latencies(median_s: float, runs: int = 400, *, seed: int = 0, spread: float = 0.02) -> tuple[float, ...]:
    """Runs around a median, with a tail."""
    generator = random.Random(seed)
    return tuple(
        median_s * (1 + abs(generator.gauss(0, spread)) * (1 if generator.random() < 0.8 else -0.5)) for _ in range(runs)
    )


def process(latency_s: Sequence[float], **changes: Any) -> Process:
    """A process with these runs."""
    fields: dict[str, Any] = {
        "latency_s": tuple(latency_s),
        "block_runs": (len(latency_s),),
        "memory": Memory(run_peak_bytes=90_000_000, process_peak_bytes=340_000_000),
        "warmup_runs": 12,
        "warmup_s": 0.2,
        "steady": True,
        "load_s": 0.1,
        "load_was_cold": True,
        "first_run_s": 0.02,
        "waited_share": 0.001,
        "cores": (1,),
    }
    return Process(**{**fields, **changes})


def operators(total_s: float, *, modules: bool = True) -> OperatorProfile:
    """A profile whose operators take `total_s` together."""
    kinds = [("Conv", 40, 0.72), ("Mul", 30, 0.1), ("Sigmoid", 12, 0.08), ("GlobalAveragePool", 8, 0.04), ("Add", 24, 0.06)]
    found = [
        OperatorTime(
            name=f"/{kind}_{index}",
            operator=kind,
            time_s=total_s * share / count,
            module=f"blocks{index % 4 + 1}.{index % 3}.mixer" if modules else None,
            macs=7_000_000 if kind == "Conv" else 100_000,
            bytes_moved=600_000,
            floor_s=total_s * share / count / 2,
        )
        for kind, count, share in kinds
        for index in range(count)
    ]
    return OperatorProfile(tuple(found), runs=40)


def measurement(
    subject: str = "artifacts/lsnet_t-onnx",
    *,
    processes: Sequence[Process] | None = None,
    median_s: float = 4.7e-3,
    seed: int = 0,
    name: str = "lsnet_t",
    target: str = "onnx",
    **changes: Any,
) -> Measurement:
    """A measurement of two processes unless they are given; `changes` are its other fields."""
    made = processes or [process(latencies(median_s * (1 + 0.004 * n), seed=seed + n)) for n in range(2)]
    samples = [one.latency_s for one in made]
    p50 = statistics.quantile(samples, 0.5)
    macs, peak_macs, peak_bytes, moved = 316_000_000, 130e9, 20e9, 46_000_000
    floor_s = max(macs / peak_macs, moved / peak_bytes)
    fields: dict[str, Any] = {
        "subject": subject,
        "model": Model(
            name=name, target=target, precision="fp32", sha256="ab" * 32, size_bytes=45_700_000, macs=macs, operators=300
        ),
        "job": "job-1",
        "started_at": "2026-11-20T20:00:00+00:00",
        "provenance": "measured",
        "source": None,
        "conditions": Conditions(
            inputs="standard normal, seed 0",
            input_shapes={"image": (1, 3, 224, 224)},
            spinning=False,
            before=DeviceState(
                governors=("performance",), clock_hz=(3.1e9, 3.1e9), temperature_c={"package": 51.0}, load_1min=0.2
            ),
            after=DeviceState(
                governors=("performance",), clock_hz=(3.0e9, 3.1e9), temperature_c={"package": 63.0}, load_1min=1.1
            ),
        ),
        "fingerprint": HERE,
        "p50_s": p50,
        "p90_s": statistics.quantile(samples, 0.9),
        "p99_s": statistics.quantile(samples, 0.99),
        "mad_s": statistics.mad(samples),
        "outliers": 0,
        "drift": statistics.drift(samples),
        "steady": True,
        "waited_share": 0.001,
        "cold_load_s": 0.146,
        "warm_load_s": 0.051,
        "first_run_s": 0.02,
        "memory": Memory(run_peak_bytes=90_000_000, process_peak_bytes=340_000_000),
        "energy": Energy("no_counter", "this machine has no energy counter: measure on one with RAPL"),
        "floor": Floor(floor_s, "compute", None, p50.value < floor_s, moved, peak_macs, peak_bytes, True),
        "processes": tuple(made),
    }
    return Measurement(**{**fields, **changes})


def bare(subject: str = "net") -> Measurement:
    """A measurement of which nothing is known that may be unknown."""
    unknown = Estimate(0.01, None, None, "an interval takes 5 runs, there are 1")
    return Measurement(
        subject=subject,
        model=Model(subject, "elsewhere"),
        job="",
        started_at="at some time",
        provenance="ingested",
        source=None,
        conditions=Conditions(inputs=""),
        fingerprint=Fingerprint("iphone:UDID", None, "iOS", None, None, None, None, None, "Core ML", "0.1.0"),
        p50_s=unknown,
        p90_s=unknown,
        p99_s=unknown,
        mad_s=0.0,
        outliers=0,
        drift=None,
        steady=None,
        waited_share=None,
        cold_load_s=None,
        warm_load_s=None,
        first_run_s=None,
        memory=Memory(),
        energy=Energy("not_requested"),
        floor=Floor(None, None, "the size of the weights is unknown", None, None, None, None, None),
        processes=(Process((0.01,), (1,), Memory()),),
    )


def changed(of: Measurement, **changes: Any) -> Measurement:
    """The measurement with some of its fields, those of its model (`model_...`) or of its fingerprint (`fingerprint_...`)
    changed."""
    parts: dict[str, dict[str, Any]] = {"model": {}, "fingerprint": {}}
    own: dict[str, Any] = {}
    for key, value in changes.items():
        part, _, field = key.partition("_")
        (parts[part] if part in parts and field else own)[field if part in parts and field else key] = value
    replaced = {part: dataclasses.replace(getattr(of, part), **fields) for part, fields in parts.items() if fields}
    return dataclasses.replace(of, **replaced, **own)


def everything() -> list[Measurement]:
    """Seven measurements: three targets, two devices, replayed and reference timings, a name to be escaped."""
    return [
        measurement(operators=operators(5.2e-3)),
        measurement(
            "artifacts/lsnet_t-executorch",
            target="executorch",
            median_s=4.4e-3,
            seed=3,
            steady=False,
            operators=OperatorProfile(reason="the wheel has no event tracer"),
        ),
        changed(measurement("lsnet_t", target="eager", median_s=22e-3, seed=5, waited_share=0.08), fingerprint=EAGER),
        measurement(
            "artifacts/lsnet_t-coreml",
            target="coreml",
            median_s=31e-3,
            seed=7,
            reference_timing=True,
            floor=Floor(None, None, "this model computes in fp16", None, None, None, None, None),
        ),
        changed(
            measurement(
                ODD,
                name="casvit_xs",
                median_s=9.9e-3,
                seed=9,
                energy=Energy("measured", gross_j=0.112, net_j=0.071, meter="rapl", scope="package"),
            ),
            model_size_bytes=12_000_000,
        ),
        changed(
            measurement(
                "lsnet_t.pte", target="executorch", median_s=12e-3, provenance="replayed", source="phone.tape", job="p"
            ),
            fingerprint=PHONE,
        ),
        changed(
            measurement(
                "casvit_xs.pte", name="casvit_xs", target="executorch", median_s=22e-3, provenance="ingested", source="m.json"
            ),
            fingerprint=PHONE,
        ),
    ]


def past(days: Sequence[int] = range(1, 7)) -> dict[str, list[Measurement]]:
    """Results of other days by file name; the runtime changed on the fourth."""
    return {
        f"{day:02d}.json": [
            measurement(
                median_s=5.5e-3 if day < 4 else 4.7e-3,
                seed=day,
                job=f"day-{day}",
                started_at=f"2026-11-{day:02d}T20:00:00+00:00",
                fingerprint=dataclasses.replace(HERE, runtime="onnxruntime 1.30.0" if day < 4 else HERE.runtime),
            )
        ]
        for day in days
    }
