"""DestinationRules: which one applies to a service, its subsets, and the parts of its policy that have an effect (section R)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastgw.compiler.hosts import covers, full_name
from fastgw.compiler.inventory import Inventory, exported_to, is_subset
from fastgw.compiler.options import CompileOptions
from fastgw.compiler.registry import ServiceRecord
from fastgw.model.duration import parse_ms, parse_ns
from fastgw.model.kinds.destination_rule import ClientTls, ConnectionPool, HttpPool, Subset, TrafficPolicy
from fastgw.model.resource import Resource

ROOT_NAMESPACE = "istio-system"
DEFAULT_CONNECT_TIMEOUT_MS = 10_000
DEFAULT_IDLE_TIMEOUT_MS = 3_600_000
MAX_TIMEOUT_MS = 0xFFFF_FFFF


class HostRules:
    """The DestinationRules of one host, merged as R3 says: the first definition of a subset or of the policy counts."""

    __slots__ = ("name", "policy", "rules", "subsets")

    def __init__(self, rules: Iterable[Resource]) -> None:
        self.rules = tuple(rules)
        self.name = ""
        self.subsets: dict[str, Subset] = {}
        self.policy: TrafficPolicy | None = None
        for rule in self.rules:
            self.name = self.name or f"{rule.name}.{rule.namespace}"
            for index, subset in enumerate(rule.spec.subsets):
                if not rule.broken or f"spec.subsets[{index}]" not in rule.broken:
                    self.subsets.setdefault(subset.name, subset)
            self.policy = self.policy or rule.spec.traffic_policy

    def connect_timeout_ms(self, port: int, subset: str) -> int:
        """connectionPool.tcp.connectTimeout, 10 s by default."""
        block: ConnectionPool | None = self.block("connection_pool", port, subset)
        timeout = block.tcp.connect_timeout if block is not None and block.tcp else None
        return max(parse_ms(timeout), 1) if timeout else DEFAULT_CONNECT_TIMEOUT_MS

    def idle_timeout_ms(self, port: int, subset: str) -> int:
        """connectionPool.tcp.idleTimeout of a relayed connection, 1 h by default, 0 for none (P16)."""
        block: ConnectionPool | None = self.block("connection_pool", port, subset)
        timeout = block.tcp.idle_timeout if block is not None and block.tcp else None
        return _idle_ms(timeout) if timeout else DEFAULT_IDLE_TIMEOUT_MS

    def http(self, port: int, subset: str) -> HttpPool | None:
        """connectionPool.http."""
        block: ConnectionPool | None = self.block("connection_pool", port, subset)
        return block.http if block is not None else None

    def tls(self, port: int, subset: str) -> ClientTls | None:
        """TLS towards the endpoints; None when no policy speaks of it."""
        block: ClientTls | None = self.block("tls", port, subset)
        return block

    def block(self, name: str, port: int, subset: str) -> Any:
        """One of the four blocks of a policy by its attribute, whole (R4): the rule's, unless its entry for the port takes its
        place, even with nothing; then the same of the subset, whose policy counts only where it has the block."""
        chosen = self.subsets.get(subset)
        block = None
        for policy in (self.policy, chosen.traffic_policy if chosen else None):
            if policy is None:
                continue
            block = getattr(policy, name) or block
            for entry in policy.port_level_settings:
                if entry.port and entry.port.number == port:
                    block = getattr(entry, name)
                    break
        return block


def _merged(rules: list[Resource]) -> list[Resource]:
    """Those that count together (R2, R3): of the same selector and exportTo as the first, which is one for this gateway where
    there is one, else the oldest."""
    rules = sorted(rules, key=lambda rule: rule.spec.workload_selector is None)
    first = _company(rules[0])
    return [rule for rule in rules if _company(rule) == first]


def _company(rule: Resource) -> tuple[frozenset[str], frozenset[tuple[str, str]] | None]:
    selector = rule.spec.workload_selector
    labels = None if selector is None else frozenset(selector.match_labels.items())
    return frozenset(rule.spec.export_to or ("*",)), labels


def _idle_ms(timeout: str) -> int:
    """Less than a millisecond is one, since 0 would be none."""
    nanoseconds = parse_ns(timeout)
    return min(max(nanoseconds // 1_000_000, 1), MAX_TIMEOUT_MS) if nanoseconds > 0 else 0


NO_RULES = HostRules(())


class DestinationRules:
    """Finds the rules of a service, each host once."""

    __slots__ = ("_exact", "_memo", "_naming", "_options", "_wildcards")

    def __init__(self, inventory: Inventory, options: CompileOptions) -> None:
        self._options = options
        self._exact: dict[tuple[str, str], list[Resource]] = {}
        self._wildcards: dict[str, list[tuple[str, Resource]]] = {}
        self._memo: dict[tuple[str, str], HostRules] = {}
        self._naming: dict[str, list[str]] = {}
        for rule in inventory.of("DestinationRule"):
            if self._applies(rule):
                self._file(rule)
        for namespace, host in sorted(self._exact):
            self._naming.setdefault(host, []).append(namespace)

    def of(self, record: ServiceRecord) -> HostRules:
        """The merged rules for a service: the first of the three namespaces of R1 that has a match."""
        key = (record.host, record.namespace)
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = self._find(record)
        return found

    def _applies(self, rule: Resource) -> bool:
        selector = rule.spec.workload_selector
        if selector is None:
            return True
        return rule.namespace == self._options.namespace and is_subset(selector.match_labels, self._options.labels)

    def _file(self, rule: Resource) -> None:
        """Under its full name, and as written: the very name of a ServiceEntry, as destinations look it up."""
        written = rule.spec.host.lower()
        host = full_name(written, rule.namespace)
        if host.startswith("*"):
            self._wildcards.setdefault(rule.namespace, []).append((host, rule))
            return
        for name in {host: None, written: None}:
            self._exact.setdefault((rule.namespace, name), []).append(rule)

    def _find(self, record: ServiceRecord) -> HostRules:
        """R1. A host that no object describes belongs to no namespace: a rule that names it counts wherever it stands, namespaces
        in order of their names. Passing it over could send in the clear what was to go by TLS."""
        own = self._options.namespace
        in_root = own == ROOT_NAMESPACE
        places = [(own, in_root), (record.namespace, False), (ROOT_NAMESPACE, False)]
        if record.source is None and not record.namespace:
            places += [(namespace, False) for namespace in self._naming.get(record.host, ())]
        for namespace, private in places:
            rules = self._candidates(namespace, record, private) if namespace else []
            if rules:
                return HostRules(_merged(rules))
        return NO_RULES

    def _candidates(self, namespace: str, record: ServiceRecord, private: bool) -> list[Resource]:
        """The rules of the most specific host in a namespace (R2); ``private``: only those with exportTo "."."""
        exact = [rule for rule in self._exact.get((namespace, record.host), ()) if self._usable(rule, private)]
        if exact:
            return exact
        covering = [
            (host, rule)
            for host, rule in self._wildcards.get(namespace, ())
            if covers(host, record.host) and self._usable(rule, private)
        ]
        longest = max((len(host) for host, _ in covering), default=0)
        return [rule for host, rule in covering if len(host) == longest]

    def _usable(self, rule: Resource, private: bool) -> bool:
        export_to = rule.spec.export_to
        return tuple(export_to) == (".",) if private else exported_to(export_to, rule.namespace, self._options.namespace)
