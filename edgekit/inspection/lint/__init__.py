"""The linter for Core ML packages: what a rule is, what it sees of a program, and how its places are gathered."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.inspection import Finding, Place, Severity
from edgekit.profiles import RuntimeProfile
from edgekit.runtimes.coreml_reference.package import Function, Operation, Reference, Type

_PREFIX = re.compile(r"^(?:[bp]_)?folded_|^[bp]_")
_SUFFIX = re.compile(r"_(to|cast)_fp16$")
_MOST_PARAMETERS = 10
"""The longest vector that is a parameter, the padding of five axes; what is longer is stored data."""

MIL_TYPES = {
    "aten.embedding": "gather",
    "aten.index_select": "gather",
    "aten.gather": "gather_along_axis",
    "aten.argmax": "reduce_argmax",
}
"""What coremltools makes of the ATen operators that profiles say leave the accelerator; others keep their names."""


class Graph:
    """A function of a package as the rules see it: its operations in order, nested ones included, constants apart."""

    def __init__(self, function: Function, profile: RuntimeProfile) -> None:
        self.function, self.profile = function, profile
        every = tuple(function.body.walk())
        self.constants = {op.outputs[0][0]: op.arguments["val"][0] for op in every if op.operator == "const"}
        self.operations = tuple(op for op in every if op.operator != "const" and not op.operator.startswith("constexpr_"))
        self.stored_bytes = sum(size for op in every for size, _ in stored(op))
        self.folded = {name for op in every if op.operator.startswith("constexpr_") for name, _ in op.outputs}
        results = ((name, declared) for op in every for name, declared in op.outputs)
        self.types: dict[str, Type] = {**dict(results), **function.inputs, **function.states}

    def name(self, operation: Operation) -> str:
        """What an operation goes by: its first result, as other operations name it."""
        return operation.outputs[0][0] if operation.outputs else operation.name

    def constant(self, operation: Operation, parameter: str) -> Any:
        """The constant given for a parameter, as numpy or a string; None where there is none."""
        given = operation.arguments.get(parameter)
        if not given or len(given) > 1:
            return None
        value = self.constants.get(given[0].name) if isinstance(given[0], Reference) else given[0]
        return value if value is None or isinstance(value, str) else np.asarray(value)

    def numbers(self, operation: Operation, parameter: str) -> tuple[int, ...]:
        """The constant given for a parameter as whole numbers; empty where there is none."""
        value = self.constant(operation, parameter)
        return () if value is None else tuple(int(number) for number in np.ravel(value))

    def read(self, operation: Operation, *parameters: str) -> list[str]:
        """The values, constants apart, that an operation is given; for `parameters` alone where they are named."""
        chosen = parameters or tuple(operation.arguments)
        parts = (part for parameter in chosen for part in operation.arguments.get(parameter, ()))
        names = (part.name for part in parts if isinstance(part, Reference))
        return [name for name in names if name not in self.constants and name not in self.folded]

    def shape(self, operation: Operation, parameter: str) -> tuple[int | None, ...]:
        """The shape of what is given for a parameter; empty where that is no value of the program."""
        given = operation.arguments.get(parameter, ())
        name = given[0].name if given and isinstance(given[0], Reference) else ""
        return self.types[name].shape if name in self.types else ()

    @functools.cached_property
    def sources(self) -> dict[str, str]:
        """By the name of an operation, the weight it reads, or `after` the one that was read last before it."""
        found: dict[str, str] = {}
        by_value: dict[str, str] = {}
        for operation in self.operations:
            own = next(self._weights(operation), "")
            before = (by_value[name] for name in self.read(operation) if by_value.get(name))
            source = own or next(before, "")
            found[self.name(operation)] = own or (f"after {source}" if source else "")
            by_value.update({name: source for name, _ in operation.outputs})
        return found

    def _weights(self, operation: Operation) -> Iterator[str]:
        for _, parts in sorted(operation.arguments.items(), key=lambda given: given[0] != "weight"):
            for part in parts:
                named = isinstance(part, Reference) and (part.name in self.folded or part.name in self.constants)
                if named and is_weight(self.types[part.name]):
                    yield layer_name(part.name)

    def place(self, operation: Operation, found: str) -> Place:
        """The place of an operation."""
        name = self.name(operation)
        return Place(operation.operator, name, self.sources.get(name, ""), found)


def is_weight(declared: Type) -> bool:
    """Whether a constant of this type is a stored tensor, not a parameter given in place."""
    return declared.dtype not in ("string", "bool") and math.prod(size or 1 for size in declared.shape) > _MOST_PARAMETERS


def stored(operation: Operation) -> Iterator[tuple[int, str]]:
    """The bytes and the types of the arrays that an operation itself holds, as they lie in the file."""
    from coremltools.converters.mil.mil import types

    for parts in operation.arguments.values():
        for array in (np.asarray(part) for part in parts if not isinstance(part, Reference | str)):
            # coremltools unpacks types of fewer than 8 bits, and tells them beside
            narrow = dict(array.dtype.metadata or {}).get("true_dtype")
            dtype = types.builtin_to_string(narrow) if narrow else array.dtype.name
            yield size_bytes(Type(dtype, array.shape)) or 0, dtype


def layer_name(constant: str) -> str:
    """The parameter's name in the source module, as far as export and conversion left it."""
    return _PREFIX.sub("", _SUFFIX.sub("", constant))


def size_bytes(declared: Type) -> int | None:
    """Bytes of a value; None where its size depends on the inputs."""
    if declared.any_rank or None in declared.shape:
        return None
    digits = re.search(r"\d+$", declared.dtype)
    bits = int(digits[0]) if digits else 8
    return math.ceil(math.prod(size or 0 for size in declared.shape) * bits / 8)


def sizes(shape: tuple[int | None, ...]) -> str:
    """A shape as `1x3x224x224`."""
    return "x".join("?" if size is None else str(size) for size in shape) or "a scalar"


def leaving(profile: RuntimeProfile) -> set[str]:
    """The types of operations that the device profile says leave the accelerator."""
    return {MIL_TYPES.get(name, name.removeprefix("aten.")) for name in profile.leaves_accelerator}


@dataclass(frozen=True)
class Rule:
    """A rule: where it applies, why that matters, who says so, and what mends it."""

    id: str
    severity: Severity
    check: Callable[[Graph], Iterator[Place]]
    """Its docstring says what the rule looks for."""

    why: str
    sources: tuple[str, ...]
    """URLs of the texts that say it."""

    mends: str

    @property
    def what(self) -> str:
        """What it looks for, in one line."""
        return " ".join((self.check.__doc__ or "").split())


def rules() -> tuple[Rule, ...]:
    """Every rule there is."""
    from edgekit.inspection.lint import convolutions, operators, precision, shapes

    return (*operators.RULES, *shapes.RULES, *convolutions.RULES, *precision.RULES)


def run(graph: Graph) -> tuple[Finding, ...]:
    """What the rules find, the gravest first, each rule's places together."""
    gravity: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}
    found = ((rule, tuple(rule.check(graph))) for rule in rules())
    findings = [Finding(r.id, r.severity, r.why, r.sources, r.mends, places) for r, places in found if places]
    return tuple(sorted(findings, key=lambda finding: gravity[finding.severity]))
