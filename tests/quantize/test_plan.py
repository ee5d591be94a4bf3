"""A plan is a file that is read, edited and applied again, and that fits one graph only."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from quantizing import INTEGERS, Net, ask, calls, noise, quantized, run
from torch import nn

from edgekit import quantize
from edgekit.errors import InputError, UnknownName, UsageError
from edgekit.quantize import plan, schemes
from edgekit.quantize.asking import Request
from edgekit.quantize.plan import Assignment, Plan, WeightFormat

_CONV = "{node: conv2d, operator: conv2d, module: conv, weight: int8, activation: uint8}"


def _request(**settings: str) -> Request:
    net = Net(lambda net, x: net.fc(net.conv(x).relu().mean((2, 3))), conv=nn.Conv2d(3, 4, 3), fc=nn.Linear(4, 2))
    torch.manual_seed(0)
    for part in (net.conv, net.fc):
        part.reset_parameters()
    return ask(net, noise(1, 3, 8, 8), **settings)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """int8's plan for the small net."""
    made = quantize.make_plan(_request())
    made.write(tmp_path / "plan.yaml")
    assert plan.read(tmp_path / "plan.yaml") == made
    return tmp_path / "plan.yaml"


def _edited(path: Path, before: str, after: str) -> Request:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    return _request(scheme=str(path))


@pytest.mark.parametrize(
    ("written", "form", "bits"),
    [
        ("int8", WeightFormat(kind="int8"), 8),
        ("float16", WeightFormat(kind="float16"), 16),
        ("uint4 in groups of 32", WeightFormat(kind="uint4", group=32), 4),
        ("palette of 6 bits", WeightFormat(kind="palette", bits=6), 6),
        ("int4 in groups of 16", WeightFormat(kind="int4", group=16), 4),
    ],
)
def test_a_weight_format_is_read_as_it_is_written(written: str, form: WeightFormat, bits: int) -> None:
    read = Assignment.model_validate({"node": "n", "operator": "linear", "weight": written})
    assert read.weight == form
    assert read.model_dump()["weight"] == str(form) == written
    assert form.bits_per_weight == bits


@pytest.mark.parametrize("wrong", ["int5", "palette of some bits", "int4 in groups of 0", "palette of 5 bits", "int8 or so"])
def test_a_weight_format_that_does_not_exist_is_refused(wrong: str, written: Path) -> None:
    with pytest.raises(UsageError, match=r"sites\.\d+\.weight"):
        quantize.make_plan(_edited(written, "weight: int8", f"weight: {wrong}"))


def test_a_plan_has_a_line_for_each_operator(written: Path) -> None:
    lines = written.read_text().splitlines()
    assert f"- {_CONV}" in lines
    assert "- {node: relu, operator: relu, why: computed with conv2d}" in lines
    assert "- {node: mean, operator: mean, why: the runtime has no integer kernel for mean}" in lines
    assert len([line for line in lines if line.startswith("- {node")]) == 4


def test_a_plan_applied_again_gives_the_same_graph(written: Path) -> None:
    first, again = quantized(_request()), quantized(_request(scheme=str(written)))
    assert torch.equal(*(run(program, noise(1, 3, 8, 8))[0] for program in (first, again)))


def test_an_edited_plan_is_followed(written: Path) -> None:
    program = quantized(_edited(written, _CONV, "{node: conv2d, operator: conv2d, module: conv}"))
    assert [len(node.users) for node in calls(program, "quantize_per_tensor")] == [1, 1]
    (conv,) = calls(program, "conv2d")
    assert conv.args[0].op == "placeholder"


def test_an_unknown_key_is_refused_with_the_near_ones(written: Path) -> None:
    with pytest.raises(UsageError) as raised:
        quantize.make_plan(_edited(written, "activation:", "activations:"))
    assert "did you mean activation?" in raised.value.next_step


def test_a_plan_for_another_model_is_refused(written: Path) -> None:
    other = Net(lambda net, x: net.fc(x.mean((2, 3))), fc=nn.Linear(3, 2))
    with pytest.raises(InputError, match="the plan does not fit net") as raised:
        quantize.make_plan(ask(other, noise(1, 3, 8, 8), scheme=str(written)))
    assert "`--quantize int8` writes its plan.yaml" in raised.value.next_step


def test_a_plan_for_another_input_size_is_refused(written: Path) -> None:
    request = _request(scheme=str(written))
    other = ask(Net(lambda net, x: x.relu()), noise(1, 3, 8, 8), scheme=str(written))
    other.program = _request().program.copy()
    quantize.make_plan(other)  # the weights, and who asks, do not matter
    larger = Net(lambda net, x: net.fc(net.conv(x).relu().mean((2, 3))), conv=nn.Conv2d(3, 4, 3), fc=nn.Linear(4, 2))
    with pytest.raises(InputError, match="does not fit"):
        quantize.make_plan(ask(larger, noise(1, 3, 12, 12), scheme=str(request.settings.scheme)))


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (f"- {_CONV}\n", "", "no lines for conv2d"),
        (f"- {_CONV}\n", f"- {_CONV}\n- {_CONV}\n", "2 lines for conv2d"),
        ("- {node: relu", "- {node: tanh, operator: tanh}\n- {node: relu", "no operator tanh"),
        (_CONV, _CONV.replace("node: conv2d", "node: conv2d_7"), "no operator conv2d_7"),
        (
            "operator: mean, why: the runtime has no integer kernel for mean",
            "operator: mean, activation: uint8",
            "no integer kernel",
        ),
        (
            "operator: mean, why: the runtime has no integer kernel for mean",
            "operator: mean, weight: int8",
            "no constant weight",
        ),
        ("weight: int8, activation: uint8", "weight: int8, activation: int8", "computes with uint8 integers, not with int8"),
        (_CONV, _CONV.replace("uint8", "dynamic"), "computes no conv2d with int8 weights in ranges of each run"),
        ("weight: int8, activation: uint8", "weight: int4 in groups of 2", "takes no int4 weights in conv2d"),
        (_CONV, _CONV.replace(" weight: int8,", ""), "with uint8 goes the weight int8, not one in floating point"),
        (_CONV, _CONV.replace("weight: int8", "weight: palette of 4 bits"), "not palette of 4 bits"),
        (_CONV, _CONV.replace("operator: conv2d", "operator: linear"), "that operator is conv2d"),
    ],
)
def test_an_edited_line_that_cannot_be_followed_is_refused(written: Path, before: str, after: str, why: str) -> None:
    with pytest.raises(InputError) as raised:
        quantize.make_plan(_edited(written, before, after))
    assert why in f"{raised.value.what} {raised.value.cause}"


def test_a_scheme_is_found_by_its_name_and_near_names_are_offered() -> None:
    assert schemes.find("int8")[0].CALIBRATED
    with pytest.raises(UnknownName) as raised:
        schemes.find("int9")
    assert "int8" in raised.value.next_step
    with pytest.raises(UnknownName, match="fp61") as raised:
        schemes.find("fp61")
    assert "fp16" in raised.value.next_step


def test_a_runtime_without_integers_leaves_all() -> None:
    request = _request()
    request.support = INTEGERS.model_copy(update={"activation": None})
    made = quantize.make_plan(request)
    assert isinstance(made, Plan)
    assert not any(one.changes for one in made.sites)
