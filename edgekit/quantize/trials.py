"""Trials: the noise that a quantized program really makes on the calibration samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit import reference_inputs
from edgekit.quantize import noise

if TYPE_CHECKING:
    from edgekit.borders import Tensors
    from edgekit.program import Program


class Trials:
    """Of programs that quantize more or less of one; `first` quantizes the most."""

    def __init__(self, program: Program, samples: Sequence[Tensors], first: Program) -> None:
        self.samples = samples
        self._expected = [noise.outputs_of(program, sample) for sample in samples]
        powers = [self._power(first, place) for place in range(len(samples))]
        self._signal = noise.pooled(powers).signal
        proved = reference_inputs.of_samples(range(len(samples)))
        self._proved = sorted(proved, key=lambda place: -powers[place].worst)
        self._noisiest = noise.noisiest(powers, len(samples))

    def hardest(self, count: int) -> list[Tensors]:
        """The samples that keep a bound from being met: half of them the noisiest of those that the artifact will be proved on,
        the others the noisiest of all."""
        places = list(dict.fromkeys((*self._proved[: count // 2], *self._noisiest)))
        return [self.samples[place] for place in places[:count]]

    def noise_of(self, quantized: Program, allowed: float = math.inf) -> float:
        """Relative to the signal, of the output for which it is largest: over all samples, or for the worst of those that the
        artifact will be proved on, where that is more. Once that is more than `allowed`, it is not looked for further."""
        made, worst = [0.0] * len(self._signal), 0.0
        for place in dict.fromkeys((*self._proved, *self._noisiest)):
            one = self._power(quantized, place)
            made = [sum(both) for both in zip(made, one.noise, strict=True)]
            worst = max(worst, one.worst if place in self._proved else 0.0, noise.Power(self._signal, made).worst)
            if worst > allowed:
                break
        return worst

    def _power(self, quantized: Program, place: int) -> noise.Power:
        return noise.between(self._expected[place], noise.outputs_of(quantized, self.samples[place]))
