"""tcp and tls routes of VirtualServices: where the bytes of a connection go (fields.md 2.13, 2.14; P11, P14, P15).

What a match says beside port, gateways and server names is not looked at by a gateway, as in Istio. A route whose match holds is
never passed over: when its destinations mean nothing, connections are closed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from fastgw.compiler.annotations import keep_clients
from fastgw.compiler.clusters import ClusterBuilder, Use
from fastgw.compiler.delegates import resolve_gateway_name
from fastgw.compiler.destination_rules import DEFAULT_IDLE_TIMEOUT_MS
from fastgw.compiler.destinations import Finder, weighted
from fastgw.compiler.http_routes import BoundService
from fastgw.compiler.servers import PlacedServer
from fastgw.model.kinds.virtual_service import L4RouteDestination, TcpMatch, TlsMatch
from fastgw.model.origin import Origin
from fastgw.model.plan import Action, Sticky, WeightedDestination

MAX_TOTAL_WEIGHT = 0xFFFF_FFFF
FULL_WEIGHT = 100


class Layer4Route(msgspec.Struct, frozen=True, eq=False):
    """A match of a tcp or tls route that holds at a server. ``action`` None: connections are closed.

    ``first``: the cluster of the first destination, None when it is not known. ``path``: its field, for messages.
    """

    route_index: int
    match_index: int
    action: Action | None
    uses: tuple[Use, ...]
    first: Use | None
    path: str
    origin: Origin
    sni_hosts: tuple[str, ...] = ()


class Layer4:
    """Compiles the routes of VirtualServices, each once for a gateway and port."""

    __slots__ = ("_clusters", "_finder")

    def __init__(self, finder: Finder, clusters: ClusterBuilder) -> None:
        self._finder = finder
        self._clusters = clusters

    def tcp(self, service: BoundService, server: PlacedServer) -> Layer4Route | None:
        """The first tcp route with a match that holds; one without matches always does."""
        return next(iter(self._routes(service, server, "tcp")), None)

    def tls(self, service: BoundService, server: PlacedServer) -> Sequence[Layer4Route]:
        """Every match of a tls route that holds, in order."""
        return self._routes(service, server, "tls")

    def idle_timeout_ms(self, first: Use | None) -> int:
        """As the DestinationRule of the first destination says (P16)."""
        return self._clusters.idle_timeout_ms(first.key) if first is not None else DEFAULT_IDLE_TIMEOUT_MS

    def _routes(self, service: BoundService, server: PlacedServer, block: str) -> Sequence[Layer4Route]:
        if block not in service.layer4:
            return ()
        key = (block, server.gateway.key, server.number)
        found = service.layer4_routes.get(key)
        if found is None:
            find = self._tcp if block == "tcp" else self._tls
            found = service.layer4_routes[key] = tuple(find(service, server))
        return found

    def _tcp(self, service: BoundService, server: PlacedServer) -> Iterator[Layer4Route]:
        for index, route in enumerate(service.resource.spec.tcp):
            held = next((m for m, match in enumerate(route.match) if _holds(match, service, server)), None)
            if held is not None or not route.match:
                path = f"spec.tcp[{index}]"
                yield self._route(service, server, path, (index, held or 0), route.route)
                return

    def _tls(self, service: BoundService, server: PlacedServer) -> Iterator[Layer4Route]:
        for index, route in enumerate(service.resource.spec.tls):
            for position, match in enumerate(route.match):
                if _holds(match, service, server):
                    path = f"spec.tls[{index}]"
                    names = tuple(dict.fromkeys(name.lower() for name in match.sni_hosts))
                    made = self._route(service, server, path, (index, position), route.route)
                    origin = service.resource.at(f"{path}.match[{position}]")
                    yield msgspec.structs.replace(made, sni_hosts=names, path=f"{path}.match[{position}]", origin=origin)

    def _route(
        self, service: BoundService, server: PlacedServer, path: str, number: tuple[int, int], entries: Sequence[L4RouteDestination]
    ) -> Layer4Route:
        resource = service.resource
        problem = _problem(entries)
        if problem is not None:
            field, words = problem
            service.report.error("FGW0104", resource, path + field, f"{words}: connections are closed")
            return Layer4Route(*number, None, (), None, path, resource.at(path))
        destinations: list[WeightedDestination] = []
        uses: list[Use | None] = []
        for index, entry in enumerate(entries):
            weight = FULL_WEIGHT if len(entries) == 1 else entry.weight
            if weight == 0 or entry.destination is None:
                continue
            field = f"{path}.route[{index}].destination"
            found = weighted(entry.destination, weight, resource.namespace, server.number, self._finder)
            destinations.append(found.destination)
            uses.append(Use(found.key, resource, field, layer4=True) if found.key is not None else None)
            if found.key is None:
                service.report.error("IST0101", resource, field, f"{found.why_missing}: connections are closed (NC)")
        known = tuple(use for use in uses if use is not None)
        action = keep_clients(Action("route", tuple(destinations)), _sticky_by_address(service))
        return Layer4Route(*number, action, known, uses[0], path, resource.at(path))


def _holds(match: TcpMatch | TlsMatch, service: BoundService, server: PlacedServer) -> bool:
    if match.port and match.port != server.number:
        return False
    names = (resolve_gateway_name(name, service.resource.namespace) for name in match.gateways)
    return not match.gateways or server.gateway.key in names


def _sticky_by_address(service: BoundService) -> Sticky | None:
    """Of a connection nothing but its client's address is known: a cookie or a header keeps nobody."""
    sticky = service.wishes.sticky
    return sticky if sticky is not None and sticky.kind == "source_ip" else None


def _problem(entries: Sequence[L4RouteDestination]) -> tuple[str, str] | None:
    """What makes a route useless, as (field, words)."""
    for index, entry in enumerate(entries):
        if entry.destination is None or not entry.destination.host:
            return f".route[{index}]", "a destination without a host"
        if entry.destination.port is not None and entry.destination.port.number > 65535:
            return f".route[{index}].destination.port", f"{entry.destination.port.number} is no port"
        if entry.weight < 0:
            return f".route[{index}].weight", "a negative weight"
    total = sum(entry.weight for entry in entries)
    if not entries or (len(entries) > 1 and total == 0):
        return ".route" if entries else "", "there is no destination, or the weights add up to 0"
    return (".route", f"the weights add up to more than {MAX_TOTAL_WEIGHT}") if total > MAX_TOTAL_WEIGHT else None
