"""Health checks by the supervisor: upstreams fail theirs and come back, and no request notices."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from .conftest import StartGateway
from .support.certificates import Authority
from .support.config import Document, dns_entry, gateway, route, service_entry, virtual_service
from .support.gateway import Gateway, run_cli
from .support.name_server import NameServer
from .support.origin import RecordingOrigin, Seen, ok
from .support.poll import eventually
from .support.ports import free_port
from .support.tls_origin import TlsOrigin

HOST = "webapp.test"
SERVICE = "app.internal"
ANNOTATION = "gateway.fastgw.io/health-check"
QUICK = ";interval=100ms;timeout=5s;healthy=2;unhealthy=2"
MakeOrigin = Callable[..., RecordingOrigin]


class Origin:
    """An upstream whose health is what the test says."""

    def __init__(self, origin: RecordingOrigin) -> None:
        self.well = True
        self.checks: list[Seen] = []
        self.requests = 0
        self.origin, self.port = origin, origin.port
        origin.answer = self._answer

    def _answer(self, seen: Seen) -> bytes:
        if seen.message.target == "/healthz":
            self.checks.append(seen)
            return ok(b"", "Connection: close", status="200 OK" if self.well else "503 Service Unavailable")
        self.requests += 1
        return ok(self.origin.name.encode())


@pytest.fixture
def pair(make_origin: MakeOrigin) -> list[Origin]:
    return [Origin(make_origin("one")), Origin(make_origin("two"))]


def checked(check: str, *endpoints: tuple[str, int]) -> list[Document]:
    entry = service_entry(SERVICE, list(endpoints))
    entry["metadata"]["annotations"] = {ANNOTATION: check + QUICK}
    return [gateway(hosts=[HOST]), virtual_service("webapp", [HOST], [route(SERVICE, 8080)]), entry]


def endpoints_of(running: Gateway) -> dict[int, dict[str, Any]]:
    """By port."""
    return {each["port"]: each for cluster in running.admin("/clusters") for each in cluster["endpoints"]}


def is_healthy(running: Gateway, port: int) -> bool:
    found = endpoints_of(running)[port]
    return bool(found["healthy"])


class Load:
    """Requests all the time, in a thread of their own; ``answers`` counts them by status and body."""

    def __init__(self, running: Gateway) -> None:
        self.answers: Counter[tuple[int, str]] = Counter()
        self._running = running
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(20)

    def _run(self) -> None:
        with self._running.client() as client:
            while not self._end.is_set():
                answer = client.get("/", HOST)
                self.answers[answer.status, answer.text] += 1


def test_an_origin_that_fails_its_check_is_left_alone_until_it_is_well_again(
    start_gateway: StartGateway, pair: list[Origin]
) -> None:
    sick, fine = pair
    running = start_gateway(checked("http:/healthz", ("127.0.0.1", sick.port), ("127.0.0.1", fine.port)), workers=2)
    with Load(running) as load:
        eventually(lambda: sick.requests and fine.requests)
        sick.well = False
        eventually(lambda: not is_healthy(running, sick.port))
        sick.origin.settle()
        before = sick.requests
        more = sum(load.answers.values()) + 50
        eventually(lambda: sum(load.answers.values()) > more)
        assert sick.requests <= before + 1, "at most the one that was under way"
        sick.well = True
        eventually(lambda: is_healthy(running, sick.port))
        eventually(lambda: sick.requests > before + 1)
    assert {status for status, _ in load.answers} == {200}, load.answers


def test_all_unhealthy_is_a_503_and_shown_everywhere(start_gateway: StartGateway, pair: list[Origin]) -> None:
    for origin in pair:
        origin.well = False
    running = start_gateway(checked("http:/healthz", *(("127.0.0.1", origin.port) for origin in pair)))
    eventually(lambda: not any(is_healthy(running, origin.port) for origin in pair), "both have been checked")
    answer = running.get("/", HOST)
    assert (answer.status, answer.text) == (503, "no healthy upstream")
    listed = run_cli("proxy-config", "endpoints", "--admin", f"127.0.0.1:{running.admin_port}", "-o", "json")
    entries = json.loads(listed.stdout)
    assert {(entry["status"], entry["outlierCheck"]) for entry in entries} == {("UNHEALTHY", "OK")}
    assert {entry["healthCheck"]["error"] for entry in entries} == {"status 503, wanted 200-299"}
    metrics = running.metrics()
    assert metrics.total("fastgw_endpoint_healthy") == 0
    assert metrics.total("fastgw_endpoint_health_checks_total", result="failure") >= 2
    eventually(lambda: running.metrics().total("istio_requests_total", response_flags="UH") == 1, "it is counted")
    assert f"127.0.0.1:{pair[0].port} is unhealthy: status 503, wanted 200-299" in running.tail()


def test_checks_are_made_once_however_many_workers_and_clusters(start_gateway: StartGateway, pair: list[Origin]) -> None:
    documents = checked("http:/healthz", ("127.0.0.1", pair[0].port))
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {
            "name": "webapp",
            "annotations": {ANNOTATION: "http:/healthz;interval=1h;timeout=20s;host=probe.test"},
        },
        "spec": {"host": SERVICE, "subsets": [{"name": "all", "labels": {}}]},
    }
    documents[1]["spec"]["http"][0]["match"] = [{"uri": {"prefix": "/x"}}]
    documents[1]["spec"]["http"].append({"route": [{"destination": {"host": SERVICE, "subset": "all"}}]})
    running = start_gateway([*documents, rule], workers=2)
    eventually(lambda: len(endpoints_of(running)) == 1 and is_healthy(running, pair[0].port))
    assert (running.get("/", HOST).status, running.get("/x", HOST).status) == (200, 200)
    pair[0].origin.settle()
    assert len(pair[0].checks) == 1, "one for two workers and two clusters, and the rule's interval counts"
    (check,) = pair[0].checks
    assert check.message.value("host") == "probe.test"


def test_tcp_and_a_port_that_comes_up(start_gateway: StartGateway, make_origin: MakeOrigin) -> None:
    port = free_port()
    other = make_origin("other")
    running = start_gateway(checked("tcp", ("127.0.0.1", port), ("127.0.0.1", other.port)))
    eventually(lambda: not is_healthy(running, port))
    assert {running.get("/", HOST).status for _ in range(10)} == {200}
    with RecordingOrigin("late", port=port):
        eventually(lambda: is_healthy(running, port))
    eventually(lambda: not is_healthy(running, port))


@contextmanager
def grpc_server() -> Iterator[tuple[int, health.HealthServicer]]:
    servicer = health.HealthServicer()
    server = grpc.server(ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port, servicer
    finally:
        server.stop(None).wait(60)


def test_a_grpc_server_says_how_its_service_is(start_gateway: StartGateway) -> None:
    states = health_pb2.HealthCheckResponse.ServingStatus
    with grpc_server() as (port, servicer):
        servicer.set("shop.Cart", states.SERVING)
        running = start_gateway(checked("grpc:shop.Cart", ("127.0.0.1", port)))
        eventually(lambda: endpoints_of(running)[port]["healthCheck"]["status"] == "healthy")
        servicer.set("shop.Cart", states.NOT_SERVING)
        eventually(lambda: not is_healthy(running, port))
        assert endpoints_of(running)[port]["healthCheck"]["error"] == "NOT_SERVING, wanted SERVING"
        servicer.set("shop.Cart", states.SERVING)
        eventually(lambda: is_healthy(running, port))


def test_addresses_of_a_name_are_checked(start_gateway: StartGateway, make_origin: MakeOrigin) -> None:
    one = Origin(make_origin("one", address="127.0.0.1"))
    two = Origin(make_origin("two", address="127.0.0.2", port=one.port))
    two.well = False
    with NameServer({"app.example": ["127.0.0.1", "127.0.0.2"]}) as dns:
        entry = dns_entry("app.example", "app.example", one.port)
        entry["metadata"]["annotations"] = {ANNOTATION: "http:/healthz" + QUICK}
        documents = [gateway(hosts=[HOST]), virtual_service("webapp", [HOST], [route("app.example", 8080)]), entry]
        running = start_gateway(documents, options=dns.option)
        eventually(lambda: {running.get("/", HOST).text for _ in range(20)} == {"one"}, "both have been checked")
        two.well, one.well = True, False
        eventually(lambda: {running.get("/", HOST).text for _ in range(20)} == {"two"})


def test_a_changed_annotation_takes_effect(start_gateway: StartGateway, pair: list[Origin]) -> None:
    sick = pair[0]
    sick.well = False
    documents = checked("http:/healthz", ("127.0.0.1", sick.port))
    documents[0] = gateway(hosts=[HOST, "other.test"])
    running = start_gateway(documents)
    eventually(lambda: running.get("/", HOST).status == 503, "it has been checked")
    documents[2]["metadata"]["annotations"] = {ANNOTATION: "off"}
    running.write("main.yaml", documents)
    eventually(lambda: running.get("/", HOST).status == 200)
    running.everywhere()
    checks = len(sick.checks)
    assert "healthCheck" not in endpoints_of(running)[sick.port]
    documents[2]["metadata"]["annotations"] = {ANNOTATION: "http:/healthz;expect=503" + QUICK}
    running.write("main.yaml", documents)
    eventually(lambda: len(sick.checks) > checks)
    assert running.get("/", HOST).status == 200
    running.write("more.yaml", [virtual_service("other", ["other.test"], [route(SERVICE, 8080)])])
    eventually(lambda: running.get("/", "other.test").status == 200)
    checks = len(sick.checks)
    eventually(lambda: len(sick.checks) > checks, "another change leaves the checks alone")


def test_tls_as_the_destination_rule_says(
    start_gateway: StartGateway, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A certificate that requests would not be sent to makes the endpoint unhealthy; the right CA makes it well."""
    directory = tmp_path_factory.mktemp("ca")
    with TlsOrigin("webapp", authority.issue("secure.test"), directory) as upstream:
        documents = checked("http:/", ("127.0.0.1", upstream.port))
        documents.append(
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "DestinationRule",
                "metadata": {"name": "webapp"},
                "spec": {
                    "host": SERVICE,
                    "trafficPolicy": {"tls": {"mode": "SIMPLE", "sni": "secure.test", "caCertificates": str(directory / "ca.pem")}},
                },
            }
        )
        running = start_gateway(documents)
        eventually(lambda: not is_healthy(running, upstream.port))
        assert "no usable CA" in endpoints_of(running)[upstream.port]["healthCheck"]["error"]
        authority.write(directory / "ca.pem")
        eventually(lambda: is_healthy(running, upstream.port))
        assert running.get("/", HOST).status == 200
