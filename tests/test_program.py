"""A program is captured whole, travels through a file, and is told apart by what it computes."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgekit import passes, program
from edgekit.errors import ModelError
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program, capture

Pair = namedtuple("Pair", ["features", "logits"])


class Returns(nn.Module):
    """Returns its input in the form that `make` gives it."""

    def __init__(self, make: object) -> None:
        super().__init__()
        self._make = make

    def forward(self, x: Tensor) -> object:
        return self._make(x)


def _conv(**options: object) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, **options), nn.BatchNorm2d(4), nn.ReLU())


def _captured(module: nn.Module | None = None, *shape: int) -> Program:
    return capture(module or _conv(), {"image": torch.zeros(shape or (1, 3, 8, 8))})


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda x: x + 1, ("output",)),
        (lambda x: (x + 1, x + 2), ("output_0", "output_1")),
        (lambda x: {"logits": x + 1, "mask": x > 0}, ("logits", "mask")),
        (lambda x: Pair(x + 1, x + 2), ("features", "logits")),
        (lambda x: {"stages": [x + 1, x + 2]}, ("stages_0", "stages_1")),
        (lambda x: {"größe": x + 1, "grüße": x + 2, "a-b": x + 3}, ("gr__e", "output_gr__e", "a_b")),
        (lambda x: (x, x), ("output_0", "output_1")),
    ],
    ids=["tensor", "tuple", "dictionary", "named tuple", "nested", "no identifiers", "the input twice"],
)
def test_outputs_are_named_by_their_place(make: object, names: tuple[str, ...]) -> None:
    forward = _captured(Returns(make)).functions["forward"]
    assert forward.output_names == names
    image = torch.randn(1, 3, 8, 8)
    expected = torch.utils._pytree.tree_leaves(make(image))
    assert all(map(torch.equal, forward.run({"image": image}).values(), expected))


def test_given_output_names_are_kept() -> None:
    captured = capture(_conv(), {"image": torch.zeros(1, 3, 8, 8)}, ("logits",))
    assert list(captured.functions["forward"].run({"image": torch.zeros(1, 3, 8, 8)})) == ["logits"]


def test_inputs_that_the_module_writes_to_stay_as_they_were() -> None:
    image = torch.zeros(1, 2)
    captured = capture(Returns(lambda x: x.add_(1)), {"image": image})
    assert captured.functions["forward"].run({"image": image})["output"].tolist() == [[1, 1]]
    assert image.tolist() == [[0, 0]]


@pytest.mark.parametrize("make", [lambda x: 3, lambda x: (x, 2), lambda x: (), lambda x: None, lambda x: {"x": "text"}])
def test_outputs_that_are_no_tensors_are_refused(make: object) -> None:
    with pytest.raises(ModelError, match="the module's outputs are not all tensors"):
        _captured(Returns(make))


def test_shapes_that_do_not_fit_are_told_with_the_line() -> None:
    with pytest.raises(ModelError) as raised:
        _captured(Returns(lambda x: x @ torch.zeros(9, 2)))
    assert raised.value.what == "Returns does not run on inputs of image [1, 3, 8, 8]"
    assert "RuntimeError" in raised.value.cause
    assert "test_program.py:" in raised.value.cause
    assert "x @ torch.zeros(9, 2)" in raised.value.cause


def _branches(x: Tensor) -> Tensor:
    if x.sum() > 0:
        return x
    return -x


def _leaves_torch(x: Tensor) -> Tensor:
    return torch.from_numpy(x.numpy() + 1)


@pytest.mark.parametrize(
    ("make", "names_the_operator", "names_the_line"),
    [(_branches, "data-dependent", "if x.sum() > 0:"), (_leaves_torch, "numpy", "torch.from_numpy(x.numpy() + 1)")],
)
def test_what_cannot_be_captured_is_told_with_the_line(make: object, names_the_operator: str, names_the_line: str) -> None:
    with pytest.raises(ModelError) as raised:
        _captured(Returns(make))
    assert raised.value.what == "torch.export cannot capture Returns"
    assert names_the_operator in raised.value.cause
    assert names_the_line in raised.value.cause
    assert "test_program.py:" in raised.value.cause


def test_capture_leaves_training_mode() -> None:
    module = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3)).train()
    captured = capture(module, {"x": torch.randn(2, 3)})
    first, second = (captured.functions["forward"].run({"x": torch.ones(2, 3)})["output"] for _ in range(2))
    assert torch.equal(first, second)


def test_a_saved_program_is_loaded_with_its_names_and_precision(tmp_path: Path) -> None:
    captured = capture(_conv(), {"image": torch.randn(1, 3, 8, 8)}, ("features",))
    captured.precision = "fp16"
    expected = captured.functions["forward"].run(captured.functions["forward"].example_inputs)
    captured.save(tmp_path)
    loaded = program.load(tmp_path)
    forward = loaded.functions["forward"]
    assert loaded.precision == "fp16"
    assert list(forward.example_inputs) == ["image"]
    torch.testing.assert_close(forward.run(forward.example_inputs), expected)
    torch.testing.assert_close(forward.exported.module()(*forward.example_inputs.values()), (expected["features"],))


def test_rewriting_a_copy_leaves_the_original_and_shares_its_weights() -> None:
    original = _captured()
    graph = str(original.functions["forward"].graph_module.graph)
    tried = original.copy()
    assert {t.data_ptr() for g in tried for t in g.parameters()} == {t.data_ptr() for g in original for t in g.parameters()}
    passes.run(tried, RuntimeProfile(source="tests"))
    assert "batch_norm" not in str(tried.functions["forward"].graph_module.graph)
    assert str(original.functions["forward"].graph_module.graph) == graph
    image = {"image": torch.randn(1, 3, 8, 8)}
    torch.testing.assert_close(original.functions["forward"].run(image), tried.functions["forward"].run(image))


def test_a_program_that_was_exported_can_be_copied() -> None:
    original = _captured()
    original.export()
    passes.run(original.copy(), RuntimeProfile(source="tests"))
    assert "batch_norm" in original.export().graph_module.code


def _changed_weight() -> Program:
    module = _conv()
    module[0].weight.data[0, 0, 0, 0] += 1e-3
    return _captured(module)


def _changed_statistic() -> Program:
    module = _conv()
    module[1].running_var += 1e-3
    return _captured(module)


@pytest.mark.parametrize(
    "other",
    [
        _changed_weight,
        _changed_statistic,
        lambda: _captured(_conv(padding=1)),
        lambda: _captured(None, 2, 3, 8, 8),
        lambda: capture(_conv(), {"photo": torch.zeros(1, 3, 8, 8)}),
        lambda: capture(_conv(), {"image": torch.zeros(1, 3, 8, 8)}, ("logits",)),
        lambda: Program(_captured().functions, "fp16"),
        lambda: Program({"encode": _captured().functions["forward"]}),
    ],
    ids=["weight", "statistic", "attribute", "input shape", "input name", "output name", "precision", "function"],
)
def test_the_fingerprint_tells_programs_apart(other: object) -> None:
    assert other().fingerprint() != _captured().fingerprint()


def test_the_fingerprint_tells_token_types_apart() -> None:
    narrow, wide = (capture(Returns(lambda x: x + 1), {"x": torch.zeros(2, dtype=t)}) for t in (torch.int32, torch.int64))
    assert narrow.fingerprint() != wide.fingerprint()


def test_the_same_program_has_the_same_fingerprint() -> None:
    assert _captured().fingerprint() == _captured().fingerprint()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.bool, torch.int64, torch.complex64], ids=str)
@pytest.mark.parametrize("shape", [(), (2,), (0,)], ids=str)
def test_weights_of_any_dtype_have_a_fingerprint(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    def fingerprint(value: float) -> str:
        module = Returns(lambda x: (x, module.weight))
        module.register_buffer("weight", torch.full(shape, value).to(dtype))
        return capture(module, {"x": torch.zeros(2)}).fingerprint()

    assert (fingerprint(0.0) == fingerprint(1.0)) == (shape == (0,))


@pytest.mark.parametrize(
    ("module", "shape", "macs"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (1, 3, 10, 10), 8 * 3 * 9 * 100),
        (nn.Conv2d(8, 8, 3, stride=2, groups=8), (1, 8, 11, 11), 8 * 9 * 25),
        (nn.Linear(5, 7), (2, 3, 5), 2 * 3 * 5 * 7),
        (nn.ReLU(), (1, 3), 0),
    ],
    ids=["convolution", "depthwise", "linear", "activation"],
)
def test_macs_are_those_of_the_layers(module: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    assert capture(module, {"x": torch.zeros(shape)}).macs() == macs


def test_a_weight_that_two_layers_share_is_counted_once() -> None:
    layer = nn.Linear(4, 4)
    assert capture(nn.Sequential(layer, nn.ReLU(), layer), {"x": torch.zeros(1, 4)}).parameter_count() == 4 * 4 + 4
