"""The plan: what every operator of a model becomes, in a file that can be read, edited and applied again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, PlainSerializer

from edgekit import typed_yaml
from edgekit.errors import InputError

ActivationFormat = Literal["uint8", "int8", "dynamic"]
"""What an operator reads and writes: integers of ranges found in calibration, or, `dynamic`, of each run's own range."""

Bits = Literal[1, 2, 3, 4, 6, 8]


class WeightFormat(typed_yaml.Frozen):
    """How a weight is stored. Written `int8`, `int4`, `int4 in groups of 32`, `uint4 in groups of 32`, `palette of 4 bits`,
    `float16`."""

    kind: Literal["int8", "int4", "uint4", "palette", "float16"]
    """Signed integers are symmetric around zero, unsigned ones have a zero point."""
    group: Annotated[int, Field(gt=0)] | None = None
    """Input channels that share a scale; None for a scale for each output channel."""
    bits: Bits | None = None
    """Of an index into a palette."""

    def __str__(self) -> str:
        words = f"{self.kind} of {self.bits} bits" if self.bits else self.kind
        return f"{words} in groups of {self.group}" if self.group else words

    @property
    def bits_per_weight(self) -> int:
        """Without scales and tables."""
        return self.bits or {"int8": 8, "int4": 4, "uint4": 4, "float16": 16}[self.kind]


def _parsed(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    words = text.split()
    match words:
        case [kind]:
            return {"kind": kind}
        case [kind, "in", "groups", "of", size] if size.isdigit():
            return {"kind": kind, "group": int(size)}
        case [kind, "of", bits, "bits"] if bits.isdigit():
            return {"kind": kind, "bits": int(bits)}
    raise ValueError("it is written int8, int4 in groups of 32, palette of 4 bits or float16")


Weights = Annotated[WeightFormat, BeforeValidator(_parsed), PlainSerializer(str)]


class Assignment(typed_yaml.Frozen):
    """What one operator becomes. Without weight and activation it stays in floating point."""

    node: str
    """Its name in the rewritten graph."""
    operator: str
    """Its ATen name, without the overload."""
    module: str = ""
    """The path of the module it is from."""
    weight: Weights | None = None
    activation: ActivationFormat | None = None
    why: str = ""
    """Why it is left in floating point, or in part."""

    @property
    def changes(self) -> bool:
        """Whether it does not stay as it is."""
        return self.weight is not None or self.activation is not None

    @property
    def is_static(self) -> bool:
        """Whether it reads and makes integers of ranges found in calibration: tensors cross into those and back."""
        return self.activation in ("uint8", "int8")


class Plan(typed_yaml.Frozen):
    """What every operator of one model, as rewritten for one runtime, becomes."""

    schema_version: Literal[1] = 1
    model: str
    """The model's name: for people; `graph` decides where the plan fits."""
    graph: str
    """The hash of the rewritten graph: its operators, their order and shapes, without the weights' values."""
    scheme: str
    """The scheme that made it."""
    why: str = ""
    """What it promises, and how that is known, where it was chosen among others."""
    sites: tuple[Assignment, ...]

    def require_for(self, graph: str, model: str) -> None:
        """Raise InputError unless the plan was made for the graph of this hash."""
        if self.graph != graph:
            raise InputError(
                f"the plan does not fit {model}",
                cause=f"it was made for {self.model}, of another structure, input size, target or list of passes",
                next_step=f"make a new one: `--quantize {self.scheme}` writes its plan.yaml beside the artifact",
            )

    def write(self, path: Path) -> None:
        """Write it as YAML, a line an operator."""
        head = self.model_dump(mode="json", exclude={"sites"})
        rows = [site.model_dump(mode="json", exclude_defaults=True) for site in self.sites]
        lines = [yaml.safe_dump(row, default_flow_style=True, sort_keys=False, width=10**6).strip() for row in rows]
        body = "\n".join(f"- {line}" for line in lines)
        path.write_text(f"{yaml.safe_dump(head, sort_keys=False)}sites:\n{body}\n", encoding="utf-8")


def read(path: Path) -> Plan:
    """The plan in a YAML file. Raises UsageError for what does not fit, naming the key."""
    return typed_yaml.read(path, Plan)
