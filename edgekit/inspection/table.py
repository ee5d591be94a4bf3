"""A report as rows and lines for people. Base units become readable ones here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edgekit.inspection import Finding, Report
from edgekit.runtimes import TensorSpec

WEIGHT_COLUMNS = ("heaviest weights", "type", "shape", "MB", "share")
FINDING_COLUMNS = ("rule", "severity", "places", "operators", "first places")
_HEAVIEST, _FIRST_PLACES, _FIRST_KINDS = 8, 2, 4
HEURISTIC = (
    "The linter is a heuristic: what Apple and others wrote or measured of the Neural Engine, held against the program. "
    "Where it really runs only a Mac's compute plan tells. Rules and their sources: docs/coreml_rules.md"
)


def summary(report: Report) -> list[tuple[str, str]]:
    """What is known of the whole, and why something is not."""
    rows = [
        ("format", f"{report.format}, {_mb(report.size_bytes)}"),
        ("inputs", _specs(report.inputs)),
        ("outputs", _specs(report.outputs)),
        ("operators", f"{sum(report.operators.values())}: {counts(report.operators)}"),
        ("weights", f"{_mb(report.weights_bytes)}: {', '.join(f'{t} {_mb(b)}' for t, b in report.weight_dtypes.items())}"),
        ("results", counts(report.activation_dtypes)),
        ("largest rank", report.unknown.get("largest_rank") or str(report.largest_rank)),
        ("memory", _memory(report)),
        ("delegated", _delegation(report)),
    ]
    if report.findings is None:
        return [*rows, ("linter", f"not applicable: {report.unknown['findings']}")]
    return [*rows, ("placement", _placement(report))]


def weights(report: Report) -> list[tuple[str, str, str, str, str]]:
    """The heaviest weights, and the rest together."""
    total = report.weights_bytes or 1
    first, rest = report.weights[:_HEAVIEST], report.weights[_HEAVIEST:]
    rows = [
        (w.name, w.dtype, "x".join(map(str, w.shape)) or "1", f"{w.size_bytes / 1e6:.2f}", f"{w.size_bytes / total:.1%}")
        for w in first
    ]
    if rest:
        size = sum(weight.size_bytes for weight in rest)
        rows.append((f"{len(rest)} more", "", "", f"{size / 1e6:.2f}", f"{size / total:.1%}"))
    return rows


def findings(report: Report) -> list[tuple[str, str, str, str, str]]:
    """A line a rule."""
    return [
        (finding.rule, finding.severity, str(len(finding.places)), counts(finding.operators, _FIRST_KINDS), _first(finding))
        for finding in report.findings or ()
    ]


def advice(report: Report) -> Iterator[str]:
    """Why each finding matters, and what mends it."""
    for finding in report.findings or ():
        yield f"{finding.rule}: {finding.why}"
        yield f"  mends: {finding.mends}"


def elsewhere(report: Report) -> list[str]:
    """The costliest operators that Core ML's plan has off the Neural Engine."""
    found = report.placement.elsewhere if report.placement else ()
    return [
        f"{one.operator} at {one.name}: {one.unit} ({', '.join(one.able)} can)"
        + ("" if one.cost is None else f", cost {one.cost:.1%}")
        for one in found[:_HEAVIEST]
    ]


def counts(kinds: Mapping[str, int], most: int | None = None) -> str:
    """Kinds with their counts, the most frequent first."""
    told = [f"{kind} {count}" for kind, count in list(kinds.items())[:most]]
    return ", ".join([*told, *([f"{len(kinds) - len(told)} more kinds"] if len(kinds) > len(told) else [])]) or "nothing"


def _first(finding: Finding) -> str:
    told = []
    for place in finding.places[:_FIRST_PLACES]:
        source = f" ({place.source})" if place.source else ""
        told.append(f"{place.name}{source}: {place.found}")
    return "; ".join(told)


def _memory(report: Report) -> str:
    memory = report.memory
    if memory is None:
        return f"not known: {report.unknown['memory']}"
    at = f" (most at {memory.at})" if memory.at else ""
    held = _mb(memory.weights_bytes + memory.activations_bytes)
    return (
        f"{held}, estimated: weights {_mb(memory.weights_bytes)}, results {_mb(memory.activations_bytes)}{at}: {memory.method}"
    )


def _delegation(report: Report) -> str:
    found = report.delegation
    if found is None:
        return f"not applicable: {report.unknown['delegation']}"
    share = report.unknown["delegation.inside"] if found.share is None else f"{found.share:.1%} of operators"
    return f"{share} in {counts(found.delegates)}; outside: {counts(found.outside)}"


def _placement(report: Report) -> str:
    found = report.placement
    if found is None:
        return f"not known: {report.unknown['placement']}"
    shares = ", ".join(f"{unit} {count} ({found.cost.get(unit, 0):.0%} of the cost)" for unit, count in found.operators.items())
    return f"Core ML's compute plan on this machine: {shares}"


def _specs(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name}: {spec}" for spec in specs) or "none"


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
