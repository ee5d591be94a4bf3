"""LSNet has the published size."""

from __future__ import annotations

from collections import Counter

import published
import pytest
import torch

from edgekit import models, passes
from edgekit.errors import UnknownName, UsageError
from edgekit.models import Variant, lsnet
from edgekit.passes import Changes
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

VARIANTS = list(lsnet.VARIANTS.values())
SMALLEST = VARIANTS[0]


def _rewritten(variant: Variant) -> tuple[Program, dict[str, Changes]]:
    program, _ = published.captured(variant)
    return program, {changes.name: changes for changes in passes.run(program, RuntimeProfile(source="tests"))}


def _learned(program: Program) -> int:
    """Parameters as papers count them: no running statistics, and of each attention's bias table the biases alone."""
    (graph_module,) = program
    tensors = [*graph_module.named_parameters(), *graph_module.named_buffers()]
    tables = [tensor for name, tensor in tensors if name.startswith("folded_index")]
    statistics = [tensor for name, tensor in tensors if "running_" in name]
    biases = sum(tensor.unique().numel() for tensor in tables)
    return program.parameter_count() + biases - sum(tensor.numel() for tensor in [*tables, *statistics])


@pytest.mark.parametrize(
    "variant",
    [pytest.param(v, marks=[pytest.mark.slow] * (v.published_params > 12e6), id=v.name) for v in VARIANTS],
)
def test_after_the_passes_it_has_the_published_parameters_and_macs(variant: Variant) -> None:
    program, changes = _rewritten(variant)
    assert round(_learned(program) / 1e6, 1) == variant.published_params / 1e6
    assert program.macs() == pytest.approx(variant.published_macs, rel=0.1)  # published with one digit after the point
    assert changes["average_heads"].changed == variant.arguments["distillation"]


def test_after_the_passes_no_batchnorm_is_left_but_those_behind_ska() -> None:
    program, changes = _rewritten(lsnet.VARIANTS["lsnet_t_distill"])
    calls = Counter(str(node.target) for graph_module in program for node in graph_module.graph.nodes)
    reasons = [refusal.reason for refusal in changes["fold_batchnorm"].refusals]
    assert len(reasons) == calls["aten.batch_norm.default"] == changes["lower_ska"].changed == 5
    assert all(reason.startswith("no convolution or linear feeds it") for reason in reasons)
    assert calls["edgekit.ska.default"] == calls["aten.index.Tensor"] == 0


def test_the_distilled_form_has_a_second_head_and_nothing_else() -> None:
    plain, distilled = (published.shapes(models.build(lsnet.VARIANTS[name])) for name in ("lsnet_s", "lsnet_s_distill"))
    assert {name.split(".")[0] for name in distilled.keys() - plain.keys()} == {"head_dist"}
    assert plain.items() <= distilled.items()


@pytest.mark.parametrize("size", [96, 160, 512])
def test_other_image_sizes_build_and_run(size: int) -> None:
    variant = SMALLEST.at_size(size)
    with torch.no_grad():
        assert models.build(variant)(published.noise(*variant.input_shape)).shape == (1, 1000)


@pytest.mark.parametrize(("size", "nearest"), [(100, 96), (544, 512), (0, 64), (240, 224)])
def test_an_image_size_it_cannot_take_is_refused_with_the_nearest(size: int, nearest: int) -> None:
    with pytest.raises(UsageError) as raised:
        SMALLEST.at_size(size)
    assert raised.value.cause == "it takes 64 to 512 in steps of 32"
    assert raised.value.next_step == f"try --input-size {nearest}"


def test_the_family_s_name_means_its_smallest_variant() -> None:
    assert models.find("lsnet") is SMALLEST
    with pytest.raises(UnknownName, match="lsnet_x"):
        models.find("lsnet_x")
