"""Parts of VirtualServices that no server of their Gateways looks at (P10): reported, since nothing else would tell.

http routes count at HTTP servers and at HTTPS ones that end TLS, tls routes at PASSTHROUGH servers, tcp routes at TCP servers and
at TLS ones that end TLS.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastgw.compiler.http_routes import BoundService
from fastgw.compiler.report import Report
from fastgw.compiler.servers import TCP, PlacedListener, PlacedServer

_WHERE = {
    "http": "HTTP servers and HTTPS ones that end TLS",
    "tls": "servers in PASSTHROUGH mode",
    "tcp": "TCP servers and TLS ones that end TLS",
}


def report_unused(services: Iterable[BoundService], listeners: Iterable[PlacedListener], report: Report) -> None:
    """One finding for each block of a VirtualService that is bound and whose block counts at none of the servers."""
    servers: dict[str, list[PlacedServer]] = {}
    for listener in listeners:
        for server in listener.servers:
            servers.setdefault(server.gateway.key, []).append(server)
    mixed = {gateway for gateway, own in servers.items() if any(_block_of(server) != "http" for server in own)}
    for service in services:
        if service.layer4 or any(gateway in mixed for gateway in service.gateways):
            _report(service, [server for gateway in service.gateways for server in servers.get(gateway, ())], report)


def _report(service: BoundService, servers: Sequence[PlacedServer], report: Report) -> None:
    spec = service.resource.spec
    blocks = (*(("http",) if spec.http else ()), *service.layer4)
    bound = [server for server in servers if service.domains_at(server.hosts)]
    counting = {_block_of(server) for server in bound}
    for block in blocks if bound else ():
        if block not in counting:
            other = bound[0]
            where = f"the Gateway has {other.protocol}{f' in {other.mode} mode' if other.mode else ''} for its hosts"
            message = f"{block} routes count at {_WHERE[block]} only, and {where}: they have no effect"
            report.warning("FGW0115", service.resource, f"spec.{block}", message)


def _block_of(server: PlacedServer) -> str:
    if server.carries_requests:
        return "http"
    return "tcp" if server.family == TCP or server.terminates else "tls" if server.mode == "PASSTHROUGH" else ""
