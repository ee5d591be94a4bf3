"""The verdicts as JUnit XML, which every CI system reads: valid by the schema of Apache Ant's reports, and by Jenkins'.

A limit is a test case, what it was asked of its class. FAIL is a `failure`. INCONCLUSIVE is an `error`, JUnit's word for a test
that could not be carried out: CI systems show it beside the failures, where a `skipped` one would read as fine.
"""

from __future__ import annotations

import datetime
import re
import xml.etree.ElementTree as ET
from collections import Counter

from edgekit.gate import wording
from edgekit.gate.verdicts import Report, Verdict

_ELEMENTS = {"FAIL": "failure", "INCONCLUSIVE": "error"}


def document(report: Report) -> str:
    """The XML. Names are unlike each other: of cases alike, GitLab shows the first alone."""
    outcomes = Counter(_ELEMENTS.get(verdict.outcome, "passed") for verdict in report.verdicts)
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    root = ET.Element("testsuites")
    suite = ET.SubElement(
        root,
        "testsuite",
        {
            "name": "gate",
            "package": "edgekit",
            "id": "0",
            "tests": str(len(report.verdicts)),
            "failures": str(outcomes["failure"]),
            "errors": str(outcomes["error"]),
            "skipped": "0",
            "time": "0",
            "timestamp": now,
            "hostname": "localhost",
        },
    )
    ET.SubElement(suite, "properties")
    names: Counter[tuple[str, str]] = Counter()
    for verdict in report.verdicts:
        suite.append(_case(verdict, names))
    said = [f"{verdict.outcome}: {wording.sentence(verdict)}" for verdict in report.verdicts]
    ET.SubElement(suite, "system-out").text = _printable("\n".join([*said, wording.unjudged(report)]))
    ET.SubElement(suite, "system-err")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(verdict: Verdict, names: Counter[tuple[str, str]]) -> ET.Element:
    check = verdict.check
    where = "" if wording.device(check) == "-" else f" on {wording.device(check)}"
    name = f"{wording.limit(check)}{where} (budget {check.number})"
    place = wording.subject(check), name
    names[place] += 1
    if names[place] > 1:
        name = f"{name}, result {names[place]}"
    case = ET.Element("testcase", {"classname": _printable(place[0]), "name": _printable(name), "time": "0"})
    if verdict.outcome in _ELEMENTS:
        text = _printable(wording.sentence(verdict))
        ET.SubElement(case, _ELEMENTS[verdict.outcome], {"message": text, "type": verdict.outcome}).text = text
    return case


def _printable(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold."""
    return _UNPRINTABLE.sub("?", text)


_UNPRINTABLE = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
