"""Parallel convolutions of one input whose results are added become one (RepVGG, 2101.03697, section 3.3):

    conv3x3(x) + conv1x1(x) + x   =   conv3x3'(x)

Smaller kernels are padded to the largest, their centres aligned; the identity is a kernel with one at its own channel.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.passes import Changes, Refusal
from edgekit.passes._graph import add_call, add_constant, only_user, shape, where
from edgekit.passes._layers import Layer, layer
from edgekit.passes._sums import replace_terms, sums, terms
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Merge the parallel convolutions, and an identity beside them, in every sum."""
    changes = Changes()
    for graph_module in program:
        for top in sums(graph_module):
            _merge_in(graph_module, top, changes)
    return changes


def _merge_in(graph_module: GraphModule, top: Node, changes: Changes) -> None:
    parts = terms(top)
    branches = [b for b in (layer(graph_module, term) for term in parts) if b is not None and b.is_conv]
    for source in dict.fromkeys(branch.source for branch in branches):
        group = [branch for branch in branches if branch.source is source]
        has_identity = source in parts
        if len(group) + has_identity < 2:
            continue
        reason = _why_not(group, source, has_identity)
        if reason:
            changes.refusals.append(Refusal(where(top), reason))
            continue
        merged = [branch.node for branch in group] + ([source] if has_identity else [])
        if len(set(merged)) < sum(parts.count(node) for node in set(merged)):
            changes.refusals.append(Refusal(where(top), "one branch is added twice"))
            continue
        weight, bias = _combined(group, has_identity)
        replace_terms(top, merged, lambda g=group, w=weight, b=bias: _build(graph_module, top, g, w, b))  # type: ignore[misc]  # bound early
        changes.changed += 1
        return  # the tree is another one now; what is left of it has no second group of this input


def _largest(group: list[Layer]) -> Layer:
    return max(group, key=lambda branch: branch.weight[0, 0].numel())


def _why_not(group: list[Layer], source: Node, has_identity: bool) -> str:
    main = _largest(group)
    for branch in group:
        if only_user(branch.node) is None:
            return f"{where(branch.node)} is used elsewhere too"
        if (branch.stride, branch.dilation, branch.groups) != (main.stride, main.dilation, main.groups):
            return f"{where(branch.node)} and {where(main.node)} differ in stride, dilation or groups"
        if _margins(branch, main) is None:
            return f"{where(branch.node)} and {where(main.node)} are not aligned: their paddings differ otherwise"
    if has_identity:
        if any(s != 1 for s in main.stride) or shape(source) != shape(main.node):
            return "the identity beside the convolution has another stride or shape"
        if any(p % d for p, d in zip(main.padding, main.dilation, strict=True)):
            return "the identity falls between the dilated kernel's entries"
    return ""


def _margins(branch: Layer, main: Layer) -> list[tuple[int, int]] | None:
    """Zeros to add before and after each kernel dimension of `branch` so that it becomes `main`'s; None if it cannot."""
    found = []
    for axis, dilation in enumerate(main.dilation):
        before, remainder = divmod(main.padding[axis] - branch.padding[axis], dilation)
        after = main.weight.shape[2 + axis] - branch.weight.shape[2 + axis] - before
        if remainder or before < 0 or after < 0:
            return None
        found.append((before, after))
    return found


def _combined(group: list[Layer], has_identity: bool) -> tuple[Tensor, Tensor | None]:
    main = _largest(group)
    weight = torch.zeros_like(main.weight, dtype=torch.float64)
    for branch in group:
        margins = _margins(branch, main)
        assert margins is not None
        weight += F.pad(branch.weight.double(), [size for pair in reversed(margins) for size in pair])
    if has_identity:
        channels, inputs_a_group = weight.shape[:2]
        kernel = weight.shape[2:]
        centre = [p // d for p, d in zip(main.padding, main.dilation, strict=True)]
        entry = sum(c * math.prod(kernel[axis + 1 :]) for axis, c in enumerate(centre))
        rows = torch.arange(channels)
        weight.view(channels, inputs_a_group, -1)[rows, rows % inputs_a_group, entry] += 1
    if all(branch.bias is None for branch in group):
        return weight, None
    return weight, torch.stack([branch.bias_or_zeros().double() for branch in group]).sum(0)


def _build(graph_module: GraphModule, top: Node, group: list[Layer], weight: Tensor, bias: Tensor | None) -> Node:
    main = _largest(group)
    dtype, hint = main.weight.dtype, str(main.node.name)
    arguments = [
        main.source,
        add_constant(graph_module, top, hint, weight.to(dtype)),
        None if bias is None else add_constant(graph_module, top, f"{hint}_bias", bias.to(dtype)),
        *(list(numbers) for numbers in (main.stride, main.padding, main.dilation)),
        main.groups,
    ]
    assert callable(main.node.target)
    merged = add_call(top, main.node.target, *arguments)
    merged.meta["nn_module_stack"] = main.node.meta.get("nn_module_stack", {})
    return merged
