"""Guards and error pages of virtual hosts, rules and chains: which policies are for them, and what that comes to.

Of the policies for a VirtualService the most specific one that says something of a field counts: for the route, for the host, for
the whole. Where a delegate's rules are concerned, what is for the delegate is more specific than what is for its root. What is
asked for a Gateway holds as well: its lists and rate limits beside all others; its size of requests where nothing is said of a
VirtualService's. What is broken lets nobody in beside all others, however specific they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

import msgspec

from fastgw.compiler.annotations import with_pages
from fastgw.compiler.edge_policies import GATEWAY, SERVICE, Asked, Found, report_idle
from fastgw.compiler.error_pages import pages_of, pages_of_gateways
from fastgw.compiler.hosts import narrowest_around
from fastgw.compiler.http_routes import CompiledRules
from fastgw.compiler.report import Report
from fastgw.model.plan import NO_GUARDS, Action, Chain, ErrorPage, Guards, RateLimit, Rule, SourceList
from fastgw.model.resource import Resource


class GuardBook:
    """The policies by target, for one compilation."""

    __slots__ = ("_by_target", "_found", "_served")

    def __init__(self, found: Sequence[Found]) -> None:
        self._found = found
        self._by_target: dict[str, list[Asked]] = {}
        for each in found:
            self._by_target.setdefault(f"{each.asked.kind} {each.asked.key}", []).append(each.asked)
        self._served: dict[str, set[str]] = {}

    def is_empty(self) -> bool:
        return not self._by_target

    def names(self, kind: str, key: str) -> bool:
        """Is anything for this object?"""
        return f"{kind} {key}" in self._by_target

    def at(self, domain: str, gateways: Iterable[str], services: Iterable[str]) -> tuple[Asked, ...]:
        """All that concerns a virtual host: what is for its Gateways, then what is for its VirtualServices."""
        asked = [each for target in _targets(gateways, services) for each in self._of(target, (domain,))]
        return tuple(each for each in asked if each.at(domain))

    def unknown_hosts(self, gateways: Iterable[str]) -> tuple[ErrorPage, ...]:
        """The pages of Gateways for hosts that their servers do not have."""
        if not self._by_target:
            return ()
        asked = [each for key in gateways for each in self._by_target.get(f"{GATEWAY} {key}", ())]
        return pages_of_gateways(each for each in asked if not each.hosts)

    def hosts_within(self, wide: Set[str], gateways: Iterable[str], services: Iterable[str]) -> dict[str, str]:
        """Hosts that policies for any of these name and that are narrower than one of ``wide``: host -> the narrowest of those."""
        asked = dict.fromkeys(
            host for target in _targets(gateways, services) for each in self._by_target.get(target, ()) for host in each.hosts
        )
        return {host: around for host in asked if (around := narrowest_around(host, wide))}

    def guarded(self, chains: list[Chain]) -> list[Chain]:
        """The chains of a listener, those of kind tcp with their guards; a host within a server name, of which a policy asks
        something else than of the rest, has a chain of its own."""
        if not self._by_target:
            return chains
        names = {name for chain in chains for name in chain.server_names}
        found = [each for chain in chains for each in (chain, *self._narrower(chain, names))]
        for chain in found:
            chain.guards = self._of_chain(chain) if chain.kind == "tcp" else None
        return found

    def _narrower(self, chain: Chain, names: set[str]) -> Iterator[Chain]:
        if chain.kind != "tcp" or not chain.server_names:
            return
        services = () if chain.virtual_service is None else (chain.virtual_service.key,)
        for host, around in self.hosts_within(names, (chain.server.rpartition("#")[0],), services).items():
            if around in chain.server_names and host not in names:
                names.add(host)
                yield msgspec.structs.replace(chain, name=f"{chain.name}.{host}", server_names=(host,))

    def _of_chain(self, chain: Chain) -> Guards | None:
        """Of a chain of kind tcp: lists of clients alone. What is for some hosts holds where it covers a server name, or where
        there are none."""
        names = chain.server_names or ("*",)
        asked = self._of(f"{GATEWAY} {chain.server.rpartition('#')[0]}", names)
        if chain.virtual_service is not None:
            asked = asked + self._of(f"{SERVICE} {chain.virtual_service.key}", names)
        held = [each for each in asked if not each.routes and (not chain.server_names or any(map(each.at, names)))]
        guards = guards_of(held, SERVICE, "")
        return Guards(guards.sources) if guards.sources else None

    def report_idle(self, report: Report) -> None:
        """To be called when everything has been asked for."""
        report_idle(self._found, self._served, report)

    def _of(self, target: str, domains: Iterable[str]) -> list[Asked]:
        asked = self._by_target.get(target)
        if asked is None:
            return []
        self._served.setdefault(target, set()).update(domains)
        return asked


def _targets(gateways: Iterable[str], services: Iterable[str]) -> list[str]:
    """As GuardBook keeps them."""
    return [f"{GATEWAY} {key}" for key in gateways] + [f"{SERVICE} {key}" for key in services]


class GuardedRules:
    """The rules of VirtualServices with their guards, kept from one compilation to the next: the same rules, the same objects."""

    __slots__ = ("_last", "_next", "_services")

    def __init__(self) -> None:
        self._last: dict[tuple[CompiledRules, tuple[Asked, ...]], CompiledRules] = {}
        self._next: dict[tuple[CompiledRules, tuple[Asked, ...]], CompiledRules] = {}
        self._services: Mapping[str, Resource] = {}

    def begin(self, services: Mapping[str, Resource]) -> None:
        """A compilation of these VirtualServices, by key."""
        self._last, self._next, self._services = self._next, {}, services

    def of(self, part: CompiledRules, asked: tuple[Asked, ...]) -> CompiledRules:
        """``asked``: of the virtual host."""
        concerned = tuple(each for each in asked if (not each.pages if each.kind == GATEWAY else each.key in part.owners))
        if not concerned:
            return part
        key = (part, concerned)
        found = self._next.get(key) or self._last.get(key)
        if found is None:
            found = self._guard(part, concerned)
        self._next[key] = found
        return found

    def _guard(self, part: CompiledRules, asked: Sequence[Asked]) -> CompiledRules:
        actions: dict[tuple[int, Guards, tuple[ErrorPage, ...]], Action] = {}
        rules = [self._guard_rule(part, position, rule, asked, actions) for position, rule in enumerate(part.all())]
        whole = [each for each in asked if each.key == part.service and not each.routes]
        pages = pages_of(whole, part.service, part.pages)
        if part.catch_all is None:
            return msgspec.structs.replace(part, rules=rules, pages=pages)
        return msgspec.structs.replace(part, rules=rules[:-1], catch_all=rules[-1], pages=pages)

    def _guard_rule(
        self,
        part: CompiledRules,
        position: int,
        rule: Rule,
        asked: Sequence[Asked],
        actions: dict[tuple[int, Guards, tuple[ErrorPage, ...]], Action],
    ) -> Rule:
        owner = rule.virtual_service.key
        routes = {owner: rule.route_index}
        if part.roots:
            routes.setdefault(part.service, part.roots[position])
        held = [each for each in asked if each.kind == GATEWAY or (each.key in routes and self._is_for(each, routes[each.key]))]
        guards = guards_of(held, SERVICE, owner)
        annotated = rule.action.policy.pages if rule.action.policy is not None else ()
        pages = pages_of(held, owner, annotated)
        if guards == NO_GUARDS and pages == annotated:
            return rule
        key = (id(rule.action), guards, pages)
        action = actions.get(key)
        if action is None:
            guarded = with_pages(rule.action, pages)
            action = actions[key] = msgspec.structs.replace(guarded, guards=guards if guards != NO_GUARDS else None)
        return msgspec.structs.replace(rule, action=action)

    def _is_for(self, asked: Asked, route_index: int) -> bool:
        """A VirtualService that a policy names is compiled as a whole, so its routes are those of the rules."""
        return not asked.routes or self._services[asked.key].spec.http[route_index].name in asked.routes


def guards_of(asked: Iterable[Asked], kind: str, owner: str) -> Guards:
    """What policies come to that all concern the same thing. ``kind`` GATEWAY: only theirs. ``owner``: the VirtualService that a
    rule stands in."""
    by_gateway: dict[str, list[Asked]] = {}
    own: list[Asked] = []
    closed: list[Sequence[Asked]] = []
    for each in asked:
        if each.broken:
            closed += [(each,)] if kind in (SERVICE, each.kind) else []
        elif each.kind == GATEWAY:
            by_gateway.setdefault(each.key, []).append(each)
        elif kind == SERVICE:
            own.append(each)
    groups = [sorted(group, key=lambda each: -each.level()) for group in by_gateway.values()]
    own.sort(key=lambda each: (-each.level(), each.key != owner))
    return Guards(_sources([*closed, *groups, own]), _max_request_bytes(groups, own), _rate_limits([*groups, own]))


def _sources(groups: Iterable[Sequence[Asked]]) -> tuple[SourceList, ...]:
    """One list of each."""
    firsts = (next((each.sources for each in group if each.sources is not None), None) for group in groups)
    return tuple(dict.fromkeys(each for each in firsts if each is not None and (each.closed or each.deny)))


def _rate_limits(groups: Iterable[Sequence[Asked]]) -> tuple[RateLimit, ...]:
    firsts = (next((each.rate_limits for each in group if each.rate_limits is not None), ()) for group in groups)
    return tuple(dict.fromkeys(limit for limits in firsts for limit in limits))


def _max_request_bytes(gateways: Iterable[Sequence[Asked]], own: Sequence[Asked]) -> int:
    """Of several Gateways the smallest."""
    for each in own:
        if each.max_request_bytes is not None:
            return each.max_request_bytes
    firsts = (next((each.max_request_bytes for each in group if each.max_request_bytes is not None), 0) for group in gateways)
    return min((each for each in firsts if each), default=0)
