"""An operator profile as people read it: cells for a table, and what is to be known of it."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.profiling.measurement import OperatorProfile
from edgekit.profiling.operators import By, Group, grouped

_SHOWN = 20
_TITLES: dict[By, str] = {"operator": "operator", "module": "module", "shapes": "operator and shapes"}


def rows(profile: OperatorProfile, by: By, depth: int | None = None, *, shown: int = _SHOWN) -> list[dict[str, str]]:
    """One row a group, its cells by column title, the longest first; those after `shown` are one row. A dash is unknown."""
    groups = grouped(profile, by, depth)
    found = [_row(_TITLES[by], _name(group), [group]) for group in groups[:shown]]
    if rest := groups[shown:]:
        found.append(_row(_TITLES[by], f"{len(rest)} more", rest))
    return found


def _name(group: Group) -> str:
    if group.name is None:
        return "(unknown)"
    return group.name or "(the model's own forward)"


def _row(title: str, name: str, groups: Sequence[Group]) -> dict[str, str]:
    time_s = sum(group.time_s for group in groups)
    macs, moved, floor_s = (
        _sum([group.macs for group in groups]),
        _sum([group.bytes_moved for group in groups]),
        _sum([group.floor_s for group in groups]),
    )
    return {
        title: name,
        "calls": str(sum(group.calls for group in groups)),
        "ms": f"{time_s * 1e3:.3f}",
        "share": f"{sum(group.share for group in groups):.1%}",
        "M multiply-adds": "-" if macs is None else f"{macs / 1e6:.1f}",
        "MB": "-" if moved is None else f"{moved / 1e6:.2f}",
        "floor ms": "-" if floor_s is None else f"{floor_s * 1e3:.3f}",
        "time / floor": "-" if not floor_s or not time_s else f"{time_s / floor_s:.1f}x",
    }


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def notes(profile: OperatorProfile, p50_s: float | None) -> list[str]:
    """What is to be known beside the tables: why there are none, how the profiled runs compare with the median of those without
    (`p50_s`), what beats its floor, and what has no module."""
    if profile.reason is not None:
        return [f"no operators: {profile.reason}"]
    total_s = sum(operator.time_s for operator in profile.operators)
    found = []
    if p50_s is not None:
        more = "more" if total_s >= p50_s else "less"
        found.append(
            f"the operators take {total_s * 1e3:.2f} ms together, {abs(total_s / p50_s - 1):.0%} {more} than the "
            f"{p50_s * 1e3:.2f} ms of a run that is not profiled: what profiling adds, less what passes between operators and "
            "in waiting for the core"
        )
    if any(operator.floor_s and operator.time_s < operator.floor_s for operator in profile.operators):
        found.append("an operator below its floor found its operands in the processor's cache; the floor reads main memory")
    unknown = [operator for operator in profile.operators if operator.module is None]
    if unknown:
        share = sum(operator.time_s for operator in unknown) / total_s if total_s else 0.0
        found.append(f"{len(unknown)} of {len(profile.operators)} operators ({share:.1%} of the time) have no known module")
    return found
