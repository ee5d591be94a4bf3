"""The page as a parser sees it: whole, alone, escaped, and every figure as the measurements have it."""

from __future__ import annotations

import re

import pytest
from pages import Page
from synthetic_measurements import ODD

from edgekit.profiling import table
from edgekit.report import Report
from edgekit.report.collection import Collection
from edgekit.report.sections import ORDER


@pytest.fixture(scope="module")
def html(written: Report) -> str:
    return written.html.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_every_section_is_there_in_order(page: Page, written: Report) -> None:
    assert [section.name for section in written.sections] == list(ORDER)
    assert [one for one in page.ids if one in (*ORDER, "absent")] == list(ORDER)


def test_it_needs_nothing_else(page: Page, html: str) -> None:
    within = [one for one in page.references if one.startswith("#")]
    assert set(page.references) - set(within) == {"data:,"}
    assert {one[1:] for one in within} <= set(page.ids)
    assert not re.search(r"@import|@font-face|fetch\(|XMLHttpRequest", html)
    assert not {"iframe", "object", "embed", "img", "audio", "video"} & set(page.tags)
    assert page.tags.count("script") == 1


def test_no_two_elements_share_an_id(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))


def test_what_a_figure_refers_to_is_in_that_figure(html: str) -> None:
    figures = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert figures
    for figure in figures:
        known = set(re.findall(r'id="([^"]*)"', figure))
        assert set(re.findall(r"url\(#([^)]*)\)", figure)) <= known
        assert set(re.findall(r'href="#([^"]*)"', figure)) <= known
        assert "<style" not in figure
        assert "<metadata" not in figure
        assert "xlink" not in figure


def test_names_are_escaped(page: Page, html: str) -> None:
    assert "<script>alert" not in html
    assert html.count("&lt;script&gt;alert") > 5
    assert any(ODD in text for text, _ in page.tables["conditions"][1].column("as it was given"))
    assert f"{ODD} onnx" in page.text["latency"]  # in the figure too, dollar signs and all


def test_the_measurements_table_says_what_the_measurements_say(page: Page, collection: Collection) -> None:
    [found] = page.tables["latency"]
    assert len(found.rows) == len(collection.shown) == 7
    readings = {
        "p50 ms [95 %]": lambda m: m.p50_s.value,
        "p90 ms": lambda m: m.p90_s.value,
        "p99 ms": lambda m: m.p99_s.value,
        "cold load ms": lambda m: m.cold_load_s,
        "warm load ms": lambda m: m.warm_load_s,
        "memory MB": lambda m: m.memory.run_peak_bytes,
        "energy mJ": lambda m: m.energy.gross_j,
        "size MB": lambda m: m.model.size_bytes,
        "floor ms": lambda m: m.floor.floor_s,
    }
    for title, value in readings.items():
        values = [sorts_by and float(sorts_by) for _, sorts_by in found.column(title)]
        assert values == [value(entry.measurement) for entry in collection.shown], title
    p50 = found.column("p50 ms [95 %]")
    for (text, _), entry in zip(p50, collection.shown, strict=True):
        estimate = entry.measurement.p50_s
        assert estimate.low is not None
        assert text == f"{estimate.value * 1e3:#.3g} [{estimate.low * 1e3:#.3g}, {estimate.high * 1e3:#.3g}]"


def test_what_was_not_measured_now_is_labelled_wherever_it_appears(page: Page, collection: Collection) -> None:
    marked = {entry.label: entry.marks for entry in collection.shown if entry.marks}
    assert sorted(mark for marks in marked.values() for mark in marks) == ["ingested", "reference timing", "replayed"]
    seen = set()
    for section, tables in page.tables.items():
        for one in tables:
            for row in one.rows:
                for text, sorts_by in row:
                    if sorts_by in marked:
                        assert text.startswith(f"{sorts_by} {' '.join(marked[sorts_by])}"), (section, text)
                        seen.add((section, sorts_by))
    assert {section for section, _ in seen} >= {"latency", "distributions", "pareto", "warnings", "conditions"}


def test_comparisons_give_ratio_interval_and_verdict(page: Page, collection: Collection) -> None:
    [found] = page.tables["comparison"]
    pairs = [(other, contest) for contest in collection.contests for other in contest.others]
    assert len(found.rows) == len(pairs) == 3
    for row, (other, contest) in zip(found.rows, pairs, strict=True):
        assert row[0][1] == other.entry.label
        assert row[1][1] == contest.reference.label
        assert float(row[2][1] or "nan") == other.comparison.ratio.value
        assert row[3][0] == other.comparison.verdict
        assert row[4][0] == "interleaved"


def test_the_trend_has_every_measurement_and_breaks_where_the_runtime_changed(page: Page) -> None:
    [found] = page.tables["trend"]
    assert [text for text, _ in found.column("started, UTC")] == [
        *(f"2026-11-{day:02d} 20:00:00" for day in range(1, 7)),
        "2026-11-20 20:00:00",
    ]
    changes = [text for text, _ in found.column("what else changed")]
    assert [text for text in changes if text != "\N{EN DASH}"] == ["runtime: now onnxruntime 1.31.1"]
    assert [text for text, _ in found.column("change since the last")][3] == "\N{EN DASH}"


def test_claims_stand_beside_measurements_with_what_differs(page: Page) -> None:
    [found] = page.tables["claims"]
    rows = {(row[0][0], row[4][1]): row for row in found.rows}
    claimed = rows["casvit_xs", "casvit_xs.pte executorch, Pixel 8"]
    assert claimed[1][0] == "0.850 ms"
    assert "arXiv 2501.15369" in claimed[2][0]
    assert "device: iPhone 13 / Pixel 8" in claimed[5][0]
    assert "runtime: Core ML / onnxruntime 1.31.1" in claimed[5][0]
    assert "input" not in claimed[5][0]  # 224 in both
    rate = rows["lsnet_t", "lsnet_t-onnx"]
    assert rate[1][0] == "14708 images/s"
    assert float(rate[3][1] or "nan") == pytest.approx(1 / 4.75e-3, rel=0.02)


def test_sections_say_what_should_be_doubted(page: Page, collection: Collection) -> None:
    warned = [(row[0][1], row[1][0]) for row in page.tables["warnings"][0].rows]
    assert warned == [(entry.label, warning) for entry in collection.shown for warning in table.warnings(entry.measurement)]
    assert ("lsnet_t-executorch", "not steady after the warm-up: let the machine come to rest and measure again") in warned
    assert "To be doubted: lsnet_t-executorch (not steady after the warm-up)" in page.text["summary"]
    assert "the wheel has no event tracer" in page.text["operators"]
    assert "this machine has no energy counter" in page.text["latency"]
