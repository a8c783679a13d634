"""The human form of the results of route tests."""

from __future__ import annotations

from typing import Any

import click

from fastgw.routetest.junit import diff_lines
from fastgw.routetest.results import CaseResult, CoveredRule, Report

SHOWN_REASONS = 5
_COLORS = {"-": "red", "+": "green"}


def as_text(report: Report, color: bool) -> str:
    """Failures, rules that no test takes, and a last line that counts."""
    lines: list[str] = []
    for result in report.results:
        if not result.passed:
            lines += [*_failure(result, color), ""]
    lines += [*_coverage(report), "", _summary(report, color)]
    return "\n".join(lines)


def _failure(result: CaseResult, color: bool) -> list[str]:
    place = f"{result.origin.file}:{result.origin.line}"
    lines = [f"{_paint('FAIL', 'red', color)} {result.document}: {result.name} ({place})", f"    {result.method} {result.url}"]
    lines += [f"  {_paint(line, _COLORS[line[0]], color)}" for line in diff_lines(result.differences)]
    answer = result.answer
    matched = answer["matched"]
    lines.append(f"    matched {_rule(matched)}" if matched else f"    no rule takes it: {answer['detail']}")
    return lines + _reasons(result)


def _reasons(result: CaseResult) -> list[str]:
    """Why rules of the VirtualService or route that was expected did not match: the others are of no interest here."""
    wanted = {each.field: each.expected for each in result.differences}
    if not wanted.keys() & {"virtualService", "route", "destination", "status"}:
        return []
    considered = result.answer["considered"]
    if "virtualService" in wanted:
        service = wanted["virtualService"]
        considered = [rule for rule in considered if service in (rule["virtualService"], rule["virtualService"].rpartition("/")[2])]
    shown = [f"    not {_rule(rule)}: {rule['failed']}" for rule in considered[:SHOWN_REASONS]]
    more = len(considered) - SHOWN_REASONS
    return [*shown, f"    and {more} more rules not"] if more > 0 else shown


def _rule(rule: dict[str, Any]) -> str:
    return f"{_rule_name(rule['virtualService'], rule['route'], rule['match'], rule['name'])} ({rule['file']}:{rule['line']})"


def _rule_name(service: str, route: int, match: int, name: str) -> str:
    return f"{service} http[{route}].match[{match}]" + (f' "{name}"' if name else "")


def _coverage(report: Report) -> list[str]:
    touched = len(report.rules) - len(report.untouched)
    lines = [f"coverage: {touched} of {len(report.rules)} rules ({report.percent:g} %)"]
    return lines + [f"  no test takes {_untouched(rule)}" for rule in report.untouched]


def _untouched(rule: CoveredRule) -> str:
    name = _rule_name(rule.virtual_service, rule.route, rule.match, rule.name)
    return f"{name} ({rule.origin.file}:{rule.origin.line})"


def _summary(report: Report, color: bool) -> str:
    words = [f"{report.passed} passed"]
    if report.failed:
        words.append(f"{report.failed} failed")
    if report.unread:
        words.append(f"{report.unread} not read")
    return _paint(", ".join(words), "green" if report.good else "red", color)


def _paint(text: str, color_name: str, color: bool) -> str:
    return click.style(text, fg=color_name) if color else text
