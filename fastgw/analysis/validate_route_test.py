"""Rules of RouteTest: every test asks something that is a request, and expects something that can be compared."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from fastgw.analysis.findings import Findings
from fastgw.analysis.rules import PORT_MAX
from fastgw.image.asked import ask
from fastgw.model.kinds.route_test import CaseRequest, Expectation, ExpectedDestination, RouteTest
from fastgw.model.names import domain_problem, is_token
from fastgw.model.paths import join_key

_NOTHING = Expectation()


def validate_route_test(findings: Findings) -> None:
    spec: RouteTest = findings.spec
    if not spec.tests:
        findings.warn("spec.tests", "no test is listed")
    seen: set[str] = set()
    for index, case in enumerate(spec.tests):
        path = f"spec.tests[{index}]"
        if case.name and case.name in seen:
            findings.warn(f"{path}.name", f'another test has the name "{case.name}"')
        seen.add(case.name)
        _check_request(findings, f"{path}.request", case.request)
        _check_expectation(findings, f"{path}.expect", case.expect)


def _check_request(findings: Findings, path: str, request: CaseRequest) -> None:
    if not is_token(request.method):
        findings.error(f"{path}.method", f'"{request.method}" is no method')
    if not request.url:
        findings.error(path, 'the field "url" is missing')
    else:
        _check_url(findings, f"{path}.url", request.url)
    _check_names(findings, f"{path}.headers", request.headers)
    if request.sni:
        findings.problem(f"{path}.sni", domain_problem(request.sni))
    if request.source_ip:
        _check_address(findings, f"{path}.sourceIp", request.source_ip)
    if request.port > PORT_MAX:
        findings.error(f"{path}.port", f"{request.port} is no port, they go from 1 to {PORT_MAX}")


def _check_url(findings: Findings, path: str, url: str) -> None:
    try:
        ask("GET", url)
    except ValueError as error:
        findings.error(path, str(error))


def _check_address(findings: Findings, path: str, address: str) -> None:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        findings.error(path, f'"{address}" is no address')


def _check_expectation(findings: Findings, path: str, expect: Expectation) -> None:
    if expect == _NOTHING:
        findings.error(path, "a test that expects nothing cannot fail")
    if expect.destination == ExpectedDestination():
        findings.error(f"{path}.destination", "none of host, subset and port is expected")
    if expect.status is not None and not 100 <= expect.status <= 599:
        findings.error(f"{path}.status", f"{expect.status} is no status of HTTP")
    _check_names(findings, f"{path}.requestHeaders", expect.request_headers)
    _check_names(findings, f"{path}.responseHeaders", expect.response_headers)


def _check_names(findings: Findings, path: str, headers: Mapping[str, object]) -> None:
    for name in headers:
        if not is_token(name):
            findings.error(join_key(path, name), f'"{name}" is no name of a header')
