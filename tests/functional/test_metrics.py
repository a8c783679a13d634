"""Prometheus text: Istio's names and labels, sums over workers, reasons of refusals."""

from __future__ import annotations

import json
import os
import signal

from wire.metrics import ISTIO_LABELS

from .conftest import StartGateway
from .support.client import request_bytes
from .support.config import simple
from .support.gateway import Gateway
from .support.metrics import Metrics
from .support.origin import RecordingOrigin, ok
from .support.poll import eventually
from .support.ports import free_port

HOST = "webapp.test"
BOUNDS = [0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000]


def scraped(gateway: Gateway, requests: int) -> Metrics:
    """Once that many requests are counted: a worker counts when the answer has been written."""

    def probe() -> Metrics | None:
        metrics = gateway.metrics()
        return metrics if metrics.total("istio_requests_total") >= requests else None

    found = eventually(probe, f"{requests} requests are counted")
    assert found is not None
    return found


def test_requests_are_counted_over_workers(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), workers=3)
    for _ in range(40):
        gateway.get("/", HOST)
    metrics = scraped(gateway, 40)
    (series,) = metrics.find("istio_requests_total")
    assert series.value == 40
    assert set(series.labels) == ISTIO_LABELS
    wanted = {
        "reporter": "source",
        "response_code": "200",
        "response_flags": "-",
        "request_protocol": "http",
        "connection_security_policy": "unknown",
    }
    assert wanted.items() <= series.labels.items()
    assert series.labels["destination_service"].partition(".")[0] == "webapp"
    assert series.labels["destination_service_name"] == "webapp"
    assert metrics.total("fastgw_client_requests_total") == 40


def test_without_a_route_the_destination_is_unknown(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), workers=1)
    gateway.get("/", "nobody.test")
    (series,) = scraped(gateway, 1).find("istio_requests_total")
    wanted = {"destination_service": "unknown", "response_code": "404", "response_flags": "NR"}
    assert wanted.items() <= series.labels.items()


def test_histograms(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    origin.answer = lambda seen: ok(b"x" * 100_000)
    gateway = start_gateway(simple(HOST, origin.port), workers=2)
    for _ in range(10):
        gateway.get("/", HOST)
    metrics = scraped(gateway, 10)
    for name in ("istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes"):
        assert metrics.types[name] == "histogram"
        assert metrics.total(f"{name}_count") == 10
        buckets = [(float(s.labels["le"]), s.value) for s in metrics.find(f"{name}_bucket")]
        assert [bound for bound, _ in buckets] == [*BOUNDS, float("inf")]
        values = [value for _, value in buckets]
        assert values == sorted(values) and values[-1] == 10
    assert metrics.total("istio_response_bytes_sum") > 10 * 100_000
    assert (
        metrics.total("istio_response_bytes_bucket", le="60000.0") + metrics.total("istio_response_bytes_bucket", le="60000") == 0
    )
    assert 10 * 30 < metrics.total("istio_request_bytes_sum") < 10 * 300


def test_refusals_are_counted_by_reason(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), workers=1)
    bad = {
        "bare_lf": "GET / HTTP/1.1\nHost: webapp.test\r\n\r\n",
        "duplicate_host": "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "space_before_colon": "GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
        "content_length_and_transfer_encoding": (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        ),
        "http10": "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    }
    for raw in bad.values():
        with gateway.client() as client:
            client.request(raw)
    metrics = gateway.metrics()
    assert {s.labels["reason"]: s.value for s in metrics.find("fastgw_rejected_requests_total")} == dict.fromkeys(bad, 1)


def test_upstream_faults_have_their_flag(start_gateway: StartGateway) -> None:
    gateway = start_gateway(simple(HOST, free_port()), workers=1)
    gateway.get("/", HOST)
    (series,) = scraped(gateway, 1).find("istio_requests_total")
    assert series.labels["response_code"] == "503" and "UF" in series.labels["response_flags"].split(",")
    assert series.labels["destination_service_name"] == "webapp"


def test_gauges_follow_connections(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), workers=2)
    clients = [gateway.client() for _ in range(10)]
    for client in clients:
        client.get("/", HOST)
    assert gateway.metrics().total("fastgw_client_connections_active") == 10
    open_ones = len([c for c in origin.connections if not c.ended])
    eventually(lambda: gateway.metrics().total("fastgw_upstream_connections_idle") == open_ones, "all are idle again")
    for client in clients:
        client.close()
    eventually(lambda: gateway.metrics().total("fastgw_client_connections_active") == 0)
    for name in ("connections", "connections_closed"):
        eventually(lambda name=name: gateway.metrics().total(f"fastgw_client_{name}_total") == 10, name)


def test_counters_outlive_a_worker(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), workers=1)
    for _ in range(10):
        gateway.get("/", HOST)
    scraped(gateway, 10)
    (worker,) = gateway.worker_pids()
    held = gateway.client()
    held.get("/", HOST)
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: gateway.worker_pids() not in ([], [worker]), "a new worker holds the socket")
    gateway.get("/", HOST)
    metrics = scraped(gateway, 12)
    assert metrics.total("istio_requests_total") == 12
    assert metrics.total("fastgw_worker_restarts_total") == 1
    eventually(
        lambda: gateway.metrics().total("fastgw_client_connections_active") == 0, "the dead worker's connections are not counted"
    )
    held.close()


def test_the_admin_server_gives_the_same_numbers(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    from .support.client import fetch

    gateway = start_gateway(simple(HOST, origin.port), workers=1)
    gateway.get("/", HOST)
    scraped(gateway, 1)
    answer = fetch(gateway.admin_port, "/stats/prometheus", "localhost")
    assert (answer.value("content-type") or "").startswith("text/plain; version=0.0.4")
    assert Metrics(answer.text).total("istio_requests_total") == 1


def test_requests_in_flight_are_seen(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    from .support.origin import Reply

    origin.answer = lambda seen: Reply()
    gateway = start_gateway(simple(HOST, origin.port), workers=1)
    with gateway.client() as client:
        client.send(request_bytes("GET", "/", HOST))
        eventually(lambda: gateway.metrics().total("fastgw_exchanges_active") == 1)

        def active() -> int:
            (endpoint,) = [e for c in gateway.admin("/clusters") if "webapp" in json.dumps(c) for e in c["endpoints"]]
            return int(endpoint["active"])

        eventually(lambda: active() == 1)
    eventually(lambda: gateway.metrics().total("fastgw_exchanges_active") == 0, "a client that left ends its request")


def test_bytes_move_while_a_connection_lives(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    origin.answer = lambda seen: ok(b"x" * 100_000)
    gateway = start_gateway(simple(HOST, origin.port), workers=1)
    with gateway.client() as client:
        client.request(request_bytes("POST", "/", HOST, body=b"y" * 50_000))

        def moved() -> bool:
            metrics = gateway.metrics()
            assert metrics.total("fastgw_upstream_received_bytes_total") > 100_000
            assert metrics.total("fastgw_upstream_sent_bytes_total") > 50_000
            assert metrics.total("fastgw_client_received_bytes_total") > 50_000
            assert metrics.total("fastgw_client_sent_bytes_total") > 100_000
            return True

        eventually(moved, "bytes are counted although both connections stay open")


def test_buffers_are_seen_while_they_hold_something(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    origin.answer = lambda seen: ok(b"x" * 20_000_000)
    gateway = start_gateway(simple(HOST, origin.port), workers=1)
    with gateway.client(receive_buffer=16384) as client:
        client.send(request_bytes("GET", "/", HOST))
        eventually(lambda: gateway.metrics().total("fastgw_buffer_bytes") > 0, "a stalled answer holds buffers")
    eventually(lambda: gateway.metrics().total("fastgw_buffer_bytes") == 0, "they are given back")
