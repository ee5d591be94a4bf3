"""Moves: groups of operators that may go back to floating point together, what each removes of the noise, and its cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

Noise = NDArray[np.float64]
"""Relative to the signal: (bounds,), those of `Trials`."""

Effect = Callable[[frozenset[str], frozenset[str]], tuple[Noise, float]]
"""The noise removed, and the cost (seconds or bytes), of letting some operators go back where others are back already."""


class Moves:
    """What may go back next, as more and more does. Of a group, what it does is found anew only where one that it shares a
    tensor with, which are `near`, has gone back."""

    def __init__(
        self,
        groups: Sequence[frozenset[str]],
        near: Mapping[str, Set[int]],
        effect: Effect,
        floats: frozenset[str],
        bounds: int,
    ) -> None:
        self.floats = floats
        """What is back."""
        self._groups, self._near, self._effect = groups, near, effect
        self._left = list(groups)
        self._sizes = np.zeros(len(groups), int)
        self._removed = np.zeros((len(groups), bounds))
        self._cost = np.zeros(len(groups))
        for place in range(len(groups)):
            self._find(place)

    @property
    def cost(self) -> NDArray[np.float64]:
        """Of each group, in seconds or bytes: (groups,). Infinite where none of it is left, or nothing else: something stays
        quantized."""
        possible = (self._sizes > 0) & (self._sizes < len(self._near) - len(self.floats))
        return np.where(possible, self._cost, np.inf)

    def worth(self, needed: Noise) -> NDArray[np.float64]:
        """What each group removes for what it costs: by bound, as a part of what is `needed`; (groups,)."""
        missing, cost = needed > 0, self.cost
        parts = np.minimum(self._removed[:, missing] / needed[missing], 1.0).sum(axis=1)
        free = np.where(parts > 0, np.inf, 0.0)
        return np.asarray(np.divide(parts, cost, out=free, where=cost > 0))

    def make(self, place: int) -> None:
        """Let a group go back."""
        names = self._left[place]
        self.floats |= names
        for other in set().union(*(self._near[name] for name in names)):
            self._find(other)

    def _find(self, place: int) -> None:
        names = self._left[place] = self._groups[place] - self.floats
        self._sizes[place] = len(names)
        if names:
            self._removed[place], self._cost[place] = self._effect(names, self.floats)
