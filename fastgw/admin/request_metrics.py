"""Istio's metrics of requests and of relayed connections as text (statements T4 to T8).

Written here and not by prometheus-client: a label set is 64 lines of the same 25 labels, and the library, which formats every
line anew, takes four seconds for a thousand label sets. A test reads the text back with the library's parser.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastgw.supervisor.compile_protocol import MetricLabels
from fastgw.supervisor.metric_series import BOUNDS, BUCKETS, ConnectionSeries, RequestSeries, cumulative

_UNKNOWN = (
    "connection_security_policy", "destination_app", "destination_canonical_revision", "destination_canonical_service",
    "destination_cluster", "destination_principal", "destination_version", "destination_workload",
    "destination_workload_namespace", "source_app", "source_canonical_revision", "source_canonical_service", "source_cluster",
    "source_principal", "source_version", "source_workload", "source_workload_namespace",
)  # fmt: skip
"""Labels of Istio that mean nothing here; they stay, so that dashboards' sums and joins work."""
_CONSTANT = ",".join(['reporter="source"', *(f'{name}="unknown"' for name in _UNKNOWN)])

HISTOGRAMS = (
    ("istio_request_duration_milliseconds", "Time from the head of the request to the last byte of the answer"),
    ("istio_request_bytes", "Size of requests"),
    ("istio_response_bytes", "Size of answers"),
)

CONNECTION_COUNTERS = (
    ("istio_tcp_connections_opened_total", "Connections relayed"),
    ("istio_tcp_connections_closed_total", "Relayed connections that have ended"),
    ("istio_tcp_sent_bytes_total", "Bytes relayed to clients"),
    ("istio_tcp_received_bytes_total", "Bytes relayed from clients"),
)
"""In the order of TcpSeries."""


def request_metrics_text(series: list[RequestSeries]) -> str:
    """istio_requests_total and the three histograms, each with its HELP and TYPE lines."""
    rows = [(_labels(one), one) for one in series]
    lines = _header("istio_requests_total", "Requests answered", "counter")
    lines += [f"istio_requests_total{{{labels}}} {one.sums.requests}.0\n" for labels, one in rows]
    for index, (name, text) in enumerate(HISTOGRAMS):
        lines += _header(name, text, "histogram")
        for labels, one in rows:
            lines += _histogram(name, labels, index, one)
    return "".join(lines)


def connection_metrics_text(series: list[ConnectionSeries]) -> str:
    """The four counters of relayed connections. They have no status and no gRPC status (T5)."""
    rows = []
    for one in series:
        own = {**_service_labels(one.service), "request_protocol": "tcp", "response_flags": one.response_flags}
        rows.append((_join(own), one.sums))
    lines = []
    for index, (name, text) in enumerate(CONNECTION_COUNTERS):
        lines += _header(name, text, "counter")
        lines += [f"{name}{{{labels}}} {sums[index]}.0\n" for labels, sums in rows]
    return "".join(lines)


def _header(name: str, text: str, kind: str) -> list[str]:
    return [f"# HELP {name} {text}\n# TYPE {name} {kind}\n"]


def _histogram(name: str, labels: str, index: int, one: RequestSeries) -> Iterator[str]:
    counts = cumulative(one.sums.buckets[index * BUCKETS : (index + 1) * BUCKETS])
    start = f'{name}_bucket{{{labels},le="'
    for bound, count in zip(BOUNDS, counts, strict=True):
        yield f'{start}{bound}"}} {count}.0\n'
    sums = (one.sums.duration_us_sum / 1000, one.sums.request_bytes_sum, one.sums.response_bytes_sum)
    yield f"{name}_count{{{labels}}} {counts[-1]}.0\n"
    yield f"{name}_sum{{{labels}}} {sums[index]!r}\n"


def _labels(one: RequestSeries) -> str:
    own = {
        **_service_labels(one.service),
        "request_protocol": one.protocol,
        "response_code": one.response_code,
        "response_flags": one.response_flags,
        "grpc_response_status": one.grpc_status,
    }
    return _join(own)


def _service_labels(service: MetricLabels) -> dict[str, str]:
    return {
        "destination_service": service.host,
        "destination_service_name": service.name,
        "destination_service_namespace": service.namespace,
    }


def _join(own: dict[str, str]) -> str:
    return ",".join([_CONSTANT, *(f'{name}="{escape(value)}"' for name, value in own.items())])


def escape(value: str) -> str:
    """A label value of Prometheus' text format."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
