"""IST0138, IST0145, IST0162: Gateways that get in each other's way, and ports that the Service in front does not publish."""

from __future__ import annotations

from fastgw.analysis.findings import Findings
from fastgw.analysis.picture import Picture
from fastgw.analysis.rules import TLS_PROTOCOLS
from fastgw.compiler.hosts import normalise_server_hosts
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.kinds.gateway import Server
from fastgw.model.resource import Resource

CONFLICT, NOT_PUBLISHED, SAME_CERTIFICATE = "IST0145", "IST0162", "IST0138"


def check_gateways(picture: Picture) -> list[Diagnostic]:
    diagnostics: list[Diagnostic] = []
    taken: dict[tuple[str, int, str], tuple[Resource, int]] = {}
    credentials: dict[str, Resource] = {}
    published = _published_ports(picture)
    ordered = sorted(picture.gateways, key=lambda gateway: (gateway.creation_timestamp, gateway.name, gateway.namespace))
    for gateway in ordered:
        findings = Findings(gateway)
        for index, server in enumerate(gateway.spec.servers):
            _check_certificate(findings, index, server, credentials)
            _check_hosts(findings, index, server, taken)
            _check_published(findings, index, server, published)
        diagnostics += findings.diagnostics
    return diagnostics


def _check_hosts(findings: Findings, index: int, server: Server, taken: dict[tuple[str, int, str], tuple[Resource, int]]) -> None:
    """Two Gateways with the same port and host: routes of plaintext HTTP are joined (C1, E5). Of TLS the compiler tells (C6)."""
    assert server.port is not None
    gateway = findings.resource
    if server.port.protocol.upper() in TLS_PROTOCOLS:
        return
    for position, host in enumerate(normalise_server_hosts(server.hosts, gateway.namespace)):
        first, first_index = taken.setdefault((server.bind, server.port.number, host), (gateway, index))
        if first is gateway:
            continue
        where = f"Gateway {first.key} (server {first_index}, {first.origin.file}:{first.at(f'spec.servers[{first_index}]').line})"
        path = f"spec.servers[{index}].hosts[{position}]"
        findings.note(path, f'"{host}" on port {server.port.number} is also in {where}: their routes are joined', CONFLICT)


def _check_certificate(findings: Findings, index: int, server: Server, credentials: dict[str, Resource]) -> None:
    """Browsers use one HTTP/2 connection for all hosts of a certificate. Istio's servers know their own hosts only (C9); here a
    request goes to the server of its host, as long as both ask the same of clients (G5)."""
    name = server.tls.credential_name if server.tls is not None and server.tls.mode == "SIMPLE" else ""
    if not name:
        return
    first = credentials.setdefault(name, findings.resource)
    if first is not findings.resource:
        message = f'Gateway {first.key} uses "{name}" too: under Istio connections shared by their hosts end in a 404, not here'
        findings.note(f"spec.servers[{index}].tls.credentialName", message, SAME_CERTIFICATE)


def _published_ports(picture: Picture) -> dict[int, str] | None:
    """Ports of the Services in front of this gateway (those that select its labels), None when there is no such Service."""
    own = picture.options
    ports: dict[int, str] = {}
    found = False
    for service in picture.of("Service"):
        selector = service.spec.selector
        if service.namespace == own.namespace and selector and picture.selects_us(selector):
            found = True
            ports.update((port.port, service.key) for port in service.spec.ports)
    return ports if found else None


def _check_published(findings: Findings, index: int, server: Server, published: dict[int, str] | None) -> None:
    assert server.port is not None
    number = server.port.number
    if published is not None and number and number not in published:
        services = ", ".join(sorted(set(published.values())))
        message = f"port {number} is not published by the Service in front of the gateway ({services or 'it has no ports'})"
        findings.warn(f"spec.servers[{index}].port.number", message, NOT_PUBLISHED)
