"""Each rule of the linter: a package that it names, and one that it leaves alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools
import numpy as np
import programs
import pytest
from coremltools.converters import mil

from edgekit import profiles
from edgekit.inspection import Finding, lint
from edgekit.profiles import RuntimeProfile
from edgekit.runtimes.coreml_reference import package
from edgekit.runtimes.coreml_reference.package import Block, Function, Operation, Type

pytestmark = pytest.mark.slow

mb = mil.Builder
IPHONE = profiles.for_target(profiles.load("iphone"), "coreml")


def _zeros(*shape: int, dtype: str = "float16") -> np.ndarray:
    return np.zeros(shape, dtype)


X = _zeros(1, 16, 6, 64)


def _conv(*kernel: int, channels: int = 16, **options: Any) -> Callable[[Any], Any]:
    weight = np.ones((16, channels // options.get("groups", 1), *kernel), np.float16)
    return lambda x: mb.conv(x=x, weight=weight, pad_type="same", **options)


def _softmax_log(x: Any) -> Any:
    return mb.log(x=mb.softmax(x=x, axis=1), epsilon=np.float16(0))


def _stored_in_fp32(x: Any) -> Any:
    return mb.add(x=x, y=mb.cast(x=mb.const(val=np.ones(64, np.float32)), dtype="fp16"))


def _cast(number: float) -> Callable[[Any], Any]:
    return lambda x: mb.add(x=x, y=mb.cast(x=mb.const(val=np.float32(number)), dtype="fp16"))


def _through_int16(x: Any) -> Any:
    return mb.cast(x=mb.cast(x=x, dtype="int16"), dtype="fp16")


def _added(number: float, dtype: type = np.float16) -> Callable[[Any], Any]:
    return lambda x: mb.add(x=x, y=dtype(number))


CASES: list[tuple[str, Callable[[Any], Any], np.ndarray, Callable[[Any], Any], np.ndarray]] = [
    ("ane-unsupported", lambda x: mb.reduce_prod(x=x, axes=[1]), X, lambda x: mb.reduce_sum(x=x, axes=[1]), X),
    ("ane-gather", lambda x: mb.gather(x=x, indices=np.int32([0, 2]), axis=1), X, lambda x: mb.relu(x=x), X),
    ("ane-sort", lambda x: mb.topk(x=x, k=3, axis=1)[0], X, lambda x: mb.reduce_max(x=x, axes=[1]), X),
    (
        "ane-argument-axis",
        lambda x: mb.reduce_argmax(x=x, axis=-1),
        _zeros(1, 2049),
        lambda x: mb.reduce_argmax(x=x, axis=-1),
        _zeros(1, 2048),
    ),
    ("ane-generation", lambda x: mb.sin(x=x), X, lambda x: mb.tanh(x=x), X),
    (
        "ane-rank",
        lambda x: mb.matmul(x=x, y=x, transpose_y=True),
        _zeros(1, 2, 3, 4, 5),
        lambda x: mb.matmul(x=x, y=x, transpose_y=True),
        _zeros(2, 3, 4, 5),
    ),
    (
        "ane-broadcast",
        lambda x: mb.mul(x=x, y=np.ones((1, 3, 4, 4, 4), np.float16)),
        _zeros(1, 1, 4, 4, 4),
        lambda x: mb.mul(x=x, y=np.ones((1, 3, 4, 4, 4), np.float16)),
        _zeros(1, 3, 1, 4, 4),
    ),
    ("huge-dimension", lambda x: mb.relu(x=x), _zeros(1, 1, 1, 16385), lambda x: mb.relu(x=x), _zeros(1, 1, 1, 16384)),
    (
        "ane-pad",
        lambda x: mb.pad(x=x, pad=[0, 0, 1, 1, 0, 0, 0, 0]),
        X,
        lambda x: mb.pad(x=x, pad=[0, 0, 0, 0, 1, 1, 0, 2]),
        X,
    ),
    (
        "ane-last-axis",
        lambda x: mb.reduce_mean(x=x, axes=[2, 3], keep_dims=True),
        X,
        lambda x: mb.reduce_mean(x=x, axes=[1], keep_dims=True),
        X,
    ),
    ("ane-rank-5", lambda x: mb.relu(x=x), _zeros(1, 2, 3, 4, 5), lambda x: mb.relu(x=x), X),
    ("ane-working-set", lambda x: mb.relu(x=x), _zeros(1, 17, 256, 256), lambda x: mb.relu(x=x), _zeros(1, 16, 256, 256)),
    (
        "ane-copies",
        lambda x: mb.transpose(x=x, perm=[0, 1, 3, 2]),
        X,
        lambda x: mb.transpose(x=mb.reshape(x=x, shape=[4, 4, 6, 64]), perm=[1, 0, 2, 3]),
        X,
    ),
    ("ane-copies", lambda x: mb.reshape(x=x, shape=[1, 16, 384]), X, lambda x: mb.relu(x=x), X),
    ("ane-linear", lambda x: mb.linear(x=x, weight=np.ones((4, 64), np.float16)), X, _conv(1, 1), X),
    ("ane-kernel", _conv(3, 14), X, _conv(3, 13), X),
    ("ane-kernel", _conv(30, 3), X, _conv(29, 3), X),
    ("ane-kernel-cost", _conv(9, 9), X, _conv(7, 7), X),
    ("ane-stride", _conv(3, 3, strides=[5, 5]), X, _conv(3, 3, strides=[6, 6]), X),
    ("ane-stride", _conv(3, 3, strides=[3, 4]), X, _conv(3, 3, strides=[2, 4]), X),
    ("ane-dilation", _conv(3, 3, dilations=[8, 8]), X, _conv(3, 3, dilations=[2, 2]), X),
    ("ane-groups", _conv(3, 3, groups=8), X, _conv(3, 3, groups=4), X),
    ("ane-groups", _conv(3, 3, groups=8), X, _conv(3, 3, groups=16), X),
    (
        "ane-pooling",
        lambda x: mb.max_pool(x=x, kernel_sizes=[3, 3], strides=[3, 3], pad_type="same"),
        X,
        lambda x: mb.max_pool(x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="same"),
        X,
    ),
    ("inf-mask", _added(-np.inf), X, _added(-40000), X),
    ("inf-mask", _cast(-1e9), X, _cast(-1e4), X),
    ("inf-mask", _cast(1e9), X, _added(-1e9, np.float32), X.astype(np.float32)),
    (
        "inf-mask",
        _added(np.inf),
        X,
        lambda x: mb.pad(
            x=mb.clip(x=x, alpha=np.float16(0), beta=np.float16(np.inf)), pad=[1, 1], constant_val=np.float16(-np.inf)
        ),
        X,
    ),
    ("fp16-softplus", lambda x: mb.softplus(x=x), X, lambda x: mb.softplus(x=x), X.astype(np.float32)),
    ("fp16-log", _softmax_log, X, lambda x: mb.log(x=mb.relu(x=x), epsilon=np.float16(1e-3)), X),
    ("fp32-compute", _added(1, np.float32), X.astype(np.float32), _added(1), X),
    ("fp32-constant", _stored_in_fp32, X, _added(1), X),
    (
        "int32-arithmetic",
        _added(1, np.int32),
        _zeros(1, 64, dtype="int32"),
        lambda x: mb.reshape(x=x, shape=[8, 8]),
        _zeros(1, 64, dtype="int32"),
    ),
    ("int32-arithmetic", lambda x: mb.cast(x=x, dtype="int32"), X, _through_int16, X),
    (
        "ane-width-slice",
        lambda x: mb.slice_by_index(x=x, begin=[0, 0, 0, 1], end=[1, 16, 6, 64]),
        X,
        lambda x: mb.slice_by_index(x=x, begin=[0, 1, 0, 0], end=[1, 16, 6, 63]),
        X,
    ),
    ("fp16-subnormal", _added(1e-6), X, _added(1e-3), X),
]


def _found(path: Path, profile: RuntimeProfile = IPHONE) -> dict[str, Finding]:
    return {finding.rule: finding for finding in lint.run(lint.Graph(package.load(path), profile))}


@pytest.mark.parametrize(("rule", "build", "given", "calm", "calm_given"), CASES, ids=[case[0] for case in CASES])
def test_a_rule_names_what_it_is_for_and_nothing_else(
    rule: str, build: Any, given: np.ndarray, calm: Any, calm_given: np.ndarray, tmp_path: Path
) -> None:
    found = _found(programs.save(build, tmp_path / "model.mlpackage", {"x": given}))
    assert rule in found, sorted(found)
    assert all(place.operator and place.name and place.found for place in found[rule].places)
    assert rule not in _found(programs.save(calm, tmp_path / "calm.mlpackage", {"x": calm_given}))


def test_every_rule_is_tested() -> None:
    elsewhere = {"ane-dynamic-shape", "ane-model-size"}
    assert {case[0] for case in CASES} | elsewhere == {rule.id for rule in lint.rules()}


def test_rules_are_unlike_and_say_what_why_who_and_how() -> None:
    rules = lint.rules()
    assert len({rule.id for rule in rules}) == len(rules)
    for rule in rules:
        assert rule.what.endswith(".")
        assert rule.why.endswith(".")
        assert rule.mends.endswith(".")
        assert rule.sources
        assert all(source.startswith("https://") for source in rule.sources)


def test_passes_that_are_named_exist() -> None:
    import re

    from edgekit import passes

    named = {name for rule in lint.rules() for name in re.findall(r"`([a-z_]+)`", rule.mends)}
    assert "lower_group_norm" in named
    assert named <= set(passes.names())


def _mean(shape: Any, path: Path) -> Path:
    import torch

    class Mean(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean(1)

    model = coremltools.convert(
        torch.jit.trace(Mean(), torch.ones(1, 4)),
        inputs=[coremltools.TensorType(name="x", shape=shape, dtype=np.float32)],
        minimum_deployment_target=coremltools.target.iOS17,
        skip_model_load=True,
    )
    model.save(str(path))
    return path


def test_an_open_shape_is_named_and_a_few_stated_ones_are_not(tmp_path: Path) -> None:
    open_shape = coremltools.Shape((1, coremltools.RangeDim(2, 9, default=4)))
    found = _found(_mean(open_shape, tmp_path / "open.mlpackage"))["ane-dynamic-shape"]
    assert [(place.operator, place.name, place.found) for place in found.places] == [("input", "x", "1x?, ? is open")]
    stated = coremltools.EnumeratedShapes(shapes=[(1, 4), (1, 8)])
    assert "ane-dynamic-shape" not in _found(_mean(stated, tmp_path / "stated.mlpackage"))
    assert "ane-dynamic-shape" not in _found(_mean((1, 4), tmp_path / "fixed.mlpackage"))


def test_weights_of_more_than_a_gigabyte_are_named() -> None:
    def graph(elements: int) -> lint.Graph:
        weight = np.broadcast_to(np.float16(1), (elements,))  # as large, without the memory
        constant = Operation("const", "w", {"val": (weight,)}, (("w", Type("fp16", weight.shape)),))
        return lint.Graph(Function("main", 17, {}, {}, Block((), (constant,), ("w",))), IPHONE)

    assert [finding.rule for finding in lint.run(graph(600_000_000))] == ["ane-model-size"]
    assert lint.run(graph(400_000_000)) == ()


def test_the_device_profile_decides_what_leaves(tmp_path: Path) -> None:
    path = programs.save(
        lambda x: mb.gather(x=mb.silu(x=x), indices=np.int32([0, 2]), axis=1), tmp_path / "model.mlpackage", {"x": X}
    )
    assert "ane-unsupported" not in _found(path)
    found = _found(path, IPHONE.model_copy(update={"leaves_accelerator": ("aten.silu",)}))
    assert found["ane-unsupported"].operators == {"silu": 1}
    assert "ane-gather" not in found


def test_places_are_gathered_by_rule_and_tell_the_weight_they_follow(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        x = mb.conv(x=x, weight=mb.const(val=np.ones((16, 16, 1, 1), np.float16), name="p_head_0_weight_to_fp16"))
        return mb.softplus(x=mb.softplus(x=mb.sin(x=x)))

    path = programs.save(build, tmp_path / "model.mlpackage", {"x": X})
    found = lint.run(lint.Graph(package.load(path), IPHONE))
    assert [(finding.rule, finding.operators) for finding in found] == [
        ("fp16-softplus", {"softplus": 2}),
        ("ane-generation", {"sin": 1}),
    ]
    assert {place.source for finding in found for place in finding.places} == {"after head_0_weight"}
    graph = lint.Graph(package.load(path), IPHONE)
    assert graph.sources[graph.name(graph.operations[0])] == "head_0_weight"


def test_nested_operations_are_seen(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        positive = mb.greater(x=mb.reduce_sum(x=x, axes=[0, 1, 2, 3], keep_dims=False), y=np.float16(0))
        return mb.cond(pred=positive, _true_fn=lambda: mb.softplus(x=x), _false_fn=lambda: mb.relu(x=x))

    path = programs.save(build, tmp_path / "model.mlpackage", {"x": X})
    assert _found(path)["fp16-softplus"].operators == {"softplus": 1}


def test_a_finding_is_plain_data(tmp_path: Path) -> None:
    import json

    path = programs.save(lambda x: mb.softplus(x=x), tmp_path / "model.mlpackage", {"x": X})
    json.dumps([dataclasses.asdict(finding) for finding in lint.run(lint.Graph(package.load(path), IPHONE))])
