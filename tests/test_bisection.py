"""`edgekit verify --bisect`: faults planted into Core ML artifacts are found at their operators."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bisected_module
import numpy as np
import planted
import pytest
import torch
from commands import Command, assert_error
from planted import Package
from torch import Tensor, nn

import edgekit
from edgekit import artifact, pipeline
from edgekit.errors import ModelError, ParityError

pytestmark = pytest.mark.slow

SOURCE = Path(bisected_module.__file__)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An fp16 artifact of the small model, made from a copy of its file. Only to be read."""
    folder = tmp_path_factory.mktemp("bisected")
    source = shutil.copy(SOURCE, folder / "net.py")
    return edgekit.export(f"{source}:build", "coreml", output=folder).directory


@pytest.fixture
def damaged(published: Path, tmp_path: Path) -> Path:
    """A copy of it, to plant faults into."""
    return Path(shutil.copytree(published, tmp_path / "damaged"))


@dataclass
class Fault:
    """What is done to the package, and the operator that is to be named for it, with its module."""

    plant: Callable[[Package], object]
    operator: str
    name: str
    module: str
    between: str = ""
    """The operation that is at fault, where it is one that coremltools put before the operator."""


def _scaled(name: str, parameter: str, factor: float) -> Callable[[Package], object]:
    return lambda package: package.put(name, parameter, package.constant(name, parameter) * factor)


def _sign_flipped(package: Package) -> None:
    weight = package.constant("conv2d_3", "weight")
    weight[np.unravel_index(np.abs(weight).argmax(), weight.shape)] *= -1
    package.put("conv2d_3", "weight", weight)


def _without_bias(package: Package) -> None:
    del package.operation("conv2d_1").inputs["bias"]


def _maximum(package: Package) -> None:
    package.operation("mean").type = "reduce_max"


def _off_by_one(package: Package) -> None:
    package.put("slice_1", "begin", [0, 0])
    package.put("slice_1", "end", [16, 15])
    package.put("slice_1", "end_mask", [True, False])


def _dilated(package: Package) -> None:
    package.put("conv2d", "dilations", [2, 2])
    package.put("conv2d", "pad", [2, 2, 2, 2])


def _another_operand(package: Package) -> None:
    package.operation("view_4").inputs["x"].arguments[0].name = "squeeze_0_cast_fp16"


FAULTS = {
    "a weight's sign flipped": Fault(_sign_flipped, "conv", "conv2d_3", "mlp.0"),
    "a bit of a weight's exponent flipped": Fault(
        lambda package: package.flip_bit("conv2d_2", "weight", element=7, bit=13), "conv", "conv2d_2", "blocks.0.out"
    ),
    "a bias dropped": Fault(_without_bias, "conv", "conv2d_1", "blocks.0.qkv"),
    "axes not swapped": Fault(lambda package: package.put("transpose", "perm", [0, 1, 2, 3]), "transpose", "transpose", "axes"),
    "padding on one side": Fault(lambda package: package.put("conv2d", "pad", [0, 2, 0, 2]), "conv", "conv2d", "stem.conv"),
    "another epsilon": Fault(lambda package: package.put("mul_4", "epsilon", 0.1), "layer_norm", "mul_4", "blocks.0.norm"),
    "another epsilon in what coremltools makes of GroupNorm": Fault(
        lambda package: package.put("add_0", "y", 1e-4), "real_div", "real_div_0", "axes.norm", between="add_0"
    ),
    "softmax along another axis": Fault(lambda package: package.put("softmax", "axis", -2), "softmax", "softmax", "blocks.0"),
    "a slice off by one": Fault(_off_by_one, "slice_by_index", "slice_1", ""),
    "subtracted the other way": Fault(lambda package: package.swap("sub_1", "x", "y"), "sub", "sub_1", ""),
    "a bias scaled": Fault(_scaled("linear_0", "bias", 1.01), "linear", "linear_0", "head"),
    "another dilation": Fault(_dilated, "conv", "conv2d", "stem.conv"),
    "another slope": Fault(lambda package: package.put("leaky_relu", "alpha", 0.11), "leaky_relu", "leaky_relu", "stem.act"),
    "normalized along another axis": Fault(
        lambda package: package.put("mul_4", "axes", [3]), "layer_norm", "mul_4", "blocks.0.norm"
    ),
    "a maximum for a mean": Fault(_maximum, "reduce_max", "mean", "axes"),
    "queries for keys": Fault(_another_operand, "reshape", "view_4", "blocks.0"),
    "scores scaled": Fault(_scaled("mul_6", "y", 1.5), "mul", "mul_6", "blocks.0"),
    "a product's operand transposed": Fault(
        lambda package: package.put("matmul_1", "transpose_y", False), "matmul", "matmul_1", "blocks.0"
    ),
    "another GELU": Fault(lambda package: package.put("gelu", "mode", "SIGMOID_APPROXIMATION"), "gelu", "gelu", "mlp.1"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_fails_and_its_operator_is_named(damaged: Path, edgekit: Command, fault: Fault) -> None:
    with planted.opened(damaged) as package:
        fault.plant(package)
    done = edgekit("verify", damaged, "--bisect", "--json")
    assert done.code == 1, done
    assert done.json["conversion"]["passed"] is False
    culprit = done.json["bisection"]["conversion"]["culprit"]
    assert culprit["result"].replace("_cast_fp16", "") == fault.name
    assert (culprit["operator"], culprit["module"]) == (fault.operator, fault.module)
    assert fault.between in [name.replace("_cast_fp16", "") for name in [*culprit["between"], ""]]
    assert culprit["sqnr_db"] < 60
    assert re.search(r"\.py:\d+: ", culprit["line"])
    # The precision is judged by itself: none of these takes what fp16 holds.
    assert done.json["bisection"]["precision"]["culprit"] is None


def test_a_fault_is_told_in_words(damaged: Path, edgekit: Command) -> None:
    with planted.opened(damaged) as package:
        FAULTS["another epsilon in what coremltools makes of GroupNorm"].plant(package)
    done = edgekit("verify", damaged, "--bisect")
    assert done.code == 1
    lines = {line.split("  ")[0]: line.split() for line in done.out.splitlines()}
    assert lines["conversion departs at"][3:6] == ["real_div", "real_div_0_cast_fp16", "axes.norm"]
    assert "conversion: or one of what coremltools put before it: reshape_0_cast_fp16, reduce_mean_0_cast_fp16, " in done.out
    assert "net.py:28: x = x + self.norm(x.sin().transpose(2, 3))" in done.out
    assert lines["precision holds; weakest"]


def test_a_sound_artifact_has_no_culprit_and_its_weakest_operators_are_named(published: Path, edgekit: Command) -> None:
    done = edgekit("verify", published, "--bisect", "--json")
    assert done.code == 0, done
    found = done.json["bisection"]
    assert set(found) == {"conversion", "precision", "operators", "compared"}
    for question, bound_db in (("conversion", 60), ("precision", 30)):
        assert found[question]["culprit"] is None
        assert bound_db < found[question]["weakest"]["sqnr_db"] < 200
    assert found["compared"] > 0.75 * found["operators"]
    table = edgekit("verify", published, "--bisect").out
    assert "conversion holds; weakest" in table
    assert f"{found['compared']} of {found['operators']} operators compared with PyTorch's values" in table


def test_what_fp16_cannot_hold_is_named_and_not_blamed_on_the_conversion(damaged: Path) -> None:
    """A factor that only fp16 cannot hold, undone behind a rectifier: the right conversion of a model that overflows."""
    with planted.opened(damaged) as package:
        package.put("mul_1", "y", 2.0**15)
        package.put("mul_2", "y", 2.0**-15)
    record = edgekit.verify(damaged)
    assert (record.conversion.passed, record.precision.passed) == (True, False)
    found = edgekit.bisect(damaged)
    assert found.conversion.culprit is None
    culprit = found.precision.culprit
    assert culprit is not None
    assert (culprit.operator, culprit.result, culprit.module) == ("mul", "mul_1_cast_fp16", "axes")
    assert 0 < culprit.overflowed == culprit.inf < culprit.values
    assert culprit.expected_range is not None
    assert culprit.expected_range[1] > 65504
    assert "values beyond what its type holds" in str(culprit)


class Cancelling(nn.Module):
    """What it adds, it takes away again."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        raised = (self.gate(x) + 100).relu()
        return raised - 100


@pytest.fixture(scope="module")
def module() -> Cancelling:
    torch.manual_seed(0)
    return Cancelling()


@pytest.fixture(scope="module")
def whole(module: Cancelling, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a module that is in no file. Only to be read."""
    options: dict[str, Any] = {"inputs": {"x": torch.randn(4, 8)}, "output": tmp_path_factory.mktemp("cancelling")}
    return edgekit.export(module, "coreml", precision="fp32", name="net", **options).directory


@pytest.fixture
def cancelling(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(whole, tmp_path / "cancelling"))


def test_an_error_that_only_what_follows_makes_large_is_where_it_is_made(cancelling: Path, module: Cancelling) -> None:
    with planted.opened(cancelling) as package:
        package.put("add", "y", 100.05)
    assert edgekit.verify(cancelling).conversion.passed is False
    culprit = edgekit.bisect(cancelling, module).conversion.culprit
    assert culprit is not None
    assert (culprit.operator, culprit.result) == ("add", "add")
    assert 60 < culprit.sqnr_db < 70


def test_a_module_given_in_python_is_asked_for(cancelling: Path, module: Cancelling) -> None:
    with pytest.raises(ModelError) as caught:
        edgekit.bisect(cancelling)
    assert caught.value.what == f"{cancelling} cannot be bisected without the model it was made from"
    assert "edgekit.bisect(directory, module)" in caught.value.next_step
    assert edgekit.bisect(cancelling, module).conversion.culprit is None
    torch.manual_seed(1)
    with pytest.raises(ModelError) as caught:
        edgekit.bisect(cancelling, Cancelling())
    assert caught.value.cause == "its weights are others"


@pytest.fixture
def apart(damaged: Path, tmp_path: Path) -> Path:
    """The artifact, made from a file that is the test's own."""
    loaded = artifact.load(damaged)
    source = shutil.copy(SOURCE, tmp_path / "own.py")
    recipe = loaded.manifest.recipe.model_copy(update={"model": f"{source}:build"})
    artifact.write_manifest(damaged, loaded.manifest.model_copy(update={"recipe": recipe}))
    return damaged


def test_a_source_that_is_gone_is_the_next_step(apart: Path, tmp_path: Path, edgekit: Command) -> None:
    (tmp_path / "own.py").unlink()
    assert edgekit("verify", apart).code == 0
    assert_error(edgekit("verify", apart, "--bisect"), 2, "cannot be bisected without the model", "own.py does not exist")


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (("manual_seed(0)", "manual_seed(1)"), "its weights are others"),
        (("* 0.25", "* 0.5"), "its outputs on the reference inputs are others: SQNR "),
    ],
    ids=["other weights", "another forward"],
)
def test_a_source_that_has_changed_is_told(
    apart: Path, tmp_path: Path, edgekit: Command, change: tuple[str, str], cause: str
) -> None:
    source = tmp_path / "own.py"
    source.write_text(source.read_text().replace(*change))
    assert_error(edgekit("verify", apart, "--bisect"), 2, "is not the model that", cause)


def test_an_artifact_of_other_passes_is_told(damaged: Path, edgekit: Command) -> None:
    manifest = artifact.load(damaged).manifest
    artifact.write_manifest(damaged, manifest.model_copy(update={"passes": ()}))
    assert_error(edgekit("verify", damaged, "--bisect"), 4, "was made with other passes than this edgekit's", "channels_first")


def test_other_targets_say_that_they_cannot(tiny_artifact: Path, edgekit: Command) -> None:
    assert_error(edgekit("verify", tiny_artifact, "--bisect"), 4, "onnx artifacts cannot be bisected")


class Bordered(nn.Module):
    """Truth values and whole numbers in, and out; a number of rank 0; a mask of infinities."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
        self.embed = nn.Embedding(10, 8)

    def forward(self, x: Tensor, mask: Tensor, ids: Tensor) -> dict[str, Tensor]:
        y = (self.scores(x) + self.embed(ids)).masked_fill(~mask, float("-inf")).softmax(-1)
        return {"y": y, "large": y > 0.2, "best": y.argmax(-1), "total": y.square().sum()}


def test_borders_that_core_ml_does_not_have_change_no_source(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Bordered()
    mask = torch.arange(8) != torch.tensor([[3], [4], [5]])
    inputs = {"x": torch.randn(3, 8), "mask": mask, "ids": torch.tensor([1, 2, 3])}
    made = edgekit.export(module, "coreml", precision="fp32", inputs=inputs, output=tmp_path).directory
    assert edgekit.bisect(made, module).conversion.culprit is None
    with planted.opened(made) as package:
        package.operation("tanh").type = "sigmoid"
    found = edgekit.bisect(made, module)
    assert found.conversion.culprit is not None
    assert (found.conversion.culprit.operator, found.conversion.culprit.module) == ("sigmoid", "scores.1")


def test_an_export_whose_converter_is_wrong_names_the_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lower = pipeline._lowered

    def wrong(*arguments: Any) -> list[Path]:
        files = lower(*arguments)
        package = Package(files[0])
        FAULTS["a slice off by one"].plant(package)
        package.save()
        return files

    monkeypatch.setattr(pipeline, "_lowered", wrong)
    with pytest.raises(ParityError) as caught:
        edgekit.export(f"{SOURCE}:build", "coreml", output=tmp_path, use_cache=False)
    assert "misses the conversion bound" in caught.value.what
    assert "every pass is exact in float64" in caught.value.cause
    assert re.search(r"; slice_by_index at slice_1\w* is -?\d+\.\d dB from what it should be", caught.value.cause)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def lsnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return edgekit.export("lsnet_t", "coreml", output=tmp_path_factory.mktemp("lsnet")).directory


@pytest.mark.parametrize(
    "fault",
    [
        Fault(_scaled("conv2d_9", "weight", 1.01), "conv", "conv2d_9", "blocks2.2.ffn.m.pw2.c"),
        Fault(lambda package: package.put("add_0", "y", 1e-2), "add", "add_1", "blocks2.3.mixer.lkp.norm", between="add_0"),
        Fault(lambda package: package.put("softmax_2", "axis", -2), "softmax", "softmax_2", "blocks4.7.mixer.m"),
    ],
    ids=["a convolution scaled", "another epsilon of GroupNorm", "softmax along another axis"],
)
def test_a_fault_in_lsnet_is_found(lsnet: Path, tmp_path: Path, edgekit: Command, fault: Fault) -> None:
    directory = Path(shutil.copytree(lsnet, tmp_path / "damaged"))
    test_a_planted_fault_fails_and_its_operator_is_named(directory, edgekit, fault)
