"""Two Plans against each other: listeners, virtual hosts, rules, clusters with their endpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from fastgw.diff.changes import ADDED, CHANGED, REMOVED, FieldChange, PlanChanges, RuleChange, ThingChange
from fastgw.diff.rules import Comparer, Found
from fastgw.model.plan import Chain, Cluster, Listener, Plan, ServerRef, VirtualHost
from fastgw.model.plan_text import destinations_text, endpoint_text, pages_text, plain_text

T = TypeVar("T", Listener, VirtualHost, Cluster)

_LISTENER = frozenset(("name", "origin", "servers", "chains"))
_SERVER = frozenset(("gateway", "index", "port_name", "hosts"))
_CHAIN = frozenset(
    ("name", "origin", "server", "virtual_service", "route_index", "match_index", "action", "tls_context", "route_table")
)
_TLS = frozenset(("name", "origin"))
_HOST = frozenset(("name", "origin", "rules", "left_out", "pages", "gateway_pages"))
_CLUSTER = frozenset(("name", "origin", "endpoints", "destination_rule", "found_in", "service_name", "service_namespace"))
"""Fields that are compared elsewhere, or that no request can feel."""


def compare_plans(old: Plan, new: Plan) -> PlanChanges:
    """What changes for traffic on the way from ``old`` to ``new``."""
    old_hosts, new_hosts = _hosts(old), _hosts(new)
    return PlanChanges(
        listeners=list(
            _things({each.name: each for each in old.listeners}, {each.name: each for each in new.listeners}, _listener, _servers)
        ),
        hosts=list(_things(old_hosts, new_hosts, _host, lambda host: _count(host))),
        rules=_rules(old_hosts, new_hosts),
        clusters=list(_things(old.clusters, new.clusters, _cluster, lambda cluster: cluster.discovery)),
    )


def _hosts(plan: Plan) -> dict[str, VirtualHost]:
    """By the name of the table and of the host, ``http.80 shop.example.com:80``."""
    return {f"{table.name} {host.name}": host for table in plan.route_tables.values() for host in table.virtual_hosts}


def _things(
    old: Mapping[str, T], new: Mapping[str, T], fields: Callable[[T, T], Iterable[FieldChange]], detail: Callable[[T], str]
) -> Iterator[ThingChange]:
    """Added ones and changed ones in the order of ``new``, then those that are gone."""
    for name, thing in new.items():
        before = old.get(name)
        if before is None:
            yield ThingChange(ADDED, name, detail(thing), new_origin=thing.origin)
        elif changed := tuple(fields(before, thing)):
            yield ThingChange(CHANGED, name, "", changed, before.origin, thing.origin)
    for name, thing in old.items():
        if name not in new:
            yield ThingChange(REMOVED, name, detail(thing), old_origin=thing.origin)


def _plain(old: Any, new: Any, without: frozenset[str]) -> Iterator[FieldChange]:
    for field in old.__struct_fields__:
        if field not in without and getattr(old, field) != getattr(new, field):
            yield FieldChange(field, plain_text(getattr(old, field)), plain_text(getattr(new, field)))


def _listener(old: Listener, new: Listener) -> Iterator[FieldChange]:
    yield from _plain(old, new, _LISTENER)
    before, after = _server_facts(old.servers), _server_facts(new.servers)
    if before != after:
        yield FieldChange("servers", "; ".join(sorted(before - after)), "; ".join(sorted(after - before)))
    yield from _chains(old.chains, new.chains)


def _chains(old: Sequence[Chain], new: Sequence[Chain]) -> Iterator[FieldChange]:
    """Chains by name: what leads to one, what it asks of TLS, where its bytes go. Their requests show as virtual hosts."""
    before, after = ({chain.name: chain for chain in chains} for chains in (old, new))
    for name in dict.fromkeys([*before, *after]):
        one, other = before.get(name), after.get(name)
        if one is None or other is None:
            yield FieldChange(f"chain {name}", _chain_text(one), _chain_text(other))
            continue
        for change in _plain(one, other, _CHAIN):
            yield FieldChange(f"chain {name} {change.field}", change.old, change.new)
        if one.tls_context is not None and other.tls_context is not None:
            for change in _plain(one.tls_context, other.tls_context, _TLS):
                yield FieldChange(f"chain {name} {change.field}", change.old, change.new)
        if (there := _relayed_text(one)) != (then := _relayed_text(other)):
            yield FieldChange(f"chain {name} destinations", there, then)


def _chain_text(chain: Chain | None) -> str:
    if chain is None:
        return ""
    match = f"server names {', '.join(chain.server_names)}, " if chain.server_names else ""
    onward = f"route {chain.route_table}" if chain.route_table else _relayed_text(chain)
    return f"{match}tls {chain.tls}, {onward}"


def _relayed_text(chain: Chain) -> str:
    if chain.kind != "tcp":
        return ""
    return "closed" if chain.action is None else destinations_text(chain.action.destinations)


def _server_facts(servers: Sequence[ServerRef]) -> set[str]:
    """What matters of them beside their hosts, which show as virtual hosts."""
    names = [field for field in ServerRef.__struct_fields__ if field not in _SERVER]
    return {", ".join(f"{name} {plain_text(getattr(server, name))}" for name in names) for server in servers}


def _servers(listener: Listener) -> str:
    ports = ", ".join(str(port) for port in sorted({server.port for server in listener.servers}))
    return f"{listener.protocol}, port {ports}"


def _host(old: VirtualHost, new: VirtualHost) -> Iterator[FieldChange]:
    yield from _plain(old, new, _HOST)
    for field in ("pages", "gateway_pages"):
        told = ["; ".join(pages_text(getattr(host, field))) or "none" for host in (old, new)]
        if told[0] != told[1]:
            yield FieldChange(field, *told)


def _count(host: VirtualHost) -> str:
    if host.require_tls:
        return "redirects to https"
    return f"{len(host.rules)} rule{'' if len(host.rules) == 1 else 's'}"


def _cluster(old: Cluster, new: Cluster) -> Iterator[FieldChange]:
    yield from _plain(old, new, _CLUSTER)
    if old.endpoints != new.endpoints:
        before, after = (_endpoints(cluster) for cluster in (old, new))
        gone = [text for key, text in before.items() if key not in after]
        come = [text for key, text in after.items() if key not in before]
        if gone or come:
            yield FieldChange("endpoints", ", ".join(gone), ", ".join(come))


def _endpoints(cluster: Cluster) -> dict[bytes, str]:
    return {msgspec.json.encode(endpoint): endpoint_text(endpoint) for endpoint in cluster.endpoints}


def _rules(old: Mapping[str, VirtualHost], new: Mapping[str, VirtualHost]) -> list[RuleChange]:
    """Of the hosts that are on both sides; one entry for all hosts that share a rule."""
    comparer = Comparer()
    grouped: dict[Any, tuple[Found, list[str]]] = {}
    for name, host in new.items():
        before = old.get(name)
        for found in comparer.compare(before.rules, host.rules) if before is not None else ():
            change, old_rule, new_rule, fields, _ = found
            grouped.setdefault((change, id(old_rule), id(new_rule), fields), (found, []))[1].append(host.name)
    return [
        RuleChange(change, tuple(names), old_rule, new_rule, fields, over)
        for (change, old_rule, new_rule, fields, over), names in grouped.values()
    ]
