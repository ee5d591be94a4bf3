"""Which operators of ML programs edgekit's reference interpreter executes, against coremltools' own list."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

from edgekit.runtimes.coreml_reference import ops

REPORT = Path(__file__).parent.parent / "docs" / "coreml_operators.md"
FIRST_SPECIFICATION_VERSION = 6
"""Of ML programs: iOS 15, and one more for each iOS up to 18."""

SAME_AS = {"coreml_update_state": "write_state"}
"""Operators that a package holds under another name."""

NOT_IN_PACKAGES = ("_const_symbolic", "const")
"""Symbols are gone when a package is written, and constants are read with it."""


def known() -> Iterator[tuple[str, list[str], str]]:
    """Every operator of coremltools: its name, the iOS versions in which its definition is new, and how it is executed."""
    executed = ops.operators()
    registered = {**SSAOpRegistry.core_ops, "coreml_update_state": SSAOpRegistry.dialect_ops.get("coreml_update_state", {})}
    for name, definitions in sorted(registered.items()):
        if name in NOT_IN_PACKAGES:
            continue
        versions, last = [], None
        for target, definition in sorted(definitions.items()) if isinstance(definitions, dict) else []:
            if int(target) < FIRST_SPECIFICATION_VERSION:
                continue
            if definition is not last:
                versions.append(f"iOS {int(target) + 9}")
            last = definition
        function = executed.get(SAME_AS.get(name, name))
        if function is None:
            how = f"no: {ops.LEFT_OUT.get(name, 'not written yet')}"
        else:
            module = importlib.import_module(function.__module__)
            how = f"`{Path(inspect.getfile(module)).name}`"
        yield name, versions or ["iOS 18"], how


def render() -> str:
    """The document."""
    rows = list(known())
    missing = [row for row in rows if row[2].startswith("no")]
    lines = [
        "# Core ML operators",
        "",
        "What `edgekit/runtimes/coreml_reference` executes off a Mac, against the operators of coremltools 9.0 for ML programs",
        "(iOS 15 to 18). Written by `python scripts/coreml_operators.py`; a test holds it to the code.",
        "",
        f"{len(rows) - len(missing)} of {len(rows)} operators are executed.",
        "",
        "| operator | defined in | executed in |",
        "|---|---|---|",
        *(f"| `{name}` | {', '.join(versions)} | {how} |" for name, versions, how in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(render())
