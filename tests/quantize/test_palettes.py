"""Palettes against what is known of the best ones, and the scheme that asks for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from quantizing import INTEGERS, Net, ask, calls, graph_of, noise, quantized, run
from torch import nn

from edgekit import metrics
from edgekit.errors import Unsupported, UsageError
from edgekit.quantize import make_plan, palettes, schemes

PALETTES = INTEGERS.model_copy(update={"weights": {"palette": ("conv2d", "linear")}, "palette_bits": (1, 2, 4, 8)})


def _sqnr_db(values: np.ndarray, bits: int) -> float:
    palette = palettes.palette_of(values, 2**bits)
    return metrics.sqnr_db(values, palette[palettes.nearest(values, palette)])


@pytest.mark.parametrize(("bits", "best_db"), [(1, 4.40), (2, 9.30), (3, 14.62), (4, 20.22)])
def test_noise_gets_the_palette_that_is_best_for_it(bits: int, best_db: float) -> None:
    """Max, Quantizing for minimum distortion (1960), table I: errors of 0.3634, 0.1175, 0.03454 and 0.009497."""
    values = np.random.default_rng(0).standard_normal(50_000).astype(np.float32)
    assert _sqnr_db(values, bits) == pytest.approx(best_db, abs=0.15)


def test_few_values_are_kept_as_they_are() -> None:
    values = np.float32([3, -1, 3, 0.5])
    assert palettes.palette_of(values, 4).tolist() == [-1, 0.5, 3, 3]
    assert _sqnr_db(values, 2) == 200


def test_values_far_out_get_entries_of_their_own() -> None:
    values = np.append(np.random.default_rng(0).standard_normal(2000), [80, -120]).astype(np.float32)
    palette = palettes.palette_of(values, 16)
    assert {-120.0, 80.0} <= set(palette.tolist())
    assert _sqnr_db(values[:-2], 4) > 18


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=60), st.sampled_from([1, 2, 3, 4]))
def test_no_entry_is_nearer_and_none_is_outside(given_values: list[float], bits: int) -> None:
    values = np.float32(given_values)
    palette = palettes.palette_of(values, 2**bits)
    assert len(palette) == 2**bits
    assert np.all(np.diff(palette) >= 0)
    assert values.min() <= palette[0]
    assert palette[-1] <= values.max()
    found = palette[palettes.nearest(values, palette)]
    np.testing.assert_array_equal(np.abs(found - values), np.abs(palette[:, None] - values).min(0))
    spread = float(values.max() - values.min())
    assert np.square(found - values).mean() <= (spread / 2**bits / 2) ** 2 * 4 + 1e-6, "no worse than twice an even grid"


def _net() -> nn.Module:
    torch.manual_seed(0)
    return Net(lambda net, x: net.fc(net.conv(x).mean((2, 3))), conv=nn.Conv2d(3, 16, 3), fc=nn.Linear(16, 3))


def test_the_graph_holds_indices_and_a_table_in_half_precision() -> None:
    net, image = _net(), noise(1, 3, 8, 8)
    request = ask(net, image, support=PALETTES.model_copy(update={"scale_dtype": "float16"}), scheme="palettize-4")
    plan = make_plan(request)
    assert [(str(one.weight), one.why) for one in plan.sites if one.operator in ("conv2d", "linear")] == [
        ("palette of 4 bits", ""),
        ("None", "its 48 values are too few for a table of 16"),
    ]
    program = quantized(request, plan)
    (node,) = calls(program, "from_palette")
    indices, palette = (graph_of(program).get_buffer(str(part.target)) for part in node.all_input_nodes)
    assert (indices.dtype, list(indices.shape), list(palette.shape)) == (torch.uint8, [16, 3, 3, 3], [16])
    assert torch.equal(palette, palette.half().float())
    assert metrics.sqnr_db(net(image).detach().numpy(), run(program, image)[0].numpy()) > 15


def test_what_a_runtime_has_no_palettes_for_says_why() -> None:
    with pytest.raises(Unsupported) as raised:
        quantized(ask(_net(), noise(1, 3, 8, 8), support=PALETTES, scheme="palettize-3"))
    assert "palettes of 1, 2, 4 or 8 bits, not of 3" in raised.value.cause
    assert "--target coreml --device iphone-16-pro" in raised.value.next_step
    with pytest.raises(Unsupported, match="changes nothing") as raised:
        quantized(ask(_net(), noise(1, 3, 8, 8), scheme="palettize-4"))
    assert "takes no palettes for conv2d" in raised.value.cause
    with pytest.raises(UsageError, match="palettize-5 does not exist"):
        schemes.find("palettize-5")
