"""Upstreams that misbehave or are not there, connection reuse, retries, endpoints, names."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from .conftest import StartGateway
from .support.client import Disconnected, request_bytes
from .support.config import Document, destination, dns_entry, gateway, route, service_entry, simple, virtual_service
from .support.gateway import Gateway
from .support.origin import RecordingOrigin, Reply, Seen, ThreadedOrigin, ok, read_head
from .support.poll import eventually
from .support.ports import free_port

HOST = "webapp.test"
CONNECT_ERROR = "upstream connect error or disconnect/reset before headers."


def routed_to(host: str, port: int | None = None, *more: Document) -> list[Document]:
    return [gateway(hosts=[HOST]), virtual_service("webapp", [HOST], [route(host, port)]), *more]


def with_endpoints(*ports: int) -> list[Document]:
    return routed_to("webapp", 8080, service_entry("webapp", [("127.0.0.1", port) for port in ports]))


def test_upstream_connections_are_reused(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), workers=1)
    used = {json.loads(gateway.get(f"/{i}", HOST).body)["connection"] for i in range(20)}
    assert len(used) == 1


def test_answers_never_mix_on_reused_connections(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), workers=1)
    with gateway.client() as one, gateway.client() as two:
        for i in range(100):
            one.send(request_bytes("GET", f"/one{i}", HOST))
            two.send(request_bytes("GET", f"/two{i}", HOST))
            assert json.loads(two.response().body)["target"] == f"/two{i}"
            assert json.loads(one.response().body)["target"] == f"/one{i}"
    assert len({s.connection for s in origin.seen}) == 2


class OneAnswerAConnection:
    """An upstream that keeps the connection after its first answer, and ends it without a word when the second request comes."""

    def __init__(self) -> None:
        self.requests: list[str] = []

    def __call__(self, sock: socket.socket) -> None:
        for turn in range(2):
            head = read_head(sock)
            if not head:
                return
            self.requests.append(head.split(b" HTTP/")[0].decode())
            if turn == 0:
                sock.sendall(ok(b"fine"))


def test_a_stale_connection_is_retried_once_for_get(start_gateway: StartGateway) -> None:
    behaviour = OneAnswerAConnection()
    with ThreadedOrigin(behaviour) as upstream:
        gateway = start_gateway(simple(HOST, upstream.port), workers=1)
        for i in range(5):
            assert gateway.get(f"/{i}", HOST).text == "fine"
        assert upstream.accepted == 5
        assert behaviour.requests.count("GET /4") == 2
        assert gateway.metrics().total("fastgw_upstream_retries_total") == 4


def test_a_stale_connection_is_not_retried_for_post(start_gateway: StartGateway) -> None:
    behaviour = OneAnswerAConnection()
    with ThreadedOrigin(behaviour) as upstream:
        gateway = start_gateway(simple(HOST, upstream.port), workers=1)
        with gateway.client() as client:
            assert client.get("/", HOST).text == "fine"
            answer = client.request(request_bytes("POST", "/pay", HOST, body=b"amount=1"))
            assert answer.status == 503
            assert answer.text.startswith(CONNECT_ERROR)
        assert behaviour.requests.count("POST /pay") == 1


def test_an_idle_connection_that_the_upstream_closed_is_not_used(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), workers=1)
    with gateway.client() as client:
        for i in range(3):
            answer = client.request(request_bytes("POST", f"/{i}", HOST, body=b"x"))
            assert answer.status == 200
            origin.close_connections()
            eventually(lambda: gateway.metrics().total("fastgw_upstream_connections_idle") == 0)
    assert len(origin.connections) == 3


def test_a_fresh_connection_that_closes_is_503(start_gateway: StartGateway) -> None:
    def hang_up(sock: socket.socket) -> None:
        read_head(sock)

    with ThreadedOrigin(hang_up) as upstream:
        gateway = start_gateway(simple(HOST, upstream.port), workers=1)
        answer = gateway.get("/", HOST)
        assert (answer.status, answer.text) == (503, f"{CONNECT_ERROR} reset reason: connection termination")
        assert answer.value("content-type") == "text/plain"


def test_an_upstream_that_closes_inside_the_head_is_503(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    origin.answer = lambda seen: Reply(b"HTTP/1.1 200 OK\r\nContent-", close=True)
    gateway = start_gateway(simple(HOST, origin.port), workers=1)
    answer = gateway.get("/", HOST)
    assert answer.status in (502, 503)
    assert "Content-" not in answer.text


@pytest.mark.parametrize(
    "raw", [ok(b"hello", "X-A: b"), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
)
def test_an_answer_cut_at_any_byte_is_never_taken_for_whole(
    start_gateway: StartGateway, origin: RecordingOrigin, raw: bytes
) -> None:
    gateway = start_gateway(simple(HOST, origin.port), workers=1)
    for cut in range(len(raw)):
        origin.answer = partial(cut_reply, raw[:cut])
        with gateway.client() as client:
            try:
                answer = client.get("/", HOST)
            except Disconnected:
                continue
            assert answer.status in (502, 503), f"cut after {raw[:cut]!r}"
    origin.answer = partial(cut_reply, raw)
    assert gateway.get("/", HOST).text == "hello"


def cut_reply(data: bytes, seen: Seen) -> Reply:
    return Reply(data, close=True)


def test_connection_refused_is_503_with_envoys_words(start_gateway: StartGateway) -> None:
    gateway = start_gateway(with_endpoints(free_port()), workers=1)
    with gateway.client() as client:
        for _ in range(2):
            answer = client.get("/", HOST)
            assert answer.status == 503
            assert answer.text.startswith(CONNECT_ERROR) and "reset reason: " in answer.text


def test_a_refused_endpoint_costs_an_attempt_and_not_the_request(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(with_endpoints(free_port(), origin.port), workers=1)
    for i in range(20):
        answer = gateway.get(f"/{i}", HOST)
        assert answer.status == 200, answer.text
    counts = {dict(json.loads(gateway.get("/", HOST).body)["headers"])["x-envoy-attempt-count"] for _ in range(10)}
    assert counts <= {"1", "2"}


def test_h6_further_attempts_stay_at_the_chosen_destination(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    """Statement H6: what fails at one destination of a weighted route is never tried at the other."""
    rules = [{"route": [destination("webapp", 8080, weight=50), destination("dead", 8080, weight=50)]}]
    dead = service_entry("dead", [("127.0.0.1", free_port()), ("127.0.0.1", free_port())])
    running = start_gateway(
        [
            gateway(hosts=[HOST]),
            virtual_service("webapp", [HOST], rules),
            service_entry("webapp", [("127.0.0.1", origin.port)]),
            dead,
        ]
    )
    statuses = Counter(running.get("/", HOST).status for _ in range(60))
    assert set(statuses) == {200, 503}
    assert len(origin.seen) == statuses[200]


def test_a_post_with_a_body_survives_a_refused_endpoint(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(with_endpoints(free_port(), origin.port), workers=1)
    for _ in range(10):
        with gateway.client() as client:
            answer = client.request(request_bytes("POST", "/", HOST, body=b"b" * 5000))
            assert (answer.status, json.loads(answer.body)["body"]) == (200, "b" * 5000)


def test_all_endpoints_get_their_share(start_gateway: StartGateway, make_origin: Callable[..., RecordingOrigin]) -> None:
    origins = [make_origin(f"o{i}") for i in range(3)]
    gateway = start_gateway(with_endpoints(*(o.port for o in origins)), workers=1)
    with gateway.client() as client:
        counts = Counter(client.get("/", HOST).value("x-origin") for _ in range(90))
    assert set(counts) == {"o0", "o1", "o2"} and min(counts.values()) >= 10, counts


def test_a_service_without_endpoints_is_503_no_healthy_upstream(start_gateway: StartGateway) -> None:
    gateway = start_gateway(with_endpoints(), workers=1)
    answer = gateway.get("/", HOST)
    assert (answer.status, answer.text) == (503, "no healthy upstream")


def test_an_unknown_port_of_a_service_is_503_with_an_empty_body(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(routed_to("webapp", 9999, service_entry("webapp", [("127.0.0.1", origin.port)])), workers=1)
    answer = gateway.get("/", HOST)
    assert (answer.status, answer.text) == (503, "")


def test_a_name_that_does_not_exist_is_503(start_gateway: StartGateway) -> None:
    gateway = start_gateway(routed_to("does-not-exist.invalid", 80), workers=1)
    answer = gateway.get("/", HOST)
    assert answer.status == 503


def echoing(gateway: Gateway) -> str:
    answer = gateway.get("/", HOST)
    assert answer.status == 200, answer.text
    origin: str = json.loads(answer.body)["origin"]
    return origin


def test_resolve_gives_address_and_port(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(routed_to("api.example", 80), options=["--resolve", f"api.example=127.0.0.1:{origin.port}"], workers=1)
    assert echoing(gateway) == "webapp"


def test_resolve_gives_the_address_and_the_destination_the_port(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(routed_to("api.example", origin.port), options=["--resolve", "api.example=127.0.0.1"], workers=1)
    assert echoing(gateway) == "webapp"


def test_a_destination_is_found_by_dns(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(routed_to("localhost", origin.port), workers=1)
    eventually(lambda: gateway.get("/", HOST).status == 200)
    assert echoing(gateway) == "webapp"


def test_a_dns_service_entry_names_its_endpoint(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(routed_to("db.internal", 8080, dns_entry("db.internal", "localhost", origin.port)), workers=1)
    eventually(lambda: gateway.get("/", HOST).status == 200)
    assert echoing(gateway) == "webapp"


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "webapp"},
    "spec": {"ports": [{"name": "http", "port": 8080}]},
}


def slice_of(port: int, ready: bool = True) -> Document:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"webapp-{port}", "labels": {"kubernetes.io/service-name": "webapp"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": ready}}],
    }


@pytest.mark.parametrize("host", ["webapp", "webapp.default.svc.cluster.local"])
def test_a_kubernetes_service_and_its_endpoint_slices(start_gateway: StartGateway, origin: RecordingOrigin, host: str) -> None:
    documents = routed_to(host, None, SERVICE, slice_of(origin.port), slice_of(free_port(), ready=False))
    gateway = start_gateway(documents, workers=1)
    assert [echoing(gateway) for _ in range(5)] == ["webapp"] * 5


def test_a_service_whose_endpoints_are_not_ready_has_none(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(routed_to("webapp", None, SERVICE, slice_of(origin.port, ready=False)), workers=1)
    answer = gateway.get("/", HOST)
    assert (answer.status, answer.text) == (503, "no healthy upstream")


def test_work_is_counted_per_cluster(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = start_gateway(simple(HOST, origin.port), workers=2)
    for _ in range(10):
        gateway.get("/", HOST)
    (cluster,) = [c for c in gateway.admin("/clusters") if "webapp" in json.dumps(c)]
    text = json.dumps(cluster)
    assert f"127.0.0.1:{origin.port}" in text or (f'"{origin.port}"' in text or f" {origin.port}" in text)

    def counted() -> bool:
        (endpoint,) = [e for c in gateway.admin("/clusters") if "webapp" in json.dumps(c) for e in c["endpoints"]]
        assert (endpoint["requests"], endpoint["active"]) == (10, 0)
        return True

    eventually(counted, "a worker counts when the answer has been written")
