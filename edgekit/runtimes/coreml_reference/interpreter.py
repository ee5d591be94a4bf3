"""Executes a function of an ML program with torch.

Floats are computed in float32 whatever they are declared to be. In mode `fp32` they stay so; in mode `declared` each result
is rounded to its declared type, as a device that accumulates in float32 would leave it. Integers are as declared in both.
In mode `unrounded` floats stay too, and those that are quantized are kept within the range of their integers, not rounded.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from edgekit.errors import ArtifactError, Unsupported
from edgekit.runtimes.coreml_reference import binding, ops
from edgekit.runtimes.coreml_reference.binding import Argument, Fixed
from edgekit.runtimes.coreml_reference.ops import FLOATS, WHOLE, State
from edgekit.runtimes.coreml_reference.package import Block, Function, Operation, Reference, Type

Mode = Literal["fp32", "declared", "unrounded"]

Observer = Callable[[Operation, str, Tensor], Tensor]
"""Called with an operation, the name of one of its results, and that result; gives what later operations are to see as it."""

_NEXT_STEP = "the package is wrong there, or edgekit is: report the model"


class Program:
    """A function ready to run: operators found, constants decompressed and bound."""

    def __init__(self, function: Function, mode: Mode) -> None:
        """Raises Unsupported when operators are missing, and names them."""
        require_operators(function)
        self.function, self.mode = function, mode
        self.constants: dict[str, Any] = {}
        self._body = _Body(self, function.body)
        self.constants.clear()  # each is held by the steps that use it
        self._states: dict[str, State] = {}
        self.reset_states()

    def reset_states(self) -> None:
        """All states zero, as a new Core ML state is."""
        self._states = {name: State(_zeros(declared)) for name, declared in self.function.states.items()}

    def run(self, inputs: Mapping[str, Tensor], observer: Observer | None = None) -> dict[str, Any]:
        """The function's outputs by name: tensors, and strings where a classifier gives its label. `observer` sees every
        result of the outermost block, and may replace it.

        Raises ArtifactError when an operation cannot be computed, naming it.
        """
        values: dict[str, Any] = dict(self._states)
        with torch.inference_mode():
            for name, declared in self.function.inputs.items():
                values[name] = settled(inputs[name], declared, self.mode)
            return dict(zip(self.function.body.outputs, self._body.run(values, observer), strict=True))


def require_operators(function: Function) -> None:
    """Raise Unsupported, naming them, when the function needs operators that edgekit does not execute."""
    known = ops.operators()
    missing = [op for op in function.body.walk() if op.operator != "const" and op.operator not in known]
    if missing:
        kinds = Counter(operation.operator for operation in missing)
        first = missing[0]
        reason = ops.LEFT_OUT.get(first.operator, "edgekit has no such operator")
        listed = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common())
        raise Unsupported(
            f"operator {first.operator} at {first.name} is not executed off a Mac"
            + (f", nor are {len(missing) - 1} other operations" if len(missing) > 1 else ""),
            cause=f"{reason}; missing in all: {listed}",
            next_step="run the package on a Mac, or convert the model without them",
        )


def settled(value: Any, declared: Type, mode: Mode) -> Any:
    """A result as its declared type and the mode leave it."""
    if not isinstance(value, Tensor):
        return value
    if declared.dtype in FLOATS:
        value = value.float()
        return value.half().float() if mode == "declared" and declared.dtype == "fp16" else value
    if mode == "unrounded" and value.is_floating_point() and declared.dtype in ("int8", "uint8"):
        return value  # as `quantize` left it
    return value.to(WHOLE.get(declared.dtype, value.dtype))


def _zeros(declared: Type) -> Tensor:
    shape = [1 if size is None else size for size in declared.shape]
    return torch.zeros(shape, dtype=WHOLE.get(declared.dtype, torch.float32))


class _Body:
    """A block's steps. What no later step needs is let go."""

    def __init__(self, program: Program, block: Block) -> None:
        self._inputs, self._steps = block.inputs, []
        for operation in block.operations:
            if operation.operator == "const":
                (name, declared), (value,) = operation.outputs[0], operation.arguments["val"]
                program.constants[name] = settled(binding.as_tensor(value), declared, program.mode)
                continue
            step = _Step(program, operation)
            if operation.operator.startswith("constexpr_"):
                with torch.inference_mode():
                    program.constants.update(zip(step.names, step.compute({}, None), strict=True))
            else:
                self._steps.append(step)
        self._outputs = [_part(program, Reference(name)) for name in block.outputs]
        kept = {part for part in self._outputs if isinstance(part, str)}
        last = {name: index for index, step in enumerate(self._steps) for name in step.needs}
        made = {name for step in self._steps for name in step.names}
        self.needs = (set(last) | kept) - made - set(block.inputs)
        self._done: list[list[str]] = [[] for _ in self._steps]
        for index, step in enumerate(self._steps):
            for name in step.names:
                if name not in kept:
                    self._done[last.get(name, index)].append(name)

    def run(self, values: dict[str, Any], observer: Observer | None = None) -> list[Any]:
        for step, done in zip(self._steps, self._done, strict=True):
            values.update(zip(step.names, step.compute(values, observer), strict=True))
            for name in done:
                del values[name]
        return [values[part] if isinstance(part, str) else part.value for part in self._outputs]

    def call(self, values: Mapping[str, Any], *arguments: Any) -> list[Any]:
        """Run on top of the enclosing block's values."""
        return self.run({**values, **dict(zip(self._inputs, arguments, strict=True))})


class _Step:
    """An operation bound to its operator."""

    def __init__(self, program: Program, operation: Operation) -> None:
        self._operation, self._mode = operation, program.mode
        self._operator = ops.operators()[operation.operator]
        self.names = [name for name, _ in operation.outputs]
        kinds = binding.parameters(self._operator)
        self._fixed: dict[str, Any] = {}
        self._varying: dict[str, Argument] = {}
        for parameter, given in operation.arguments.items():
            if parameter not in kinds:
                raise Unsupported(
                    f"operator {operation.operator} at {operation.name} has a parameter {parameter!r} that is not known here",
                    cause=f"edgekit knows {', '.join(kinds)}",
                    next_step="install a newer edgekit, or report the model",
                )
            argument = Argument(tuple(_part(program, part) for part in given), binding.collector(kinds[parameter]))
            if argument.names:
                self._varying[parameter] = argument
            else:
                self._fixed[parameter] = argument.value({})
        if "opset" in kinds:
            self._fixed["opset"] = program.function.opset
        if "rounded" in kinds:
            self._fixed["rounded"] = program.mode != "unrounded"
        bodies = [_Body(program, block) for block in operation.blocks]
        regions = [parameter for parameter, kind in kinds.items() if kind == ops.Region]
        self._bodies = dict(zip(regions, bodies, strict=True))
        self.needs = {name for argument in self._varying.values() for name in argument.names}
        self.needs |= {name for body in bodies for name in body.needs}

    def compute(self, values: Mapping[str, Any], observer: Observer | None) -> list[Any]:
        """The results, settled and held to their declared shapes."""
        operation = self._operation
        try:
            varying = {parameter: argument.value(values) for parameter, argument in self._varying.items()}
            regions = {name: functools.partial(body.call, values) for name, body in self._bodies.items()}
            found = self._operator(**self._fixed, **varying, **regions)
        except (RuntimeError, IndexError, ValueError, TypeError, KeyError, ArithmeticError) as error:
            cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise self._wrong("cannot be computed", cause) from error
        results = found if isinstance(found, list) else [found]
        if len(results) != len(operation.outputs):
            cause = f"it gives {len(results)} results, the package declares {len(operation.outputs)}"
            raise self._wrong("does not compute what the package declares", cause)
        for index, (result, (name, declared)) in enumerate(zip(results, operation.outputs, strict=True)):
            results[index] = value = settled(result, declared, self._mode)
            if not isinstance(value, Tensor):
                continue
            if not _fits(value, declared):
                cause = f"{name} is {list(value.shape)}, the package declares {list(declared.shape)}"
                raise self._wrong("does not compute what the package declares", cause)
            if observer is not None:
                results[index] = observer(operation, name, value)
        return results

    def _wrong(self, what: str, cause: str) -> ArtifactError:
        where = f"operator {self._operation.operator} at {self._operation.name}"
        return ArtifactError(f"{where} {what}", cause=cause, next_step=_NEXT_STEP)


def _part(program: Program, part: Any) -> Fixed | str:
    """A reference to a constant, or a constant given in place, as that constant; another reference as its name."""
    if not isinstance(part, Reference):
        return Fixed(binding.as_tensor(part))
    return Fixed(program.constants[part.name]) if part.name in program.constants else part.name


def _fits(value: Tensor, declared: Type) -> bool:
    """Whether the shape is the declared one, as far as that is known."""
    return declared.any_rank or (
        len(value.shape) == len(declared.shape)
        and all(size in (None, found) for size, found in zip(declared.shape, value.shape, strict=True))
    )
