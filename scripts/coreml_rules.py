"""The rules of the linter for Core ML packages, as a document."""

from __future__ import annotations

from pathlib import Path

from edgekit.inspection import lint

REPORT = Path(__file__).parent.parent / "docs" / "coreml_rules.md"

INTRODUCTION = """# Rules for the Neural Engine

The {count} rules that `edgekit inspect` holds a Core ML package against. Written by `python scripts/coreml_rules.py`; a
test holds it to the code.

A rule is a heuristic. Apple publishes no list of what runs on the Neural Engine (it differs by chip, system and shape);
the rules rest on what Apple wrote for its own models and on what others measured, mostly on an M1. An operator that a
rule names may run there, one that none names may not. Placement itself is claimed only from Core ML's own compute plan,
which `edgekit inspect` shows on a Mac (`edgekit/inspection/compute_plan.py`, **unverified on hardware**: no Mac has run
it yet).

`error`: the numbers come out wrong. `warning`: said to keep the operator off the Neural Engine. `note`: slow there, or
costs memory or digits.
"""


def render() -> str:
    """The document."""
    rules = lint.rules()
    lines = [
        INTRODUCTION.format(count=len(rules)),
        "| rule | severity | looks for |",
        "|---|---|---|",
        *(f"| [`{rule.id}`](#{rule.id}) | {rule.severity} | {rule.what} |" for rule in rules),
    ]
    for rule in rules:
        lines += [
            "",
            f"## {rule.id}",
            f"**{rule.severity.capitalize()}**: {rule.what} {rule.why}",
            "",
            f"Mends: {rule.mends}",
            "",
        ]
        lines += [f"- <{source}>" for source in rule.sources]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    REPORT.write_text(render(), encoding="utf-8")
