"""`mixed`: what it leaves in floating point for a bound, and its plan's way into an artifact and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Command
from quantizing import Net, ask, noise, quantized
from torch import nn

from edgekit import artifact, quantize
from edgekit.errors import ConversionError, Unsupported
from edgekit.profiling import machine
from edgekit.profiling.measurement import OperatorProfile, OperatorTime
from edgekit.program import Program
from edgekit.quantize import costs
from edgekit.quantize import plan as plans
from edgekit.quantize.asking import Request
from edgekit.quantize.assignment import Search
from edgekit.quantize.noise import Power, Sources, noisiest, of_program, pooled, sqnr_db
from edgekit.quantize.plan import Plan, WeightFormat
from edgekit.quantize.trials import Made, Trials
from edgekit.reference_inputs import of_samples

_FACTORY = """
import torch
from torch import nn


def build():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU(), nn.Conv2d(16, 32, 1), nn.ReLU()),
        *(nn.Conv2d(32, 16, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 6)),
    )
"""

_WIDE = """
import torch
from torch import nn


def build():
    torch.manual_seed(0)
    wide = (layer for _ in range(4) for layer in (nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.ReLU()))
    ends = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 6, bias=False)
    return nn.Sequential(nn.Conv2d(3, 64, 3, bias=False), nn.ReLU(), *wide, *ends)
"""
_DOT_PRODUCTS = {"avx512_vnni", "avx_vnni", "asimddp"}
"""Of integers, with which those of a wide convolution are sure to win."""


def _row() -> Net:
    """Three convolutions in a row, the first of which is small and the last large."""
    torch.manual_seed(0)
    parts = {"first": nn.Conv2d(3, 8, 1), "second": nn.Conv2d(8, 8, 3, padding=1), "third": nn.Conv2d(8, 64, 3, padding=1)}
    return Net(lambda net, x: net.third(net.second(net.first(x).relu()).relu()), **parts)


def _request(**bound: float) -> Request:
    request = ask(_row(), noise(1, 3, 8, 8), scheme="mixed", **bound)
    request.samples = [{"x0": noise(1, 3, 8, 8, seed=seed)} for seed in range(1, 13)]
    return request


def _left(plan: Plan) -> list[str]:
    return [one.module for one in plan.sites if one.operator == "conv2d" and not one.changes]


def _powers(request: Request, plan: Plan) -> list[Power]:
    return of_program(request.program, quantized(request, plan), request.samples)


def _worst_db(request: Request, plan: Plan) -> float:
    """Over all samples, or of the worst of those that an artifact is proved on."""
    powers = _powers(request, plan)
    return sqnr_db(max(power.worst for power in (pooled(powers), *powers[::3])))


def test_a_bound_that_int8_meets_leaves_nothing() -> None:
    assert not _left(quantize.make_plan(_request(least_sqnr_db=20)))


@pytest.mark.parametrize("least_sqnr_db", [40, 43])
def test_the_bound_is_kept(least_sqnr_db: float) -> None:
    request = _request(least_sqnr_db=least_sqnr_db)
    plan = quantize.make_plan(request)
    assert _left(plan)
    assert _worst_db(request, plan) >= least_sqnr_db
    assert "not measured" in plan.why


def test_one_noisy_sample_among_those_an_artifact_is_not_proved_on_counts() -> None:
    """A value that the ranges of all do not cover."""
    request = ask(_row(), noise(1, 3, 32, 32), scheme="mixed", ranges="percentile", least_sqnr_db=30)
    request.samples = [{"x0": noise(1, 3, 32, 32, seed=seed)} for seed in range(1, 13)]
    request.samples[7]["x0"][0, 0, 5, 5] = 40
    int8 = quantize.make_plan(replace(request, settings=request.settings.model_copy(update={"scheme": "int8"})))
    powers = _powers(request, int8)
    assert noisiest(powers, 1) == [7]
    assert sqnr_db(max(power.worst for power in powers[::3])) > 30 > sqnr_db(pooled(powers).worst)
    plan = quantize.make_plan(request)
    assert "first" in _left(plan)
    assert _worst_db(request, plan) >= 30
    assert "over all 12 samples" in plan.why


def test_the_noise_of_what_fails_counts_not_that_of_the_loud() -> None:
    """Nearly all noise is that of `loud`, but the bound fails on one quiet sample, where nearly all is that of the other."""
    branches = Net(
        lambda net, x, y: (net.loud(x), net.quiet(y)),
        loud=nn.Conv2d(4, 8, 3, padding=1, bias=False),
        quiet=nn.Conv2d(4, 8, 3, padding=1, bias=False),
    )
    request = ask(branches, noise(1, 4, 16, 16), noise(1, 4, 16, 16), scheme="mixed", least_sqnr_db=25, correct_bias=False)
    shape = (1, 4, 16, 16)
    drawn = [(noise(*shape, seed=seed), noise(*shape, seed=-seed)) for seed in range(1, 9)]
    request.samples = [{"x0": x**3, "x1": y if place == 0 else 20 * y} for place, (x, y) in enumerate(drawn)]
    plan = quantize.make_plan(request)
    assert _left(plan) == ["quiet"]
    assert _worst_db(request, plan) >= 25


def test_a_trial_ends_once_it_has_failed() -> None:
    """On the noisiest sample, which is not among those that an artifact is proved on: what is said is no less than is allowed,
    and no more than is made."""
    request = ask(_row(), noise(1, 3, 32, 32), ranges="percentile")
    request.samples = [{"x0": noise(1, 3, 32, 32, seed=seed)} for seed in range(1, 13)]
    request.samples[7]["x0"][0, 0, 5, 5] = 40
    int8 = quantized(request, quantize.make_plan(request))
    trials = Trials(request.program, request.samples, int8)
    assert any(sample is request.samples[7] for sample in trials.telling)
    made = trials.of(int8)
    assert 1e-3 < trials.of(int8, 1e-3).noise <= made.noise
    powers = of_program(request.program, int8, request.samples)
    assert (made.noise, made.bound) == (pytest.approx(pooled(powers).worst), len(of_samples(request.samples)))


def test_what_holds_with_little_in_floating_point_is_not_jumped_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise does not add up: with two or three of eight convolutions in floating point the bound holds here, and with all."""
    torch.manual_seed(0)
    names = [f"conv{place}" for place in range(8)]
    rows = Net(
        lambda net, x: torch.cat([getattr(net, name)(x).relu() for name in names], 1),
        **{name: nn.Conv2d(8, 8, 1) for name in names},
    )
    request = ask(rows, noise(1, 8, 8, 8), scheme="mixed", least_sqnr_db=20)
    request.samples = [{"x0": noise(1, 8, 8, 8, seed=seed)} for seed in range(1, 5)]

    def fickle(_: Search, floats: frozenset[str], allowed: float = math.inf) -> Made:
        left = sum(name.startswith("conv2d") for name in floats)
        return Made(10 ** (-20 / 10) * (0.9 if left in (2, 3, 8) else 1.5), bound=0)

    monkeypatch.setattr(Search, "tried", fickle)
    assert len(_left(quantize.make_plan(request))) == 2


def test_a_bound_that_nothing_meets_names_the_best() -> None:
    with pytest.raises(ConversionError, match="no assignment of net reaches 120 dB") as raised:
        quantize.make_plan(_request(least_sqnr_db=120))
    assert "leaves 4" in raised.value.cause or "leaves 5" in raised.value.cause


def test_within_a_size_weights_alone_are_of_eight_bits() -> None:
    request = _request(most_size_mb=0.008)
    plan = quantize.make_plan(request)
    assert _left(plan)
    assert {one.activation for one in plan.sites} == {None}
    stored = [(site, one) for site, one in zip(request.sites, plan.sites, strict=True) if site.weight is not None]
    bytes_ = sum(site.weight.values.numel() * (1 if one.changes else 4) for site, one in stored if site.weight)
    assert bytes_ <= 8000
    less = _request(most_size_mb=0.0065)
    smaller = quantize.make_plan(less)
    assert set(_left(smaller)) < set(_left(plan))
    assert _worst_db(less, smaller) < _worst_db(request, plan)


@pytest.mark.parametrize(("size", "why"), [(0.001, "no assignment of net takes as little as 0.001 MB"), (1.0, "as it is")])
def test_a_size_that_nothing_has_or_all_has_is_said_to_be_one(size: float, why: str) -> None:
    with pytest.raises(ConversionError, match=why):
        quantize.make_plan(_request(most_size_mb=size))


def test_no_latency_is_promised_from_estimates() -> None:
    with pytest.raises(Unsupported, match="no latency can be promised"):
        quantize.make_plan(_request(most_latency_ms=1.0))


def test_a_runtime_that_tells_no_times_is_asked_once_and_the_plan_says_so_in_short() -> None:
    asked = []

    def silent(programs: Sequence[Program]) -> list[OperatorProfile]:
        asked.append(programs)
        return [OperatorProfile(reason="it tells no operator's time: profile another") for _ in programs]

    request = _request(least_sqnr_db=20)
    request.operator_times = silent
    assert quantize.make_plan(request).why.endswith("not measured: it tells no operator's time")
    assert len(asked) == 1


def _timed(programs: Sequence[Program], integers_ms: float = 1.0) -> list[OperatorProfile]:
    return [_times(program, integers_ms) for program in programs]


def _times(program: Program, integers_ms: float) -> OperatorProfile:
    """Each convolution takes 2 ms, with integers 1 ms; `second` is the slower with integers."""
    calls = [
        node for node in program.functions["forward"].graph_module.graph.nodes if str(node.target) == "aten.conv2d.default"
    ]
    times = []
    for module, node in zip(("first", "second", "third"), calls, strict=True):
        integers = node.args[1].op != "get_attr"
        taken = {"second": 3e-3}.get(module, integers_ms / 1e3) if integers else 2e-3
        times.append(OperatorTime(module, "Conv", taken, module=module))
    return OperatorProfile(operators=tuple(times), runs=1)


def test_measured_times_decide() -> None:
    """What is slower with integers is in floating point whatever the bound; within a latency the noisiest goes next."""
    request = _request(least_sqnr_db=20)
    request.operator_times = _timed
    plan = quantize.make_plan(request)
    assert _left(plan) == ["second"]
    assert "measured on this machine" in plan.why
    request = _request(most_latency_ms=5.2)
    request.operator_times = _timed
    plan = quantize.make_plan(request)
    assert len(_left(plan)) == 2
    request = _request(most_latency_ms=3.5)
    request.operator_times = _timed
    with pytest.raises(ConversionError, match=r"no assignment of net takes as little as 3\.5 ms"):
        quantize.make_plan(request)


def test_crossings_of_int8_take_what_was_measured_of_them() -> None:
    def timed(programs: Sequence[Program]) -> list[OperatorProfile]:
        floating, integers = _timed(programs)
        pairs = [OperatorTime(kind, kind, 0.5e-3) for kind in ("QuantizeLinear", "DequantizeLinear")]
        return [floating, replace(integers, operators=(*integers.operators, *pairs))]

    request = _request(least_sqnr_db=20)
    plan = quantize.make_plan(request)
    request.operator_times = timed
    known, sources = costs.in_seconds(request, plan), Sources(request.program, quantized(request, plan), plan).all
    assert known.of(frozenset(), sources) == pytest.approx(1e-3 + 3e-3 + 1e-3 + 2 * 0.5e-3)
    assert known.of(frozenset(one.node for one in plan.sites if one.changes), sources) == pytest.approx(6e-3)
    # Those that a choice adds have changes of layout beside them.
    (second,) = (one.node for one in plan.sites if one.module == "second" and one.changes)
    pair = costs.CROSSING_S + 8 * 8 * 8 * costs.CROSSING_S_PER_ELEMENT
    assert known.of(frozenset((second,)), sources) == pytest.approx(1e-3 + 2e-3 + 1e-3 + 2 * 0.5e-3 + 2 * pair)


def test_where_floating_point_is_the_fastest_of_what_keeps_a_bound_nothing_is_made() -> None:
    request = _request(least_sqnr_db=20)
    request.operator_times = partial(_timed, integers_ms=2.5)
    with pytest.raises(ConversionError, match="floating point is the fastest that keeps 20 dB in net") as raised:
        quantize.make_plan(request)
    assert "with none 6 ms: measured on this machine" in str(raised.value.cause)


def test_one_operator_in_floating_point_between_two_costs_both_crossings() -> None:
    request = _request(least_sqnr_db=20)
    plan = quantize.make_plan(request)
    known = costs.in_seconds(request, plan)
    sources = Sources(request.program, quantized(request, plan), plan).all
    node = {site.module: site.node.name for site in request.sites if site.operator == "conv2d"}
    alone = known.of(frozenset((node["second"],)), sources) - known.of(frozenset(), sources)
    with_neighbour = known.of(frozenset((node["second"], node["first"])), sources) - known.of(frozenset(), sources)
    floating, integers = known.each[node["second"]]
    pairs = 2 * 8 * 8 * 8 * costs.CROSSING_S_PER_ELEMENT
    assert alone == pytest.approx(floating - integers + pairs)
    first = known.each[node["first"]]
    tensors = 8 * 8 * 8 * costs.CROSSING_S_PER_ELEMENT - 3 * 8 * 8 * costs.CROSSING_S_PER_ELEMENT
    assert with_neighbour == pytest.approx(floating - integers + first[0] - first[1] + tensors)


@pytest.fixture
def model(tmp_path: Path) -> tuple[str, ...]:
    """The options that export a small model with its calibration."""
    (tmp_path / "model.py").write_text(_FACTORY, encoding="utf-8")
    np.savez(tmp_path / "samples.npz", input=noise(8, 3, 16, 16).numpy())
    shape, data = ("--input-shape", "1,3,16,16"), ("--calibration", str(tmp_path / "samples.npz"))
    return "export", f"{tmp_path}/model.py:build", *shape, *data


@pytest.mark.slow
def test_the_plan_comes_with_the_artifact_and_goes_into_another_edited(
    model: tuple[str, ...], tmp_path: Path, edgekit: Command, brief: None
) -> None:
    # Core ML tells no times here: whether integers win in so small a model does not depend on the machine.
    model = (*model, "--target", "coreml", "--output", str(tmp_path))
    assert edgekit(*model, "--quantize", "mixed", "--least-sqnr-db", 43).code == 0
    (directory,) = tmp_path.glob("*-mixed")
    manifest = artifact.load(directory).manifest
    made, precision = manifest.quantization, manifest.parity.precision
    assert (precision.bound_sqnr_db, precision.passed) == (43, True)
    written = plans.read(directory / artifact.PLAN)
    assert made is not None
    assert made.sites == written.sites
    assert "dB over all 8 samples" in written.why

    convolutions = [one for one in written.sites if one.operator == "conv2d"]
    left = [one for one in convolutions if "dB alone" in one.why or one.why == "faster in floating point"]
    flipped = left[0] if left else [one for one in convolutions if one.changes][-1]
    form = (
        {"weight": None, "activation": None} if flipped.changes else {"weight": WeightFormat(kind="int8"), "activation": "int8"}
    )
    sites = (one.model_copy(update=form) if one == flipped else one for one in written.sites)
    edited = written.model_copy(update={"sites": tuple(sites)})
    edited.write(tmp_path / "mine.yaml")
    assert edgekit(*model, "--quantize", tmp_path / "mine.yaml").code == 0
    (again,) = tmp_path.glob("*-mine")
    kept = artifact.load(again).manifest.quantization
    assert kept is not None
    assert kept.sites == edited.sites


@pytest.mark.slow
@pytest.mark.skipif(not _DOT_PRODUCTS & set(machine.cpu_flags() or ()), reason="the processor has no dot product of integers")
def test_where_integers_win_a_bound_is_kept_at_a_gain(tmp_path: Path, edgekit: Command) -> None:
    (tmp_path / "model.py").write_text(_WIDE, encoding="utf-8")
    np.savez(tmp_path / "samples.npz", input=noise(8, 3, 32, 32).numpy())
    model = (f"{tmp_path}/model.py:build", "--input-shape", "1,3,32,32", "--calibration", str(tmp_path / "samples.npz"))
    asked = ("--target", "onnx", "--output", tmp_path / "out", "--quantize", "mixed", "--least-sqnr-db", 60)
    done = edgekit("export", *model, *asked)
    assert done.code == 0
    assert "mixed beside floating point: faster by" in done.out + done.err
    (directory,) = (tmp_path / "out").glob("*-mixed")
    written, precision = plans.read(directory / artifact.PLAN), artifact.load(directory).manifest.parity.precision
    assert {one.changes for one in written.sites if one.operator == "conv2d"} == {True, False}
    assert "measured on this machine" in written.why
    assert (precision.bound_sqnr_db, precision.passed) == (60, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--quantize", "mixed"), "mixed takes exactly one bound, not 0"),
        (("--quantize", "mixed", "--least-sqnr-db", 30, "--most-size-mb", 1), "takes exactly one bound, not 2"),
        (("--quantize", "int8", "--most-latency-ms", 3), "int8 takes no --most-latency-ms"),
        (("--quantize", "mixed", "--most-size-mb", -1), "most_size_mb"),
    ],
)
def test_bounds_that_do_not_fit_are_refused_at_once(
    model: tuple[str, ...], options: tuple[object, ...], said: str, tmp_path: Path, edgekit: Command
) -> None:
    done = edgekit(*model, "--target", "onnx", "--output", tmp_path / "out", *options)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "out").exists()


def test_a_bound_that_nothing_meets_writes_nothing(model: tuple[str, ...], tmp_path: Path, edgekit: Command) -> None:
    done = edgekit(*model, "--target", "onnx", "--output", tmp_path / "out", "--quantize", "mixed", "--least-sqnr-db", 150)
    assert done.code == 1
    assert "reaches 150 dB" in done.err
    assert not list((tmp_path / "out").glob("*"))
