"""The same load for every calibration: what a desktop does beside a measurement."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from edgekit.profiling import machine

BUSY = """
import os, random, sys, time
import numpy as np
core, busy_s, idle_s = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
if core >= 0:
    os.sched_setaffinity(0, {core})
random.seed(core)
matrix, much = np.ones((512, 512), np.float32), np.ones(2**25, np.float32)
while os.getppid() == int(sys.argv[4]):
    ends, compute = time.monotonic() + random.expovariate(1 / busy_s), random.random() < 0.5
    while time.monotonic() < ends:
        matrix @ matrix if compute else much.copy()
    time.sleep(random.expovariate(1 / idle_s))
"""
"""Works and rests in turns of random length, at products of matrices or at copying memory, until its parent is gone."""
OTHERS_S = 0.5, 0.5
"""Busy and idle, on average, of a process on each core that is not measured on: half of its time."""
INTRUDER_S = 0.02, 0.4
"""Of one that runs on any core, also on the measured one: a twentieth of its time."""
WORDS = (
    "a process on every core but the measured one, busy for half of its time with products of matrices or copies of memory, "
    "and one on any core for a twentieth of its time (`scripts/calibration/background.py`)"
)


@contextlib.contextmanager
def load() -> Iterator[None]:
    """Keep the machine busy meanwhile."""
    measured = machine.fastest_core()
    cores = [core for core in machine.usable() if core != measured]
    turns = [(core, *OTHERS_S) for core in cores] + [(-1, *INTRUDER_S)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([sys.executable, "-c", BUSY, *map(str, turn), str(os.getpid())], env=environment) for turn in turns
    ]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()
