"""Latencies made up so that their true quantiles and ratios are known: what machines do to runs, one trouble at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.profiling.plan import Plan

LATENCY_S = 0.005
_START_S = 1.0
"""What passes between the processes of a subject: starting, loading, warming up."""

Series = npt.NDArray[np.float64]
Processes = list[list[list[float]]]
"""Latencies of a subject by process and by block."""


@dataclass(frozen=True)
class World:
    """A machine. Sizes are standard deviations of log latency unless said otherwise."""

    name: str
    noise: float = 0.01
    """Of each run apart."""
    slow_noise: float = 0.0
    """Of what changes steadily (AR(1)) and hits whoever runs."""
    slow_noise_s: float = 1.0
    """In which its autocorrelation falls to 1/e."""
    shift: float = 0.0
    """Of log latency while something else is busy: it comes and goes at random."""
    shift_s: float = 1.0
    """How long either lasts, on average."""
    process: float = 0.0
    """Of a process's own level: its memory happened to lie well or badly."""
    outlier_share: float = 0.0
    """Of runs that something interrupted: they take longer by a Pareto-distributed share."""

    def timeline(self, runs: int, generator: np.random.Generator) -> Series:
        """What the machine adds to log latency, run after run."""
        kept = np.exp(-LATENCY_S / self.slow_noise_s)
        steps = generator.standard_normal(runs) * self.slow_noise * np.sqrt(1 - kept**2)
        level = self.slow_noise * generator.standard_normal()
        slow = np.empty(runs)
        for run in range(runs):
            slow[run] = level = kept * level + steps[run]
        turns = np.cumsum(generator.random(runs) < LATENCY_S / self.shift_s) + generator.integers(2)
        return slow + self.shift * (turns % 2)

    def latencies(self, machine: Series, generator: np.random.Generator) -> Series:
        """Seconds of runs at which the machine added so much."""
        hit = generator.random(machine.size) < self.outlier_share
        longer = np.minimum(1 + 0.1 * generator.pareto(1.5, machine.size), 50)
        return LATENCY_S * np.exp(machine + self.noise * generator.standard_normal(machine.size)) * np.where(hit, longer, 1)

    def interleaved(self, plan: Plan, generator: np.random.Generator) -> tuple[Processes, Processes]:
        """Two subjects that take the same time, measured as `plan` says, taking turns in random order."""
        runs = round(plan.block_s / LATENCY_S)
        machine = self.timeline(plan.processes * (2 * plan.blocks * runs + round(2 * _START_S / LATENCY_S)), generator)
        each = np.split(machine, plan.processes)
        first: Processes = []
        second: Processes = []
        for of_process in each:
            turns = of_process[: 2 * plan.blocks * runs].reshape(plan.blocks, 2, runs)
            levels = self.process * generator.standard_normal(2)
            swapped = generator.random(plan.blocks) < 0.5
            turns[swapped] = turns[swapped, ::-1].copy()
            for subject, level, blocks in ((first, levels[0], turns[:, 0]), (second, levels[1], turns[:, 1])):
                subject.append([self.latencies(block + level, generator).tolist() for block in blocks])
        return first, second

    def one_after_the_other(self, runs: int, generator: np.random.Generator) -> tuple[Series, Series]:
        """Two subjects that take the same time, each in a process of its own, all runs of the one before those of the other."""
        machine = self.timeline(2 * runs + round(_START_S / LATENCY_S), generator)
        levels = self.process * generator.standard_normal(2)
        return self.latencies(machine[:runs] + levels[0], generator), self.latencies(machine[-runs:] + levels[1], generator)

    def quantile(self, q: float, generator: np.random.Generator) -> float:
        """The true `q`-quantile of latency, over all processes and times."""
        machine = np.concatenate([self.timeline(2_000, generator)[::20] for _ in range(2_000)])
        levels = self.process * generator.standard_normal(machine.size)
        return float(np.quantile(self.latencies(machine + levels, generator), q))


WORLDS = (
    World("independent runs"),
    World("autocorrelated (AR(1), 0.2 s)", slow_noise=0.03, slow_noise_s=0.2),
    World("slow drift (AR(1), 5 s)", slow_noise=0.05, slow_noise_s=5.0),
    World("levels of 10 % that come and go", shift=0.10, shift_s=2.0),
    World("processes that differ by 1 %", process=0.01),
    World("heavy-tailed outliers, 3 % of runs", outlier_share=0.03),
    World(
        "all of it",
        slow_noise=0.02,
        slow_noise_s=1.0,
        shift=0.05,
        shift_s=2.0,
        process=0.005,
        outlier_share=0.02,
    ),
)
