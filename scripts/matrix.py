"""Every model on every target: parity, size, export time, and what stays outside the accelerated part."""

from __future__ import annotations

import collections
import re
import sys
import tempfile
from pathlib import Path

import edgekit
from edgekit import models, targets
from edgekit.errors import EdgekitError
from edgekit.quiet import quiet

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "reports" / "matrix.md"
README = ROOT / "README.md"
MARKS = "<!-- support: written by scripts/matrix -->", "<!-- /support -->"
TITLES = {"onnx": "ONNX", "executorch": "ExecuTorch", "coreml": "Core ML"}


def outside_delegate(artifact: edgekit.Artifact) -> str:
    """The operators an ExecuTorch program runs outside its delegates, with their counts; a dash for other targets."""
    if artifact.manifest.target != "executorch":
        return "-"
    with quiet():
        from executorch.exir._serialize._program import deserialize_pte_binary

        plan = deserialize_pte_binary(artifact.model_file.read_bytes()).program.execution_plan[0]
    calls = [instruction.instr_args for chain in plan.chains for instruction in chain.instructions]
    kernels = collections.Counter(plan.operators[c.op_index].name for c in calls if hasattr(c, "op_index"))
    delegates = sum(hasattr(call, "delegate_index") for call in calls)
    left = ", ".join(f"{name.removeprefix('aten::')} {count}" for name, count in kernels.most_common())
    return f"{delegates} delegates; outside: {left or 'nothing'}"


def cell(artifact: edgekit.Artifact) -> str:
    """A cell of the support table."""
    sqnr = artifact.manifest.parity.conversion.sqnr_db
    return "converts, not run here" if sqnr is None else f"{sqnr:.0f} dB"


def row(model: str, target: str, artifact: edgekit.Artifact) -> str:
    """A line of the report."""
    parity = artifact.manifest.parity.conversion
    sqnr = f"not run: {parity.reason}" if parity.sqnr_db is None else f"{parity.sqnr_db:.1f} dB"
    made_in_s = sum(artifact.manifest.stages_s.values())
    size = f"{artifact.size_bytes / 1e6:.1f} MB"
    cells = [model, target, artifact.manifest.precision, sqnr, size, f"{made_in_s:.0f} s", outside_delegate(artifact)]
    return "| " + " | ".join(cells) + " |"


def main(chosen: list[str]) -> int:
    """Export every cell, print the report as it grows, and write it; 1 when a cell failed."""
    lines = ["| model | target | precision | SQNR | size | made in | outside the delegate |", "|---|---|---|---|---|---|---|"]
    support = ["| model | " + " | ".join(TITLES.values()) + " |", "|---|" + "---|" * len(TITLES)]
    failed = 0
    print("\n".join(lines))
    with tempfile.TemporaryDirectory() as scratch:
        for model in chosen or models.all_variants():
            cells = []
            for target in TITLES:
                try:
                    artifact = edgekit.export(model, target, output=scratch)
                    line, summary = row(model, target, artifact), cell(artifact)
                except EdgekitError as error:
                    failed += 1
                    line, summary = f"| {model} | {target} | - | **{error.what}**: {error.cause} | - | - | - |", "fails"
                print(line, flush=True)
                lines.append(line)
                cells.append(summary)
            support.append(f"| `{model}` | " + " | ".join(cells) + " |")
    assert set(TITLES) == set(targets.names())
    command = " ".join(["scripts/matrix", *chosen])
    REPORT.write_text(f"# Models on targets\n\nMade by `{command}`.\n\n" + "\n".join(lines) + "\n")
    begin, end = MARKS
    table = f"{begin}\n" + "\n".join(support) + f"\n{end}"
    README.write_text(re.sub(f"{begin}.*{end}", table, README.read_text(), flags=re.DOTALL))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
