"""What gives back its input goes, and only that."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import Net, noise, rewrite
from torch import Tensor
from torch.nn import functional as F

_NOOPS = {
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
    "feature dropout": lambda x: F.dropout2d(x, 0.5, training=False),
    "clone": lambda x: x.clone(),
    "contiguous": lambda x: x.contiguous(),
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "detach": lambda x: x.detach(),
    "cast": lambda x: x.to(torch.float64),
    "device": lambda x: x.to("cpu", copy=True),
    "reshape": lambda x: x.reshape(x.shape),
    "flatten": lambda x: x.flatten(3),
    "squeeze": lambda x: x.squeeze(1),
    "expand": lambda x: x.expand(x.shape),
    "expand as": lambda x: x.expand_as(x),
    "slice": lambda x: x[:, 0:6],
    "permute": lambda x: x.permute(0, 1, 2, 3),
    "pad": lambda x: F.pad(x, (0, 0, 0, 0)),
    "pool": lambda x: F.adaptive_avg_pool2d(x, (6, 6)),
}


@pytest.mark.parametrize("noop", _NOOPS.values(), ids=_NOOPS)
def test_a_noop_goes(noop: object) -> None:
    done = rewrite("remove_noops", Net(lambda net, x: noop(x.neg()).relu()), noise(1, 4, 6, 6))
    assert done.calls == ["neg", "relu"]
    assert done.changed == len(done.calls_before) - 2


def test_a_constant_made_in_forward_is_read_as_it_is() -> None:
    done = rewrite("remove_noops", Net(lambda net, x: x[:, torch.tensor([0, 2, 1])]), noise(2, 3))
    assert done.calls_before == ["lift_fresh_copy", "detach_", "index"]
    assert done.calls == ["index"]


def test_a_check_of_a_static_dtype_does_not_count_as_a_reader() -> None:
    done = rewrite("remove_noops", Net(lambda net, x: x.neg().to(torch.float64).relu()), noise(2, 3))
    assert "_assert_tensor_metadata" in done.calls_before
    assert done.calls == ["neg", "relu"]


_OTHERS = {
    "shifting pad": lambda x: F.pad(x, (1, -1)),
    "narrowing cast": lambda x: x.to(torch.float32),
    "slice": lambda x: x[:, 1:],
    "stretching cast": lambda x: x.to(torch.float32).to(torch.float64),
    "flip": lambda x: x.flip(1),
    "transpose of a square": lambda x: x.permute(0, 1, 3, 2),
    "pool": lambda x: F.adaptive_avg_pool2d(x, (3, 6)),
    "expand": lambda x: x.expand(2, 4, 6, 6),
    "dropout left in training": lambda x: F.dropout(x, 1.0, training=True),
}


@pytest.mark.parametrize("other", _OTHERS.values(), ids=_OTHERS)
def test_what_changes_its_input_stays(other: object) -> None:
    done = rewrite("remove_noops", Net(lambda net, x: other(x.neg())), noise(1, 4, 6, 6))
    assert done.calls == [call for call in done.calls_before if call != "_assert_tensor_metadata"]


def test_a_reshape_of_a_reshape_keeps_the_last() -> None:
    done = rewrite("remove_noops", Net(lambda net, x: x.view(2, -1).reshape(4, 3, 2).view(24)), noise(2, 3, 4))
    assert done.calls == ["reshape"]


def test_a_reshape_there_and_back_goes() -> None:
    done = rewrite("remove_noops", Net(lambda net, x: x.view(24).view(2, 3, 4).relu()), noise(2, 3, 4))
    assert done.calls == ["relu"]


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: x.transpose(1, 2).contiguous().view(2, -1),
        lambda net, x: x.transpose(1, 2).reshape(2, -1).view(2, 3, 4),
        lambda net, x: x.transpose(1, 2).clone(memory_format=torch.contiguous_format).view(-1),
    ],
    ids=["contiguous", "copying reshape", "clone"],
)
def test_a_view_survives_the_copy_before_it(forward: object) -> None:
    assert rewrite("remove_noops", Net(forward), noise(2, 3, 4)).changed == 1


def test_a_copy_made_for_its_layout_stays() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return torch.view_as_real(torch.view_as_complex(x.transpose(1, 2).contiguous()) ** 2)

    assert rewrite("remove_noops", Net(forward), noise(3, 2, 4)).changed == 0


def test_an_input_handed_back_stays_an_output() -> None:
    done = rewrite("remove_noops", Net(lambda net, x, y: (x.clone(), x.detach(), y + 1)), noise(2, 3), noise(2, 3, seed=2))
    assert done.changed == 2
    assert done.calls == ["add"]


def test_whole_numbers_pass_through() -> None:
    tokens = torch.arange(6).reshape(2, 3)
    done = rewrite("remove_noops", Net(lambda net, x: x.to(torch.int64).view(3, 2).clone() + 1), tokens)
    assert done.calls == ["reshape", "add"]


@given(st.lists(st.sampled_from([*_NOOPS, *_OTHERS, "tanh", "rows", "turn"]), max_size=6))
def test_random_chains_keep_their_outputs(names: list[str]) -> None:
    more = {"tanh": torch.tanh, "rows": lambda x: x.reshape(-1, x.shape[-1]), "turn": lambda x: x.transpose(0, -1)}

    def forward(net: Net, x: Tensor) -> Tensor:
        for name in names:
            try:
                x = (_NOOPS | _OTHERS | more)[name](x)
            except (RuntimeError, IndexError, ValueError):
                continue  # this one does not take what the last one made
        return x * 1

    rewrite("remove_noops", Net(forward), noise(1, 4, 6, 6))
