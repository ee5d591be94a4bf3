"""Device profiles: what a device and its runtimes accept, and the best it can do, each figure with its source."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edgekit import data_files, typed_yaml
from edgekit.errors import UnknownName, Unsupported


class Figure(typed_yaml.Frozen):
    """A number and where it comes from; an unknown is null and says why."""

    value: float | None
    source: str


class RuntimeProfile(typed_yaml.Frozen):
    """What one runtime on the device takes. Passes ask this, never the target's name."""

    max_rank: int | None = None
    """Largest tensor rank; null when there is no limit below PyTorch's."""
    complex_numbers: bool = False
    dynamic_shapes: bool = False
    dtypes: tuple[str, ...] = ("float32",)
    preferred_layout: Literal["channels_first", "channels_last"] | None = None
    leaves_accelerator: tuple[str, ...] = ()
    """ATen operators that fall back from the accelerator to a slower unit."""
    minimum_os: str | None = None
    """The oldest operating system the artifact must load on, as the converter names it."""
    opset: int | None = None
    """The ONNX opset the runtime takes."""
    source: str


class DeviceProfile(typed_yaml.Frozen):
    """One device. `peak_ops_per_s` counts a multiply-add as two operations, by dtype."""

    name: str
    description: str
    transport: Literal["local"] | None
    """How edgekit reaches the device to measure on it; null when it cannot yet."""
    runtimes: dict[str, RuntimeProfile]
    """By target."""
    peak_ops_per_s: dict[str, Figure]
    memory_bandwidth_bytes_per_s: Figure
    memory_bytes: Figure


def names() -> list[str]:
    """The shipped profiles' names."""
    return data_files.names("device_profiles")


def load(device: str) -> DeviceProfile:
    """The profile named `device`, or in the YAML file `device`. Raises UnknownName with near names."""
    if device.endswith((".yaml", ".yml")):
        return typed_yaml.read(Path(device), DeviceProfile)
    if device not in names():
        raise UnknownName("device", device, names(), listing="edgekit devices")
    return typed_yaml.read(data_files.folder("device_profiles") / f"{device}.yaml", DeviceProfile)


def for_target(device: DeviceProfile, target: str) -> RuntimeProfile:
    """What `device` accepts of `target`. Raises Unsupported when the device has no runtime for it."""
    if target not in device.runtimes:
        able = [name for name in names() if target in load(name).runtimes]
        raise Unsupported(
            f"{device.name} does not run {target} artifacts",
            cause=f"its profile has runtimes for {', '.join(sorted(device.runtimes))}",
            next_step=f"choose a device that does: {', '.join(able)}",
        )
    return device.runtimes[target]
