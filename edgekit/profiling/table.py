"""A measurement as people read it: cells for a table, and what should make them doubt it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from edgekit.profiling.comparison import ratio
from edgekit.profiling.measurement import Estimate, Measurement

_NOTABLE_WAIT = 0.02
_NOTABLE_DRIFT = 0.05
_NOTABLE_DISAGREEMENT = 0.05
_NOTABLE_OUTLIERS = 0.02
_NOTABLE_LOAD = 1.5
"""A measurement just before this one leaves up to 1 behind."""


def rows(measurements: Sequence[Measurement]) -> list[dict[str, str]]:
    """One row a measurement, its cells by column title, in order. Ratios are to the first. A dash is unknown.

    The median alone shows its interval; the JSON has those of p90 and p99. Energy has a column where it was asked for.
    """
    with_energy = any(measurement.energy.status != "not_requested" for measurement in measurements)
    return [
        {
            "subject": subject(measurement),
            "runtime": measurement.fingerprint.runtime,
            "p50 ms [95 %]": milliseconds(measurement.p50_s),
            "p90 ms": _digits(measurement.p90_s.value * 1e3),
            "p99 ms": _digits(measurement.p99_s.value * 1e3),
            "to the first": "1" if measurement is measurements[0] else _ratio(ratio(measurement, measurements[0])),
            "floor ms": _floor(measurement),
            "load ms, cold": _milliseconds(measurement.cold_load_s),
            "warm": _milliseconds(measurement.warm_load_s),
            "memory MB": _megabytes(measurement.memory.run_peak_bytes, ".0f"),
            "model MB": _megabytes(measurement.model.size_bytes, ".1f"),
            **(
                {"energy mJ": _millijoules(measurement.energy.gross_j), "net": _millijoules(measurement.energy.net_j)}
                if with_energy
                else {}
            ),
        }
        for measurement in measurements
    ]


def subject(measurement: Measurement) -> str:
    """Its name, and how it was run where that was asked for; what was not measured here and now says so."""
    batch = measurement.conditions.batch
    said = [
        *([] if batch is None else [f"batch {batch}"]),
        *([] if measurement.conditions.mode == "burst" else [measurement.conditions.mode]),
        *([] if measurement.provenance == "measured" else [measurement.provenance]),
        *(["interrupted"] if measurement.interrupted else []),
    ]
    return f"{measurement.subject} ({', '.join(said)})" if said else measurement.subject


def warnings(measurement: Measurement) -> list[str]:
    """What a reader should know of the figures, each with what to do about it: the doubts, and why there is no energy."""
    energy = measurement.energy
    if energy.status not in ("not_requested", "measured"):
        return [*doubts(measurement), f"no energy ({energy.status}): {energy.reason}"]
    if energy.status == "measured" and energy.reason:
        return [*doubts(measurement), f"energy: {energy.reason}"]
    return doubts(measurement)


def doubts(measurement: Measurement) -> list[str]:
    """What should make a reader doubt the latencies, each with what to do about it."""
    found = []
    if measurement.interrupted:
        found.append(f"interrupted: {measurement.interrupted}; these are the samples taken until then")
    if measurement.provenance != "measured":
        found.append(f"{measurement.provenance} from {measurement.source}, not measured now")
    if measurement.parity is not None and not measurement.parity.passed:
        found.append(
            f"it computes something else on this device: {measurement.parity.sqnr_db:.1f} dB of the "
            f"{measurement.parity.bound_sqnr_db:.0f} dB wanted; its latency is not this model's"
        )
    if measurement.reference_timing:
        found.append("reference timing, not a phone's: an interpreter made to be right stood in for the device's own runtime")
    if measurement.fingerprint.threads is None:
        found.append("its runtime chooses its own threads and processors: compare it with others by latency alone")
    if measurement.waited_share is not None and measurement.waited_share > _NOTABLE_WAIT:
        found.append(
            f"another program had the core {measurement.waited_share:.0%} of the time, and latencies include the waiting: "
            "close other programs and measure again"
        )
    if measurement.steady is False:
        found.append("not steady after the warm-up: let the machine come to rest and measure again")
    if measurement.drift is not None and abs(math.log(measurement.drift)) > _NOTABLE_DRIFT:
        found.append(
            f"latency drifted by {measurement.drift - 1:+.0%} within a process: the machine heats up, or is busy with "
            "something else"
        )
    disagreement = _disagreement([_median(process.latency_s) for process in measurement.processes])
    if disagreement > _NOTABLE_DISAGREEMENT:
        found.append(f"processes disagree by {disagreement:.0%}: the interval shows it; --duration adds more of them")
    if measurement.outliers > _NOTABLE_OUTLIERS * measurement.runs:
        found.append(
            f"{measurement.outliers / measurement.runs:.1%} of the runs took far longer than the others: p99 is what "
            "interrupts the model, not the model; close other programs and measure again"
        )
    if measurement.floor.peak_calm is False:
        found.append("the floor may be too high: the machine was busy when its peak was measured")
    if measurement.floor.beaten:
        found.append(
            "faster than its floor: the peak was measured too low (a busy machine), or the model runs from the "
            "processor's cache"
        )
    return [*found, *_of_conditions(measurement, doubted=bool(found))]


def _of_conditions(measurement: Measurement, *, doubted: bool) -> list[str]:
    """What the device's condition adds: heat always; other load and its governors where the figures are `doubted` already."""
    before, after = measurement.conditions.before, measurement.conditions.after
    found = []
    hottest = max((state.thermal_status for state in (before, after) if state and state.thermal_status is not None), default=0)
    if hottest > 0:
        found.append(f"the device slows itself down for heat (thermal status {hottest} of 6): let it cool and measure again")
    load = before.load_1min if before else None
    if doubted and load is not None and load > _NOTABLE_LOAD:
        found.append(
            f"the machine was busy before it started (load {load:.1f}), and other programs share its memory and clocks: close "
            "them and measure again"
        )
    governors = [name for name in (before.governors if before else None) or () if name != "performance"]
    if doubted and governors:
        found.append(
            f"its clocks follow the load (governor {', '.join(governors)}): `sudo cpupower frequency-set -g performance` holds "
            "them, where the device allows it"
        )
    return found


def _median(samples: Sequence[float]) -> float:
    return sorted(samples)[len(samples) // 2]


def _disagreement(medians: Sequence[float]) -> float:
    """How far the third quartile of the processes' medians lies above the first: one odd process is no disagreement."""
    if len(medians) < 2:
        return 0.0
    first, _, third = statistics.quantiles(medians, method="inclusive")
    return third / first - 1


def milliseconds(estimate: Estimate) -> str:
    """Three digits, with the interval where there is one."""
    text = _digits(estimate.value * 1e3)
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{_digits(estimate.low * 1e3)}, {_digits(estimate.high * 1e3)}]"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else _digits(seconds * 1e3)


def _millijoules(joules: float | None) -> str:
    return "-" if joules is None else _digits(joules * 1e3)


def _megabytes(size: int | None, form: str) -> str:
    return "-" if size is None else format(size / 1e6, form)


def _ratio(estimate: Estimate) -> str:
    text = f"{estimate.value:.3f}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _floor(measurement: Measurement) -> str:
    floor = measurement.floor
    if floor.floor_s is None:
        return "-"
    return f"{_digits(floor.floor_s * 1e3)} ({measurement.p50_s.value / floor.floor_s:.1f}x, {floor.bound})"


def _digits(value: float) -> str:
    """Three significant digits, without exponent."""
    if value <= 0:
        return "0"
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"
