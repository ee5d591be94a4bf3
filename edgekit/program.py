"""Program: the one intermediate representation, from capture to lowering.

`capture` runs `torch.export` once and keeps the unlifted ATen graph; passes rewrite it in place; `Program.export` gives
the `ExportedProgram` that every target takes.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import io
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from edgekit.errors import ConversionError, ModelError
from edgekit.quiet import quiet
from edgekit.runtimes import TensorSpec

Tensors = dict[str, torch.Tensor]


@dataclass
class Function:
    """One entry point: its ATen graph, the inputs it was captured with, and its outputs' names."""

    graph_module: GraphModule
    example_inputs: Tensors
    output_names: tuple[str, ...]
    exported: ExportedProgram | None = None
    """The graph in the form lowering takes; None while it may still be rewritten."""

    def run(self, inputs: Tensors) -> Tensors:
        """The graph's outputs by name; `inputs` stay as they are, even where the graph writes to them."""
        with torch.no_grad():
            leaves = pytree.tree_leaves(self.graph_module(*_clones(inputs)))
        return dict(zip(self.output_names, leaves, strict=True))


@dataclass
class Program:
    """Named functions that share weights; `forward` for a plain model."""

    functions: dict[str, Function]
    precision: str = "fp32"
    """What the artifact is to compute in: fp32 or fp16."""

    def __iter__(self) -> Iterator[GraphModule]:
        """The graphs, for passes to rewrite."""
        return (function.graph_module for function in self.functions.values())

    def copy(self) -> Program:
        """An independent program over the same weights, for passes to try on."""
        # The memo keeps parameters shared: graphs are rewritten, tensors never are.
        memo = {id(t): t for graph in self for t in [*graph.parameters(), *graph.buffers()]}
        return copy.deepcopy(self, memo)

    def export(self, function: str = "forward") -> ExportedProgram:
        """The graph as rewritten, exported again: what ONNX, Core ML and ExecuTorch take."""
        captured = self.functions[function]
        if captured.exported is None:
            arguments = tuple(captured.example_inputs.values())
            with torch.no_grad():
                captured.exported = torch.export.export(captured.graph_module, arguments)
        return captured.exported

    def save(self, directory: Path) -> None:
        """Write the exported functions into `directory`, for another process to lower."""
        for name, function in self.functions.items():
            # Through memory: PyTorch aborts the process when a file that it writes itself meets a full disk.
            graph, borders = io.BytesIO(), io.BytesIO()
            torch.export.save(self.export(name), graph)
            torch.save((function.example_inputs, function.output_names), borders)
            (directory / f"{name}.pt2").write_bytes(graph.getbuffer())
            (directory / f"{name}.pt").write_bytes(borders.getbuffer())
        (directory / "precision").write_text(self.precision)
        (directory / "operators").write_text("\n".join(sorted(self._operators())))

    def _operators(self) -> set[str]:
        """The operators called, as `aten.conv2d.default`."""
        targets = (node.target for graph_module in self for node in graph_module.graph.nodes)
        return {str(target) for target in targets if isinstance(target, torch._ops.OpOverload)}

    def fingerprint(self) -> str:
        """The hash of the graphs, of their borders and of every weight in them: equal only for programs that compute the
        same under the same names."""
        digest = hashlib.sha256(self.precision.encode())
        for name, function in self.functions.items():
            digest.update(repr((name, specs(function.example_inputs), function.output_names)).encode())
            digest.update(str(function.graph_module.graph).encode())
            for kind in (function.graph_module.named_parameters(), function.graph_module.named_buffers()):
                for path, tensor in kind:
                    digest.update(f"{path}{tensor.dtype}{list(tensor.shape)}".encode())
                    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def parameter_count(self) -> int:
        """Weights held in all functions, shared ones once."""
        tensors = {id(t): t.numel() for graph in self for t in [*graph.parameters(), *graph.buffers()]}
        return sum(tensors.values())

    def operator_count(self) -> int:
        """Calls in all functions."""
        return sum(node.op == "call_function" for graph in self for node in graph.graph.nodes)

    def macs(self) -> int:
        """Multiply-adds of one run of `forward`: convolutions and matrix products, at the captured shapes."""
        forward = self.functions["forward"]
        return count_macs(lambda: forward.run(forward.example_inputs))


def capture(module: torch.nn.Module, inputs: Tensors, output_names: tuple[str, ...] = ()) -> Program:
    """The ATen graph of `module` in eval mode at the shapes of `inputs`, in the order of its forward's arguments.

    Raises ModelError, naming the operator and the line, for a module that `torch.export` cannot capture.
    """
    module = module.eval()
    arguments = tuple(inputs.values())
    try:
        with torch.no_grad():
            outputs = module(*_clones(inputs))
    except Exception as error:
        raise ModelError(
            f"{type(module).__name__} does not run on inputs of {_shapes(inputs)}",
            cause=f"{type(error).__name__}: {_first_line(error)}{_where(error)}",
            next_step="check the input shapes against the module's forward",
        ) from error
    try:
        with torch.no_grad(), quiet():
            exported = torch.export.export(module, arguments)
    except Exception as error:
        raise ModelError(
            f"torch.export cannot capture {type(module).__name__}",
            cause=f"{_first_line(error)}{_operator(error)}{_where(error)}",
            next_step="rewrite that line without data-dependent Python control flow or untraceable operators",
        ) from error
    graph_module = exported.module(check_guards=False)
    assert isinstance(graph_module, GraphModule)
    _free_of_layout(graph_module)
    return Program({"forward": Function(graph_module, dict(inputs), output_names or _names_of(outputs))})


def _free_of_layout(graph_module: GraphModule) -> None:
    """Write each `view` as `reshape`: the same values, and legal whatever the memory layout a rewrite before it leaves."""
    aten = torch.ops.aten
    for view, reshape in ((aten.view.default, aten.reshape.default), (aten.view_as.default, aten.reshape_as.default)):
        for node in graph_module.graph.find_nodes(op="call_function", target=view):
            node.target = reshape
    graph_module.recompile()


def count_macs(run: Callable[[], object]) -> int:
    """Multiply-adds of the convolutions and matrix products that `run` performs."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops() // 2)


def load(directory: Path) -> Program:
    """The program that `Program.save` wrote, ready to lower. Raises ConversionError for an operator that is not PyTorch's."""
    foreign = [operator for operator in (directory / "operators").read_text().split() if not _is_known(operator)]
    if foreign:
        raise ConversionError(
            f"no converter takes the operator {', '.join(foreign)}",
            cause="it is a custom operator that no pass rewrote",
            next_step="write it with PyTorch's own operators, or run the pass that lowers it (leave --passes out)",
        )
    functions = {}
    for path in sorted(directory.glob("*.pt2")):
        exported = torch.export.load(path)
        inputs, output_names = torch.load(path.with_suffix(".pt"), weights_only=True)
        graph_module = exported.module(check_guards=False)
        assert isinstance(graph_module, GraphModule)
        functions[path.stem] = Function(graph_module, inputs, output_names, exported)
    return Program(functions, (directory / "precision").read_text())


def _is_known(operator: str) -> bool:
    found: object = torch.ops
    for part in operator.split("."):
        found = getattr(found, part, None)
    return found is not None


def input_names(module: torch.nn.Module, count: int) -> list[str]:
    """The names of the first `count` arguments of the module's forward. Raises ModelError when it takes fewer."""
    parameters = inspect.signature(module.forward).parameters.values()
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if any(p.kind == p.VAR_POSITIONAL for p in parameters):
        named += [f"input_{index}" for index in range(len(named), count)]
    if len(named) < count:
        raise ModelError(
            f"{type(module).__name__}.forward takes {len(named)} inputs, {count} shapes were given",
            next_step="give one --input-shape for each argument of forward",
        )
    return named[:count]


def specs(tensors: Mapping[str, torch.Tensor]) -> tuple[TensorSpec, ...]:
    """The names, shapes and numpy dtypes of `tensors`."""
    return tuple(TensorSpec(n, tuple(t.shape), str(t.dtype).removeprefix("torch.")) for n, t in tensors.items())


def _names_of(outputs: object) -> tuple[str, ...]:
    """`output` for one tensor; dictionary keys, fields or positions for several."""
    leaves = pytree.tree_flatten_with_path(outputs)[0]
    if not leaves or not all(isinstance(leaf, torch.Tensor) for _, leaf in leaves):
        raise ModelError(
            "the module's outputs are not all tensors",
            cause=f"forward returned {type(outputs).__name__}",
            next_step="return a tensor, or a tuple or dictionary of tensors",
        )
    if len(leaves) == 1:
        return ("output",)
    return tuple("_".join(["output", *map(_key_of, path)]) for path, _ in leaves)


def _key_of(entry: object) -> str:
    """The dictionary key, position or field name in one entry of an output's path."""
    return next(str(getattr(entry, kind)) for kind in ("key", "idx", "name") if hasattr(entry, kind))


def _clones(inputs: Tensors) -> tuple[torch.Tensor, ...]:
    return tuple(tensor.clone() for tensor in inputs.values())


def _shapes(inputs: Tensors) -> str:
    return ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in inputs.items())


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _operator(error: BaseException) -> str:
    """The operator that could not be captured: the one being dispatched, else the last one in the trace, which torch.export
    writes out as it fails."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        for value in frame.f_locals.values():
            if isinstance(value, torch._ops.OpOverload):
                return f", at operator {value}"
    traced = re.findall(r"torch\.ops\.([\w.]+)\(", "".join(getattr(error, "__notes__", ())))
    return f", at operator {traced[-1]}" if traced else ""


def _where(error: BaseException) -> str:
    """The user's line that led to `error`: the innermost frame outside torch and edgekit."""
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((*ours, "<"))]
    return f" (at {frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line})" if frames else ""
