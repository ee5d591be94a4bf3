"""Figures carry the right numbers: the artists are asked, not the pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from evaluations import accuracy, beside, layers
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from synthetic_measurements import measurement, process

from edgekit.profiling.measurement import Estimate, Measurement, Model
from edgekit.profiling.operators import grouped
from edgekit.report import style
from edgekit.report.collection import Collection, collect
from edgekit.report.content import Picture, Section
from edgekit.report.entry import Entry, Evaluated
from edgekit.report.sections import accuracy as accuracy_section
from edgekit.report.sections import comparison, distributions, latency, operators, pareto, roofline, trend
from edgekit.report.sections import sensitivity as sensitivity_section


@pytest.fixture(autouse=True)
def _styled() -> Iterator[None]:
    with style.applied():
        yield


def _lines(axes: Axes, label: str) -> list[Line2D]:
    return [line for line in axes.get_lines() if line.get_label() == label]


def _at(line: Line2D) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in zip(*line.get_data(), strict=True)]


def _one(section: Section, name: str) -> Picture:
    return next(picture for picture in section.pictures if picture.name == name)


def _of(*measurements: Measurement) -> Collection:
    return collect([Entry(one, Path("results.json")) for one in measurements], [])


def _texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_latency_marks_medians_and_floors_fastest_on_top(collection: Collection) -> None:
    [axes] = _one(latency.section(collection), "latency").figure.axes
    ordered = sorted(collection.shown, key=lambda entry: entry.measurement.p50_s.value)
    assert [_at(line) for line in _lines(axes, "p50")] == [
        [(entry.measurement.p50_s.value * 1e3, row)] for row, entry in enumerate(ordered)
    ]
    assert [label.get_text() for label in axes.get_yticklabels()] == [entry.marked for entry in ordered]
    floors = [entry.measurement.floor.floor_s for entry in ordered if entry.measurement.floor.floor_s]
    assert [_at(line)[0][0] for line in _lines(axes, "floor")] == [floor_s * 1e3 for floor_s in floors]
    assert axes.get_xlabel().endswith("ms")
    assert axes.get_xlim()[0] == 0


def test_a_high_quantile_is_not_drawn_where_the_sample_cannot_bound_it() -> None:
    few = measurement(processes=[process([0.01] * 20)] * 2)  # 40 runs: enough for p90, not for p99
    section = latency.section(_of(few))
    [axes] = section.pictures[0].figure.axes
    assert len(_lines(axes, "p90")) == 1
    assert _lines(axes, "p99") == []
    assert section.tables[0].rows[0][4].value is None
    assert section.tables[0].rows[0][4].detail == "takes 299 runs"


def test_a_forest_plot_has_ratios_and_intervals_on_a_logarithmic_axis(collection: Collection) -> None:
    contest = collection.contests[0]
    [axes] = _one(comparison.section(collection), "comparison-1").figure.axes
    assert axes.get_xscale() == "log"
    drawn = sorted(contest.others, key=lambda other: other.comparison.ratio.value)
    for row, other in enumerate(drawn):
        estimate = other.comparison.ratio
        assert _at(_lines(axes, "ratio")[row]) == [(estimate.value, row)]
        assert _at(_lines(axes, "interval")[row]) == [(estimate.low, row), (estimate.high, row)]
        assert other.comparison.verdict in _texts(axes)
    low, high = axes.get_xlim()
    assert low < min(1, *(other.comparison.ratio.low or 1 for other in drawn))
    assert high > max(other.comparison.ratio.high or 1 for other in drawn)
    assert 2 < len([tick for tick in axes.get_xticks() if low <= tick <= high]) < 10


def test_distributions_are_binned_counts_of_every_process() -> None:
    one = measurement(processes=[process(np.linspace(0.010, 0.012, 100)), process(np.linspace(0.011, 0.013, 300))])
    [axes] = distributions.section(_of(one)).pictures[0].figure.axes
    outlines = [patch for patch in axes.patches if hasattr(patch, "get_data") and not patch.get_fill()]
    assert len(outlines) == 2
    for outline, runs, base in zip(outlines, (100, 300), (1, 0), strict=True):
        heights = np.asarray(outline.get_data().values) - base
        counts, _ = np.histogram(
            [value * 1e3 for value in one.processes[1 - base].latency_s], bins=np.asarray(outline.get_data().edges)
        )
        assert heights.max() == pytest.approx(0.85)
        assert heights == pytest.approx(0.85 * counts / counts.max())
        assert counts.sum() >= runs - 2  # the slowest half per cent may lie beyond the edge
    assert [_at(line)[0] for line in _lines(axes, "median")] == [pytest.approx((11.0, 1)), pytest.approx((12.0, 0))]


def test_operators_are_bars_as_long_as_they_take(collection: Collection) -> None:
    profile = collection.shown[0].measurement.operators
    assert profile is not None
    kinds, modules = _one(operators.section(collection), "operators-1").figure.axes
    groups = grouped(profile)
    assert [bar.get_width() for bar in kinds.patches] == pytest.approx([group.time_s * 1e3 for group in groups])
    assert sum(bar.get_width() for bar in modules.patches) == pytest.approx(5.2)
    assert modules.get_yticklabels()[10].get_text() == "2 others"
    assert len(operators.by_module(profile)) == 12


def test_the_roofline_has_the_roof_and_every_model_under_it(collection: Collection) -> None:
    [axes] = _one(roofline.section(collection), "roofline-1").figure.axes
    [roof] = _lines(axes, "roof")
    across, up = np.asarray(roof.get_data())
    assert up == pytest.approx(np.minimum(130e9, across * 20e9) / 1e9)
    entry = collection.shown[0]
    [mark] = _lines(axes, entry.marked)
    assert _at(mark) == [pytest.approx((316e6 / 46e6, 0.316 / entry.measurement.p50_s.value))]
    assert {entry.marked for entry in collection.shown if entry.measurement.fingerprint.device == "host"} >= set(
        _texts(axes)[1:]
    )
    assert {axes.get_xscale(), axes.get_yscale()} == {"log"}


def test_no_label_of_the_roofline_lies_on_another_or_on_a_mark() -> None:
    crowd = [measurement(f"net{number}-onnx", median_s=(4.7 + 0.05 * number) * 1e-3, seed=number) for number in range(8)]
    picture = roofline.section(_of(*crowd)).pictures[0]
    [axes] = picture.figure.axes
    labels = [text.get_window_extent() for text in axes.texts[1:]]
    assert len(labels) == 8
    assert not [1 for n, one in enumerate(labels) for other in labels[:n] if one.overlaps(other)]


def test_the_front_is_what_nothing_beats() -> None:
    def choice(latency_s: float, size: int, accuracy: float | None) -> pareto.Choice:
        made = measurement(processes=[process([latency_s] * 20)])
        sized = dataclasses.replace(made, model=dataclasses.replace(made.model, size_bytes=size))
        top1 = None if accuracy is None else Estimate(accuracy, None, None)
        return pareto.Choice(Entry(sized, Path("r.json")), top1, None)

    fast, small, good, beaten = choice(1, 9, 70), choice(2, 5, 70), choice(3, 9, 80), choice(3, 9, 75)
    assert pareto.front([fast, small, good, beaten]) == [fast, small, good]
    assert pareto.front([fast, small, dataclasses.replace(good, top1_percent=None)]) == [fast, small]
    assert pareto.front([fast, dataclasses.replace(fast)]) == [fast, fast]


def test_the_pareto_figure_has_latency_size_and_published_accuracy(collection: Collection) -> None:
    accuracy, size = _one(pareto.section(collection), "pareto-1").figure.axes
    assert accuracy.get_ylabel() == "published top-1, %"
    for entry in collection.shown[:3]:
        p50_ms = entry.measurement.p50_s.value * 1e3
        assert _at(_lines(size, entry.label)[0]) == [(p50_ms, 45.7)]
        assert _at(_lines(accuracy, entry.label)[0]) == [(p50_ms, 74.9)]
    [slow] = _lines(size, "lsnet_t eager")
    assert slow.get_markerfacecolor() == "white"


def test_what_was_evaluated_takes_the_place_of_what_is_published() -> None:
    entries = [Entry(one, Path("r.json")) for one in (measurement(), measurement("b-onnx", median_s=9e-3, model=_OTHER))]
    found = [
        Evaluated(accuracy("artifacts/lsnet_t-onnx", None, model=entries[0].measurement.model), Path("a.json")),
        Evaluated(accuracy("b-onnx", None, model=_OTHER, top1_percent=Estimate(88.0, 87.0, 89.0)), Path("a.json")),
        Evaluated(accuracy("c-onnx", None, model=dataclasses.replace(_OTHER, sha256="0")), Path("a.json")),
    ]
    both = pareto.section(collect(entries, (), found))
    top1, _ = _one(both, "pareto-1").figure.axes
    assert top1.get_ylabel() == "top-1, %"
    assert [_at(line) for line in _lines(top1, "b-onnx")] == [[(entries[1].measurement.p50_s.value * 1e3, 88.0)]]
    assert [row[4].text for row in both.tables[0].rows] == ["evaluated on cifar10.npz (10,000 samples)"] * 2
    assert [row[3].detail for row in both.tables[0].rows] == ["[90.8,\N{NO-BREAK SPACE}91.9]", "[87.0,\N{NO-BREAK SPACE}89.0]"]
    assert not both.remarks
    one = pareto.section(collect(entries, (), found[:1]))
    assert [row[3].text for row in one.tables[0].rows] == ["91.4", "\N{EN DASH}"]


_OTHER = Model("lsnet_t", "onnx", precision="int8", sha256="12" * 32, size_bytes=12_000_000)


def test_the_accuracy_figure_has_each_drop_with_its_interval() -> None:
    found = [
        Evaluated(accuracy("net", None, model=Model("net", "eager")), Path("a.json")),
        Evaluated(accuracy("net-int4", beside(Estimate(1.5, 1.0, 2.0))), Path("a.json")),
        Evaluated(accuracy("net-int8", beside(Estimate(0.05, -0.1, 0.21))), Path("a.json")),
        Evaluated(
            accuracy("net-int8", beside(Estimate(9.0, 8.0, 9.5)), started_at="2026-01-01T00:00:00+00:00"), Path("old.json")
        ),
    ]
    made = accuracy_section.section(collect((), (), found))
    [axes] = _one(made, "accuracy-1").figure.axes
    assert [_at(line) for line in _lines(axes, "drop")] == [[(0.05, 0)], [(1.5, 1)]]
    assert [_at(line) for line in _lines(axes, "interval")] == [[(-0.1, 0), (0.21, 0)], [(1.0, 1), (2.0, 1)]]
    assert _texts(axes) == ["no loss shown: 0.05 points [-0.10, 0.21]", "loses 1.50 points [1.00, 2.00]"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["net-int8 onnx", "net-int4 onnx"]


def test_the_sensitivity_figures_have_each_layer_and_what_its_tensors_were() -> None:
    found = accuracy("net-int8", beside(Estimate(0.3, 0.1, 0.5)), sensitivity=layers("stem", "head", "unused"))
    made = sensitivity_section.section(collect((), (), [Evaluated(found, Path("a.json"))]))
    [axes] = _one(made, "sensitivity-1").figure.axes
    assert [_at(line) for line in _lines(axes, "both")] == [[(24, 0)], [(27, 1)], [(30, 2)]]
    assert [_at(line) for line in _lines(axes, "its weight alone")] == [[(30, 0)], [(36, 2)]]
    assert _texts(axes) == ["57.1%", "28.6%", "14.3%"]
    first, second = _one(made, "ranges-1").figure.axes  # a dead one has no histogram
    assert first.get_title(loc="left") == "stem relu_0, 2.10% beyond"
    assert [line.get_xdata() for line in _lines(second, "range")] == [[0, 0], [4.5, 4.5]]
    [table] = made.tables
    assert [row[-1].text for row in table.rows] == [
        "relu_0: 2.1% beyond its range",
        "\N{EN DASH}",
        "relu_2 is dead: it was 0 throughout",
    ]


def test_the_trend_is_broken_where_the_fingerprint_changed(collection: Collection) -> None:
    [axes] = _one(trend.section(collection), "trend").figure.axes
    before, after = _lines(axes, "p50")
    assert (len(before.get_xdata()), len(after.get_xdata())) == (3, 4)
    days = np.concatenate([before.get_xdata(), after.get_xdata()])
    assert np.diff(days) == pytest.approx([1, 1, 1, 1, 1, 14])
    assert _texts(axes) == ["runtime"]
    assert np.asarray(after.get_ydata())[-1] == collection.shown[0].measurement.p50_s.value * 1e3


def test_every_mark_of_a_target_has_a_shape_of_its_own() -> None:
    looks = [style.look(target) for target in ("onnx", "executorch", "coreml", "eager", "aotinductor")]
    assert len({color for color, _ in looks}) == len({marker for _, marker in looks}) == 5


@pytest.mark.parametrize(("low", "high"), [(0.97, 1.03), (0.5, 4), (1, 20), (0.01, 5000), (1e-6, 1e6), (3.1, 3.2)])
def test_a_logarithmic_axis_has_a_handful_of_round_ticks(low: float, high: float) -> None:
    ticks = style.log_ticks(low, high)
    assert 3 <= len(ticks) <= 15
    assert all(low <= tick <= high for tick in ticks)
    assert ticks == sorted(ticks)


def test_an_empty_file_among_the_choices_is_drawn_from_zero() -> None:
    empty = measurement("empty.onnx")
    empty = dataclasses.replace(empty, model=dataclasses.replace(empty.model, size_bytes=0))
    axes = pareto.section(_of(measurement(), empty)).pictures[0].figure.axes[-1]
    assert (axes.get_yscale(), axes.get_ylim()[0]) == ("linear", 0)


def test_choices_of_different_batches_are_not_weighed_against_each_other() -> None:
    one = measurement()
    eight = dataclasses.replace(one, conditions=dataclasses.replace(one.conditions, batch=8))
    assert pareto.section(_of(one, eight)).absent
