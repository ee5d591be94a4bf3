"""What operators cost in floating point and with integers, for choosing between the two: seconds, or bytes of weights.

Seconds are measured where the runtime tells its operators' times on this machine; it tells them by module, and what a module
takes is divided among its operators by their estimates. Elsewhere they are estimates alone, and `how` says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekit.errors import EdgekitError
from edgekit.profiling.measurement import OperatorProfile
from edgekit.quantize.noise import Source, Sources
from edgekit.quantize.plan import Plan
from edgekit.quantize.sites import Site

if TYPE_CHECKING:
    from torch.fx import Node

    from edgekit.quantize.asking import Request

_MACS_PER_S = {"float": 1e11, "integer": 3e11}
_BYTES_PER_S = 2e10
"""Of one core with VNNI, as measured for reports/LOG.md: what counts is how they compare."""
CROSSING_S = 4e-6
"""Of a pair of conversions however small, with the changes of layout beside it, in ONNX Runtime."""
CROSSING_S_PER_ELEMENT = 0.41e-9
"""Beyond that: quantizing 0.06 ns, the way back 0.09 ns, each of two changes of layout 0.13 ns."""
_CROSSINGS = ("QuantizeLinear", "DequantizeLinear")
"""What ONNX Runtime calls the halves of a pair."""

Cost = Mapping[str, tuple[float, float]]
"""By operator: in floating point, and quantized."""


@dataclass(frozen=True)
class Costs:
    """What a choice costs is `fixed`, what each operator does, and each crossing; in seconds or bytes."""

    each: Cost
    crossing: float
    """Of a pair of conversions that a choice adds, whatever its size."""
    crossing_element: float
    """Of each element of it, beyond that."""
    fixed: float
    """Of all that is the same whatever is chosen."""
    how: str
    """It is known."""
    unit_name: str = "ms"
    unit: float = 1e-3
    are_measured: bool = False
    own_share: float = 1.0
    """Of what a crossing is estimated to take, what those that are there when nothing goes back were measured to."""

    def of(self, floats: frozenset[str], sources: Iterable[Source]) -> float:
        """With these operators left in floating point."""
        chosen = sum(floating if name in floats else quantized for name, (floating, quantized) in self.each.items())
        return self.fixed + chosen + sum(self.crossing_of(source, floats) for source in sources)

    def crossing_of(self, source: Source, floats: frozenset[str]) -> float:
        """Of one tensor: where some of what touches it has integers, and some has not."""
        crosses = source.touches - floats and (source.crosses or source.touches & floats)
        if source.tensor is None or not crosses:
            return 0.0
        share = self.own_share if source.crosses else 1.0
        return share * (self.crossing + self.crossing_element * _elements(source.tensor))

    def told(self, cost: float) -> str:
        """In words."""
        return f"{cost / self.unit:.3g} {self.unit_name}"


def in_bytes(asked: Request, base: Plan) -> Costs:
    """Of weights, those being of eight bits whose operators `base` quantizes."""
    full, quantized = 2 if asked.program.precision == "fp16" else 4, _changed(base)
    each = {}
    for site in asked.sites:
        if site.weight is not None and site.node.name in quantized:
            count, channels = site.weight.values.numel(), site.weight.values.shape[site.weight.output_axis]
            each[site.node.name] = (float(count * full), float(count + 4 * channels))
    rest = asked.program.parameter_count() * full - sum(floating for floating, _ in each.values())
    return Costs(each, 0.0, 0.0, max(rest, 0.0), "counted from the weights, without the graph", "MB", 1e6, are_measured=True)


def in_seconds(asked: Request, base: Plan) -> Costs:
    """In seconds, measured where that can be; of what `base` quantizes, each can be either."""
    from edgekit.quantize import apply

    why = "the device is not this machine"
    if asked.operator_times is not None:
        asked.announce("time operators")
        try:
            quantized = apply(asked, base)
            floating, integers = asked.operator_times([asked.program, quantized])
            if floating.reason is None:
                return _measured(asked, base, floating, integers, Sources(asked.program, quantized, base))
            why = floating.reason.split(": ")[0]  # behind that stands what to do about it
        except EdgekitError as error:
            why = "; ".join(filter(None, (error.what, error.cause)))
    return _estimated(asked.sites, base, why)


def _estimated(sites: Iterable[Site], base: Plan, why: str) -> Costs:
    """From multiply-adds and bytes, as `why` keeps times from being measured."""
    found, quantized = _estimates(sites), _changed(base)
    fixed = sum(floating for name, (floating, _) in found.items() if name not in quantized)
    each = {name: pair for name, pair in found.items() if name in quantized}
    return Costs(each, 0.0, CROSSING_S_PER_ELEMENT, fixed, f"estimated from multiply-adds and bytes, not measured: {why}")


def _measured(asked: Request, base: Plan, floating: OperatorProfile, integers: OperatorProfile, sources: Sources) -> Costs:
    """From the operators' times of the model in floating point and of what `base` makes of it. Crossings are estimated, those
    of `base` scaled to what they take together: most have no change of layout beside them, where one between kernels with
    integers mostly has."""
    guessed, quantized = _estimates(asked.sites), _changed(base)
    members: dict[str, list[str]] = {}
    for site in asked.sites:
        members.setdefault(site.module, []).append(site.node.name)
    before, after = _by_module(floating), _by_module(integers)
    each = {}
    for module, names in members.items():
        wholes = sum(guessed[name][0] for name in names), sum(guessed[name][name in quantized] for name in names)
        for name in filter(quantized.__contains__, names):
            taken = (before.get(module, 0.0), after.get(module, 0.0))
            each[name] = (taken[0] * guessed[name][0] / wholes[0], taken[1] * guessed[name][1] / wholes[1])
    fixed = sum(after.values()) - sum(ints for _, ints in each.values())
    how = "measured on this machine, module by module"
    known = Costs(each, CROSSING_S, CROSSING_S_PER_ELEMENT, fixed, how, are_measured=True)
    taken_s = sum(one.time_s for one in integers.operators if one.operator in _CROSSINGS)
    estimated_s = sum(known.crossing_of(source, frozenset()) for source in sources.all)
    return replace(known, own_share=taken_s / estimated_s) if taken_s and estimated_s else known


def _changed(base: Plan) -> frozenset[str]:
    return frozenset(one.node for one in base.sites if one.changes)


def _by_module(profile: OperatorProfile) -> dict[str | None, float]:
    """Seconds, without those of crossings; None is for what is from no module that is known."""
    found: dict[str | None, float] = {}
    for one in profile.operators:
        if one.operator not in _CROSSINGS:
            found[one.module] = found.get(one.module, 0.0) + one.time_s
    return found


def _estimates(sites: Iterable[Site]) -> dict[str, tuple[float, float]]:
    return {site.node.name: (_estimate(site, "float", 4), _estimate(site, "integer", 1)) for site in sites}


def _estimate(site: Site, kind: str, bytes_each: int) -> float:
    made = _elements(site.node)
    read = sum(_elements(node) for node in site.activations) + (site.weight.values.numel() if site.weight else 0)
    if site.weight is not None:
        macs = made * site.weight.values.numel() / site.weight.values.shape[site.weight.output_axis]
    else:
        macs = made * site.activations[0].meta["val"].shape[-1] if site.operator in ("matmul", "bmm", "mm") else 0
    return macs / _MACS_PER_S[kind] + (made + read) * bytes_each / _BYTES_PER_S


def _elements(node: Node) -> int:
    """Of a batch of one, where the batch is dynamic."""
    made = node.meta["val"]
    first = made[0] if isinstance(made, (tuple, list)) else made
    return math.prod(size if isinstance(size, int) else 1 for size in first.shape)
