"""The short way through a compilation: VirtualServices whose http routes alone have changed take the place of their predecessors.

Bindings, hosts, order and names then stay as they are, and the cost is that of what has changed. Whatever does not fit that
pattern exactly (other hosts or Gateways, delegation, a service that was told of, any other kind) takes the long way.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import compress

import msgspec

from fastgw.compiler.cache import CompileCache
from fastgw.compiler.clusters import ClusterBuilder, Use
from fastgw.compiler.guards import GuardBook
from fastgw.compiler.http_routes import BoundService, CompiledRules, RuleCompiler
from fastgw.compiler.options import CompileResult
from fastgw.compiler.report import in_file_order
from fastgw.compiler.servers import PlacedListener
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.origin import Origin
from fastgw.model.plan import Cluster, Plan, RouteTable
from fastgw.model.resource import Resource

MANY = 1000
"""So many changes at once take the long way, which costs less then."""


class Whole(msgspec.Struct):
    """The last compilation, of a copy of the list of resources.

    ``layer4``: the clusters that chains use. ``said``: findings of the passes over everything, without those about single
    services and clusters.
    """

    resources: Sequence[Resource]
    doubtful: frozenset[str]
    listeners: list[PlacedListener]
    compiler: RuleCompiler
    book: GuardBook
    clusters: ClusterBuilder
    used: dict[CompiledRules, None]
    layer4: tuple[Use, ...]
    said: list[Diagnostic]
    plan: Plan
    diagnostics: list[Diagnostic]


class _Exchange(msgspec.Struct):
    """What takes whose place. ``domains``: by route table, those whose virtual hosts change."""

    services: list[tuple[BoundService, BoundService]] = []
    rules: dict[CompiledRules, CompiledRules] = {}
    origins: dict[Origin, Origin] = {}
    domains: dict[str, dict[str, None]] = {}


def exchange(whole: Whole, resources: Sequence[Resource], cache: CompileCache) -> CompileResult | None:
    """The result for ``resources``; None when it takes the long way, then nothing has been touched."""
    found = _find(whole, resources, cache)
    if found is None:
        return None
    plan = whole.plan
    tables = dict(plan.route_tables)
    for name, domains in found.domains.items():
        hosts = cache.virtual_hosts.exchange(name, domains, found.rules, found.origins, tables[name].virtual_hosts)
        tables[name] = RouteTable(name, hosts, tables[name].pages)
    whole.used = {found.rules.get(rules, rules): None for rules in whole.used}
    clusters, same_words = _clusters(whole, found)
    cache.exchange_services(found.services)
    if not same_words or any(one.report.diagnostics for pair in found.services for one in pair):
        whole.diagnostics = in_file_order([*whole.said, *whole.clusters.diagnostics()], cache.services())
    whole.plan = Plan(plan.listeners, tables, clusters)
    whole.resources = list(resources)
    return CompileResult(whole.plan, list(whole.diagnostics))


def _find(whole: Whole, resources: Sequence[Resource], cache: CompileCache) -> _Exchange | None:
    before = whole.resources
    if len(resources) != len(before):
        return None
    changed = list(compress(range(len(resources)), map(operator.is_not, before, resources)))
    if len(changed) > MANY:
        return None
    told = {(one.kind, one.namespace, one.name) for one in whole.said}
    found = _Exchange()
    for position in changed:
        old, new = before[position], resources[position]
        known = cache.service_of(old)
        if known is None or whole.book.names(old.kind, old.key):  # a policy may name its routes
            return None
        if (old.kind, old.namespace, old.name) in told or not _only_http_differs(old, new):
            return None
        fresh = BoundService(new)
        if known.delegating or fresh.delegating or known.layer4 or not _note(found, whole, known, fresh):
            return None
    return found


def _only_http_differs(old: Resource, new: Resource) -> bool:
    if old.kind != "VirtualService" or new.kind != old.kind:
        return False
    spec = msgspec.structs.replace(new.spec, http=old.spec.http)
    like_old = msgspec.structs.replace(new, spec=spec, origin=old.origin, places=None)
    return like_old == msgspec.structs.replace(old, places=None)


def _note(found: _Exchange, whole: Whole, known: BoundService, fresh: BoundService) -> bool:
    """False when the new rules do not stand exactly where the old ones stood."""
    found.services.append((known, fresh))
    found.origins[known.resource.origin] = fresh.resource.origin
    for listener in whole.listeners:
        for table, servers in listener.tables():
            for server in servers:
                if server.gateway.key not in known.gateways or server.hosts not in known.placed:
                    continue
                place = (server.hosts, server.gateway.key, server.number)
                domains, old = whole.compiler.place(known, *place)
                _, new = whole.compiler.place(fresh, *place)
                if old is None and new is None:
                    continue
                if old is None or new is None or found.rules.setdefault(old, new) is not new:
                    return False
                found.domains.setdefault(table, {}).update(dict.fromkeys(domains))
    return len(set(found.rules.values())) == len(found.rules)


def _clusters(whole: Whole, found: _Exchange) -> tuple[dict[str, Cluster], bool]:
    """The clusters, and whether what is said about them has stayed the same."""
    pairs = [(old.uses, new.uses) for old, new in found.rules.items()]
    if all([use.key.name for use in old] == [use.key.name for use in new] for old, new in pairs):
        uses = [(old, new) for olds, news in pairs for old, new in zip(olds, news, strict=True)]
        exchanged = whole.clusters.exchange(uses, whole.plan.clusters)
        if exchanged is not None:
            return exchanged
    return whole.clusters.build([*(use for rules in whole.used for use in rules.uses), *whole.layer4]), False
