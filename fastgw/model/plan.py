"""The Plan: the typed result of compilation, the input of the image writer, and what proxy-config shows.

Names are Istio's and Envoy's. Lists are in match order. Nothing in here refers to sockets, workers or file descriptors.
"""

from __future__ import annotations

import msgspec

from fastgw.model.origin import NOWHERE, Origin


class ObjectRef(msgspec.Struct, frozen=True):
    """An object of the configuration: kind, "namespace/name", and where it stands."""

    kind: str
    key: str
    origin: Origin = NOWHERE


class PathMatch(msgspec.Struct, frozen=True):
    """Condition on the normalised path without query. kind: exact, prefix (raw string), segment (whole path segments), regex
    (of the whole path)."""

    kind: str
    value: str
    ignore_case: bool = False


class Predicate(msgspec.Struct, frozen=True):
    """One more condition of a rule; all must hold.

    target: method, scheme, authority, header, query, raw_path, never. op: exact, prefix, regex, present. ``name`` is the header
    (lower case) or query parameter. ``invert``: withoutHeaders (statement G8).
    """

    target: str
    op: str
    name: str = ""
    value: str = ""
    invert: bool = False


class WeightedDestination(msgspec.Struct, frozen=True):
    """``cluster`` names an entry of Plan.clusters, or one that is not there (then the answer is 503 NC)."""

    cluster: str
    weight: int
    host: str = ""
    subset: str = ""
    port: int = 0


class Sticky(msgspec.Struct, frozen=True):
    """What a client keeps its destination by. kind: cookie, header, source_ip. ``name``: the cookie, or the header in lower case.

    ``ttl_s``: lifetime of the cookie, None until the browser closes.
    """

    kind: str
    name: str = ""
    ttl_s: int | None = None


class Action(msgspec.Struct, frozen=True):
    """kind: route, unsupported (valid in Istio, not performed by this version: answered with 503, never passed over)."""

    kind: str
    destinations: tuple[WeightedDestination, ...] = ()
    detail: str = ""
    sticky: Sticky | None = None


class Rule(msgspec.Struct, frozen=True):
    """One match of one http route of a VirtualService (Envoy: one route). ``path`` None: any path."""

    name: str
    virtual_service: ObjectRef
    route_index: int
    match_index: int
    action: Action
    path: PathMatch | None = None
    predicates: tuple[Predicate, ...] = ()
    origin: Origin = NOWHERE


class LeftOut(msgspec.Struct, frozen=True):
    """A match that cannot hold at this virtual host, whatever the request: ``failed`` says why, in explain's words."""

    virtual_service: ObjectRef
    route_index: int
    match_index: int
    name: str
    failed: str
    origin: Origin = NOWHERE


class VirtualHost(msgspec.Struct):
    """``name`` is "<host>:<server port>"; ``domains`` lower case, exact or with one leading "*"."""

    name: str
    domains: list[str]
    rules: list[Rule]
    require_tls: bool = False
    origin: Origin = NOWHERE
    left_out: list[LeftOut] = []


class RouteTable(msgspec.Struct):
    """``name``: "http.80", "http.80.10.0.0.1"."""

    name: str
    virtual_hosts: list[VirtualHost]


class ServerRef(msgspec.Struct, frozen=True):
    """A server of a Gateway that a listener serves."""

    gateway: ObjectRef
    index: int
    port: int
    port_name: str
    protocol: str
    hosts: tuple[str, ...]


class Listener(msgspec.Struct):
    """One (bind, port). ``name`` "0.0.0.0_80" is its identity over generations. ``bind`` "" is the wildcard. protocol: HTTP."""

    name: str
    bind: str
    port: int
    protocol: str
    servers: list[ServerRef]
    route_table: str = ""
    proxy_protocol: bool = False
    origin: Origin = NOWHERE


class Endpoint(msgspec.Struct, frozen=True):
    """``address``: IPv4, IPv6 or "unix:/path"."""

    address: str
    port: int
    weight: int = 1
    healthy: bool = True
    locality: str = ""


class Cluster(msgspec.Struct):
    """``name``: "outbound|port|subset|host". discovery: static, dns (then ``dns_name``:``dns_port`` is resolved while serving).

    ``found_in``: registry, service-entry, resolve, dns: which step of the look-up order found the host.
    lb: least_request, round_robin, random. protocol: http1, http2, tcp. ``destination_rule``: "name.namespace", as istioctl shows
    it.
    """

    name: str
    host: str
    port: int
    subset: str = ""
    service_name: str = ""
    service_namespace: str = ""
    discovery: str = "static"
    endpoints: list[Endpoint] = []
    dns_name: str = ""
    dns_port: int = 0
    found_in: str = "registry"
    lb: str = "least_request"
    protocol: str = "http1"
    connect_timeout_ms: int = 10_000
    origin: Origin = NOWHERE
    destination_rule: str = ""


class Plan(msgspec.Struct):
    """Everything that is served. Route tables and clusters are keyed by name; listeners are sorted by (port, bind)."""

    listeners: list[Listener] = []
    route_tables: dict[str, RouteTable] = {}
    clusters: dict[str, Cluster] = {}
