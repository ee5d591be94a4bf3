"""Passes rewrite the captured ATen graph, one rewrite a file.

A pass file is found by its name and exports `apply(program, profile) -> Changes`: how many places it changed, and for each
place it recognised but left alone, why. It keeps numerics to fp32 round-off unless it exports `APPROXIMATE = True`; such a
pass is called `approximate_X`, and runs only when a recipe asks for the approximation `X`. The runner here enforces the rest:
a pass sees only graphs of pure values (unless it exports `IN_PLACE = True`), after it the graph must be sound, and in check
mode the outputs must not have moved.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from edgekit.errors import ConversionError, EdgekitError, UnknownName, UsageError
from edgekit.quiet import quiet

if TYPE_CHECKING:
    from edgekit.profiles import RuntimeProfile
    from edgekit.program import Program

ORDER: tuple[str, ...] = (
    "inline_autocast",  # first: its subgraphs hide what is inside from every pattern
    "functionalize",  # every other pass reads the graph as pure values
    "remove_noops",  # so that patterns meet without identities in between
    "fold_constants",  # so that computed weights and tables are constants to the passes below
    "fft_to_matmul",  # transforms become products of pairs
    "complex_to_real",  # then nothing complex is left
    "join_gathers",  # before gathers become masked sums, which cost more
    "channel_argmax_gather",
    "lower_softshrink",
    "lower_silu",
    "einsum_to_conv",  # once their operands are real and constant
    "sink_views",  # the reshapes around former einsums and pairs meet and vanish
    "fold_batchnorm",  # before the merges: parallel branches meet as plain convolutions and linears
    "fold_group_norm",  # likewise
    "merge_parallel_convs",
    "average_heads",
    "split_projections",  # after BatchNorm, whose folding wants the layer whole
    "fold_scales",  # after the merges: (a + b) / 2 has become one layer and a scale
    "fold_deviation",  # likewise, and before means become poolings
    "fold_channel_mixing",  # once the convolutions' weights are final
    "split_small_groups",  # those that folding made are among them
    "split_large_kernels",  # once parallel kernels have merged into one
    "fill_channels",
    "keep_mean_dims",
    "pool_means",  # once means have their final form
    "fill_depthwise",  # once they have, and end at a pixel
    "broadcast_in_blocks",  # after it, for means become poolings where the runtime has that layout
    "broadcast_in_rows",  # likewise
    "lower_group_norm",
    "norm_channels_last",
    "argmax_last_axis",
    "flatten_matmul",
    "lower_ska",  # its shifts and products match none of the patterns above
    "channels_first",  # once linears and their neighbours have found their last form
    "limit_rank",  # last: what any of them left of high rank
)

# Check mode's bounds: exact rewrites move a float64 graph by round-off only, a float32 one by what the model amplifies.
_SQNR_DB = {"float64": 180.0, "float32": 70.0}


@dataclass(frozen=True)
class Refusal:
    """A place a pass recognised and left alone."""

    node: str
    """The graph node, with the path of the module it came from where that is known."""
    reason: str


@dataclass
class Changes:
    """What a pass did: `changed` places rewritten, and the ones refused."""

    changed: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    name: str = ""
    """The pass, filled in by the runner."""
    approximate: bool = False
    """Whether it may move the outputs; filled in likewise."""

    def record(self, place: str, reason: str) -> None:
        """Count a place as rewritten when `reason` is empty, else as left alone for it."""
        if reason:
            self.refusals.append(Refusal(place, reason))
        else:
            self.changed += 1


def names() -> list[str]:
    """Every pass there is."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_"))


def approximations() -> list[str]:
    """What can be approximated: X for every pass `approximate_X`."""
    return [name.removeprefix(_APPROXIMATE) for name in names() if name.startswith(_APPROXIMATE)]


_APPROXIMATE = "approximate_"
_MAKES_PLAIN = ("inline_autocast", "functionalize")
"""The passes behind which an approximation finds what it looks for."""


def pass_of(approximation: str) -> str:
    """The pass that makes an approximation."""
    return _APPROXIMATE + approximation


def order_of(asked: Sequence[str] | None, approximated: Sequence[str]) -> tuple[str, ...]:
    """The passes `asked` for (the default list when None), with those that approximate once the graph is plain.

    Raises UnknownName with near names, and UsageError for a pass that approximates among the exact ones.
    """
    exact = tuple(ORDER if asked is None else asked)
    for name in exact:
        require(name)
        if name.startswith(_APPROXIMATE):
            raise UsageError(
                f"pass {name} is not exact",
                cause="--passes lists the exact passes",
                next_step=f"ask for it by --approximate {name.removeprefix(_APPROXIMATE)}, beside them",
            )
    for name in approximated:
        if name not in approximations():
            raise UnknownName("approximation", name, approximations())
    first = max((exact.index(name) + 1 for name in _MAKES_PLAIN if name in exact), default=0)
    chosen = tuple(map(pass_of, dict.fromkeys(approximated)))
    return exact[:first] + chosen + exact[first:]


def through_approximations(order: Sequence[str]) -> tuple[str, ...]:
    """The passes of `order` up to the last that approximates; none when all are exact."""
    last = max((place + 1 for place, name in enumerate(order) if name.startswith(_APPROXIMATE)), default=0)
    return tuple(order[:last])


def require(name: str) -> None:
    """Raise UnknownName, with near names, unless `name` is a pass."""
    if name not in names():
        raise UnknownName("pass", name, names())


def find(name: str) -> ModuleType:
    """The pass file `name`. Raises UnknownName with near names."""
    require(name)
    return importlib.import_module(f"{__name__}.{name}")


def run(program: Program, profile: RuntimeProfile, order: Sequence[str] | None = None, *, check: bool = False) -> list[Changes]:
    """Rewrite `program` in place by the passes in `order` (the default list when None), and tell what each did.

    After each pass the graph is checked for soundness; with `check` the outputs on the example inputs are compared with
    those before it as well, but for a pass that approximates. Raises ConversionError naming the pass that broke either, or
    that failed itself.
    """
    from edgekit.passes import _graph

    for function in program.functions.values():
        function.exported = None
    done = []
    for name in ORDER if order is None else order:
        before = _outputs(program) if check else {}
        rewrite = find(name)
        impure = {} if getattr(rewrite, "IN_PLACE", False) else _impure(program)
        pure = {function: program.functions[function] for function in program.functions if function not in impure}
        try:
            changes = _applied(rewrite, replace(program, functions=pure), profile)
        except EdgekitError:
            raise
        except Exception as error:
            raise _failure(name, rewrite, error) from error
        changes.name, changes.approximate = name, getattr(rewrite, "APPROXIMATE", False)
        changes.refusals += [Refusal(function, reason) for function, reason in impure.items()]
        for graph_module in program:
            fault = _graph.unsoundness(graph_module)
            if fault:
                raise ConversionError(
                    f"pass {name} left an unsound graph", cause=fault, next_step=f"leave it out with --passes, {_TELL}"
                )
            if changes.changed:
                _graph.sweep(graph_module)
        if check and not changes.approximate:
            _recompile(program)
            _compare(name, before, _outputs(program))
        done.append(changes)
    _recompile(program)
    return done


def _applied(rewrite: ModuleType, program: Program, profile: RuntimeProfile) -> Changes:
    """What a pass does. Where a batch is dynamic it may not decide by its size: what it did is then taken back."""
    from torch.fx.experimental.symbolic_shapes import _ShapeEnvGuardError

    from edgekit.passes import _graph

    symbols = [found for graph_module in program if (found := _graph.shape_symbols(graph_module))]
    before = program.copy() if symbols else program
    try:
        with contextlib.ExitStack() as held:
            if symbols:
                held.enter_context(quiet())  # torch logs each refusal at length
            for found in symbols:
                held.enter_context(found.error_on_new_guards())
            changes: Changes = rewrite.apply(program, profile)
            return changes
    except (_graph.DynamicSize, RuntimeError) as error:
        if not (isinstance(error, (_graph.DynamicSize, _ShapeEnvGuardError)) or "only concrete integers" in str(error)):
            raise
        for name, function in program.functions.items():
            function.graph_module = before.functions[name].graph_module
        return Changes(
            refusals=[Refusal(name, f"it depends on the batch, which is dynamic: {error}") for name in program.functions]
        )


def _recompile(program: Program) -> None:
    """Bring the graphs' code in step with them: once at the end, for it takes longer than most passes."""
    for graph_module in program:
        graph_module.recompile()


_TELL = "and report the model"


def _failure(name: str, rewrite: ModuleType, error: Exception) -> ConversionError:
    """What to tell of a pass that raised: where in its file, and at which node of the graph."""
    import torch

    from edgekit.passes import _graph

    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if frame.f_globals is vars(rewrite)]
    nodes = [found for frame in frames for found in frame.f_locals.values() if isinstance(found, torch.fx.Node)]
    place = f" at {_graph.where(nodes[0])}" if nodes else ""
    at = traceback.extract_tb(error.__traceback__)[-1]
    return ConversionError(
        f"pass {name} failed{place}",
        cause=f"{type(error).__name__}: {error or at.line} ({Path(at.filename).name}, line {at.lineno})",
        next_step=f"leave it out with --passes, {_TELL}",
    )


def _impure(program: Program) -> dict[str, str]:
    """The functions that are not pure values, and why: what reads a value before and after a write looks the same."""
    from edgekit.passes import _graph

    found = {name: _graph.impurity(function.graph_module) for name, function in program.functions.items()}
    return {name: reason for name, reason in found.items() if reason}


def _outputs(program: Program) -> dict[str, object]:
    return {
        f"{name}.{output}": tensor
        for name, function in program.functions.items()
        for output, tensor in function.run(function.example_inputs).items()
    }


def _compare(name: str, before: dict[str, object], after: dict[str, object]) -> None:
    import torch

    from edgekit import metrics

    for output, reference in before.items():
        changed = after[output]
        assert isinstance(reference, torch.Tensor)
        assert isinstance(changed, torch.Tensor)
        if (changed.dtype, changed.shape) != (reference.dtype, reference.shape):
            fault = f"it is {changed.dtype} {list(changed.shape)}, it was {reference.dtype} {list(reference.shape)}"
        elif not reference.is_floating_point() or torch.allclose(reference, changed, 0, 0, True):
            continue
        else:
            bound = _SQNR_DB.get(str(reference.dtype).removeprefix("torch."), 40.0)
            sqnr = metrics.sqnr_db(reference.double().numpy(), changed.double().numpy())
            if sqnr >= bound:
                continue
            fault = f"SQNR {sqnr:.1f} dB against the graph before it, {bound:.0f} dB needed"
        raise ConversionError(
            f"pass {name} changed what the model computes",
            cause=f"{output}: {fault}",
            next_step=f"leave it out with --passes, {_TELL}",
        )
