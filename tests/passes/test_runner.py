"""The runner enforces what a pass promises, and names the pass that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, assert_same, call_names, noise, randomise
from torch import Tensor, nn
from torch.fx import GraphModule

from edgekit import passes
from edgekit.errors import ConversionError, UnknownName
from edgekit.passes import Changes, Refusal
from edgekit.passes._graph import add_call, aten, replace
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program, capture

Pretend = Callable[[Callable[[GraphModule], None]], None]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Makes one rewrite of a graph be the pass named "pretended"."""

    def install(rewrite: Callable[[GraphModule], None]) -> None:
        def apply(program: Program, profile: RuntimeProfile) -> Changes:
            for graph_module in program:
                rewrite(graph_module)
            return Changes(1)

        monkeypatch.setattr(passes, "find", lambda name: SimpleNamespace(apply=apply))

    return install


def _program() -> Program:
    return capture(Net(lambda net, x: (x.relu(), x > 0)).double(), {"x": noise(2, 3)})


def test_an_unknown_pass_is_refused_with_near_names() -> None:
    with pytest.raises(UnknownName) as raised:
        passes.run(_program(), NO_LIMITS, ["fold_batchnorms"])
    assert "did you mean fold_batchnorm" in raised.value.next_step


def test_no_change_is_still_reported() -> None:
    done = passes.run(_program(), NO_LIMITS)
    assert [changes.name for changes in done] == list(passes.ORDER)
    assert all(changes.changed == 0 for changes in done)


def test_refusals_are_carried() -> None:
    module = randomise(nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3), nn.ReLU()))
    (changes,) = passes.run(capture(module, {"x": noise(2, 3)}), NO_LIMITS, ["fold_batchnorm"])
    reason = "no convolution or linear feeds it, and relu_1 (2) after it is no layer to fold into"
    assert changes.refusals == [Refusal("batch_norm (1)", reason)]


def test_an_empty_list_runs_no_pass() -> None:
    assert passes.run(_program(), NO_LIMITS, []) == []


def test_a_program_exported_before_is_exported_anew() -> None:
    module = randomise(nn.Sequential(nn.Conv1d(2, 2, 1), nn.BatchNorm1d(2)))
    program = capture(module, {"x": noise(1, 2, 3)})
    program.export()
    passes.run(program, NO_LIMITS)
    assert "batch_norm" not in program.export().graph_module.code


def _dangling(graph_module: GraphModule) -> None:
    (relu,) = graph_module.graph.find_nodes(op="call_function", target=aten.relu.default)
    with graph_module.graph.inserting_after(relu):
        late = graph_module.graph.call_function(aten.neg.default, (relu,))
    late.meta["val"] = relu.meta["val"]
    relu.args = (late,)


def _shapeless(graph_module: GraphModule) -> None:
    (relu,) = graph_module.graph.find_nodes(op="call_function", target=aten.relu.default)
    with graph_module.graph.inserting_before(relu):
        replace(relu, graph_module.graph.call_function(aten.relu.default, relu.args))


def _weight_without_data(graph_module: GraphModule) -> None:
    (relu,) = graph_module.graph.find_nodes(op="call_function", target=aten.relu.default)
    graph_module.register_buffer("empty", None)
    with graph_module.graph.inserting_before(relu):
        relu.args = (graph_module.graph.get_attr("empty"),)


@pytest.mark.parametrize("rewrite", [_dangling, _shapeless, _weight_without_data])
def test_a_pass_that_leaves_an_unsound_graph_is_named(pretend: Pretend, rewrite: Callable[[GraphModule], None]) -> None:
    pretend(rewrite)
    with pytest.raises(ConversionError) as raised:
        passes.run(_program(), NO_LIMITS, ["pretended"])
    assert raised.value.what == "pass pretended left an unsound graph"
    assert "leave it out with --passes" in raised.value.next_step


def test_a_pass_that_fails_is_named_with_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beside the shipped passes, with a fault in a function below its `apply`."""
    module = ModuleType("faulty")
    monkeypatch.setattr(passes, "find", lambda name: module)
    exec(compile(_FAULTY, "faulty.py", "exec"), vars(module))
    program = capture(nn.Sequential(nn.Linear(3, 3), nn.ReLU()).double(), {"x": noise(2, 3)})
    with pytest.raises(ConversionError) as raised:
        passes.run(program, NO_LIMITS, ["faulty"])
    assert raised.value.what == "pass faulty failed at relu (1)"
    assert raised.value.cause == "KeyError: 'no such key' (faulty.py, line 9)"
    assert "leave it out with --passes" in raised.value.next_step
    assert isinstance(raised.value.__cause__, KeyError)
    assert raised.value.exit_code == 1


_FAULTY = """from edgekit.passes._graph import aten, calls

def apply(program, profile):
    for graph_module in program:
        for node in calls(graph_module, aten.relu.default):
            _rewrite(graph_module, node)

def _rewrite(graph_module, node):
    raise KeyError("no such key")
"""


def _scaled(graph_module: GraphModule) -> None:
    (relu,) = graph_module.graph.find_nodes(op="call_function", target=aten.relu.default)
    replace(relu, add_call(relu, aten.mul.Tensor, add_call(relu, aten.relu.default, *relu.args), 1 + 1e-8))


def _narrowed(graph_module: GraphModule) -> None:
    (relu,) = graph_module.graph.find_nodes(op="call_function", target=aten.relu.default)
    relu.args = (add_call(relu, aten.to.dtype, relu.args[0], torch.float32),)


def _reshaped(graph_module: GraphModule) -> None:
    (compared,) = graph_module.graph.find_nodes(op="call_function", target=aten.gt.Scalar)
    compared.args = (add_call(compared, aten.flatten.using_ints, compared.args[0]), 0)


@pytest.mark.parametrize(
    ("rewrite", "cause"), [(_scaled, "SQNR 160"), (_narrowed, "it is torch.float32"), (_reshaped, "it is torch.bool [6]")]
)
def test_in_check_mode_a_pass_that_changes_the_outputs_is_named(
    pretend: Pretend, rewrite: Callable[[GraphModule], None], cause: str
) -> None:
    pretend(rewrite)
    passes.run(_program(), NO_LIMITS, ["pretended"])
    with pytest.raises(ConversionError) as raised:
        passes.run(_program(), NO_LIMITS, ["pretended"], check=True)
    assert raised.value.what == "pass pretended changed what the model computes"
    assert cause in raised.value.cause


@pytest.mark.parametrize(
    "forward",
    [lambda net, x: x.log(), lambda net, x: x.add_(1) * 2, lambda net, x: x.to(torch.bfloat16)],
    ids=["outputs with NaN", "an input written to", "bfloat16 outputs"],
)
def test_check_mode_accepts_what_does_not_move(forward: object) -> None:
    passes.run(capture(Net(forward), {"x": noise(2, 3)}), NO_LIMITS, check=True)


def test_a_condition_inside_the_graph_is_no_fault() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,))

    passes.run(capture(Net(forward), {"x": noise(2, 3)}), NO_LIMITS, check=True)


def test_the_default_order_reduces_a_network_to_its_layers() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.act(net.drop(net.wide(x) + net.point(x)) * net.gamma).mean((2, 3))
        return (net.head(x) + net.head_dist(x)) / 2

    net = Net(
        forward,
        wide=nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)),
        point=nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)),
        drop=nn.Dropout(),
        act=nn.ReLU(inplace=True),
        gamma=noise(4, 1, 1),
        head=nn.Linear(4, 5),
        head_dist=nn.Linear(4, 5),
    )
    program = capture(randomise(net), {"x": noise(1, 3, 6, 6)})
    passes.run(program, NO_LIMITS, check=True)
    assert_same(program, net, noise(1, 3, 6, 6))
    assert call_names(program) == ["conv2d", "relu", "mean", "reshape", "linear"]


@given(st.data())
def test_random_networks_keep_their_outputs(data: st.DataObject) -> None:
    """Blocks drawn at random, each reading any value made so far, through all passes in any order."""
    choose = lambda options: data.draw(st.sampled_from(options))  # noqa: E731
    blocks = [choose(["conv", "norm", "merge", "heads", "scale", "write", "view", "sum"]) for _ in range(choose(range(1, 6)))]
    wiring = [choose([0, -1, -1, -1, -2]) for _ in blocks]
    parts: dict[str, nn.Module] = {}
    for index in range(len(blocks)):
        convs = [nn.Conv1d(4, 4, k, padding=k // 2, groups=choose([1, 2]), bias=choose([True, False])) for k in (1, 3)]
        parts |= {f"norm{index}": nn.BatchNorm1d(4), f"a{index}": convs[0], f"b{index}": convs[1]}
        parts |= {f"c{index}": nn.Linear(6, 6), f"d{index}": nn.Linear(6, 6, bias=False)}

    def forward(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        values = [x + 0]
        for index, (block, source) in enumerate(zip(blocks, wiring, strict=True)):
            value = values[source] if -source <= len(values) else values[0]
            norm, a, b, c, d = (getattr(net, f"{name}{index}") for name in ("norm", "a", "b", "c", "d"))
            made = {
                "conv": lambda v, norm=norm, b=b: norm(b(v)),
                "norm": lambda v, norm=norm, a=a: a(norm(v)),
                "merge": lambda v, a=a, b=b: a(v) + b(v) + v,
                "heads": lambda v, c=c, d=d: (c(v) + d(v)) / 2,
                "scale": lambda v: v.transpose(1, 2).contiguous().view(v.shape) * 0.3,
                "write": lambda v: v.relu_(),
                "view": lambda v: v.view(-1).view(v.shape),
                "sum": lambda v: v + values[-1],
            }[block](value)
            values.append(made)
        return values[-1], values[len(values) // 2]

    net = randomise(Net(forward, **parts), choose(range(99)))
    program = capture(net, {"x": noise(2, 4, 6)})
    passes.run(program, NO_LIMITS, data.draw(st.permutations(passes.ORDER)) if choose([True, False]) else None, check=True)
    assert_same(program, net, noise(2, 4, 6, seed=3))
