"""The report in a real browser: nothing fetched, nothing complained of, tables that sort by mouse and by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import browser
import pytest

from edgekit.report import Report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]
_HEADER = "#latency thead th:nth-child(3)"
_COLUMN = "Array.from(document.querySelectorAll('#latency tbody tr'), r => r.cells[{}].dataset.value ?? null)"


@pytest.fixture
def tab(written: Report, tmp_path: Path) -> Iterator[browser.Tab]:
    with browser.tab(tmp_path / "profile") as one:
        one.open(written.html.as_uri())
        yield one


def test_it_opens_without_a_network_or_a_complaint(tab: browser.Tab, written: Report) -> None:
    fetched = {request["request"]["url"] for request in tab.seen("Network.requestWillBeSent")}
    assert fetched <= {written.html.as_uri(), "data:,"}
    assert tab.seen("Runtime.consoleAPICalled") == []
    assert tab.seen("Runtime.exceptionThrown") == []
    assert tab.seen("Log.entryAdded") == []
    assert tab.run("document.documentElement.scrollWidth") <= 1280
    assert tab.run("document.querySelectorAll('svg').length") == sum(len(section.pictures) for section in written.sections)


def test_a_click_sorts_by_number_and_another_the_other_way(tab: browser.Tab) -> None:
    values = [float(value) for value in tab.run(_COLUMN.format(2))]
    assert values != sorted(values)
    tab.click(f"{_HEADER} button")
    assert [float(value) for value in tab.run(_COLUMN.format(2))] == sorted(values)
    assert tab.run(f"document.querySelector('{_HEADER}').ariaSort") == "ascending"
    tab.click(f"{_HEADER} button")
    assert [float(value) for value in tab.run(_COLUMN.format(2))] == sorted(values, reverse=True)
    assert tab.run(f"document.querySelector('{_HEADER}').ariaSort") == "descending"
    tab.click("#latency thead th:nth-child(1) button")
    assert tab.run(f"document.querySelector('{_HEADER}').hasAttribute('aria-sort')") is False


def test_the_keyboard_reaches_and_sorts(tab: browser.Tab) -> None:
    tab.run("document.querySelector('#latency .table').focus()")
    for _ in range(3):
        tab.press("Tab", 9)
    assert tab.run(f"document.activeElement.closest('th') === document.querySelector('{_HEADER}')")
    tab.press("Enter", 13, "\r")
    values = [float(value) for value in tab.run(_COLUMN.format(2))]
    assert values == sorted(values)


def test_equal_rows_keep_their_order_and_unknown_ones_come_last(tab: browser.Tab) -> None:
    subjects = tab.run(_COLUMN.format(0))
    tab.click("#latency thead th:nth-child(6) button")  # cold load: all alike
    assert tab.run(_COLUMN.format(0)) == subjects
    for _ in range(2):
        tab.click("#latency thead th:nth-child(9) button")  # energy: one is known
        energies = tab.run(_COLUMN.format(8))
        assert energies[0] == "0.112"
        assert energies[1:] == [None] * (len(energies) - 1)


def test_it_prints_on_a4(tab: browser.Tab) -> None:
    printed = tab.send("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
    assert len(printed["data"]) > 10_000
