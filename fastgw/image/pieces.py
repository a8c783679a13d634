"""Parts of a Plan -> pieces of an image: a cluster, the rules of a virtual host with their tries, a virtual host, the rest."""

from __future__ import annotations

import socket
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from fastgw.image import layout
from fastgw.image.layout import NONE, ImageError, lib
from fastgw.image.link import Host, Piece
from fastgw.image.numbers import StateNumbers
from fastgw.image.tables import Symbols, Tables, to_bytes
from fastgw.image.tries import THE_PATH, Candidate, GroupKey, Spot, TrieWriter
from fastgw.model.origin import Origin
from fastgw.model.plan import Action, Cluster, Endpoint, Listener, Predicate, Rule, Sticky, VirtualHost

_U16_MAX = 0xFFFF
_GROUPABLE = {"header", "query"}


class _Builder:
    """What pieces have in common."""

    def __init__(self, symbols: Symbols) -> None:
        self.tables = Tables(symbols)
        self.span = self.tables.strings.span
        self._known: dict[Hashable, int] = {}

    def origin(self, kind: str, name: str, origin: Origin) -> int:
        """Index of the record in this piece."""
        key = (kind, name, origin)
        index = self._known.get(key)
        if index is None:
            shared = self.tables.shared_span
            spans = (*shared(origin.file), *shared(kind), *self.span(name))
            index = self._known[key] = self.tables["origins"].add(*spans, origin.line, origin.column)
        return index


class ClusterBuilder(_Builder):
    """The piece of one cluster. ``numbers`` keeps what it takes for as long as the piece is in use."""

    def __init__(self, symbols: Symbols, numbers: StateNumbers) -> None:
        super().__init__(symbols)
        self._numbers = numbers

    def build(self, c: Cluster) -> Piece:
        dns = c.discovery == "dns"
        endpoints = self.tables["endpoints"]
        first = endpoints.count
        for endpoint in () if dns else c.endpoints:
            endpoints.add(*self._endpoint(c.name, endpoint))
        shared = self.tables.shared_span
        spans = [n for text in (c.name, c.host, c.service_name, c.service_namespace, c.subset) for n in shared(text)]
        self.tables["clusters"].add(
            *spans,
            c.port,
            layout.DISCOVERIES[c.discovery],
            layout.BALANCERS[c.lb],
            layout.UPSTREAM_PROTOCOLS[c.protocol],
            first,
            endpoints.count - first,
            self._numbers.dns_slot_of(c.name) if dns else NONE,
            c.connect_timeout_ms,
            self._numbers.metric_id_of(c.host, c.service_name, c.service_namespace),
            self.origin("", "", c.origin),
        )
        return self.tables.take(defines=c.name)

    def _endpoint(self, cluster: str, e: Endpoint) -> tuple[int | bytes, ...]:
        family, ip, path = _address(cluster, e.address)
        flags = 0 if e.healthy else lib.FGW_ENDPOINT_UNHEALTHY
        cell = self._numbers.cell_of(cluster, e.address, e.port)
        return (family, flags, e.port, max(e.weight, 1), ip, cell, *self.span(path))


def touch_numbers(c: Cluster, numbers: StateNumbers) -> None:
    """The cluster's numbers are in use in this generation, although its piece is not written again."""
    if c.discovery == "dns":
        numbers.dns_slot_of(c.name)
    else:
        for endpoint in c.endpoints:
            numbers.cell_of(c.name, endpoint.address, endpoint.port)
    numbers.metric_id_of(c.host, c.service_name, c.service_namespace)


class RuleSet(NamedTuple):
    """The written rules and tries of a list of rules; virtual hosts with the same list share them."""

    piece: Piece
    size: int
    root_fold: int


class RuleSetBuilder(_Builder):
    """The piece of a list of rules: its node 0 is the root of their trie."""

    def build(self, rules: Sequence[Rule]) -> RuleSet:
        candidates = self._rules(rules)
        plain: dict[bytes, Spot] = {}
        fold: dict[bytes, Spot] = {}
        for rule, candidate in zip(rules, candidates, strict=True):
            folds = rule.path is not None and rule.path.ignore_case and rule.path.kind != "regex"
            self._hang(fold if folds else plain, rule, candidate)
        tries, nodes = TrieWriter(self.tables), self.tables["nodes"]
        tries.write(plain, nodes.reserve(1))
        root_fold = NONE
        if fold:
            root_fold = nodes.reserve(1)
            tries.write(fold, root_fold)
        return RuleSet(self.tables.take(rooted=True), len(rules), root_fold)

    # --- rules ---

    def _rules(self, rules: Sequence[Rule]) -> list[Candidate]:
        """What the tries need of each rule."""
        candidates: list[Candidate] = []
        for i, rule in enumerate(rules):
            values, conditional, exact, regexes = self._rule_values(rule)
            self.tables["rules"].add(*values)
            candidates.append(Candidate(i, conditional, exact, tuple(key for key, usable in regexes.items() if usable)))
        return candidates

    def _rule_values(self, rule: Rule) -> tuple[tuple[int, ...], bool, dict[GroupKey, bytes], dict[GroupKey, bool]]:
        """(fields of the record, conditional, exact values, the first regex on each text: does it compile?)."""
        predicates = self.tables["predicates"]
        first_predicate = predicates.count
        exact: dict[GroupKey, bytes] = {}
        regexes: dict[GroupKey, bool] = {}
        if len(rule.predicates) > _U16_MAX:
            raise ImageError(f"{rule.virtual_service.key}: {len(rule.predicates)} conditions in one match")
        for predicate in rule.predicates:
            self._predicate(predicate, exact, regexes)
        kind, ignore_case, raw, regex = self._path(rule)
        if rule.path is not None and rule.path.kind == "regex":
            regexes[THE_PATH] = self.tables.is_usable_regex(rule.path.value)
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
            self.origin(owner.kind, owner.key, owner.origin),
            self.origin(owner.kind, owner.key, rule.origin),
            min(rule.route_index, _U16_MAX),
            min(rule.match_index, _U16_MAX),
        )
        return values, bool(rule.predicates) or kind == lib.FGW_PATH_REGEX, exact, regexes

    def _path(self, rule: Rule) -> tuple[int, int, bytes, int]:
        """(kind, ignore_case, value, regex) of the path condition."""
        path = rule.path
        if path is None:
            return lib.FGW_PATH_ANY, 0, b"", NONE
        raw = to_bytes(path.value)
        if path.kind == "regex":
            return lib.FGW_PATH_REGEX, 0, raw, self.tables.regex(path.value)[0]
        return layout.PATH_KINDS[path.kind], int(path.ignore_case), raw.lower() if path.ignore_case else raw, NONE

    def _predicate(self, p: Predicate, exact: dict[GroupKey, bytes], regexes: dict[GroupKey, bool]) -> None:
        name = to_bytes(p.name).lower() if p.target == "header" else to_bytes(p.name)
        header_id = lib.fgw_header_id_of(name, len(name)) if p.target == "header" else 0
        regex = self.tables.regex(p.value)[0] if p.op == "regex" else NONE
        target, op, span = layout.TARGETS[p.target], layout.OPS[p.op], self.span(name)
        self.tables["predicates"].add(*span, *self.span(p.value), target, op, int(p.invert), header_id, regex)
        value = to_bytes(p.value)
        if p.target in _GROUPABLE and p.op == "exact" and not p.invert and len(value) <= lib.FGW_GROUP_KEY_MAX:
            exact.setdefault(GroupKey(target, header_id, span), value)
        elif p.op == "regex" and not p.invert:
            regexes.setdefault(GroupKey(target, header_id, span), self.tables.is_usable_regex(p.value))

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
            table.add(self.tables.cluster(d.cluster), weight, total, *self.tables.shared_span(d.cluster))
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

    # --- tries ---

    def _hang(self, spots: dict[bytes, Spot], rule: Rule, candidate: Candidate) -> None:
        """Note the rule at the keys where its path condition can hold."""
        path = rule.path
        if path is None:
            _spot(spots, b"").below.append(candidate)
            return
        raw = to_bytes(path.value)
        key = raw.lower() if path.ignore_case else raw
        if path.kind == "regex":
            _spot(spots, self.tables.regex(path.value)[1]).below.append(candidate)
        elif path.kind == "exact":
            _spot(spots, key).at_end.append(candidate)
        elif path.kind == "prefix":
            _spot(spots, key).below.append(candidate)
        else:
            segment = key.removesuffix(b"/")
            _spot(spots, segment).at_end.append(candidate)
            _spot(spots, segment + b"/").below.append(candidate)


def build_host(vhost: VirtualHost, rules: RuleSet, symbols: Symbols) -> Host:
    """Raises ImageError for a domain that no image can hold."""
    builder = _Builder(symbols)
    flags = lib.FGW_VHOST_REQUIRE_TLS if vhost.require_tls else 0
    origin = builder.origin("", "", vhost.origin)
    builder.tables["vhosts"].add(*builder.span(vhost.name), 0, rules.size, flags, origin, rules.root_fold)
    domains = tuple(_domain(domain) for domain in vhost.domains)
    return Host(builder.tables.take(goes_with=rules.piece), rules.piece, domains)


def _domain(domain: str) -> bytes:
    raw = to_bytes(domain).lower()
    if len(raw) > lib.FGW_HOST_MAX:
        raise ImageError(f"the domain {domain[:60]}... has {len(raw)} bytes, more than {lib.FGW_HOST_MAX}")
    return raw


def nowhere(symbols: Symbols) -> Piece:
    """The first piece: origin 0 is no place."""
    builder = _Builder(symbols)
    builder.origin("", "", Origin())
    return builder.tables.take()


class TailBuilder(_Builder):
    """The last piece: listeners and route tables, which refer to virtual hosts and slots of the whole image."""

    def __init__(self, symbols: Symbols) -> None:
        super().__init__(symbols)
        self._route_tables: dict[str, int] = {}

    def add_route_table(self, name: str, *values: int) -> None:
        """``values``: the fields of the record after its name."""
        self._route_tables[name] = self.tables["route_tables"].add(*self.span(name), *values)

    def add_listener(self, listener: Listener) -> None:
        table = self._route_tables[listener.route_table] if listener.route_table else NONE
        protocol = layout.LISTENER_PROTOCOLS[listener.protocol]
        origin = self.origin("", "", listener.origin)
        spans = (*self.span(listener.name), *self.span(listener.bind))
        self.tables["listeners"].add(*spans, listener.port, protocol, table, origin)


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
