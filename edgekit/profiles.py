"""Device profiles: what a device and its runtimes accept, and the best it can do, each figure with its source."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Literal

from pydantic import Field

from edgekit import data_files, typed_yaml
from edgekit.errors import UnknownName, Unsupported

HOST = "host"
"""What users call the machine edgekit runs on."""
_HOST_FILES = {"x86_64": "host-x86", "amd64": "host-x86", "aarch64": "host-arm64", "arm64": "host-arm64"}


class Figure(typed_yaml.Frozen):
    """A number and where it comes from; an unknown is null and says why."""

    value: float | None
    source: str


class Savings(typed_yaml.Frozen):
    """What integers save against floating point, in nanoseconds of one core; less than nothing where they cost."""

    product: float
    """By each multiply-add of a convolution of one group or a linear."""
    result: float
    """By each element that such makes."""
    depthwise_result: float
    """By each element that a depthwise convolution makes."""
    gelu: float
    """By each element, its conversions included."""
    conversion: float
    """By each element turned into an integer, or back."""
    layout: float
    """By each element between a convolution of integers and one in floating point: they want different layouts."""


class IntegerSupport(typed_yaml.Frozen):
    """What a runtime computes with integers, and how it takes them. Quantization asks this, never the target's name.

    Operators go by their ATen names without overloads: conv2d."""

    activation: Literal["uint8", "int8"] | None = None
    """The integers it computes with; null when it computes in floating point alone."""
    operators: tuple[str, ...] = ()
    """What it has kernels for that read and write those integers, and are worth it."""
    fused: tuple[str, ...] = ()
    """Activations that it computes together with the operator before them."""
    moves: tuple[str, ...] = ()
    """Operators that hand integers on as they are."""
    least_products: int = 1
    """The fewest products that one place of a kernel stands for, input by output channels, with which a convolution of several
    places is faster with integers."""
    grouped: bool = True
    """Whether convolutions of several channels a group are faster with integers; depthwise ones go by `operators`."""
    conversions: Literal["cheap", "dear"] = "cheap"
    """Whether turning a tensor into integers and back costs more than an operator without weight saves by them."""
    saves: Savings | None = None
    """By which maps are left in floating point where integers do not pay; None where they always do."""
    gelu: Literal["native", "sigmoid"] = "native"
    """Whether GELU between integers is computed as such, or as x sigmoid(slope x) where that is as near as seven bits tell."""
    dynamic: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """By weight format: what it computes with integers of each run's own range."""
    dynamic_range: Literal["tensor", "row"] = "tensor"
    """What of that a linear takes one range over: all that it reads, or each row."""
    pointwise_as_linear: bool = False
    """Whether, for that, a pointwise convolution is to be a linear: the runtime has the kernels for linears alone."""
    instead: dict[str, int | str | bool | None] = Field(default_factory=dict)
    """Fields of the runtime's profile that are otherwise for a graph of integers: its passes then ask for these."""
    weights: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """By weight format (int8, int4, uint4, palette, float16): the operators whose weights it takes so, computing in floating
    point."""
    palette_bits: tuple[int, ...] = ()
    """Of an index into a palette."""
    scale_dtype: Literal["float32", "float16"] = "float32"
    """What it keeps scales and tables in: they are rounded to it before integers are computed with them."""
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
    dft_one_product_bytes: int = 64 * 1024
    """The largest matrix with which a Fourier transform over several axes is one product; beyond it, one an axis."""
    spatial_mean: Literal["native", "pooled"] = "native"
    """Whether the mean of a map stays one, or becomes the average pooling of all its pixels."""
    silu: Literal["native", "product"] = "native"
    """Whether SiLU stays an operator, or becomes the product of its operand and a sigmoid."""
    channel_block: int | None = None
    """Channels that lie side by side in a layout of the runtime's own, which convolutions, poolings and elementwise operators
    of equal shapes keep and every other operator leaves; null when it has none."""
    broadcast: Literal["native", "rows"] = "native"
    """Whether sums and products take a value a channel as it is, or repeated along a row of the map."""
    small_groups: Literal["native", "depthwise"] = "native"
    """Whether a convolution of two channels a group stays one, or becomes depthwise ones that the runtime has a kernel for."""
    least_channels: int = 1
    """The fewest input channels that kernels larger than a pixel read without copying them first."""
    depthwise_block: int = 1
    """What the channels of a depthwise convolution are to be a multiple of, for the runtime's faster kernel."""
    depthwise_taps: int | None = None
    """The most taps of a depthwise convolution that the runtime has a kernel for; null when it takes any."""
    ska_dense_pixels: int = 0
    """The largest map on which SKA is a product with one matrix over all its pixels a group; beyond it, shifts."""
    group_norm: Literal["native", "decomposed", "channels_last"] = "native"
    """Whether GroupNorm stays an operator, becomes means and products that the accelerated part has, or, of all channels
    together, reads its map as channels-last."""
    argmax: Literal["native", "last_axis"] = "native"
    """Whether argmax is over whatever axis, or over the last one of its operand transposed."""
    flat_matmul: bool = False
    """Whether products of matrices are better given a single batch axis."""
    minimum_os: str | None = None
    """The oldest operating system the artifact must load on, as the converter names it."""
    opset: int | None = None
    """The ONNX opset the runtime takes."""
    domains: tuple[str, ...] = ()
    """The domains of ONNX operators that it has beyond the standard's own."""
    integers: IntegerSupport | None = None
    """What it computes with integers; null where that is not known."""
    source: str


class DeviceProfile(typed_yaml.Frozen):
    """One device. `peak_ops_per_s` counts a multiply-add as two operations, by dtype."""

    name: str
    description: str
    transport: Literal["host"] | None
    """How edgekit reaches the device to measure on it; null when it cannot yet."""
    runtimes: dict[str, RuntimeProfile]
    """By target."""
    peak_ops_per_s: dict[str, Figure]
    memory_bandwidth_bytes_per_s: Figure
    memory_bytes: Figure
    file: str = ""
    """The file it was read from, which `load` fills in: it tells what `host` was."""


def names() -> list[str]:
    """The shipped profiles' names; that of the machine edgekit runs on is `host`."""
    return sorted(HOST if name == _here() else name for name in data_files.names("device_profiles"))


def load(device: str) -> DeviceProfile:
    """The profile named `device`, or in the YAML file `device`. Raises UnknownName with near names, and Unsupported for
    `host` on a machine of an architecture without a profile."""
    if device.endswith((".yaml", ".yml")):
        path = Path(device)
        return typed_yaml.read(path, DeviceProfile).model_copy(update={"file": path.name})
    stem = _host() if device == HOST else device
    if stem not in data_files.names("device_profiles"):
        raise UnknownName("device", device, names(), listing="edgekit devices")
    path = data_files.folder("device_profiles") / f"{stem}.yaml"
    profile = typed_yaml.read(path, DeviceProfile)
    elsewhere = profile.transport == HOST and stem != _here()
    transport = None if elsewhere else profile.transport
    return profile.model_copy(update={"name": device, "transport": transport, "file": path.name})


def _here() -> str | None:
    """The stem of the profile for this machine's architecture; None when there is none."""
    return _HOST_FILES.get(platform.machine().lower())


def _host() -> str:
    stem = _here()
    if stem is None:
        raise Unsupported(
            f"no device profile fits this machine: its architecture is {platform.machine() or 'unknown'}",
            cause=f"{HOST} is known on {', '.join(sorted(_HOST_FILES))}",
            next_step="write one in a YAML file as those in device_profiles/, with transport: host, and give it as --device",
        )
    return stem


def require_dynamic_batch(device: DeviceProfile, target: str) -> None:
    """Raise Unsupported where the device's runtime wants static shapes."""
    if not device.runtimes[target].dynamic_shapes:
        raise Unsupported(
            f"{target} on {device.name} takes no dynamic batch",
            cause="its device profile says that the runtime wants static shapes (dynamic_shapes)",
            next_step="leave --max-batch out, and export once for each batch you need with example inputs of that batch",
        )


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
