"""From what the processes measured to a `Measurement`."""

from __future__ import annotations

import statistics as stdlib_statistics
from collections.abc import Sequence

import edgekit
from edgekit.profiling import machine, roofline, statistics
from edgekit.profiling.measurement import Fingerprint, Measurement, Process
from edgekit.profiling.subject import Subject
from edgekit.runtimes import REFERENCE


def summarize(
    subject: Subject,
    processes: Sequence[Process],
    *,
    runtime: str,
    io_bytes: int,
    device: str,
    threads: int | None,
    inputs: str,
    peak: roofline.Peak | None,
    job: str,
    started_at: str,
) -> Measurement:
    """The measurement of `subject`, made on this machine by `processes`."""
    samples = [process.latency_s for process in processes]
    p50_s = statistics.quantile(samples, 0.50)
    return Measurement(
        subject=subject.name,
        job=job,
        started_at=started_at,
        inputs=inputs,
        p50_s=p50_s,
        p90_s=statistics.quantile(samples, 0.90),
        p99_s=statistics.quantile(samples, 0.99),
        mad_s=statistics.mad(samples),
        drift=statistics.drift(samples),
        steady=all(process.steady for process in processes),
        waited_share=max((p.waited_share for p in processes if p.waited_share is not None), default=None),
        energy_j=None,
        energy_status="not_requested",
        cold_load_s=stdlib_statistics.median(process.cold_load_s for process in processes),
        first_run_s=stdlib_statistics.median(process.first_run_s for process in processes),
        load_memory_bytes=max(process.load_memory_bytes for process in processes),
        peak_memory_bytes=max(process.peak_memory_bytes for process in processes),
        macs=subject.macs,
        model_bytes=subject.model_bytes,
        floor=roofline.floor(
            macs=subject.macs,
            model_bytes=subject.model_bytes,
            io_bytes=io_bytes,
            precision=subject.precision,
            latency_s=p50_s.value,
            peak=peak,
        ),
        fingerprint=Fingerprint(
            device=device,
            os=machine.os_name(),
            cpu=machine.cpu(),
            cpu_flags=machine.cpu_flags(),
            cores=machine.usable_cores(),
            threads=threads,
            runtime=runtime,
            artifact_sha256=subject.sha256,
            edgekit=edgekit.__version__,
        ),
        processes=tuple(processes),
        reference_timing=REFERENCE in runtime,
    )
