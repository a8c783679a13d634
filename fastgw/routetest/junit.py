"""JUnit's XML, as Jenkins, GitLab and the like read it: a suite a RouteTest document."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from xml.etree import ElementTree

from fastgw.model.diagnostic import Diagnostic
from fastgw.routetest.results import CaseResult, Difference, Report

LOADING = "loading"
"""Name of the suite of documents that could not be read."""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(report: Report) -> bytes:
    """The document, UTF-8 with a declaration."""
    root = ElementTree.Element("testsuites", {"name": "fastgw test"})
    for document, results in groupby(report.results, key=lambda result: result.document):
        _suite(root, document, [_case(result) for result in results])
    if report.broken:
        _suite(root, LOADING, [_broken(found) for found in report.broken])
    _count(root, root.iter("testcase"))
    ElementTree.indent(root)
    encoded: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return encoded + b"\n"


def diff_lines(differences: Iterable[Difference]) -> list[str]:
    """``- field: expected`` above ``+ field: actual``."""
    return [line for each in differences for line in (f"- {each.field}: {each.expected}", f"+ {each.field}: {each.actual}")]


def _suite(root: ElementTree.Element, name: str, cases: list[ElementTree.Element]) -> None:
    suite = ElementTree.SubElement(root, "testsuite", {"name": _text(name)})
    suite.extend(cases)
    _count(suite, cases)


def _count(element: ElementTree.Element, cases: Iterable[ElementTree.Element]) -> None:
    listed = list(cases)
    element.set("tests", str(len(listed)))
    element.set("failures", str(sum(case.find("failure") is not None for case in listed)))
    element.set("errors", str(sum(case.find("error") is not None for case in listed)))
    element.set("time", f"{sum(float(case.get('time', 0)) for case in listed):.6f}")


def _case(result: CaseResult) -> ElementTree.Element:
    case = _element(result.document, result.name, result.origin.file, result.origin.line, result.seconds)
    if not result.passed:
        message = ", ".join(f"{each.field}: expected {each.expected}, got {each.actual}" for each in result.differences)
        failure = ElementTree.SubElement(case, "failure", {"type": "difference", "message": _text(message)})
        failure.text = _text("\n".join([f"{result.method} {result.url}", *diff_lines(result.differences)]))
    return case


def _broken(found: Diagnostic) -> ElementTree.Element:
    case = _element(LOADING, str(found.origin) or found.code, found.origin.file, found.origin.line, 0.0)
    error = ElementTree.SubElement(case, "error", {"type": found.code, "message": _text(found.message)})
    error.text = _text(found.text())
    return case


def _element(document: str, name: str, file: str, line: int, seconds: float) -> ElementTree.Element:
    place = {"file": _text(file), "line": str(line)} if line else {}
    return ElementTree.Element("testcase", {"classname": _text(document), "name": _text(name), "time": f"{seconds:.6f}"} | place)


def _text(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold in any form."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
