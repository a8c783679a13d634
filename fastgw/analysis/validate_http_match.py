"""Rules of ``http[].match[]`` (fields.md, section 2.2)."""

from __future__ import annotations

from fastgw.analysis import validate_virtual_service
from fastgw.analysis.findings import Findings
from fastgw.analysis.rules import PORT_MAX, check_labels, check_match
from fastgw.model.kinds.http_route import HttpMatch
from fastgw.model.names import is_dns_label, is_token
from fastgw.model.paths import join_key

PSEUDO_HEADERS = frozenset((":method", ":scheme", ":authority", ":path", ":status"))
CLAIMS = "@request.auth.claims"


def check_http_match(findings: Findings, path: str, match: HttpMatch, in_mesh: bool) -> None:
    """``in_mesh``: the VirtualService is for sidecars too, where claims are not known."""
    if match.uri is not None:
        check_match(findings, f"{path}.uri", match.uri, empty_prefix=True)
    for field, value in (("scheme", match.scheme), ("method", match.method), ("authority", match.authority)):
        if value is not None:
            check_match(findings, f"{path}.{field}", value)
    for name, value in match.headers.items():
        here = join_key(f"{path}.headers", name)
        _check_header_name(findings, here, name, in_mesh)
        check_match(findings, here, value)
    for name, value in match.without_headers.items():
        here = join_key(f"{path}.withoutHeaders", name)
        _check_header_name(findings, here, name, in_mesh)
        check_match(findings, here, value, star=True)
    for name, value in match.query_params.items():
        check_match(findings, join_key(f"{path}.queryParams", name), value)
    _check_scope(findings, path, match)


def _check_scope(findings: Findings, path: str, match: HttpMatch) -> None:
    """Port, gateways and source: where a match holds at all."""
    if match.port > PORT_MAX:
        findings.error(f"{path}.port", f"{match.port} is no port, they go from 1 to {PORT_MAX}")
    if match.gateways:
        validate_virtual_service.check_gateway_names(findings, f"{path}.gateways", match.gateways)
    if match.source_labels:
        check_labels(findings, f"{path}.sourceLabels", match.source_labels)
    if match.source_namespace and not is_dns_label(match.source_namespace):
        findings.error(f"{path}.sourceNamespace", f'"{match.source_namespace}" is no name of a namespace')


def _check_header_name(findings: Findings, path: str, name: str, in_mesh: bool) -> None:
    if name.startswith(CLAIMS):
        if in_mesh:
            findings.error(path, "routing by claims works at gateways only, and this VirtualService is for the mesh too")
    elif name.startswith(":"):
        if name not in PSEUDO_HEADERS:
            findings.error(path, f'"{name}" is none of the pseudo headers {", ".join(sorted(PSEUDO_HEADERS))}')
    elif not is_token(name):
        findings.error(path, f'"{name}" is no name of a header')
