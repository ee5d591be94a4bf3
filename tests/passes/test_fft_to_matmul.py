"""Fourier transforms become matrix products, whatever their sizes, axes and norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, Rewritten, noise, rewrite
from torch import Tensor

from edgekit import metrics, passes
from edgekit.program import capture

ONE_PRODUCT = NO_LIMITS.model_copy(update={"dft_one_product_bytes": 1 << 30})
ONE_AN_AXIS = NO_LIMITS.model_copy(update={"dft_one_product_bytes": 0})
HALVED_INPUT, HALVED_OUTPUT = ("irfft", "hfft"), ("rfft", "ihfft")


def _real(z: Tensor) -> Tensor:
    return torch.view_as_real(z.resolve_conj()) if z.is_complex() else z


def _net(transform: Callable[[Tensor], Tensor], *, complex_input: bool = False) -> Net:
    """The transform between real borders; a complex input lies along a last axis of two."""
    return Net(lambda net, x: _real(transform(torch.view_as_complex(x) if complex_input else x)))


def _assert_lowered(done: Rewritten, count: int = 1) -> None:
    assert done.changed == count
    assert not [call for call in done.calls if "fft" in call]


@pytest.mark.parametrize("profile", [ONE_PRODUCT, ONE_AN_AXIS], ids=["one product", "one an axis"])
@pytest.mark.parametrize("norm", ["ortho", "backward", "forward", None])
@pytest.mark.parametrize("size", [(8, 8), (7, 9), (6, 5), (1, 1), (2, 1), (1, 2)], ids=str)
def test_the_spectrum_and_back(size: tuple[int, int], norm: str | None, profile: Any) -> None:
    def forward(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        spectrum = torch.fft.rfft2(x, norm=norm)
        # The product is no real signal's spectrum: what torch ignores of it must count for nothing.
        return _real(spectrum), torch.fft.irfft2(spectrum * net.mask, s=size, norm=norm)

    mask = torch.view_as_complex(noise(3, size[0], size[1] // 2 + 1, 2))
    _assert_lowered(rewrite("fft_to_matmul", Net(forward, mask=mask), noise(2, 3, *size), profile=profile), 2)


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"])
@pytest.mark.parametrize("suffix", ["", "2", "n"])
def test_every_transform(name: str, suffix: str) -> None:
    net = _net(getattr(torch.fft, name + suffix), complex_input=name not in HALVED_OUTPUT)
    shape = (3, 4, 5) if name in HALVED_OUTPUT else (3, 4, 5, 2)
    _assert_lowered(rewrite("fft_to_matmul", net, noise(*shape)))


@pytest.mark.parametrize(
    ("transform", "products"),
    [
        (lambda x: torch.fft.rfft2(x), 1),
        (lambda x: torch.fft.rfft2(x, dim=(-1, -2)), 1),
        (lambda x: torch.fft.rfft2(x, dim=(0, 1)), 3),
        (lambda x: torch.fft.rfftn(x, dim=(1, 2, 3)), 1),
        (lambda x: torch.fft.rfft(x), 2),
        (lambda x: torch.fft.rfft(x, dim=1), 2),
    ],
)
def test_the_last_axes_are_one_product(transform: Callable[[Tensor], Tensor], products: int) -> None:
    done = rewrite("fft_to_matmul", _net(transform), noise(2, 3, 4, 5), profile=ONE_PRODUCT)
    assert done.calls.count("linear") == products


def test_the_profile_says_how_large_one_product_may_be() -> None:
    net, image = _net(torch.fft.rfft2), noise(1, 2, 4, 4)
    matrix_bytes = 2 * (4 * 4) * (4 * 3) * 8
    for limit, products in ((matrix_bytes, 1), (matrix_bytes - 1, 3)):
        profile = NO_LIMITS.model_copy(update={"dft_one_product_bytes": limit})
        assert rewrite("fft_to_matmul", net, image, profile=profile).calls.count("linear") == products


def test_nothing_goes_beyond_the_rank_there_was() -> None:
    for profile in (ONE_PRODUCT, ONE_AN_AXIS):
        net = Net(lambda net, x: torch.fft.irfft2(torch.fft.rfft2(x)))
        done = rewrite("fft_to_matmul", net, noise(2, 3, 4, 6), profile=profile)
        ranks = [node.meta["val"].dim() for graph in done.program for node in graph.graph.nodes if "val" in node.meta]
        assert max(ranks) == 4


@pytest.mark.parametrize(
    "transform",
    [
        lambda x: torch.fft.rfft2(x, s=(3, 9)),
        lambda x: torch.fft.rfft2(x, s=(-1, 4)),
        lambda x: torch.fft.rfftn(x, s=(3, 9)),
        lambda x: torch.fft.fft(x, n=3),
        lambda x: torch.fft.irfft(x, n=4),
        lambda x: torch.fft.irfft(x, n=13),
        lambda x: torch.fft.irfftn(x, s=(2, 3, 4), dim=(0, 3, 1)),
    ],
)
def test_input_is_padded_and_trimmed_as_asked(transform: Callable[[Tensor], Tensor]) -> None:
    _assert_lowered(rewrite("fft_to_matmul", _net(transform), noise(2, 3, 5, 6)))


def test_other_inputs() -> None:
    _assert_lowered(rewrite("fft_to_matmul", _net(lambda x: torch.fft.rfft(x.long())), noise(3, 5)))
    _assert_lowered(rewrite("fft_to_matmul", _net(lambda x: torch.fft.fft2(x.mT[..., 1:])), noise(3, 4, 5)))
    _assert_lowered(rewrite("fft_to_matmul", _net(lambda x: torch.fft.rfft(x[0])), noise(3, 5)))


@pytest.mark.parametrize("dim", [None, 1, (0, 2)])
def test_shifted_spectra_are_rolled(dim: Any) -> None:
    net = Net(lambda net, x: [torch.fft.fftshift(x, dim), torch.fft.ifftshift(x, dim)])
    done = rewrite("fft_to_matmul", net, noise(4, 5, 3))
    _assert_lowered(done, 2)
    assert done.calls == ["roll", "roll"]


def test_a_spectrum_with_several_readers() -> None:
    def forward(net: Net, x: Tensor) -> object:
        spectrum = torch.fft.rfft2(x)
        return {"power": spectrum.abs() ** 2, "parts": [spectrum.real, spectrum.imag], "back": torch.fft.irfft2(spectrum)}

    _assert_lowered(rewrite("fft_to_matmul", Net(forward), noise(2, 4, 6)), 2)


@pytest.mark.parametrize(
    "transform",
    [
        lambda x: torch.ops.aten._fft_r2c(x, [1, 3], 1, True),
        lambda x: torch.ops.aten._fft_r2c(x, [3, 0], 2, False),
        lambda x: torch.ops.aten._fft_c2c(torch.complex(x, x * 2), [2, 1], 0, True),
        lambda x: torch.ops.aten._fft_c2c(torch.complex(x, x * 2), [2, 3], 1, False),
        lambda x: torch.ops.aten._fft_c2r(torch.complex(x, x * 2), [1, 3], 2, 9),
    ],
)
def test_what_the_calls_decompose_into(transform: Callable[[Tensor], Tensor]) -> None:
    for profile in (ONE_PRODUCT, ONE_AN_AXIS):
        _assert_lowered(rewrite("fft_to_matmul", _net(transform), noise(2, 3, 4, 5), profile=profile))


def test_a_transform_too_long_for_a_matrix_stays() -> None:
    done = rewrite("fft_to_matmul", _net(torch.fft.rfft), noise(1, 2048))
    done.assert_refused("its matrix would take 33,587,200 bytes, more than 16,777,216")


def test_a_matrix_has_zeros_where_sine_and_cosine_have_them() -> None:
    done = rewrite("fft_to_matmul", _net(torch.fft.rfft), noise(1, 4))
    constants = [tensor for graph in done.program for tensor in graph.buffers()]
    expected = torch.tensor([[1.0, 1, 1, 1], [1, 0, -1, 0], [1, -1, 1, -1]], dtype=torch.float64)
    assert any(tensor.equal(expected) for tensor in constants)


@pytest.mark.parametrize("size", [8, 16, 32])
def test_float32_keeps_100_db(size: int) -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(x, norm="ortho") * net.mask, s=(size, size), norm="ortho")

    mask = torch.view_as_complex(noise(8, size, size // 2 + 1, 2).float())
    image = noise(1, 8, size, size).float()
    for profile in (ONE_PRODUCT, ONE_AN_AXIS):
        program = capture(Net(forward, mask=mask), {"x": image})
        expected = next(iter(program.functions["forward"].run({"x": image}).values()))
        passes.run(program, profile, ["fft_to_matmul", "complex_to_real"])
        found = next(iter(program.functions["forward"].run({"x": image}).values()))
        assert metrics.sqnr_db(expected.numpy(), found.numpy()) >= 100


@st.composite
def _calls(draw: st.DrawFn) -> tuple[str, dict[str, Any], tuple[int, ...], bool]:
    """A transform's name, its keyword arguments, an input shape, and whether the input is complex."""
    name = draw(st.sampled_from(["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"]))
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=2, max_size=4)))
    complex_input = name not in HALVED_OUTPUT and draw(st.booleans())
    axes = draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, max_size=len(shape), unique=True))
    axes = [axis - draw(st.sampled_from([0, len(shape)])) for axis in axes]
    lengths = draw(st.none() | st.tuples(*[st.sampled_from([-1, *range(1, 9)])] * len(axes)))
    last = shape[axes[-1]] if lengths is None or lengths[-1] == -1 else None
    if name in HALVED_INPUT and last == 1:
        lengths = tuple([-1] * (len(axes) - 1) + [3])  # one column alone says nothing of the length
    norm = draw(st.sampled_from([None, "ortho", "backward", "forward"]))
    return name, {"s": lengths, "dim": tuple(axes), "norm": norm}, shape, complex_input


@given(_calls(), st.sampled_from([ONE_PRODUCT, ONE_AN_AXIS]))
def test_random_transforms_keep_their_outputs(call: tuple[str, dict[str, Any], tuple[int, ...], bool], profile: Any) -> None:
    name, keywords, shape, complex_input = call
    net = _net(lambda x: getattr(torch.fft, name + "n")(x, **keywords), complex_input=complex_input)
    _assert_lowered(rewrite("fft_to_matmul", net, noise(*shape, *([2] if complex_input else [])), profile=profile))
