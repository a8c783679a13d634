"""Rules of tls and tcp routes (fields.md, sections 2.13 and 2.14)."""

from __future__ import annotations

from collections.abc import Sequence

from fastgw.analysis import validate_virtual_service
from fastgw.analysis.findings import Findings
from fastgw.analysis.rules import PORT_MAX, check_labels
from fastgw.analysis.validate_destination import check_weights
from fastgw.compiler.hosts import covers
from fastgw.model.kinds.virtual_service import TcpMatch, TcpRoute, TlsMatch, TlsRoute
from fastgw.model.names import is_dns_label, is_ip, is_ip_or_network, mesh_sni_host, wildcard_problem


def check_tls_route(findings: Findings, path: str, route: TlsRoute, hosts: Sequence[str]) -> None:
    """``hosts``: those of the VirtualService, which have to cover every server name."""
    if not route.match:
        findings.error(path, "a tls route needs a match")
    for index, match in enumerate(route.match):
        here = f"{path}.match[{index}]"
        if not match.sni_hosts:
            findings.error(here, "a tls match needs sniHosts")
        for position, name in enumerate(match.sni_hosts):
            _check_sni(findings, f"{here}.sniHosts[{position}]", name, hosts)
        _check_match(findings, here, match)
    _check_destinations(findings, path, route)


def check_tcp_route(findings: Findings, path: str, route: TcpRoute) -> None:
    for index, match in enumerate(route.match):
        here = f"{path}.match[{index}]"
        if match.source_subnet and not is_ip_or_network(match.source_subnet):
            findings.error(f"{here}.sourceSubnet", f'"{match.source_subnet}" is neither an address nor a network')
        _check_match(findings, here, match)
    _check_destinations(findings, path, route)


def _check_destinations(findings: Findings, path: str, route: TlsRoute | TcpRoute) -> None:
    if not route.route:
        findings.error(path, "a route needs a destination")
    check_weights(findings, f"{path}.route", route.route)


def _check_sni(findings: Findings, path: str, name: str, hosts: Sequence[str]) -> None:
    if is_ip(name):
        findings.warn(path, f'"{name}": clients send no IP address as server name')
        return
    problem = wildcard_problem(mesh_sni_host(name) or name)
    findings.problem(path, problem)
    if not problem and hosts and not any(covers(host.lower(), name.lower()) for host in hosts):
        findings.error(path, f'"{name}" is covered by no host of the VirtualService')


def _check_match(findings: Findings, path: str, match: TlsMatch | TcpMatch) -> None:
    for index, subnet in enumerate(match.destination_subnets):
        if not is_ip_or_network(subnet):
            findings.error(f"{path}.destinationSubnets[{index}]", f'"{subnet}" is neither an address nor a network')
    if match.port > PORT_MAX:
        findings.error(f"{path}.port", f"{match.port} is no port, they go from 1 to {PORT_MAX}")
    check_labels(findings, f"{path}.sourceLabels", match.source_labels)
    if match.source_namespace and not is_dns_label(match.source_namespace):
        findings.error(f"{path}.sourceNamespace", f'"{match.source_namespace}" is no name of a namespace')
    validate_virtual_service.check_gateway_names(findings, f"{path}.gateways", match.gateways)
