"""What the operating system says about this machine and this process."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

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


def facts() -> dict[str, Any]:
    """The fields of `devices.Facts`."""
    return {"os": os_name(), "hardware": hardware(), "cpu": cpu(), "cpu_flags": cpu_flags(), "cores": usable_cores()}


def told() -> dict[str, Any]:
    """The facts, and which cores there are to run on: what a worker says of the machine it runs on."""
    return {"facts": facts(), "usable": usable(), "fastest_core": fastest_core()}


def hardware() -> str | None:
    """A board's own name (`Raspberry Pi 5 Model B Rev 1.0`); the processor's where it has none."""
    try:
        told = Path("/proc/device-tree/model").read_text(encoding="utf-8", errors="replace")
    except OSError:
        told = ""
    return told.strip("\0 \n") or cpu()


def cpu() -> str | None:
    """The processor's model name; those of all kinds of cores where they differ."""
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string")
    return _cpuinfo().get("model name") or _lscpu()


def cpu_flags() -> tuple[str, ...] | None:
    """The instruction sets that matter to inference, sorted; None where the system does not list them."""
    cpuinfo = _cpuinfo()
    listed = cpuinfo.get("flags", cpuinfo.get("Features"))
    return None if listed is None else relevant_flags(listed)


def relevant_flags(listed: str) -> tuple[str, ...]:
    """Those of the `listed` ones that matter to inference, sorted."""
    return tuple(sorted(_RELEVANT_FLAGS.intersection(listed.split())))


def usable() -> list[int]:
    """The logical cores this process may run on, by number."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def usable_cores() -> int:
    """How many logical cores this process may run on."""
    return len(usable())


def fastest_core() -> int | None:
    """The core to pin a single thread to: of the highest clock, then of the highest number (the first serve most
    interrupts). None where the system cannot pin."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    return max(os.sched_getaffinity(0), key=lambda core: (_max_frequency(core), core))


def pin(cores: Iterable[int]) -> None:
    """Keep this process, and the threads it starts from now on, on `cores`."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(cores))


def resident_bytes() -> int | None:
    """Resident set of this process now; None where the system does not tell (Linux does)."""
    return _status_bytes("VmRSS")


def forget_peak() -> bool:
    """Let the largest resident set start anew from what is resident now; whether the system does so (Linux does)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak_resident_bytes() -> int:
    """Largest resident set of this process so far, or since `forget_peak`.

    Linux's `ru_maxrss` survives exec and so starts at the parent's size: `VmHWM` is this program's own.
    """
    if (told := _status_bytes("VmHWM")) is not None:
        return told
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


def forget_files(files: Iterable[Path]) -> bool:
    """Put `files` out of the page cache, so that opening them reads the disk; whether all of them are out now."""
    for file in files:
        try:
            descriptor = os.open(file, os.O_RDONLY)
        except OSError:
            return False
        try:
            os.fsync(descriptor)  # what is not on the disk yet cannot be put out
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            if _cached_pages(descriptor):
                return False
        except (OSError, AttributeError):
            return False
        finally:
            os.close(descriptor)
    return True


def _cached_pages(descriptor: int) -> int:
    """How many pages of an open file are in the page cache (mincore)."""
    size = os.fstat(descriptor).st_size
    if not size:
        return 0
    pages = -(-size // mmap.PAGESIZE)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    place = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if place == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")
    try:
        present = ctypes.create_string_buffer(pages)
        if libc.mincore(place, size, present):
            raise OSError(ctypes.get_errno(), "mincore")
        return sum(page & 1 for page in present.raw)
    finally:
        libc.munmap(place, size)


def core_wait_s() -> float | None:
    """Seconds for which threads of this process were ready to run while something else had the core, since it started.
    None where the system does not keep count (Linux does)."""
    try:
        counts = [(task / "schedstat").read_text() for task in Path("/proc/self/task").iterdir()]
    except OSError:
        return None
    return sum(int(count.split()[1]) for count in counts) / 1e9


def _status_bytes(field: str) -> int | None:
    """A size in /proc/self/status."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{field}:")), None)


def thread_wait_clock() -> Callable[[], float] | None:
    """Reads, in microseconds of time, the seconds for which the thread that calls this was ready to run while something else
    had the core. None where the system does not keep count (Linux does)."""
    try:
        counts = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
    except OSError:
        return None
    return lambda: int(os.pread(counts, 64, 0).split()[1]) / 1e9


def _cpuinfo() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = [line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line]
    return {key.strip(): value.strip() for key, value in pairs}


def _lscpu() -> str | None:
    """The names that lscpu has for ARM's cores, which /proc/cpuinfo only numbers."""
    try:
        told = subprocess.run(["lscpu"], capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"}).stdout
    except OSError:
        return None
    pairs = [line.split(":", 1) for line in told.splitlines() if ":" in line]
    return " + ".join(dict.fromkeys(value.strip() for key, value in pairs if key.strip() == "Model name")) or None


def _max_frequency(core: int) -> int:
    try:
        return int(Path(f"/sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq").read_text())
    except (OSError, ValueError):
        return 0  # virtual machines do not say: all cores alike


def _sysctl(name: str) -> str | None:
    result = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=False)
    return result.stdout.strip() or None
