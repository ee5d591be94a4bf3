"""Connected parts of a graph that change their form together, built beside the old one so that all of it can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.passes import Changes
from edgekit.passes._graph import add_call, add_constant, where


class Refused(Exception):  # noqa: N818  it is an answer, not an error
    """A node that has no exact other form here, and why."""

    def __init__(self, node: Node, reason: str) -> None:
        super().__init__(reason)
        self.node, self.reason = node, reason


class Builder:
    """Builds the other form of a region."""

    def __init__(self, graph_module: GraphModule) -> None:
        self.graph_module = graph_module
        self.instead: dict[Node, Node] = {}
        """What takes the place of each node that the rest of the graph reads."""
        self._created: list[Node] = []
        self._at: Node

    def begin(self, node: Node) -> None:
        """What is built from here on stands before `node`."""
        self._at = node

    def undo(self) -> None:
        """Remove everything that was built."""
        for node in reversed(self._created):
            node.graph.erase_node(node)
            if node.op == "get_attr":
                delattr(self.graph_module, str(node.target))

    def call(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Node:
        self._created.append(add_call(self._at, target, *args, **kwargs))
        return self._created[-1]

    def constant(self, tensor: Tensor) -> Node:
        self._created.append(add_constant(self.graph_module, self._at, self._at.name, tensor))
        return self._created[-1]


def regions(graph_module: GraphModule, belongs: Callable[[Node], bool]) -> list[list[Node]]:
    """The nodes that make or read values that belong, by connection through such values, each region in execution order.
    Weights are in none: each reader has its own form of them."""
    region_of: dict[Node, list[Node]] = {}
    for node in graph_module.graph.nodes:
        sources = [source for source in node.all_input_nodes if belongs(source)]
        if node.op == "get_attr" or not (sources or belongs(node)):
            continue
        joined = [node]
        for source in sources:
            if source in region_of and region_of[source] is not joined:
                joined = region_of[source] + [other for other in joined if other not in region_of[source]]
        for member in joined:
            region_of[member] = joined
    order = {node: position for position, node in enumerate(graph_module.graph.nodes)}
    distinct = {id(region): region for region in region_of.values()}.values()
    return [sorted(region, key=order.__getitem__) for region in distinct]


def rewrite(builder: Builder, region: list[Node], visit: Callable[[Node], None], left: str, changes: Changes) -> None:
    """Let `visit` build the form of each node of a region, and put it in the old one's place; where a node has none, leave
    the region whole, the reason ending in `left`."""
    try:
        for node in region:
            builder.begin(node)
            visit(node)
    except Refused as refused:
        builder.undo()
        changes.record(where(refused.node), f"{refused.reason}; what is connected to it {left}")
        return
    put_in_place(builder, region)
    changes.record(where(region[0]), "")


def put_in_place(builder: Builder, rebuilt: list[Node]) -> None:
    """Let the graph read what was built; the `rebuilt` nodes go."""
    order = {node: position for position, node in enumerate(builder.graph_module.graph.nodes)}
    old = sorted({*rebuilt, *builder.instead}, key=order.__getitem__, reverse=True)
    for node in old:  # the last first: what takes the place of one may be another that goes
        if node in builder.instead:
            node.replace_all_uses_with(builder.instead[node])
    for node in old:
        builder.graph_module.graph.erase_node(node)
