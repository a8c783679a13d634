"""Fourth pass: route tables. Every host that is bound at a listener becomes a virtual host with the rules of all who bind it.

Rules of several VirtualServices follow one another in order of precedence, then all catch-alls move to the end (E4); where the
annotation for it is used, all that in order of priority. Nothing else is sorted. Hosts of redirecting servers exist without any
rule, too (M1, M4).
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence

from fastgw.compiler.bind import Bindings
from fastgw.compiler.edge_policies import GATEWAY, Asked
from fastgw.compiler.error_pages import pages_of_gateways
from fastgw.compiler.guards import GuardBook, GuardedRules, guards_of
from fastgw.compiler.http_routes import BoundService, CompiledRules, RuleCompiler
from fastgw.compiler.servers import PlacedServer
from fastgw.model.origin import Origin
from fastgw.model.plan import NO_GUARDS, ErrorPage, LeftOut, RouteTable, Rule, VirtualHost
from fastgw.model.progress import with_progress


class _Draft:
    """A virtual host in the making. ``parts``: the rules of each VirtualService in order, none twice (E5). ``gateways``: the keys
    of all whose servers have it; ``asked``: what policies ask for it. ``whole``: the wildcard that it is a part of, "" for none."""

    __slots__ = ("asked", "gateways", "number", "origin", "parts", "require_tls", "whole")

    def __init__(self, number: int, origin: Origin) -> None:
        self.number = number
        self.origin = origin
        self.parts: dict[CompiledRules, None] = {}
        self.require_tls = False
        self.gateways: dict[str, None] = {}
        self.asked: tuple[Asked, ...] = ()
        self.whole = ""

    def part(self, whole: str) -> _Draft:
        """The same for one of the hosts that it is for."""
        made = _Draft(self.number, self.origin)
        made.parts, made.require_tls, made.gateways, made.whole = self.parts.copy(), self.require_tls, self.gateways, whole
        return made

    def owners(self) -> Iterable[str]:
        """The keys of its VirtualServices."""
        return dict.fromkeys(owner for part in self.parts for owner in part.owners)


class VirtualHostCache:
    """Virtual hosts of the last compilation, kept when their parts are the very same objects."""

    __slots__ = ("_last", "_next", "_positions", "_within", "guarded")

    def __init__(self) -> None:
        self._last: dict[str, dict[str, tuple[_Draft, VirtualHost]]] = {}
        self._next: dict[str, dict[str, tuple[_Draft, VirtualHost]]] = {}
        self._positions: dict[str, dict[str, int]] = {}
        self._within: dict[str, dict[str, list[str]]] = {}
        self.guarded = GuardedRules()

    def finish(self) -> None:
        """This compilation is done; what it did not use is dropped."""
        self._last, self._next = self._next, {}
        self._positions, self._within = {}, {}

    def virtual_hosts(self, table: str, drafts: dict[str, _Draft]) -> list[VirtualHost]:
        """One for each domain, the old object when it would come out the same."""
        last, used = self._last.get(table, {}), self._next.setdefault(table, {})
        found = []
        for domain, draft in drafts.items():
            known = last.get(domain)
            if known is None or not _alike(known[0], draft):
                known = (draft, _virtual_host(domain, draft, self.guarded))
            used[domain] = known
            found.append(known[1])
        return found

    def exchange(
        self,
        table: str,
        domains: Iterable[str],
        rules: Mapping[CompiledRules, CompiledRules],
        origins: Mapping[Origin, Origin],
        hosts: list[VirtualHost],
    ) -> list[VirtualHost]:
        """The ``hosts`` of the last compilation, where some rules took the place of others in these domains."""
        last, hosts = self._last[table], hosts.copy()
        positions = self._positions.get(table)
        if positions is None:
            positions = self._positions[table] = {domain: position for position, domain in enumerate(last)}
            within = self._within[table] = {}
            for domain, (draft, _) in last.items():
                if draft.whole:
                    within.setdefault(draft.whole, []).append(domain)
        within = self._within[table]
        for domain in [each for wide in domains for each in (wide, *within.get(wide, ()))]:
            before = last[domain][0]
            draft = _Draft(before.number, origins.get(before.origin, before.origin))
            draft.require_tls, draft.gateways, draft.asked = before.require_tls, before.gateways, before.asked
            draft.whole = before.whole
            draft.parts = {rules.get(part, part): None for part in before.parts}
            vhost = _virtual_host(domain, draft, self.guarded)
            last[domain] = (draft, vhost)
            hosts[positions[domain]] = vhost
        return hosts


def _virtual_host(domain: str, draft: _Draft, guarded: GuardedRules) -> VirtualHost:
    parts = [guarded.of(part, draft.asked) for part in draft.parts] if draft.asked else list(draft.parts)
    guards = guards_of(draft.asked, GATEWAY, "") if draft.asked else NO_GUARDS
    vhost = VirtualHost(f"{domain}:{draft.number}", [domain], match_order(parts), draft.require_tls, draft.origin)
    vhost.left_out, vhost.guards = _left_out(draft.parts), guards if guards != NO_GUARDS else None
    vhost.pages, vhost.gateway_pages = _pages(parts), pages_of_gateways(draft.asked)
    return vhost


def _alike(one: _Draft, other: _Draft) -> bool:
    return (
        one.number == other.number
        and one.require_tls == other.require_tls
        and one.origin is other.origin
        and one.whole == other.whole
        and one.asked == other.asked
        and len(one.parts) == len(other.parts)
        and all(map(operator.is_, one.parts, other.parts))
    )


def _left_out(parts: Iterable[CompiledRules]) -> list[LeftOut]:
    """What cannot hold behind any of the servers that share this virtual host."""
    parts = list(parts)
    found = [each for part in parts for each in part.left_out]
    if not found:
        return found
    there = {(rule.virtual_service.key, rule.route_index, rule.match_index) for part in parts for rule in part.all()}
    distinct = {(each.virtual_service.key, each.route_index, each.match_index): each for each in found}
    return [each for key, each in distinct.items() if key not in there]


def _pages(parts: Iterable[CompiledRules]) -> tuple[ErrorPage, ...]:
    """Of the first VirtualService in match order that has error pages."""
    having = [part for part in parts if part.pages]
    return max(having, key=lambda part: part.priority).pages if having else ()


def match_order(parts: Iterable[CompiledRules]) -> list[Rule]:
    """Higher priorities first; E4 within one."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0].all()
    ordered: dict[int, list[CompiledRules]] = {}
    for part in parts:
        ordered.setdefault(part.priority, []).append(part)
    return [rule for priority in sorted(ordered, reverse=True) for rule in _of_one_priority(ordered[priority])]


def _of_one_priority(parts: list[CompiledRules]) -> list[Rule]:
    rules = [rule for part in parts for rule in part.rules]
    return rules + [part.catch_all for part in parts if part.catch_all is not None]


class TableBuilder:
    """The route table that some servers share. ``used`` collects the rules that took part, for their clusters."""

    __slots__ = ("_bindings", "_book", "_compiler", "_drafts", "_servers", "used")

    def __init__(
        self,
        servers: Sequence[PlacedServer],
        bindings: Bindings,
        compiler: RuleCompiler,
        book: GuardBook,
        used: dict[CompiledRules, None],
    ) -> None:
        self._servers = servers
        self._bindings = bindings
        self._compiler = compiler
        self._book = book
        self._drafts: dict[str, _Draft] = {}
        self.used = used

    def build(self, name: str, cache: VirtualHostCache) -> RouteTable:
        """All virtual hosts, in the order in which they were first bound."""
        for server in self._servers:
            services = self._bindings.at(server.gateway.key, server.hosts)
            for service in with_progress("compiling VirtualServices", services, len(services)):
                self._bind(server, service)
            if server.redirects:
                self._redirect(server)
        if not self._book.is_empty():
            self._split()
            for domain, draft in self._drafts.items():
                draft.asked = self._book.at(domain, draft.gateways, draft.owners())
        pages = self._book.unknown_hosts(dict.fromkeys(server.gateway.key for server in self._servers))
        return RouteTable(name, cache.virtual_hosts(name, self._drafts), pages)

    def _split(self) -> None:
        """A host within a wildcard, of which a policy asks something else than of the rest, has a virtual host of its own, with the
        rules of the wildcard."""
        wide = {domain: None for domain in self._drafts if domain.startswith("*")}
        for domain in wide:
            draft = self._drafts[domain]
            for host, around in self._book.hosts_within(wide.keys(), draft.gateways, draft.owners()).items():
                if around == domain and host not in self._drafts:
                    self._drafts[host] = draft.part(domain)

    def _bind(self, server: PlacedServer, service: BoundService) -> None:
        domains, compiled = self._compiler.place(service, server.hosts, server.gateway.key, server.number)
        if compiled is None:
            return
        self.used[compiled] = None
        for domain in domains:
            draft = self._drafts.get(domain)
            if draft is None:
                draft = self._drafts[domain] = _Draft(server.number, service.resource.origin)
            draft.parts[compiled] = None
            draft.gateways[server.gateway.key] = None
            if server.redirects:
                draft.require_tls = True

    def _redirect(self, server: PlacedServer) -> None:
        for domain in server.hosts.plain_names():
            draft = self._drafts.get(domain)
            if draft is None:
                draft = self._drafts[domain] = _Draft(server.number, server.gateway.at(server.path))
            draft.require_tls = True
            draft.gateways[server.gateway.key] = None
