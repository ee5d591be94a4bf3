"""A recorded session in place of its device: `replay:FILE` answers as the device did, and measurements say so."""

from __future__ import annotations

from pathlib import Path

from edgekit import devices
from edgekit.devices import Connected, Device
from edgekit.devices.link.tape import Replay, Tape
from edgekit.errors import InputError, UsageError


def connect(name: str, address: str, tape: Tape) -> Device:
    """The device of the recording at `address`. Raises InputError for what is no recording."""
    if not address:
        raise UsageError("replay takes a recording", next_step="give --device replay:FILE")
    recording = Replay(Path(address))
    recorded = str(recording.header.get("device"))
    if recorded.partition(":")[0] == "replay":
        raise InputError(
            f"{address} is a recording of a replay", cause=f"its device is {recorded}", next_step="record the device itself"
        )
    return devices.connect(recorded, recording)


def connected() -> list[Connected]:
    """A recording is not looked for."""
    return []
