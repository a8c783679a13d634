"""JUnit's XML: counts that add up, and no character that would make it unreadable."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from fastgw.model.diagnostic import Diagnostic
from fastgw.model.origin import Origin
from fastgw.routetest.junit import junit_xml
from fastgw.routetest.results import CaseResult, Difference, Report

ANSWER: dict[str, Any] = {"matched": None}


def result(document: str, name: str, *differences: Difference) -> CaseResult:
    return CaseResult(document, name, "GET", "http://a/?a&b<", list(differences), ANSWER, 0.25, Origin("t.yaml", 3, 1))


def parsed(report: Report) -> ElementTree.Element:
    text = junit_xml(report)
    assert text.startswith(b"<?xml")
    return ElementTree.fromstring(text)


def test_suites_and_counts() -> None:
    wrong = Difference("status", "200", "404")
    root = parsed(Report([result("a/x", "one"), result("a/x", "two", wrong), result("b/y", "three")], [], []))
    assert (root.get("tests"), root.get("failures"), root.get("errors"), root.get("time")) == ("3", "1", "0", "0.750000")
    suites = {suite.get("name"): suite for suite in root.iter("testsuite")}
    assert [(name, suite.get("tests"), suite.get("failures")) for name, suite in suites.items()] == [
        ("a/x", "2", "1"),
        ("b/y", "1", "0"),
    ]
    case = suites["a/x"].findall("testcase")[1]
    assert (case.get("classname"), case.get("name"), case.get("file"), case.get("line")) == ("a/x", "two", "t.yaml", "3")
    failure = case.find("failure")
    assert failure is not None and failure.get("message") == "status: expected 200, got 404"
    assert failure.text == "GET http://a/?a&b<\n- status: 200\n+ status: 404"


def test_what_could_not_be_read_is_an_error() -> None:
    broken = Diagnostic("error", "IST0106", "no such field", "RouteTest", "a", "x", "spec", Origin("t.yaml", 5, 2))
    root = parsed(Report([], [broken, Diagnostic("error", "FGW0006", "not YAML", origin=Origin("u.yaml"))], []))
    assert (root.get("tests"), root.get("errors")) == ("2", "2")
    cases = list(root.iter("testcase"))
    assert [case.get("name") for case in cases] == ["t.yaml:5:2", "u.yaml"]
    error = cases[0].find("error")
    assert error is not None and (error.get("type"), error.get("message")) == ("IST0106", "no such field")


def test_characters_that_xml_does_not_know() -> None:
    root = parsed(Report([result("a/x", "bell \x07 null \x00 \ud800 ü \U0001f600", Difference("path", "\x1b", "\uffff"))], [], []))
    (case,) = root.iter("testcase")
    assert case.get("name") == "bell \ufffd null \ufffd \ufffd ü \U0001f600"
