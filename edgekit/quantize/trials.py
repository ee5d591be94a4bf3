"""Trials: the noise that a quantized program really makes on the calibration samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit import reference_inputs
from edgekit.quantize import noise

if TYPE_CHECKING:
    from edgekit.borders import Tensors
    from edgekit.program import Program

_NOISIEST = 2
"""So many samples tell operators apart, beside those that the artifact is proved on."""


@dataclass(frozen=True)
class Made:
    """What a trial found."""

    noise: float
    """Relative to the signal, of the output and within the bound that have the most of it."""
    bound: int
    """Which that is."""


class Trials:
    """Of programs that quantize more or less of one; `first` quantizes the most. Noise is bounded for each sample that the
    artifact will be proved on, the noisiest first, and last for all samples together."""

    def __init__(self, program: Program, samples: Sequence[Tensors], first: Program) -> None:
        self.samples = samples
        self._expected = [noise.outputs_of(program, sample) for sample in samples]
        powers = [self._power(first, place) for place in range(len(samples))]
        self._signal = noise.pooled(powers).signal
        proved = reference_inputs.of_samples(range(len(samples)))
        self._proved = sorted(proved, key=lambda place: -powers[place].worst)
        self._order = list(dict.fromkeys((*self._proved, *noise.noisiest(powers, len(samples)))))
        self.telling = [samples[place] for place in self._order[: len(proved) + _NOISIEST]]
        """Those that operators are told apart by: what keeps the bounds from being met."""

    def by_bound(self, powers: Sequence[noise.Power]) -> tuple[float, ...]:
        """Noise relative to the signal, within each bound, of what makes these on the `telling` samples."""
        return (*(power.relative for power in powers[: len(self._proved)]), noise.pooled(powers).relative)

    def of(self, quantized: Program, allowed: float = math.inf) -> Made:
        """The noise of a program. Once some bound's is more than `allowed`, it is not looked for further."""
        total, found = [0.0] * len(self._signal), Made(0.0, 0)
        for place in list(self._order):
            one = self._power(quantized, place)
            total = [sum(both) for both in zip(total, one.noise, strict=True)]
            together = Made(noise.Power(self._signal, total).worst, len(self._proved))
            alone = [Made(one.worst, self._proved.index(place))] if place in self._proved else []
            found = max(found, together, *alone, key=lambda made: made.noise)
            if found.noise > allowed:
                self._order.remove(place)
                self._order.insert(0, place)  # what fails by it once does so again
                break
        return found

    def _power(self, quantized: Program, place: int) -> noise.Power:
        return noise.between(self._expected[place], noise.outputs_of(quantized, self.samples[place]))
