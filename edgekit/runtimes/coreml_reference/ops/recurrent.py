"""Recurrent layers, step by step. Sequences are [length, batch, features].

In direction `reverse` a sequence comes out in the order of its computation, last input first; of a bidirectional layer both
come out in the input's order.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hard_sigmoid": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "sigmoid_hard": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "scaled_tanh": lambda x: 1.7159 * torch.tanh(2 / 3 * x),
}


def rnn(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    activation: str = "tanh",
) -> list[Tensor]:
    offset = 0 if bias is None else bias
    h, steps = initial_h, []
    for step in x if direction == "forward" else x.flip(0):
        h = _ACTIVATIONS[activation](step @ weight_ih.T + h @ weight_hh.T + offset)
        steps.append(h)
    return [_sequence(steps, output_sequence), h]


def gru(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: bool = False,
    input_bias: Tensor | None = None,
) -> list[Tensor]:
    """Gates in the order reset, output, update. The reset gate multiplies the state before its product with the weights,
    or after it and its bias with `reset_after`."""
    gate, act = _ACTIVATIONS[recurrent_activation], _ACTIVATIONS[activation]
    size = initial_h.shape[-1]
    w_r, w_o, w_z = torch.split(weight_hh, size)
    b_r, b_o, b_z = torch.split(torch.zeros(3 * size) if bias is None else bias, size)
    offset = 0 if input_bias is None else input_bias
    h, steps = initial_h, []
    for step in x if direction == "forward" else x.flip(0):
        x_r, x_o, x_z = torch.split(step @ weight_ih.T + offset, size, -1)
        reset, update = gate(x_r + h @ w_r.T + b_r), gate(x_z + h @ w_z.T + b_z)
        carried = reset * (h @ w_o.T + b_o) if reset_after else (reset * h) @ w_o.T + b_o
        h = (1 - update) * act(x_o + carried) + update * h
        steps.append(h)
    return [_sequence(steps, output_sequence), h]


def lstm(
    x: Tensor,
    initial_h: Tensor,
    initial_c: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    peephole: Tensor | None = None,
    weight_ih_back: Tensor | None = None,
    weight_hh_back: Tensor | None = None,
    bias_back: Tensor | None = None,
    peephole_back: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: float | None = None,
) -> list[Tensor]:
    """Gates in the order input, forget, output, cell; the two directions' states and results side by side."""
    acts = tuple(_ACTIVATIONS[name] for name in (recurrent_activation, cell_activation, activation))

    def run(h: Tensor, c: Tensor, weights: tuple[Tensor | None, ...], way: str) -> list[Tensor]:
        return _lstm(x, h, c, weights, acts, way, output_sequence, clip)

    forward = (weight_ih, weight_hh, bias, peephole)
    if direction != "bidirectional":
        return run(initial_h, initial_c, forward, direction)
    back = (weight_ih_back, weight_hh_back, bias_back, peephole_back)
    (h_f, h_b), (c_f, c_b) = initial_h.chunk(2, -1), initial_c.chunk(2, -1)
    ahead, (backward, *last) = run(h_f, c_f, forward, "forward"), run(h_b, c_b, back, "reverse")
    return [torch.cat(pair, -1) for pair in zip(ahead, [backward.flip(0), *last], strict=True)]


def _lstm(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    weights: tuple[Tensor | None, ...],
    acts: tuple[Callable[[Tensor], Tensor], ...],
    direction: str,
    output_sequence: bool,
    clip: float | None,
) -> list[Tensor]:
    weight_ih, weight_hh, bias, peephole = weights
    assert weight_ih is not None
    assert weight_hh is not None
    gate, cell, act = acts
    size = h.shape[-1]
    p_i, p_f, p_o = torch.split(torch.zeros(3 * size) if peephole is None else peephole, size)
    offset = 0 if bias is None else bias
    steps = []
    for step in x if direction == "forward" else x.flip(0):
        i, f, o, z = torch.split(step @ weight_ih.T + h @ weight_hh.T + offset, size, -1)
        c = gate(f + p_f * c) * c + gate(i + p_i * c) * cell(z)
        c = c if clip is None else c.clamp(-clip, clip)
        h = gate(o + p_o * c) * act(c)
        steps.append(h)
    return [_sequence(steps, output_sequence), h, c]


def _sequence(steps: list[Tensor], whole: bool) -> Tensor:
    """Every step as computed, or the last one."""
    return torch.stack(steps) if whole else steps[-1].unsqueeze(0)
