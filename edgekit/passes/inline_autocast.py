"""What ran under `torch.autocast`, or with gradients switched on or off, becomes part of the graph around it: as a region of
its own it hides from every pattern what is inside. Inlined are

1. regions with autocast off: at the top of the graph, where this pass stands, nothing has switched it on;
2. regions with autocast on that casts nothing: it is for another device, or for other operators;
3. `torch.no_grad` and its like, which play no part at inference.

Regions in regions come up with the one around them. Where autocast does cast, the region is left as it is.
"""

from __future__ import annotations

import operator

import torch
from torch.fx import GraphModule, Node

from edgekit.passes import Changes, Refusal
from edgekit.passes._graph import calls, is_call, mutations, replace, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

IN_PLACE = True
"""Nodes move without changing their order, so a graph that writes in place computes what it did."""

_AUTOCAST = torch.ops.higher_order.wrap_with_autocast
_GRAD = torch.ops.higher_order.wrap_with_set_grad_enabled


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Inline every region in which nothing is cast."""
    changes = Changes()
    for graph_module in program:
        left: set[Node] = set()
        while regions := [node for node in calls(graph_module, _AUTOCAST, _GRAD) if node not in left]:
            reason = _why_not(graph_module, regions[0])
            if reason:
                changes.refusals.append(Refusal(where(regions[0]), reason))
                left.add(regions[0])
            else:
                _inline(graph_module, regions[0])
                changes.changed += 1
    return changes


def _body_index(region: Node) -> int:
    """Where the body stands in the arguments; its operands follow."""
    return 4 if is_call(region, _AUTOCAST) else 1


def _body(graph_module: GraphModule, region: Node) -> GraphModule:
    found = region.args[_body_index(region)]
    assert isinstance(found, Node)
    body = operator.attrgetter(str(found.target))(graph_module)
    assert isinstance(body, GraphModule)
    return body


def _why_not(graph_module: GraphModule, region: Node) -> str:
    if is_call(region, _GRAD):
        return ""
    device, dtype, enabled = region.args[:3]
    cast = _first_cast(_body(graph_module, region)) if enabled else ""
    return f"autocast to {dtype} on {device}: {cast}" if cast else ""


def _first_cast(body: GraphModule) -> str:
    """The first node of `body` that makes another dtype than it would without autocast; empty when there is none."""
    for node in mutations(body):
        return f"{where(node)} writes in place"
    for node in body.graph.nodes:
        if node.op != "call_function" or is_call(node, operator.getitem, _AUTOCAST):
            continue  # an inner region states its own autocast
        if is_call(node, _GRAD):
            cast = _first_cast(_body(body, node))
            if cast:
                return cast
        elif not isinstance(node.target, torch._ops.OpOverload):
            return f"what it does inside {where(node)} is not known"
        elif (found := _dtypes(node.meta["val"])) != (plain := _dtypes_without_autocast(node)):
            return f"{where(node)} makes {found}, without autocast {plain}"
    return ""


def _dtypes_without_autocast(node: Node) -> str:
    args, kwargs = torch.fx.map_arg((node.args, node.kwargs), lambda n: n.meta["val"])
    assert callable(node.target)
    try:
        return _dtypes(node.target(*args, **kwargs))
    except RuntimeError:  # operands of different dtypes, which only autocast brings together
        return "an error"


def _dtypes(made: object) -> str:
    tensors = made if isinstance(made, (list, tuple)) else [made]
    return ", ".join(str(tensor.dtype) for tensor in tensors if isinstance(tensor, torch.Tensor))


def _inline(graph_module: GraphModule, region: Node) -> None:
    graph, body = graph_module.graph, _body(graph_module, region)
    operands = region.args[_body_index(region) + 1 :]
    moved = dict(zip(body.graph.find_nodes(op="placeholder"), operands, strict=True))
    with graph.inserting_before(region):
        for node in body.graph.find_nodes(op="get_attr"):
            moved[node] = _adopt(graph_module, body, node)
        results = graph.graph_copy(body.graph, moved)
    if isinstance(results, Node):
        replace(region, results)
        return
    assert isinstance(results, (list, tuple))
    for part in list(region.users):  # a region's result is a tuple, taken apart by getitem
        _, index = part.args
        assert isinstance(index, int)
        replace(part, results[index])
    graph.erase_node(region)


def _adopt(graph_module: GraphModule, body: GraphModule, node: Node) -> Node:
    """A `get_attr` node for what `node` reads in `body`: a tensor, or the body of a region inside."""
    base = name = f"inlined_{str(node.target).replace('.', '_')}"
    number = 0
    while hasattr(graph_module, name):
        number += 1
        name = f"{base}_{number}"
    found = operator.attrgetter(str(node.target))(body)
    if isinstance(found, torch.nn.Module):
        graph_module.add_module(name, found)
    elif isinstance(found, torch.nn.Parameter):
        graph_module.register_parameter(name, found)
    else:
        graph_module.register_buffer(name, found)
    adopted = graph_module.graph.get_attr(name)
    adopted.meta = dict(node.meta)
    return adopted
