"""Where a profile chooses between exact lowerings: a model that tells them apart, exported each way, measured interleaved."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

import edgekit
from edgekit import profiles, profiling
from edgekit.errors import EdgekitError
from edgekit.profiles import HOST, DeviceProfile
from edgekit.profiling import Measurement, ratio, table

REPORT = Path(__file__).parent.parent / "reports" / "choices.md"


@dataclass(frozen=True)
class Choice:
    """A field of `RuntimeProfile` that chooses between exact lowerings, and a model that tells its values apart."""

    field: str
    target: str
    model: str
    values: tuple[object, ...]


CHOICES = (
    Choice("group_norm", "executorch", "lsnet_t", ("native", "decomposed")),
    Choice("group_norm", "onnx", "affnet_et", ("native", "decomposed", "channels_last")),
    Choice("argmax", "executorch", "spartan_s", ("native", "last_axis")),
    Choice("argmax", "onnx", "spartan_s", ("native", "last_axis")),
    Choice("flat_matmul", "executorch", "lsnet_t", (False, True)),
    Choice("flat_matmul", "onnx", "lsnet_t", (False, True)),
    Choice("dft_one_product_bytes", "executorch", "affnet_et", (0, 64 * 1024, 1024 * 1024)),
    Choice("dft_one_product_bytes", "onnx", "affnet_et", (0, 64 * 1024, 1024 * 1024)),
    Choice("channel_block", "onnx", "spartan_s", (None, 16)),
    Choice("small_groups", "executorch", "spartan_s", ("native", "depthwise")),
    Choice("small_groups", "onnx", "spartan_s", ("native", "depthwise")),
    Choice("depthwise_taps", "executorch", "lsnet_t", (None, 25)),
    Choice("depthwise_taps", "onnx", "lsnet_t", (None, 25)),
    Choice("ska_dense_pixels", "executorch", "lsnet_t", (0, 128)),
    Choice("ska_dense_pixels", "onnx", "lsnet_t", (0, 128)),
    Choice("leaves_accelerator", "executorch", "spartan_s", ((), ("aten.argmax", "aten.gather"))),
    Choice("leaves_accelerator", "onnx", "spartan_s", ((), ("aten.argmax", "aten.gather"))),
)
"""What is measured: a new field is a new line."""
FACTS = {
    "max_rank",
    "complex_numbers",
    "dynamic_shapes",
    "dtypes",
    "preferred_layout",
    "minimum_os",
    "opset",
    "domains",
    "integers",
    "source",
}
"""The fields that state what a runtime takes, where there is nothing to choose."""
OF_INTEGERS = {"spatial_mean", "silu", "least_channels", "broadcast", "depthwise_block"}
"""Choices that only graphs of integers make (`integers.instead`): scripts/quantization_speed measures those."""
_WORTH = 1.01
"""Less is no reason to prefer a value: what is measured elsewhere moves by more."""
COLUMNS = ("field", "target", "model", "value", "operators", "p50 ms [95 %]", "to the profile's [95 %]", "the measurement")


@dataclass(frozen=True)
class Tried:
    """One value of a choice: what it took, or why it took nothing."""

    value: object
    stated: bool
    """Whether it is what the profile says."""
    operators: int = 0
    measurement: Measurement | None = None
    failure: str = ""


def with_value(device: DeviceProfile, choice: Choice, value: object, folder: Path) -> Path:
    """The file of a profile that is `device` but for one field."""
    stated = device.model_dump(mode="json", exclude={"file"})
    stated["runtimes"][choice.target][choice.field] = list(value) if isinstance(value, tuple) else value
    path = folder / f"{choice.field}-{choice.target}-{choice.values.index(value)}.yaml"
    path.write_text(yaml.safe_dump(stated), encoding="utf-8")
    return path


def try_all(device: DeviceProfile, choice: Choice, folder: Path, *, measure: bool) -> list[Tried]:
    """Every value of `choice`, exported, and measured side by side if asked to."""
    stated = getattr(profiles.for_target(device, choice.target), choice.field)
    exported: dict[int, edgekit.Artifact] = {}
    failures: dict[int, str] = {}
    for index, value in enumerate(choice.values):
        try:
            given = device.name if value == stated else str(with_value(device, choice, value, folder))
            output = folder / f"{choice.field}-{index}"
            exported[index] = edgekit.export(choice.model, choice.target, device=given, output=output, force=True)
        except EdgekitError as error:
            failures[index] = " ".join(f"{error.what}: {error.cause}".split()).replace("|", "/")
    took: dict[int, Measurement] = {}
    if measure and exported:
        measured = profiling.profile([made.directory for made in exported.values()], device=device.name)
        took = dict(zip(exported, measured, strict=True))
    return [
        Tried(
            value,
            value == stated,
            exported[index].manifest.model.operators if index in exported else 0,
            took.get(index),
            failures.get(index, ""),
        )
        for index, value in enumerate(choice.values)
    ]


def judged(tried: Sequence[Tried]) -> str:
    """Whether the measurement agrees with the profile."""
    stated = next((one for one in tried if one.stated), None)
    if stated is None:
        return "does not know the profile's value"
    if stated.measurement is None:
        return "could not be made"
    others = [one for one in tried if one is not stated and one.measurement]
    faster = []
    apart = slightly = False
    for other in others:
        assert other.measurement is not None
        against = ratio(stated.measurement, other.measurement)
        if against.low is not None and against.low > 1:
            slightly |= against.value < _WORTH
            faster += [(against.value, other.value)] if against.value >= _WORTH else []
        apart |= against.high is not None and against.high < 1
    if faster:
        factor, value = max(faster, key=lambda pair: pair[0])
        return f"disagrees: {shown(value)} is {factor:.2f}x faster"
    if slightly:
        return "sees a difference below 1 %"
    return "agrees" if apart or not others else "sees no difference"


def shown(value: object) -> str:
    """A value as YAML has it."""
    return yaml.safe_dump(list(value) if isinstance(value, tuple) else value, default_flow_style=True).split("\n")[0]


def rows(choice: Choice, tried: Sequence[Tried]) -> list[str]:
    """The lines of the table, one a value; the profile's is in bold and has the verdict."""
    stated = next((one for one in tried if one.stated), None)
    found = []
    for one in tried:
        value = f"**{shown(one.value)}**" if one.stated else shown(one.value)
        said = judged(tried) if one.stated else ""
        if one.measurement is None:
            cells = [value, "-", "-", "-", one.failure or said]
        else:
            against = ratio(one.measurement, stated.measurement) if stated and stated.measurement else None
            times = "-" if against is None else f"{against.value:.3f} [{against.low:.3f}, {against.high:.3f}]"
            cells = [value, str(one.operators), table.milliseconds(one.measurement.p50_s), times, said]
        found.append(f"| {' | '.join([choice.field, choice.target, choice.model, *cells])} |")
    return found


def elsewhere(device: DeviceProfile) -> list[str]:
    """What the other profiles say, a line each, and whether that was measured: on `device`, with the same runtime, or not."""
    fields = list(dict.fromkeys(choice.field for choice in CHOICES))
    found = []
    for other in map(profiles.load, profiles.names()):
        for target, runtime in sorted(other.runtimes.items()):
            if other.name == device.name:
                continue
            here = device.runtimes.get(target)
            for field in fields:
                value = getattr(runtime, field)
                measured = any(choice.field == field and choice.target == target for choice in CHOICES)
                same = here is not None and measured and getattr(here, field) == value
                source = f"as on {device.name}, same runtime; not measured on the device" if same else "not measured"
                found.append(f"| {other.name} | {target} | {field} | {shown(value)} | {source} |")
    return found


def header(columns: Sequence[str]) -> list[str]:
    """The first two lines of a table."""
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]


def main() -> int:
    """Try every choice, print the table as it grows, and write the report when all of them were measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profile", nargs="?", default=HOST, help="a profile of this machine")
    parser.add_argument("--convert", action="store_true", help="export only, for a later run to find in the cache")
    asked = parser.parse_args()
    device = profiles.load(asked.profile)
    lines = header(COLUMNS)
    print("\n".join(lines))
    with tempfile.TemporaryDirectory() as folder:
        for choice in CHOICES:
            found = rows(choice, try_all(device, choice, Path(folder), measure=not asked.convert))
            print("\n".join(found), flush=True)
            lines += found
    if asked.convert:
        return 0
    command = " ".join(["scripts/choices", *([] if asked.profile == HOST else [asked.profile])])
    introduction = (
        f"Made by `{command}` with {device.file}: fp32, one thread, the values of one field interleaved in one run. In bold "
        "what the profile says."
    )
    others = [*header(("profile", "target", "field", "value", "source")), *elsewhere(device)]
    text = ["# Choices between exact lowerings\n", introduction + "\n", *lines, "\n## The other profiles\n", *others, ""]
    REPORT.write_text("\n".join(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
