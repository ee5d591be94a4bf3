"""Program: the one intermediate representation, from capture to lowering.

`capture` runs `torch.export` once and keeps the unlifted ATen graph; passes rewrite it in place; `Program.export` gives
the `ExportedProgram` that every target takes.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib
import io
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule
from torch.fx.graph import CodeGen
from torch.utils import _pytree as pytree

from edgekit import batch, borders
from edgekit.borders import Tensors
from edgekit.errors import ConversionError, ModelError
from edgekit.quiet import quiet
from edgekit.runtimes import TensorSpec


@dataclass
class Function:
    """One entry point: its ATen graph, the inputs it was captured with, and its outputs' names."""

    graph_module: GraphModule
    example_inputs: Tensors
    output_names: tuple[str, ...]
    exported: ExportedProgram | None = None
    """The graph in the form lowering takes; None while it may still be rewritten."""
    max_batch: int | None = None
    """The graph takes any batch from 1 to this one; None when it takes that of the example inputs alone."""

    def run(self, inputs: Tensors) -> Tensors:
        """The graph's outputs by name; `inputs`, and what the graph holds, stay as they are even where it writes to them."""
        with torch.no_grad(), borders.state_kept(self.graph_module) if self._writes else contextlib.nullcontext():
            outputs = [output.clone() for output in self.graph_module(*(tensor.clone() for tensor in inputs.values()))]
        return dict(zip(self.output_names, outputs, strict=True))

    def traced(self) -> ExportedProgram:
        """The graph, exported as it stands."""
        inputs, axes = self.example_inputs, None
        if self.max_batch is not None:
            axes = tuple(batch.axes(inputs, self.max_batch).values())
            inputs = batch.of_size(inputs, batch.TRACED)
        with torch.no_grad():
            return torch.export.export(self.graph_module, tuple(inputs.values()), dynamic_shapes=axes)

    def border(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """What goes in and comes out."""
        outputs = self.run(self.example_inputs)
        graph = self.graph_module.graph
        nodes = [*graph.find_nodes(op="placeholder"), *pytree.tree_leaves(graph.output_node().args)]
        largest = [batch.shape_in(node.meta["val"], self.max_batch) if self.max_batch else None for node in nodes]
        found = [
            TensorSpec(spec.name, spec.shape, spec.dtype, most if most != spec.shape else None)
            for spec, most in zip(specs({**self.example_inputs, **outputs}), largest, strict=True)
        ]
        return tuple(found[: len(self.example_inputs)]), tuple(found[len(self.example_inputs) :])

    @property
    def _writes(self) -> bool:
        called = (node.target for node in self.graph_module.graph.nodes)
        return any(target._schema.is_mutable for target in called if isinstance(target, torch._ops.OpOverload))


@dataclass
class Program:
    """Named functions that share weights; `forward` for a plain model."""

    functions: dict[str, Function]
    precision: str = "fp32"
    """What the artifact is to compute in: fp32 or fp16."""

    is_quantized: bool = False
    """Whether integers stand for weights or activations."""

    @property
    def is_reduced(self) -> bool:
        """Whether it is to be computed with fewer bits than the model was trained with."""
        return self.is_quantized or self.precision == "fp16"

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
            _separate_constants(captured.graph_module)
            captured.exported = captured.traced()
        return captured.exported

    def save(self, directory: Path) -> None:
        """Write the exported functions into `directory`, for another process to lower."""
        for name, function in self.functions.items():
            # Through memory: PyTorch aborts the process when a file that it writes itself meets a full disk.
            graph, borders = io.BytesIO(), io.BytesIO()
            with quiet():  # it warns of buffers that are parts of one storage, and keeps them right
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


def capture(
    module: torch.nn.Module, inputs: Tensors, output_names: tuple[str, ...] = (), max_batch: int | None = None
) -> Program:
    """The ATen graph of `module` in eval mode at the shapes of `inputs`, which go by the names of its forward's arguments; for
    any batch up to `max_batch` when that is given.

    The graph takes the inputs by position and returns a flat tuple of the outputs: their names are kept beside it. Raises
    ModelError, naming the operator and the line, for a module that `torch.export` cannot capture.
    """
    module = module.eval()
    _, _, order = borders.arguments(module, inputs)
    inputs = {name: inputs[name] for name in order}
    traced = batch.of_size(inputs, batch.TRACED) if max_batch else inputs
    positional, named, _ = borders.arguments(module, traced)
    try:
        with borders.state_kept(module):
            result = borders.call(module, inputs)
    except Exception as error:
        raise ModelError(
            f"{type(module).__name__} does not run on inputs of {_shapes(inputs)}",
            cause=f"{type(error).__name__}: {_first_line(error)}{borders.user_line(traceback.extract_tb(error.__traceback__))}",
            next_step="check the input shapes against the module's forward",
        ) from error
    names = output_names or borders.names(result, inputs)
    try:
        with torch.no_grad(), quiet():
            shapes = batch.axes_by_parameter(module, positional, named, max_batch) if max_batch else None
            with batch.followed(module) if max_batch else contextlib.nullcontext():
                graph_module = unlifted(torch.export.export(module, positional, named, dynamic_shapes=shapes))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"torch.export cannot capture {type(module).__name__}",
            cause=f"{_first_line(error)}{_operator(error)}{borders.user_line(traceback.extract_tb(error.__traceback__))}",
            next_step="rewrite that line without data-dependent Python control flow or untraceable operators",
        ) from error
    if max_batch:
        batch.write_inferred(graph_module)
    return Program({"forward": Function(graph_module, inputs, names, max_batch=max_batch)})


def _separate_constants(graph_module: GraphModule) -> None:
    """Give each output that is a weight a copy of its own: XNNPACK's delegate takes weights inside."""
    output = graph_module.graph.output_node()
    with graph_module.graph.inserting_before(output):
        for node in [node for node in output.all_input_nodes if node.op == "get_attr"]:
            name = f"{node.name}_output"
            graph_module.register_buffer(name, attrgetter(str(node.target))(graph_module).detach().clone())
            own = graph_module.graph.get_attr(name)
            own.meta["val"] = node.meta["val"]
            output.replace_input_with(node, own)
    graph_module.recompile()


def unlifted(exported: ExportedProgram) -> GraphModule:
    """The graph with its weights inside, which takes tensors by position and returns a tuple of tensors."""
    graph_module = exported.module(check_guards=False)
    assert isinstance(graph_module, GraphModule)
    graph = graph_module.graph
    graph.set_codegen(CodeGen())
    output = graph.output_node()
    output.args = (tuple(leaf for leaf in pytree.tree_leaves(output.args[0]) if leaf is not None),)
    graph_module = GraphModule(graph_module, graph)  # without the hooks that check what a caller gives
    _free_of_layout(graph_module)
    return graph_module


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
    operators = (directory / "operators").read_text().split()
    for library in {operator.partition(".")[0] for operator in operators} & set(_REGISTERED_BY):
        with quiet():  # torchao tells which of its libraries are for other machines
            importlib.import_module(_REGISTERED_BY[library])
    foreign = [operator for operator in operators if not _is_known(operator)]
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


_REGISTERED_BY = {
    "edgekit": "edgekit.ops.palette",
    "quantized_decomposed": "edgekit.ops.quantization",
    "torchao": "torchao.quantization.quant_primitives",
}
"""Libraries of the operators in quantized graphs, by the module that registers them."""


def _is_known(operator: str) -> bool:
    found: object = torch.ops
    for part in operator.split("."):
        found = getattr(found, part, None)
    return found is not None


def specs(tensors: Mapping[str, torch.Tensor]) -> tuple[TensorSpec, ...]:
    """The names, shapes and numpy dtypes of `tensors`."""
    return tuple(TensorSpec(n, tuple(t.shape), str(t.dtype).removeprefix("torch.")) for n, t in tensors.items())


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
