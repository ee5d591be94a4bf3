"""Core ML packages, read back as MIL programs: what their operators are and how many axes their tensors have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from vit import VisionTransformer
from windows import WindowAttention

from edgekit import passes, profiles
from edgekit.errors import ConversionError
from edgekit.program import capture
from edgekit.quiet import quiet
from edgekit.targets import coreml

PROFILE = profiles.for_target(profiles.load("iphone"), "coreml")


def operations(module: nn.Module, shape: tuple[int, ...], directory: Path, order: tuple[str, ...] | None = None) -> list[Any]:
    """The operations of the package that `module` becomes after the passes, constants left out."""
    import coremltools

    program = capture(module, {"x": torch.randn(shape)})
    directory.mkdir(exist_ok=True)
    with quiet():
        passes.run(program, PROFILE, order, check=True)
        (package,) = coreml.lower(program, PROFILE, directory)
        spec = coremltools.models.MLModel(str(package), skip_model_load=True).get_spec()
    (function,) = spec.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    return [operation for operation in block.operations if operation.type != "const"]


def _ranks(found: list[Any]) -> list[int]:
    return [output.type.tensorType.rank for operation in found for output in operation.outputs]


class Blocks(nn.Module):
    """Permutations of seven axes with arithmetic between them."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.view(2, 2, 2, 3, 2, 2, 4).permute(0, 5, 2, 6, 3, 1, 4)
        y = (y.relu() - y.mean((1, 3), keepdim=True)).permute(3, 1, 0, 2, 5, 4, 6)
        return y.reshape(8, -1)


@pytest.mark.parametrize(("module", "shape"), [(WindowAttention(), (2, 4, 6, 8)), (Blocks(), (2, 192))])
def test_a_module_of_high_rank_becomes_a_package_of_five_axes_at_most(
    module: nn.Module, shape: tuple[int, ...], tmp_path: Path
) -> None:
    assert max(_ranks(operations(module, shape, tmp_path))) <= 5


def test_a_vision_transformer_becomes_convolutions_without_transposes(tmp_path: Path) -> None:
    """Products take their operands transposed by an argument, which coremltools folds into them."""
    module = VisionTransformer()
    kept = [name for name in passes.ORDER if name != "channels_first"]
    kinds = {
        directory: [operation.type for operation in operations(module, (1, 3, 16, 16), tmp_path / directory, order)]
        for directory, order in (("before", tuple(kept)), ("after", None))
    }
    assert kinds["before"].count("transpose") >= 6
    assert kinds["after"].count("transpose") == 0
    assert kinds["before"].count("linear") == 8
    assert kinds["after"].count("linear") == 0
    assert kinds["after"].count("conv") == 10


class Unliftable(nn.Module):
    """Sorting on six axes, which no pass knows on fewer."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(2, 2, 2, 2, 2, 2).topk(1, 3)[0].flatten(1)


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Unliftable()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.relu()) + 1


def test_what_stays_above_five_axes_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConversionError) as raised:
        operations(Outer(), (8, 8), tmp_path)
    error = raised.value
    assert error.what == "Core ML takes no tensor of more than 5 axes"
    assert "topk (inner): no form of aten.topk.default below rank 6 is known" in error.cause
    assert "test_coreml_target.py" in error.cause
    assert ".topk(1, 3)[0].flatten(1)" in error.cause
    assert error.exit_code == 1


class Size(nn.Module):
    def forward(self, größe: Tensor) -> Tensor:
        return größe * 2


def test_a_name_that_core_ml_does_not_keep_is_refused(tmp_path: Path) -> None:
    program = capture(Size(), {"größe": torch.randn(1, 4)})
    with pytest.raises(ConversionError, match="no input or output named 'größe'") as raised:
        coreml.lower(program, PROFILE, tmp_path)
    assert raised.value.next_step == "rename that argument of forward, or that output, in the model"


def test_a_pass_left_out_is_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(ConversionError) as raised:
        operations(Blocks(), (2, 192), tmp_path, order=())
    assert "limit_rank" in raised.value.next_step
