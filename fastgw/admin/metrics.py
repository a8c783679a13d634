"""Prometheus exposition: Istio's metrics (statements T4 to T8) and the gateway's own, summed over all workers.

Everything comes out of the state segment, so counters survive workers, and a scrape costs the workers nothing.
"""

from __future__ import annotations

import asyncio
import gzip
import resource
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

import fastgw
from fastgw.admin.cluster_view import endpoint_text, view_clusters
from fastgw.admin.request_metrics import connection_metrics_text, request_metrics_text
from fastgw.credentials.status import Status
from fastgw.credentials.view import short_name
from fastgw.native._native import ffi, lib
from fastgw.supervisor.compile_protocol import RateLimitLabels
from fastgw.supervisor.metric_series import collect, collect_connections
from fastgw.supervisor.state import StateSegment
from fastgw.supervisor.supervisor import Supervisor

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

COUNTERS = {
    "FGW_C_CLIENT_CONNECTIONS": ("client_connections", "Client connections accepted"),
    "FGW_C_CLIENT_CONNECTIONS_CLOSED": ("client_connections_closed", "Client connections closed"),
    "FGW_C_CLIENT_REQUESTS": ("client_requests", "Requests received, refused ones included"),
    "FGW_C_CLIENT_BYTES_IN": ("client_received_bytes", "Bytes read from clients"),
    "FGW_C_CLIENT_BYTES_OUT": ("client_sent_bytes", "Bytes written to clients"),
    "FGW_C_UPSTREAM_CONNECTS": ("upstream_connections", "Upstream connections opened"),
    "FGW_C_UPSTREAM_CONNECT_FAILURES": ("upstream_connect_failures", "Upstream connections that could not be opened"),
    "FGW_C_UPSTREAM_CONNECT_TIMEOUTS": ("upstream_connect_timeouts", "Upstream connections that were not opened in time"),
    "FGW_C_UPSTREAM_CLOSED": ("upstream_connections_closed", "Upstream connections closed"),
    "FGW_C_UPSTREAM_REQUESTS": ("upstream_requests", "Requests sent to upstreams"),
    "FGW_C_UPSTREAM_REUSED": ("upstream_requests_on_reused_connections", "Requests sent on a kept-alive upstream connection"),
    "FGW_C_UPSTREAM_RETRIES": ("upstream_retries", "Requests sent once more"),
    "FGW_C_UPSTREAM_BYTES_IN": ("upstream_received_bytes", "Bytes read from upstreams"),
    "FGW_C_UPSTREAM_BYTES_OUT": ("upstream_sent_bytes", "Bytes written to upstreams"),
    "FGW_C_ACCEPT_ERRORS": ("accept_errors", "Failed accept calls"),
    "FGW_C_ACCEPT_PAUSED": ("accept_paused", "Times that workers stopped accepting connections"),
    "FGW_C_STALE_EVENTS": ("stale_events", "Events for connections that were gone already"),
    "FGW_C_BUGS": ("bugs", "Internal errors that cost one connection"),
    "FGW_C_IMAGES_ATTACHED": ("images_attached", "Route images taken over by workers"),
    "FGW_C_LOG_LINES": ("access_log_lines", "Access log lines written"),
    "FGW_C_LOG_DROPPED": ("access_log_lines_dropped", "Access log lines dropped because the log was too slow"),
    "FGW_C_UNDERSCORE_FIELDS_DROPPED": ("underscore_fields_dropped", "Header fields dropped for an underscore in their name"),
    "FGW_C_UPSTREAM_TIMEOUTS": ("upstream_timeouts", "Upstreams that did not answer in time"),
    "FGW_C_TLS_HANDSHAKES": ("tls_handshakes", "TLS handshakes with clients completed, resumed ones included"),
    "FGW_C_TLS_RESUMED": ("tls_handshakes_resumed", "TLS handshakes with clients that resumed a session"),
    "FGW_C_TLS_FAILED": ("tls_handshakes_failed", "TLS handshakes with clients that failed"),
    "FGW_C_TLS_NO_CHAIN": ("tls_unknown_server_names", "TLS hellos with a server name that nothing serves"),
    "FGW_C_HELLO_REFUSED": ("tls_hellos_refused", "Connections to TLS listeners that did not begin with a sound hello"),
    "FGW_C_HELLO_TIMEOUTS": ("tls_hello_timeouts", "Connections to TLS listeners without a whole hello in time"),
    "FGW_C_TLS_TIMEOUTS": ("tls_handshake_timeouts", "TLS handshakes that were not completed in time"),
    "FGW_C_MISDIRECTED": ("misdirected_requests", "Requests on a TLS connection for a host of another server"),
    "FGW_C_TUNNELS": ("tunnels", "Connections relayed as bytes"),
    "FGW_C_TUNNEL_TIMEOUTS": ("tunnel_timeouts", "Relayed connections closed because nothing was sent for too long"),
    "FGW_C_UPSTREAM_TLS_HANDSHAKES": ("upstream_tls_handshakes", "TLS handshakes with upstreams completed, resumed ones included"),
    "FGW_C_UPSTREAM_TLS_RESUMED": ("upstream_tls_handshakes_resumed", "TLS handshakes with upstreams that resumed a session"),
    "FGW_C_UPSTREAM_TLS_FAILED": ("upstream_tls_handshakes_failed", "TLS handshakes with upstreams that failed"),
    "FGW_C_WEBSOCKETS": ("websockets", "WebSockets opened"),
    "FGW_C_STREAM_TIMEOUTS": ("stream_timeouts", "Answers and WebSockets cut because not a byte moved for too long"),
    "FGW_C_OVERFLOW_CONNECTIONS": ("upstream_overflow_connections", "Times that maxConnections was in the way of a connection"),
    "FGW_C_OVERFLOW_PENDING": ("upstream_overflow_pending", "Requests refused because of http1MaxPendingRequests"),
    "FGW_C_OVERFLOW_REQUESTS": ("upstream_overflow_requests", "Requests refused because of http2MaxRequests"),
    "FGW_C_OVERFLOW_RETRIES": ("upstream_overflow_retries", "Retries not made because of maxRetries or the budget"),
    "FGW_C_OVERFLOW_TIMEOUTS": ("upstream_overflow_timeouts", "Requests that waited in vain for an upstream connection"),
    "FGW_C_EJECTIONS": ("outlier_ejections", "Endpoints ejected by outlier detection"),
    "FGW_C_EJECTIONS_REFUSED": ("outlier_ejections_refused", "Endpoints not ejected because of maxEjectionPercent"),
    "FGW_C_FAULT_DELAYS": ("fault_delays", "Requests that a route delayed"),
    "FGW_C_FAULT_ABORTS": ("fault_aborts", "Requests that a route aborted"),
    "FGW_C_MIRRORED": ("mirrored", "Copies of requests sent to mirrors"),
    "FGW_C_MIRRORS_LOST": ("mirrors_lost", "Copies not made or not finished, so as not to hold anything up"),
    "FGW_C_SOURCES_DENIED": ("sources_denied", "Requests and connections of clients that a list of an EdgePolicy keeps out"),
    "FGW_C_BODIES_REFUSED": ("request_bodies_refused", "Requests with a body that is larger than maxRequestBytes"),
    "FGW_C_SHED_UPSTREAM_IDLE": ("overload_closed_upstream_connections", "Idle upstream connections closed for want of memory"),
    "FGW_C_SHED_STREAMS": ("overload_reset_streams", "Streams reset for want of memory"),
    "FGW_C_HANDSHAKES_DEFERRED": ("overload_deferred_accepts", "Turns of a late worker that left TLS connections in the queue"),
    "FGW_C_HTTP2_CONNECTIONS": ("http2_connections", "Client connections that have spoken HTTP/2"),
    "FGW_C_HOLDERS_UNCOUNTED": ("sources_uncounted", "Client connections whose source address could not be counted"),
    "FGW_C_PROXY_HEADERS": ("proxy_headers", "Client connections that began with a good PROXY header"),
}
"""enum fgw_counter -> name without prefix and suffix, help."""

LENIENCIES = ("lf-in-head", "fragment", "equal-lengths", "absolute-host")
TIMEOUTS = ("head", "idle", "body", "write")

HOLDS = ("connections", "descriptors", "pause", "memory")
"""Bits of FGW_G_ACCEPT_HELD, lowest first: why a worker accepts nothing."""

MEMORY_STEPS = ("shrink", "part", "refuse", "reset")
"""enum fgw_memory_step from 1 on: what is done about memory."""

GAUGES = {
    "FGW_G_HTTP2_BYTES": ("http2_bytes", "Memory of HTTP/2 sessions"),
    "FGW_G_TLS_BYTES": ("tls_bytes", "Memory of TLS sessions, about"),
    "FGW_G_CLIENT_ACTIVE": ("client_connections_active", "Open client connections"),
    "FGW_G_UPSTREAM_ACTIVE": ("upstream_connections_active", "Open upstream connections"),
    "FGW_G_UPSTREAM_IDLE": ("upstream_connections_idle", "Upstream connections kept for the next request"),
    "FGW_G_EXCHANGES_ACTIVE": ("exchanges_active", "Requests in flight"),
    "FGW_G_BUFFER_BYTES": ("buffer_bytes", "Memory in connection buffers"),
    "FGW_G_IMAGES_ALIVE": ("images_alive", "Route images mapped by workers"),
    "FGW_G_TIMERS_ALIVE": ("timers_alive", "Timers set"),
    "FGW_G_TUNNELS_ACTIVE": ("tunnels_active", "Connections being relayed as bytes"),
    "FGW_G_WEBSOCKETS_ACTIVE": ("websockets_active", "Open WebSockets"),
    "FGW_G_TLS_CONTEXTS": ("tls_contexts_loaded", "TLS server contexts that workers have loaded"),
    "FGW_G_LISTENERS_FULL": ("listeners_full", "Listening sockets that wait for a connection of their listener to end"),
    "FGW_G_TLS_HANDSHAKING": ("tls_handshakes_active", "TLS handshakes with clients under way"),
}


async def exposition(supervisor: Supervisor, zipped: bool) -> bytes:
    """Made in a thread: thousands of series must not hold up health checks and signals."""
    with supervisor.generations.borrow_image() as image_fd:
        text = await asyncio.to_thread(render, supervisor, image_fd)
    return await asyncio.to_thread(gzip.compress, text, 1) if zipped else text


def render(supervisor: Supervisor, image_fd: int = -1) -> bytes:
    """``image_fd``: the image whose endpoints are shown, -1 for none. Runs beside the event loop, so it iterates copies only."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(GatewayCollector(supervisor, image_fd))
    state, names = supervisor.state, supervisor.generations.metric_labels
    text = request_metrics_text(collect(state, names)) + connection_metrics_text(collect_connections(state, names))
    return text.encode() + generate_latest(registry)


class GatewayCollector(Collector):
    """The gateway's own families."""

    def __init__(self, supervisor: Supervisor, image_fd: int) -> None:
        self._supervisor = supervisor
        self._image_fd = image_fd

    def collect(self) -> Iterator[Metric]:
        state = self._supervisor.state
        slots = range(state.workers)
        counters = [state.counters(slot) for slot in slots]
        yield from counter_metrics([sum(column) for column in zip(*counters, strict=True)])
        yield _loop_lag(counters)
        yield from spread_metrics(counters)
        yield from admission_metrics(counters)
        yield from overload_metrics(counters)
        yield rejected_metric([sum(column) for column in zip(*(state.rejected(slot) for slot in slots), strict=True)])
        yield from rate_limit_metrics(state, self._supervisor.generations.rate_limits)
        yield from self._process_metrics()
        yield from self._config_metrics()
        yield from credential_metrics(self._supervisor.generations.credentials, self._supervisor.settings.namespace)
        yield self._dns_metric()
        yield from self._endpoint_metrics()

    def _process_metrics(self) -> Iterator[Metric]:
        fleet = self._supervisor.fleet
        yield _gauge("build_info", "Constant 1, the version as a label", 1, {"version": fastgw.__version__})
        yield _gauge("workers", "Worker processes wanted", len(fleet.slots))
        yield _gauge("workers_running", "Worker processes running", sum(slot.running for slot in fleet.slots))
        yield _counter("worker_restarts", "Workers started again after they ended unasked", fleet.restarts)
        yield _gauge("ready", "1 while /healthz/ready answers 200", 0 if self._supervisor.not_ready_reason() else 1)
        yield _gauge("start_time_seconds", "Unix time of the start", self._supervisor.started_at)

    def _config_metrics(self) -> Iterator[Metric]:
        generations = self._supervisor.generations
        outcome = generations.outcome
        yield _gauge("config_generation", "The generation that is served", outcome.serving)
        yield _counter("config_attempts", "Configurations compiled", outcome.attempts)
        yield _counter("config_failures", "Configurations that could not be taken over", outcome.failures)
        yield _gauge("config_last_failed", "1 when the last attempt could not be taken over", 1 if outcome.error else 0)
        yield _gauge("config_apply_seconds", "From noticing the last change to serving it", outcome.apply_seconds)
        yield _gauge("config_last_success_timestamp_seconds", "Unix time of the last change served", outcome.applied_at)
        found = GaugeMetricFamily("fastgw_config_diagnostics", "Findings in the configuration", labels=["severity"])
        diagnostics = generations.all_diagnostics()
        for severity in ("error", "warning", "info"):
            found.add_metric([severity], sum(one.severity == severity for one in diagnostics))
        yield found
        for name in ("hosts", "rules", "clusters", "image_bytes"):
            number = getattr(generations.counts, name)
            yield _gauge(f"config_{name}", f"Of the generation that is served: {name.replace('_', ' ')}", number)
        yield _gauge("listeners_open", "Listeners that are open", len(self._supervisor.listeners.open))
        yield _gauge("listeners_failed", "Listeners that could not be opened", len(self._supervisor.listeners.failures))

    def _cluster_metrics(self, clusters: list[dict[str, Any]]) -> Iterator[Metric]:
        """Of clusters with limits or outlier detection, as far as anything of them counts."""
        labels = ["cluster"]
        counted = "Requests under way to a cluster with http2MaxRequests"
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {
            "connections": GaugeMetricFamily(
                "fastgw_cluster_connections", "Connections to a cluster with maxConnections", labels=labels
            ),
            "pending": GaugeMetricFamily("fastgw_cluster_pending", "Requests that wait for an upstream connection", labels=labels),
            "requests": GaugeMetricFamily("fastgw_cluster_requests", counted, labels=labels),
            "retries": GaugeMetricFamily("fastgw_cluster_retries", "Retries under way", labels=labels),
            "overflows": CounterMetricFamily("fastgw_cluster_overflows", "Requests refused by a limit", labels=labels),
            "ejections": CounterMetricFamily("fastgw_cluster_ejections", "Endpoints ejected", labels=labels),
        }
        for cluster in clusters:
            if any(cluster["counts"].values()):
                for name, family in families.items():
                    family.add_metric([cluster["name"]], cluster["counts"][name])
        yield from families.values()

    def _endpoint_metrics(self) -> Iterator[Metric]:
        """Of endpoints that were used or are checked: there may be very many that never are."""
        labels = ["cluster", "endpoint"]
        active = GaugeMetricFamily("fastgw_endpoint_requests_active", "Requests in flight to an endpoint", labels=labels)
        requests = CounterMetricFamily("fastgw_endpoint_requests", "Requests sent to an endpoint", labels=labels)
        failures = CounterMetricFamily("fastgw_endpoint_failures", "Failed connects and resets of an endpoint", labels=labels)
        healthy = GaugeMetricFamily("fastgw_endpoint_healthy", "1 when requests may be sent to it", labels=labels)
        ejected = GaugeMetricFamily("fastgw_endpoint_ejected", "1 while outlier detection keeps it out", labels=labels)
        checks = CounterMetricFamily("fastgw_endpoint_health_checks", "Health checks of an endpoint", labels=[*labels, "result"])
        supervisor = self._supervisor
        checked = supervisor.health.by_cell()
        clusters = view_clusters(self._image_fd, supervisor.state, checked) if self._image_fd >= 0 else []
        yield from self._cluster_metrics(clusters)
        for cluster, endpoint in self._used_endpoints(clusters):
            values = [cluster, endpoint_text(endpoint)]
            active.add_metric(values, endpoint["active"])
            requests.add_metric(values, endpoint["requests"])
            failures.add_metric(values, endpoint["failures"])
            healthy.add_metric(values, int(endpoint["healthy"]))
            ejected.add_metric(values, int(endpoint["ejected"]))
            check = endpoint.get("healthCheck")
            if check is not None:
                checks.add_metric([*values, "success"], check["checked"] - check["failed"])
                checks.add_metric([*values, "failure"], check["failed"])
        yield from (active, requests, failures, healthy, ejected, checks)

    def _used_endpoints(self, clusters: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
        for cluster in clusters:
            for endpoint in cluster["endpoints"]:
                if endpoint["requests"] or endpoint["failures"] or "healthCheck" in endpoint:
                    yield cluster["name"], endpoint

    def _dns_metric(self) -> Metric:
        family = GaugeMetricFamily("fastgw_dns_names", "Upstream names by the state of their resolution", labels=["status"])
        statuses = [name.status for name in self._supervisor.resolver.statuses()]
        for status in ("ok", "failed", "unknown"):
            family.add_metric([status], statuses.count(status))
        return family


def credential_metrics(statuses: Sequence[Status], namespace: str) -> Iterator[Metric]:
    """Certificates, keys and CAs that the configuration names. "held": bad now, its content of before is in use."""
    states = [("held" if status.held else "active") if status.usable else "unusable" for status in statuses]
    family = GaugeMetricFamily("fastgw_credentials", "Credentials that the configuration names, by their state", labels=["state"])
    for state in ("active", "held", "unusable"):
        family.add_metric([state], states.count(state))
    yield family
    expiry = GaugeMetricFamily(
        "fastgw_certificate_expiry_timestamp_seconds",
        "Unix time when the first certificate of a name expires",
        labels=["name"],
    )
    for status in statuses:
        end = status.facts.first_end() if status.facts is not None else None
        if end is not None:
            expiry.add_metric([short_name(status.name, namespace)], end.timestamp())
    yield expiry


def counter_metrics(values: list[int]) -> Iterator[Metric]:
    """The gateway's own counters and gauges, from sums by enum fgw_counter."""
    for constant, (name, text) in COUNTERS.items():
        yield _counter(name, text, values[getattr(lib, constant)])
    for constant, (name, text) in GAUGES.items():
        # kept as unsigned sums of a worker's own steps; a gauge may be seen between two of them
        yield _gauge(name, text, values[getattr(lib, constant)])
    lenient = CounterMetricFamily("fastgw_lenient", "Requests accepted only by a leniency", labels=["leniency"])
    for label in LENIENCIES:
        lenient.add_metric([label], values[getattr(lib, f"FGW_C_LENIENT_{label.replace('-', '_').upper()}")])
    yield lenient
    timeouts = CounterMetricFamily("fastgw_client_timeouts", "Client connections ended by a time-out", labels=["timeout"])
    for label in TIMEOUTS:
        timeouts.add_metric([label], values[getattr(lib, f"FGW_C_CLIENT_TIMEOUTS_{label.upper()}")])
    yield timeouts


def spread_metrics(counters: list[tuple[int, ...]]) -> Iterator[Metric]:
    """How client connections and their requests are spread over the workers: a few long ones may leave some idle."""
    connections = GaugeMetricFamily("fastgw_worker_connections_active", "Open client connections of a worker", labels=["worker"])
    requests = CounterMetricFamily("fastgw_worker_requests", "Requests that a worker was asked", labels=["worker"])
    for slot, values in enumerate(counters):
        connections.add_metric([str(slot)], values[int(lib.FGW_G_CLIENT_ACTIVE)])
        requests.add_metric([str(slot)], values[int(lib.FGW_C_CLIENT_REQUESTS)])
    yield connections
    yield requests


def admission_metrics(counters: list[tuple[int, ...]]) -> Iterator[Metric]:
    """Workers that accept no connections, by reason, and how many descriptors each has in use."""
    held = GaugeMetricFamily("fastgw_accept_held", "Workers that accept no connections", labels=["reason"])
    for bit, reason in enumerate(HOLDS):
        held.add_metric([reason], sum(values[int(lib.FGW_G_ACCEPT_HELD)] >> bit & 1 for values in counters))
    yield held
    used = GaugeMetricFamily("fastgw_worker_descriptors", "Descriptors that a worker has in use", labels=["worker"])
    for slot, values in enumerate(counters):
        used.add_metric([str(slot)], values[int(lib.FGW_G_DESCRIPTORS)])
    yield used
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limit = inf if soft == resource.RLIM_INFINITY else soft
    yield _gauge("worker_descriptors_limit", "Descriptors that a worker may have", limit)
    yield _counter("listen_overflows", "Connections lost because a queue of this network namespace was full", listen_overflows())


def listen_overflows(table: str = "/proc/net/netstat") -> int:
    """TcpExtListenOverflows: the kernel counts them for all programs together. 0 where it does not say (requirement I3)."""
    try:
        lines = [line.split() for line in Path(table).read_text().splitlines() if line.startswith("TcpExt:")]
        return int(dict(zip(*lines, strict=True))["ListenOverflows"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def overload_metrics(counters: list[tuple[int, ...]]) -> Iterator[Metric]:
    """Memory and delay of each worker, and what was done about them."""
    refused = CounterMetricFamily("fastgw_overload_refused_requests", "New requests refused in overload", labels=["cause"])
    refused.add_metric(["delay"], sum(values[lib.FGW_C_SHED_DELAY] for values in counters))
    refused.add_metric(["memory"], sum(values[lib.FGW_C_SHED_MEMORY] for values in counters))
    yield refused
    begun = CounterMetricFamily("fastgw_memory_steps", "Times that a step against want of memory began", labels=["step"])
    for index, step in enumerate(MEMORY_STEPS):
        begun.add_metric([step], sum(values[lib.FGW_C_MEMORY_STEPS + index] for values in counters))
    yield begun
    gauges = (
        ("fastgw_worker_memory_bytes", "Private memory of a worker", lib.FGW_G_MEMORY_BYTES, 1.0),
        ("fastgw_worker_memory_budget_bytes", "What it may be", lib.FGW_G_MEMORY_BUDGET, 1.0),
        ("fastgw_worker_memory_step", "What is done about memory, 0: nothing, 4: the most", lib.FGW_G_MEMORY_STEP, 1.0),
        ("fastgw_worker_loop_delay_seconds", "Shortest wait of events for a worker lately", lib.FGW_G_LOOP_DELAY_US, 1e6),
        (
            "fastgw_worker_shed_share",
            "Of new requests, what is refused because events wait too long",
            lib.FGW_G_SHED_SHARE,
            lib.FGW_SHEDDER_ALL,
        ),
    )
    for name, text, which, scale in gauges:
        family = GaugeMetricFamily(name, text, labels=["worker"])
        for slot, values in enumerate(counters):
            family.add_metric([str(slot)], values[which] / scale)
        yield family


def rate_limit_metrics(state: StateSegment, limits: Mapping[int, RateLimitLabels]) -> Iterator[Metric]:
    """What became of requests under each limit, as far as there were any."""
    labels = ["policy", "limit", "outcome"]
    family = CounterMetricFamily("fastgw_rate_limit_requests", "Requests that a rate limit was asked about", labels=labels)
    for index, limit in sorted(limits.items(), key=lambda item: (item[1].policy, item[1].name)):
        for outcome, count in zip(("allowed", "limited"), state.rate_counts(index), strict=True):
            if count:
                family.add_metric([limit.policy, limit.name, outcome], count)
    yield family
    yield _counter("rate_limit_unlimited", "Requests let through because all buckets were in use", state.rate_unlimited())


def rejected_metric(values: list[int]) -> Metric:
    """Refused messages by reason (enum fgw_reason)."""
    family = CounterMetricFamily("fastgw_rejected_requests", "Requests refused", labels=["reason"])
    for reason in range(1, lib.FGW_R_COUNT):
        if values[reason]:
            family.add_metric([ffi.string(lib.fgw_reason_name(reason)).decode()], values[reason])
    return family


def _loop_lag(counters: list[tuple[int, ...]]) -> Metric:
    lag = max(values[lib.FGW_G_LOOP_LAG_US] for values in counters)
    return _gauge("loop_lag_seconds", "Longest delay of a worker's loop lately", lag / 1e6)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"fastgw_{name}", text, value=value)


def _gauge(name: str, text: str, value: float, labels: dict[str, str] | None = None) -> Metric:
    family = GaugeMetricFamily(f"fastgw_{name}", text, labels=list(labels or ()))
    family.add_metric(list((labels or {}).values()), value)
    return family
