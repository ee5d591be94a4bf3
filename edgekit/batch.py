"""A dynamic batch: one graph for any number of entries along the first axis of the inputs that share it."""

from __future__ import annotations

import contextlib
import inspect
import logging
import traceback
from collections.abc import Iterator
from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.borders import Tensors, user_line
from edgekit.errors import ModelError

Axes = dict[int, torch.export.Dim]

TRACED = 2
"""The batch a graph is traced with: torch would take one for a constant."""


def shared(inputs: Tensors) -> list[str]:
    """The inputs that share the batch: those as long along their first axis as the first input is. Raises ModelError when that
    has no axes."""
    first = next(iter(inputs.values()))
    if first.dim() == 0:
        raise ModelError(
            "the batch cannot be told",
            cause=f"the first input, {next(iter(inputs))}, has no axes",
            next_step="let forward take the input that has the batch first",
        )
    return [name for name, tensor in inputs.items() if tensor.dim() and tensor.shape[0] == first.shape[0]]


def of_size(inputs: Tensors, size: int) -> Tensors:
    """The inputs in a batch of `size`: their own entries, in turn."""
    sharing = shared(inputs)
    return {
        name: tensor[torch.arange(size) % len(tensor)].clone() if name in sharing else tensor for name, tensor in inputs.items()
    }


def axes(inputs: Tensors, largest: int) -> dict[str, Axes]:
    """The dynamic axes of each input."""
    sharing, batch = shared(inputs), torch.export.Dim("batch", min=1, max=largest)
    return {name: {0: batch} if name in sharing else {} for name in inputs}


def axes_by_parameter(
    module: torch.nn.Module, positional: tuple[torch.Tensor, ...], named: Tensors, largest: int
) -> dict[str, Any]:
    """The dynamic axes by the parameters of forward, as torch.export takes them: in a tuple for those without a name."""
    inputs = [*positional, *named.values()]
    found = list(axes({str(place): tensor for place, tensor in enumerate(inputs)}, largest).values())
    keywords = dict(zip(named, found[len(positional) :], strict=True))
    return dict(inspect.signature(module.forward).bind(*found[: len(positional)], **keywords).arguments)


def shape_in(tensor: torch.Tensor, batch: int) -> tuple[int, ...]:
    """The shape of what a graph with a dynamic batch makes, in this one."""
    sizes = (size.node.expr if isinstance(size, torch.SymInt) else size for size in tensor.shape)
    return tuple(int(s if isinstance(s, int) else s.subs(dict.fromkeys(s.free_symbols, batch))) for s in sizes)


def write_inferred(graph_module: GraphModule) -> None:
    """Write a reshape's one dynamic size as -1, and likewise what an expansion keeps: converters keep shapes static then."""
    aten = torch.ops.aten
    for node in graph_module.graph.find_nodes(op="call_function", target=aten.reshape.default):
        if any(isinstance(size, Node) for size in node.args[1]):
            sizes = [-1 if isinstance(size, torch.SymInt) else size for size in node.meta["val"].shape]
            node.args = (node.args[0], sizes if sizes.count(-1) == 1 else node.args[1])
    for node in graph_module.graph.find_nodes(op="call_function", target=aten.expand.default):
        if not any(isinstance(size, Node) for size in node.args[1]):
            continue
        sizes, kept = list(node.args[1]), node.args[0].meta["val"].shape
        for axis in range(-len(kept), 0):
            made = node.meta["val"].shape[axis]
            if (
                isinstance(sizes[axis], Node)
                and isinstance(kept[axis], torch.SymInt)
                and kept[axis].node.expr == made.node.expr
            ):
                sizes[axis] = -1
        node.args = (node.args[0], sizes)
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()


@contextlib.contextmanager
def followed(module: torch.nn.Module) -> Iterator[None]:
    """While `module` is traced with a dynamic batch: an error says where its code takes the batch for a number."""
    log, heard = logging.getLogger("torch.fx.experimental.symbolic_shapes"), _Decisions()
    level = log.level
    log.addHandler(heard)
    log.setLevel(logging.INFO)
    try:
        yield
    except Exception as error:
        if "specialized it to be a constant" not in str(error) or not heard.lines:
            raise
        raise ModelError(
            f"{type(module).__name__} takes one batch only",
            cause=f"its code takes the batch for a number{heard.lines[-1]}",
            next_step="write that line for any batch (x.shape[0] without int(), -1 where a reshape can infer it), "
            "or leave --max-batch out",
        ) from error
    finally:
        log.setLevel(level)
        log.removeHandler(heard)


class _Decisions(logging.Handler):
    """The user's lines at which torch decided by a size."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "[guard added]" in record.getMessage():
            frames = [frame for frame in traceback.extract_stack() if frame.filename != logging.__file__]
            self.lines.append(user_line(frames))
