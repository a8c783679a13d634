"""Slow peers: every wait has an end, and the end has the right words. Limits are short here."""

from __future__ import annotations

import socket
import threading
from typing import Any

from .conftest import StartGateway
from .support.client import Client, Disconnected, request_bytes
from .support.config import simple
from .support.gateway import Gateway
from .support.origin import RecordingOrigin, Reply, ThreadedOrigin, read_head
from .support.poll import eventually, in_time

HOST = "webapp.test"


def started(start: StartGateway, port: int, **settings: Any) -> Gateway:
    return start(simple(HOST, port), workers=1, settings={name.replace("_", "-"): value for name, value in settings.items()})


def answer_to(gateway: Gateway, *pieces: bytes) -> int:
    """The status that a head in pieces gets; 0: the connection had ended before the first one was there, in silence."""
    with gateway.client() as client:
        try:
            client.send(pieces[0])
            client.send_segments((piece, 0.05) for piece in pieces[1:])
            status = client.response().status
        except (Disconnected, ConnectionError):
            return 0
        assert client.wait_closed()
        return status


def test_a_slow_head_is_408_and_closed(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = started(start_gateway, origin.port, head_timeout=0.4)
    head = b"GET / HTTP/1.1\r\nHost: web"
    assert in_time(lambda: answer_to(gateway, head), late=lambda status: status == 0) == 408
    assert not origin.seen
    assert gateway.metrics().total("fastgw_client_timeouts_total", timeout="head") >= 1


def test_dribbling_does_not_extend_the_time_for_a_head(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = started(start_gateway, origin.port, head_timeout=0.5)
    head = b"GET / HTTP/1.1\r\nHost: webapp.test\r\n"
    assert in_time(lambda: answer_to(gateway, head, *[b"X-A: b\r\n"] * 90), late=lambda status: status == 0) == 408


def test_a_client_that_says_nothing_is_closed_silently(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = started(start_gateway, origin.port, head_timeout=0.4)
    with gateway.client() as client:
        assert client.wait_closed()
        assert not client.received


def test_an_idle_connection_is_closed(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = started(start_gateway, origin.port, idle_timeout=0.4)
    with gateway.client() as client:
        assert client.get("/", HOST).status == 200
        assert client.wait_closed()
        assert client.ended == "eof" and client.rest() == b""


def test_a_slow_body_is_408_and_the_upstream_request_is_cut(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = started(start_gateway, origin.port, body_timeout=0.4)
    with gateway.client() as client:
        client.send(f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nhello")
        assert client.response("POST").status == 408
        assert client.wait_closed()
    eventually(lambda: all(c.ended for c in origin.connections), "the upstream connection is closed")
    assert not origin.seen


def test_an_upstream_that_does_not_answer_is_504(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    origin.answer = lambda seen: Reply(segments=[])
    gateway = started(start_gateway, origin.port, upstream_response_timeout=0.4)
    with gateway.client() as client:
        answer = client.get("/", HOST)
        assert (answer.status, answer.text) == (504, "upstream request timeout")
    eventually(lambda: gateway.metrics().total("fastgw_upstream_timeouts_total") == 1, "it is counted")
    eventually(lambda: all(c.ended for c in origin.connections), "the upstream connection is closed")


def test_a_whole_request_has_a_time(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = started(start_gateway, origin.port, request_timeout=0.5)
    with gateway.client() as client:
        client.send(f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000\r\n\r\n")
        client.send_segments([(b"x", 0.05)] * 40)
        assert client.response("POST").status == 408
        assert client.wait_closed()
    assert not origin.seen


def test_a_client_that_does_not_read_is_cut(start_gateway: StartGateway) -> None:
    cut = threading.Event()

    def endless(sock: socket.socket) -> None:
        read_head(sock)
        try:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            while True:
                sock.sendall(bytes(65536))
        except OSError:
            cut.set()

    with ThreadedOrigin(endless) as upstream:
        gateway = started(start_gateway, upstream.port, write_timeout=0.5)
        with Client(gateway.port(), receive_buffer=16384) as client:
            client.send(request_bytes("GET", "/", HOST))
            assert cut.wait(60), "the upstream is still held although its client does not read"
        eventually(lambda: gateway.metrics().total("fastgw_client_timeouts_total", timeout="write") == 1, "it is counted")


def test_an_idle_upstream_connection_is_closed(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = started(start_gateway, origin.port, upstream_idle_timeout=0.4)
    assert gateway.get("/", HOST).status == 200
    eventually(lambda: [c.ended for c in origin.connections] == ["eof"], "the pooled connection is closed")


def test_a_limit_of_requests_closes_the_connection(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    gateway = started(start_gateway, origin.port, max_requests_per_connection=3)
    with gateway.client() as client:
        said = [(client.get(f"/{i}", HOST).value("connection") or "").lower() for i in range(3)]
        assert said[2] == "close" and said[:2] == ["", ""]
        assert client.wait_closed()


def test_a_limit_of_connections_holds_others_back(start_gateway: StartGateway, origin: RecordingOrigin) -> None:
    """The ones over the limit wait in the accept queue, or are closed; they are served once others go."""
    gateway = started(start_gateway, origin.port, max_connections=5)
    clients = [gateway.client() for _ in range(5)]
    for client in clients:
        assert client.get("/", HOST).status == 200
    with gateway.client() as late:
        late.send(request_bytes("GET", "/late", HOST))
        for client in clients:
            client.close()
        assert late.response().status == 200
    assert gateway.metrics().total("fastgw_client_connections_active") <= 5
