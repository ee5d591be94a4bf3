"""What the operating system says about this machine and this process."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

# fmt: off
_RELEVANT_FLAGS = frozenset({
    "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16", "hypervisor",
    "asimd", "asimdhp", "asimddp", "asimdfhm", "i8mm", "bf16", "sve", "sve2", "sme", "sme2",
})
# fmt: on


def os_name() -> str:
    """System, kernel release and architecture."""
    return f"{platform.system()} {platform.release()} {platform.machine()}"


def cpu() -> str | None:
    """The processor's model name."""
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string")
    return _cpuinfo().get("model name")


def cpu_flags() -> tuple[str, ...] | None:
    """The instruction sets that matter to inference, sorted; None where the system does not list them."""
    cpuinfo = _cpuinfo()
    listed = cpuinfo.get("flags", cpuinfo.get("Features"))
    return None if listed is None else tuple(sorted(_RELEVANT_FLAGS.intersection(listed.split())))


def usable_cores() -> int:
    """Logical cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fastest_core() -> int | None:
    """The core to pin a single thread to: of the highest clock, then of the highest number (the first serve most
    interrupts). None where the system cannot pin."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    return max(os.sched_getaffinity(0), key=lambda core: (_max_frequency(core), core))


def pin(core: int) -> None:
    """Keep this process, and the threads it starts from now on, on `core`."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def resident_bytes() -> int:
    """Resident set of this process now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def peak_resident_bytes() -> int:
    """Largest resident set of this process so far.

    Linux's `ru_maxrss` survives exec and so starts at the parent's size: `VmHWM` is this program's own.
    """
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


def core_wait_s() -> float | None:
    """Seconds for which threads of this process were ready to run while something else had the core, since it started.
    None where the system does not keep count (Linux does)."""
    try:
        counts = [(task / "schedstat").read_text() for task in Path("/proc/self/task").iterdir()]
    except OSError:
        return None
    return sum(int(count.split()[1]) for count in counts) / 1e9


def _cpuinfo() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = [line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line]
    return {key.strip(): value.strip() for key, value in pairs}


def _max_frequency(core: int) -> int:
    try:
        return int(Path(f"/sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq").read_text())
    except (OSError, ValueError):
        return 0  # virtual machines do not say: all cores alike


def _sysctl(name: str) -> str | None:
    result = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=False)
    return result.stdout.strip() or None
