"""What EdgePolicies ask for, and the annotations that stand for the same, each at its targets (README, "EdgePolicy").

- ``gateway.fastgw.io/max-request-bytes: "1048576"``, of a VirtualService or a Gateway: ``maxRequestBytes``.
- ``gateway.fastgw.io/allow-from`` and ``deny-from: "10.0.0.0/8, 2001:db8::/32"``, of the same: ``sources``.

An annotation counts like a policy for the whole object that is younger than all others. What is broken is kept_policies' to judge.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from fastgw.compiler.annotations import ALLOW_FROM, DENY_FROM, MAX_REQUEST_BYTES
from fastgw.compiler.hosts import covers, full_name
from fastgw.compiler.inventory import Inventory
from fastgw.compiler.kept_policies import Denial, PolicyMemory, network_problem, policies_in_force
from fastgw.compiler.report import Report, place
from fastgw.model.cidr import parse_network
from fastgw.model.duration import parse_ns
from fastgw.model.kinds.edge_policy import EdgePolicy, TargetRef
from fastgw.model.kinds.edge_policy import RateLimit as AskedLimit
from fastgw.model.plan import ErrorPage, RateKey, RateLimit, SourceList
from fastgw.model.resource import Resource

GATEWAY, SERVICE = "Gateway", "VirtualService"
FIELDS = {"sources": "sources", "max_request_bytes": "maxRequestBytes", "rate_limits": "rateLimits"}
"""Fields of Asked -> of the kind."""
_DIGITS = re.compile(r"[0-9]{1,18}")
EVERYBODY = "0.0.0.0/0, ::/0"


class Asked(msgspec.Struct, frozen=True):
    """What one policy asks for at one target; None: nothing is said of it. ``key``: of the target.

    ``hosts``: lower case, exact or with a leading star; ``routes``: names. () for all. ``broken``: what the policy asks for is not
    known; its ``sources`` let nobody in, whatever others say.
    """

    policy: str
    kind: str
    key: str
    hosts: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    sources: SourceList | None = None
    max_request_bytes: int | None = None
    rate_limits: tuple[RateLimit, ...] | None = None
    broken: bool = False
    pages: tuple[ErrorPage, ...] = ()
    """Of an ErrorPages, which asks for nothing else."""

    def with_pages(self, pages: tuple[ErrorPage, ...]) -> Asked:
        return msgspec.structs.replace(self, pages=pages)

    def level(self) -> int:
        """How specific it is: routes before hosts before the whole object."""
        return 2 * bool(self.routes) + bool(self.hosts)

    def at(self, domain: str) -> bool:
        """Is it for a virtual host of this domain?"""
        return not self.hosts or any(covers(host, domain) for host in self.hosts)


class Found(msgspec.Struct):
    """``asked`` with where it stands: ``path`` of the target, ``fields``: those of ``asked`` -> paths."""

    asked: Asked
    resource: Resource
    path: str
    fields: dict[str, str]


def find_policies(
    inventory: Inventory, report: Report, memory: PolicyMemory | None = None, doubtful: frozenset[str] = frozenset()
) -> list[Found]:
    """In order of precedence; what names no target that exists is reported and left out. ``memory``: of the compilation before;
    ``doubtful``: see LoadResult."""
    memory = memory if memory is not None else PolicyMemory()
    memory.begin()
    in_force = policies_in_force(inventory, doubtful, memory, report)
    found = [_of_denial(denial, inventory) for denial in in_force.denials]
    for policy in in_force.whole:
        found += _of_policy(policy, inventory, report)
    for kind in (SERVICE, GATEWAY):
        for resource in inventory.of(kind):
            if any(name in resource.annotations for name in (ALLOW_FROM, DENY_FROM, MAX_REQUEST_BYTES)):
                found += _of_annotations(resource, memory, report)
    return found


def _of_denial(denial: Denial, inventory: Inventory) -> Found:
    """For the whole target where a route that is named does not exist."""
    policy, target = denial.policy, denial.target
    key = f"{policy.namespace}/{target.name}"
    resource = next(each for each in inventory.of(target.kind) if each.key == key)
    names = {route.name for route in resource.spec.http} if target.kind == SERVICE else set()
    routes = target.routes if names.issuperset(target.routes) else ()
    return Found(nobody(policy.key, target.kind, key, _hosts(policy, target), routes), policy, "spec", {})


def nobody(policy: str, kind: str, key: str, hosts: tuple[str, ...] = (), routes: tuple[str, ...] = ()) -> Asked:
    """Nobody is let in."""
    return Asked(policy, kind, key, hosts, routes, SourceList(policy, "", EVERYBODY, True), broken=True)


def _of_policy(policy: Resource, inventory: Inventory, report: Report) -> Iterator[Found]:
    spec: EdgePolicy = policy.spec
    sources = None
    if spec.sources is not None:
        lists = ((spec.sources.allow, "spec.sources.allow[{}]"), (spec.sources.deny, "spec.sources.deny[{}]"))
        allow, deny = (_networks(policy, texts, path.format, report) for texts, path in lists)
        sources = SourceList(policy.key, allow, deny, bool(spec.sources.allow))
    values = {"sources": sources, "max_request_bytes": spec.max_request_bytes, "rate_limits": spec.rate_limits}
    fields = {name: f"spec.{FIELDS[name]}" for name, value in values.items() if value is not None}
    for index, target in enumerate(spec.target_refs):
        path = f"spec.targetRefs[{index}]"
        asked = find_target(policy, target, path, inventory, report)
        if asked is not None:
            asked = msgspec.structs.replace(asked, sources=sources, max_request_bytes=spec.max_request_bytes)
            if spec.rate_limits is not None:
                limits = tuple(_rate_limit(policy, _words(target), limit) for limit in spec.rate_limits)
                asked = msgspec.structs.replace(asked, rate_limits=limits)
            yield Found(asked, policy, path, fields)


def find_target(policy: Resource, target: TargetRef, path: str, inventory: Inventory, report: Report) -> Asked | None:
    """What is for the target, with nothing asked for; None when there is no such object, which is reported."""
    if not _exists(policy, target, path, inventory, report):
        return None
    return Asked(policy.key, target.kind, f"{policy.namespace}/{target.name}", _hosts(policy, target), target.routes)


def _hosts(policy: Resource, target: TargetRef) -> tuple[str, ...]:
    return tuple(full_name(host, policy.namespace).lower() for host in target.hosts)


def _words(target: TargetRef) -> str:
    """Whose requests share buckets: all of one target."""
    return " ".join([target.kind, target.name, *sorted(target.hosts), "/", *sorted(target.routes)])


def _rate_limit(policy: Resource, target: str, asked: AskedLimit) -> RateLimit:
    keys = tuple(
        RateKey("header", key.header.lower())
        if key.source_address is None
        else RateKey("source", "", key.source_address.ipv4_prefix, key.source_address.ipv6_prefix)
        for key in asked.by
    )
    return RateLimit(policy.key, target, asked.name, asked.requests, parse_ns(asked.per), asked.burst or asked.requests, keys)


def _exists(policy: Resource, target: TargetRef, path: str, inventory: Inventory, report: Report) -> bool:
    key = f"{policy.namespace}/{target.name}"
    there = {each.key: each for each in inventory.of(target.kind)}
    resource = there.get(key)
    if resource is None:
        elsewhere = next((each for each in there.values() if each.name == target.name), None)
        mend = f"; {elsewhere.key} exists: a policy stands in the namespace of its target" if elsewhere else ""
        report.error("IST0101", policy, f"{path}.name", f'{target.kind} "{key}" not found{mend}: nothing is asked of it')
        return False
    names = {route.name for route in resource.spec.http} if target.kind == SERVICE else set()
    missing = [name for name in target.routes if name not in names]
    for name in missing:
        known = ", ".join(sorted(filter(None, names))) or "none with a name"
        report.error("IST0101", policy, f"{path}.routes", f'"{name}" is no http route of {target.kind} {key}; there is {known}')
    return not target.routes or len(missing) < len(target.routes)


def _of_annotations(resource: Resource, memory: PolicyMemory, report: Report) -> Iterator[Found]:
    texts = {
        name: memory.text(resource, name, problem_of(resource.annotations[name]), report)
        for name, problem_of in _PROBLEMS.items()
        if name in resource.annotations
    }
    if None in texts.values():
        yield Found(nobody(resource.key, resource.kind, resource.key), resource, "metadata.annotations", {})
    paths = {name: f"metadata.annotations[{name}]" for name in texts}
    asked, fields = Asked(resource.key, resource.kind, resource.key), {}
    allow, deny, limit = (texts.get(name) for name in (ALLOW_FROM, DENY_FROM, MAX_REQUEST_BYTES))
    if allow is not None or deny is not None:
        lists = [
            _networks(resource, _split(text or ""), lambda _, name=name: paths[name], report)  # type: ignore[misc]
            for text, name in ((allow, ALLOW_FROM), (deny, DENY_FROM))
        ]
        asked = msgspec.structs.replace(asked, sources=SourceList(resource.key, lists[0], lists[1], allow is not None))
        fields["sources"] = paths[ALLOW_FROM if allow is not None else DENY_FROM]
    if limit is not None:
        asked = msgspec.structs.replace(asked, max_request_bytes=int(limit))
        fields["max_request_bytes"] = paths[MAX_REQUEST_BYTES]
    if fields:
        yield Found(asked, resource, "metadata.annotations", fields)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


_PROBLEMS: dict[str, Callable[[str], str]] = {
    ALLOW_FROM: lambda text: "",  # what cannot be read of it keeps more out
    DENY_FROM: lambda text: next(filter(None, map(network_problem, _split(text))), ""),
    MAX_REQUEST_BYTES: lambda text: "" if _DIGITS.fullmatch(text.strip()) else f'"{text}" is no number of bytes',
}


def _networks(resource: Resource, texts: Sequence[str], path: Callable[[int], str], report: Report) -> str:
    """In the order in which they are written, each as its network."""
    found: dict[str, None] = {}
    for index, text in enumerate(texts):
        try:
            found[str(parse_network(text))] = None
        except ValueError as problem:
            report.error("FGW0118", resource, path(index), f"{problem}: this entry is left out")
    return ", ".join(found)


# --- what is said about them ---


def report_conflicts(found: Sequence[Found], report: Report) -> None:
    """Of what is for the same hosts and routes of an object the first that says something of a field counts."""
    groups: dict[tuple[str, str, int], list[Found]] = {}
    for each in found:
        groups.setdefault((each.asked.kind, each.asked.key, each.asked.level()), []).append(each)
    for members in groups.values():
        for position, later in enumerate(members):
            for earlier in members[:position]:
                if later.resource is not earlier.resource and _overlap(earlier.asked, later.asked):
                    _report_conflict(earlier, later, report)


def _report_conflict(earlier: Found, later: Found, report: Report) -> None:
    for name, path in later.fields.items():
        if name in earlier.fields:
            winner = f"{earlier.resource.kind} {earlier.resource.key} at {place(earlier.resource, earlier.fields[name])}"
            words = f"{winner} counts for {later.asked.kind} {later.asked.key}, of which both say this: it has no effect there"
            report.warning("FGW0119", later.resource, path, words)


def _overlap(one: Asked, other: Asked) -> bool:
    hosts = not one.hosts or any(covers(a, b) or covers(b, a) for a in one.hosts for b in other.hosts)
    return hosts and (not one.routes or bool(set(one.routes) & set(other.routes)))


def report_idle(found: Iterable[Found], served: dict[str, set[str]], report: Report) -> None:
    """Hosts of targets that are served under other hosts only. ``served``: "kind namespace/name" -> domains."""
    for each in found:
        domains = served.get(f"{each.asked.kind} {each.asked.key}")
        for index, host in enumerate(each.asked.hosts):
            if domains and not any(covers(host, domain) for domain in domains):
                listed = ", ".join(sorted(domains)[:5])
                words = (
                    f'{each.asked.kind} {each.asked.key} is not served under "{host}" but under [{listed}]: nothing is asked there'
                )
                report.error("IST0101", each.resource, f"{each.path}.hosts[{index}]", words)
