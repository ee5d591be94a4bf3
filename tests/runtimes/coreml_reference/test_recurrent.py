"""Recurrent layers against PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from single import compute, noise
from torch import nn

_STEPS, _BATCH, _IN, _HIDDEN = 5, 2, 3, 4


def _weights(layer: nn.Module, order: list[int], suffix: str = "") -> dict[str, Any]:
    """The layer's first weights, gates in the order that MIL has them, both biases as one."""
    state = {name: tensor.detach() for name, tensor in layer.named_parameters()}

    def gates(name: str) -> torch.Tensor:
        parts = state[f"{name}_l0{suffix}"].split(_HIDDEN)
        return torch.cat([parts[index] for index in order])

    bias = gates("bias_ih") + gates("bias_hh")
    return {"weight_ih": gates("weight_ih").numpy(), "weight_hh": gates("weight_hh").numpy(), "bias": bias.numpy()}


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("whole", [False, True])
def test_rnn_and_lstm(direction: str, whole: bool) -> None:
    torch.manual_seed(0)
    x, h, c = noise(_STEPS, _BATCH, _IN), noise(_BATCH, _HIDDEN), noise(_BATCH, _HIDDEN, seed=1)
    given = torch.from_numpy(x if direction == "forward" else x[::-1].copy())
    options: dict[str, Any] = {"x": x, "initial_h": h, "direction": direction, "output_sequence": whole}
    rnn, lstm = nn.RNN(_IN, _HIDDEN), nn.LSTM(_IN, _HIDDEN)
    with torch.no_grad():
        out, last = rnn(given, torch.from_numpy(h)[None])
        found = compute("rnn", **options, **_weights(rnn, [0]))
        np.testing.assert_allclose(found[0], out if whole else out[-1:], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[1], last[0], rtol=1e-4, atol=1e-5)
        out, (last, cell) = lstm(given, (torch.from_numpy(h)[None], torch.from_numpy(c)[None]))
    found = compute("lstm", initial_c=c, **options, **_weights(lstm, [0, 1, 3, 2]))
    np.testing.assert_allclose(found[0], out if whole else out[-1:], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1], last[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[2], cell[0], rtol=1e-4, atol=1e-5)


def test_a_bidirectional_lstm_gives_both_in_the_order_of_its_input() -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(_IN, _HIDDEN, bidirectional=True)
    x, h, c = noise(_STEPS, _BATCH, _IN), noise(2, _BATCH, _HIDDEN), noise(2, _BATCH, _HIDDEN, seed=1)
    with torch.no_grad():
        out, (last, cell) = lstm(*map(torch.from_numpy, (x,)), (torch.from_numpy(h), torch.from_numpy(c)))
    back = {f"{name}_back": value for name, value in _weights(lstm, [0, 1, 3, 2], "_reverse").items()}
    sides = {"initial_h": np.concatenate(h, -1), "initial_c": np.concatenate(c, -1)}
    options: dict[str, Any] = {"direction": "bidirectional", "output_sequence": True}
    found = compute("lstm", x=x, **sides, **options, **_weights(lstm, [0, 1, 3, 2]), **back)
    for mine, theirs in zip(found, (out, torch.cat(tuple(last), -1), torch.cat(tuple(cell), -1)), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_gru_that_resets_after_its_product_is_pytorch_s() -> None:
    torch.manual_seed(0)
    gru = nn.GRU(_IN, _HIDDEN)
    x, h = noise(_STEPS, _BATCH, _IN), noise(_BATCH, _HIDDEN)
    with torch.no_grad():
        out, last = gru(torch.from_numpy(x), torch.from_numpy(h)[None])
    order = [0, 2, 1]  # PyTorch: reset, update, new
    weights = _weights(gru, order)
    state = dict(gru.named_parameters())
    bias, input_bias = (
        torch.cat([state[name].detach().split(_HIDDEN)[i] for i in order]).numpy() for name in ("bias_hh_l0", "bias_ih_l0")
    )
    weights |= {"bias": bias, "input_bias": input_bias}
    found = compute("gru", x=x, initial_h=h, output_sequence=True, reset_after=True, **weights, ios=18)
    np.testing.assert_allclose(found[0], out, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1], last[0], rtol=1e-4, atol=1e-5)


def test_a_gru_of_one_step_by_hand() -> None:
    """Reset before the product, as the operator's formula has it by default."""
    x, h = np.float32([[[1.0]]]), np.float32([[0.5]])
    w_i, w_h, bias = np.float32([[0.1], [0.2], [0.3]]), np.float32([[0.4], [0.5], [0.6]]), np.float32([0.7, 0.8, 0.9])
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    reset, update = sigmoid(0.1 + 0.4 * 0.5 + 0.7), sigmoid(0.3 + 0.6 * 0.5 + 0.9)
    new = np.tanh(0.2 + 0.5 * (reset * 0.5) + 0.8)
    found = compute("gru", x=x, initial_h=h, weight_ih=w_i, weight_hh=w_h, bias=bias)
    np.testing.assert_allclose(found[1], [[(1 - update) * new + update * 0.5]], rtol=1e-5)


def test_an_lstm_s_cell_is_clipped_and_its_peepholes_look_at_it() -> None:
    x, zero = np.float32([[[1.0]]]), np.float32([[0.0]])
    w_i, w_h = np.float32([[10], [0], [0], [10]]), np.zeros((4, 1), np.float32)
    given: dict[str, Any] = {"x": x, "initial_h": zero, "initial_c": np.float32([[5]]), "weight_ih": w_i, "weight_hh": w_h}
    _, _, cell = compute("lstm", **given)
    np.testing.assert_allclose(cell, [[2.5 + 1]], rtol=1e-3)
    hidden = compute("lstm", clip=0.5, peephole=np.float32([0, 0, 100]), **given)[1]
    np.testing.assert_allclose(hidden, [[np.tanh(0.5)]], rtol=1e-5)  # the output gate saw the clipped cell, and is open
