"""What the programs that measure on a phone have in common, and how one that failed is told.

A program's file here exports

- `NAME`, and the `VARIABLE` of the environment that names the user's build of it;
- `TARGET`: the artifacts it runs, and `RUNTIME`, what runs them;
- `LOGS`: the tag of its lines in Android's log, where some builds print nothing else; None for a program that never does;
- `GIVES_OUTPUTS`: whether it can write what the model gave;
- `SPINS`: whether it can be told to spin or not;
- `input_files(inputs)`: what it reads its inputs from;
- `arguments(model, runs, ...)`: its command line, for one run more than `runs`: the first is told apart;
- `read(text)`: what it printed.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

from edgekit.errors import DeviceError

RESULT = "edgekit_result.csv"
"""The file a program writes its runs to, where it prints none: its content comes after what it printed."""
OUTPUT = "edgekit_output"

_TIMED_OUT = 124
_KILLED = 137
_AT_ONCE = 127
"""What toybox's `timeout` may give for a program that ends before it waits, whatever its code was."""
_LINES = 3


@dataclass(frozen=True)
class Told:
    """What a program printed, in seconds and bytes; null is what it did not."""

    latency_s: tuple[float, ...] = ()
    """Every run but the first, in order."""
    load_s: float | None = None
    first_run_s: float | None = None
    peak_bytes: int | None = None


def failed(name: str, code: int, text: str, limit_s: float) -> DeviceError | None:
    """The error for a program that ended with `code`; None when all went well."""
    if code == 0:
        return None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    end = "; ".join(lines[-_LINES:]) or "it printed nothing"
    logs = "see `adb logcat -d -s ExecuTorch:V DEBUG:V` (a crash leaves a backtrace there)"
    if code == _TIMED_OUT or (code == _KILLED and not lines):
        return DeviceError(
            f"{name} did not end within {limit_s:.0f} s on the phone", cause=end, next_step=f"measure for less long, or {logs}"
        )
    if "CANNOT LINK" in text or "error while loading shared libraries" in text:
        return DeviceError(
            f"{name} cannot start on the phone",
            cause=end,
            next_step="put the shared libraries it needs beside it here",
        )
    if code == 126 or "Permission denied" in text:
        return DeviceError(
            f"the phone does not let {name} run",
            cause=end,
            next_step="check that a program in /data/local/tmp may be executed there (SELinux: `adb shell dmesg | grep avc`)",
        )
    if "taskset: " in text:
        return DeviceError(f"the phone does not let {name} run on those cores", cause=end, next_step="give others with --cores")
    if code == _AT_ONCE:
        return DeviceError(f"{name} ended at once on the phone", cause=end, next_step=logs)
    if code > 128:
        number = code - 128
        known = number in {one.value for one in signal.Signals}
        how = f"by signal {signal.Signals(number).name if known else number}"
        return DeviceError(f"{name} was ended on the phone {how}", cause=end, next_step=logs)
    return DeviceError(f"{name} failed on the phone with code {code}", cause=end, next_step=logs)


def garbage(name: str, text: str, missing: str) -> DeviceError:
    """The error for a program that ended well and did not print what it should have."""
    shown = " ".join(text.split())
    return DeviceError(
        f"{name} printed what edgekit cannot read",
        cause=f"{missing}: {shown[:200]!r}",
        next_step="build it as docs/android.md says, of a version that it names",
    )
