"""What a gate writes: JUnit XML that other parsers read, Markdown and workflow commands that hold what they are given."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.gate import junit, summary, wording
from edgekit.gate.verdicts import Report
from edgekit.profiling.measurement import Measurement

_NASTY = "net|*x*\n::error::<b>&\x00%"


@pytest.fixture
def report(measurement: Callable[..., Measurement], judge: Callable[..., Report]) -> Report:
    """One verdict of each kind, a subject of a nasty name, and one that no budget speaks of."""
    return judge(
        [{"model": "net", "latency_p50_ms": 12, "size_mb": 0.5, "energy_mj": 3}],
        [measurement(subject=_NASTY), measurement(name="other", subject="other.onnx")],
    )


def test_junit_has_a_case_a_limit_and_says_what_failed_and_what_could_not_be_told(report: Report) -> None:
    [suite] = ET.fromstring(junit.document(report))
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
        "skipped": "0",
    }
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert [element.tag for element in cases["latency_p50_ms <= 12 on host (budget 1)"]] == []
    [failure] = cases["size_mb <= 0.5 (budget 1)"]
    assert (failure.tag, failure.get("type")) == ("failure", "FAIL")
    assert "measured 1 MB: over the budget" in str(failure.text)
    [error] = cases["energy_mj <= 3 on host (budget 1)"]
    assert (error.tag, error.get("type")) == ("error", "INCONCLUSIVE")
    assert "No budget speaks of other.onnx." in str(suite.findtext("system-out"))
    assert "\x00" not in str(suite.findtext("system-out"))


def test_junit_is_read_by_a_parser_of_others(report: Report, tmp_path: Path) -> None:
    junitparser = pytest.importorskip("junitparser", reason="reads JUnit XML: pip install '.[dev]'")
    path = tmp_path / "gate.xml"
    path.write_text(junit.document(report), encoding="utf-8")
    [suite] = junitparser.JUnitXml.fromfile(str(path))
    assert (suite.tests, suite.failures, suite.errors) == (3, 1, 1)
    assert [[type(result).__name__ for result in case.result] for case in suite] == [[], ["Error"], ["Failure"]]


def test_cases_have_names_of_their_own(measurement: Callable[..., Measurement], judge: Callable[..., Report]) -> None:
    budgets = [{"size_mb": 2}, {"size_mb": 2}]
    document = junit.document(judge(budgets, [measurement(job="a"), measurement(job="b")]))
    names = [(case.get("classname"), case.get("name")) for case in ET.fromstring(document).iter("testcase")]
    assert len(set(names)) == len(names) == 4
    assert names[1] == ("net.onnx", "size_mb <= 2 (budget 1), result 2")


def test_markdown_holds_its_cells_whatever_is_in_them(report: Report) -> None:
    text = summary.markdown(report)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 5
    assert all(row.replace("\\|", "").count("|") == len(wording.COLUMNS) + 1 for row in rows)
    assert text.startswith("## edgekit gate: FAIL\n\n1 FAIL, 1 INCONCLUSIVE, 1 PASS\n")
    assert "**FAIL**" in rows[2]
    assert "**INCONCLUSIVE**" in rows[3]
    assert r"net\|\*x\* ::error::&lt;b>&amp;" in text
    assert "other.onnx" in text.splitlines()[-1]


def test_annotations_are_one_line_each_and_hold_no_command_but_their_own(report: Report) -> None:
    lines = list(summary.workflow_commands(report, Path("ci/a,b:budgets.yaml")))
    assert [line.split(" ")[0] for line in lines] == ["::warning", "::error"]
    for line in lines:
        assert "\n" not in line
        command, _, message = line[2:].partition("::")
        assert command.split(" ", 1)[1].startswith("file=ci/a%2Cb%3Abudgets.yaml,title=")
        assert "%0A::error::<b>&" in message
        assert message.startswith("net|*x*%0A")
        assert "\x00%25" in message


@pytest.mark.parametrize(
    ("value", "text"),
    [(12.0, "12"), (12.34567, "12.35"), (0.0012345, "0.001234"), (45678.9, "45679"), (0.0, "0"), (-0.4, "-0.4000")],
)
def test_numbers_have_four_digits_and_no_exponent(value: float, text: str) -> None:
    assert wording._number(value) == text


def test_a_model_without_a_match_is_named_by_its_budget(
    judge: Callable[..., Report], measurement: Callable[..., Measurement]
) -> None:
    report = judge([{"model": "nett", "device": "host", "size_mb": 1}, {"size_mb": 1}], [measurement()])
    assert wording.row(report.verdicts[0])[:4] == ("(model nett, device host)", "-", "size_mb <= 1", "-")
    assert wording.row(report.verdicts[1])[:4] == ("net.onnx", "-", "size_mb <= 1", "1 MB")
