"""Bisection: the first operator at which an artifact departs from the PyTorch model it was made from.

The artifact's program is executed beside the graph that its converter read. Whether the conversion is right is asked of each
operator by itself: it is given PyTorch's values, and computes in fp32. Whether the precision is enough is asked of all that is
computed up to there, as declared.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit import artifact, metrics, rebuild, reference_inputs, targets
from edgekit.artifact import Artifact
from edgekit.errors import Unsupported
from edgekit.quiet import quiet
from edgekit.recipe import Recipe
from edgekit.reference_inputs import Outputs

if TYPE_CHECKING:
    import torch
    from torch.fx import GraphModule, Node

    from edgekit.program import Program
    from edgekit.runtimes.coreml_reference.departures import Departure, Walk


@dataclass(frozen=True)
class Answer:
    """One question's operators: over all reference inputs, the first and the weakest."""

    culprit: Departure | None
    """Where it first goes wrong; None when it does not."""
    weakest: Departure | None
    """The operator that is nearest to going wrong; None when no operator could be compared."""


@dataclass(frozen=True)
class Bisection:
    """Where the conversion goes wrong, and where the precision does."""

    conversion: Answer
    precision: Answer
    operators: int
    """Operators of the artifact, its constants left out."""
    compared: int
    """Those of them with a counterpart in PyTorch's graph."""

    def as_dict(self) -> dict[str, Any]:
        """The bisection as `--json` prints it."""
        return dataclasses.asdict(self)


def of_artifact(loaded: Artifact, module: torch.nn.Module | None = None) -> Bisection:
    """The operators at which an artifact departs from the model that its recipe names, which is built again; from `module`
    where it was given as one.

    Raises Unsupported for a target whose artifacts do not show what their operators compute, and ModelError when the model
    is gone or is another one.
    """
    _require_target(loaded.manifest.target)
    program = rebuild.program_of(loaded, module)
    return find(program, loaded.model_file, loaded.directory / artifact.REFERENCE, loaded.manifest.recipe)


def _require_target(target: str) -> None:
    """Raise Unsupported unless artifacts of this target can be bisected."""
    if not can_bisect(target):
        raise Unsupported(
            f"{target} artifacts cannot be bisected",
            cause="their runtime neither shows what each operator computes nor lets it be replaced",
            next_step="`edgekit verify` without --bisect tells whether the artifact is right; `edgekit export` names a pass "
            "that is not exact",
        )


def can_bisect(target: str) -> bool:
    """Whether there is the graph that the target's converter read, and something that executes its artifacts by operator."""
    return hasattr(targets.find(target), "converted")


def find_saved(saved: Path, model_file: Path, reference: Path, recipe: Recipe) -> Bisection:
    """`find` for the program that another process saved."""
    from edgekit import program

    return find(program.load(saved), model_file, reference, recipe)


def find(program: Program, model_file: Path, reference: Path, recipe: Recipe) -> Bisection:
    """Compare the artifact with the program it was lowered from, on the reference inputs and within the recipe's bounds."""
    with quiet():  # torch warns of itself while the graph is exported once more
        pair = _Pair(program, model_file, recipe)
    walks = [pair.compare(inputs) for inputs in reference_inputs.read(reference)[0]]
    operators = [operation for operation in pair.function.body.operations if operation.operator != "const"]
    return Bisection(
        conversion=pair.answer(conversion for conversion, _ in walks),
        precision=pair.answer(precision for _, precision in walks),
        operators=len(operators),
        compared=sum(operation.outputs[0][0] in pair.counterparts for operation in operators),
    )


class _Pair:
    """An artifact's program, and the graph its converter read."""

    def __init__(self, program: Program, model_file: Path, recipe: Recipe) -> None:
        from edgekit import stored_weights
        from edgekit.program import unlifted
        from edgekit.runtimes.coreml_reference import counterparts, package
        from edgekit.runtimes.coreml_reference.interpreter import Program as Executed

        self.function, self._recipe = package.load(model_file), recipe
        self._in_fp32, self._declared = Executed(self.function, "fp32"), Executed(self.function, "declared")
        self._graph = unlifted(targets.find(recipe.target).converted(program)[0])
        self._stored = stored_weights.rounded(self._graph) if program.precision == "fp16" else self._graph
        self.counterparts = counterparts.find(self.function, self._graph.graph, program.functions["forward"].output_names)

    def compare(self, inputs: Outputs) -> tuple[Walk, Walk]:
        """What the conversion does to these inputs, and what the precision does."""
        import torch

        from edgekit.runtimes.coreml_reference import departures

        bound_sqnr_db = self._recipe.conversion_sqnr_db
        given = {name: torch.from_numpy(np.atleast_1d(array)) for name, array in inputs.items()}
        expected = self._expected(self._stored, inputs)
        conversion = departures.walk(self._in_fp32, given, expected, bound_sqnr_db, afresh=True)
        results = departures.results(self._in_fp32, given)
        outputs = [(expected[name].flatten(), results[name].flatten()) for name in self.function.body.outputs]
        right = min(metrics.sqnr_db(exact.numpy(), found.numpy()) for exact, found in outputs) >= bound_sqnr_db
        # Where no operator alone misses the bound, the weakest is where most of the error is made.
        culprit = None if right else conversion.culprit or conversion.weakest
        conversion = dataclasses.replace(conversion, culprit=culprit)
        if right:  # else the precision is judged by the program itself, as wrong as it is
            exact = self._expected(self._graph, inputs)
            results |= {name: exact[name] for name in conversion.agreeing}
        precision = departures.walk(self._declared, given, results, self._recipe.precision_sqnr_db, afresh=False)
        return conversion, precision

    def _expected(self, graph_module: GraphModule, inputs: Outputs) -> dict[str, torch.Tensor]:
        """What PyTorch has for each result of the artifact's that has a counterpart."""
        made = _recorded(graph_module, inputs)
        found = self.counterparts.items()
        return {name: made[c.node.name] if c.item is None else made[c.node.name][c.item] for name, c in found}

    def answer(self, walks: Iterable[Walk]) -> Answer:
        """The first operator and the weakest, with their sources."""
        done = list(walks)
        culprits = [walk.culprit for walk in done if walk.culprit]
        weakest = [walk.weakest for walk in done if walk.weakest]
        return Answer(
            culprit=self._with_source(min(culprits, key=lambda found: found.place)) if culprits else None,
            weakest=self._with_source(min(weakest, key=lambda found: found.sqnr_db)) if weakest else None,
        )

    def _with_source(self, departure: Departure) -> Departure:
        """With what PyTorch computes there, or nearest behind it."""
        from edgekit.runtimes.coreml_reference import counterparts

        found = counterparts.nearest(self.function, self.counterparts, departure.result)
        if found is None:
            return departure
        stack = found.node.meta.get("nn_module_stack") or {"": ("",)}
        return dataclasses.replace(
            departure,
            module=next(reversed(stack.values()))[0],
            operation=str(found.node.target),
            line=_line(found.node),
        )


def _recorded(graph_module: GraphModule, inputs: Outputs) -> dict[str, Any]:
    """What each node computes from the inputs, by its name."""
    import torch

    made: dict[str, Any] = {}

    class Recorder(torch.fx.Interpreter):
        def run_node(self, n: Node) -> Any:
            made[n.name] = super().run_node(n)
            return made[n.name]

    placeholders = [node.meta["val"] for node in graph_module.graph.find_nodes(op="placeholder")]
    with torch.no_grad():
        Recorder(graph_module).run(
            *(
                torch.from_numpy(np.atleast_1d(array)).to(like.dtype).reshape(like.shape)
                for array, like in zip(inputs.values(), placeholders, strict=True)
            )
        )
    return made


def _line(node: Node) -> str | None:
    """The innermost line outside torch of the calls that a node comes from."""
    import torch

    frames = re.findall(r'File "(.+)", line (\d+), in .*\n\s*(.*)', node.meta.get("stack_trace") or "")
    ours = [frame for frame in frames if not frame[0].startswith(str(Path(torch.__file__).parent))]
    return "{}:{}: {}".format(*ours[-1]) if ours else None
