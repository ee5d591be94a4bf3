"""Errors say what happened, why and what to do, keep that across processes, and end in the promised exit codes."""

from __future__ import annotations

import pickle
import re

import pytest

from edgekit import errors
from edgekit.errors import EdgekitError, UnknownName, UsageError, WeightsError

_TREE = dict(re.findall(r"[├└]── (\w+)\s+(\d+)", errors.__doc__ or ""))
_KINDS = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, EdgekitError)}


def test_the_tree_in_the_docstring_is_complete() -> None:
    assert set(_TREE) == set(_KINDS) - {"EdgekitError"}


@pytest.mark.parametrize("name", _TREE)
def test_each_error_has_the_exit_code_the_tree_states(name: str) -> None:
    assert _KINDS[name].exit_code == int(_TREE[name])


def test_an_error_prints_what_cause_and_next_step_and_leaves_out_what_it_lacks() -> None:
    assert str(UsageError("it broke", cause="rust", next_step="oil it")) == "it broke\ncause: rust\nnext:  oil it"
    assert str(UsageError("it broke")) == "it broke"


@pytest.mark.parametrize(
    "error",
    [
        WeightsError("w.pth is no checkpoint", cause="it is empty", next_step="give another"),
        UnknownName("model", "lsnt", ["lsnet", "resnet"], listing="edgekit models"),
    ],
)
def test_an_error_crosses_processes_whole(error: EdgekitError) -> None:
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is type(error)
    assert str(copied) == str(error)
    assert copied.as_dict() == error.as_dict()


def test_an_unknown_name_is_offered_the_near_ones() -> None:
    error = UnknownName("model", "lsnt", ["lsnet", "lsnet_t", "casvit"], listing="edgekit models")
    assert error.near == ["lsnet", "lsnet_t"]
    assert error.next_step == "did you mean lsnet or lsnet_t? (edgekit models lists them all)"


def test_a_name_near_to_nothing_is_offered_all_or_where_they_are_listed() -> None:
    assert UnknownName("target", "zzz", ["onnx", "coreml"]).next_step == "choose one of: coreml, onnx"
    assert UnknownName("model", "zzz", ["lsnet"], listing="edgekit models").next_step == "see `edgekit models`"
    assert UnknownName("device", "zzz", []).next_step == "no device can be given here"
