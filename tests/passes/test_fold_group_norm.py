"""GroupNorm's scale and shift fold into the layers behind it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rewriting import Net, Rewritten, noise, randomise, rewrite
from torch import Tensor, nn

from edgekit.passes._graph import aten, calls


def _rewritten(net: nn.Module) -> Rewritten:
    return rewrite("fold_group_norm", randomise(net), noise(2, 6, 5, 4))


def _norms(done: Rewritten) -> list[tuple[object, ...]]:
    return [node.args[2:4] for node in calls(done.program.functions["forward"].graph_module, aten.group_norm.default)]


def test_all_layers_that_read_it_take_it() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.norm(x)
        return net.left(x) * net.right(x)

    done = _rewritten(Net(forward, norm=nn.GroupNorm(2, 6), left=nn.Conv2d(6, 8, 1), right=nn.Conv2d(6, 8, 1, groups=2)))
    assert (done.changed, _norms(done)) == (1, [(None, None)])


def test_what_it_cannot_fold_into_is_refused() -> None:
    def into_more(net: Net, x: Tensor) -> Tensor:
        x = net.norm(x)
        return net.conv(x) + x.sum()

    norm = nn.GroupNorm(1, 6)
    _rewritten(Net(into_more, norm=norm, conv=nn.Conv2d(6, 6, 1))).assert_refused("is no layer to fold into")
    _rewritten(nn.Sequential(norm, nn.Conv2d(6, 4, 3, padding=1))).assert_refused("pads with zeros")
    _rewritten(norm).assert_refused("is no layer to fold into")


@pytest.mark.parametrize("norm", [nn.GroupNorm(3, 6, affine=False), nn.BatchNorm2d(6)])
def test_what_has_neither_is_no_such_place(norm: nn.Module) -> None:
    done = _rewritten(nn.Sequential(norm, nn.Conv2d(6, 4, 1)))
    assert (done.changed, done.reasons, done.graph) == (0, [], done.graph_before)


@given(st.data())
def test_random_layers_keep_their_outputs(data: st.DataObject) -> None:
    groups, kernel = data.draw(st.sampled_from([1, 2, 3])), data.draw(st.integers(1, 3))
    conv = nn.Conv2d(6, 6, kernel, data.draw(st.integers(1, 2)), groups=groups, bias=data.draw(st.booleans()))
    assert _rewritten(nn.Sequential(nn.GroupNorm(groups, 6), conv)).changed == 1
