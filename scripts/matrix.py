"""Every model on every target: parity, size, export time, and what stays outside the accelerated part."""

from __future__ import annotations

import collections
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import edgekit
from edgekit import isolation, models, targets
from edgekit.artifact import Artifact, Parity, ParityRecord
from edgekit.errors import EdgekitError
from edgekit.profiles import RuntimeProfile
from edgekit.quiet import quiet

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "reports" / "matrix.md"
README = ROOT / "README.md"
MARKS = "<!-- support: written by scripts/matrix -->", "<!-- /support -->"
TITLES = {"onnx": "ONNX", "executorch": "ExecuTorch", "coreml": "Core ML"}
COLUMNS = ("model", "target", "precision", "conversion SQNR", "precision SQNR", "size", "made in", "operators")
_MIL_TYPES = {
    "aten.embedding": "gather",
    "aten.index_select": "gather",
    "aten.gather": "gather",
    "aten.argmax": "reduce_argmax",
}
"""What coremltools makes of the ATen operators that profiles say leave the accelerator; others keep their names."""


@dataclass(frozen=True)
class Cell:
    """A model on a target: what came out, or why nothing did."""

    model: str
    target: str
    precision: str = "-"
    parity: ParityRecord | None = None
    size_bytes: int = 0
    made_in_s: float = 0.0
    operators: str = "-"
    failure: str = ""

    @property
    def row(self) -> str:
        """Its line of the report."""
        if self.parity is None:
            cells = [self.model, self.target, self.precision, f"**{self.failure}**", "-", "-", "-", "-"]
        else:
            answers = [_answer(self.parity.conversion), _answer(self.parity.precision)]
            size, made_in = f"{self.size_bytes / 1e6:.1f} MB", f"{self.made_in_s:.0f} s"
            cells = [self.model, self.target, self.precision, *answers, size, made_in, self.operators]
        return f"| {' | '.join(cells)} |"

    @property
    def support(self) -> str:
        """What the support table says of it."""
        if self.parity is None:
            return "fails"
        sqnr = self.parity.conversion.sqnr_db
        said = "converts, not run here" if sqnr is None else f"{sqnr:.0f} dB"
        reduced = self.parity.precision.sqnr_db
        return said if self.precision == "fp32" or reduced is None else f"{said}, {self.precision} {reduced:.0f} dB"


def _answer(parity: Parity) -> str:
    return f"not run: {parity.reason}" if parity.sqnr_db is None else f"{parity.sqnr_db:.1f} dB"


def main(chosen: Sequence[str]) -> int:
    """Export every cell, each printed as it is done; 1 when one failed. The report and the README's table are written when
    that was every model there is."""
    print("\n".join(header(COLUMNS)))
    cells: dict[str, list[Cell]] = {}
    for model in chosen or models.all_variants():
        cells[model] = []
        for target in TITLES:
            cells[model].append(cell(model, target))
            print(cells[model][-1].row, flush=True)
    if not chosen:
        assert set(TITLES) == set(targets.names())
        REPORT.write_text(report(cells), encoding="utf-8")
        README.write_text(with_support(README.read_text(encoding="utf-8"), cells), encoding="utf-8")
    return 1 if any(one.failure for row in cells.values() for one in row) else 0


def cell(model: str, target: str) -> Cell:
    """One cell, made in a process of its own: its memory ends with it, and so does whatever it breaks."""
    with isolation.Worker() as worker:
        try:
            made = worker.call(f"{__file__}:export", model, target, stage=f"exporting {model} to {target}")
        except EdgekitError as error:
            return Cell(model, target, failure=" ".join(f"{error.what}: {error.cause}".split()).replace("|", "/"))
    return Cell(model, target, *made)


def export(model: str, target: str) -> tuple[str, ParityRecord, int, float, str]:
    """The fields of a `Cell` from its precision on, as far as an export that succeeds gives them: in the target's usual
    precision, or in the first that is enough for the model."""
    for precision in targets.find(target).PRECISIONS:
        made = _exported(model, target, precision)
        if made[1].precision.passed is not False:
            break
    return made


def _exported(model: str, target: str, precision: str) -> tuple[str, ParityRecord, int, float, str]:
    with tempfile.TemporaryDirectory() as folder:
        made = edgekit.export(model, target, precision=precision, output=folder)
        with quiet():
            operators = {"executorch": _executorch, "coreml": _coreml, "onnx": _onnx}[target](made)
        manifest = made.manifest
        return manifest.precision, manifest.parity, made.size_bytes, sum(manifest.stages_s.values()), operators


def _onnx(made: Artifact) -> str:
    import onnx

    return f"{len(onnx.load(made.model_file).graph.node)}, all on the CPU"


def _executorch(made: Artifact) -> str:
    """Delegates, and the operators outside them with their counts."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    plan = deserialize_pte_binary(made.model_file.read_bytes()).program.execution_plan[0]
    calls = [instruction.instr_args for chain in plan.chains for instruction in chain.instructions]
    delegates = sum(hasattr(call, "delegate_index") for call in calls)
    outside = collections.Counter(
        plan.operators[call.op_index].name.removeprefix("aten::") for call in calls if hasattr(call, "op_index")
    )
    return f"{delegates} delegate{'s' if delegates > 1 else ''}; outside: {counted(outside)}"


def _coreml(made: Artifact) -> str:
    """Operators, those which the device's profile says leave the Neural Engine, and the largest rank."""
    import coremltools

    profile = RuntimeProfile.model_validate(made.manifest.device["runtimes"]["coreml"])
    leaving = {_MIL_TYPES.get(name, name.removeprefix("aten.")) for name in profile.leaves_accelerator}
    program = coremltools.models.MLModel(str(made.model_file), skip_model_load=True).get_spec().mlProgram
    [function] = program.functions.values()
    [block] = function.block_specializations.values()
    operators = [operator for operator in block.operations if operator.type != "const"]
    outside = collections.Counter(operator.type for operator in operators if operator.type in leaving)
    rank = max(output.type.tensorType.rank for operator in operators for output in operator.outputs)
    return f"{len(operators)}, rank {rank} at most; off the Neural Engine by its profile: {counted(outside)}"


def counted(operators: Mapping[str, int]) -> str:
    """Operators with their counts, the most frequent first."""
    return ", ".join(f"{name} {count}" for name, count in collections.Counter(operators).most_common()) or "nothing"


def header(columns: Sequence[str]) -> list[str]:
    """The first two lines of a table."""
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]


def report(cells: Mapping[str, Sequence[Cell]]) -> str:
    """The report in Markdown."""
    every = [one for row in cells.values() for one in row]
    failed = sum(bool(one.failure) for one in every)
    return "\n".join(
        [
            "# Models on targets\n",
            f"Made by `scripts/matrix`: {len(every)} cells, {len(every) - failed} made, {failed} failed. SQNR is against "
            "PyTorch eager in fp32, worst of four inputs, deterministic weights: the graph in fp32, and as declared. "
            "A model for which the target's usual precision is not enough stands in the next one. `made in` is the time of the "
            "export without the cache.\n",
            *header(COLUMNS),
            *(one.row for one in every),
            "",
        ]
    )


def with_support(readme: str, cells: Mapping[str, Sequence[Cell]]) -> str:
    """The README with its support table made anew. Raises ValueError when it has no place for one."""
    begin, end = MARKS
    before, marked, rest = readme.partition(begin)
    _, closed, after = rest.partition(end)
    if not marked or not closed:
        raise ValueError(f"the README holds no {begin} ... {end}")
    rows = [f"| `{model}` | {' | '.join(one.support for one in row)} |" for model, row in cells.items()]
    titles = [TITLES[one.target] for one in next(iter(cells.values()))]
    return before + "\n".join([begin, *header(["model", *titles]), *rows, end]) + after


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
