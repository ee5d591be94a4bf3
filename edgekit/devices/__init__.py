"""Transports reach devices to measure on them, one transport a file.

A transport file is found by its name, which device profiles give as `transport`. It exports
`measure(subjects, *, device, threads, duration_s, progress) -> list[Measurement]`, one measurement a subject in the
order given.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from edgekit import profiles
from edgekit.errors import UnknownName, Unsupported


def names() -> list[str]:
    """The transports' names."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))


def find(transport: str) -> ModuleType:
    """The transport of that name. Raises UnknownName with near names."""
    if transport not in names():
        raise UnknownName("transport", transport, names())
    return importlib.import_module(f"{__name__}.{transport}")


def reach(device: profiles.DeviceProfile) -> ModuleType:
    """The transport that reaches `device`. Raises Unsupported when none does yet."""
    if device.transport is None:
        reachable = [name for name in profiles.names() if profiles.load(name).transport is not None]
        raise Unsupported(
            f"nothing can be measured on {device.name} from here",
            cause="edgekit cannot reach this device yet: its profile names no transport",
            next_step=f"measure on {' or '.join(reachable)}, and read those figures as that machine's",
        )
    return find(device.transport)
