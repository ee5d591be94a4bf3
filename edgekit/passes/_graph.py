"""What passes share: reading constants and shapes, inserting typed nodes, and keeping the graph sound."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import GraphModule, Node
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils import _pytree as pytree

aten = torch.ops.aten

STATE = "edgekit_state"
"""Marks, in their meta, the nodes that read a buffer to which the graph writes, by one `copy_` at its end."""

COPIES = (
    aten.alias.default,
    aten.clone.default,
    aten.contiguous.default,
    aten.detach.default,
    aten.detach_.default,
    aten.lift_fresh_copy.default,
)
"""Calls whose result is their operand, element by element."""

DROPOUTS = (aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default)


def calls(graph_module: GraphModule, *targets: Callable[..., Any]) -> list[Node]:
    """The nodes that call one of `targets`, in execution order."""
    return [n for n in graph_module.graph.nodes if n.op == "call_function" and n.target in targets]


def is_call(node: object, *targets: Callable[..., Any]) -> bool:
    """Whether `node` is a graph node calling one of `targets`."""
    return isinstance(node, Node) and node.op == "call_function" and node.target in targets


def argument(node: Node, index: int, name: str, default: Any = None) -> Any:
    """An argument of an ATen call, wherever it was written: by position, by name, or left at its `default`."""
    if len(node.args) > index:
        return node.args[index]
    return node.kwargs.get(name, default)


def constant(graph_module: GraphModule, node: object) -> Tensor | None:
    """The tensor a `get_attr` node reads; None for any other node, and for a buffer that the graph writes to."""
    if not (isinstance(node, Node) and node.op == "get_attr") or node.meta.get(STATE):
        return None
    value = operator.attrgetter(str(node.target))(graph_module)
    return value.detach() if isinstance(value, Tensor) else None


def value(node: Node) -> Tensor:
    """The fake tensor a node makes: its shape and dtype, no data."""
    found: Tensor = node.meta["val"]
    return found


def shape(node: Node) -> tuple[int, ...]:
    """The shape of what a node makes. A size that follows a dynamic batch is a symbol: it equals itself and no number, and
    where a pass takes its value the runner refuses, and takes back what the pass did."""
    return tuple(size if isinstance(size, int) else _Symbol(size.node) for size in value(node).shape)


class _Symbol(torch.SymInt):
    """A symbol that is compared as it is written, where torch would decide for the batch that was traced."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, torch.SymInt) and bool(self.node.expr == other.node.expr)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.node.expr)


def where(node: Node) -> str:
    """The node's name with the path of the module it came from, for people to find it."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(stack.values()))[0] if stack else ""
    return f"{node.name} ({path})" if path else node.name


def only_user(node: Node) -> Node | None:
    """The one node that uses `node`; None when there are several or none."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def add_constant(graph_module: GraphModule, before: Node, hint: str, tensor: Tensor) -> Node:
    """A `get_attr` node, placed before `before`, that reads the new buffer `tensor`."""
    base = "folded_" + "".join(c if c.isalnum() else "_" for c in hint)
    name, number = base, 1
    while hasattr(graph_module, name):
        name, number = f"{base}_{number}", number + 1
    # Memory of its own: ExecuTorch 1.4.1 gives every buffer that shares a storage the values of the first.
    tensor = tensor.detach().clone(memory_format=torch.contiguous_format)
    graph_module.register_buffer(name, tensor)
    with graph_module.graph.inserting_before(before):
        node = graph_module.graph.get_attr(name)
    node.meta["val"] = _fake_mode(graph_module).from_tensor(tensor, static_shapes=True)
    return node


def add_call(before: Node, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Node:
    """A call of `target`, placed before `before` and carrying its shape, dtype and origin.

    Reshape with `aten.reshape`, never `aten.view`: what stands before it may have any memory layout.
    """
    graph = before.graph
    assert graph.owning_module is not None
    with graph.inserting_before(before):
        node = graph.call_function(target, *_without_symbols(before, target, args, kwargs))
    fakes = torch.fx.map_arg((args, kwargs), lambda n: n.meta["val"])
    with enable_python_dispatcher(), _fake_mode(graph.owning_module):  # its kernels keep symbols symbols
        node.meta["val"] = target(*fakes[0], **fakes[1])
    for key in ("nn_module_stack", "stack_trace", "source_fn_stack"):
        if key in before.meta:
            node.meta[key] = before.meta[key]
    return node


class DynamicSize(Exception):  # noqa: N818  it is an answer, not an error
    """A size that follows the batch, where only a number will do."""


def _without_symbols(before: Node, target: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """The arguments with each symbol written as a graph has it: -1 for the one that a reshape infers, else the batch read from
    an input. Raises DynamicSize where there is neither."""
    if target is aten.reshape.default and sum(isinstance(size, torch.SymInt) for size in args[1]) == 1:
        return (args[0], [-1 if isinstance(size, torch.SymInt) else size for size in args[1]]), kwargs

    def read(size: Any) -> Any:
        if not isinstance(size, torch.SymInt):
            return size
        for node in before.graph.find_nodes(op="placeholder"):
            for axis, given in enumerate(value(node).shape):
                if isinstance(given, torch.SymInt) and given.node.expr == size.node.expr:
                    return add_call(before, aten.sym_size.int, node, axis)
        raise DynamicSize(f"{where(before)} takes a size of {size}")

    return pytree.tree_map(read, (args, kwargs), is_leaf=lambda leaf: isinstance(leaf, Node))


def replace(old: Node, new: Node) -> None:
    """Let every user of `old` use `new`; `old` goes."""
    old.replace_all_uses_with(new)
    old.graph.erase_node(old)


def mutations(graph_module: GraphModule) -> Iterator[Node]:
    """The calls that write to one of their arguments where something may read it afterwards. `detach_`, which `torch.tensor` in
    a forward leaves behind, touches gradients alone; state is written when all is read."""
    for node in graph_module.graph.nodes:
        mutable = isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable
        to_state = node.args and isinstance(node.args[0], Node) and node.args[0].meta.get(STATE)
        if mutable and node.target is not aten.detach_.default and not to_state:
            yield node


def impurity(graph_module: GraphModule) -> str:
    """The first thing that keeps the graph, or one inside it, from being pure values; empty when it is."""
    for inner in graph_module.modules():
        if not isinstance(inner, GraphModule):
            continue
        for node in mutations(inner):
            return f"{where(node)} writes in place"
        for node in calls(inner, aten.as_strided.default):
            return f"{where(node)} reads memory by its layout"
    return ""


def sweep(graph_module: GraphModule) -> None:
    """Remove what nothing uses any more: nodes first, then weights."""
    graph_module.graph.eliminate_dead_code()
    used = {str(node.target) for node in graph_module.graph.nodes if node.op == "get_attr"}
    # A subgraph (the body of a branch, loop or autocast region) keeps what it holds: its own graph reads it.
    held = tuple(f"{name}." for name in used if isinstance(operator.attrgetter(name)(graph_module), GraphModule))
    for name, _ in [*graph_module.named_parameters(), *graph_module.named_buffers()]:
        if name not in used and not name.startswith(held):
            owner_path, _, leaf = name.rpartition(".")
            delattr(graph_module.get_submodule(owner_path), leaf)
    owners = {path.rsplit(".", count)[0] for path in used for count in range(path.count(".") + 1)}
    for name, _ in list(graph_module.named_modules()):
        if name and name not in owners and not name.startswith(held):
            graph_module.delete_submodule(name)


def unsoundness(graph_module: GraphModule) -> str:
    """What is wrong with the graph; empty when it is sound."""
    try:
        graph_module.graph.lint()
    except Exception as error:  # lint raises RuntimeError, AssertionError or AttributeError, depending on the fault
        return f"{type(error).__name__}: {error}"
    for node in graph_module.graph.nodes:
        if node.op == "call_function" and "val" not in node.meta:
            return f"{where(node)} has no shape"
        if node.op == "get_attr" and not _reads_something(graph_module, node):
            return f"{where(node)} reads no tensor"
    return ""


def _reads_something(graph_module: GraphModule, node: Node) -> bool:
    """Whether a `get_attr` node reads a tensor, or the graph of a branch or loop body, an argument of `torch.cond` and its
    like."""
    return isinstance(operator.attrgetter(str(node.target))(graph_module), (Tensor, GraphModule))


def shape_symbols(graph_module: GraphModule) -> ShapeEnv | None:
    """Where the symbols of the graph's dynamic sizes are kept; None for a graph of static shapes."""
    inputs = (value(node) for node in graph_module.graph.find_nodes(op="placeholder"))
    dynamic = any(isinstance(size, torch.SymInt) for tensor in inputs for size in tensor.shape)
    return _fake_mode(graph_module).shape_env if dynamic else None


def _fake_mode(graph_module: GraphModule) -> FakeTensorMode:
    for node in graph_module.graph.nodes:
        fake = node.meta.get("val")
        if isinstance(fake, FakeTensor):
            return fake.fake_mode
    raise AssertionError("a captured graph carries fake tensors")
