"""Complex numbers become pairs of real tensors, a connected computation whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, Rewritten, noise, rewrite
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit import metrics, passes
from edgekit.program import Program, capture

WEIGHT = torch.view_as_complex(noise(3, 3, 2, seed=3))


def _real(value: Any) -> Any:
    """What may cross the border of a program: complex tensors as a last axis of two."""
    if isinstance(value, (list, tuple)):
        return [_real(part) for part in value]
    return torch.view_as_real(value.resolve_conj().resolve_neg()) if value.is_complex() else value


def _net(forward: Callable[[Tensor, Tensor, Tensor], Any]) -> nn.Module:
    """forward(z, y, w): a complex and a real input, 3x3, and a complex weight."""
    return Net(lambda net, x, y: _real(forward(torch.view_as_complex(x), y, net.w)), w=nn.Parameter(WEIGHT.clone()))


def _rewritten(forward: Callable[[Tensor, Tensor, Tensor], Any]) -> Rewritten:
    return rewrite("complex_to_real", _net(forward), noise(3, 3, 2), noise(3, 3, seed=2))


def _complex_nodes(program: Program) -> list[str]:
    found = []
    for graph_module in program:
        for node in graph_module.graph.nodes:
            made = node.meta.get("val")
            tensors: Sequence[object] = made if isinstance(made, (list, tuple)) else [made]
            if any(isinstance(tensor, Tensor) and tensor.is_complex() for tensor in tensors):
                found.append(node.name)
    return found


def _assert_all_real(done: Rewritten) -> None:
    assert done.changed >= 1
    assert not done.reasons
    assert not _complex_nodes(done.program)


OPERATORS: dict[str, Callable[[Tensor, Tensor, Tensor], Any]] = {
    "parts": lambda z, y, w: [z.real, z.imag, z.abs(), z.angle(), torch.view_as_real(z)],
    "parts of a real value": lambda z, y, w: [f(y + 0j) for f in (torch.real, torch.imag, torch.abs, torch.angle)],
    "parts of an imaginary value": lambda z, y, w: [f(1j * y) for f in (torch.real, torch.imag, torch.abs, torch.angle)],
    "conj": lambda z, y, w: [
        z.conj(),
        z.conj().imag,
        z.conj_physical() * w.conj(),
        torch.view_as_real(z.conj().resolve_conj()),
    ],
    "conj transposed": lambda z, y, w: [z.mH, z.H @ w, z.adjoint()],
    "made of parts": lambda z, y, w: [torch.complex(y, y[0]) * z, torch.polar(y, z.real), torch.complex(y[0], y)],
    "add, sub": lambda z, y, w: [
        z + w,
        z - w,
        y - z,
        z + y,
        z - 1j,
        2j - z,
        3 - z,
        torch.add(z, w, alpha=2j),
        torch.sub(z, y, alpha=2),
    ],
    "mul": lambda z, y, w: [z * w, z * y, y * w, z * 2j, (1 - 2j) * y, z * 3, z * z, z * True, z * (y > 0), -z],
    "div": lambda z, y, w: [z / w, z / y, y / z, z / (1 + 2j), 1j / z, 2 / z, z / 3, z.reciprocal(), y / (1j * z.imag)],
    "functions": lambda z, y, w: [z.exp(), z.square(), z**2, (1j * y).exp(), torch.exp(y + 0j)],
    "products": lambda z, y, w: [
        z @ w,
        z.mv(w[0]),
        torch.outer(z[0], w[0]),
        torch.dot(z[0], w[0]),
        torch.vdot(z[0], w[0]),
        torch.inner(z, w),
        torch.kron(z, w),
        torch.tensordot(z, w, 1),
        torch.bmm(z[None], w[None]),
    ],
    "sums of products": lambda z, y, w: [torch.addmm(z, w, z, beta=2, alpha=0.5), torch.baddbmm(z[None], w[None], z[None])],
    "einsum": lambda z, y, w: [
        torch.einsum("ij,jk->ik", z, w),
        torch.einsum("ij,jk,kl->il", z, w, z),
        torch.einsum("ii->i", z),
    ],
    "layers": lambda z, y, w: [
        F.linear(z, w),
        F.linear(z, w, w[0]),
        F.conv2d(z[None, None], w[None, None, :2, :2]),
        F.conv1d(z[None], w[:, :, None], w[0], padding=1, stride=2),
    ],
    "several at once": lambda z, y, w: [torch.cat([z, y, w]), torch.stack([z, w], 1), torch.cat([y + 0j, y + 0j]).imag],
    "choice": lambda z, y, w: [
        torch.where(y > 0, z, w),
        torch.where(y > 0, z, 0.0),
        torch.where(y > 0, 1j, z),
        torch.where(y > 0, y, w),
        z.masked_fill(y > 0, 2 - 1j),
        (y + 0j).masked_fill(y > 0, 1.0),
    ],
    "padding": lambda z, y, w: [F.pad(z, (1, 2)), F.pad(z, (1, 2), value=3.0), F.pad(z[None], (1, 1), mode="reflect")],
    "shapes": lambda z, y, w: [
        z.flatten().unflatten(0, (3, 3)),
        z.T,
        z.permute(1, 0),
        z.reshape(1, 9),
        z.view(9),
        z[None].squeeze(0),
        z.expand(2, 3, 3),
        z[:1].expand_as(w),
        z.view_as(w.flatten()),
        z.movedim(0, 1),
        z.ravel(),
    ],
    "pieces": lambda z, y, w: [
        z[1],
        z[..., 1:],
        z[[0, 2]],
        z.narrow(0, 1, 2),
        z.split(2),
        z.split([1, 2])[1],
        z.chunk(2, 1)[0],
        z.unbind(1),
        z.tensor_split(2),
        z.index_select(0, torch.tensor([2])),
        z.gather(0, (y > 0).long()),
        z.diagonal(),
    ],
    "order": lambda z, y, w: [
        z.roll(1, 0),
        z.flip(1),
        z.tile(2),
        z.repeat(2, 1),
        torch.fft.fftshift(z),
        z.tril(),
        z.repeat_interleave(2, 0),
    ],
    "sums": lambda z, y, w: [z.sum(), z.sum(0), z.mean(), z.mean(1, True), z.cumsum(0), y.sum(dtype=torch.complex128) * z],
    "copies": lambda z, y, w: [z.clone(), z.T.contiguous(), z.detach() * 2, torch.tensor(2j, dtype=torch.complex128) * z],
    "casts": lambda z, y, w: [
        z.to(torch.complex64).to(torch.complex128).real.float(),
        y.to(torch.complex128) * z,
        z.type_as(w),
    ],
    "filled": lambda z, y, w: [torch.zeros_like(z), torch.ones_like(z) * z, torch.ones_like(z).imag],
    "broadcasting": lambda z, y, w: [z[0] + w, z[:, :1] * w[:1], (y[0] + 0j) + 1j * y, (y[0] + 0j) * z, z.sum() * w],
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_on_complex_numbers(name: str) -> None:
    _assert_all_real(_rewritten(OPERATORS[name]))


def test_what_is_all_zeros() -> None:
    def forward(z: Tensor, y: Tensor, w: Tensor) -> list[Tensor]:
        zeros = torch.zeros_like(z)
        return [
            zeros.abs(),
            zeros.angle(),
            zeros @ w,
            zeros * y,
            zeros / w,
            zeros / 2,
            zeros.sum(0),
            zeros.exp(),
            -zeros,
            zeros.split(1)[0],
        ]

    _assert_all_real(_rewritten(forward))


def test_zero_has_no_angle_and_no_length_but_makes_no_nan() -> None:
    net = Net(lambda net, x: [torch.view_as_complex(x).abs(), torch.view_as_complex(x).angle()])
    _assert_all_real(rewrite("complex_to_real", net, torch.zeros(2, 2, dtype=torch.float64)))


@pytest.mark.parametrize("size", [1e-170, 1e170])
def test_squares_do_not_leave_the_range(size: float) -> None:
    module = _net(lambda z, y, w: [(z * size).abs(), w / (z * size), 1j / (z * size)])
    program = capture(module, {"x": noise(3, 3, 2), "y": noise(3, 3, seed=2)})
    expected = program.functions["forward"].run(program.functions["forward"].example_inputs)
    passes.run(program, NO_LIMITS, ["complex_to_real"])
    found = program.functions["forward"].run(program.functions["forward"].example_inputs)
    for reference, tensor in zip(expected.values(), found.values(), strict=True):
        torch.testing.assert_close(tensor, reference, rtol=1e-12, atol=0)


def test_pairs_of_channels_stay_where_they_are() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        pairs = x.permute(0, 2, 3, 1).reshape(2, 4, 5, -1, 2).contiguous()
        turned = torch.view_as_complex(pairs) * torch.view_as_complex(net.turn)
        return torch.view_as_real(turned).flatten(-2).permute(0, 3, 1, 2).contiguous()

    done = rewrite("complex_to_real", Net(forward, turn=noise(1, 1, 1, 3, 2)), noise(2, 6, 4, 5))
    _assert_all_real(done)
    assert "permute" not in done.calls
    assert done.calls.count("mul") == 4


@pytest.mark.parametrize(
    "after",
    [
        lambda turned: torch.view_as_real(turned).flatten(-2),
        lambda turned: torch.view_as_real(turned).flatten(-2).permute(0, 3, 2, 1),
        lambda turned: torch.view_as_real(turned).reshape(2, 20, 6),
        lambda turned: [
            torch.view_as_real(turned).flatten(-2).permute(0, 3, 1, 2),
            turned.real,
            turned.permute(0, 3, 1, 2).imag,
        ],
        lambda turned: (turned + turned.abs()).sum(-1).real,
        lambda turned: (turned * turned.mean((1, 2), keepdim=True)).imag,
        lambda turned: (turned.permute(1, 0, 3, 2) * 2j).permute(1, 0, 3, 2).conj().imag,
        lambda turned: [part.real for part in turned.chunk(2, 1)],
        lambda turned: (turned[None] * turned).real,
        lambda turned: torch.cat([turned, turned.conj()], -1).imag,
    ],
)
def test_pairs_of_channels_that_go_elsewhere(after: Callable[[Tensor], Any]) -> None:
    def forward(net: Net, x: Tensor) -> Any:
        pairs = torch.view_as_complex(x.permute(0, 2, 3, 1).unflatten(-1, (-1, 2)).contiguous())
        return after(pairs * torch.view_as_complex(net.turn) + net.shift)

    net = Net(forward, turn=noise(1, 1, 3, 2), shift=torch.view_as_complex(noise(5, 3, 2)))
    _assert_all_real(rewrite("complex_to_real", net, noise(2, 6, 4, 5)))


def test_stacked_parts_are_found_behind_what_acts_on_each() -> None:
    def forward(net: Net, x: Tensor, y: Tensor) -> Tensor:
        return torch.view_as_complex(F.softshrink(torch.stack([x, y], dim=-1), 0.1)).abs()

    done = rewrite("complex_to_real", Net(forward), noise(2, 3), noise(2, 3, seed=2))
    _assert_all_real(done)
    assert "stack" not in done.calls


def test_stacked_parts_with_another_reader_are_computed_once() -> None:
    def forward(net: Net, x: Tensor, y: Tensor) -> object:
        parts = torch.stack([x, y], dim=-1).sigmoid()
        return parts, torch.view_as_complex(parts).abs()

    done = rewrite("complex_to_real", Net(forward), noise(2, 3), noise(2, 3, seed=2))
    _assert_all_real(done)
    assert done.calls.count("sigmoid") == 1


def test_real_values_in_between_are_followed() -> None:
    def forward(z: Tensor, y: Tensor, w: Tensor) -> Any:
        gate = torch.complex(z.real.relu(), z.imag)
        return gate * w, torch.view_as_complex(torch.stack([gate.real, z.imag], -1)), z.real

    _assert_all_real(_rewritten(forward))


def test_a_real_factor_costs_two_products() -> None:
    assert _rewritten(lambda z, y, w: z * y).calls.count("mul") == 2


REFUSED: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Any], str]] = {
    "unknown": (lambda z, y, w: (z * w).cumprod(0), "no real form of aten.cumprod.default is known"),
    "unknown, to real": (lambda z, y, w: (z * w).isnan(), "no real form of aten.isnan.default is known"),
    "power": (lambda z, y, w: (z * w) ** 3, "a complex power of 3"),
    "truth": (lambda z, y, w: (z * w).to(torch.bool), "complex numbers as truth values"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_operator_that_is_not_known_keeps_all_that_is_connected(name: str) -> None:
    forward, reason = REFUSED[name]
    _rewritten(forward).assert_refused(f"{reason}; what is connected to it stays complex")


def test_what_is_not_connected_is_rewritten() -> None:
    done = _rewritten(lambda z, y, w: [torch.complex(y, y).cumprod(0).real, z * w])
    assert done.changed == 1
    assert len(done.reasons) == 1
    assert _complex_nodes(done.program) == ["complex_1", "cumprod"]


def test_a_complex_border_stays() -> None:
    z = torch.view_as_complex(noise(3, 2))
    rewrite("complex_to_real", Net(lambda net, x: x.abs()), z).assert_refused("the program's input is complex")
    done = rewrite("complex_to_real", Net(lambda net, x: torch.complex(x, x)), noise(3))
    done.assert_refused("the program's output is complex")


def test_runtimes_with_complex_numbers_keep_them() -> None:
    profile = NO_LIMITS.model_copy(update={"complex_numbers": True})
    done = rewrite("complex_to_real", _net(lambda z, y, w: z * w), noise(3, 3, 2), noise(3, 3), profile=profile)
    assert (done.changed, done.graph, done.reasons) == (0, done.graph_before, [])


def test_a_frequency_filter_has_nothing_complex_left() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x, norm="ortho")
        mixed = torch.einsum("bchw,cd->bdhw", spectrum, net.weight)
        mask = torch.view_as_complex(F.softshrink(torch.stack([mixed.real, mixed.imag], -1), 0.01))
        return torch.fft.irfft2(spectrum * mask, s=x.shape[-2:], norm="ortho") + x

    image = noise(2, 3, 6, 7)
    for dtype, bound in ((torch.float64, 190.0), (torch.float32, 100.0)):
        program = capture(Net(forward, weight=WEIGHT.to(dtype.to_complex())), {"x": image.to(dtype)})
        run = program.functions["forward"].run
        expected = run({"x": image.to(dtype)})["output"]
        passes.run(program, NO_LIMITS, ["fft_to_matmul", "complex_to_real"], check=True)
        assert not _complex_nodes(program)
        assert metrics.sqnr_db(expected.numpy(), run({"x": image.to(dtype)})["output"].numpy()) >= bound


_UNARY: list[Callable[[Tensor], Tensor]] = [
    torch.conj,
    torch.neg,
    torch.Tensor.exp,
    torch.square,
    lambda a: a.T,
    lambda a: a.roll(1, 0),
    lambda a: a.permute(1, 0).contiguous(),
    lambda a: a.real + 0j,
    lambda a: torch.complex(a.imag, a.real),
    lambda a: a.sum(0, keepdim=True) + a,
    lambda a: a / (2 + a.abs()),
    lambda a: torch.view_as_complex(torch.view_as_real(a.resolve_conj()).sigmoid()),
    lambda a: torch.cat(a.split(2)[::-1]),
    lambda a: a - 2j,
    lambda a: torch.fft.fft2(a, norm="ortho"),
    lambda a: a.mH,
    lambda a: torch.fft.irfft2(a, s=(3, 3)) + 0j,
    lambda a: (1 - 1j) * a,
]
_BINARY: list[Callable[[Tensor, Tensor], Tensor]] = [
    torch.add,
    torch.sub,
    torch.mul,
    torch.matmul,
    lambda a, b: a / (b.abs() + 1),
    lambda a, b: torch.where(a.real > b.imag, a, b),
    lambda a, b: torch.einsum("ij,kj->ik", a, b),
    lambda a, b: torch.stack([a, b]).mean(0),
    lambda a, b: F.linear(a, b, a[0]),
]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8))
def test_random_expressions_keep_their_outputs(steps: list[tuple[int, int, int]]) -> None:
    def forward(z: Tensor, y: Tensor, w: Tensor) -> list[Tensor]:
        values = [z, w, y + 0j]
        for kind, first, second in steps:
            a, b = values[first % len(values)], values[second % len(values)]
            chosen = kind % (len(_UNARY) + len(_BINARY))
            made = _UNARY[chosen](a) if chosen < len(_UNARY) else _BINARY[chosen - len(_UNARY)](a, b)
            values.append(made / (1 + made.abs().max()))  # so that no chain of products grows out of proportion
        return values[3:]

    module = _net(forward)
    program = capture(module, {"x": noise(3, 3, 2), "y": noise(3, 3, seed=2)})
    function = program.functions["forward"]
    expected = function.run(function.example_inputs)
    fft, rewritten = passes.run(program, NO_LIMITS, ["fft_to_matmul", "complex_to_real"])
    assert not fft.refusals + rewritten.refusals
    assert not _complex_nodes(program)
    for name, tensor in function.run(function.example_inputs).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-10, atol=1e-10)
