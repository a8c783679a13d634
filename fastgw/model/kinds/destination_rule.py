"""networking.istio.io DestinationRule: how a destination is spoken to, and its subsets."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from fastgw.model.duration import Duration
from fastgw.model.kinds.base import Int32, LabelSelector, PortSelector, Spec, UInt32


class HttpCookie(Spec):
    """``ttl`` None: a missing cookie is not made up; "0s": a session cookie (statement Q5)."""

    name: str = ""
    path: str = ""
    ttl: Duration | None = None
    attributes: tuple[CookieAttribute, ...] = ()


class CookieAttribute(Spec):
    name: str = ""
    value: str = ""


class RingHash(Spec):
    minimum_ring_size: int = 0


class Maglev(Spec):
    table_size: int = 0


class ConsistentHash(Spec):
    http_header_name: str | None = None
    http_cookie: HttpCookie | None = None
    use_source_ip: bool | None = None
    http_query_parameter_name: str | None = None
    ring_hash: RingHash | None = None
    maglev: Maglev | None = None
    minimum_ring_size: int = 0


class LocalityDistribute(Spec):
    from_: str = msgspec.field(default="", name="from")
    to: dict[str, UInt32] = msgspec.field(default_factory=dict)


class LocalityFailover(Spec):
    from_: str = msgspec.field(default="", name="from")
    to: str = ""


class LocalityLbSetting(Spec):
    distribute: tuple[LocalityDistribute, ...] = ()
    failover: tuple[LocalityFailover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    enabled: bool | None = None


class ZoneAwareLbSetting(Spec):
    enabled: bool | None = None
    failover: tuple[LocalityFailover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    min_cluster_size: UInt32 | None = None


class Warmup(Spec):
    duration: Duration | None = None
    minimum_percent: float | None = None
    aggression: float | None = None


class LoadBalancer(Spec):
    simple: Literal["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"] | None = None
    consistent_hash: ConsistentHash | None = None
    locality_lb_setting: LocalityLbSetting | None = None
    zone_aware_lb_setting: ZoneAwareLbSetting | None = None
    warmup_duration_secs: Duration | None = None
    warmup: Warmup | None = None
    backend_utilization: Any = None


class TcpKeepalive(Spec):
    probes: UInt32 = 0
    time: Duration | None = None
    interval: Duration | None = None


class TcpPool(Spec):
    max_connections: Int32 = 0
    connect_timeout: Duration | None = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: Duration | None = None
    idle_timeout: Duration | None = None


class Http2KeepAlive(Spec):
    interval: Duration | None = None
    timeout: Duration | None = None


class HttpPool(Spec):
    http1_max_pending_requests: Int32 = 0
    http2_max_requests: Int32 = 0
    max_requests_per_connection: Int32 = 0
    max_retries: Int32 = 0
    idle_timeout: Duration | None = None
    h2_upgrade_policy: Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] = "DEFAULT"
    use_client_protocol: bool = False
    max_concurrent_streams: Int32 = 0
    http2_keep_alive: Http2KeepAlive | None = None


class ConnectionPool(Spec):
    tcp: TcpPool | None = None
    http: HttpPool | None = None


class OutlierDetection(Spec):
    """Present but empty switches detection on with its defaults (statement Q8)."""

    consecutive_errors: Int32 = 0
    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failures: UInt32 | None = None
    consecutive_gateway_errors: UInt32 | None = None
    consecutive_5xx_errors: UInt32 | None = msgspec.field(default=None, name="consecutive5xxErrors")
    interval: Duration | None = None
    base_ejection_time: Duration | None = None
    max_ejection_percent: Int32 = 0
    min_health_percent: Int32 = 0
    outlier_detection_http_error_codes: tuple[Any, ...] = ()


class ClientTls(Spec):
    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] = "DISABLE"
    client_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    credential_name: str = ""
    subject_alt_names: tuple[str, ...] = ()
    sni: str = ""
    insecure_skip_verify: bool | None = None
    ca_crl: str = ""


class UnknownTls(ClientTls):
    """In place of a block that cannot be understood: nothing is sent, neither with TLS nor without."""


class PortTrafficPolicy(Spec):
    port: PortSelector | None = None
    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTls | None = None


class Tunnel(Spec):
    protocol: str = ""
    target_host: str = ""
    target_port: UInt32 = 0


class ProxyProtocol(Spec):
    version: Literal["V1", "V2"] = "V1"


class RetryBudget(Spec):
    percent: float | None = None
    min_retry_concurrency: UInt32 | None = None
    budget_interval: Duration | None = None


class TrafficPolicy(Spec):
    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTls | None = None
    port_level_settings: tuple[PortTrafficPolicy, ...] = ()
    tunnel: Tunnel | None = None
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None


class Subset(Spec):
    """Empty ``labels``: all endpoints (statement R5)."""

    name: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    traffic_policy: TrafficPolicy | None = None


class DestinationRule(Spec):
    host: str = ""
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[str, ...] = ()
    workload_selector: LabelSelector | None = None
