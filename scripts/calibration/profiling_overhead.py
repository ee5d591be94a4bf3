"""What profiling adds: to a run, beside a bare loop over the same model in a process of its own, and to the command."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit.devices import connect
from edgekit.devices.link.tape import Live
from edgekit.profiling import machine, plan, statistics
from edgekit.profiling.measurement import Estimate
from edgekit.profiling.settings import Settings
from edgekit.profiling.subject import describe

BARE = """
import os, sys, time
import numpy as np, onnxruntime
if sys.argv[2]:
    os.sched_setaffinity(0, {int(sys.argv[2])})
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
[tensor] = session.get_inputs()
feed = {tensor.name: np.random.default_rng(0).standard_normal(tensor.shape).astype(np.float32)}
names = [output.name for output in session.get_outputs()]
for line in sys.stdin:
    ends, taken = time.perf_counter() + float(line), []
    while time.perf_counter() < ends:
        started = time.perf_counter()
        session.run(names, feed)
        taken.append(time.perf_counter() - started)
    print(*taken, flush=True)
"""
"""Nothing of edgekit's: a block of runs for every number of seconds it is told."""


class Bare:
    """The near end of a bare loop."""

    def __init__(self, model_file: Path) -> None:
        core = machine.fastest_core()  # as a profiled process of one thread is pinned
        command = [sys.executable, "-c", BARE, str(model_file), "" if core is None else str(core)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Bare:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def block(self, duration_s: float) -> list[float]:
        """Seconds of each run in about `duration_s`, after 20 ms of untimed ones."""
        self._ask(0.02)
        return self._ask(duration_s)

    def _ask(self, duration_s: float) -> list[float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(duration_s, file=self._process.stdin, flush=True)
        return [float(taken) for taken in self._process.stdout.readline().split()]


def of_a_run(artifact: Path) -> Estimate:
    """The median latency that profiling measures over that of the bare loop, interleaved."""
    settings, subject = Settings(), describe(artifact)
    chosen = plan.of(settings)
    order = random.Random(0)
    profiled: list[list[list[float]]] = []
    bare: list[list[list[float]]] = []
    with connect("host", Live()) as device:
        for generation in range(chosen.processes):
            with contextlib.ExitStack() as alive:
                # Each is the first to open its model as often as the other: memory is handed out in that order.
                early = alive.enter_context(Bare(artifact / "model.onnx")) if generation % 2 else None
                trial = alive.enter_context(device.start(subject, settings, cold=False))
                beside = early or alive.enter_context(Bare(artifact / "model.onnx"))
                trial.warm_up()
                beside.block(0.3)
                ours: list[list[float]] = []
                theirs: list[list[float]] = []
                for _ in range(2 * chosen.blocks):
                    for our_turn in order.sample((True, False), 2):
                        if our_turn:
                            ours.append(list(trial.block(chosen.block_s).latency_s))
                        else:
                            theirs.append(beside.block(chosen.block_s))
            profiled.append(ours)
            bare.append(theirs)
    return statistics.ratio_of_medians(profiled, bare, paired=True)


def of_the_command(artifact: Path) -> tuple[float, float, float]:
    """Seconds of `edgekit profile`: all of it, its runs, loads and warm-ups, and the starts of its processes with the imports
    of the runtime's libraries."""
    command = [str(Path(sys.executable).with_name("edgekit")), "profile", str(artifact), "--json"]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    whole_s = time.perf_counter() - started
    [measured] = json.loads(done.stdout)
    processes = measured["processes"]
    spent_s = sum(sum(one["latency_s"]) + one["load_s"] + one["first_run_s"] + one["warmup_s"] for one in processes)
    return whole_s, spent_s, len(processes) * start_s()


def start_s(rounds: int = 5) -> float:
    """Seconds a process takes that starts Python and imports what a session needs, the median of several."""
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import numpy, onnxruntime"], check=True)
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


def section(artifact: Path) -> Sequence[str]:
    """What profiling adds, in Markdown."""
    ratio = of_a_run(artifact)
    whole_s, spent_s, starts_s = of_the_command(artifact)
    return [
        "## What profiling adds\n",
        f"To a run (less than 1 % wanted): {ratio.value:.4f} of the latency that a bare loop measures in a process "
        "of its own, interleaved"
        f", load average {os.getloadavg()[0]:.1f}"
        + (f" (95 % interval {ratio.low:.4f} to {ratio.high:.4f}).\n" if ratio.low and ratio.high else ".\n"),
        f"To the command: `edgekit profile` took {whole_s:.1f} s, of which {spent_s:.1f} s were runs, loads and warm-ups and "
        f"{starts_s:.1f} s starting Python with the runtime's libraries in {plan.of(Settings()).processes} processes: "
        f"{whole_s - spent_s - starts_s:.1f} s beyond those (less than 2 s wanted), the runs that fill the caches before each "
        "block among them.\n",
    ]
