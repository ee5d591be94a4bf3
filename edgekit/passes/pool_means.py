"""The mean of a map becomes the average pooling of all its pixels, where the profile says so (`spatial_mean`): some runtimes
have no mean of integers, but that pooling."""

from __future__ import annotations

from torch.fx import Node

from edgekit.passes import Changes, Refusal
from edgekit.passes._graph import add_call, argument, aten, calls, replace, shape, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Rewrite every mean over the last two of four axes that keeps them."""
    changes = Changes()
    if profile.spatial_mean == "native":
        return changes
    for graph_module in program:
        for node in calls(graph_module, aten.mean.dim):
            if not is_spatial(node):
                continue
            if argument(node, 3, "dtype") is not None:
                changes.refusals.append(Refusal(where(node), "it converts to another dtype"))
                continue
            pool(node)
            changes.changed += 1
    return changes


def is_spatial(node: Node) -> bool:
    """Whether a mean is one over the pixels of maps, [B, C, H, W], and keeps their axes."""
    source, axes = node.args[0], argument(node, 1, "dim") or []
    assert isinstance(source, Node)
    rank = len(shape(source))
    return rank == 4 and sorted(axis % rank for axis in axes) == [2, 3] and bool(argument(node, 2, "keepdim", False))


def pool(node: Node) -> None:
    """Put the pooling in the place of such a mean."""
    source = node.args[0]
    assert isinstance(source, Node)
    # Not the adaptive pooling: exporters turn that back into a mean.
    replace(node, add_call(node, aten.avg_pool2d.default, source, list(shape(source)[2:])))
