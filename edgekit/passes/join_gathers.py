"""Gathers at one index whose results are multiplied become one, where the product of what they gather from is there anyway:

a * b + gather(a, index) * gather(b, index)   =   p + gather(p, index)        p = a * b
"""

from __future__ import annotations

from torch.fx import Node

from edgekit.passes import Changes
from edgekit.passes._graph import add_call, aten, calls, is_call, only_user, replace, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Join every two such gathers."""
    changes = Changes()
    for graph_module in program:
        for node in calls(graph_module, aten.mul.Tensor):
            left, right = node.args[:2]
            if left is not right and is_call(left, aten.gather.default) and is_call(right, aten.gather.default):
                changes.record(where(node), _join(node))
    return changes


def _join(node: Node) -> str:
    """Join the gathers that `node` multiplies; or why not."""
    left, right = node.args[:2]
    assert isinstance(left, Node)
    assert isinstance(right, Node)
    (first, *at), (second, *also_at) = left.args, right.args
    assert isinstance(first, Node)
    assert isinstance(second, Node)
    if at != also_at or left.kwargs or right.kwargs:
        return "its gathers are not at one index"
    if only_user(left) is not node or only_user(right) is not node:
        return "a gather of its is used elsewhere too"
    product = next((user for user in first.users if is_call(user, aten.mul.Tensor) and set(user.args) == {first, second}), None)
    if product is None:
        return "nothing else needs the product of what its gathers read"
    if node < product:  # the operands are there before the gathers, so their product can be
        earlier = add_call(node, aten.mul.Tensor, first, second)
        replace(product, earlier)
        product = earlier
    replace(node, add_call(node, aten.gather.default, product, *at))
    return ""
