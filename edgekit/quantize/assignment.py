"""The search for an assignment: which operators of a plan go back to floating point, for the noise removed and its price."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ConversionError
from edgekit.quantize import apply, noise
from edgekit.quantize.asking import Request
from edgekit.quantize.costs import Costs
from edgekit.quantize.moves import Moves, Noise
from edgekit.quantize.plan import Plan
from edgekit.quantize.trials import Made, Trials

_TOGETHER = 4
"""The most operators that go back to floating point for one tensor."""
_STEP_DB = 0.25
"""By which an assignment that is tried is at least quieter than the last that failed, within the bound that failed."""
_LONGER = 1.1
"""Is each such step than the bound's last."""
_OF_MISSING = 0.125
"""It is at least this part of what the last missed the bound by."""
_PARTS = 32
"""The most into which what is in floating point is divided to try which need not be."""
_NOTICED = 0.002
"""The least part of the whole cost by which floating point must be cheaper to be chosen for that."""


class Search:
    """What each assignment would cost, in noise and in what is to be saved."""

    def __init__(self, asked: Request, base: Plan, price: Callable[[Request, Plan], Costs]) -> None:
        self.asked, self.base, self._price = asked, base, price
        self.names = frozenset(one.node for one in base.sites if one.changes)
        quantized = apply(asked, base)
        found = noise.Sources(asked.program, quantized, base)
        asked.announce("measure sensitivity")
        self._trials = Trials(asked.program, asked.samples, quantized)
        powers = zip(*(found.measure([sample]) for sample in self._trials.telling), strict=True)
        self.sources = found.all
        self._alone = np.array([self._trials.by_bound(of_one) for of_one in powers])
        """The noise of each source alone: (sources, bounds)."""
        self._of_site: dict[str, list[int]] = {}
        for place, source in enumerate(self.sources):
            for name in source.touches:
                self._of_site.setdefault(name, []).append(place)
        groups = [source.touches for source in self.sources if 1 < len(source.touches) <= _TOGETHER]
        alone = [frozenset((one.node,)) for one in base.sites if one.changes]
        self._groups = list(dict.fromkeys([*alone, *groups, *self._modules()]))
        self._near = self._neighbours()

    def _modules(self) -> Iterator[frozenset[str]]:
        """The operators of each module, and of those within it: together they cost fewer conversions than one by one."""
        members: dict[str, set[str]] = {}
        for one in self.base.sites:
            parts = one.module.split(".") if one.changes else []
            for depth in range(1, len(parts) + 1):
                members.setdefault(".".join(parts[:depth]), set()).add(one.node)
        return (frozenset(names) for names in members.values())

    def _neighbours(self) -> dict[str, set[int]]:
        """By operator, the groups that it is in, or shares a tensor with."""
        of_operator: dict[str, set[int]] = {name: set() for name in self.names}
        for place, group in enumerate(self._groups):
            for name in group:
                of_operator[name].add(place)
        found = {name: set(places) for name, places in of_operator.items()}
        for source in self.sources:
            sharing = set().union(*(of_operator.get(name, ()) for name in source.touches))
            for name in source.touches & self.names:
                found[name] |= sharing
        return found

    @cached_property
    def costs(self) -> Costs:
        """Found when they are first wanted: to measure them takes a while."""
        return self._price(self.asked, self.base)

    def noise_of(self, floats: frozenset[str]) -> Noise:
        """With these operators in floating point, if noise added up."""
        return self._sum(place for place, source in enumerate(self.sources) if source.touches - floats)

    def _sum(self, places: Iterable[int]) -> Noise:
        return np.asarray(self._alone[np.fromiter(places, int)].sum(axis=0))

    def cost_of(self, floats: frozenset[str]) -> float:
        return self.costs.of(floats, self.sources)

    def moves(self, floats: frozenset[str]) -> Moves:
        """What may go back to floating point next."""
        return Moves(self._groups, self._near, self._effect, floats, self._alone.shape[1])

    def _effect(self, names: frozenset[str], floats: frozenset[str]) -> tuple[Noise, float]:
        after = floats | names
        touched = sorted({place for name in names for place in self._of_site.get(name, ())})
        before = [place for place in touched if self.sources[place].touches - floats]
        removed = self._sum(place for place in before if not self.sources[place].touches - after)
        crossings = sum(
            self.costs.crossing_of(self.sources[place], after) - self.costs.crossing_of(self.sources[place], floats)
            for place in touched
        )
        return removed, crossings - sum(self._saved(name) for name in sorted(names))

    def _saved(self, name: str) -> float:
        """By floating point, crossings aside; below 0 where that costs."""
        floating, quantized = self.costs.each.get(name, (0.0, 0.0))
        return quantized - floating

    @cached_property
    def faster(self) -> frozenset[str]:
        """What is the better for floating point whatever the bound is."""
        moves = self.moves(frozenset())
        least = _NOTICED * self.cost_of(moves.floats)
        while (cost := moves.cost).min(initial=0.0) < -least:
            moves.make(int(cost.argmin()))
        return moves.floats

    def quiet(self, target: Noise) -> frozenset[str] | None:
        """The cheapest with no more noise than `target`, bound by bound; None where there is none."""
        moves = self.moves(self.faster)
        while ((needed := self.noise_of(moves.floats) - target) > 0).any():
            worth = moves.worth(needed)
            if not worth.any():
                return None
            moves.make(int(worth.argmax()))
        floats = moves.floats
        for name in sorted(floats - self.faster, key=lambda name: (self._saved(name), name)):
            back = floats - {name}
            if (self.noise_of(back) <= target).all() and self.cost_of(back) < self.cost_of(floats):
                floats = back
        return floats

    def tried(self, floats: frozenset[str], allowed: float = math.inf) -> Made:
        """The noise that it really makes; once that is more than `allowed`, no less than that."""
        return self._trials.of(apply(self.asked, self._but(dict.fromkeys(floats, ""))), allowed)

    def told(self, floats: frozenset[str], made: float) -> str:
        """What is expected of an assignment, and how that is known."""
        return (
            f"at least {noise.sqnr_db(made):.1f} dB over all {len(self.asked.samples)} samples, and for each of those it is "
            f"proved on; {self._prices(floats)}"
        )

    def _prices(self, floats: frozenset[str]) -> str:
        """Of an assignment and of its two extremes, in words."""
        cost, least, most = (self.costs.told(self.cost_of(these)) for these in (floats, frozenset[str](), self.names))
        return f"{cost}, with all quantized {least}, with none {most}: {self.costs.how}"

    def plan(self, floats: frozenset[str], made: float) -> Plan:
        """The base but for `floats`, which makes this noise."""
        share = dict.fromkeys(self.names, 0.0)
        for source, alone in zip(self.sources, self._alone, strict=True):
            share[source.site] = share.get(source.site, 0.0) + float(alone[-1])
        total = sum(share.values()) or 1.0
        why = {name: f"{noise.sqnr_db(share[name]):.1f} dB alone, {share[name] / total:.1%} of the noise" for name in floats}
        why |= dict.fromkeys(self.faster & floats, "faster in floating point")
        return self._but(why).model_copy(update={"scheme": "mixed", "why": self.told(floats, made)})

    def _but(self, left: Mapping[str, str]) -> Plan:
        """The base but for what is left in floating point, for these reasons."""
        empty = {"weight": None, "activation": None}
        sites = (
            one.model_copy(update={**empty, "why": left[one.node]}) if one.node in left else one for one in self.base.sites
        )
        return self.base.model_copy(update={"sites": tuple(sites)})

    def meeting(self, least_sqnr_db: float) -> Plan:
        """The fastest that keeps the bound, as noise is `tried`. Raises ConversionError where nothing does, and where floating
        point, which keeps any bound, was measured to be as fast."""
        allowed = 10 ** (-least_sqnr_db / 10)
        gentlest = min(sorted(self.names), key=lambda name: float(self.noise_of(self.names - {name}).max()))
        last = self.names - {gentlest}
        if (made := self.tried(last).noise) > allowed:
            raise ConversionError(
                f"no assignment of {self.base.model} reaches {least_sqnr_db:g} dB",
                cause=f"quantizing {gentlest} alone, which costs the least accuracy, leaves {noise.sqnr_db(made):.1f} dB",
                next_step="ask for less, or export without --quantize",
            )
        found = self._first(allowed)
        floats, made = (last, made) if found is None else self._trimmed(*found, allowed)
        cost, whole = self.cost_of(floats), self.cost_of(self.names)
        if self.costs.are_measured and cost > whole * (1 - _NOTICED):
            raise ConversionError(
                f"floating point is the fastest that keeps {least_sqnr_db:g} dB in {self.base.model}",
                cause=self._prices(floats),
                next_step="export without --quantize; for a smaller file, with int8-weight, or mixed with --most-size-mb",
            )
        return self.plan(floats, made)

    def _first(self, allowed: float) -> tuple[frozenset[str], float] | None:
        """The first of ever quieter and dearer assignments with no more noise than `allowed`, and its noise; None where none
        is. Each is quieter than the last within the bound that failed. Steps are small: adding up noise foretells only roughly
        what is made, which the next assignment may have half or twice as much of, and one that fails shows it on its first
        samples."""
        target = self.noise_of(self.faster)
        steps_db = [_STEP_DB] * len(target)
        while (floats := self.quiet(target)) is not None:
            made = self.tried(floats, allowed)
            if made.noise <= allowed:
                return floats, made.noise
            expected = self.noise_of(floats)[made.bound]
            if not expected:  # what is left makes no noise alone
                return None
            missing_db = noise.sqnr_db(allowed) - noise.sqnr_db(made.noise)
            target[made.bound] = expected * 10 ** (-max(steps_db[made.bound], _OF_MISSING * missing_db) / 10)
            steps_db[made.bound] *= _LONGER
        return None

    def _trimmed(self, floats: frozenset[str], made: float, allowed: float) -> tuple[frozenset[str], float]:
        """The same with what need not be in floating point quantized again, and its noise: half of it, of what runs one after
        another, then a quarter, and so on, wherever the bounds still hold."""
        left = [one.node for one in self.base.sites if one.node in floats - self.faster]
        parts = 2
        while parts <= min(_PARTS, len(left)):
            size = math.ceil(len(left) / parts)
            for start in range(0, len(left), size):
                back = floats.difference(left[start : start + size])
                if self.cost_of(back) < self.cost_of(floats) and (tried := self.tried(back, allowed)).noise <= allowed:
                    floats, made = back, tried.noise
            left, parts = [name for name in left if name in floats], 2 * parts
        return floats, made

    def within(self, most: float) -> Plan:
        """The most accurate that costs no more than `most` units. Raises ConversionError where nothing does, and where floating
        point does."""
        floats, known = self.faster, self.costs
        budget, whole = most * known.unit, self.cost_of(self.names)
        if self.cost_of(floats) > budget:
            raise ConversionError(
                f"no assignment of {self.base.model} takes as little as {most:g} {known.unit_name}",
                cause=f"with all quantized that can be, it takes {known.told(self.cost_of(floats))}",
                next_step="ask for more, or choose a smaller model",
            )
        if whole <= budget:
            raise ConversionError(
                f"{self.base.model} takes no more than {most:g} {known.unit_name} as it is",
                cause=f"in floating point it takes {known.told(whole)}",
                next_step="export without --quantize, or ask for less",
            )
        moves = self.moves(floats)
        while (worth := self._affordable(moves, budget)).any():
            moves.make(int(worth.argmax()))
        return self.plan(moves.floats, self.tried(moves.floats).noise)

    def _affordable(self, moves: Moves, budget: float) -> NDArray[np.float64]:
        """What each move is worth; nothing where it would cost more than the budget."""
        worth = moves.worth(self.noise_of(moves.floats))
        return np.where(self.cost_of(moves.floats) + moves.cost <= budget, worth, 0.0)
