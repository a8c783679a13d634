"""FGW0027 and FGW0030: hosts of a VirtualService that no Gateway serves, hosts of a Gateway that no VirtualService answers for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from fastgw.analysis.findings import Findings
from fastgw.analysis.picture import Picture
from fastgw.analysis.plan_hosts import enumerate_hosts
from fastgw.compiler.delegates import resolve_gateway_name
from fastgw.compiler.hosts import ServerHosts, covers, full_name
from fastgw.compiler.servers import HTTP_PROTOCOLS
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.plan import RouteTable, ServerRef
from fastgw.model.resource import Resource

UNSERVED, UNANSWERED = "FGW0027", "FGW0030"


def check_reachable_hosts(picture: Picture) -> list[Diagnostic]:
    return [*_unserved(picture), *_unanswered(picture)]


def _unserved(picture: Picture) -> list[Diagnostic]:
    """Single hosts; where no host of the VirtualService is served it is IST0132."""
    servers = {
        gateway.key: ServerHosts(
            [
                host
                for index, server in enumerate(gateway.spec.servers)
                if f"spec.servers[{index}]" not in gateway.broken
                for host in server.hosts
            ],
            gateway.namespace,
        )
        for gateway in picture.gateways
    }
    diagnostics: list[Diagnostic] = []
    for service in picture.of("VirtualService"):
        if len(service.spec.hosts) < 2:
            continue
        own = [
            servers[name]
            for name in dict.fromkeys(resolve_gateway_name(name, service.namespace) for name in service.spec.gateways)
            if name in servers
        ]
        if own:
            diagnostics += _unserved_hosts(service, own)
    return diagnostics


def _unserved_hosts(service: Resource, servers: list[ServerHosts]) -> list[Diagnostic]:
    """``servers``: the hosts of all servers of each Gateway."""
    hosts = service.spec.hosts
    dead = [
        index
        for index, host in enumerate(hosts)
        if not any(server.domains((full_name(host, service.namespace),), service.namespace) for server in servers)
    ]
    if not dead or len(dead) == len(hosts):
        return []
    findings = Findings(service)
    for index in dead:
        message = f'"{hosts[index]}" is among the hosts of no Gateway named here: no request has this host'
        if "mesh" in service.spec.gateways:
            findings.note(f"spec.hosts[{index}]", message, UNSERVED)
        else:
            findings.warn(f"spec.hosts[{index}]", message, UNSERVED)
    return findings.diagnostics


class _Served:
    """The domains of a route table that requests are answered for: by rules, or by a redirect to https."""

    def __init__(self, table: RouteTable) -> None:
        self.names = {domain for host in table.virtual_hosts if host.rules or host.require_tls for domain in host.domains}
        self._reversed = sorted(name[::-1] for name in self.names)

    def answers(self, host: str) -> bool:
        """Whether any request for ``host`` finds its virtual host."""
        if host in self.names or any(wide in self.names for wide in _wider(host)):
            return True
        return host.startswith("*") and self._any_below(host[1:])

    def _any_below(self, suffix: str) -> bool:
        position = bisect_left(self._reversed, suffix[::-1])
        return any(covers(f"*{suffix}", name[::-1]) for name in self._reversed[position : position + 2])


def _wider(host: str) -> Iterable[str]:
    """Wildcards that stand for ``host``, of whole labels."""
    yield "*"
    dot = host.find(".", 1)
    while dot > 0:
        yield f"*{host[dot:]}"
        dot = host.find(".", dot + 1)


def _unanswered(picture: Picture) -> list[Diagnostic]:
    gateways = {gateway.key: gateway for gateway in picture.gateways}
    diagnostics: list[Diagnostic] = []
    for listener in picture.plan.listeners:
        by_key = {f"{server.gateway.key}#{server.index}": server for server in listener.servers}
        for chain in listener.chains:
            table = picture.plan.route_tables.get(chain.route_table) if chain.kind == "http" else None
            if table is None:
                continue
            served = _Served(table)
            shared = [server for server in listener.servers if server.protocol in HTTP_PROTOCOLS] if chain.tls == "none" else []
            for server in shared or filter(None, [by_key.get(chain.server)]):
                gateway = gateways.get(server.gateway.key)
                if gateway is not None:
                    diagnostics += _idle(gateway, server, served)
    return diagnostics


def _idle(gateway: Resource, server: ServerRef, served: _Served) -> list[Diagnostic]:
    names = list(dict.fromkeys(host.rpartition("/")[2] for host in server.hosts))
    idle = [name for name in names if not served.answers(name)]
    findings = Findings(gateway)
    if idle:
        message = f"no VirtualService answers for {enumerate_hosts(idle)} on port {server.port}: every request is a 404"
        findings.note(f"spec.servers[{server.index}].hosts", message, UNANSWERED)
    return findings.diagnostics
