"""What is sent again, what is not, and what the client is told (statements I4, I5, I8; requirements H9, H11)."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator

import pytest
from dataplane_support import GET, OK, Gateway, Peer, Upstream, free_port, make_plan, post

from fastgw.model.plan import Cluster, Endpoint

Stale = Callable[..., tuple[Peer, Upstream]]
Logged = tuple[Gateway, Callable[[], list[list[str]]]]

PREFIX = b"upstream connect error or disconnect/reset before headers. "
PROGRAM = [("text", '["'), ("code", ""), ("text", '","'), ("flags", ""), ("text", '","'), ("details", ""), ("text", '","')]
PROGRAM += [("attempts", ""), ("text", '","'), ("upstream_host", ""), ("text", '"]\n')]


@pytest.fixture
def logged(make_gateway: Callable[..., Gateway]) -> Iterator[Logged]:
    """A gateway, and its access log so far: code, flags, details, attempts, upstream host."""
    with tempfile.TemporaryFile() as file:
        gateway = make_gateway(log=PROGRAM, log_fd=file.fileno())

        def lines() -> list[list[str]]:
            gateway.log.flush()
            return [json.loads(line) for line in os.pread(file.fileno(), 1 << 20, 0).splitlines()]

        yield gateway, lines


@pytest.fixture
def stale(gateway: Gateway) -> Stale:
    """Send a request on a pooled connection that the upstream then ends without a byte of an answer."""

    def run(request: bytes, how: str = "close") -> tuple[Peer, Upstream]:
        upstream = gateway.upstream()
        gateway.serve(upstream)
        client = gateway.client().send(GET)
        up = upstream.accept(gateway)
        up.request()
        up.send(OK)
        assert client.response().status == 200 and gateway.pool.idle == 1
        client.send(request)
        up.until(lambda data: b"\r\n\r\n" in data)
        assert not upstream.has_connection(gateway), "the pooled connection was taken"
        getattr(up, how)()
        return client, upstream

    return run


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE"])
def test_an_idempotent_request_is_sent_again_once(stale: Stale, gateway: Gateway, method: str, how: str) -> None:
    client, upstream = stale(f"{method} /again HTTP/1.1\r\nHost: a.test\r\n\r\n".encode(), how)
    up = upstream.accept(gateway)
    request = up.request()
    assert (request.start, request["x-envoy-attempt-count"]) == (f"{method} /again HTTP/1.1", "2")
    assert gateway.counter("FGW_C_UPSTREAM_RETRIES") == 1
    up.close()
    answer = client.response(method)
    assert answer.status == 503, "a new connection that is closed is no reason to try a third time"
    if method != "HEAD":
        assert answer.body == PREFIX + b"retried and the latest reset reason: connection termination"
    assert not upstream.has_connection(gateway)


@pytest.mark.parametrize("request_bytes", [post(0), post(3) + b"abc", post(3, method="PATCH") + b"abc"])
def test_a_request_that_is_not_idempotent_is_not_sent_again(stale: Stale, gateway: Gateway, request_bytes: bytes) -> None:
    client, upstream = stale(request_bytes)
    answer = client.response()
    assert (answer.status, answer.body) == (503, PREFIX + b"reset reason: connection termination")
    assert not upstream.has_connection(gateway) and gateway.counter("FGW_C_UPSTREAM_RETRIES") == 0


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_small_body_is_sent_again_whole(stale: Stale, gateway: Gateway, framing: str) -> None:
    body = bytes(range(256)) * 200
    request = post(len(body), method="PUT") + body
    if framing == "chunked":
        pieces = b"".join(b"%x\r\n%b\r\n" % (len(body[i : i + 999]), body[i : i + 999]) for i in range(0, len(body), 999))
        request = b"PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"
    client, upstream = stale(request)
    up = upstream.accept(gateway)
    assert up.request().body == body
    up.send(OK)
    assert client.response().body == b"ok"


def test_a_body_half_sent_goes_on_after_the_second_start(stale: Stale, gateway: Gateway) -> None:
    client, upstream = stale(post(2000, method="PUT") + b"a" * 1000)
    up = upstream.accept(gateway)
    up.until(lambda data: data.endswith(b"a" * 1000))
    client.send(b"b" * 1000)
    assert up.request().body == b"a" * 1000 + b"b" * 1000
    up.send(OK)
    assert client.response().status == 200


def test_a_body_that_is_not_kept_is_not_sent_again(stale: Stale, gateway: Gateway) -> None:
    client, upstream = stale(post(80_000, method="PUT") + b"a" * 80_000)
    assert client.response().status == 503
    assert not upstream.has_connection(gateway)


def test_an_answer_that_has_begun_is_not_asked_for_again(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(GET)
    up = upstream.accept(gateway)
    up.request()
    up.send(OK)
    client.response()
    client.send(GET)
    up.request()
    up.send(b"H")
    up.close()
    assert client.response().status == 503 and not upstream.has_connection(gateway)


def test_a_new_connection_that_is_closed_without_an_answer_is_not_tried_again(logged: Logged) -> None:
    gateway, lines = logged
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(GET)
    up = upstream.accept(gateway)
    up.request()
    up.close()
    answer = client.response()
    assert (answer.status, answer.body) == (503, PREFIX + b"reset reason: connection termination")
    host = f"127.0.0.1:{upstream.port}"
    assert lines() == [["503", "UC", "upstream_reset_before_response_started{connection_termination}", "1", host]]
    assert gateway.cell(upstream.port).failures == 1


def test_a_refused_connect_goes_to_the_next_endpoint(logged: Logged) -> None:
    gateway, lines = logged
    upstream, dead = gateway.upstream(), free_port()
    gateway.serve(dead, upstream)
    clients = [gateway.client().send(post(5) + b"hello") for _ in range(2)]
    ups = [upstream.accept(gateway) for _ in clients]
    requests = [up.request() for up in ups]
    assert sorted(r["x-envoy-attempt-count"] for r in requests) == ["1", "2"]
    assert [r.body for r in requests] == [b"hello"] * 2, "even a POST: not a byte had been sent"
    for up in ups:
        up.send(OK)
    assert [client.response().status for client in clients] == [200, 200]
    assert sorted(line[3] for line in lines()) == ["1", "2"] and {line[1] for line in lines()} == {"-"}
    assert (gateway.cell(dead).failures, gateway.cell(upstream.port).failures) == (1, 0)
    assert gateway.counter("FGW_C_UPSTREAM_CONNECT_FAILURES") == gateway.counter("FGW_C_UPSTREAM_RETRIES") == 1


def test_connects_are_tried_a_few_times_only(logged: Logged) -> None:
    gateway, lines = logged
    gateway.serve(free_port(), free_port())
    client = gateway.client().send(GET)
    answer = client.response()
    assert (answer.status, answer.body) == (503, PREFIX + b"retried and the latest reset reason: remote connection failure")
    assert lines()[0][:4] == ["503", "UF,URX", "upstream_reset_before_response_started{remote_connection_failure}", "3"]
    client.send(GET)
    assert client.response().status == 503, "the client's connection goes on"


def test_one_attempt_may_be_all(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits={"connect_attempts": 1})
    gateway.serve(free_port())
    answer = gateway.client().send(GET).response()
    assert answer.body == PREFIX + b"reset reason: remote connection failure"
    assert gateway.counter("FGW_C_UPSTREAM_CONNECT_FAILURES") == 1


def test_an_address_that_cannot_even_be_tried(gateway: Gateway) -> None:
    """A unix socket that is not there: connect() fails at once."""
    gateway.attach(make_plan([Cluster("c", "c", 80, endpoints=[Endpoint("unix:/no/such/socket", 0)])]))
    answer = gateway.client().send(GET).response()
    assert (answer.status, answer.body.endswith(b"remote connection failure")) == (503, True)


def test_what_the_log_says_of_a_cut_answer_and_a_client_that_left(logged: Logged) -> None:
    gateway, lines = logged
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(GET)
    up = upstream.accept(gateway)
    up.request()
    up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    up.close()
    client.until_end()
    left = gateway.client().send(GET)
    upstream.accept(gateway).request()
    left.close()
    malformed = gateway.client().send(GET)
    upstream.accept(gateway).send(b"HTTP/1.1 20 OK\r\n\r\n")
    assert malformed.response().status == 502
    gateway.client().send(b"BAD\r\n\r\n").response()
    assert [line[:3] for line in lines()] == [
        ["200", "UC", "upstream_reset_after_response_started{connection_termination}"],
        ["0", "DC", "downstream_remote_disconnect"],
        ["502", "UPE", "upstream_reset_before_response_started{protocol_error}"],
        ["400", "DPE", "bad_request_line"],
    ]
