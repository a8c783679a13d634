"""Plan -> route image. Everything a worker needs to serve a generation, as one block of bytes (layout: ext/include/fgw/image.h)."""

from __future__ import annotations

import socket
from collections.abc import Hashable
from typing import NamedTuple

from fastgw.image import layout
from fastgw.image.layout import NONE, ImageError, ffi, lib
from fastgw.image.numbers import StateNumbers
from fastgw.image.tables import Tables, to_bytes
from fastgw.image.tries import Candidate, GroupKey, Spot, TrieWriter
from fastgw.model.origin import Origin
from fastgw.model.plan import Action, Cluster, Endpoint, Listener, Plan, Predicate, RouteTable, Rule, Sticky, VirtualHost

_U16_MAX = 0xFFFF
_GROUPABLE = {"header", "query"}


def write_image(plan: Plan, numbers: StateNumbers, generation: int) -> bytes:
    """The image of ``plan``. Raises ImageError (the format cannot hold it) and NumbersExhausted (too small a state segment)."""
    numbers.begin(generation)
    return _Writer(plan, numbers).write(generation)


class _Regexes:
    """Patterns of the image, each once, with the literal prefix that RE2 finds."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._known: dict[bytes, tuple[int, bytes]] = {}
        self._broken: set[bytes] = set()
        self._message = ffi.new("char[]", 256)
        self._prefix = ffi.new("char[]", 128)
        self._prefix_len = ffi.new("size_t *")

    def add(self, pattern: str) -> tuple[int, bytes]:
        """(index, literal prefix) of a pattern. One that does not compile is kept: it never matches."""
        raw = to_bytes(pattern)
        known = self._known.get(raw)
        if known is None:
            prefix = self._literal_prefix(raw)
            span = self._tables.strings.span
            index = self._tables["regexes"].add(*span(raw), *span(prefix), 0)
            known = self._known[raw] = (index, prefix)
        return known

    def usable(self, pattern: str) -> bool:
        """Does a pattern that was added compile?"""
        return to_bytes(pattern) not in self._broken

    def _literal_prefix(self, raw: bytes) -> bytes:
        if lib.fgw_regex_check(raw, len(raw), 0, self._message, 256, self._prefix, 128, self._prefix_len) != 0:
            self._broken.add(raw)
        return bytes(ffi.buffer(self._prefix, self._prefix_len[0]))


class _Writer:
    def __init__(self, plan: Plan, numbers: StateNumbers) -> None:
        self.plan = plan
        self.numbers = numbers
        self.tables = Tables()
        self.span = self.tables.strings.span
        self.regexes = _Regexes(self.tables)
        self.tries = TrieWriter(self.tables)
        self._known: dict[Hashable, int] = {}
        self._clusters: dict[str, int] = {}
        self._route_tables: dict[str, int] = {}
        self._rule_sets: dict[tuple[int, ...], _RuleSet] = {}

    def write(self, generation: int) -> bytes:
        self._origin("", "", Origin())
        for cluster in self.plan.clusters.values():
            self._clusters[cluster.name] = self._cluster(cluster)
        self.tables["nodes"].reserve(sum(len(t.virtual_hosts) for t in self.plan.route_tables.values()))
        for table in self.plan.route_tables.values():
            self._route_tables[table.name] = self._route_table(table)
        for listener in self.plan.listeners:
            self._listener(listener)
        return self.tables.to_bytes(generation)

    def _origin(self, kind: str, name: str, origin: Origin) -> int:
        key = ("origin", kind, name, origin.file, origin.line, origin.column)
        index = self._known.get(key)
        if index is None:
            spans = (*self.span(origin.file), *self.span(kind), *self.span(name))
            index = self._known[key] = self.tables["origins"].add(*spans, origin.line, origin.column)
        return index

    # --- clusters ---

    def _cluster(self, c: Cluster) -> int:
        dns = c.discovery == "dns"
        endpoints = self.tables["endpoints"]
        first = endpoints.count
        for endpoint in () if dns else c.endpoints:
            endpoints.add(*self._endpoint(c.name, endpoint))
        spans = [n for text in (c.name, c.host, c.service_name, c.service_namespace, c.subset) for n in self.span(text)]
        return self.tables["clusters"].add(
            *spans,
            c.port,
            layout.DISCOVERIES[c.discovery],
            layout.BALANCERS[c.lb],
            layout.UPSTREAM_PROTOCOLS[c.protocol],
            first,
            endpoints.count - first,
            self.numbers.dns_slot_of(c.name) if dns else NONE,
            c.connect_timeout_ms,
            self.numbers.metric_id_of(c.host, c.service_name, c.service_namespace),
            self._origin("", "", c.origin),
        )

    def _endpoint(self, cluster: str, e: Endpoint) -> tuple[int | bytes, ...]:
        family, ip, path = _address(cluster, e.address)
        flags = 0 if e.healthy else lib.FGW_ENDPOINT_UNHEALTHY
        cell = self.numbers.cell_of(cluster, e.address, e.port)
        return (family, flags, e.port, max(e.weight, 1), ip, cell, *self.span(path))

    # --- actions ---

    def _action(self, action: Action) -> int:
        index = self._known.get(action)
        if index is None:
            index = self._known[action] = self._add_action(action)
        return index

    def _add_action(self, action: Action) -> int:
        weighted = [d for d in action.destinations if d.weight > 0] or list(action.destinations[:1])
        kind = action.kind if weighted else "unsupported"
        table = self.tables["destinations"]
        first, total = table.count, 0
        for d in weighted:
            weight = d.weight if len(weighted) > 1 else 1
            total += weight
            table.add(self._clusters.get(d.cluster, NONE), weight, total, *self.span(d.cluster))
        return self.tables["actions"].add(*self._action_values(layout.ACTIONS[kind], action.sticky, total, first, len(weighted)))

    def _action_values(self, kind: int, sticky: Sticky | None, total: int, first: int, count: int) -> tuple[int, ...]:
        """The fields of an action."""
        if sticky is None:
            return (kind, lib.FGW_STICKY_NONE, 0, total, first, count, 0, 0, NONE)
        name = to_bytes(sticky.name)
        if len(name) > lib.FGW_STICKY_NAME_MAX:
            raise ImageError(f"the name {sticky.name[:60]}... has {len(name)} bytes, more than {lib.FGW_STICKY_NAME_MAX}")
        header_id = lib.fgw_header_id_of(name, len(name)) if sticky.kind == "header" else 0
        ttl_s = NONE if sticky.ttl_s is None else sticky.ttl_s
        return (kind, layout.STICKY[sticky.kind], header_id, total, first, count, *self.span(name), ttl_s)

    # --- rules ---

    def _rules(self, rules: list[Rule]) -> tuple[int, list[Candidate]]:
        """Index of the first of the adjacent rules, and what the tries need of each."""
        made = [self._rule_values(rule) for rule in rules]
        first = self.tables["rules"].count
        candidates: list[Candidate] = []
        for i, (values, conditional, exact) in enumerate(made):
            self.tables["rules"].add(*values)
            path = rules[i].path
            regex = path is not None and path.kind == "regex" and self.regexes.usable(path.value)
            candidates.append(Candidate(first + i, conditional, exact, regex))
        return first, candidates

    def _rule_values(self, rule: Rule) -> tuple[tuple[int, ...], bool, dict[GroupKey, bytes]]:
        predicates = self.tables["predicates"]
        first_predicate = predicates.count
        exact: dict[GroupKey, bytes] = {}
        if len(rule.predicates) > _U16_MAX:
            raise ImageError(f"{rule.virtual_service.key}: {len(rule.predicates)} conditions in one match")
        for predicate in rule.predicates:
            self._predicate(predicate, exact)
        kind, ignore_case, raw, regex = self._path(rule)
        owner = rule.virtual_service
        values = (
            *self.span(rule.name),
            *self.span(raw),
            kind,
            ignore_case,
            len(rule.predicates),
            first_predicate,
            regex,
            self._action(rule.action),
            self._origin(owner.kind, owner.key, owner.origin),
            self._origin(owner.kind, owner.key, rule.origin),
            min(rule.route_index, _U16_MAX),
            min(rule.match_index, _U16_MAX),
        )
        return values, bool(rule.predicates) or kind == lib.FGW_PATH_REGEX, exact

    def _path(self, rule: Rule) -> tuple[int, int, bytes, int]:
        """(kind, ignore_case, value, regex) of the path condition."""
        path = rule.path
        if path is None:
            return lib.FGW_PATH_ANY, 0, b"", NONE
        raw = to_bytes(path.value)
        if path.kind == "regex":
            return lib.FGW_PATH_REGEX, 0, raw, self.regexes.add(path.value)[0]
        return layout.PATH_KINDS[path.kind], int(path.ignore_case), raw.lower() if path.ignore_case else raw, NONE

    def _predicate(self, p: Predicate, exact: dict[GroupKey, bytes]) -> None:
        name = to_bytes(p.name).lower() if p.target == "header" else to_bytes(p.name)
        header_id = lib.fgw_header_id_of(name, len(name)) if p.target == "header" else 0
        regex = self.regexes.add(p.value)[0] if p.op == "regex" else NONE
        target, op, span = layout.TARGETS[p.target], layout.OPS[p.op], self.span(name)
        self.tables["predicates"].add(*span, *self.span(p.value), target, op, int(p.invert), header_id, regex)
        value = to_bytes(p.value)
        if p.target in _GROUPABLE and p.op == "exact" and not p.invert and len(value) <= lib.FGW_GROUP_KEY_MAX:
            exact.setdefault(GroupKey(target, header_id, span), value)

    # --- virtual hosts ---

    def _virtual_host(self, vhost: VirtualHost) -> int:
        index = self.tables["vhosts"].count
        key = tuple(map(id, vhost.rules))
        rules = self._rule_sets.get(key)
        if rules is None:
            rules = self._rule_sets[key] = self._rule_set(vhost.rules, index)
        else:
            self.tables["nodes"].copy(rules.root, index)
        flags = lib.FGW_VHOST_REQUIRE_TLS if vhost.require_tls else 0
        origin = self._origin("", "", vhost.origin)
        return self.tables["vhosts"].add(*self.span(vhost.name), rules.first, rules.size, flags, origin, rules.root_fold)

    def _rule_set(self, rules: list[Rule], root: int) -> _RuleSet:
        first, candidates = self._rules(rules)
        plain: dict[bytes, Spot] = {}
        fold: dict[bytes, Spot] = {}
        for rule, candidate in zip(rules, candidates, strict=True):
            folds = rule.path is not None and rule.path.ignore_case and rule.path.kind != "regex"
            self._hang(fold if folds else plain, rule, candidate)
        self.tries.write(plain, root)
        root_fold = NONE
        if fold:
            root_fold = self.tables["nodes"].reserve(1)
            self.tries.write(fold, root_fold)
        return _RuleSet(first, len(rules), root, root_fold)

    def _hang(self, spots: dict[bytes, Spot], rule: Rule, candidate: Candidate) -> None:
        """Note the rule at the keys where its path condition can hold."""
        path = rule.path
        if path is None:
            _spot(spots, b"").below.append(candidate)
            return
        raw = to_bytes(path.value)
        key = raw.lower() if path.ignore_case else raw
        if path.kind == "regex":
            _spot(spots, self.regexes.add(path.value)[1]).below.append(candidate)
        elif path.kind == "exact":
            _spot(spots, key).at_end.append(candidate)
        elif path.kind == "prefix":
            _spot(spots, key).below.append(candidate)
        else:
            segment = key.removesuffix(b"/")
            _spot(spots, segment).at_end.append(candidate)
            _spot(spots, segment + b"/").below.append(candidate)

    # --- route tables and listeners ---

    def _route_table(self, table: RouteTable) -> int:
        first = self.tables["vhosts"].count
        domains = _Domains()
        for vhost in table.virtual_hosts:
            index = self._virtual_host(vhost)
            hint = self._rule_sets[tuple(map(id, vhost.rules))].first if vhost.rules else NONE
            for domain in vhost.domains:
                domains.add(domain, index, hint)
        return self.tables["route_tables"].add(
            *self.span(table.name),
            first,
            len(table.virtual_hosts),
            *self.tables.add_slots(domains.exact_items(), "forward"),
            *self.tables.add_slots(domains.suffix_items(), "backward"),
            domains.default,
            int(all(suffix.startswith(b".") for suffix in domains.suffix)),
            max(map(len, domains.suffix), default=0),
            *domains.suffix_lengths(),
        )

    def _listener(self, listener: Listener) -> int:
        table = self._route_tables[listener.route_table] if listener.route_table else NONE
        protocol = layout.LISTENER_PROTOCOLS[listener.protocol]
        origin = self._origin("", "", listener.origin)
        spans = (*self.span(listener.name), *self.span(listener.bind))
        return self.tables["listeners"].add(*spans, listener.port, protocol, table, origin)


class _RuleSet(NamedTuple):
    """The written rules and tries of a list of rules; virtual hosts with the same list share them."""

    first: int
    size: int
    root: int
    root_fold: int


class _Domains:
    """The domains of a route table by kind. The first virtual host that names a domain has it."""

    def __init__(self) -> None:
        self.exact: dict[bytes, tuple[int, int]] = {}
        self.suffix: dict[bytes, tuple[int, int]] = {}
        self.default = NONE

    def add(self, domain: str, vhost: int, hint: int) -> None:
        raw = to_bytes(domain).lower()
        if len(raw) > lib.FGW_HOST_MAX:
            raise ImageError(f"the domain {domain[:60]}... has {len(raw)} bytes, more than {lib.FGW_HOST_MAX}")
        if raw == b"*":
            self.default = vhost if self.default == NONE else self.default
        elif raw.startswith(b"*"):
            self.suffix.setdefault(raw[1:], (vhost, hint))
        else:
            self.exact.setdefault(raw, (vhost, hint))

    def exact_items(self) -> list[tuple[bytes, int, int]]:
        return [(key, vhost, hint) for key, (vhost, hint) in self.exact.items()]

    def suffix_items(self) -> list[tuple[bytes, int, int]]:
        return [(key, vhost, hint) for key, (vhost, hint) in self.suffix.items()]

    def suffix_lengths(self) -> list[int]:
        """Bit n of the 512: there is a suffix of n bytes."""
        words = [0] * 8
        for length in set(map(len, self.suffix)):
            words[length // 64] |= 1 << length % 64
        return words


def _spot(spots: dict[bytes, Spot], key: bytes) -> Spot:
    spot = spots.get(key)
    if spot is None:
        spot = spots[key] = Spot()
    return spot


def _address(cluster: str, address: str) -> tuple[int, bytes, str]:
    """(family, 16 bytes of address, path of a unix socket)."""
    if address.startswith("unix:"):
        return lib.FGW_FAMILY_UNIX, b"", address.removeprefix("unix:").removeprefix("//")
    try:
        if ":" in address:
            return lib.FGW_FAMILY_IPV6, socket.inet_pton(socket.AF_INET6, address), ""
        return lib.FGW_FAMILY_IPV4, socket.inet_pton(socket.AF_INET, address), ""
    except OSError:
        raise ImageError(f"{cluster}: {address!r} is not an IP address") from None
