"""Fourth pass: route tables. Every host that is bound at a listener becomes a virtual host with the rules of all who bind it.

Rules of several VirtualServices follow one another in order of precedence, then all catch-alls move to the end (E4). Nothing else
is sorted. Hosts of redirecting servers exist without any rule, too (M1, M4).
"""

from __future__ import annotations

from collections.abc import Iterable

from fastgw.compiler.bind import Bindings
from fastgw.compiler.http_routes import BoundService, CompiledRules, RuleCompiler
from fastgw.compiler.servers import PlacedListener, PlacedServer
from fastgw.model.origin import Origin
from fastgw.model.plan import RouteTable, Rule, VirtualHost


class _Draft:
    """A virtual host in the making. ``parts``: the rules of each VirtualService, by identity (E5: bound twice counts once)."""

    __slots__ = ("name", "origin", "parts", "require_tls")

    def __init__(self, name: str, origin: Origin) -> None:
        self.name = name
        self.origin = origin
        self.parts: dict[int, CompiledRules] = {}
        self.require_tls = False


class VirtualHostCache:
    """Virtual hosts of the last compilation, kept when their parts are the very same objects."""

    __slots__ = ("_last", "_next")

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], tuple[tuple[CompiledRules, ...], VirtualHost]] = {}
        self._next: dict[tuple[str, str], tuple[tuple[CompiledRules, ...], VirtualHost]] = {}

    def finish(self) -> None:
        """This compilation is done; what it did not use is dropped."""
        self._last, self._next = self._next, {}

    def virtual_host(self, table: str, domain: str, draft: _Draft) -> VirtualHost:
        """The old object when it would come out the same."""
        parts = tuple(draft.parts.values())
        known = self._last.get((table, domain))
        if known is None or known[0] != parts or known[1].require_tls != draft.require_tls or known[1].name != draft.name:
            known = (parts, VirtualHost(draft.name, [domain], match_order(parts), draft.require_tls, draft.origin))
        self._next[(table, domain)] = known
        return known[1]


def match_order(parts: Iterable[CompiledRules]) -> list[Rule]:
    """E4."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0].all()
    rules = [rule for part in parts for rule in part.rules]
    return rules + [part.catch_all for part in parts if part.catch_all is not None]


class TableBuilder:
    """The route table of one listener. ``used`` collects the rules that took part, for their clusters."""

    __slots__ = ("_bindings", "_compiler", "_drafts", "_listener", "used")

    def __init__(
        self, listener: PlacedListener, bindings: Bindings, compiler: RuleCompiler, used: dict[int, CompiledRules]
    ) -> None:
        self._listener = listener
        self._bindings = bindings
        self._compiler = compiler
        self._drafts: dict[str, _Draft] = {}
        self.used = used

    def build(self, cache: VirtualHostCache) -> RouteTable:
        """All virtual hosts, in the order in which they were first bound."""
        for server in self._listener.http_servers():
            for service in self._bindings.of(server.gateway.key):
                self._bind(server, service)
            if server.redirects:
                self._redirect(server)
        name = self._listener.table_name
        return RouteTable(name, [cache.virtual_host(name, domain, draft) for domain, draft in self._drafts.items()])

    def _bind(self, server: PlacedServer, service: BoundService) -> None:
        domains = service.domains_at(server.hosts)
        if not domains:
            return
        compiled = self._compiler.rules(service, server.gateway.key, server.number)
        if not compiled.rules and compiled.catch_all is None:
            return  # B11: no virtual host, so that requests fall to a wildcard one
        self.used[id(compiled)] = compiled
        for domain in domains:
            draft = self._drafts.get(domain)
            if draft is None:
                draft = self._drafts[domain] = _Draft(f"{domain}:{server.number}", service.resource.origin)
            draft.parts[id(compiled)] = compiled
            draft.require_tls = draft.require_tls or server.redirects

    def _redirect(self, server: PlacedServer) -> None:
        for domain in server.hosts.plain_names():
            draft = self._drafts.get(domain)
            if draft is None:
                draft = self._drafts[domain] = _Draft(f"{domain}:{server.number}", server.gateway.at(server.path))
            draft.require_tls = True
