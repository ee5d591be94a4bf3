"""The search for an assignment: which operators of a plan go back to floating point, for the noise removed and its price."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from edgekit.errors import ConversionError
from edgekit.quantize import apply, noise
from edgekit.quantize.asking import Request
from edgekit.quantize.costs import Costs
from edgekit.quantize.plan import Plan
from edgekit.quantize.sensitivity import SAMPLES
from edgekit.quantize.trials import Trials

_TOGETHER = 4
"""The most operators that go back to floating point for one tensor."""
_STEP_DB = 0.25
"""By which an assignment that is tried is at least quieter than the last that failed."""
_LONGER = 1.1
"""Is each such step than the last."""
_OF_MISSING = 0.125
"""It is at least this part of what the last missed the bound by."""
_PARTS = 8
"""The most into which what is in floating point is divided to try which need not be."""
_NOTICED = 0.002
"""The least part of the whole cost by which floating point must be cheaper to be chosen for that."""


@dataclass(frozen=True)
class Move:
    """Operators that may go back to floating point together."""

    names: frozenset[str]
    removed: float
    """Noise, relative to the signal."""
    cost: float

    def worth(self, needed: float) -> float:
        """Noise removed, of what is `needed`, for what it costs."""
        return min(self.removed, needed) / self.cost if self.cost > 0 else float("inf")


class Search:
    """What each assignment would cost, in noise and in what is to be saved."""

    def __init__(self, asked: Request, base: Plan, price: Callable[[Request, Plan], Costs]) -> None:
        self.asked, self.base, self._price = asked, base, price
        self.names = frozenset(one.node for one in base.sites if one.changes)
        quantized = apply(asked, base)
        found = noise.Sources(asked.program, quantized, base)
        asked.announce("measure sensitivity")
        self._trials = Trials(asked.program, asked.samples, quantized)
        powers = found.measure(self._trials.hardest(SAMPLES))
        self.sources = found.all
        self._power = [power.relative for power in powers]
        self._of_site: dict[str, list[int]] = {}
        for place, source in enumerate(self.sources):
            for name in source.touches:
                self._of_site.setdefault(name, []).append(place)
        groups = [source.touches for source in self.sources if 1 < len(source.touches) <= _TOGETHER]
        alone = [frozenset((one.node,)) for one in base.sites if one.changes]
        self._groups = list(dict.fromkeys([*alone, *groups, *self._modules()]))

    def _modules(self) -> Iterator[frozenset[str]]:
        """The operators of each module, and of those within it: together they cost fewer conversions than one by one."""
        members: dict[str, set[str]] = {}
        for one in self.base.sites:
            parts = one.module.split(".") if one.changes else []
            for depth in range(1, len(parts) + 1):
                members.setdefault(".".join(parts[:depth]), set()).add(one.node)
        return (frozenset(names) for names in members.values())

    @cached_property
    def costs(self) -> Costs:
        """Found when they are first wanted: to measure them takes a while."""
        return self._price(self.asked, self.base)

    def noise_of(self, floats: frozenset[str]) -> float:
        """With these operators in floating point, if noise added up."""
        return sum(power for source, power in zip(self.sources, self._power, strict=True) if source.touches - floats)

    def cost_of(self, floats: frozenset[str]) -> float:
        return self.costs.of(floats, self.sources)

    def moves(self, floats: frozenset[str]) -> Iterator[Move]:
        """What may go back to floating point next; something stays quantized."""
        for group in self._groups:
            names = group - floats
            after = floats | names
            if not names or after >= self.names:
                continue
            touched = sorted({place for name in names for place in self._of_site.get(name, ())})
            before = [place for place in touched if self.sources[place].touches - floats]
            removed = sum(self._power[place] for place in before if not self.sources[place].touches - after)
            crossings = sum(
                self.costs.crossing_of(self.sources[place], after) - self.costs.crossing_of(self.sources[place], floats)
                for place in touched
            )
            own = sum(-self._saved(name) for name in sorted(names))
            yield Move(names, removed, own + crossings)

    def _saved(self, name: str) -> float:
        """By floating point, crossings aside; below 0 where that costs."""
        floating, quantized = self.costs.each.get(name, (0.0, 0.0))
        return quantized - floating

    @cached_property
    def faster(self) -> frozenset[str]:
        """What is the better for floating point whatever the bound is."""
        floats: frozenset[str] = frozenset()
        least = _NOTICED * self.cost_of(floats)
        while found := [move for move in self.moves(floats) if move.cost < -least]:
            floats |= min(found, key=lambda move: move.cost).names
        return floats

    def quiet(self, target: float) -> frozenset[str] | None:
        """The cheapest with no more noise than `target`; None where there is none."""
        floats = self.faster
        while (needed := self.noise_of(floats) - target) > 0:
            found = [move for move in self.moves(floats) if move.removed > 0]
            if not found:
                return None
            floats |= max(found, key=lambda move: move.worth(needed)).names
        for name in sorted(floats - self.faster, key=lambda name: (self._saved(name), name)):
            back = floats - {name}
            if self.noise_of(back) <= target and self.cost_of(back) < self.cost_of(floats):
                floats = back
        return floats

    def tried(self, floats: frozenset[str], allowed: float = math.inf) -> float:
        """The noise that it really makes; once that is more than `allowed`, no less than that."""
        return self._trials.noise_of(apply(self.asked, self._but(dict.fromkeys(floats, ""))), allowed)

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
        for source, power in zip(self.sources, self._power, strict=True):
            share[source.site] = share.get(source.site, 0.0) + power
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
        gentlest = min(sorted(self.names), key=lambda name: self.noise_of(self.names - {name}))
        last = self.names - {gentlest}
        if (made := self.tried(last)) > allowed:
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
        is. Steps are small: adding up noise foretells only roughly what is made, which the next assignment may have half or
        twice as much of, and one that fails shows it on its first samples."""
        target, step_db = self.noise_of(self.faster), _STEP_DB
        while (floats := self.quiet(target)) is not None:
            made = self.tried(floats, allowed)
            if made <= allowed:
                return floats, made
            if not self.noise_of(floats):  # what is left makes no noise alone
                return None
            missing_db = noise.sqnr_db(allowed) - noise.sqnr_db(made)
            target = self.noise_of(floats) * 10 ** (-max(step_db, _OF_MISSING * missing_db) / 10)
            step_db *= _LONGER
        return None

    def _trimmed(self, floats: frozenset[str], made: float, allowed: float) -> tuple[frozenset[str], float]:
        """The same with what need not be in floating point quantized again: half of it, of what runs one after another, then a
        quarter, and so on, wherever the bound still holds."""
        left = [one.node for one in self.base.sites if one.node in floats - self.faster]
        parts = 2
        while parts <= min(_PARTS, len(left)):
            size = math.ceil(len(left) / parts)
            for start in range(0, len(left), size):
                back = floats - set(left[start : start + size])
                if self.cost_of(back) < self.cost_of(floats) and (tried := self.tried(back, allowed)) <= allowed:
                    floats, made = back, tried
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
        while found := [one for one in self.moves(floats) if one.removed > 0 and self.cost_of(floats) + one.cost <= budget]:
            floats |= max(found, key=lambda one: one.worth(one.removed)).names
        return self.plan(floats, self.tried(floats))
