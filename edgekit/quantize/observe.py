"""Runs a graph over calibration samples and keeps what its tensors were: histograms, means, covariances."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from edgekit import borders
from edgekit.borders import Tensors
from edgekit.errors import InputError
from edgekit.passes._graph import where
from edgekit.program import Function
from edgekit.quantize.ranges import BINS, Histogram


def histograms(function: Function, nodes: Iterable[Node], samples: Sequence[Tensors]) -> dict[Node, Histogram]:
    """The values that each of `nodes` took over all samples. Two runs of each sample: the ends, then what lies between.

    Raises InputError for a sample on which one of them is not finite.
    """
    watched = set(nodes)
    ends: dict[Node, tuple[float, float]] = {}

    def widen(node: Node, made: Tensor) -> None:
        low, high = (float(end) for end in made.aminmax())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError(
                "a calibration sample leads to values that are not finite",
                cause=f"at {where(node)} of the model's graph, values go from {low} to {high}",
                next_step="check the calibration data: their range and their preprocessing",
            )
        before = ends.get(node, (low, high))
        ends[node] = (min(low, before[0]), max(high, before[1]))

    watch(function, watched, samples, widen)
    found = {node: Histogram(low, high, np.zeros(BINS, np.int64)) for node, (low, high) in ends.items()}

    def count(node: Node, made: Tensor) -> None:
        seen = found[node]
        width = (seen.high - seen.low) / BINS or 1.0
        bins = ((made.flatten() - seen.low) / width).long().clamp_(0, BINS - 1)
        seen.counts += torch.bincount(bins, minlength=BINS).numpy()

    watch(function, watched, samples, count)
    return found


def means(function: Function, nodes: Iterable[Node], samples: Sequence[Tensors]) -> dict[Node, Tensor]:
    """The mean of each of `nodes` over all samples, element by element."""
    found: dict[Node, Tensor] = {}

    def add(node: Node, made: Tensor) -> None:
        found[node] = found[node] + made / len(samples) if node in found else made / len(samples)

    watch(function, set(nodes), samples, add)
    return found


def covariances(function: Function, channels: Mapping[Node, int], samples: Sequence[Tensors]) -> dict[Node, Tensor]:
    """How the channels of each tensor, which lie along the axis given for it, vary together over all samples and places:
    float64 [channels, channels]."""
    counts: dict[Node, int] = {}
    sums: dict[Node, Tensor] = {}
    products: dict[Node, Tensor] = {}

    def add(node: Node, made: Tensor) -> None:
        rows = made.movedim(channels[node], -1).flatten(0, -2).double()
        counts[node] = counts.get(node, 0) + len(rows)
        sums[node] = sums.get(node, torch.zeros(())) + rows.sum(0)
        products[node] = products.get(node, torch.zeros(())) + rows.T @ rows

    watch(function, set(channels), samples, add)
    means = {node: sums[node] / count for node, count in counts.items()}
    return {node: products[node] / count - torch.outer(means[node], means[node]) for node, count in counts.items()}


def watch(function: Function, nodes: set[Node], samples: Iterable[Tensors], see: Callable[[Node, Tensor], None]) -> None:
    """Run the graph on each sample and show what each of `nodes` makes, when it is made. The graph's state stays as it is."""

    class Watching(torch.fx.Interpreter):
        def run_node(self, n: Node) -> Any:
            made = super().run_node(n)
            if n in nodes:
                see(n, made)
            return made

    interpreter = Watching(function.graph_module)
    with torch.no_grad(), borders.state_kept(function.graph_module):
        for sample in samples:
            interpreter.run(*(sample[name].clone() for name in function.example_inputs))
