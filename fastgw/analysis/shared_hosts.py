"""FGW0025 and FGW0028: hosts that several VirtualServices have, whose rules come first there and why; hosts within a wildcard."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from fastgw.analysis.findings import Findings
from fastgw.analysis.picture import Picture
from fastgw.analysis.plan_hosts import ends_in_catch_all, enumerate_hosts, is_shared, owners, takes_everything, virtual_hosts
from fastgw.compiler.annotations import wishes_of
from fastgw.compiler.hosts import covers, full_name
from fastgw.compiler.report import Report
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.plan import VirtualHost
from fastgw.model.resource import Resource

SHARED, WITHIN = "FGW0025", "FGW0028"


def check_shared_hosts(picture: Picture) -> list[Diagnostic]:
    return [*_shared(picture), *_within_wildcards(picture)]


def _shared(picture: Picture) -> list[Diagnostic]:
    """One finding for each VirtualService that comes after another one, with all hosts where that is so."""
    roots = _roots_of_delegates(picture)
    found: dict[tuple[str, str], _Pair] = {}
    for _, host in virtual_hosts(picture.plan):
        if not is_shared(host):
            continue
        first, *later = _roots(picture, host, roots)
        specific = {rule.virtual_service.key for rule in host.rules if not takes_everything(rule)}
        for key in later:
            pair = found.get((first, key))
            if pair is None:
                pair = found[first, key] = _Pair(key not in specific and first in specific, [])
            pair.hosts.extend(host.domains)
    return [_shared_finding(picture, first, key, pair) for (first, key), pair in found.items()]


class _Pair(NamedTuple):
    """Two VirtualServices. ``moved``: the later one has nothing but a catch-all there, whose place tells no precedence (E4)."""

    moved: bool
    hosts: list[str]


def _roots_of_delegates(picture: Picture) -> dict[str, list[Resource]]:
    """Delegate -> the VirtualServices that delegate to it."""
    roots: dict[str, list[Resource]] = {}
    for service in picture.services.values():
        for route in service.spec.http if service.spec.hosts else ():
            if route.delegate is not None:
                key = f"{route.delegate.namespace or service.namespace}/{route.delegate.name}"
                roots.setdefault(key, []).append(service)
    return roots


def _roots(picture: Picture, host: VirtualHost, roots: dict[str, list[Resource]]) -> list[str]:
    """The VirtualServices with hosts that the rules come from, in match order."""
    found: dict[str, None] = {}
    for key in owners(host.rules):
        service = picture.services.get(key)
        if service is not None and service.spec.hosts:
            found[key] = None
        else:
            found.update((root.key, None) for root in roots.get(key, ()) if _host_index(root, host.domains[0]) is not None)
    return list(found) or owners(host.rules)[:1]


def _host_index(service: Resource, domain: str) -> int | None:
    """Which of its hosts brings a VirtualService to a domain."""
    for index, host in enumerate(service.spec.hosts):
        name = full_name(host, service.namespace).lower()
        if covers(name, domain) or covers(domain, name):
            return index
    return None


def _shared_finding(picture: Picture, first: str, key: str, pair: _Pair) -> Diagnostic:
    winner, service = picture.services[first], picture.services[key]
    findings = Findings(service)
    reason = reason_of_order(winner, service, picture.options.namespace, pair.moved)
    message = (
        f"{enumerate_hosts(pair.hosts)} {'is' if len(set(pair.hosts)) == 1 else 'are'} also in VirtualService {first} "
        f"({winner.origin.file}:{winner.origin.line}), whose rules come first: {reason}"
    )
    index = _host_index(service, pair.hosts[0])
    findings.note("spec.hosts" if index is None else f"spec.hosts[{index}]", message, SHARED)
    return findings.diagnostics[0]


def reason_of_order(winner: Resource, loser: Resource, namespace: str, moved: bool = False) -> str:
    """Why ``winner`` comes before ``loser`` (B5, E4, E5), in words. ``namespace`` is the gateway's; ``moved``: see _Pair."""
    one, other = (wishes_of(service, Report()).priority for service in (winner, loser))
    if one != other:
        return f"its priority is {one}, here it is {other}"
    if moved:
        return "the rule of this one takes every request, and such rules are moved to the end"
    ranks = _visibility(winner, namespace), _visibility(loser, namespace)
    if ranks[0] < ranks[1]:
        return "it is in the gateway's namespace" if ranks[0] == 0 else "it is exported to the gateway's namespace by name"
    if ranks[0] == ranks[1]:
        reason = _reason_of_age(winner, loser)
        if reason:
            return reason
    return "its Gateway comes first"


def _visibility(service: Resource, namespace: str) -> int:
    """B5: private to the gateway's namespace, exported to it, public."""
    export_to = service.spec.export_to
    if not export_to or "*" in export_to:
        return 2
    return 0 if service.namespace == namespace else 1


def _reason_of_age(winner: Resource, loser: Resource) -> str:
    if winner.creation_timestamp and not loser.creation_timestamp:
        return "it has a creationTimestamp, this one has none"
    if winner.creation_timestamp != loser.creation_timestamp:
        older = winner.creation_timestamp and winner.creation_timestamp < loser.creation_timestamp
        return f"it is older ({winner.creation_timestamp}, this one {loser.creation_timestamp})" if older else ""
    if winner.creation_timestamp:
        same = "both are of the same age"
        return f"{same}, and its name sorts first" if (winner.name, winner.namespace) < (loser.name, loser.namespace) else ""
    return "neither has a creationTimestamp, and it comes first in file order" if winner.order < loser.order else ""


def _within_wildcards(picture: Picture) -> list[Diagnostic]:
    """D8: a host of its own is out of the wildcard, even for requests that no rule of it matches."""
    findings: dict[str, tuple[str, list[str]]] = {}
    for table in picture.plan.route_tables.values():
        wildcards = {host.domains[0]: host for host in table.virtual_hosts if host.domains[0].startswith("*") and host.rules}
        if not wildcards:
            continue
        odd = [name for name in wildcards if not name.startswith("*.") and name != "*"]
        for host in table.virtual_hosts:
            wide = _wildcard_of(host.domains[0], wildcards, odd)
            if wide and host.rules and not ends_in_catch_all(host):
                keys = owners(wildcards[wide].rules)
                if not set(keys) & set(owners(host.rules)):
                    findings.setdefault(keys[0], (wide, []))[1].append(host.domains[0])
    return [finding for key, (wide, hosts) in findings.items() for finding in _within_finding(picture, key, wide, hosts)]


def _wildcard_of(domain: str, wildcards: Iterable[str], odd: list[str]) -> str:
    """The longest wildcard that stands for ``domain`` beside others, or ""."""
    found = [name for name in odd if name != domain and covers(name, domain)]
    dot = domain.find(".", 2 if domain.startswith("*.") else 1)
    while dot > 0:
        if f"*{domain[dot:]}" in wildcards:
            found.append(f"*{domain[dot:]}")
            break
        dot = domain.find(".", dot + 1)
    if not found and "*" in wildcards and domain != "*":
        return "*"
    return max(found, key=len, default="")


def _within_finding(picture: Picture, key: str, wide: str, hosts: list[str]) -> list[Diagnostic]:
    service = picture.services.get(key)
    if service is None:
        return []
    findings = Findings(service)
    index = _host_index(service, wide)
    names = enumerate_hosts(hosts)
    message = f"{names} of other VirtualServices: requests there never come to {wide}, even when no rule matches (404)"
    findings.note("spec.hosts" if index is None else f"spec.hosts[{index}]", message, WITHIN)
    return findings.diagnostics
