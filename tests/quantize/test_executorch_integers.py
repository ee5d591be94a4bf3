"""ExecuTorch computes the quantized graph, not something near it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from quantizing import Mixer, ask, calls, integers_of, noise, quantized, run
from torch import Tensor, nn

from edgekit import metrics, profiles, quantize
from edgekit.errors import ConversionError
from edgekit.program import Program, load
from edgekit.quiet import quiet
from edgekit.runtimes import executorch as runtime
from edgekit.targets import executorch

PROFILE = profiles.for_target(profiles.load("host"), "executorch")
SUPPORT = integers_of("host", "executorch")
EVERYWHERE = SUPPORT.model_copy(update={"conversions": "cheap"})
"""Even where operators of floating point are on both sides."""


def _lowered(program: Program, folder: Path) -> Path:
    program.save(folder)
    with quiet():
        (file,) = executorch.lower(load(folder), PROFILE, folder)
    return file


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["int8", "int8-dynamic", "int4-weight"])
def test_it_gives_what_the_quantized_graph_does(scheme: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    image = noise(1, 3, 16, 16)
    request = ask(Mixer(), image, support=SUPPORT, scheme=scheme)
    plan = quantize.make_plan(request)
    assert {site.operator for site in plan.sites if site.changes} >= {"conv2d"}
    program = quantized(request, plan)
    (expected,) = run(program, image)
    with runtime.open(_lowered(program, tmp_path)) as session:
        (found,) = session.execute([image.numpy()])
    assert metrics.sqnr_db(expected.numpy(), found) > 100


class Unary(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        functions = (torch.nn.functional.gelu, torch.sigmoid, torch.tanh, torch.relu, torch.nn.functional.hardtanh)
        return tuple(function(x + x.flip(1)) for function in functions)


@pytest.mark.slow
def test_tables_give_every_value_that_the_function_does(tmp_path: Path) -> None:
    values = torch.linspace(-6, 6, 4 * 256).reshape(1, 4, 16, 16)
    program = quantized(ask(Unary(), values, support=EVERYWHERE))
    expected = run(program, values)
    with runtime.open(_lowered(program, tmp_path)) as session:
        found = session.execute([values.numpy()])
    for reference, other in zip(expected, found, strict=True):
        assert (reference.numpy() == other).all()


class Padded(nn.Module):
    """A padding of what an integer operator makes, which an exponential reads in floating point."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.last(self.first(x))
        return torch.exp(nn.functional.pad(y, (1, 2)))


@pytest.mark.slow
def test_a_padding_of_what_integers_made_is_right(tmp_path: Path) -> None:
    torch.manual_seed(0)
    image = noise(1, 4, 8, 8)
    program = quantized(ask(Padded(), image, support=EVERYWHERE))
    (expected,) = run(program, image)
    with runtime.open(_lowered(program, tmp_path)) as session:
        (found,) = session.execute([image.numpy()])
    assert metrics.sqnr_db(expected.numpy(), found) > 100


class Branching(nn.Module):
    """Convolutions of ranges of each run's own behind linears of rows, two of one tensor, and of what began channels first."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.gate = nn.Conv2d(32, 32, 1), nn.Conv2d(32, 32, 1)
        self.halve, self.near = nn.Conv2d(32, 64, 2, 2), nn.Conv2d(32, 64, 3, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        mixed = self.mix(x)
        summed = x + mixed
        gated = summed * torch.sigmoid(self.gate(summed.mean((2, 3), keepdim=True)))
        return self.halve(mixed), self.halve(gated) + self.near(gated), gated.flatten(2)


@pytest.mark.slow
def test_only_what_a_convolution_reads_is_laid_out_for_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    image = noise(1, 32, 16, 16)
    program = quantized(ask(Branching(), image, support=SUPPORT, scheme="int8-dynamic"))
    assert len(calls(program, "conv2d")) == 3
    expected = run(program, image)
    with runtime.open(_lowered(program, tmp_path)) as session:
        found = session.execute([image.numpy()])
    for reference, other in zip(expected, found, strict=True):
        assert metrics.sqnr_db(reference.numpy(), other) > 100


@pytest.mark.slow
def test_what_its_partitioner_refuses_is_an_error_and_not_another_result(tmp_path: Path) -> None:
    request = ask(nn.Conv2d(4, 4, 3), noise(1, 4, 8, 8), support=EVERYWHERE)
    program = quantized(request)
    (graph_module,) = program
    (conv,) = graph_module.graph.find_nodes(op="call_function", target=torch.ops.aten.conv2d.default)
    output = graph_module.graph.output_node()
    output.args = ((conv,),)  # without the pair behind it
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()
    with pytest.raises(ConversionError, match=r"does not compute \S+ with integers"):
        _lowered(program, tmp_path)
