"""What the system tells: the shapes of its answers, and one that must move when a core is fought over."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgekit.profiling import machine

_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_the_machine_is_named() -> None:
    assert len(machine.os_name().split()) >= 3
    assert machine.usable_cores() >= 1
    assert machine.cpu() != ""
    flags = machine.cpu_flags()
    assert flags is None or list(flags) == sorted(flags)


def test_memory_peaks_no_lower_than_it_stands() -> None:
    ballast = bytearray(50_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    assert machine.peak_resident_bytes() >= machine.resident_bytes() > len(ballast)


@_linux
def test_a_pinned_process_stays_on_its_core() -> None:
    program = "from edgekit.profiling import machine as m; c = m.fastest_core(); m.pin([c]); print(m.fastest_core() == c)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "True\n"


@_linux
def test_waiting_for_a_core_that_another_process_holds_is_counted() -> None:
    program = """if True:
        import os, sys
        from edgekit.profiling import machine
        machine.pin([machine.fastest_core()])
        rival = os.fork()
        while machine.core_wait_s() < 0.1:  # two that never rest on one core: each waits for the other
            pass
        if rival:
            os.kill(rival, 9)
    """
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
