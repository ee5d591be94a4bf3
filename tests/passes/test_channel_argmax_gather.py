"""Gathering at an argmax becomes a masked sum where the profile wants none of either, and takes the first maximum."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, Rewritten, noise, rewrite
from torch import Tensor

from edgekit import passes
from edgekit.program import capture

WANTED = NO_LIMITS.model_copy(update={"leaves_accelerator": ("aten.gather",)})


def _ties(*shape: int, seed: int = 5) -> Tensor:
    """Scores of which many are equal, many of them zero."""
    return (noise(*shape, seed=seed) * 1.5).round().relu()


def _rewritten(forward: Callable[..., object], *inputs: Tensor) -> Rewritten:
    return rewrite("channel_argmax_gather", Net(lambda net, *x: forward(*x)), *inputs, profile=WANTED)


def _assert_masked(done: Rewritten, count: int = 1) -> None:
    assert done.changed == count
    assert not {"gather", "argmax"} & set(done.calls)


def test_the_strongest_channel_gathers_from_as_many_channels() -> None:
    done = _rewritten(lambda x, t: t.gather(1, x.argmax(1, keepdim=True)), _ties(2, 5, 3, 4), noise(2, 5, 3, 4))
    _assert_masked(done)


def test_several_gathers_share_one_mask() -> None:
    def forward(x: Tensor, t: Tensor) -> object:
        strongest = x.argmax(1, keepdim=True)
        return t.gather(1, strongest) * (t * 2).gather(1, strongest), x.gather(1, strongest)

    # Of twelve channels the first six are gathered from.
    done = _rewritten(forward, _ties(2, 6, 3, 4), noise(2, 12, 3, 4))
    _assert_masked(done, 3)
    assert done.calls.count("relu") == 1


@pytest.mark.parametrize("scores", [torch.zeros(1, 4, 2, 2), torch.full((1, 4, 2, 2), -3.0)], ids=["zeros", "equal"])
def test_the_first_of_equal_maxima_is_taken(scores: Tensor) -> None:
    module = Net(lambda net, x, t: t.gather(1, x.argmax(1, keepdim=True)))
    program = capture(module, {"x": scores, "t": noise(1, 4, 2, 2).float()})
    passes.run(program, WANTED, ["channel_argmax_gather"])
    inputs = program.functions["forward"].example_inputs
    assert program.functions["forward"].run(inputs)["output"].equal(inputs["t"][:, :1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_smallest_of_differences_decides(dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    base = [0.0, info.smallest_normal * info.eps, 1.0, 1.0 + info.eps, info.max, -info.max, -float("inf")]
    pairs = torch.tensor([[a, b] for a in base for b in base if max(a, b) > -float("inf")], dtype=dtype)
    assert pairs[:, 1].unique().numel() == len(base)  # none was rounded to another
    values = torch.tensor([2.0, 3.0], dtype=dtype).expand_as(pairs).contiguous()
    module = Net(lambda net, x, t: t.gather(1, x.argmax(1, keepdim=True)))
    program = capture(module, {"x": pairs, "t": values})
    expected = program.functions["forward"].run({"x": pairs, "t": values})["output"]
    (changes,) = passes.run(program, WANTED, ["channel_argmax_gather"])
    assert changes.changed == 1
    assert program.functions["forward"].run({"x": pairs, "t": values})["output"].equal(expected)


def test_maxima_along_an_axis_are_found_by_max_too() -> None:
    def forward(x: Tensor, t: Tensor) -> object:
        most, place = x.max(2, keepdim=True)
        return most, t.gather(2, place)

    assert _rewritten(forward, _ties(2, 3, 7), noise(2, 3, 7)).changed == 1


@pytest.mark.parametrize(
    ("forward", "scores", "gathered"),
    [
        (lambda x, t: t.gather(1, x.argmax(1).unsqueeze(1)), (2, 5, 3), (2, 5, 3)),
        (lambda x, t: t.gather(1, x.argmax(2).unsqueeze(1)), (2, 3, 5), (2, 6, 3)),
        (lambda x, t: t.gather(0, x.argmax(2)[None]), (2, 3, 5), (5, 2, 3)),
        (lambda x, t: t.gather(1, x.argmax(1)[:, None, None].expand(-1, -1, 4)), (2, 5), (2, 5, 4)),
        (lambda x, t: t.gather(1, x.argmax(1).view(2, 1, 1).repeat(1, 1, 4)), (2, 5), (2, 7, 4)),
        (lambda x, t: t.gather(1, x.argmax(1, keepdim=True).expand(-1, 3, -1)), (2, 5, 4), (2, 5, 4)),
        (lambda x, t: t.gather(-1, x.argmax(-1, keepdim=True)), (2, 1), (4, 3)),
        (lambda x, t: t.gather(1, x.argmax(1, keepdim=True).contiguous()), (1, 8, 1), (3, 9, 2)),
        (lambda x, t: t.float().gather(1, x.argmax(1, keepdim=True)), (2, 5), (2, 5)),
        (lambda x, t: t.mT.gather(1, x.mT.argmax(1, keepdim=True)), (2, 3, 5), (2, 3, 6)),
    ],
)
def test_indices_of_other_shapes(forward: Callable[..., Tensor], scores: tuple[int, ...], gathered: tuple[int, ...]) -> None:
    _assert_masked(_rewritten(forward, _ties(*scores), noise(*gathered)))


def test_an_argmax_with_other_readers_stays_for_them() -> None:
    def forward(x: Tensor, t: Tensor) -> object:
        place = x.argmax(1, keepdim=True)
        return t.gather(1, place), place

    done = _rewritten(forward, _ties(2, 5), noise(2, 5))
    assert done.changed == 1
    assert "argmax" in done.calls
    assert "gather" not in done.calls


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda x, t: t.reshape(1, 25).gather(1, x.argmax().view(1, 1)), "argmax runs over all axes at once"),
        (lambda x, t: t.gather(1, x.long().argmax(1, keepdim=True)), "it gathers or compares whole numbers"),
        (lambda x, t: t.long().gather(1, x.argmax(1, keepdim=True)), "it gathers or compares whole numbers"),
        (lambda x, t: t[:, :4].gather(1, x.argmax(1, keepdim=True) % 4), ""),
        (lambda x, t: t[:, :4].gather(1, x[:, :5].relu().argmax(1, keepdim=True) * 0), ""),
        (lambda x, t: t.gather(1, x.argmax(0, keepdim=True)), "its index is rearranged on the way from argmax"),
        (lambda x, t: t.gather(0, x[:, :2].argmax(1, keepdim=True)), "its index is rearranged on the way from argmax"),
        (lambda x, t: t.gather(1, x.argmax(1, keepdim=True).expand(-1, 3).reshape(3, 5)), "its index is rearranged"),
    ],
)
def test_what_it_cannot_do_stays(forward: Callable[..., Tensor], reason: str) -> None:
    done = _rewritten(forward, _ties(5, 5), noise(5, 5))
    if reason:
        done.assert_refused(reason)
    else:  # the index is no argmax
        assert (done.changed, done.graph) == (0, done.graph_before)


def test_an_index_that_may_lie_outside_stays() -> None:
    scores = torch.eye(3, 5, dtype=torch.float64)
    module = Net(lambda net, x, t: t.gather(1, x.argmax(1, keepdim=True)))
    program = capture(module, {"x": scores, "t": noise(3, 4)})
    (changes,) = passes.run(program, WANTED, ["channel_argmax_gather"])
    assert changes.changed == 0
    assert "argmax counts to 5, beyond the 4 entries it gathers from" in changes.refusals[0].reason


def test_more_channels_than_half_precision_can_number_stay() -> None:
    module = Net(lambda net, x, t: t.gather(1, x.argmax(1, keepdim=True)))
    program = capture(module, {"x": noise(1, 2049).float(), "t": noise(1, 2049).float()})
    program.precision = "fp16"
    (changes,) = passes.run(program, WANTED, ["channel_argmax_gather"])
    assert "2049 channels cannot be numbered in torch.float16" in changes.refusals[0].reason


def test_runtimes_that_take_both_keep_them() -> None:
    net = Net(lambda net, x, t: t.gather(1, x.argmax(1, keepdim=True)))
    done = rewrite("channel_argmax_gather", net, _ties(2, 5), noise(2, 5))
    done.assert_refused("the runtime keeps argmax and gather where it is fast")


@st.composite
def _cases(draw: st.DrawFn) -> tuple[list[int], int, int, int]:
    """The scores' shape, the axis of the maxima, how many entries more the gathered tensor has, and a seed."""
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    axis = draw(st.integers(0, len(shape) - 1))
    shape[axis] = draw(st.integers(1, 17))
    return shape, axis, draw(st.integers(0, 4)), draw(st.integers(0, 1000))


@given(_cases())
def test_random_scores_keep_their_outputs(case: tuple[list[int], int, int, int]) -> None:
    shape, axis, more, seed = case
    gathered = noise(*(size + more for size in shape), seed=seed)
    done = _rewritten(lambda x, t: t.gather(axis, x.argmax(axis, keepdim=True)) * 2, _ties(*shape, seed=seed), gathered)
    _assert_masked(done)
