"""Joules a run, by whichever meter a device has. A meter is one file here, found by its name.

A meter file exports `find(shell) -> Meter | Energy | None`: the meter; or the reason why a device of its kind has none that
can be used; or None where the device is of another kind. A GPU's takes the GPU's index too, and always answers.

Measured are the idle device, the runs, and the idle device again, each for a window that the counter can resolve. All is read
through the device's shell and with the device's own time: neither a slow link nor a replayed recording moves a figure.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal

from edgekit.devices.link.shell import COMMAND_LIMIT_S, Shell
from edgekit.profiling.measurement import Energy

Absence = Literal["no_counter", "permission_denied", "counter_static", "window_too_short", "charging"]

ORDER: Final = ("rapl", "apple_silicon", "android_rails", "fuel_gauge")
"""What covers least beside the processor comes first."""
_UPDATES = 20
_LEAST_WINDOW_S = 2.0
_USUAL_WINDOW_S = 5.0
_MARGIN = 1.25
"""Over the least: a device that is told a number of runs may be done with them sooner than it was thought to be."""
_DRIFT = 0.10
_CLOCK_SLACK = 0.99
"""Of a window's length: the device's clock may count in hundredths of a second."""


@dataclass(frozen=True)
class Reading:
    """What a meter has counted up to a moment; only differences mean anything."""

    joules: float
    at_s: float
    """The device's clock."""


class NotMeasured(Exception):  # noqa: N818 - an answer, not a failure
    """A meter that cannot tell: `status` as `Energy` has it, `reason` with what to do."""

    def __init__(self, status: Absence, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Meter(ABC):
    """A counter of energy that can be read. Use it as a context manager around its windows."""

    name: str
    """Of its file."""
    scope: str
    """What it covers, as `Energy` says it."""
    method: str
    update_interval_s: float
    """How often the counter is renewed."""
    settle_s: float = 0.0
    """How long the counter lags behind the load."""
    longest_window_s: float = math.inf
    """Past it, the counter may have wrapped more than once."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell

    @abstractmethod
    def read(self) -> Reading:
        """Joules since some moment before the first reading. Raises NotMeasured."""

    def rest(self, seconds: float) -> None:
        """Leave the device idle."""
        if seconds > 0:
            self.shell.run(["sleep", f"{seconds:g}"], limit_s=seconds + COMMAND_LIMIT_S)

    def __enter__(self) -> Meter:
        return self

    def __exit__(  # noqa: B027 - most meters hold nothing
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of what it holds."""

    @property
    def least_window_s(self) -> float:
        """A shorter one measures the counter's steps: 20 of its updates, and 2 s."""
        return max(_LEAST_WINDOW_S, _UPDATES * self.update_interval_s)


@dataclass(frozen=True)
class Window:
    """What went through a meter between two readings."""

    joules: float
    seconds: float

    @property
    def watts(self) -> float:
        return self.joules / self.seconds


def names() -> list[str]:
    """The meters' names."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_"))


def find(shell: Shell, gpu: int | None = None) -> Meter | Energy:
    """The first usable meter; else why there is none, with what to do about it. `gpu` is the index, as `nvidia-smi` counts, of
    the GPU that runs are made on: then only its own counter says something of them."""
    if gpu is not None:
        from edgekit.profiling.energy import nvml

        return nvml.find(shell, gpu)
    missing: list[Energy] = []
    for name in ORDER:
        found: Meter | Energy | None = importlib.import_module(f"{__name__}.{name}").find(shell)
        if isinstance(found, Meter):
            return found
        if found is not None:
            missing.append(found)
    if not missing:
        return Energy("no_counter", reason="this device has none of the counters that edgekit reads")
    telling = [energy for energy in missing if energy.status != "no_counter"] or missing  # what can be had, before what cannot
    return Energy(telling[0].status, reason="; ".join(energy.reason or energy.status for energy in telling))


def absent(name: str, status: Absence, reason: str) -> Energy:
    """Why the meter `name` gives nothing."""
    return Energy(status, reason=reason, meter=name)


def measure(meter: Meter, run_for: Callable[[float], int], *, window_s: float | None = None) -> Energy:
    """Energy of a run, where `run_for(seconds)` runs the subject that long and tells how many runs that were.

    The device must have nothing else to do meanwhile. `window_s` is that of the runs and of each of the two idle windows; by
    default 5 s, or more where the counter needs it.
    """
    length_s = max(_USUAL_WINDOW_S, _MARGIN * meter.least_window_s) if window_s is None else window_s
    try:
        with meter:
            meter.rest(meter.settle_s)
            before = _window(meter, lambda: meter.rest(length_s))
            if meter.settle_s:
                run_for(meter.settle_s)
            runs = 0

            def busy() -> None:
                nonlocal runs
                runs = run_for(length_s)

            load = _window(meter, busy)
            meter.rest(meter.settle_s)
            after = _window(meter, lambda: meter.rest(length_s))
    except NotMeasured as absence:
        return _absent(meter, absence)
    return judge(meter, before, load, runs, after)


def judge(meter: Meter, before: Window, load: Window, runs: int, after: Window) -> Energy:
    """What the three windows say of one of the `runs`: idle, busy, idle."""
    try:
        _check(meter, load, runs)
    except NotMeasured as absence:
        return _absent(meter, absence)
    gross_j = load.joules / runs
    idle_w, reason = _idle(before, after)
    net_j = None if idle_w is None else gross_j - idle_w * load.seconds / runs
    if net_j is not None and net_j <= 0:
        net_j, reason = None, "the device took no more with the runs than idle: gross_j says nothing of them"
    return Energy(
        "measured",
        reason=reason,
        gross_j=gross_j,
        net_j=net_j,
        idle_w=idle_w,
        meter=meter.name,
        scope=meter.scope,
        method=meter.method,
        window_s=load.seconds,
        runs=runs,
    )


def with_a_load(found: Energy, load_s: float | None) -> Energy:
    """What was `found` in a window in which the model was loaded too, in `load_s` where that is known: the reason says so."""
    if found.gross_j is None or found.window_s is None:
        return found
    load = "a load" if load_s is None else f"a load of {load_s:.2g} s"
    said = f"the {found.window_s:.1f} s that were measured include {load}, whose energy the runs share"
    return dataclasses.replace(found, reason=f"{found.reason}; {said}" if found.reason else said)


def _window(meter: Meter, meanwhile: Callable[[], None]) -> Window:
    first = meter.read()
    meanwhile()
    last = meter.read()
    return Window(last.joules - first.joules, last.at_s - first.at_s)


def _check(meter: Meter, load: Window, runs: int) -> None:
    """Raise NotMeasured where the window cannot be told from the counter's own steps."""
    least_s = meter.least_window_s
    if runs < 1 or load.seconds < _CLOCK_SLACK * least_s:
        raise NotMeasured(
            "window_too_short",
            f"{runs} runs in {load.seconds:.2f} s: this counter is renewed every {meter.update_interval_s:g} s and needs runs "
            f"for {least_s:g} s",
        )
    if load.seconds > meter.longest_window_s:
        raise NotMeasured(
            "no_counter",
            f"the runs went on for {load.seconds:.0f} s, in which this counter may wrap more than once",
        )
    if load.joules <= 0:
        raise NotMeasured(
            "counter_static",
            f"the counter did not move in {load.seconds:.1f} s of runs: that is not zero joules but a counter that is switched "
            "off, as on some virtual machines; measure on the machine itself",
        )


def _idle(before: Window, after: Window) -> tuple[float | None, str | None]:
    """Idle watts, and what is to be said of them."""
    if min(before.joules, after.joules, before.seconds, after.seconds) <= 0:
        return None, "the counter did not move while the device was idle: no idle share can be taken off"
    idle_w = (before.joules + after.joules) / (before.seconds + after.seconds)
    low, high = sorted((before.watts, after.watts))
    if high > (1 + _DRIFT) * low:
        return idle_w, (
            f"the idle device took {before.watts:.3g} W before the runs and {after.watts:.3g} W after them: net_j is as "
            "uncertain as that; close other programs, let the device cool, and measure again"
        )
    return idle_w, None


def _absent(meter: Meter, absence: NotMeasured) -> Energy:
    return Energy(absence.status, reason=absence.reason, meter=meter.name, scope=meter.scope, method=meter.method)
