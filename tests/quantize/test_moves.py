"""Moves, as more and more operators go back to floating point."""

from __future__ import annotations

import numpy as np
import torch
from quantizing import Net, ask, noise
from torch import nn

from edgekit import quantize
from edgekit.quantize import costs
from edgekit.quantize.assignment import Search


def test_what_is_kept_is_what_would_be_found_anew() -> None:
    """Tensors are shared by two and three operators, moved, and by whole modules."""
    torch.manual_seed(0)
    branches = Net(
        lambda net, x: net.last(torch.cat([net.left(x) + net.right(x), net.block(x)], 1).flatten(2).mean(2)),
        left=nn.Conv2d(4, 8, 3, padding=1),
        right=nn.Conv2d(4, 8, 1),
        block=nn.Sequential(nn.Conv2d(4, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1)),
        last=nn.Linear(16, 8),
    )
    request = ask(branches, noise(1, 4, 8, 8))
    search = Search(request, quantize.make_plan(request), costs.in_seconds)
    moves = search.moves(frozenset())
    needed = search.noise_of(frozenset())
    for place in (3, 0, 5, 1):
        before = moves.floats
        moves.make(place)
        anew = search.moves(moves.floats)
        assert moves.floats > before
        np.testing.assert_array_equal(moves.cost, anew.cost)
        np.testing.assert_array_equal(moves.worth(needed), anew.worth(needed))
    assert np.isinf(moves.cost[3])
    assert not moves.worth(needed)[3]
    assert moves.floats < search.names
