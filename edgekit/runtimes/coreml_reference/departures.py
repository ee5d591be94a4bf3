"""Where an ML program first departs from what its results should be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from edgekit import metrics
from edgekit.runtimes.coreml_reference.counterparts import operands
from edgekit.runtimes.coreml_reference.interpreter import Program
from edgekit.runtimes.coreml_reference.package import Function, Operation

Range = tuple[float, float]


@dataclass(frozen=True)
class Departure:
    """How far one operation's result is from what it should be."""

    operator: str
    name: str
    """The operation's."""
    result: str
    """The name of the result."""
    between: tuple[str, ...]
    """Operations before it that nothing stands for in PyTorch's graph: any of them may be what departs."""
    place: int
    """In the program's order."""
    sqnr_db: float
    expected_range: Range | None
    """Least and largest finite value; None where there is none."""
    found_range: Range | None
    values: int
    """How many the result has; the counts that follow are of them."""
    overflowed: int
    """Infinite where a finite value is expected."""
    underflowed: int
    """Zero where another value is expected."""
    nan: int
    inf: int
    module: str | None = None
    """The path of the PyTorch module it computes, such as `blocks3.4.mixer`; empty for the model's own forward."""
    operation: str | None = None
    """What it computes of it, such as `aten.conv2d.default`."""
    line: str | None = None
    """Where that stands in the model's source: file, line number and text."""

    def __str__(self) -> str:
        at = f"{self.operator} at {self.name}" + (f" ({self.module})" if self.module else "")
        largest = max(map(abs, self.expected_range or (0.0,)))
        if self.overflowed or self.nan:
            lost = self.overflowed or self.nan
            return f"{at} has {lost} of {self.values} values beyond what its type holds: up to {largest:.4g} in fp32"
        said = f"{at} is {self.sqnr_db:.1f} dB from what it should be, its values up to {largest:.4g}"
        return said + (f", {self.underflowed} of {self.values} rounded to zero" if self.underflowed else "")


@dataclass(frozen=True)
class Walk:
    """What comparing every result of a run tells."""

    culprit: Departure | None
    """The first operation that departs by itself and takes an output with it."""
    weakest: Departure | None
    """The operation nearest to the bound, of those within it."""
    agreeing: frozenset[str]
    """The results within the bound."""


def walk(
    program: Program,
    inputs: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    bound_sqnr_db: float,
    *,
    afresh: bool,
) -> Walk:
    """Run the program, and compare each of its results that is `expected`.

    With `afresh`, what is near enough is replaced by what is expected, so that each operation is judged by itself and errors
    do not add up; without, by all that went before.
    """
    watch = _Watch(program.function, expected, bound_sqnr_db, afresh=afresh)
    program.run(inputs, watch)
    blamed = frozenset[str]().union(*(watch.blamed.get(name, ()) for name in program.function.body.outputs))
    return Walk(
        culprit=next((departure for name, departure in watch.departures.items() if name in blamed), None),
        weakest=watch.weakest,
        agreeing=frozenset(watch.agreeing),
    )


class _Watch:
    """Follows each departure from where it begins to where a result is near again: one that no output shows is none."""

    def __init__(self, function: Function, expected: Mapping[str, Tensor], bound_sqnr_db: float, *, afresh: bool) -> None:
        self._expected, self._bound_sqnr_db, self._afresh = expected, bound_sqnr_db, afresh
        self._operands = {id(operation): operands(operation) for operation in function.body.operations}
        self._places = {id(operation): place for place, operation in enumerate(function.body.operations)}
        self._between: dict[str, tuple[str, ...]] = {}
        self.departures: dict[str, Departure] = {}
        self.blamed: dict[str, frozenset[str]] = {}
        self.weakest: Departure | None = None
        self.agreeing: set[str] = set()

    def __call__(self, operation: Operation, name: str, value: Tensor) -> Tensor:
        sources = self._operands[id(operation)]
        blamed = frozenset[str]().union(*(self.blamed.get(source, ()) for source in sources))
        before = tuple(dict.fromkeys(step for source in sources for step in self._between.get(source, ())))
        expected = self._expected.get(name)
        if expected is None:
            self.blamed[name], self._between[name] = blamed, (*before, operation.name)
            return value
        expected = expected.reshape(value.shape)
        departure = _measured(operation, name, before, self._places[id(operation)], expected, value)
        if departure.sqnr_db >= self._bound_sqnr_db:
            self.agreeing.add(name)
            if self.weakest is None or departure.sqnr_db < self.weakest.sqnr_db:
                self.weakest = departure
            return expected.to(value.dtype) if self._afresh else value
        if not blamed:
            self.departures[name] = departure
        self.blamed[name] = blamed or frozenset((name,))
        return value


def _measured(
    operation: Operation, result: str, between: tuple[str, ...], place: int, expected: Tensor, found: Tensor
) -> Departure:
    exact, other = expected.double(), found.double()
    same = ~exact.isfinite() & (exact == other)  # the infinities of a mask
    return Departure(
        operator=operation.operator,
        name=operation.name,
        result=result,
        between=between,
        place=place,
        sqnr_db=metrics.sqnr_db(exact.masked_fill(same, 0).numpy(), other.masked_fill(same, 0).numpy()),
        expected_range=_range(exact),
        found_range=_range(other),
        values=found.numel(),
        overflowed=int((other.isinf() & exact.isfinite()).sum()),
        underflowed=int(((other == 0) & (exact != 0)).sum()),
        nan=int(other.isnan().sum()),
        inf=int(other.isinf().sum()),
    )


def _range(values: Tensor) -> Range | None:
    finite = values[values.isfinite()]
    return (float(finite.min()), float(finite.max())) if finite.numel() else None


def results(program: Program, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every result of a run, by name."""
    kept: dict[str, Tensor] = {}

    def keep(operation: Operation, name: str, value: Tensor) -> Tensor:
        kept[name] = value
        return value

    program.run(inputs, keep)
    return kept
