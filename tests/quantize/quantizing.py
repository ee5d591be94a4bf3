"""What the tests of quantization share: small modules, what is asked of them, and how to read a quantized graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from edgekit import profiles, quantize
from edgekit.profiles import IntegerSupport
from edgekit.program import Program, capture
from edgekit.quantize.asking import Request
from edgekit.quantize.plan import Plan
from edgekit.quantize.sites import operator_of
from edgekit.recipe import Quantize

INTEGERS = IntegerSupport(
    activation="uint8",
    operators=("conv2d", "linear", "matmul", "add", "mul", "cat", "adaptive_avg_pool2d"),
    fused=("relu",),
    moves=("reshape", "permute", "transpose", "slice", "chunk", "split_with_sizes", "max_pool2d"),
    dynamic={"int8": ("linear",)},
    weights={"int8": ("conv2d", "linear", "matmul")},
    source="tests",
)


class Net(nn.Module):
    """`forward` over named parts: Net(lambda net, x: net.conv(x), conv=nn.Conv2d(...)); tensors become buffers."""

    def __init__(self, forward: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self._forward = forward
        for name, part in parts.items():
            if isinstance(part, Tensor):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, *inputs: Tensor) -> Any:
        return self._forward(self, *inputs)


class Mixer(nn.Module):
    """Of `[n, 3, h, w]` images: convolutions of every kind, a gate, a residual and a classifier, 32 channels wide."""

    def __init__(self, expanded: int = 64) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.expand = nn.Conv2d(32, expanded, 1)
        self.project = nn.Conv2d(expanded, 32, 1)
        self.gate = nn.Conv2d(32, 32, 1)
        self.classifier = nn.Linear(32, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.stem(image))
        x = x + self.project(nn.functional.gelu(self.expand(self.depthwise(x))))
        x = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        return self.classifier(x.mean((2, 3), keepdim=True).flatten(1))  # type: ignore[no-any-return]


def noise(*shape: int, seed: int = 1) -> Tensor:
    """A standard normal float32 tensor."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def ask(module: nn.Module, *inputs: Tensor, support: IntegerSupport = INTEGERS, **settings: Any) -> Request:
    """A request to quantize `module`, calibrated on `inputs` alone; int8 over all that was seen, unless `settings` differ."""
    sample = {f"x{index}": tensor for index, tensor in enumerate(inputs)}
    chosen = Quantize.model_validate({"scheme": "int8", "ranges": "min-max", **settings})
    return Request(capture(module, sample), support, chosen, [sample], "net")


def integers_of(device: str, target: str) -> IntegerSupport:
    """What a runtime on a device computes with integers."""
    support = profiles.for_target(profiles.load(device), target).integers
    assert support is not None
    return support


def quantized(request: Request, plan: Plan | None = None) -> Program:
    """What the request asks for, or what `plan` says."""
    program = quantize.apply(request, plan or quantize.make_plan(request))
    graph_module = graph_of(program)
    graph_module.graph.lint()
    return program


def graph_of(program: Program) -> GraphModule:
    return program.functions["forward"].graph_module


def run(program: Program, *inputs: Tensor) -> list[Tensor]:
    """The program's outputs."""
    function = program.functions["forward"]
    return list(function.run(dict(zip(function.example_inputs, inputs, strict=True))).values())


def calls(program: Program, operator: str) -> list[Node]:
    """The calls of `operator`, an ATen name without overload, in order."""
    nodes = graph_of(program).graph.nodes
    return [node for node in nodes if node.op == "call_function" and operator_of(node) == operator]


def reads_integers(node: Node) -> bool:
    """Whether all tensors of floating point that an operator reads, but for its bias, come from integers."""
    return all(operator_of(read).startswith("dequantize") for read in node.all_input_nodes if read.op != "get_attr")


def gives_integers(node: Node) -> bool:
    """Whether what it makes, with a ReLU behind it or not, is made integers at once."""
    (user,) = node.users
    if operator_of(user) == "relu":
        (user,) = user.users
    return operator_of(user) == "quantize_per_tensor"


def grid_of(node: Node) -> tuple[float, int]:
    """Scale and zero point of half a pair."""
    scale, zero_point = node.args[1:3]
    assert isinstance(scale, float)
    assert isinstance(zero_point, int)
    return scale, zero_point
