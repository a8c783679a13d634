"""The Plan: the typed result of compilation, the input of the image writer, and what proxy-config shows.

Names are Istio's and Envoy's. Lists are in match order. Nothing in here refers to sockets, workers or file descriptors.
"""

from __future__ import annotations

import msgspec

from fastgw.model.origin import NOWHERE, Origin
from fastgw.model.values import Part


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


class HeaderEdit(msgspec.Struct, frozen=True):
    """A change of one header field. kind: remove, set, add. ``name`` in lower case. An empty value changes nothing (K4)."""

    kind: str
    name: str
    value: tuple[Part, ...] = ()


class Edits(msgspec.Struct, frozen=True):
    """What is changed of a request and its answer, in the order in which it is done (K2). ``authority``: what the upstream sees as
    the host, "" for the client's (K7)."""

    request: tuple[HeaderEdit, ...] = ()
    response: tuple[HeaderEdit, ...] = ()
    authority: str = ""


NO_EDITS = Edits()


class WeightedDestination(msgspec.Struct, frozen=True):
    """``cluster`` names an entry of Plan.clusters, or one that is not there (then the answer is 503 NC)."""

    cluster: str
    weight: int
    host: str = ""
    subset: str = ""
    port: int = 0
    edits: Edits = NO_EDITS


class Sticky(msgspec.Struct, frozen=True):
    """What a client keeps its destination by. kind: cookie, header, source_ip. ``name``: the cookie, or the header in lower case.

    ``ttl_s``: lifetime of the cookie, None until the browser closes.
    """

    kind: str
    name: str = ""
    ttl_s: int | None = None


class Redirect(msgspec.Struct, frozen=True):
    """``scheme`` and ``authority``: "" for the request's. ``port``: behind the authority, 0 for none.

    new_path: "" (the request's path is kept), replace (by ``path``), prefix (the part that the rule matched, by ``path``).
    """

    status: int = 301
    scheme: str = ""
    authority: str = ""
    port: int = 0
    new_path: str = ""
    path: str = ""


class DirectResponse(msgspec.Struct, frozen=True):
    """An answer that the gateway gives itself."""

    status: int
    body: bytes = b""


class Rewrite(msgspec.Struct, frozen=True):
    """kind: path (``text`` takes the place of what the rule matched, M11, M12), regex (of each match of ``pattern``, M14)."""

    kind: str
    text: str
    pattern: str = ""


class Retries(msgspec.Struct, frozen=True):
    """``attempts`` after the first. ``on``: Envoy's names of conditions; ``grpc``: names of grpc-status; ``statuses``: by number.

    ``avoid_tried``: endpoints that have been tried are left alone where others are; None: unless clients are bound to endpoints
    by consistentHash (J10). Times: 0 is none.
    """

    attempts: int
    on: tuple[str, ...] = ()
    grpc: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()
    per_try_timeout_ms: int = 0
    backoff_ms: int = 25
    avoid_tried: bool | None = None
    other_localities: bool = False


class Fault(msgspec.Struct, frozen=True):
    """Delay and abort are drawn independently, each for so many of a million requests. ``abort_grpc``: a number, None for none."""

    delay_ms: int = 0
    delay_per_million: int = 0
    abort_status: int = 0
    abort_grpc: int | None = None
    abort_per_million: int = 0


class Cors(msgspec.Struct, frozen=True):
    """``origins``: conditions on the field origin, one of which has to hold. "*": whatever the client asks for; "": not sent."""

    origins: tuple[Predicate, ...] = ()
    allow_methods: str = ""
    allow_headers: str = ""
    expose_headers: str = ""
    max_age: str = ""
    credentials: bool = False
    ignore_unmatched: bool = False


class MirrorTarget(msgspec.Struct, frozen=True):
    """Copies of so many of a million requests go to ``cluster``."""

    cluster: str
    per_million: int
    host: str = ""
    subset: str = ""
    port: int = 0


class ErrorPage(msgspec.Struct, frozen=True):
    """The body of the gateway's own answers with a status from ``low`` to ``high``, in place of its words. ``policy``:
    "namespace/name" of the ErrorPages that asks for it, "" for an annotation; ``file``: where the body was read, as it says."""

    low: int
    high: int
    content_type: str
    body: str
    policy: str = ""
    file: str = ""


class RoutePolicy(msgspec.Struct, frozen=True):
    """What a route asks for beyond destinations and header fields. ``retries`` None: the default policy. ``timeout_ms`` 0: none."""

    rewrite: Rewrite | None = None
    timeout_ms: int = 0
    retries: Retries | None = None
    fault: Fault | None = None
    cors: Cors | None = None
    mirrors: tuple[MirrorTarget, ...] = ()
    pages: tuple[ErrorPage, ...] = ()


NO_POLICY = RoutePolicy()


class SourceList(msgspec.Struct, frozen=True):
    """Which clients are let in. ``allow``, ``deny``: networks with ", " between them, so that long lists are quick to compare; the
    longest prefix of both decides, with ``allow`` all else is denied. ``policy``: "namespace/name" of who asks for it."""

    policy: str
    allow: str = ""
    deny: str = ""
    closed: bool = False
    """``allow`` was given, be it that nothing of it can be used."""


class RateKey(msgspec.Struct, frozen=True):
    """What tells buckets apart. kind: source (the network of so many bits of a client's address), header (``name``)."""

    kind: str
    name: str = ""
    ipv4_prefix: int = 32
    ipv6_prefix: int = 128


class RateLimit(msgspec.Struct, frozen=True):
    """``requests`` in ``per_ns``, ``burst`` at once. ``policy``: who asks for it; ``target``: whose requests share its buckets."""

    policy: str
    target: str
    name: str
    requests: int
    per_ns: int
    burst: int
    by: tuple[RateKey, ...] = ()


class Guards(msgspec.Struct, frozen=True):
    """What is asked of a request before anything else is done with it. All of ``sources`` have to let the client in, and then all
    of ``rate_limits`` the request.

    ``max_request_bytes``: of its body, 0 for any.
    """

    sources: tuple[SourceList, ...] = ()
    max_request_bytes: int = 0
    rate_limits: tuple[RateLimit, ...] = ()


NO_GUARDS = Guards()


class Action(msgspec.Struct, frozen=True):
    """kind: route, redirect, direct_response, unsupported (it cannot be performed: answered with 503, never passed over).

    ``edits`` are done after those of the destination (K6). ``policy``: of a route that asks for one. ``guards`` come first.
    """

    kind: str
    destinations: tuple[WeightedDestination, ...] = ()
    detail: str = ""
    sticky: Sticky | None = None
    edits: Edits = NO_EDITS
    redirect: Redirect | None = None
    answer: DirectResponse | None = None
    policy: RoutePolicy | None = None
    guards: Guards | None = None

    def shares(self) -> list[tuple[WeightedDestination, int]]:
        """The destinations that get anything, with the weights that they are drawn by: a lone one gets everything, whatever its
        weight (H5)."""
        weighted = [each for each in self.destinations if each.weight > 0] or list(self.destinations[:1])
        return [(each, each.weight) for each in weighted] if len(weighted) > 1 else [(each, 1) for each in weighted]


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
    guards: Guards | None = None
    """Of its Gateways: for requests that no rule takes."""
    pages: tuple[ErrorPage, ...] = ()
    """For the same requests, of the first VirtualService that has some."""
    gateway_pages: tuple[ErrorPage, ...] = ()
    """Of its Gateways: for all its requests, where those of the VirtualService have no such status."""


class RouteTable(msgspec.Struct):
    """``name``: "http.80", "http.80.10.0.0.1". ``pages``: of its Gateways, for hosts that are none of its virtual hosts."""

    name: str
    virtual_hosts: list[VirtualHost]
    pages: tuple[ErrorPage, ...] = ()


class ServerRef(msgspec.Struct, frozen=True):
    """A server of a Gateway that a listener serves."""

    gateway: ObjectRef
    index: int
    port: int
    port_name: str
    protocol: str
    hosts: tuple[str, ...]


class TlsContext(msgspec.Struct, frozen=True):
    """What a server of a Gateway asks of TLS. ``certificates``, ``ca``: names of credentials (see Credential).

    client_auth: none, optional, require, unverified, require_unverified. Versions: 1.0, 1.1, 1.2, 1.3. ``alpn``: http/1.1, h2,
    istio. ``ciphers`` and ``curves``: OpenSSL's lists, "" for the default. ``sans``: one of them must be among the client
    certificate's names, empty: any. ``spki`` and ``hashes``: SHA-256 as hexadecimal digits.
    """

    name: str
    certificates: tuple[str, ...] = ()
    ca: str = ""
    client_auth: str = "none"
    min_version: str = "1.2"
    max_version: str = "1.3"
    alpn: tuple[str, ...] = ("h2", "http/1.1")
    ciphers: str = ""
    curves: str = ""
    sans: tuple[str, ...] = ()
    spki: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    origin: Origin = NOWHERE


class Chain(msgspec.Struct):
    """How connections of a listener are served: Envoy's filter chain.

    ``name`` is unique within its listener and the same over generations. kind: http (then ``route_table``), tcp (then
    ``action``; None when nothing is routed there: the connection is closed). tls: none, terminate (then ``tls_context``),
    passthrough. ``server_names``: the SNI that leads here, lower case, exact or with one leading "*"; "*" is also a hello
    without a name. Unused for tls none. ``server``: "namespace/gateway#index", "" where several share the chain.
    ``virtual_service`` is behind a tcp chain, by this route and match of its tcp or tls block; ``idle_timeout_ms``: 0 for none.
    ``grpc_web``: its requests are translated to gRPC. ``guards``: of a tcp chain.
    """

    name: str
    kind: str = "http"
    tls: str = "none"
    server_names: tuple[str, ...] = ()
    route_table: str = ""
    action: Action | None = None
    tls_context: TlsContext | None = None
    idle_timeout_ms: int = 3_600_000
    grpc_web: bool = False
    server: str = ""
    virtual_service: ObjectRef | None = None
    route_index: int = 0
    match_index: int = 0
    guards: Guards | None = None
    origin: Origin = NOWHERE


class Listener(msgspec.Struct):
    """One (bind, port). ``name`` "0.0.0.0_80" is its identity over generations. ``bind`` "" is the wildcard.

    ``chains``: the one with tls none, if there is one, takes connections that do not begin with a TLS hello; the others are
    chosen by server name, the first that names it. protocol: HTTP, TLS, TCP: the family of its first server.

    ``proxy_protocol``: connections begin with a PROXY header. ``max_connections``, ``max_per_source`` (of one source address): open
    at once; 0 is no limit, None what the gateway's options say.
    """

    name: str
    bind: str
    port: int
    protocol: str
    servers: list[ServerRef]
    chains: list[Chain] = []
    proxy_protocol: bool = False
    max_connections: int | None = None
    max_per_source: int | None = None
    origin: Origin = NOWHERE

    def route_tables(self) -> list[str]:
        """Of all chains that carry requests."""
        return [chain.route_table for chain in self.chains if chain.route_table]

    def plain(self) -> Chain | None:
        """What takes connections without TLS."""
        return next((chain for chain in self.chains if chain.tls == "none"), None)


class UpstreamTls(msgspec.Struct, frozen=True):
    """TLS towards a cluster. ``certificate``: the credential shown, "" for none; ``ca``: a credential, or "system".

    ``sni``: "" is the request's host (Q17). verify: none, chain (any certificate of the CA), names (one of ``sans`` must be among
    the certificate's names as well; without ``sans`` the SNI must).
    """

    certificate: str = ""
    ca: str = "system"
    sni: str = ""
    verify: str = "names"
    min_version: str = "1.2"
    max_version: str = "1.3"
    alpn: tuple[str, ...] = ()
    sans: tuple[str, ...] = ()


class HashKey(msgspec.Struct, frozen=True):
    """What consistentHash looks at. on: header, cookie, source_ip, query. ``name`` of a header in lower case.

    ``cookie_rest``: a client without the cookie gets one, and this follows its value in Set-Cookie; None: it gets none (Q5).
    """

    on: str
    name: str = ""
    cookie_rest: str | None = None


class Keepalive(msgspec.Struct, frozen=True):
    """Of TCP. 0: as the system has it."""

    time_s: int = 0
    interval_s: int = 0
    probes: int = 0


class RetryBudget(msgspec.Struct, frozen=True):
    """How many retries may be under way: a percentage (0 to 100) of a cluster's requests, so many at the least."""

    percent: float = 20.0
    least: int = 3


class Pool(msgspec.Struct, frozen=True):
    """connectionPool and retryBudget without what clusters have anyhow. None is no limit, or what the gateway does by default.

    ``retry_budget`` takes the place of ``max_retries``. ``idle_timeout_ms`` 0: none. ``max_connection_ms``: age.
    """

    max_connections: int | None = None
    max_pending: int | None = None
    max_requests: int | None = None
    max_retries: int | None = None
    max_requests_per_connection: int | None = None
    idle_timeout_ms: int | None = None
    max_connection_ms: int | None = None
    keepalive: Keepalive | None = None
    retry_budget: RetryBudget | None = None


class Outlier(msgspec.Struct, frozen=True):
    """outlierDetection; 0 for a number of errors: those never eject. ``error_codes``: instead of 5xx."""

    consecutive_errors: int = 5
    consecutive_gateway_errors: int = 0
    consecutive_local_errors: int = 5
    split_local: bool = False
    interval_ms: int = 10_000
    base_ejection_ms: int = 30_000
    max_ejection_percent: int = 10
    min_health_percent: int = 0
    error_codes: tuple[int, ...] = ()


class Warmup(msgspec.Struct, frozen=True):
    """Slow start of new endpoints (Q15)."""

    duration_ms: int
    minimum_percent: float = 10.0
    aggression: float = 1.0


class Policy(msgspec.Struct, frozen=True):
    """What a DestinationRule asks for beyond the defaults. ``proxy_protocol``: its version, 0 for none."""

    hash_key: HashKey | None = None
    ring_size: int = 1024
    table_size: int = 65537
    pool: Pool = Pool()
    outlier: Outlier | None = None
    warmup: Warmup | None = None
    proxy_protocol: int = 0


DEFAULTS = Policy()


SRV_LEVELS = 4
"""Levels of priority that SRV records may add to those of a cluster; higher numbers share the last."""


class Endpoint(msgspec.Struct, frozen=True):
    """``address``: IPv4, IPv6 or "unix:/path"; with a ``lookup`` a name, which is resolved while serving.

    lookup: all (every address of the name), first (of each answer the first one), srv (targets, ports and weights are in the
    name's SRV records). Each address has the weight of the endpoint.
    ``priority``: 0 is the best, see Q7.
    """

    address: str
    port: int
    weight: int = 1
    healthy: bool = True
    locality: str = ""
    lookup: str = ""
    priority: int = 0


class HealthCheck(msgspec.Struct, frozen=True):
    """How the supervisor finds out whether endpoints work. kind: http, tcp (a connection can be made), grpc (grpc.health.v1).

    http: GET ``path`` for ``host`` ("": the destination's host) has to be answered with a status in ``expected``, pairs of first
    and last. grpc: ``service`` has to be SERVING, "" is the whole server. ``port`` 0 is that of the endpoint. An endpoint is given
    up after ``unhealthy`` failures in a row and taken back after ``healthy`` successes; the first check of all decides at once.
    """

    kind: str
    path: str = ""
    host: str = ""
    service: str = ""
    expected: tuple[tuple[int, int], ...] = ((200, 299),)
    port: int = 0
    interval_ms: int = 5_000
    timeout_ms: int = 2_000
    healthy: int = 2
    unhealthy: int = 3


class Cluster(msgspec.Struct):
    """``name``: "outbound|port|subset|host". discovery: static, dns (some endpoints are names).

    ``found_in``: registry, service-entry, resolve, dns: which step of the look-up order found the host.
    lb: least_request, round_robin, random, ring_hash, maglev. protocol: http1, http2, client (that of the request), tcp.
    ``max_streams`` of an HTTP/2 connection at a time, 0: as many as the upstream allows; ``ping_interval_ms`` 0: no PING.
    ``destination_rule``: "name.namespace", as istioctl shows it.
    """

    name: str
    host: str
    port: int
    subset: str = ""
    service_name: str = ""
    service_namespace: str = ""
    discovery: str = "static"
    endpoints: list[Endpoint] = []
    found_in: str = "registry"
    lb: str = "least_request"
    protocol: str = "http1"
    max_streams: int = 0
    ping_interval_ms: int = 0
    ping_timeout_ms: int = 0
    connect_timeout_ms: int = 10_000
    tls: UpstreamTls | None = None
    policy: Policy = DEFAULTS
    origin: Origin = NOWHERE
    destination_rule: str = ""
    health_check: HealthCheck | None = None

    def names(self) -> list[Endpoint]:
        """The endpoints that have to be resolved."""
        return [endpoint for endpoint in self.endpoints if endpoint.lookup]


class Plan(msgspec.Struct):
    """Everything that is served. Route tables and clusters are keyed by name; listeners are sorted by (port, bind)."""

    listeners: list[Listener] = []
    route_tables: dict[str, RouteTable] = {}
    clusters: dict[str, Cluster] = {}
