"""The calibration's own arithmetic, its worlds, and what it makes of runs that were kept."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import calibrate_statistics as calibrate
import numpy as np
import pytest
from calibration import real_runs, slowed
from calibration.real_runs import Sample
from calibration.synthetic_latencies import WORLDS, World

from edgekit.profiling.measurement import Estimate, Measurement, Process
from edgekit.profiling.plan import Plan

_Made = tuple[Callable[..., Measurement], Callable[..., Process]]


@pytest.fixture
def made(measurement: Callable[..., Measurement], process: Callable[..., Process]) -> _Made:
    return measurement, process


def _sample(made: _Made, kind: str, *latencies_s: float, at: str = "2026-01-01T00:00:00+00:00") -> Sample:
    """Subjects of three processes each, whose runs scatter by some percent."""
    measurement, process = made
    generator = np.random.default_rng(len(latencies_s))
    measured = [
        dataclasses.replace(
            measurement([process((latency * np.exp(0.001 * generator.standard_normal(20))).tolist()) for _ in range(3)]),
            started_at=at,
        )
        for latency in latencies_s
    ]
    return Sample(kind, measured, load_1min=2.0, took_s=100.0)


def test_welch_tells_means_apart_by_their_spread() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.standard_normal((2, 200))
    assert not calibrate.welch_differs(one, other)
    assert calibrate.welch_differs(one, other + 1)
    assert not calibrate.welch_differs([1.0, 1.0], [1.0, 1.0])


def test_a_share_has_its_interval() -> None:
    assert calibrate.share([True] * 10 + [False] * 190) == "10 of 200 (5.0%; 2.7% to 9.0%)"
    assert calibrate.share([]) == "-"


def test_intervals_agree_where_they_overlap() -> None:
    assert calibrate.overlap(Estimate(1, 0.9, 1.1), Estimate(1.15, 1.1, 1.2))
    assert not calibrate.overlap(Estimate(1, 0.9, 1.1), Estimate(1.3, 1.2, 1.4))
    assert not calibrate.overlap(Estimate(1, None, None), Estimate(1, 0.9, 1.1))


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_a_world_gives_two_subjects_that_are_equal_in_the_long_run(world: World) -> None:
    first, second = world.interleaved(Plan(processes=40, blocks=5, block_s=0.1), np.random.default_rng(1))
    assert [len(process) for process in first] == [5] * 40
    medians = [np.median([np.median(block) for process in subject for block in process]) for subject in (first, second)]
    assert medians[0] / medians[1] == pytest.approx(1.0, abs=0.02)


def test_the_true_quantile_of_independent_runs_is_that_of_the_normal_distribution() -> None:
    quantile = World("plain", noise=0.1).quantile(0.9, np.random.default_rng(0))
    assert quantile == pytest.approx(0.005 * np.exp(0.1 * 1.2816), rel=0.002)


def test_a_world_has_its_row() -> None:
    cells = calibrate.synthetic(WORLDS[0], trials=4).split(" | ")
    assert cells[0] == "| independent runs"
    assert len(cells) == 8
    assert cells[5] == "100%"  # 3 % is plain to see where nothing is in the way


def test_real_runs_make_their_tables(made: _Made) -> None:
    samples = [
        _sample(made, "interleaved", 0.01, 0.01, 0.01, 0.0103),
        _sample(made, "in turns", 0.01, 0.01, 0.0103, at="2026-01-01T00:01:00+00:00"),
        *(_sample(made, "in a row", 0.01, at=f"2026-01-01T00:02:{second}+00:00") for second in (10, 28, 46)),
    ]
    text = "\n".join(calibrate.real_section(samples))
    assert f"1 of {real_runs.JOBS} jobs of four subjects" in text
    line = next(line for line in text.splitlines() if line.startswith("| edgekit, interleaved"))
    assert line.count(" of 3 (") == 2
    assert "3 of 3 (100.0%" in line
    assert next(line for line in text.splitlines() if line.startswith("| p50")).count(" of 2 (") == 1


def test_profiles_with_a_pause_between_them_do_not_follow_each_other(made: _Made) -> None:
    early, late = _sample(made, "in a row", 0.01), _sample(made, "in a row", 0.01, at="2026-01-01T01:00:00+00:00")
    assert "| p50 | - |" in "\n".join(calibrate.agreement([early, late]))


def test_what_was_kept_is_read_and_the_rest_is_still_to_do(made: _Made, tmp_path: Path) -> None:
    kept = tmp_path / "real.jsonl"
    assert real_runs.read(kept) == []
    sample = _sample(made, "interleaved", 0.01)
    record = {**dataclasses.asdict(sample), "measurements": [one.as_dict() for one in sample.measurements]}
    kept.write_text(json.dumps(record) + "\n")
    assert real_runs.read(kept) == [sample]
    left = list(real_runs.missing([sample]))
    assert (left.count("interleaved"), left.count("in turns")) == (real_runs.JOBS - 1, real_runs.TURNS)


def test_the_slowed_artifact_computes_the_same(tiny_artifact: Path) -> None:
    from edgekit import runtimes

    with runtimes.open(tiny_artifact) as plain, slowed.open(tiny_artifact, None, None) as slow:
        given = {spec.name: np.ones(spec.shape, spec.dtype) for spec in plain.inputs}
        slow.set_threads(1)
        for name, value in plain.run(given).items():
            np.testing.assert_array_equal(slow.run(given)[name], value)
