"""Rules of header operations (fields.md, section 2.11)."""

from __future__ import annotations

import re

from fastgw.analysis.findings import Findings
from fastgw.model.kinds.http_route import HeaderOperations, Headers
from fastgw.model.names import is_token
from fastgw.model.paths import join_key

HOST_NAMES = frozenset(("host", ":authority"))
_FORMAT = re.compile(r"[^%]|%%|%[A-Z][A-Z0-9_]*(\([^)]*\))?(:\d+)?%", re.DOTALL)


def check_headers(findings: Findings, path: str, headers: Headers | None) -> list[str]:
    """Returns the paths that set the request's host, of which a route may have one."""
    if headers is None:
        return []
    if headers.response is not None:
        _check_operations(findings, f"{path}.response", headers.response, host=False)
    if headers.request is None:
        return []
    return _check_operations(findings, f"{path}.request", headers.request, host=True)


def _check_operations(findings: Findings, path: str, operations: HeaderOperations, *, host: bool) -> list[str]:
    sets_host = []
    for field, values in (("set", operations.set), ("add", operations.add)):
        for name, value in values.items():
            here = join_key(f"{path}.{field}", name) if name else f"{path}.{field}"
            if host and name.lower() in HOST_NAMES:
                sets_host.append(here)
                if "%" in value:
                    findings.warn(here, f'"{value}" is sent as it stands: variables mean nothing in the host of a request')
            else:
                findings.problem(here, _name_problem(name))
            findings.problem(here, format_problem(value))
    for index, name in enumerate(operations.remove):
        findings.problem(f"{path}.remove[{index}]", _name_problem(name))
    return sets_host


def _name_problem(name: str) -> str:
    if not name:
        return "the name of the header is empty"
    if name.startswith(":") or name.lower() == "host":
        return f'"{name}" cannot be changed here'
    return "" if is_token(name) else f'"{name}" is no name of a header'


def format_problem(value: str) -> str:
    """Envoy's format: ``%NAME%``, ``%NAME(argument)%``, ``%%`` for a percent sign; control characters are refused."""
    if any((char < " " and char != "\t") or char == "\x7f" for char in value):
        return "a header's value has no control characters"
    at = 0
    while at < len(value):
        found = _FORMAT.match(value, at)
        if found is None:
            return f'"{value}": the percent sign at {at + 1} begins no variable like %REQ(x)%, a plain one is written %%'
        at = found.end()
    return ""
