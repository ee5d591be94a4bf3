"""Feature maps stay channels-first through the layers that transformers write for channels-last tokens, on profiles that prefer
it: the Neural Engine takes [B, C, 1, N] and 1x1 convolutions, and pays for every transpose (Apple, ml-ane-transformers).

1. A permutation is put off, as in `limit_rank`: what follows computes in the memory order that it finds. In
   [B, C, H, W] - flatten, transpose - layers - transpose, reshape - [B, C, H, W] both transposes so meet and vanish.
2. A linear of such tokens is a 1x1 convolution; LayerNorm over the last axis is one over axis 1, as means and products.
3. Attention multiplies the operands as they lie: q' k and v a', whose transposes are arguments of the product.

What is connected is rewritten together. Refused where that would take more transposes than there are (those that only feed a
product are not counted), or as many while no linear becomes a convolution: tokens that come from no feature map, say.
"""

from __future__ import annotations

from torch.fx import GraphModule, Node

from edgekit.passes import Changes
from edgekit.passes._graph import argument, aten, calls, constant, is_call, value, where
from edgekit.passes._rank_rules import PERMUTATIONS, RULES, SPLITS, first, is_pointwise, pointwise, split
from edgekit.passes._ranks import Held, Ranks, sizes_of
from edgekit.passes._regions import Refused, put_in_place, regions
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

_PRODUCTS = (aten.matmul.default, aten.bmm.default)


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Put off the permutations of each connected computation, where that leaves fewer or makes convolutions of linears."""
    changes = Changes()
    if profile.preferred_layout != "channels_first":
        return changes
    for graph_module in program:
        permutations = calls(graph_module, *PERMUTATIONS)
        if not permutations or not calls(graph_module, aten.linear.default, aten.layer_norm.default):
            continue
        limit = profile.max_rank or _ANY_RANK
        tried = _Layouts(graph_module, limit, permutations)
        try:
            tried.visit_all()
        except Refused as refused:
            changes.record(where(refused.node), refused.reason)
            continue
        finally:
            tried.undo()
        for region in regions(graph_module, tried.holds):
            if any(is_call(node, aten.linear.default, aten.layer_norm.default) for node in region):
                _rewrite(_Layouts(graph_module, limit, [node for node in region if node in permutations]), changes)
    return changes


def _rewrite(layouts: _Layouts, changes: Changes) -> None:
    """Put the new form in place, unless it is no better."""
    graph_module, first_one = layouts.graph_module, layouts.permutations[0]
    visited = layouts.visit_all()
    before, after = _transposes(graph_module, {}), _transposes(graph_module, layouts.instead)
    if after > before or (after == before and not layouts.convolutions):
        layouts.undo()
        reason = f"the graph has {before} transposes as it is, {after} with these tokens channels-first"
        changes.record(where(first_one), reason)
        return
    put_in_place(layouts, visited)
    changes.changed += before - after + layouts.convolutions


_ANY_RANK = 8


class _Layouts(Ranks):
    """Holds tensors in the memory order in which they were made."""

    def __init__(self, graph_module: GraphModule, limit: int, permutations: list[Node]) -> None:
        super().__init__(graph_module, limit)
        self.permutations = permutations
        """Those to put off."""
        self.convolutions = 0

    def holds(self, node: Node) -> bool:
        """Whether the node's tensor lies in another order."""
        return node in self._held

    def put(self, node: Node, held: Held) -> None:
        if held.long == sorted(held.long):
            self.instead[node] = self.plain(held)
        else:
            self._held[node] = held

    def visit_all(self) -> list[Node]:
        """Build the other form; the nodes whose place it takes."""
        return [node for node in list(self.graph_module.graph.nodes) if self._visit(node)]

    def _visit(self, node: Node) -> bool:
        """Whether another form of `node` was built."""
        if self.knows(node):
            return True  # part of a list
        held = [x for x in node.all_input_nodes if x in self._held]
        if not held and node not in self.permutations:
            return False
        self.begin(node)
        try:
            self._build(node)
        except Refused:
            for x in held:
                if x not in self.instead:
                    self.instead[x] = self.plain(self.get(x))
            return False
        return True

    def _build(self, node: Node) -> None:
        if is_call(node, *SPLITS):
            split(self, node)
        elif is_call(node, aten.linear.default):
            self.put(node, self._linear(node))
        elif is_call(node, aten.layer_norm.default):
            self.put(node, self._layer_norm(node))
        elif is_call(node, *_PRODUCTS):
            self.put(node, self._matmul(*(self.get(x) for x in node.args[:2] if isinstance(x, Node))))
        elif is_call(node, aten.scaled_dot_product_attention.default):
            self.put(node, self._attention(node))
        elif is_pointwise(node):
            self.put(node, pointwise(self, node))
        elif node.target in RULES:
            self.put(node, RULES[node.target](self, node))
        else:
            raise self.refuse(f"{node.target} reads memory in order")

    def _image(self, held: Held) -> tuple[Node, tuple[int, ...]]:
        """The tokens as [B, C, H, W], and their memory order."""
        last = len(held.sizes) - 1
        behind = [axis for axis in held.order if axis not in (0, last)]
        order = (0, last, *behind)
        if [axis for axis in order if held.sizes[axis] != 1] != held.long:
            raise self.refuse("its channels do not stand behind the batch axis")
        have = sizes_of(held.node)
        if len(have) == 4 and have[:2] == (held.sizes[0], held.sizes[last]):
            return held.node, order
        batch, channels, positions = self.grouped(held, [[0], [last], behind]).meta["val"].shape
        return self.reshaped(held.node, [batch, channels, 1, positions]), order

    def _linear(self, node: Node) -> Held:
        weight = constant(self.graph_module, node.args[1])
        if weight is None:
            raise self.refuse("its weight is computed")
        image, order = self._image(first(self, node))
        kernel = self.constant(weight[:, :, None, None])
        self.convolutions += 1
        return Held(self.call(aten.conv2d.default, image, kernel, argument(node, 2, "bias")), sizes_of(node), order)

    def _layer_norm(self, node: Node) -> Held:
        if len(argument(node, 1, "normalized_shape")) != 1:
            raise self.refuse("it normalises over several axes")
        image, order = self._image(first(self, node))
        centred = self.call(aten.sub.Tensor, image, self.call(aten.mean.dim, image, [1], True))
        variance = self.call(aten.mean.dim, self.call(aten.mul.Tensor, centred, centred), [1], True)
        root = self.call(aten.rsqrt.default, self.call(aten.add.Tensor, variance, argument(node, 4, "eps", 1e-5)))
        made = self.call(aten.mul.Tensor, centred, root)
        for operator, index, name in ((aten.mul.Tensor, 2, "weight"), (aten.add.Tensor, 3, "bias")):
            if (given := argument(node, index, name)) is not None:
                made = self.call(operator, made, self.reshaped(given, [1, sizes_of(image)[1], 1, 1]))
        return Held(made, sizes_of(node), order)

    def _matmul(self, left: Held, right: Held) -> Held:
        """[.., m, k] by [.., k, n]; transposed, when the second operand lies transposed."""
        rank = len(left.sizes)
        if not 3 <= rank == len(right.sizes) or left.sizes[:-2] != right.sizes[:-2]:
            raise self.refuse("its operands differ in their batch axes")
        swapped = (*range(rank - 2), rank - 1, rank - 2)
        if right.long == [axis for axis in swapped if right.sizes[axis] != 1]:
            made = self.call(aten.matmul.default, self._swapped(right), self._transposed(self._as_is(left)))
            return Held(made, (*left.sizes[:-1], right.sizes[-1]), swapped)
        made = self.call(aten.matmul.default, self._as_is(left), self._as_is(right))
        return Held(made, (*left.sizes[:-1], right.sizes[-1]), tuple(range(rank)))

    def _as_is(self, held: Held) -> Node:
        """The tensor as a node; a transpose of the last two axes stays an argument of the product that reads it."""
        swapped = [*range(len(held.sizes) - 2), len(held.sizes) - 1, len(held.sizes) - 2]
        if held.long == [axis for axis in swapped if held.sizes[axis] != 1] != sorted(held.long):
            return self._transposed(self._swapped(held))
        return self.plain(held)

    def _swapped(self, held: Held) -> Node:
        return self.reshaped(held.node, (*held.sizes[:-2], held.sizes[-1], held.sizes[-2]))

    def _transposed(self, node: Node) -> Node:
        return self.call(aten.transpose.int, node, -2, -1)

    def _attention(self, node: Node) -> Held:
        """softmax(q k' / sqrt(d) + mask) v"""
        mask, causal = argument(node, 3, "attn_mask"), argument(node, 5, "is_causal", False)
        if causal or node.kwargs.get("enable_gqa") or (isinstance(mask, Node) and not value(mask).is_floating_point()):
            raise self.refuse("its mask is none to add, or its keys are shared between heads")
        query, key, given = (self.get(x) for x in node.args[:3] if isinstance(x, Node))
        scale = node.kwargs.get("scale") or float(query.sizes[-1]) ** -0.5
        rank = len(key.sizes)
        swap = {rank - 2: rank - 1, rank - 1: rank - 2}
        turned = Held(key.node, (*key.sizes[:-2], key.sizes[-1], key.sizes[-2]), tuple(swap.get(a, a) for a in key.order))
        scores = self.call(aten.mul.Tensor, self.plain(self._matmul(query, turned)), scale)
        if mask is not None:
            scores = self.call(aten.add.Tensor, scores, self.plain(self.get(mask)))
        weights = self.call(aten.softmax.int, scores, -1)
        return self._matmul(self.get(weights), given)


def _transposes(graph_module: GraphModule, instead: dict[Node, Node]) -> int:
    """The permutations that the outputs need, with other nodes in place of some; those that products alone read are none."""
    readers: dict[Node, set[Node]] = {}
    todo = [node for node in graph_module.graph.nodes if node.op == "output"]
    while todo:
        reader = todo.pop()
        for source in reader.all_input_nodes:
            while source in instead:
                source = instead[source]
            if source not in readers:
                readers[source] = set()
                todo.append(source)
            readers[source].add(reader)
    return sum(is_call(x, *PERMUTATIONS) and any(not is_call(r, *_PRODUCTS) for r in readers[x]) for x in readers)
