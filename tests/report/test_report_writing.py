"""What a report is given and where it goes: few, many, odd, damaged; whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Command, assert_error
from evaluations import accuracy, beside
from pages import Page
from synthetic_measurements import ODD, PHONE, bare, changed, latencies, measurement, past, process

from edgekit import report
from edgekit.errors import InputError, OutputError
from edgekit.profiling.measurement import Estimate
from edgekit.report import markdown
from edgekit.report.collection import LONGEST_LABEL

Write = Callable[..., Path]


def test_one_measurement_of_which_little_is_known(write_results: Write, tmp_path: Path) -> None:
    written = report.write([write_results([bare()])], tmp_path / "out")
    page = Page(written.html.read_text(encoding="utf-8"))
    absent = [section.name for section in written.sections if section.absent]
    assert absent == [
        "comparison",
        "distributions",
        "accuracy",
        "sensitivity",
        "operators",
        "roofline",
        "pareto",
        "trend",
        "claims",
    ]
    for section in written.sections:
        assert (section.absent or "") in page.text["absent"]
    assert page.tables["latency"][0].rows[0][2][0] == "10.0"
    assert "ingested" in page.text["latency"]
    assert "at some time" in page.text["conditions"]


@pytest.mark.slow
def test_hundreds_of_measurements_and_very_long_names(write_results: Write, tmp_path: Path) -> None:
    many = [
        measurement(f"out/{number}/{'long' * 60}", median_s=1e-3 * (1 + number), processes=[process([1e-3 * (1 + number)] * 9)])
        for number in range(150)
    ]
    phones = [changed(one, fingerprint=PHONE) for one in many[:100]]
    written = report.write([write_results([*many, *phones])], tmp_path / "out")
    page = Page(written.html.read_text(encoding="utf-8"))
    rows = page.tables["latency"][0].rows
    assert len(rows) == 250
    labels = [row[0][1] or "" for row in rows]
    assert len(set(labels)) == 250
    assert max(map(len, labels)) <= LONGEST_LABEL + len(" #250")
    assert "The 24 fastest of 250 are drawn; the table has all." in page.text["latency"]
    assert written.html.stat().st_size < 4_000_000


@pytest.mark.slow
def test_a_hundred_thousand_runs_stay_small(write_results: Write, tmp_path: Path) -> None:
    runs = [process(latencies(5e-3, 50_000, seed=seed)) for seed in (1, 2)]
    one = measurement(processes=[process(latencies(5e-3, 300))] * 2)
    written = report.write([write_results([dataclasses.replace(one, processes=tuple(runs))])], tmp_path / "out")
    assert written.html.stat().st_size < 200_000
    page = Page(written.html.read_text(encoding="utf-8"))
    assert [row[2][0] for row in page.tables["distributions"][0].rows] == ["50,000", "50,000"]
    assert re.search(r"\d+ runs beyond the right edge", page.text["distributions"])


def test_the_newest_of_a_folder_is_shown_and_the_rest_is_past(write_results: Write, tmp_path: Path) -> None:
    for name, measurements in past().items():
        write_results(measurements, f"past/{name}")
    alone = report.read([tmp_path / "past"])
    assert [entry.file.name for entry in alone.shown] == ["06.json"]
    assert [entry.file.name for entry in alone.past] == ["01.json", "02.json", "03.json", "04.json", "05.json"]
    named = write_results([measurement()])
    beside = report.read([tmp_path / "past", named])
    assert [entry.file.name for entry in beside.shown] == ["results.json"]
    assert len(beside.past) == 6


def test_evaluations_alone_make_a_report(write_results: Write, tmp_path: Path) -> None:
    given = [accuracy("lsnet_t", None), accuracy("out/lsnet_t-onnx", beside(Estimate(0.31, 0.12, 0.52)), not_finite=2)]
    written = report.write([write_results(given)], tmp_path / "out")
    assert [section.name for section in written.sections if section.absent is None] == ["summary", "accuracy", "method"]
    page = Page(written.html.read_text(encoding="utf-8"))
    assert "top-1 91.40 %, loses 0.31 points [0.12, 0.52]" in page.text["summary"]
    figures, shifts = page.tables["accuracy"]
    assert [row[1][1] for row in figures.rows] == ["91.4", "91.4"]
    assert "<deer>" in page.text["accuracy"]
    assert "NaN or infinity for 2 of 10,000 samples" in page.text["accuracy"]
    assert len(shifts.rows) == 2


def test_without_labels_the_outputs_alone_are_compared(write_results: Write, tmp_path: Path) -> None:
    given = [accuracy("net", None), accuracy("net-onnx", beside(None))]
    written = report.write([write_results([one for one in given if one.against])], tmp_path / "out")
    [section] = [section for section in written.sections if section.name == "accuracy"]
    assert not section.pictures
    assert "agrees with lsnet_t with lsnet_t.pth on 98.20 % of samples" in written.sections[0].sentences[0]


def test_labels_tell_measurements_apart(write_results: Write) -> None:
    net = measurement("a/net-onnx")
    given = [
        net,
        measurement("b/net-onnx"),
        changed(net, fingerprint_threads=2),
        changed(net, fingerprint=PHONE),
        changed(net, model_precision="fp16"),
        net,
        measurement("net.pte", target="executorch"),
    ]
    labels = [entry.label for entry in report.read([write_results(given)]).shown]
    assert labels == [
        "a/net-onnx, fp32, 1 thread",
        "b/net-onnx",
        "a/net-onnx, fp32, 2 threads",
        "a/net-onnx, Pixel 8",
        "a/net-onnx, fp16",
        "a/net-onnx, fp32, 1 thread #2",
        "net.pte executorch",
    ]


def test_only_what_compares_is_compared(write_results: Write) -> None:
    net = measurement()
    other = [
        changed(net, fingerprint_threads=2),
        changed(net, fingerprint=PHONE),
        dataclasses.replace(net, reference_timing=True),
        dataclasses.replace(net, provenance="replayed", source="tape"),
        dataclasses.replace(net, conditions=dataclasses.replace(net.conditions, batch=8)),
    ]
    assert report.read([write_results([net, *other])]).contests == ()
    apart = dataclasses.replace(net, job="another")
    [contest] = report.read([write_results([net, apart])]).contests
    assert [one.interleaved for one in contest.others] == [False]


def test_a_damaged_or_empty_or_missing_file_is_named(write_results: Write, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.json"
    damaged.write_text(json.dumps([{"schema_version": 1}]))
    with pytest.raises(InputError, match=r"damaged\.json"):
        report.write([write_results([measurement()]), damaged], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no results"):
        report.read([tmp_path / "empty"])
    with pytest.raises(InputError, match=r"nowhere\.json"):
        report.read([tmp_path / "nowhere.json"])
    with pytest.raises(InputError, match="no measurements"):
        report.read([write_results([], "none.json")])
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_but_a_report_that_was_asked_to_be(write_results: Write, tmp_path: Path) -> None:
    results, out = write_results([measurement()]), tmp_path / "out"
    report.write([results], out)
    with pytest.raises(OutputError, match="exists already"):
        report.write([results], out)
    report.write([results], out, force=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError):
        report.write([results], tmp_path / "mine", force=True)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out", "results.json"]


def test_markdown_has_the_same_tables_sentences_and_figures(written: report.Report) -> None:
    text = written.markdown.read_text(encoding="utf-8")
    for section in written.sections:
        if section.absent is not None:
            continue
        assert f"\n## {section.title}\n" in text
        for sentence in (*section.sentences, *section.remarks):
            assert markdown.escape(sentence) in text
        for table in section.tables:
            assert all(f"| {markdown.escape(row[0].text)} " in text for row in table.rows)
    linked = re.findall(r"!\[.*?\]\((figures/[^)]*)\)", text)
    assert len(linked) == sum(len(section.pictures) for section in written.sections)
    for path in linked:
        assert (written.markdown.parent / path).read_text(encoding="utf-8").startswith("<svg ")


def test_markdown_shows_odd_names_as_they_are() -> None:
    assert markdown.escape(ODD).startswith("\\<script\\>alert\\(1\\) \\$x\\$ \\&")
    assert markdown.escape("a | b\nc\u2028d") == "a \\| b c d"


def test_reports_of_the_same_results_are_the_same(write_results: Write, tmp_path: Path) -> None:
    results = write_results([measurement(), measurement("lsnet_t", target="eager", median_s=0.02)])
    pages = [report.write([results], tmp_path / name).html.read_bytes() for name in ("one", "two")]
    assert pages[0] == pages[1]


def test_the_command_prints_the_summary_and_where_it_is(edgekit: Command, write_results: Write, tmp_path: Path) -> None:
    results = write_results([measurement()])
    done = edgekit("report", results, "--output", tmp_path / "out")
    assert done.code == 0, done
    assert done.out.startswith(
        "1 measurement of lsnet_t, made in 1 job on 2026-11-20, on host (A processor, Linux 6.1, 1 thread)."
    )
    assert str(tmp_path / "out" / "edgekit-report.html") in done.out
    assert_error(edgekit("report", results, "--output", tmp_path / "out"), 2, "exists already", "--force")
    told = edgekit("report", results, "--output", tmp_path / "out", "--force", "--json").json
    assert told["html"] == str(tmp_path / "out" / "edgekit-report.html")
    assert "trend" in told["absent"]
    assert_error(edgekit("report", tmp_path / "nothing.json", "--output", tmp_path / "new"), 2, "nothing.json")
