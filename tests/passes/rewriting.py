"""What the tests of the passes share: small modules, and one pass run on one of them, its outputs proved unmoved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from edgekit import passes
from edgekit.passes._graph import sweep
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program, capture

NO_LIMITS = RuntimeProfile(source="tests")


class Net(nn.Module):
    """`forward` over named parts: Net(lambda net, x: net.conv(x), conv=nn.Conv2d(...)); tensors become buffers."""

    def __init__(self, forward: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self._forward = forward
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, *inputs: Tensor) -> Any:
        return self._forward(self, *inputs)


@dataclass
class Rewritten:
    """One graph before and after a pass."""

    program: Program
    changed: int
    reasons: list[str]
    graph_before: str
    calls_before: list[str]
    """The names of the called operators, without namespace and overload: `conv2d`."""

    @property
    def graph(self) -> str:
        return str(self.program.functions["forward"].graph_module.graph)

    @property
    def calls(self) -> list[str]:
        return call_names(self.program)

    def assert_refused(self, reason: str) -> None:
        """Nothing was changed, and the reason was told."""
        assert self.changed == 0
        assert self.graph == self.graph_before
        assert any(reason in told for told in self.reasons), self.reasons


def call_names(program: Program) -> list[str]:
    """The operators a program calls, in order."""
    nodes = (node for graph_module in program for node in graph_module.graph.nodes if node.op == "call_function")
    return [str(getattr(node.target, "_opname", getattr(node.target, "__name__", node.target))) for node in nodes]


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Draw every weight and statistic anew, negative BatchNorm scales among them, in float64."""
    random = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                drawn = torch.randn(tensor.shape, generator=random, dtype=torch.float64)
                tensor.copy_(drawn.abs() + 0.2 if name.endswith("running_var") else drawn)
    return module


def noise(*shape: int, seed: int = 1) -> Tensor:
    """A standard normal float64 tensor."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rewrite(name: str, module: nn.Module, *inputs: Tensor, profile: RuntimeProfile = NO_LIMITS) -> Rewritten:
    """Run the pass `name` on `module`; its outputs must stay within 1e-10 on `inputs` and on others, and what is left
    must still export."""
    program = capture(module, {f"x{index}": tensor for index, tensor in enumerate(inputs)})
    for graph_module in program:
        sweep(graph_module)  # what the capture left unused is not the pass's to change
    graph_before, calls_before = str(program.functions["forward"].graph_module.graph), call_names(program)
    (changes,) = passes.run(program, profile, [name])
    assert_same(program, module, *inputs)
    assert_same(program, module, *(t * -0.7 + 0.3 if t.is_floating_point() else t.clone() for t in inputs))
    program.export()
    return Rewritten(program, changes.changed, [refusal.reason for refusal in changes.refusals], graph_before, calls_before)


def assert_same(program: Program, module: nn.Module, *inputs: Tensor) -> None:
    """The program computes what the module does."""
    with torch.no_grad():
        expected = pytree.tree_leaves(module(*(tensor.clone() for tensor in inputs)))
    function = program.functions["forward"]
    found = function.run(dict(zip(function.example_inputs, inputs, strict=True)))
    assert len(found) == len(expected)
    for tensor, reference in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(tensor, reference, rtol=1e-10, atol=1e-10)
