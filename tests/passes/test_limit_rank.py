"""Tensors of more axes than a runtime takes are computed on fewer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import Net, Rewritten, noise, randomise, rewrite
from torch import Tensor, nn
from windows import WindowAttention

from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

FIVE = RuntimeProfile(max_rank=5, source="tests")
FOUR = RuntimeProfile(max_rank=4, source="tests")


def largest_rank(program: Program) -> int:
    """The most axes any tensor of a program has."""
    made = [node.meta.get("val") for graph_module in program for node in graph_module.graph.nodes]
    tensors = [tensor for found in made for tensor in (found if isinstance(found, (list, tuple)) else [found])]
    return max(tensor.dim() for tensor in tensors if isinstance(tensor, Tensor))


def limited(module: nn.Module, *inputs: Tensor, profile: RuntimeProfile = FIVE) -> Rewritten:
    """The pass run on a module that it is to rewrite whole."""
    done = rewrite("limit_rank", module, *inputs, profile=profile)
    assert done.reasons == []
    assert done.changed
    assert profile.max_rank is not None
    assert largest_rank(done.program) <= profile.max_rank
    return done


@pytest.mark.parametrize("batch", [1, 2])
def test_window_attention_keeps_one_transpose_at_each_end(batch: int) -> None:
    done = limited(randomise(WindowAttention()), noise(batch, 4, 6, 8))
    assert done.changed == 2
    assert done.calls.count("permute") == done.calls_before.count("permute")


def _blocks(x: Tensor) -> Tensor:
    """x.view(B, C, h, n, w, n) as einops writes it: b c (h n) (w m) -> b (h w) (n m c)."""
    return x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))


FORMS: dict[str, Callable[[Net, Tensor], Any]] = {
    "patches": lambda net, x: _blocks(x).permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2),
    "pixel shuffle": lambda net, x: x.view(2, 2, 2, 2, 4, 6).permute(0, 1, 4, 2, 5, 3).reshape(2, 2, 8, 12),
    "space to depth": lambda net, x: _blocks(x).permute(0, 3, 5, 1, 2, 4).reshape(2, 32, 2, 3),
    "elementwise between": lambda net, x: (_blocks(x).permute(0, 2, 4, 3, 5, 1).relu() * 2 + 1).flatten(1),
    "a mean over each block": lambda net, x: _blocks(x).mean((3, 5)),
    "what is kept of a block": lambda net, x: (_blocks(x) - _blocks(x).mean((3, 5), keepdim=True)).view_as(x),
    "largest of a block": lambda net, x: _blocks(x).amax((3, 5)),
    "all axes reduced": lambda net, x: (_blocks(x).sum(), _blocks(x).movedim(1, 4).argmax()),
    "one of a block": lambda net, x: _blocks(x)[:, :, :, 0, :, 1],
    "the largest's place": lambda net, x: _blocks(x).transpose(1, 4).argmax(1).flatten(2),
    "slices": lambda net, x: _blocks(x)[:, 1:5, :, :, 1:].flatten(2),
    "constants per axis": lambda net, x: (_blocks(x) * net.gate).reshape(2, -1),
    "constants that need expanding": lambda net, x: (_blocks(x).permute(5, 0, 2, 4, 3, 1) * net.checker).reshape(2, -1),
    "two orders": lambda net, x: (_blocks(x).transpose(2, 4).reshape(2, 8, 3, 2, 2, 2) + net.full).flatten(1),
    "softmax of blocks": lambda net, x: _blocks(x).transpose(3, 4).flatten(4).softmax(-1).flatten(2),
    "softmax in the middle": lambda net, x: _blocks(x).softmax(2).flatten(1),
    "parts": lambda net, x: [part.flatten(2) for part in _blocks(x).chunk(2, 1)],
    "parts without their axis": lambda net, x: [part.relu().flatten(1) for part in _blocks(x).unbind(3)],
    "joined": lambda net, x: torch.cat([_blocks(x), _blocks(x).relu()], 1).flatten(2),
    "stacked": lambda net, x: torch.stack([_blocks(x).sin(), _blocks(x)], 3).permute(0, 3, 1, 2, 5, 4, 6).flatten(2),
    "repeated": lambda net, x: _blocks(x).repeat(1, 2, 1, 3, 1, 1).flatten(2),
    "expanded": lambda net, x: x[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).reshape(2, 8, 8, 12),
    "rolled and flipped": lambda net, x: _blocks(x).roll((1, -1), (3, 1)).flip((2, -1)).flatten(1),
    "padded": lambda net, x: nn.functional.pad(_blocks(x), (1, 0, 0, 2, 0, 0, 1, 1), value=0.5).flatten(1),
    "cast": lambda net, x: (_blocks(x) > 0).to(torch.float64).flatten(1),
    "chosen": lambda net, x: torch.where(_blocks(x) > 0, _blocks(x), net.gate).flatten(1),
    "windows": lambda net, x: x.unfold(2, 3, 1).unfold(3, 2, 2).permute(0, 2, 3, 1, 4, 5).reshape(2, 6, 48),
    "a linear": lambda net, x: net.linear(_blocks(x).permute(0, 2, 4, 3, 5, 1)).flatten(3),
    "a norm": lambda net, x: net.norm(_blocks(x).permute(0, 2, 4, 1, 3, 5)).flatten(3),
    "a product with a matrix": lambda net, x: (_blocks(x).permute(0, 3, 5, 2, 4, 1) @ net.matrix).flatten(1),
    "a product of both": lambda net, x: (_blocks(x) @ _blocks(x).transpose(-1, -2)).flatten(1),
    "a product that broadcasts": lambda net, x: (_blocks(x).transpose(2, 5) @ _blocks(x)[:, :1, :1, :1, :2, :]).flatten(1),
    "einsum": lambda net, x: torch.einsum("bcinjm,bcindm->bcnijd", _blocks(x), _blocks(x).relu()).flatten(2),
    "attention": lambda net, x: nn.functional.scaled_dot_product_attention(
        _blocks(x), _blocks(x), _blocks(x).relu(), _blocks(x)[:1, :1, :, :, :, :1] @ _blocks(x)[:1, :1, :, :, :1, :1].mT
    ).flatten(1),
    "a variance": lambda net, x: (_blocks(x).var((3, 5)), _blocks(x).std((1, 2), keepdim=True, correction=0).flatten(1)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("profile", [FIVE, FOUR], ids=["rank 5", "rank 4"])
def test_a_form_is_computed_on_fewer_axes(form: str, profile: RuntimeProfile) -> None:
    constants = {
        "gate": noise(8, 1, 1, 3, 1),
        "checker": noise(2, 1, 2, 1, 2, 1),
        "full": noise(2, 8, 3, 2, 2, 2),
        "matrix": noise(8, 5),
    }
    net = randomise(Net(FORMS[form], linear=nn.Linear(8, 5), norm=nn.LayerNorm((8, 2, 2)), **constants))
    limited(net, noise(2, 8, 4, 6), profile=profile)


def test_a_single_image_needs_no_more_than_its_long_axes() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return x.view(1, 2, 3, 4, 5, 1).permute(5, 2, 0, 1, 4, 3).relu().flatten(2)

    done = limited(Net(forward), noise(1, 2, 12, 5))
    assert done.calls == ["relu", "reshape", "permute", "reshape"]


def test_axes_that_move_together_are_one() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return x.view(2, 2, 2, 3, 2, 2).permute(3, 4, 5, 0, 1, 2).reshape(12, 8)

    assert limited(Net(forward), noise(8, 12)).calls == ["permute"]


def test_a_permutation_beyond_the_rank_takes_two_steps() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return x.view(2, 2, 2, 2, 2, 2, 2, 2).permute(1, 3, 5, 7, 0, 2, 4, 6).reshape(16, 16)

    assert limited(Net(forward), noise(16, 16)).calls.count("permute") == 2


def test_nothing_is_changed_within_the_rank() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return x.view(2, 2, 2, 2, 2).transpose(1, 3).flatten(1)

    done = rewrite("limit_rank", Net(forward), noise(2, 16), profile=FIVE)
    assert (done.changed, done.reasons, done.graph) == (0, [], done.graph_before)


def test_nothing_is_changed_for_a_runtime_without_a_limit() -> None:
    done = rewrite("limit_rank", Net(FORMS["patches"]), noise(2, 8, 4, 6))
    assert (done.changed, done.reasons, done.graph) == (0, [], done.graph_before)


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda net, x: _blocks(x).cummax(3)[0].flatten(1), "no form of aten.cummax.default below rank 6 is known"),
        (lambda net, x: _blocks(x), "the program's output has rank 6, above 5"),
        (lambda net, x: _blocks(x).roll(3).flatten(1), "it rolls all axes as one"),
        (lambda net, x: torch.einsum("abcdef->abc", _blocks(x)), "an einsum other than of two tensors"),
        (
            lambda net, x: torch.einsum("abcdef,abcd->abcd", _blocks(x), x.view(2, 8, 2, 12)[..., :2]),
            "sums an axis of one operand",
        ),
        (lambda net, x: _blocks(x) @ x[0, 0, 0, :2], "it multiplies by a vector"),
    ],
)
def test_what_has_no_form_is_left_whole(forward: Callable[[Net, Tensor], Any], reason: str) -> None:
    done = rewrite("limit_rank", Net(forward), noise(2, 8, 4, 6), profile=FIVE)
    done.assert_refused(reason)
    assert all("what is connected to it keeps its rank" in told for told in done.reasons)


def test_padding_with_other_entries_is_refused() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return nn.functional.pad(x.unflatten(2, (2, 2)), (1, 1, 0, 0, 0, 0), mode="reflect").flatten(1)

    done = rewrite("limit_rank", Net(forward), noise(2, 8, 4, 6), profile=FOUR)
    done.assert_refused("it pads by other values than one")


def test_an_input_of_high_rank_is_refused() -> None:
    done = rewrite("limit_rank", Net(lambda net, x: x.flatten(1)), noise(2, 1, 2, 1, 2, 3), profile=FIVE)
    done.assert_refused("the program's input has rank 6, above 5")


def test_a_region_that_is_refused_does_not_keep_the_others() -> None:
    def forward(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        return _blocks(x).permute(0, 2, 4, 3, 5, 1).flatten(1), _blocks(x.relu()).cummax(3)[0].flatten(1)

    done = rewrite("limit_rank", Net(forward), noise(2, 8, 4, 6), profile=FIVE)
    assert done.changed == 1
    assert len(done.reasons) == 1


@given(st.data())
def test_random_computations_keep_their_outputs(data: st.DataObject) -> None:
    """Reshapes, permutations, arithmetic, reductions and joins drawn at random on up to eight axes."""
    draw = data.draw
    steps = draw(
        st.lists(st.sampled_from(["split", "merge", "permute", "gate", "add", "sum", "slice", "stack", "relu"]), max_size=9)
    )
    start = draw(st.sampled_from([(2, 3, 4), (1, 6, 8), (4, 4, 6)]))
    plan: list[Callable[[Tensor, Tensor], Tensor]] = []
    sizes = list(start)
    for step in ["split", "split", "split", *steps]:
        axis = draw(st.integers(0, len(sizes) - 1))
        if step == "split" and sizes[axis] % 2 == 0 and len(sizes) < 8:
            plan.append(lambda x, y, a=axis: x.unflatten(a, (2, -1)))
            sizes[axis : axis + 1] = [2, sizes[axis] // 2]
        elif step == "merge" and axis + 1 < len(sizes):
            plan.append(lambda x, y, a=axis: x.flatten(a, a + 1))
            sizes[axis : axis + 2] = [sizes[axis] * sizes[axis + 1]]
        elif step == "permute":
            order = draw(st.permutations(range(len(sizes))))
            plan.append(lambda x, y, o=order: x.permute(o))
            sizes = [sizes[place] for place in order]
        elif step == "gate":
            kept = [size if draw(st.booleans()) else 1 for size in sizes]
            plan.append(lambda x, y, k=kept: x * y[: math.prod(k)].reshape(k))
        elif step == "add":
            plan.append(lambda x, y: x + x.flatten().flip(0).reshape(x.shape).sin())
        elif step == "sum" and len(sizes) > 2:
            keep = draw(st.booleans())
            plan.append(lambda x, y, a=axis, k=keep: x.mean((a, 0), keepdim=k) if a else x.sum(0, keepdim=k))
            gone = {axis, 0}
            sizes = (
                [1 if i in gone else s for i, s in enumerate(sizes)]
                if keep
                else [s for i, s in enumerate(sizes) if i not in gone]
            )
        elif step == "slice" and sizes[axis] > 1:
            plan.append(lambda x, y, a=axis: x.narrow(a, 1, x.shape[a] - 1))
            sizes[axis] -= 1
        elif step == "stack" and len(sizes) < 8 and math.prod(sizes) < 500:
            plan.append(lambda x, y, a=axis: torch.stack([x, x.cos()], a))
            sizes.insert(axis, 2)
        elif step == "relu":
            plan.append(lambda x, y: x.relu())

    def forward(net: Net, x: Tensor) -> Tensor:
        for step in plan:
            x = step(x, net.numbers)
        return x.flatten()

    net = Net(forward, numbers=noise(1000))
    profile = draw(st.sampled_from([FIVE, FOUR]))
    done = rewrite("limit_rank", net, noise(*start), profile=profile)
    assert done.reasons == []
    assert profile.max_rank is not None
    assert largest_rank(done.program) <= profile.max_rank
