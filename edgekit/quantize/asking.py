"""What a scheme is asked to quantize, and all that it may look at for that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import Node

    from edgekit.borders import Tensors
    from edgekit.profiles import IntegerSupport, RuntimeProfile
    from edgekit.profiling.measurement import OperatorProfile
    from edgekit.program import Program
    from edgekit.quantize.calibration import Calibration
    from edgekit.quantize.ranges import Histogram, Range
    from edgekit.quantize.sites import Site
    from edgekit.recipe import Quantize, Recipe


@dataclass
class Request:
    """All that a scheme may ask about."""

    program: Program
    """The rewritten graph, in floating point; it stays as it is."""
    support: IntegerSupport
    settings: Quantize
    samples: Sequence[Tensors]
    """Calibration samples; none where none were given."""
    model: str
    """Its name."""
    spectral: frozenset[str] = frozenset()
    """The modules that transform to frequencies: they stay in floating point."""
    announce: Callable[[str], None] = lambda stage: None
    scaled: tuple[str, ...] = ()
    """The nodes of `program` whose channels were scaled for quantization."""
    operator_times: Callable[[Sequence[Program]], Sequence[OperatorProfile]] | None = None
    """Where the time of a run of each goes once they are lowered, on this machine; None where that is not the device."""
    _histograms: dict[Node, Histogram] = field(default_factory=dict)
    _ranges: dict[Node, Range] = field(default_factory=dict)
    _means: dict[Node, Tensor] = field(default_factory=dict)
    _covariances: dict[Node, Tensor] = field(default_factory=dict)

    @cached_property
    def sites(self) -> list[Site]:
        """The operators that compute, in execution order."""
        from edgekit.quantize import sites

        return sites.find(self.program.functions["forward"].graph_module)

    @cached_property
    def normalizing(self) -> frozenset[Node]:
        """The operators of normalizations that are written out: they stay in floating point."""
        from edgekit.quantize import normalization

        return normalization.parts(self.program.functions["forward"].graph_module)

    def is_spectral(self, site: Site) -> bool:
        """Whether the module that an operator is from, or one around that, transforms to frequencies."""
        return any(site.module == path or (path and site.module.startswith(f"{path}.")) for path in self.spectral)

    def histograms(self, nodes: Sequence[Node]) -> dict[Node, Histogram]:
        """What those tensors were over the calibration samples; each is watched once."""
        from edgekit.quantize import observe

        missing = [node for node in nodes if node not in self._histograms]
        if missing:
            self.announce("calibrate")
            self._histograms |= observe.histograms(self.program.functions["forward"], missing, self.samples)
        return {node: self._histograms[node] for node in nodes}

    def ranges(self, nodes: Sequence[Node]) -> dict[Node, Range]:
        """What integers are to cover of those tensors; each is estimated once."""
        from edgekit.quantize import insert, ranges

        estimate = ranges.ESTIMATORS[self.settings.ranges]
        missing = [node for node in nodes if node not in self._ranges]
        self._ranges |= {node: estimate(seen, insert.LEVELS) for node, seen in self.histograms(missing).items()}
        return {node: self._ranges[node] for node in nodes}

    def means(self, nodes: Sequence[Node]) -> dict[Node, Tensor]:
        """What those tensors were on average over the calibration samples; each is watched once."""
        from edgekit.quantize import observe

        missing = [node for node in nodes if node not in self._means]
        if missing:
            self._means |= observe.means(self.program.functions["forward"], missing, self.samples)
        return {node: self._means[node] for node in nodes}

    def covariances(self, channels: Mapping[Node, int]) -> dict[Node, Tensor]:
        """How the channels of those tensors, along the axis given for each, vary together over the calibration samples; each is
        watched once."""
        from edgekit.quantize import observe

        missing = {node: axis for node, axis in channels.items() if node not in self._covariances}
        if missing:
            self._covariances |= observe.covariances(self.program.functions["forward"], missing, self.samples)
        return {node: self._covariances[node] for node in channels}


def request(
    program: Program,
    profile: RuntimeProfile,
    recipe: Recipe,
    calibration: Calibration,
    model: str,
    spectral: frozenset[str],
    announce: Callable[[str], None],
    operator_times: Callable[[Sequence[Program]], Sequence[OperatorProfile]] | None = None,
) -> Request:
    """What the recipe asks for of a rewritten program, which stays as it is."""
    assert recipe.quantize is not None
    assert profile.integers is not None
    made = Request(program, profile.integers, recipe.quantize, calibration.samples, model, spectral, announce)
    made.operator_times = operator_times
    return equalized(made)


def equalized(asked: Request) -> Request:
    """The same, of a program whose channels are scaled as the settings ask."""
    from edgekit.quantize import equalize

    by = asked.settings.equalize
    if by == "none" or (by == "activations" and not asked.samples):
        return asked
    program = asked.program.copy()
    scaled = equalize.apply(program.functions["forward"], by, asked.samples)
    return replace(asked, program=program, scaled=tuple(scaled), _histograms={}, _ranges={}, _means={}, _covariances={})
