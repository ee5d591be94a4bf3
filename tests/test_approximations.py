"""Approximations run only when asked for, are reported, and are judged as precision, not as conversion."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import SHAPE, Command, assert_error

from edgekit import api, artifact, parity, passes, recipe
from edgekit.errors import ParityError, UnknownName, UsageError

pytestmark = pytest.mark.slow

GELU = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GELU(), nn.Conv2d(8, 8, 3), nn.GELU(), nn.Flatten())
"""


@pytest.fixture(scope="module")
def gelu_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gelu") / "net.py"
    path.write_text(GELU)
    return path


@pytest.fixture(scope="module")
def approximate(gelu_file: Path, tmp_path_factory: pytest.TempPathFactory) -> artifact.Artifact:
    """The module exported through a recipe that asks for the approximation."""
    request = gelu_file.with_name("net-onnx.yaml")
    request.write_text(f"model: {gelu_file.name}:build\ntarget: onnx\ninput_shapes: [[{SHAPE}]]\napproximations: [gelu]\n")
    return api.export(request, output=tmp_path_factory.mktemp("out"))


def test_the_manifest_tells_what_was_approximated(approximate: artifact.Artifact) -> None:
    records = approximate.manifest.passes
    assert [record.name for record in records if record.approximate] == ["approximate_gelu"]
    assert {record.name: record.changed for record in records}["approximate_gelu"] == 2
    assert [record.name for record in records if not record.approximate] == list(passes.ORDER)
    assert approximate.manifest.recipe.approximations == ("gelu",)


def test_the_conversion_is_judged_against_the_approximated_graph(approximate: artifact.Artifact) -> None:
    for record in (approximate.manifest.parity, parity.check(approximate)):
        assert record.conversion.sqnr_db is not None
        assert record.precision.sqnr_db is not None
        assert record.conversion.sqnr_db > 110  # round-off alone
        assert 40 < record.precision.sqnr_db < 80  # what the approximation costs
        assert record.reference.endswith("; the conversion, the same with gelu approximated")


def test_without_asking_nothing_is_approximated(gelu_file: Path, tmp_path: Path) -> None:
    made = api.export(f"{gelu_file}:build", "onnx", input_shapes=((1, 3, 32, 32),), output=tmp_path)
    assert not any(record.approximate for record in made.manifest.passes)
    assert made.manifest.parity.precision.sqnr_db is not None
    assert made.manifest.parity.precision.sqnr_db > 110
    assert "approximated" not in made.manifest.parity.reference


def test_an_approximation_beyond_the_precision_bound_publishes_nothing(gelu_file: Path, tmp_path: Path) -> None:
    options = {"input_shapes": ((1, 3, 32, 32),), "approximations": ("gelu",), "precision_sqnr_db": 100.0}
    with pytest.raises(ParityError) as raised:
        api.export(f"{gelu_file}:build", "onnx", output=tmp_path, **options)
    assert "misses the precision bound" in raised.value.what
    assert raised.value.cause == "the conversion is right, so it is the precision or the approximations that were asked for"
    assert not list(tmp_path.iterdir())


def test_the_command_line_asks_for_one(gelu_file: Path, tmp_path: Path, edgekit: Command) -> None:
    request = ["export", f"{gelu_file}:build", "-t", "onnx", "--input-shape", SHAPE, "-o", tmp_path, "--approximate", "gelu"]
    done = edgekit(*request, "--explain")
    assert done.code == 0, done.err
    assert "Computed approximately, as asked: gelu." in done.out
    assert "approximate_gelu (approximate)" in done.out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--approximate", "gleu"], ["unknown approximation 'gleu'", "did you mean gelu?"]),
        (["--passes", "functionalize,approximate_gelu"], ["pass approximate_gelu is not exact", "--approximate gelu"]),
    ],
)
def test_a_wrong_request_is_refused(
    gelu_file: Path, tmp_path: Path, edgekit: Command, more: list[str], words: list[str]
) -> None:
    request = ["export", f"{gelu_file}:build", "-t", "onnx", "--input-shape", SHAPE, "-o", tmp_path / "out"]
    assert_error(edgekit(*request, *more), 2, *words)
    assert not (tmp_path / "out").exists()


def test_approximations_come_behind_what_makes_the_graph_plain() -> None:
    order = passes.order_of(None, ["gelu"])
    assert order[:3] == ("inline_autocast", "functionalize", "approximate_gelu")
    assert passes.through_approximations(order) == order[:3]
    assert passes.through_approximations(passes.ORDER) == ()
    assert passes.order_of(["fold_batchnorm"], ["gelu", "gelu"]) == ("approximate_gelu", "fold_batchnorm")
    with pytest.raises(UnknownName):
        passes.order_of(None, ["silu"])
    with pytest.raises(UsageError):
        passes.order_of(["approximate_gelu"], [])


def test_a_recipe_holds_approximations(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("model: casvit_xs\ntarget: onnx\napproximations: [gelu]\n")
    assert recipe.load(path).approximations == ("gelu",)
