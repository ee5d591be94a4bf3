"""How far edgekit's intervals and comparisons can be trusted: what they say of series whose truth is known, and of real runs of
an artifact beside itself and beside itself slowed by 3 %. A naive comparison of the same runs is shown beside it."""

from __future__ import annotations

import argparse
import datetime
import math
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, combinations, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from calibration import background, profiling_overhead, real_runs, synthetic_latencies
from calibration.slowed import SLOWDOWN
from calibration.synthetic_latencies import Series

import edgekit
from edgekit import cache
from edgekit.profiling import plan, settings, statistics
from edgekit.profiling.comparison import blocks, compare
from edgekit.profiling.measurement import Estimate, Measurement, Process

REPORT = Path(__file__).parent.parent / "reports" / "statistics.md"
QUANTILES = (0.50, 0.90, 0.99)
TRIALS = 200
"""Of each synthetic world."""
TOTAL_STEPS = len(synthetic_latencies.WORLDS)
LONGEST_PAUSE_S = 60
"""Between the starts of two profiles that followed each other."""
STATISTICS: dict[str, Callable[[Measurement], Estimate]] = {
    "p50": lambda measurement: measurement.p50_s,
    "p90": lambda measurement: measurement.p90_s,
    "p99": lambda measurement: measurement.p99_s,
}


def holds(estimate: Estimate, truth: float) -> bool:
    """Whether the interval holds the truth."""
    return estimate.low is not None and estimate.high is not None and estimate.low <= truth <= estimate.high


def welch_differs(runs: Sequence[float] | Series, others: Sequence[float] | Series) -> bool:
    """Whether Welch's t calls two samples different at the 95 % level, as if each run were independent of the others."""
    parts = [float(np.var(some, ddof=1)) / len(some) for some in (runs, others)]
    if sum(parts) == 0:
        return bool(np.mean(runs) != np.mean(others))
    freedom = sum(parts) ** 2 / sum(part**2 / (len(some) - 1) for part, some in zip(parts, (runs, others), strict=True))
    return bool(
        abs(np.mean(runs) - np.mean(others)) / math.sqrt(sum(parts)) > statistics.student_t(statistics.CONFIDENCE, freedom)
    )


def share(answers: Iterable[bool]) -> str:
    """How many of how many, and their share with its 95 % interval (Wilson 1927)."""
    found = list(answers)
    n, hits = len(found), sum(found)
    if not n:
        return "-"
    middle, z = hits / n, 1.96
    centre = (middle + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(middle * (1 - middle) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return f"{hits} of {n} ({middle:.1%}; {max(centre - half, 0.0):.1%} to {min(centre + half, 1.0):.1%})"


def row(*cells: str) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def table(header: Sequence[str], rows: Iterable[str]) -> list[str]:
    """A Markdown table."""
    return [row(*header), row(*["---"] * len(header)), *rows, ""]


# Synthetic series


def synthetic(world: synthetic_latencies.World, trials: int, seed: int = 0) -> str:
    """The world's row: how often intervals hold the truth and comparisons are right."""
    generator = np.random.default_rng(seed)
    chosen = plan.of(settings.Settings())
    truths = [world.quantile(q, generator) for q in QUANTILES]
    held: list[list[bool]] = [[] for _ in QUANTILES]
    equal, slower, naive_equal, naive_slower = [], [], [], []
    for _ in range(trials):
        first, second = world.interleaved(chosen, generator)
        joined = [list(chain.from_iterable(process)) for process in first]
        for answers, q, truth in zip(held, QUANTILES, truths, strict=True):
            answers.append(holds(statistics.quantile(joined, q), truth))
        ratio = statistics.ratio_of_medians(first, second, paired=True)
        equal.append(not holds(ratio, 1.0))
        # A slowed subject takes longer in every run by the same factor.
        slower.append(ratio.low is not None and ratio.low * SLOWDOWN > 1)
        runs = round(settings.BURST_S / synthetic_latencies.LATENCY_S)
        one, other = world.one_after_the_other(runs, generator)
        naive_equal.append(welch_differs(one, other))
        naive_slower.append(welch_differs(one * SLOWDOWN, other) and float(np.mean(one)) * SLOWDOWN > float(np.mean(other)))
    cells = [f"{np.mean(answers):.0%}" for answers in (*held, equal, slower, naive_equal, naive_slower)]
    return row(world.name, *cells)


def synthetic_section(trials: int) -> list[str]:
    """What is known of series whose truth is known."""
    rows = []
    for number, world in enumerate(synthetic_latencies.WORLDS, start=1):
        started = time.monotonic()
        rows.append(synthetic(world, trials))
        print(f"{number} of {TOTAL_STEPS}: {rows[-1]} in {time.monotonic() - started:.0f} s", flush=True)
    chosen = plan.of(settings.Settings())
    return [
        "## Synthetic series\n",
        f"{trials} measurements each, of runs of about {synthetic_latencies.LATENCY_S * 1e3:.0f} ms, as the default plan takes "
        f"them ({chosen.processes} processes, {chosen.blocks} blocks of {chosen.block_s} s in each; "
        "`scripts/calibration/synthetic_latencies.py` says what each world does). The 95 % intervals should hold the true "
        "quantile in 95 % of cases. *Called different* is a subject beside its equal (at most 5 % wanted), *3 % found* "
        "beside one 3 % faster. The naive comparison runs one for the same time, then the other, and puts Welch's t to "
        "their runs.\n",
        *table(
            ("world", "p50 held", "p90", "p99", "called different", "3 % found", "naive: called different", "naive: 3 % found"),
            rows,
        ),
    ]


# Real runs


def real_section(samples: Sequence[real_runs.Sample]) -> list[str]:
    """What is known of the runs that were kept."""
    jobs = [sample for sample in samples if sample.kind == "interleaved"]
    turns = [sample for sample in samples if sample.kind == "in turns"]
    loads = np.array([sample.load_1min for sample in samples])
    waited = np.array([one.waited_share or 0.0 for sample in samples for one in sample.measurements])
    any_one = samples[0].measurements[0]
    equals = [pair for job in jobs for pair in combinations(job.measurements[:-1], 2)]
    slowed = [(job.measurements[-1], equal) for job in jobs for equal in job.measurements[:-1]]
    firsts = [(job.measurements[-1], job.measurements[0]) for job in jobs]
    return [
        "## Real runs\n",
        f"LSNet-T as an ONNX artifact on {any_one.fingerprint.cpu}, pinned to one core, {any_one.started_at[:10]}. "
        f"The machine was kept busy by {background.WORDS}: load average after each job {np.min(loads):.1f} to "
        f"{np.max(loads):.1f}, median {np.median(loads):.1f}; of the process that waited most, others had the core for "
        f"{np.median(waited):.0%} of the time in the median measurement and {np.max(waited):.0%} in the worst. A load average "
        "above 3 means that the machine did other work as well, on its other cores. "
        f"{len(jobs)} of {real_runs.JOBS} jobs of four subjects, three times the artifact and once the artifact slowed by "
        "exactly 3 % (`scripts/calibration/slowed.py`), give three comparisons of equals and three of the slowed with an equal "
        f"each; those of one job share subjects. {len(turns)} of {real_runs.TURNS} times the artifact alone, again alone, and "
        "the slowed one alone, in turns.\n",
        *table(
            ("comparison", "called different (wanted: at most 5 %)", "3 % found (wanted: at least 90 %)"),
            [
                row("edgekit, interleaved", share(map(differs, equals)), share(map(found_slower, slowed))),
                row("the same, one comparison a job", share(map(differs, equals[::3])), share(map(found_slower, firsts))),
                row(
                    "Welch's t over the runs of the same jobs",
                    share(map(naive_differs, equals)),
                    share(map(naive_slower, slowed)),
                ),
                row(
                    "naive: one after the other, Welch's t",
                    share(naive_differs((turn.measurements[1], turn.measurements[0])) for turn in turns),
                    share(naive_slower((turn.measurements[2], turn.measurements[1])) for turn in turns),
                ),
                row(
                    "edgekit, one job after the other",
                    share(differs((turn.measurements[1], turn.measurements[0])) for turn in turns),
                    share(found_slower((turn.measurements[2], turn.measurements[1])) for turn in turns),
                ),
            ],
        ),
        *where_it_varies(equals),
        *agreement(samples),
    ]


Pair = tuple[Measurement, Measurement]


def differs(pair: Pair) -> bool:
    """Whether edgekit calls two measurements different."""
    return compare(*pair).finding in ("faster", "slower")


def found_slower(pair: Pair) -> bool:
    """Whether edgekit calls the first one slower."""
    return compare(*pair).finding == "slower"


def runs_of(measurement: Measurement) -> list[float]:
    """Seconds of all its runs."""
    return [latency for process in measurement.processes for latency in process.latency_s]


def naive_differs(pair: Pair) -> bool:
    """Whether Welch's t over all runs does."""
    return welch_differs(*map(runs_of, pair))


def naive_slower(pair: Pair) -> bool:
    """Whether Welch's t over all runs calls the first one slower."""
    return naive_differs(pair) and float(np.mean(runs_of(pair[0]))) > float(np.mean(runs_of(pair[1])))


def where_it_varies(equals: Sequence[Pair]) -> list[str]:
    """Standard deviations of log ratios of equals: between processes, and of the rounds of one process."""
    between: list[float] = []
    within: list[float] = []
    for one, other in equals:
        for process, beside in zip(one.processes, other.processes, strict=True):
            rounds = rounds_of(process, beside)
            between.append(float(np.median(rounds)))
            within.extend(rounds - np.median(rounds))
    if not between:
        return []
    return [
        "Where it varies, in log ratios of equals: from one pair of processes to the next by "
        f"{np.std(between):.2%} (standard deviation), from round to round of one pair by {robust_spread(within):.2%} (1.48 "
        f"median absolute deviations; standard deviation {np.std(within):.2%}).\n",
    ]


def robust_spread(values: Sequence[float]) -> float:
    """1.48 median absolute deviations from zero: the standard deviation where values are normally distributed."""
    return 1.4826 * float(np.median(np.abs(values)))


def rounds_of(process: Process, beside: Process) -> npt.NDArray[np.float64]:
    """The log ratio of each round in which two processes took turns."""
    net = process.waited_s is not None and beside.waited_s is not None
    rounds = zip(blocks(process, net=net), blocks(beside, net=net), strict=True)
    return np.array([math.log(np.median(one) / np.median(other)) for one, other in rounds])


def agreement(samples: Sequence[real_runs.Sample]) -> list[str]:
    """Whether profiles of the artifact that followed each other agree."""
    firsts = [sample.measurements[0] for sample in samples if sample.kind == "in a row"]
    consecutive = [pair for pair in pairwise(firsts) if seconds_apart(*pair) < LONGEST_PAUSE_S]
    loads = [sample.load_1min for sample in samples if sample.kind == "in a row"]
    return [
        "Two profiles of LSNet-T, one right after the other, agree when their intervals overlap "
        f"(load average {min(loads, default=0):.1f} to {max(loads, default=0):.1f}):\n",
        *table(
            ("statistic", "pairs that agree (wanted of p50: at least 95 %)", "half the interval's width, median"),
            [
                row(name, share(overlap(take(one), take(other)) for one, other in consecutive), width(map(take, firsts)))
                for name, take in STATISTICS.items()
            ],
        ),
    ]


def seconds_apart(one: Measurement, other: Measurement) -> float:
    """From start to start."""
    started = [datetime.datetime.fromisoformat(measurement.started_at) for measurement in (one, other)]
    return (started[1] - started[0]).total_seconds()


def overlap(one: Estimate, other: Estimate) -> bool:
    """Whether two intervals have a point in common."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.low <= other.high and other.low <= one.high


def width(estimates: Iterable[Estimate]) -> str:
    """The median half width, relative to the value."""
    halves = [(one.high - one.low) / 2 / one.value for one in estimates if one.low is not None and one.high is not None]
    return f"{np.median(halves):.1%}" if halves else "-"


def report(sections: Sequence[str]) -> str:
    """The whole report in Markdown."""
    chosen = plan.of(settings.Settings())
    return "\n".join(
        [
            "# How far the statistics can be trusted\n",
            "Made by `scripts/calibrate_statistics`. By default a subject is measured in "
            f"{chosen.processes} fresh processes, {chosen.blocks} blocks of {chosen.block_s} s in each, the blocks of other "
            "subjects between them in random order. A process's ratio is the median over its rounds of the ratio of block "
            "medians, what it waited for its core left out; the interval is Student's t over the processes. This was "
            "chosen on other runs than those below (reports/LOG.md).\n",
            *sections,
        ]
    )


def main() -> None:
    """Collect, simulate, and write the report of what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--synthetic", action="store_true", help="only the synthetic series")
    parser.add_argument("--real", action="store_true", help="only the real runs")
    parser.add_argument("--overhead", action="store_true", help="only what profiling adds")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop collecting real runs after about so many")
    parser.add_argument("--kept", type=Path, default=cache.folder() / "calibration", help="where results are kept as they come")
    asked = parser.parse_args()
    everything = not (asked.synthetic or asked.real or asked.overhead)
    if asked.synthetic or everything:
        keep(asked.kept / "synthetic.md", synthetic_section(TRIALS))
    if asked.real or everything:
        real_runs.collect(artifact(asked.kept), asked.kept / "real.jsonl", minutes=asked.minutes)
    if samples := real_runs.read(asked.kept / "real.jsonl"):
        keep(asked.kept / "real.md", real_section(samples))
    if asked.overhead or everything:
        keep(asked.kept / "overhead.md", profiling_overhead.section(artifact(asked.kept)))
    parts = [asked.kept / name for name in ("real.md", "synthetic.md", "overhead.md")]
    text = report([part.read_text() for part in parts if part.exists()])
    REPORT.write_text(text)
    print(text)


def keep(file: Path, lines: Sequence[str]) -> None:
    """A section of the report, for later runs that make another one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")


def artifact(folder: Path) -> Path:
    """LSNet-T as an ONNX artifact, made once."""
    made = folder / "lsnet_t-onnx"
    return made if made.exists() else edgekit.export("lsnet_t", "onnx", output=folder).directory


if __name__ == "__main__":
    main()
