"""Sensitivity: how much of the noise at a model's outputs is each operator's, and what the ranges of its tensors were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import ConfigDict

if TYPE_CHECKING:
    from torch.fx import Node

    from edgekit.program import Program
    from edgekit.quantize.asking import Request
    from edgekit.quantize.noise import Source, Sources
    from edgekit.quantize.plan import Plan
    from edgekit.quantize.ranges import Histogram

SAMPLES = 4
"""On so many each thing is quantized alone: layers are told apart on few, and best where there is most noise."""
BINS = 32
_COMMON = 0.9999
"""Of all values: those beyond are outliers."""
_NO_OTHER_KEYS: ConfigDict = {"extra": "forbid", "strict": True}


@dataclass(frozen=True)
class TensorRange:
    """What a tensor was over the calibration samples, and what its integers represent."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    tensor: str
    """The node that makes it."""
    low: float
    high: float
    """The smallest and the largest value seen."""
    covered_low: float
    covered_high: float
    """The smallest and the largest value that its integers represent."""
    saturated: float
    """The share of values seen that lie beyond those."""
    outlier_ratio: float
    """The largest magnitude over that within which all but one in ten thousand values lie; 1 without outliers."""
    counts: tuple[int, ...]
    """How many values lay in each of equal bins from `low` to `high`."""

    @property
    def is_dead(self) -> bool:
        """Whether it was the same number throughout."""
        return self.high - self.low <= 1e-6 * max(abs(self.low), abs(self.high), 1e-6)


@dataclass(frozen=True)
class SiteSensitivity:
    """One operator."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    node: str
    operator: str
    module: str
    sqnr_db: float
    """Of the outputs, when this operator alone is quantized. A tensor counts to what makes it."""
    noise_share: float
    """Of the noise of all, each alone."""
    weight_sqnr_db: float | None
    """Of the outputs, when its weight alone is quantized; None where that is not."""
    activation_sqnr_db: float | None
    """Of the outputs, when its tensors alone are quantized; None where those are not, or count to others."""
    stored_sqnr_db: float | None
    """Of its weight as it is stored, against what it was."""
    ranges: tuple[TensorRange, ...]
    """Of the tensors that count to it."""


@dataclass(frozen=True)
class Sensitivity:
    """Every operator that a plan quantizes."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    scheme: str
    samples: int
    """On which outputs were compared: those of the calibration samples that hold the most of the noise."""
    sqnr_db: float
    """Of the outputs for those, when all is quantized."""
    sum_sqnr_db: float
    """What it would be if the noise of all, each alone, added up."""
    sites: tuple[SiteSensitivity, ...]
    """The most sensitive first."""


def measure(asked: Request, plan: Plan, quantized: Program | None = None) -> Sensitivity:
    """What each operator of a plan costs alone, on those few of the request's samples that are the noisiest with all of them;
    `quantized` is the program that the plan made, where the caller has it."""
    from edgekit.quantize import apply, noise

    quantized = quantized or apply(asked, plan)
    sources = noise.Sources(asked.program, quantized, plan)
    together = noise.of_program(asked.program, quantized, asked.samples)
    places = noise.noisiest(together, SAMPLES)
    powers = [power.relative for power in sources.measure([asked.samples[place] for place in places])]
    whole = noise.pooled([together[place] for place in places]).relative
    seen = asked.histograms([one.tensor for one in sources.all if one.tensor is not None and one.tensor in sources.grids])
    alone: dict[str, list[tuple[Source, float]]] = {}
    for source, power in zip(sources.all, powers, strict=True):
        alone.setdefault(source.site, []).append((source, power))
    total = sum(powers) or 1.0
    modules = {one.node: (one.operator, one.module) for one in plan.sites}
    found = [
        _site(sources, own, seen, name, *modules.get(name, ("", "")), share=sum(power for _, power in own) / total)
        for name, own in alone.items()
    ]
    found.sort(key=lambda site: site.sqnr_db)
    return Sensitivity(plan.scheme, len(places), noise.sqnr_db(whole), noise.sqnr_db(sum(powers)), tuple(found))


def _site(
    sources: Sources,
    own: Sequence[tuple[Source, float]],
    seen: dict[Node, Histogram],
    name: str,
    operator: str,
    module: str,
    share: float,
) -> SiteSensitivity:
    from edgekit.quantize import noise

    weights = [power for source, power in own if source.tensor is None]
    tensors = [power for source, power in own if source.tensor is not None]
    ranges = [range_of(source.tensor, seen[source.tensor], sources) for source, _ in own if source.tensor in seen]
    return SiteSensitivity(
        node=name,
        operator=operator,
        module=module,
        sqnr_db=noise.sqnr_db(sum(weights) + sum(tensors)),
        noise_share=share,
        weight_sqnr_db=noise.sqnr_db(sum(weights)) if weights else None,
        activation_sqnr_db=noise.sqnr_db(sum(tensors)) if tensors else None,
        stored_sqnr_db=next((sources.stored_sqnr_db(source) for source, _ in own if source.tensor is None), None),
        ranges=tuple(ranges),
    )


def range_of(node: Node, seen: Histogram, sources: Sources) -> TensorRange:
    """What a tensor was, beside what its grid covers."""
    scale, zero_point, least, largest = (float(number) for number in sources.grids[node][:4])
    covered_low, covered_high = scale * (least - zero_point), scale * (largest - zero_point)
    values, counts = seen.values
    total = max(float(counts.sum()), 1.0)
    beyond = (values < covered_low - scale / 2) | (values > covered_high + scale / 2)
    magnitudes = np.abs(values)
    order = np.argsort(magnitudes)
    within = int(np.searchsorted(np.cumsum(counts[order]), _COMMON * total))
    common = float(magnitudes[order[min(within, len(order) - 1)]])
    return TensorRange(
        tensor=node.name,
        low=seen.low,
        high=seen.high,
        covered_low=covered_low,
        covered_high=covered_high,
        saturated=float(counts[beyond].sum()) / total,
        outlier_ratio=max(max(abs(seen.low), abs(seen.high)) / common, 1.0) if common else 1.0,
        counts=tuple(int(count) for count in seen.counts.reshape(BINS, -1).sum(1)),
    )
