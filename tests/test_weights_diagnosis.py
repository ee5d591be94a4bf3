"""Why a checkpoint does not fit: the usual stories, told apart by names and shapes alone."""

from __future__ import annotations

import pytest
import torch

from edgekit import models
from edgekit.checkpoint import without_counters
from edgekit.models import Variant
from edgekit.weights_diagnosis import likeliest_cause

pytestmark = pytest.mark.slow

_State = dict[str, torch.Tensor]
_VARIANT = models.find("lsnet_t")


def _state(variant: Variant) -> _State:
    with torch.device("meta"):
        return without_counters(models.build(variant).state_dict())


@pytest.fixture(scope="module")
def own() -> _State:
    return _state(_VARIANT)


def _with_classes(state: _State, classes: int) -> _State:
    return {n: t.new_empty(classes, *t.shape[1:]) if n.startswith("head.l") else t for n, t in state.items()}


@pytest.mark.parametrize("name", ["lsnet_s", "lsnet_b", "lsnet_t_distill"])
def test_the_weights_of_another_variant(own: _State, name: str) -> None:
    cause, step = likeliest_cause(_state(models.find(name)), own, _VARIANT)
    assert cause == f"these are the weights of {name}"
    assert step == f"export {name} instead, or give the checkpoint of lsnet_t"


def test_a_plain_checkpoint_for_the_distilled_variant(own: _State) -> None:
    distilled = models.find("lsnet_t_distill")
    assert likeliest_cause(own, _state(distilled), distilled)[0] == "these are the weights of lsnet_t"


@pytest.mark.parametrize(
    "changed", [_state(models.find("lsnet_s").at_size(384)), _with_classes(_state(models.find("lsnet_s")), 10)]
)
def test_another_variant_made_for_another_size_or_other_classes(own: _State, changed: _State) -> None:
    cause, step = likeliest_cause(changed, own, _VARIANT)
    assert cause == "these look like the weights of lsnet_s"
    assert "export lsnet_s instead" in step


@pytest.mark.parametrize("size", [160, 384, 512])
def test_the_attention_tables_of_another_input_size(own: _State, size: int) -> None:
    cause, step = likeliest_cause(_state(_VARIANT.at_size(size)), own, _VARIANT)
    assert "another input size" in cause
    assert f"{size}x{size}" in cause
    offered = step.removeprefix("give --input-size ").split(",")[0].split(" or ")
    assert str(size) in offered
    for other in offered:
        assert [t.shape for t in _state(_VARIANT.at_size(int(other))).values()] == [
            t.shape for t in _state(_VARIANT.at_size(size)).values()
        ], "every size offered takes this checkpoint"


def test_heads_that_do_not_agree_on_their_classes(own: _State) -> None:
    torn = {**own, "head.l.bias": own["head.l.bias"].new_empty(10)}
    cause, step = likeliest_cause(torn, own, _VARIANT)
    assert cause == "its heads have different classes: head.l.bias [10]"
    assert "file.py:factory" in step


def test_a_prefix_of_the_training_framework_s(own: _State) -> None:
    cause, step = likeliest_cause({f"backbone.{name}": t for name, t in own.items()}, own, _VARIANT)
    assert "'backbone.'" in cause
    assert "removeprefix('backbone.')" in step


def test_folded_batchnorm_that_left_the_names(own: _State) -> None:
    folded = {name: t for name, t in own.items() if "running" not in name}
    assert likeliest_cause(folded, own, _VARIANT)[0] == "it was saved after BatchNorm folding"


def test_folded_batchnorm_that_took_the_names_of_the_pair(own: _State) -> None:
    folded = {name.replace(".c.weight", ".weight"): t for name, t in own.items() if ".bn." not in name}
    cause, step = likeliest_cause(folded, own, _VARIANT)
    assert cause == "it was saved after BatchNorm folding"
    assert "training checkpoint" in step


def test_another_architecture(own: _State) -> None:
    foreign = {f"features.{n}.weight": torch.empty(3) for n in range(50)}
    assert likeliest_cause(foreign, own, _VARIANT)[0] == "none of its names belong to this model: it is another architecture's"
    few = {**foreign, "head.l.weight": own["head.l.weight"]}
    assert "only 1 of its names" in likeliest_cause(few, own, _VARIANT)[0]


def test_a_partial_copy(own: _State) -> None:
    partial = dict(list(own.items())[:-2])
    assert "changed or partial copy" in likeliest_cause(partial, own, _VARIANT)[0]
