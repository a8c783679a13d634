"""Runs RouteTest documents: each request through the image and the matcher that serve traffic, without sockets."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence

from fastgw.image.asked import Asked, ask
from fastgw.image.decide import Decider
from fastgw.model.diagnostic import ERROR, Diagnostic
from fastgw.model.kinds.route_test import Case, CaseRequest
from fastgw.model.plan import Plan
from fastgw.model.resource import Resource
from fastgw.routetest.actual import actual_of
from fastgw.routetest.compare import differences
from fastgw.routetest.results import CaseResult, CoveredRule, Report

KIND = "RouteTest"
UNKNOWN_KIND = "FGW0011"
RuleKey = tuple[str, int, int]


def run_tests(resources: Sequence[Resource], diagnostics: Sequence[Diagnostic], plan: Plan, image: bytes) -> Report:
    """``diagnostics``: all that loading found, since tests that cannot be read must not pass."""
    decider = Decider(plan, image)
    documents = sorted((resource for resource in resources if resource.kind == KIND), key=lambda resource: resource.order)
    results = [_run(decider, document, index, case) for document in documents for index, case in enumerate(document.spec.tests)]
    return Report(results, [found for found in diagnostics if _loses_tests(found)], coverage(plan, results))


def _loses_tests(found: Diagnostic) -> bool:
    """A RouteTest that is left out, a file that cannot be read, a kind that is nobody's (``RoutTest``)."""
    return found.severity == ERROR and (found.kind in ("", KIND) or found.code == UNKNOWN_KIND)


def _run(decider: Decider, document: Resource, index: int, case: Case) -> CaseResult:
    started = time.perf_counter()
    asked = request_of(case.request)
    answer = decider.decide(asked, case.request.port)
    found = differences(case.expect, actual_of(answer, decider.statuses(answer)))
    return CaseResult(
        document=document.key,
        name=case.name or f"{asked.method} {case.request.url}",
        method=asked.method,
        url=case.request.url,
        differences=found,
        answer=answer,
        seconds=time.perf_counter() - started,
        origin=document.at(f"spec.tests[{index}]"),
    )


def request_of(request: CaseRequest) -> Asked:
    """A validated request (fastgw.analysis.validate_route_test) cannot be refused here."""
    pairs = [(name, value) for name, given in request.headers.items() for value in ([given] if isinstance(given, str) else given)]
    return ask(request.method, request.url, pairs, sni=request.sni, source_ip=request.source_ip, listener=request.listener)


def coverage(plan: Plan, results: Sequence[CaseResult]) -> list[CoveredRule]:
    """Every rule that is served, once however many hosts have it, with the number of tests that it took."""
    taken = Counter(_key(result) for result in results if result.answer["matched"] and result.answer["action"] != "tcp")
    rules: dict[RuleKey, CoveredRule] = {}
    for rule in _rules(plan):
        key = (rule.virtual_service, rule.route, rule.match)
        if key not in rules:
            rules[key] = CoveredRule(*key, rule.name, rule.origin, taken[key])
    return sorted(
        rules.values(), key=lambda rule: (rule.origin.file, rule.origin.line, rule.virtual_service, rule.route, rule.match)
    )


def _rules(plan: Plan) -> Iterator[CoveredRule]:
    for table in plan.route_tables.values():
        for host in table.virtual_hosts:
            for rule in host.rules:
                yield CoveredRule(rule.virtual_service.key, rule.route_index, rule.match_index, rule.name, rule.origin, 0)


def _key(result: CaseResult) -> RuleKey:
    matched = result.answer["matched"]
    return (matched["virtualService"], matched["route"], matched["match"])
