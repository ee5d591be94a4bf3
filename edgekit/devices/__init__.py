"""Devices to measure on, each reached by a transport, one transport a file.

A transport file is found by its name: `host`, `cuda`, `ssh:pi@board`. It exports

- `connect(name, address, tape) -> Device`, where `name` is what the user gave and `address` what follows its colon;
- `connected() -> list[Connected]`: what it could reach now, asked quickly.

`profiling.job` is the one engine that measures on any of them.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING

from edgekit import profiles
from edgekit.errors import UnknownName, Unsupported

if TYPE_CHECKING:
    from edgekit.devices.link.shell import Shell
    from edgekit.devices.link.tape import Tape
    from edgekit.profiling.measurement import DeviceParity, Memory, OperatorProfile
    from edgekit.profiling.plan import Plan
    from edgekit.profiling.roofline import Peak
    from edgekit.profiling.settings import Settings
    from edgekit.profiling.subject import Subject
    from edgekit.profiling.timing import WarmUp


@dataclass(frozen=True)
class Facts:
    """What a device says of itself; null is what it does not tell."""

    os: str
    hardware: str | None = None
    """A board's, a phone's or a processor's name."""
    cpu: str | None = None
    cpu_flags: tuple[str, ...] | None = None
    cores: int | None = None
    gpu: str | None = None


@dataclass(frozen=True)
class Connected:
    """A device that a transport could reach now."""

    name: str
    """As `--device` takes it."""
    what: str
    usable: bool = True
    next_step: str = ""
    """What makes it usable, where it is not."""


@dataclass(frozen=True)
class Opened:
    """What a trial knows once its model is open and has run once."""

    runtime: str
    inputs: str
    """What it is run on."""
    io_bytes: int
    """Of all inputs and outputs."""
    input_shapes: dict[str, tuple[int, ...]]
    threads: int | None = None
    spinning: bool | None = None
    load_s: float | None = None
    load_was_cold: bool | None = None
    first_run_s: float | None = None
    macs: int | None = None
    weight_bytes: int | None = None
    parity: DeviceParity | None = None


@dataclass(frozen=True)
class Block:
    """Timed runs, one after another without a pause."""

    latency_s: tuple[float, ...]
    waited_share: float | None = None
    waited_s: tuple[float, ...] | None = None
    """Of each run, for how long something else had its core."""
    warm_up: WarmUp | None = None
    """Where every block is a process of its own, and warms up itself."""


class Trial(ABC):
    """One subject, open in one fresh process on a device. Use it as a context manager."""

    opened: Opened
    """As its process last told."""
    cores: tuple[int, ...] | None = None
    """The cores its process was pinned to."""
    loads_anew = False
    """Whether `run_for` opens the model in a process of its own, rather than running the one that is open."""

    @abstractmethod
    def warm_up(self) -> WarmUp | None:
        """Run until steady. None where the device cannot be asked to."""

    @abstractmethod
    def block(self, duration_s: float) -> Block:
        """Run for about `duration_s`, timed on the device."""

    @abstractmethod
    def run_for(self, duration_s: float) -> int:
        """Run for `duration_s` without timing each run; how many runs that were."""

    @abstractmethod
    def finish(self) -> Memory:
        """What the process took."""

    def operators(self) -> OperatorProfile | None:
        """Where the time of a run goes. None where the device cannot tell."""
        return None

    def close(self) -> None:  # noqa: B027 - not every trial holds something
        """End the process."""

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Device(ABC):
    """A device within reach. Use it as a context manager.

    Its methods raise DeviceError when it is lost, full, locked or refuses.
    """

    name: str
    """As the user gave it; that of the recorded device where a recording is replayed."""
    tape: Tape
    """What every exchange with it goes through."""
    shell: Shell | None = None
    """Null where the device has none to offer (a phone of Apple's)."""
    gpu_index: int | None = None
    """Of the GPU that its trials compute on, as `nvidia-smi` counts; null where they compute on the processor."""

    def check(self, settings: Settings) -> None:  # noqa: B027 - not every device has limits
        """Raise UsageError or Unsupported, before anything runs, for what cannot be had here."""

    @abstractmethod
    def facts(self) -> Facts:
        """What it says of itself."""

    @abstractmethod
    def plan(self, settings: Settings) -> Plan:
        """How many processes and blocks a measurement takes here."""

    @abstractmethod
    def start(self, subject: Subject, settings: Settings, *, cold: bool) -> Trial:
        """Open `subject` in a fresh process; `cold` asks for its files to be out of the page cache."""

    def peak(self, settings: Settings) -> Peak | None:
        """The best its hardware does, measured. None where that is not known."""
        return None

    def close(self) -> None:  # noqa: B027 - not every device holds something
        """Remove what was put there, and let go."""

    def __enter__(self) -> Device:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def transports() -> list[str]:
    """The transports' names."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.ispkg)


def transport(name: str) -> ModuleType:
    """The transport of that name. Raises UnknownName with near names."""
    if name not in transports():
        raise UnknownName("transport", name, transports())
    return importlib.import_module(f"{__name__}.{name}")


def connect(name: str, tape: Tape) -> Device:
    """The device `name`: a transport with what follows its colon (`ssh:pi@board`), or a device profile of this machine.

    Raises UnknownName with near names, Unsupported for a profile whose device is not this machine, and whatever the
    transport raises for a device out of reach.
    """
    kind, _, address = name.partition(":")
    if kind in transports() and kind != profiles.HOST:
        device: Device = transport(kind).connect(name, address, tape)
        return device
    profile = profiles.load(name)
    if profile.transport is None:
        ways = ", ".join(f"{one}:..." for one in transports() if one not in (profiles.HOST, "cuda", "replay"))
        raise Unsupported(
            f"{name} is a profile to export for, not a device within reach",
            cause="a device profile says what a device takes, not where one is",
            next_step=f"give the device itself as {ways} (see `edgekit devices`), or measure on {profiles.HOST}",
        )
    reached: Device = transport(profile.transport).connect(profile.name, "", tape)
    return reached


def connected() -> list[Connected]:
    """What could be measured on now, over all transports."""
    return [found for name in transports() for found in transport(name).connected()]
