"""Evaluations as people read them: cells for a table, and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edgekit.evaluation.accuracy import Accuracy, Against
from edgekit.metrics import SQNR_CAP_DB
from edgekit.profiling.measurement import Estimate
from edgekit.quantize.sensitivity import Sensitivity, SiteSensitivity

_UNEVEN_DB = 6.0
"""By so much the median sample is above all together, where noise is uneven."""
_ROUNDOFF_DB = 90.0
"""Above it there is but float32's."""
_UNKNOWN = "-"
_SATURATED, _OUTLYING = 0.01, 4.0
"""From here on a range is remarked upon."""


def rows(accuracies: Sequence[Accuracy]) -> list[dict[str, str]]:
    """One row an evaluation, its cells by column title, in order. What none of them has is left out."""
    cells = [_cells(accuracy) for accuracy in accuracies]
    told = [column for column in cells[0] if any(row[column] != _UNKNOWN for row in cells)]
    return [{column: row[column] for column in told} for row in cells]


def _cells(accuracy: Accuracy) -> dict[str, str]:
    of = accuracy.against
    return {
        "subject": accuracy.subject,
        "runtime": accuracy.runtime,
        "top-1 % [95 %]": with_interval(accuracy.top1_percent, ".2f"),
        "top-5 %": with_interval(accuracy.top5_percent, ".2f"),
        "points lost": with_interval(of.accuracy_drop_points if of else None, ".2f"),
        "agreement %": with_interval(of.agreement_percent if of else None, ".2f"),
        "KL nats": with_interval(of.kl_nats if of else None, ".2g"),
        "SQNR dB": with_interval(of.sqnr_db if of else None, ".1f"),
    }


def with_interval(estimate: Estimate | None, form: str) -> str:
    """`1.20 [1.10, 1.30]`; a dash where it is unknown."""
    if estimate is None:
        return _UNKNOWN
    interval = "" if estimate.low is None else f" [{estimate.low:{form}}, {estimate.high:{form}}]"
    return f"{estimate.value:{form}}{interval}"


def sentences(accuracies: Sequence[Accuracy]) -> list[str]:
    """What can be said of each beside its reference, and what must be known of it."""
    return [sentence for accuracy in accuracies for sentence in _sentences(accuracy)]


def _sentences(accuracy: Accuracy) -> list[str]:
    found, beside = [], accuracy.against
    if beside is not None and beside.accuracy_drop_points is not None:
        found.append(
            f"{accuracy.subject} against {beside.reference}: {verdict(beside.accuracy_drop_points)}{_evidence(beside)}."
        )
    elif beside is not None and beside.sqnr_db is not None and beside.sqnr_db.value == SQNR_CAP_DB:
        found.append(f"{accuracy.subject} computes the same as {beside.reference}.")
    if (uneven := _uneven_noise(accuracy)) is not None:
        found.append(uneven)
    if accuracy.not_finite:
        found.append(
            f"{accuracy.subject}: NaN or infinity for {accuracy.not_finite} of {accuracy.data.images} samples: "
            "counted as wrong, left out of KL and SQNR."
        )
    return found


def _uneven_noise(accuracy: Accuracy) -> str | None:
    beside = accuracy.against
    if beside is None or beside.sqnr_db is None or beside.median_sqnr_db is None:
        return None
    whole = beside.sqnr_db.value
    if whole > _ROUNDOFF_DB or beside.median_sqnr_db - whole < _UNEVEN_DB:
        return None
    return (
        f"{accuracy.subject}: the noise is uneven: {whole:.1f} dB over all, "
        f"{beside.median_sqnr_db:.1f} dB of the median sample."
    )


def finding(drop: Estimate) -> Literal["loses", "gains", "no loss shown"]:
    """What the interval allows to say."""
    assert drop.low is not None
    assert drop.high is not None
    if drop.low > 0:
        return "loses"
    return "gains" if drop.high < 0 else "no loss shown"


def verdict(drop: Estimate) -> str:
    """The finding and its figures: "loses 0.31 points [0.12, 0.52]", "gains ..." (as positive numbers) or "no loss shown: 0.05
    points [-0.10, 0.21]"."""
    found = finding(drop)
    if found == "no loss shown":
        return f"{found}: {_points(drop)}"
    assert drop.low is not None
    assert drop.high is not None
    return f"{found} {_points(drop if found == 'loses' else Estimate(-drop.value, -drop.high, -drop.low))}"


def _points(drop: Estimate) -> str:
    return f"{drop.value:.2f} points [{drop.low:.2f}, {drop.high:.2f}]"


def _evidence(beside: Against) -> str:
    """The counts behind it."""
    if beside.mcnemar_p is None:
        return ""
    p = f"p = {beside.mcnemar_p:.2g}" if beside.mcnemar_p >= 0.001 else "p < 0.001"
    counts = f"{beside.only_reference_right} samples right in the reference alone, {beside.only_subject_right} in it alone"
    return f" ({counts}; McNemar's {p})"


def confusions(accuracy: Accuracy) -> list[str]:
    """Which confusions it makes more or less often than its reference."""
    shifts = accuracy.against.shifts if accuracy.against else None
    return [f"{one.label} taken for {one.predicted}: {one.reference} to {one.subject}" for one in shifts or ()]


def sensitivity(found: Sensitivity) -> str:
    """What all layers cost together."""
    return (
        f"quantized, its graph leaves {found.sqnr_db:.1f} dB on the {found.samples} noisiest calibration samples; were "
        f"noise to add up, its {len(found.sites)} layers would leave {found.sum_sqnr_db:.1f} dB"
    )


def layers(found: Sensitivity) -> list[dict[str, str]]:
    """One row an operator, the most sensitive first, its cells by column title, in order."""
    return [
        {
            "layer": site.module or site.node,
            "operator": site.operator,
            "alone dB": f"{site.sqnr_db:.1f}",
            "of the noise": f"{site.noise_share:.1%}",
            "weight dB": _db(site.weight_sqnr_db),
            "tensors dB": _db(site.activation_sqnr_db),
            "saturated": _largest([one.saturated for one in site.ranges], ".2%"),
            "outliers": _largest([one.outlier_ratio for one in site.ranges], ".1f", "x"),
            "remarks": "; ".join(remarks(site)),
        }
        for site in found.sites
    ]


def remarks(site: SiteSensitivity) -> list[str]:
    """What is conspicuous of an operator's tensors."""
    found = [f"{one.tensor} is dead: it was {one.low:.3g} throughout" for one in site.ranges if one.is_dead]
    found += [f"{one.tensor}: {one.saturated:.1%} beyond its range" for one in site.ranges if one.saturated >= _SATURATED]
    return found + [
        f"{one.tensor}: its largest is {one.outlier_ratio:.0f} times what is common"
        for one in site.ranges
        if one.outlier_ratio >= _OUTLYING
    ]


def _db(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.1f}"


def _largest(values: Sequence[float], form: str, unit: str = "") -> str:
    return f"{max(values):{form}}{unit}" if values else _UNKNOWN
