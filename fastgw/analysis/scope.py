"""FGW0109 for conditions on the gateway itself (B13-B15): gateways it is not bound to, ports that no server has, other sources."""

from __future__ import annotations

from fastgw.analysis.findings import Findings
from fastgw.analysis.picture import Picture, PictureOptions
from fastgw.compiler.delegates import resolve_gateway_name
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.kinds.http_route import HttpMatch
from fastgw.model.paths import join_key
from fastgw.model.resource import Resource

NEVER, MESH = "FGW0109", "mesh"


def check_scope(picture: Picture) -> list[Diagnostic]:
    ports = {
        gateway.key: {server.port.number for server in gateway.spec.servers if server.port} for gateway in picture.of("Gateway")
    }
    ours = {gateway.key for gateway in picture.gateways}
    diagnostics: list[Diagnostic] = []
    for service in picture.of("VirtualService"):
        # a delegate is bound to what its roots are bound to, and without gateways it is the mesh
        if (
            service.spec.hosts
            and service.spec.gateways
            and any(_scoped(match) for http in service.spec.http for match in http.match)
        ):
            diagnostics += _check(service, ports, ours, picture.options)
    return diagnostics


def _scoped(match: HttpMatch) -> bool:
    return bool(match.port or match.gateways or match.source_namespace or match.source_labels)


def _check(service: Resource, ports: dict[str, set[int]], ours: set[str], options: PictureOptions) -> list[Diagnostic]:
    findings = Findings(service)
    own = {resolve_gateway_name(name, service.namespace) for name in service.spec.gateways}
    for index, route in enumerate(service.spec.http):
        for position, match in enumerate(route.match):
            path = f"spec.http[{index}].match[{position}]"
            named = {resolve_gateway_name(name, service.namespace) for name in match.gateways}
            if named and not named & own:
                findings.warn(f"{path}.gateways", f"never holds: spec.gateways has none of {', '.join(sorted(named))}", NEVER)
            elif match.port:
                _check_port(findings, path, match.port, (named & own) or own, ports)
            if not named and own <= ours:
                _check_source(findings, path, match, options)
    return findings.diagnostics


def _check_source(findings: Findings, path: str, match: HttpMatch, options: PictureOptions) -> None:
    """B14: requests come from this gateway and nothing else, since it is bound to no other and not to the mesh."""
    if match.source_namespace and match.source_namespace != options.namespace:
        findings.warn(f"{path}.sourceNamespace", f'never holds: this gateway is in namespace "{options.namespace}"', NEVER)
    for name, value in match.source_labels.items():
        own = options.labels.get(name)
        if own != value:
            has = f'this gateway\'s label {name} is "{own}"' if own is not None else f"this gateway has no label {name}"
            findings.warn(join_key(f"{path}.sourceLabels", name), f"never holds: {has}", NEVER)


def _check_port(findings: Findings, path: str, port: int, gateways: set[str], ports: dict[str, set[int]]) -> None:
    """Only where all Gateways are known; what ports there are in the mesh nobody knows here."""
    if MESH in gateways or not gateways <= ports.keys():
        return
    opened = sorted(set[int]().union(*(ports[name] for name in gateways)))
    if port not in opened:
        numbers = ", ".join(map(str, opened)) or "none"
        findings.warn(f"{path}.port", f"never holds: it is the port of the Gateway's server, and those are {numbers}", NEVER)
