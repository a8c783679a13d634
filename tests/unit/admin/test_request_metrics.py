"""Istio's metrics as text, read back with the client library's own parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from wire.metrics import ISTIO_LABELS

from fastgw.admin.request_metrics import connection_metrics_text, escape, request_metrics_text
from fastgw.native._native import lib
from fastgw.supervisor.compile_protocol import MetricLabels
from fastgw.supervisor.metric_series import BUCKETS, ConnectionSeries, RequestSeries
from fastgw.supervisor.state import Series, TcpSeries

BOUNDS = [
    0.5,
    1,
    5,
    10,
    25,
    50,
    100,
    250,
    500,
    1000,
    2500,
    5000,
    10000,
    30000,
    60000,
    300000,
    600000,
    1800000,
    3600000,
    float("inf"),
]
"""Statement T8."""


def one_series(host: str = "web.default.svc.cluster.local") -> RequestSeries:
    durations = tuple(range(BUCKETS))
    received = (5, *(0,) * (BUCKETS - 1))
    sent = (*(0,) * (BUCKETS - 1), 9)
    sums = Series(190, 1_234_567, 4321, 10**12 + 7, durations + received + sent)
    return RequestSeries(MetricLabels(host, "web", "default"), "200", "-", "http", "", sums)


def parse(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_every_sample_carries_istios_labels() -> None:
    for name, samples in parse(request_metrics_text([one_series()])).items():
        for labels, _ in samples:
            assert set(labels) - {"le"} == ISTIO_LABELS, name
    labels, value = parse(request_metrics_text([one_series()]))["istio_requests_total"][0]
    assert value == 190
    assert (labels["reporter"], labels["request_protocol"], labels["connection_security_policy"]) == ("source", "http", "unknown")
    assert (labels["destination_service"], labels["destination_service_name"]) == ("web.default.svc.cluster.local", "web")
    assert (labels["response_code"], labels["response_flags"], labels["source_app"]) == ("200", "-", "unknown")


def test_histograms_are_cumulative_over_istios_bounds() -> None:
    found = parse(request_metrics_text([one_series()]))
    buckets = found["istio_request_duration_milliseconds_bucket"]
    assert [float(labels["le"]) for labels, _ in buckets] == BOUNDS
    assert [value for _, value in buckets] == [sum(range(i + 1)) for i in range(BUCKETS)]
    assert found["istio_request_duration_milliseconds_count"][0][1] == 190
    assert found["istio_request_duration_milliseconds_sum"][0][1] == 1234.567
    assert [value for _, value in found["istio_request_bytes_bucket"]] == [5.0] * BUCKETS
    assert found["istio_request_bytes_sum"][0][1] == 4321
    assert [value for _, value in found["istio_response_bytes_bucket"]] == [0.0] * (BUCKETS - 1) + [9.0]
    assert found["istio_response_bytes_sum"][0][1] == 10**12 + 7
    assert BUCKETS == lib.FGW_STATE_BUCKETS == len(BOUNDS)


def test_types_are_declared_once_even_without_a_request() -> None:
    kinds = {family.name: family.type for family in text_string_to_metric_families(request_metrics_text([]))}
    assert kinds == {
        "istio_requests": "counter",
        "istio_request_duration_milliseconds": "histogram",
        "istio_request_bytes": "histogram",
        "istio_response_bytes": "histogram",
    }


def test_relayed_connections_have_istios_labels_and_no_status() -> None:
    one = ConnectionSeries(MetricLabels("db.default.svc.cluster.local", "db", "default"), "UF,URX", TcpSeries(4, 3, 10**12 + 7, 9))
    found = parse(connection_metrics_text([one]))
    values = {name: samples[0][1] for name, samples in found.items()}
    assert values == {
        "istio_tcp_connections_opened_total": 4,
        "istio_tcp_connections_closed_total": 3,
        "istio_tcp_sent_bytes_total": 10**12 + 7,
        "istio_tcp_received_bytes_total": 9,
    }
    for ((labels, _),) in found.values():
        assert set(labels) == ISTIO_LABELS - {"response_code", "grpc_response_status"}
        assert (labels["request_protocol"], labels["response_flags"]) == ("tcp", "UF,URX")
        assert (labels["destination_service"], labels["destination_service_name"]) == ("db.default.svc.cluster.local", "db")
    kinds = {family.type for family in text_string_to_metric_families(connection_metrics_text([]))}
    assert kinds == {"counter"}


def test_label_values_are_escaped() -> None:
    wild = 'a"b\\c\nd'
    labels, _ = parse(request_metrics_text([one_series(wild)]))["istio_requests_total"][0]
    assert labels["destination_service"] == wild
    assert "\n" not in escape(wild)
