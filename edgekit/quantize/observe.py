"""Runs a graph over calibration samples and keeps what its tensors were: the histogram of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
