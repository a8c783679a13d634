"""What routes do with requests, where HTTP/2 is spoken to the upstream or by the client."""

from __future__ import annotations

import pytest
from dataplane_support import GET, Gateway, post
from http2_upstream_support import OK, Headers, accept

from fastgw.model.plan import Fault, Retries, Rewrite, RoutePolicy

ALL = 1_000_000


def status(code: int, *more: tuple[str, str]) -> Headers:
    return [(":status", str(code)), *more]


@pytest.mark.parametrize("body", [b"", b"busy"])
def test_an_answer_is_retried_on_the_same_connection(gateway: Gateway, body: bytes) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream, protocol="http2", route=RoutePolicy(retries=Retries(2, ("5xx",), avoid_tried=False)))
    client = gateway.client().send(post(3, method="PUT") + b"abc")
    peer = accept(gateway, upstream)
    for attempt in ("1", "2"):
        stream, request = peer.request()
        assert (request["x-envoy-attempt-count"], bytes(request.body)) == (attempt, b"abc")
        peer.answer(stream, body, status(503))
        assert client.poll().data == b""
        gateway.pass_ms(700)
    stream, request = peer.request()
    assert bytes(request.body) == b"abc"
    peer.answer(stream, b"ok", OK)
    assert client.response().body == b"ok"
    assert not upstream.has_connection(gateway)


def test_a_stream_that_was_refused_is_retried_whatever_the_method(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream, protocol="http2")
    client = gateway.client().send(post(3) + b"abc")
    peer = accept(gateway, upstream)
    stream, _ = peer.request()
    peer.h2.reset_stream(stream, 7)  # REFUSED_STREAM
    peer.flush()
    gateway.pass_ms(700)
    stream, request = peer.request()
    assert (request["x-envoy-attempt-count"], bytes(request.body)) == ("2", b"abc")
    peer.answer(stream, b"ok", OK)
    assert client.response().body == b"ok"


@pytest.mark.parametrize(
    ("route", "grpc", "again"),
    [
        (RoutePolicy(retries=Retries(1, (), ("UNAVAILABLE",))), "14", True),
        (RoutePolicy(retries=Retries(1, (), ("UNAVAILABLE",))), "13", False),
        (None, "14", False),
    ],
)
def test_a_call_that_is_not_available(gateway: Gateway, route: RoutePolicy | None, grpc: str, again: bool) -> None:
    """J7: by the head of an answer that has nothing else. By default calls are POSTs like others."""
    upstream = gateway.upstream()
    gateway.serve(upstream, protocol="http2", route=route)
    client = gateway.client().send(post(5).replace(b"\r\n\r\n", b"\r\nContent-Type: application/grpc\r\n\r\n") + b"\0\0\0\0\0")
    peer = accept(gateway, upstream)
    stream, _ = peer.request()
    peer.answer(stream, b"", status(200, ("content-type", "application/grpc"), ("grpc-status", grpc)))
    gateway.pass_ms(700)
    if again:
        stream, _ = peer.request()
        peer.answer(stream, b"", status(200, ("content-type", "application/grpc"), ("grpc-status", "0")))
    assert client.response()["grpc-status"] == ("0" if again else grpc)


def test_times_reset_streams_and_leave_the_connection(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    route = RoutePolicy(timeout_ms=3000, retries=Retries(1, ("5xx",), per_try_timeout_ms=1000))
    gateway.serve(upstream, protocol="http2", route=route)
    client = gateway.client().send(GET)
    peer = accept(gateway, upstream)
    first, _ = peer.request()
    gateway.pass_ms(1500)
    assert peer.poll().all[first].reset == 8, "CANCEL"
    stream, _ = peer.request()
    peer.answer(stream, b"ok", OK)
    assert client.response().body == b"ok"
    assert not upstream.has_connection(gateway)


def test_rewritten_paths_and_faults(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    route = RoutePolicy(Rewrite("path", "/new"), fault=Fault(delay_ms=1000, delay_per_million=ALL))
    gateway.serve(upstream, protocol="http2", route=route)
    client = gateway.client().send(b"GET /old?q HTTP/1.1\r\nHost: a.test\r\n\r\n")
    gateway.pass_ms(1200)
    peer = accept(gateway, upstream)
    stream, request = peer.request()
    assert (request[":path"], request["x-envoy-original-path"]) == ("/newold?q", "/old?q")
    peer.answer(stream, b"ok", OK)
    assert client.response().body == b"ok"
