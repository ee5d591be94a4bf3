"""Gathers at one index whose results are multiplied become one, where the product of what they gather from is there anyway:

a * b + gather(a, index) * gather(b, index)   =   p + gather(p, index)        p = a * b
"""

from __future__ import annotations

from torch.fx import Node

from edgekit.passes import Changes
from edgekit.passes._graph import add_call, aten, calls, is_call, only_user, replace
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Join every two such gathers."""
    changes = Changes()
    for graph_module in program:
        for node in calls(graph_module, aten.mul.Tensor):
            changes.changed += _join(node)
    return changes


def _join(node: Node) -> bool:
    left, right = node.args[:2]
    if left is right or not (is_call(left, aten.gather.default) and is_call(right, aten.gather.default)):
        return False
    assert isinstance(left, Node)
    assert isinstance(right, Node)
    (first, *at), (second, *also_at) = left.args, right.args
    alone = only_user(left) is node and only_user(right) is node
    if not alone or at != also_at or left.kwargs or right.kwargs or not (isinstance(first, Node) and isinstance(second, Node)):
        return False
    product = next((user for user in first.users if is_call(user, aten.mul.Tensor) and set(user.args) == {first, second}), None)
    if product is None:
        return False
    if node < product:  # the operands are there before the gathers, so their product can be
        earlier = add_call(node, aten.mul.Tensor, first, second)
        replace(product, earlier)
        product = earlier
    replace(node, add_call(node, aten.gather.default, product, *at))
    return True
