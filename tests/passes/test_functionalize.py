"""In-place operators become pure; where a later reader has another name for the memory, by way of torch."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, Rewritten, call_names, noise, randomise, rewrite
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit import passes
from edgekit.passes import _graph
from edgekit.program import capture


def _over_linear(forward: object) -> nn.Module:
    """forward(x) of a linear's output: a value that nobody outside can see written to."""
    return randomise(Net(lambda net, x: net.body(net.linear(x)), linear=nn.Linear(4, 4), body=forward))


def test_in_place_activations_become_pure() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 4), nn.Hardswish(inplace=True))
    done = rewrite("functionalize", randomise(module), noise(2, 4))
    assert done.changed == 2
    assert done.calls == ["linear", "relu", "linear", "hardswish"]


def _chain(x: Tensor) -> Tensor:
    early = x * 2
    x.relu_()
    x.add_(early)
    return x.mul_(3) + x


def _flattened_after(x: Tensor) -> Tensor:
    return x.relu_().view(-1)


def _view_read_before(x: Tensor) -> Tensor:
    total = x.view(-1).sum()
    return x.relu_() + total


def _view_written_alone(x: Tensor) -> Tensor:
    return x.view(-1).relu_()


@pytest.mark.parametrize("forward", [_chain, _flattened_after, _view_read_before, _view_written_alone])
def test_readers_before_see_the_old_value_and_readers_after_the_new(forward: object) -> None:
    done = rewrite("functionalize", _over_linear(forward), noise(2, 4))
    assert done.changed >= 1
    assert not [call for call in done.calls if call.endswith("_")]


def test_dropout_at_inference_is_its_very_input() -> None:
    def forward(x: Tensor) -> Tensor:
        F.dropout(x, 0.5, training=False).relu_()
        return x

    done = rewrite("functionalize", _over_linear(forward), noise(2, 4))
    assert done.calls == ["linear", "relu"]


def test_a_constant_made_in_forward_is_no_write() -> None:
    done = rewrite("fold_scales", Net(lambda net, x: x[:, torch.tensor([0, 2, 1, 3])] * 2), noise(2, 4))
    assert "detach_" in done.calls
    assert "writes in place" not in done.reasons[0]


def _view_of_the_written(x: Tensor) -> Tensor:
    flat = x.view(-1)
    x.relu_()
    return flat


def _base_of_the_written(x: Tensor) -> Tensor:
    x.view(-1).relu_()
    return x


def _part_of_the_written(x: Tensor) -> Tensor:
    first, second = x.split(1)
    x.relu_()
    return first + second


def _view_without_a_schema(x: Tensor) -> Tensor:
    turned = torch.einsum("ij->ji", x)
    x.relu_()
    return turned


def _view_of_dropout(x: Tensor) -> Tensor:
    flat = F.dropout(x, 0.5, training=False).view(-1)
    x.relu_()
    return flat


def _assigned_column(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 0] = 1.0
    return x + y


@pytest.mark.parametrize(
    "forward",
    [_view_of_the_written, _base_of_the_written, _part_of_the_written, _assigned_column],
)
def test_memory_that_is_read_under_another_name_is_written_by_torch(forward: object) -> None:
    _assert_pure(rewrite("functionalize", _over_linear(forward), noise(2, 4)))


def _view_between_two_writes(x: Tensor) -> Tensor:
    flat = x.relu_().view(-1)
    x.add_(1)
    return flat


def test_memory_that_torch_does_not_see_shared_is_refused() -> None:
    done = rewrite("functionalize", _over_linear(_view_without_a_schema), noise(2, 4))
    done.assert_refused("it writes to memory that a view shares")


@pytest.mark.parametrize("forward", [_view_of_dropout, _view_between_two_writes])
def test_so_is_what_only_some_writes_share(forward: object) -> None:
    _assert_pure(rewrite("functionalize", _over_linear(forward), noise(2, 4)))


@pytest.mark.parametrize(
    "forward", [lambda net, x: x.relu_() + 1, lambda net, x: x.view(-1).relu_() * 2], ids=["an input", "a view of one"]
)
def test_what_is_written_to_an_input_stays_inside(forward: object) -> None:
    done = rewrite("functionalize", Net(forward), noise(2, 4))
    _assert_pure(done)
    assert "copy_" not in done.calls


def _counts(net: Net, x: Tensor) -> Tensor:
    net.seen += 1
    net.cache[:, 1:] = net.norm(x).relu_()
    return net.linear(net.cache) * net.seen


def test_a_buffer_that_is_written_to_is_state_and_no_constant() -> None:
    """A counter and a cache: each run starts from what the last one left, and the other passes see values."""
    parts = {"linear": nn.Linear(4, 4), "norm": nn.BatchNorm1d(1), "seen": torch.zeros(()), "cache": torch.zeros(2, 2, 4)}
    net = randomise(Net(_counts, **parts))
    program = capture(copy.deepcopy(net), {"x": noise(2, 1, 4)})
    changes = passes.run(program, NO_LIMITS, ["functionalize", "fold_constants", "remove_noops"], check=True)
    assert [refusal.reason for change in changes for refusal in change.refusals] == []
    assert _graph.impurity(program.functions["forward"].graph_module) == ""
    calls = call_names(program)
    assert calls[-2:] == ["copy_", "copy_"]
    assert "batch_norm" in calls
    exported = program.export().module()
    for step in range(3):
        with torch.no_grad():
            torch.testing.assert_close(exported(noise(2, 1, 4, seed=step))[0], net(noise(2, 1, 4, seed=step)))


def _assert_pure(done: Rewritten) -> None:
    assert done.changed > 0
    assert done.reasons == []
    assert _graph.impurity(done.program.functions["forward"].graph_module) == ""


def test_a_write_that_keeps_a_narrower_dtype_stays_narrow() -> None:
    net = Net(lambda net, x: net.linear(x).add_(net.wide), linear=nn.Linear(4, 4))
    net.register_buffer("wide", noise(2, 4))
    program = capture(net, {"x": noise(2, 4).float()})
    passes.run(program, NO_LIMITS, ["functionalize"], check=True)
    assert _graph.impurity(program.functions["forward"].graph_module) == ""


def test_other_passes_leave_a_graph_that_still_writes_alone() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        first = net.a(x)
        x.clone()[:, 0] = 1.0
        x.add_(1)
        return first + net.b(x)

    net = randomise(Net(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 4)))
    for name in ("remove_noops", "average_heads"):
        rewrite(name, net, noise(2, 4)).assert_refused("fill_ writes in place")


@given(st.lists(st.sampled_from(["relu_", "add_", "mul_", "view", "part", "dropout", "copy", "sum"]), max_size=6))
def test_random_writes_keep_their_outputs(steps: list[str]) -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        seen = [net.linear(x)]
        for index, step in enumerate(steps):
            value = seen[(index * 7) % len(seen)]  # now an old one, now a new one
            made = {
                "relu_": lambda v: v.relu_(),
                "add_": lambda v: v.add_(0.5),
                "mul_": lambda v: v.mul_(seen[-1].sum()),
                "view": lambda v: v.reshape(-1, 2),
                "part": lambda v: v[:1],
                "dropout": lambda v: F.dropout(v, 0.5, training=False),
                "copy": lambda v: v.clone(),
                "sum": lambda v: v.sum(-1),
            }[step](value)
            seen.append(made)
        return sum((tensor.sum() for tensor in seen), start=torch.zeros(()))

    rewrite("functionalize", randomise(Net(forward, linear=nn.Linear(4, 4))), noise(2, 4))
