"""Where integers go: which tensors become some, on which grids, and what stays as it is."""

from __future__ import annotations

import pytest
import torch
from quantizing import INTEGERS, Net, ask, calls, gives_integers, graph_of, grid_of, noise, quantized, reads_integers, run
from torch import Tensor, nn

from edgekit import metrics, quantize
from edgekit.errors import ConversionError
from edgekit.profiles import IntegerSupport
from edgekit.quantize.insert import Grid
from edgekit.quantize.ranges import Range
from edgekit.quantize.sites import operator_of


def _sqnr_db(net: nn.Module, *inputs: Tensor, support: IntegerSupport = INTEGERS) -> float:
    with torch.no_grad():
        expected = net(*inputs)
    (found,) = run(quantized(ask(net, *inputs, support=support)), *inputs)
    return metrics.sqnr_db(expected.numpy(), found.numpy())


@pytest.mark.parametrize("form", ["uint8", "int8"])
@pytest.mark.parametrize(
    "covered", [Range(-0.3, 7.0), Range(2.0, 5.0), Range(-9.0, -1.0), Range(0.0, 0.0), Range(-1e-44, 1e-44)]
)
def test_zero_is_on_every_grid_and_so_are_the_ends_to_half_a_step(covered: Range, form: str) -> None:
    grid = Grid.over(covered, form, INTEGERS)
    assert grid.least <= grid.zero_point <= grid.largest
    assert grid.scale > 0
    for end in (covered.low, covered.high):
        integer = min(max(round(end / grid.scale) + grid.zero_point, grid.least), grid.largest)
        assert abs((integer - grid.zero_point) * grid.scale - end) <= grid.scale * 0.5001


def test_an_integer_operator_reads_and_makes_integers_and_others_floating_point() -> None:
    net = Net(lambda net, x: net.second(torch.nn.functional.gelu(net.first(x))), first=nn.Linear(8, 8), second=nn.Linear(8, 4))
    program = quantized(ask(net, noise(2, 8)))
    first, second = calls(program, "linear")
    (gelu,) = calls(program, "gelu")
    assert reads_integers(first)
    assert reads_integers(second)
    assert gives_integers(first)
    assert gives_integers(second)
    assert reads_integers(gelu)  # everybody takes what an integer operator makes as integers
    assert len(calls(program, "quantize_per_tensor")) == 4


def test_a_value_of_floating_point_stays_so_for_those_who_read_it_as_such() -> None:
    net = Net(lambda net, x: net.fc(x.tanh()) + x.tanh().exp().sum(1, keepdim=True).sin(), fc=nn.Linear(8, 4))
    request = ask(net, noise(2, 8), support=INTEGERS.model_copy(update={"operators": ("linear",)}))
    program = quantized(request)
    tanh = calls(program, "tanh")[-1]
    assert "exp" in {user.target.__name__.split(".")[0] for user in tanh.users}
    (linear,) = calls(program, "linear")
    assert reads_integers(linear)


def test_an_activation_that_the_runtime_fuses_has_no_pair_before_it() -> None:
    net = Net(lambda net, x: net.conv(x).relu(), conv=nn.Conv2d(3, 4, 3))
    request = ask(net, noise(1, 3, 8, 8))
    plan = quantize.make_plan(request)
    program = quantized(request, plan)
    (conv,), (relu,) = calls(program, "conv2d"), calls(program, "relu")
    assert list(conv.users) == [relu]
    assert gives_integers(conv)
    scale, zero_point = grid_of(next(iter(relu.users)))
    assert zero_point == 0
    assert scale == pytest.approx(float(net(noise(1, 3, 8, 8)).max().detach()) / 255, rel=1e-5)
    assert [one.why for one in plan.sites if one.operator == "relu"] == [f"computed with {conv.name}"]


def test_a_fused_activation_with_integers_of_its_own_is_still_fused() -> None:
    support = INTEGERS.model_copy(update={"operators": ("conv2d", "relu")})
    program = quantized(
        ask(Net(lambda net, x: net.conv(x).relu(), conv=nn.Conv2d(3, 4, 3)), noise(1, 3, 8, 8), support=support)
    )
    assert len(calls(program, "quantize_per_tensor")) == 2


def test_an_activation_behind_a_value_that_others_read_is_not_fused() -> None:
    net = Net(lambda net, x: (lambda y: y.relu() + y)(net.conv(x)), conv=nn.Conv2d(3, 4, 3))
    program = quantized(ask(net, noise(1, 3, 8, 8)))
    assert reads_integers(calls(program, "relu")[0])
    assert reads_integers(calls(program, "add")[0])


def test_integers_pass_what_moves_them_on_one_grid() -> None:
    net = Net(
        lambda net, x: net.fc(net.conv(x).permute(0, 2, 3, 1).reshape(1, 36, 4)), conv=nn.Conv2d(3, 4, 3), fc=nn.Linear(4, 2)
    )
    program = quantized(ask(net, noise(1, 3, 8, 8)))
    (permute,), (reshape,), (fc,) = (calls(program, name) for name in ("permute", "reshape", "linear"))
    grids = {grid_of(node.args[0]) for node in (permute, reshape, fc)}
    assert len(grids) == 1
    assert gives_integers(permute)
    assert gives_integers(reshape)


def test_what_is_gathered_is_integers_and_the_index_stays() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        made: Tensor = net.next(net.conv(x).gather(1, x.argmax(1, keepdim=True)))
        return made

    net, x = Net(forward, conv=nn.Conv2d(3, 4, 1), next=nn.Conv2d(1, 8, 3)), noise(1, 3, 8, 8)
    support = INTEGERS.model_copy(update={"moves": ("gather",)})
    program = quantized(ask(net, x, support=support))
    (gather,) = calls(program, "gather")
    read, index = gather.all_input_nodes
    assert operator_of(index) == "argmax"
    assert gives_integers(gather)
    assert grid_of(read) == grid_of(next(iter(gather.users)))
    assert _sqnr_db(net, x, support=support) > 30
    (alone,) = calls(quantized(ask(net, x)), "gather")
    assert grid_of(next(iter(alone.users))) != grid_of(alone.all_input_nodes[0])


def test_moves_of_floating_point_stay_so() -> None:
    net = Net(lambda net, x: net.fc(torch.tanh(x).reshape(2, 8)), fc=nn.Linear(8, 4))
    program = quantized(ask(net, noise(2, 2, 4)))
    assert len(calls(program, "quantize_per_tensor")) == 2
    assert not reads_integers(calls(program, "reshape")[0])


def test_a_move_that_leads_to_floating_point_alone_is_left() -> None:
    net = Net(lambda net, x: net.conv(x).reshape(1, -1).tanh(), conv=nn.Conv2d(3, 4, 3))
    program = quantized(ask(net, noise(1, 3, 8, 8)))
    (reshape,) = calls(program, "reshape")
    assert not gives_integers(reshape)


@pytest.mark.parametrize("split", [lambda y: y.chunk(2, 1), lambda y: y.split([1, 3], 1)])
def test_all_parts_of_a_value_are_integers_where_one_is(split: object) -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        first, second = split(net.conv(x))  # type: ignore[operator]
        return net.next(first).sum((1, 2, 3)) + second.tanh().sum((1, 2, 3))

    first = split(torch.zeros(1, 4, 1, 1))[0].shape[1]  # type: ignore[operator]
    net = Net(forward, conv=nn.Conv2d(3, 4, 3), next=nn.Conv2d(first, 2, 1))
    program = quantized(ask(net, noise(1, 3, 8, 8)))
    parts = calls(program, "getitem")
    assert [gives_integers(part) for part in parts] == [True, True]
    assert len({grid_of(next(iter(part.users))) for part in parts}) == 1
    assert reads_integers(parts[0].args[0])
    assert _sqnr_db(net, noise(1, 3, 8, 8)) > 30


def test_the_operands_of_a_concatenation_share_a_grid() -> None:
    net = Net(lambda net, x: torch.cat([net.small(x), net.large(x)], 1), small=nn.Conv2d(3, 2, 1), large=nn.Conv2d(3, 2, 1))
    with torch.no_grad():
        net.large.weight.mul_(50)
    program = quantized(ask(net, noise(1, 3, 4, 4)))
    (cat,) = calls(program, "cat")
    assert len({grid_of(read) for read in [*cat.all_input_nodes, *cat.users]}) == 1


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: torch.cat([net.conv(x), net.conv(x)], 1),
        lambda net, x: (lambda y: torch.cat([y, y], 1))(net.conv(x)),
        lambda net, x: (lambda y: torch.cat([y, y.transpose(2, 3)], 1))(net.conv(x)),
        lambda net, x: (lambda y: torch.cat([torch.cat([y, y * y], 1), y], 1))(net.conv(x)),
    ],
)
def test_concatenations_of_one_value_with_itself(forward: object) -> None:
    net = Net(forward, conv=nn.Conv2d(3, 4, 3))  # type: ignore[arg-type]
    assert _sqnr_db(net, noise(1, 3, 8, 8)) > 30


def test_a_constant_operand_is_stored_as_integers() -> None:
    net = Net(lambda net, x: net.fc(x) + net.position, fc=nn.Linear(8, 4), position=noise(2, 4) * 3)
    program = quantized(ask(net, noise(2, 8)))
    (add,) = calls(program, "add")
    assert reads_integers(add)
    stored = [buffer for name, buffer in graph_of(program).named_buffers() if name.endswith("uint8")]
    assert [list(buffer.shape) for buffer in stored] == [[2, 4]]
    assert stored[0].dtype == torch.uint8
    assert not any(name == "position" for name, _ in graph_of(program).named_buffers())
    assert _sqnr_db(net, noise(2, 8)) > 35


@pytest.mark.parametrize(
    ("forward", "why"),
    [
        (lambda net, x: net.fc(x) * 0.3, "a number"),
        (lambda net, x: net.fc(x) + net.fc(x).double(), "float32"),
        (lambda net, x: net.fc(x) * x.argmax(1, keepdim=True), "float32"),
        (lambda net, x: torch.add(net.fc(x), net.fc(x), alpha=3), "scales an operand"),
    ],
)
def test_what_cannot_compute_with_integers_is_left_for_a_reason(forward: object, why: str) -> None:
    request = ask(Net(forward, fc=nn.Linear(4, 4)), noise(2, 4))  # type: ignore[arg-type]
    plan = quantize.make_plan(request)
    (left,) = (one for one in plan.sites if one.operator in ("mul", "add"))
    assert not left.changes
    assert why in left.why
    quantized(request, plan)


def test_what_an_operator_computes_its_weight_from_is_an_activation_and_its_bias_is_not() -> None:
    net = Net(lambda net, x, w: torch.nn.functional.linear(x, w * w, net.bias), bias=noise(4))
    program = quantized(ask(net, noise(2, 8), noise(4, 8)))
    (linear,) = calls(program, "linear")
    assert reads_integers(linear)
    assert linear.args[2].op == "get_attr"


def test_inputs_stay_together_at_the_front() -> None:
    net = Net(lambda net, a, b: net.fc(a) + net.fc(b) + a, fc=nn.Linear(4, 4))
    program = quantized(ask(net, noise(2, 4), noise(2, 4, seed=2)))
    kinds = [node.op == "placeholder" for node in graph_of(program).graph.nodes if node.op != "get_attr"]
    assert kinds == sorted(kinds, reverse=True)


def test_a_weight_of_two_sites_is_integers_in_both() -> None:
    net = Net(lambda net, x: net.fc(net.fc(x)), fc=nn.Linear(4, 4))
    program = quantized(ask(net, noise(2, 4)))
    assert len(calls(program, "dequantize_per_channel")) == 2
    assert not [name for name, _ in graph_of(program).named_parameters() if name.endswith("weight")]


def test_an_output_that_an_integer_operator_makes_is_floating_point_again() -> None:
    net = Net(lambda net, x: (net.fc(x), x), fc=nn.Linear(4, 4))
    program = quantized(ask(net, noise(2, 4)))
    first, second = run(program, noise(2, 4))
    assert first.dtype == torch.float32
    assert torch.equal(second, noise(2, 4))


def test_the_program_in_the_request_stays_as_it_is_and_the_quantized_one_exports() -> None:
    net = Net(lambda net, x: net.conv(x).relu().mean((2, 3)), conv=nn.Conv2d(3, 4, 3))
    request = ask(net, noise(1, 3, 8, 8))
    before = request.program.fingerprint()
    program = quantized(request)
    assert request.program.fingerprint() == before
    assert program.is_quantized
    assert not request.program.is_quantized
    again = program.export().module()(noise(1, 3, 8, 8))[0]
    assert torch.equal(again, run(program, noise(1, 3, 8, 8))[0])


def test_a_scheme_that_changes_nothing_is_an_error_that_says_why() -> None:
    with pytest.raises(ConversionError) as raised:
        quantized(ask(Net(lambda net, x: x.cos().sin()), noise(2, 4)))
    assert "int8 changes nothing in net" in raised.value.what
    assert "no integer kernel for cos; the runtime has no integer kernel for sin" in raised.value.cause


def test_a_graph_for_any_batch_is_quantized_for_any_batch() -> None:
    from edgekit.program import capture

    net = Net(lambda net, x: net.fc(net.conv(x).reshape(x.shape[0], -1)), conv=nn.Conv2d(3, 4, 3), fc=nn.Linear(144, 5))
    request = ask(net, noise(1, 3, 8, 8))
    request.program = capture(net, {"x0": noise(1, 3, 8, 8)}, max_batch=8)
    program = quantized(request)
    for batch in (1, 5):
        x = noise(1, 3, 8, 8).repeat(batch, 1, 1, 1)
        (found,) = run(program, x)
        assert metrics.sqnr_db(net(x).detach().numpy(), found.numpy()) > 30
    program.export()
