"""What connections of a listener meet: its servers -> filter chains, told apart by server name (C6-C9, P1, P10-P17).

A server name leads to the first server, and there to the first rule, that has it; a later one keeps its other names. A TCP or TLS
server from which nothing leads on has no chain, and a listener without chains is not opened (C3, C11).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fastgw.compiler.auto_passthrough import AutoPassthrough
from fastgw.compiler.bind import Bindings
from fastgw.compiler.clusters import Use
from fastgw.compiler.gateway_annotations import listener_wishes
from fastgw.compiler.hosts import covers
from fastgw.compiler.http_routes import BoundService
from fastgw.compiler.layer4 import Layer4, Layer4Route
from fastgw.compiler.options import CompileOptions
from fastgw.compiler.report import Report, place
from fastgw.compiler.servers import HTTP, TCP, PlacedListener, PlacedServer
from fastgw.compiler.tls_contexts import tls_context
from fastgw.model.plan import Chain, Listener
from fastgw.model.resource import Resource

ANY = "*"


class ChainCompiler:
    """What is the same for all listeners. ``uses``: the clusters of all chains."""

    def __init__(
        self, bindings: Bindings, layer4: Layer4, automatic: AutoPassthrough, options: CompileOptions, report: Report
    ) -> None:
        self.bindings = bindings
        self.layer4 = layer4
        self.automatic = automatic
        self.options = options
        self.report = report
        self.uses: dict[Use, None] = {}

    def compile(self, placed: PlacedListener) -> Listener | None:
        """None when nothing of it is served. Servers without a chain are taken away from ``placed``."""
        chains, served = _Chains(placed, self).build()
        placed.servers = served
        if not served:
            return None
        first = served[0]
        wishes = listener_wishes(placed.name, served, self.options, self.report)
        return Listener(
            name=placed.name,
            bind=placed.bind,
            port=placed.port,
            protocol=first.family,
            servers=[server.ref() for server in served],
            chains=chains,
            proxy_protocol=wishes.proxy_protocol,
            max_connections=wishes.max_connections,
            max_per_source=wishes.max_per_source,
            origin=first.gateway.at(first.path),
        )


class _Names:
    """The server names of one listener, and where each was taken first."""

    def __init__(self, report: Report) -> None:
        self._owners: dict[str, tuple[Resource, str]] = {}
        self._report = report

    def claim(self, names: Iterable[str], owner: Resource, path: str) -> tuple[str, ...]:
        """Those that were free, which they are no longer. The others are reported."""
        free = []
        for name in names:
            winner = self._owners.setdefault(name, (owner, path))
            if winner == (owner, path):
                free.append(name)
                continue
            what = f"{winner[0].kind} {winner[0].key} at {place(*winner)}"
            message = f'server name "{name}" leads to {what}, which comes first: not from here'
            self._report.warning("FGW0113", owner, path, message)
        return tuple(free)

    def claim_silently(self, name: str, owner: Resource, path: str) -> bool:
        """Whether it was free."""
        return self._owners.setdefault(name, (owner, path)) == (owner, path)


class _Chains:
    """The chains of one listener."""

    def __init__(self, placed: PlacedListener, compiler: ChainCompiler) -> None:
        self._placed = placed
        self._compiler = compiler
        self._report = compiler.report
        self._names = _Names(compiler.report)

    def build(self) -> tuple[list[Chain], list[PlacedServer]]:
        """The chains, and the servers that they come from."""
        chains: list[Chain] = []
        served: list[PlacedServer] = []
        plain = False
        for server in self._placed.servers:
            if server.family == HTTP and plain:
                served.append(server)
                continue
            found = list(self._of(server))
            if found:
                chains += found
                served.append(server)
                plain = plain or server.family == HTTP
            elif server.family == TCP or not server.carries_requests:
                self._report_useless(server)
        return chains, served

    def _of(self, server: PlacedServer) -> Iterator[Chain]:
        if server.family == HTTP:
            name = self._placed.plain_table
            web = any(other.protocol == "GRPC-WEB" for other in self._placed.servers if other.family == HTTP)
            yield Chain(name, route_table=name, grpc_web=web, origin=server.gateway.at(server.path))
        elif server.family == TCP:
            yield from self._relayed(server)
        elif server.terminates:
            yield from self._terminating(server)
        elif server.mode == "AUTO_PASSTHROUGH":
            yield from self._automatic(server)
        else:
            yield from self._passthrough(server)

    def _terminating(self, server: PlacedServer) -> Iterator[Chain]:
        """HTTPS has a route table of its own (C9); decrypted bytes of TLS go by tcp routes (P10)."""
        base = next(self._relayed(server), None) if not server.carries_requests else None
        if base is None and not server.carries_requests:
            return
        context = tls_context(server, self._compiler.options, self._report)
        if context is None:
            return
        names = self._names.claim(_server_names(server), server.gateway, server.path)
        if not names:
            return
        chain = base or Chain("", server=server.key, origin=server.gateway.at(server.path))
        chain.name = self._placed.secure_name(server)
        chain.route_table = chain.name if server.carries_requests else ""
        chain.tls, chain.tls_context, chain.server_names = "terminate", context, names
        yield chain

    def _relayed(self, server: PlacedServer) -> Iterator[Chain]:
        """By the first tcp route that holds (P15)."""
        for service in self._bound(server):
            route = self._compiler.layer4.tcp(service, server)
            if route is not None:
                bind = f".{self._placed.bind}" if self._placed.bind else ""
                yield self._relay(f"tcp.{self._placed.port}{bind}", server, service, route)
                return

    def _passthrough(self, server: PlacedServer) -> Iterator[Chain]:
        """A chain for each match of a tls route (P11), with the names that are the server's, too."""
        for service in self._bound(server):
            for route in self._compiler.layer4.tls(service, server):
                names = self._names.claim(self._common(server, service, route), service.resource, route.path)
                if names:
                    owner = f"{service.resource.name}.{service.resource.namespace}"
                    name = f"{self._placed.secure_name(server)}.{owner}.{route.route_index}.{route.match_index}"
                    chain = self._relay(name, server, service, route)
                    chain.tls, chain.server_names = "passthrough", names
                    yield chain

    def _automatic(self, server: PlacedServer) -> Iterator[Chain]:
        for name, action, use in self._compiler.automatic.services_of(server):
            if self._names.claim_silently(name, server.gateway, server.path):
                self._compiler.uses[use] = None
                idle = self._compiler.layer4.idle_timeout_ms(use)
                chain = Chain(name, "tcp", "passthrough", (name,), action=action, idle_timeout_ms=idle, server=server.key)
                chain.origin = server.gateway.at(server.path)
                yield chain

    def _bound(self, server: PlacedServer) -> Iterator[BoundService]:
        """VirtualServices with tcp or tls routes and any host in common with the server (B12), in order of precedence."""
        for service in self._compiler.bindings.at(server.gateway.key, server.hosts):
            if service.layer4 and service.domains_at(server.hosts):
                yield service

    def _common(self, server: PlacedServer, service: BoundService, route: Layer4Route) -> tuple[str, ...]:
        """The server names of a match that are hosts of the VirtualService and of the server, the narrower of each pair."""
        found: dict[str, None] = {}
        for name in route.sni_hosts:
            if not any(covers(host.lower(), name) for host in service.hosts):
                message = f'"{name}" is covered by no host of the VirtualService: not served'
                self._report.error("FGW0104", service.resource, f"{route.path}.sniHosts", message)
                continue
            common = server.hosts.domains((name,), service.resource.namespace)
            if common != (name,):
                rest = f"only {', '.join(common)} of it" if common else "nothing of it"
                message = f'"{name}" is not within the hosts of Gateway {server.gateway.key}: {rest} is served there'
                self._report.warning("FGW0113", service.resource, f"{route.path}.sniHosts", message)
            found.update(dict.fromkeys(common))
        return tuple(found)

    def _relay(self, name: str, server: PlacedServer, service: BoundService, route: Layer4Route) -> Chain:
        self._compiler.uses.update(dict.fromkeys(route.uses))
        return Chain(
            name,
            "tcp",
            action=route.action,
            idle_timeout_ms=self._compiler.layer4.idle_timeout_ms(route.first),
            server=server.key,
            virtual_service=service.ref(service.resource),
            route_index=route.route_index,
            match_index=route.match_index,
            origin=route.origin,
        )

    def _report_useless(self, server: PlacedServer) -> None:
        block = "tls" if server.mode == "PASSTHROUGH" else "tcp"
        what = f"no {block} route of a VirtualService leads on from here"
        if server.mode == "AUTO_PASSTHROUGH":
            what = "no service of the registry is within its hosts"
        self._report.warning("FGW0114", server.gateway, server.path, f"{what}: not served")


def _server_names(server: PlacedServer) -> tuple[str, ...]:
    """Without namespaces; a star among them takes whatever no other server has (C8)."""
    names = server.hosts.plain_names()
    return (ANY,) if ANY in names else tuple(sorted(names))
