"""What goes wrong on HTTP/2 connections to upstreams, and what becomes of the requests."""

from __future__ import annotations

from collections.abc import Callable

import h2.errors
import h2.settings
import pytest
from dataplane_support import GET, OK, Gateway, Peer, Upstream, free_port, post
from http2_upstream_support import OK as HEAD
from http2_upstream_support import Headers, Http2Peer, accept, frame

Codes = h2.settings.SettingCodes
Errors = h2.errors.ErrorCodes
RST, SETTINGS, PUSH_PROMISE, PING, GOAWAY, CONTINUATION = 3, 4, 5, 6, 7, 9
POST = post(4) + b"body"


@pytest.fixture
def upstream(gateway: Gateway) -> Upstream:
    upstream = gateway.upstream()
    gateway.serve(upstream, protocol="http2")
    return upstream


def asked(gateway: Gateway, upstream: Upstream, request: bytes = GET) -> tuple[Peer, Http2Peer, int]:
    client = gateway.client().send(request)
    up = accept(gateway, upstream)
    return client, up, up.request()[0]


def test_nobody_listens(gateway: Gateway) -> None:
    gateway.serve(free_port(), protocol="http2")
    client = gateway.client().send(POST)
    answer = client.response()
    assert (answer.status, b"remote connection failure" in answer.body) == (503, True)
    assert gateway.counter("FGW_C_UPSTREAM_CONNECT_FAILURES") == 3


def test_all_that_wait_for_a_connection_that_fails_go_elsewhere(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(free_port(), upstream, protocol="http2")
    clients = [gateway.client().send(POST) for _ in range(10)]
    up = accept(gateway, upstream)
    for stream in up.streams(10):
        up.answer(stream)
    assert {client.response().status for client in clients} == {200}


def test_a_connection_that_is_not_made_in_time(gateway: Gateway) -> None:
    upstream = gateway.upstream(backlog=0)
    fillers = [gateway.client_of(upstream.port) for _ in range(4)]
    gateway.serve(upstream, protocol="http2", connect_timeout_ms=1000)
    clients = [gateway.client().send(GET) for _ in range(3)]
    gateway.pass_ms(5000)
    for client in clients:
        answer = client.response()
        assert (answer.status, b"connection timeout" in answer.body) == (503, True)
    assert fillers


def test_http1_is_no_http2(gateway: Gateway, upstream: Upstream) -> None:
    client = gateway.client().send(GET)
    up = upstream.accept(gateway)
    up.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    assert client.response().status == 502
    assert gateway.rejected() == {"h2_framing": 1}
    assert up.until_end()


def test_an_upstream_that_never_says_anything(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream, protocol="http2", connect_timeout_ms=1000)
    client = gateway.client().send(GET)
    upstream.accept(gateway)
    gateway.pass_ms(2000)
    assert client.response().status == 504


@pytest.mark.parametrize("code", [Errors.INTERNAL_ERROR, Errors.CANCEL, Errors.NO_ERROR])
def test_a_reset_is_told(gateway: Gateway, upstream: Upstream, code: int) -> None:
    """I6."""
    client, up, stream = asked(gateway, upstream)
    up.h2.reset_stream(stream, code)
    up.flush()
    answer = client.response()
    assert (answer.status, b"remote reset" in answer.body) == (503, True)
    client.send(GET)
    up.answer(up.request()[0])
    assert client.response().status == 200


@pytest.mark.parametrize("request_", [GET, POST])
def test_what_is_refused_is_sent_again(gateway: Gateway, upstream: Upstream, request_: bytes) -> None:
    client, up, stream = asked(gateway, upstream, request_)
    up.h2.reset_stream(stream, Errors.REFUSED_STREAM)
    up.flush()
    stream, request = up.request()
    assert (request["x-envoy-attempt-count"], bytes(request.body)) == ("2", request_.partition(b"\r\n\r\n")[2])
    up.answer(stream)
    assert client.response().status == 200


def test_refused_again_and_again(gateway: Gateway, upstream: Upstream) -> None:
    client, up, stream = asked(gateway, upstream)
    for _ in range(2):
        up.h2.reset_stream(stream, Errors.REFUSED_STREAM)
        up.flush()
        stream, _ = up.request()
    up.h2.reset_stream(stream, Errors.REFUSED_STREAM)
    up.flush()
    assert client.response().status == 503


def test_goaway_among_a_hundred_streams_loses_no_request(gateway: Gateway, upstream: Upstream) -> None:
    """Those up to the last one named are finished on the old connection, the others are sent again on a new one."""
    clients = [gateway.client().send(POST) for _ in range(100)]
    up = accept(gateway, upstream)
    streams = sorted(up.streams(100))
    up.raw(frame(GOAWAY, 0, 0, streams[59].to_bytes(4, "big") + bytes(4)))
    other = accept(gateway, upstream)
    again = other.streams(40)
    assert {bytes(other.requests[stream].body) for stream in again} == {b"body"}
    for stream in again:
        other.answer(stream, b"new")
    for stream in streams[:60]:
        up.answer(stream, b"old")
    assert sorted(client.response().body for client in clients) == [b"new"] * 40 + [b"old"] * 60
    assert up.peer.until_end()
    other.requests.clear()
    clients[0].send(GET)
    other.answer(other.request()[0])
    assert clients[0].response().status == 200


def test_goaway_before_the_request_has_left(gateway: Gateway, upstream: Upstream) -> None:
    client, up, stream = asked(gateway, upstream)
    up.answer(stream)
    assert client.response().status == 200
    up.peer.try_send(frame(GOAWAY, 0, 0, stream.to_bytes(4, "big") + bytes(4)))
    client.try_send(GET)
    other = accept(gateway, upstream)
    other.answer(other.request()[0])
    assert client.response().status == 200


def test_a_graceful_goaway(gateway: Gateway, upstream: Upstream) -> None:
    """2^31-1 first: what is under way goes on, and so does what is sent before the second one is seen."""
    client, up, stream = asked(gateway, upstream)
    up.raw(frame(GOAWAY, 0, 0, b"\x7f\xff\xff\xff" + bytes(4)))
    up.raw(frame(GOAWAY, 0, 0, stream.to_bytes(4, "big") + bytes(4)))
    second = gateway.client().send(GET)
    other = accept(gateway, upstream)
    other.answer(other.request()[0])
    assert second.response().status == 200
    up.answer(stream)
    assert client.response().status == 200
    assert up.peer.until_end()


@pytest.mark.parametrize("end", ["fin", "reset"])
def test_the_connection_is_lost(gateway: Gateway, upstream: Upstream, end: str) -> None:
    clients = [gateway.client().send(POST) for _ in range(5)]
    up = accept(gateway, upstream)
    up.streams(5)
    up.peer.sock.close() if end == "fin" else up.peer.reset()
    for client in clients:
        answer = client.response()
        assert (answer.status, b"connection termination" in answer.body) == (503, True)


def test_a_stale_connection_is_not_the_clients_problem(gateway: Gateway, upstream: Upstream) -> None:
    client, up, stream = asked(gateway, upstream)
    up.answer(stream)
    assert client.response().status == 200
    client.try_send(GET)
    up.peer.sock.close()
    other = accept(gateway, upstream)
    other.answer(other.request()[0])
    assert client.response().status == 200


@pytest.mark.parametrize("how", ["reset", "lost", "goaway"])
def test_an_answer_that_is_cut(gateway: Gateway, upstream: Upstream, how: str) -> None:
    """X14: the client sees that it is not whole."""
    client, up, stream = asked(gateway, upstream)
    up.h2.send_headers(stream, HEAD)
    up.h2.send_data(stream, b"half")
    up.flush()
    client.until(lambda data: b"half" in data)
    if how == "reset":
        up.h2.reset_stream(stream, Errors.INTERNAL_ERROR)
        up.flush()
    elif how == "lost":
        up.peer.close()
    else:
        up.raw(frame(GOAWAY, 0, 0, bytes(4) + Errors.INTERNAL_ERROR.to_bytes(4, "big")))
    assert client.until_end()
    assert not client.data.endswith(b"0\r\n\r\n")


def test_no_error_after_the_whole_answer(gateway: Gateway, upstream: Upstream) -> None:
    """RFC 9113 section 8.1: the upstream does not want the rest of the request. The client gets the answer."""
    client = gateway.client().send(post(100_000) + b"x" * 10_000)
    up = accept(gateway, upstream)
    stream = up.head()
    up.answer(stream, b"no", [(":status", "413")])
    up.h2.reset_stream(stream, Errors.NO_ERROR)
    up.flush()
    answer = client.response()
    assert (answer.status, answer.body) == (413, b"no")
    other = gateway.client().send(GET)
    up.requests.clear()
    up.answer(up.request()[0], b"ok")
    assert other.response().body == b"ok"


def test_an_early_answer_ends_the_upload(gateway: Gateway, upstream: Upstream) -> None:
    client = gateway.client().send(post(100_000) + b"x" * 10_000)
    up = accept(gateway, upstream)
    stream = up.head()
    up.answer(stream, b"no", [(":status", "403")])
    assert client.response().status == 403
    up.until(lambda p: p.all[stream].reset is not None, "a reset")


def test_the_client_goes_away(gateway: Gateway, upstream: Upstream) -> None:
    """X16: RST_STREAM(CANCEL), and the connection goes on."""
    client, up, stream = asked(gateway, upstream)
    client.close()
    up.until(lambda p: p.all[stream].reset is not None, "a reset")
    assert up.all[stream].reset == Errors.CANCEL
    other = gateway.client().send(GET)
    up.answer(up.request()[0])
    assert other.response().status == 200
    assert gateway.counter("FGW_C_UPSTREAM_CONNECTS") == 1


def test_the_client_goes_away_before_the_connection_is_made(gateway: Gateway) -> None:
    upstream = gateway.upstream(backlog=0)
    fillers = [gateway.client_of(upstream.port) for _ in range(4)]
    gateway.serve(upstream, protocol="http2")
    clients = [gateway.client().send(GET) for _ in range(3)]
    assert gateway.alive()["upstream_streams"] == 3
    for client in clients:
        client.close()
    assert gateway.alive()["upstream_streams"] == 0
    assert fillers


def test_a_client_goes_away_in_the_middle_of_its_upload(gateway: Gateway, upstream: Upstream) -> None:
    client = gateway.client().send(post(100_000) + b"x" * 10_000)
    up = accept(gateway, upstream)
    stream = up.head()
    client.close()
    up.until(lambda p: p.all[stream].reset == Errors.CANCEL, "a reset")
    assert not up.all[stream].ended


MALFORMED: dict[str, Headers] = {
    "no-status": [("x-a", "1")],
    "bad-status": [(":status", "20")],
    "two-statuses": [(":status", "200"), (":status", "200")],
    "late-status": [("x-a", "1"), (":status", "200")],
    "request-pseudo": [(":status", "200"), (":path", "/")],
    "upper-case": [(":status", "200"), ("X-Up", "1")],
    "line-feed": [(":status", "200"), ("x-a", "1\n2")],
    "carriage-return": [(":status", "200"), ("x-a", "1\r\nx-b: 2")],
    "zero-byte": [(":status", "200"), ("x-a", "1\x002")],
    "name-with-space": [(":status", "200"), ("x a", "1")],
    "connection": [(":status", "200"), ("connection", "close")],
    "transfer-encoding": [(":status", "200"), ("transfer-encoding", "chunked")],
    "two-lengths": [(":status", "200"), ("content-length", "1"), ("content-length", "2")],
    "bad-length": [(":status", "200"), ("content-length", "+2")],
    "switching": [(":status", "101")],
    "many-fields": [(":status", "200"), *[(f"x-{i}", "1") for i in range(300)]],
    "large": [(":status", "200"), *[(f"x-{i}", "1" * 10_000) for i in range(7)]],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_heads(gateway: Gateway, upstream: Upstream, name: str) -> None:
    """X13, H1: 502, and the connection serves others."""
    client, up, stream = asked(gateway, upstream)
    up.h2.send_headers(stream, MALFORMED[name])
    up.flush()
    assert client.response().status == 502
    assert sum(gateway.rejected().values()) == 1
    client = gateway.client().send(GET)
    up.answer(up.request()[0])
    assert client.response().status == 200
    assert gateway.counter("FGW_C_UPSTREAM_CONNECTS") == 1


def interims(up: Http2Peer, stream: int) -> None:
    for _ in range(20):
        up.h2.send_headers(stream, [(":status", "103")])


def too_long(up: Http2Peer, stream: int) -> None:
    up.h2.send_headers(stream, [*HEAD, ("content-length", "3")])
    up.raw(frame(0, 0, stream, b"four"))


def too_short(up: Http2Peer, stream: int) -> None:
    up.h2.send_headers(stream, [*HEAD, ("content-length", "3")])
    up.raw(frame(0, 1, stream, b"no"))


def nothing_of_some(up: Http2Peer, stream: int) -> None:
    up.h2.send_headers(stream, [*HEAD, ("content-length", "3")], end_stream=True)


def body_of_no_content(up: Http2Peer, stream: int) -> None:
    up.h2.send_headers(stream, [(":status", "204")])
    up.h2.send_data(stream, b"what", end_stream=True)


def trailers_open(up: Http2Peer, stream: int) -> None:
    up.h2.send_headers(stream, HEAD)
    up.raw(frame(1, 4, stream, up.h2.encoder.encode([("x-t", "1")])))


def trailers_pseudo(up: Http2Peer, stream: int) -> None:
    up.h2.send_headers(stream, HEAD)
    up.raw(frame(1, 5, stream, up.h2.encoder.encode([(":status", "200")])))


STREAM_ERRORS: list[Callable[[Http2Peer, int], None]] = [
    interims, too_long, too_short, nothing_of_some, body_of_no_content, trailers_open, trailers_pseudo,
]  # fmt: skip


@pytest.mark.parametrize("send", STREAM_ERRORS)
def test_messages_that_break_their_own_rules(gateway: Gateway, upstream: Upstream, send: Callable[[Http2Peer, int], None]) -> None:
    """The client sees an answer that is not whole, or 502; nobody else is harmed."""
    client, up, stream = asked(gateway, upstream)
    send(up, stream)
    up.flush()
    gateway.until(lambda: bool(client.poll().end) or b" 502 " in client.data)
    assert b"\r\n0\r\n\r\n" not in client.data
    assert sum(gateway.rejected().values()) in (0, 1)
    other = gateway.client().send(GET)
    up.requests.clear()
    up.answer(up.request()[0])
    assert other.response().status == 200
    assert gateway.counter("FGW_C_UPSTREAM_CONNECTS") == 1


HOSTILE: dict[str, bytes] = {
    "push": frame(PUSH_PROMISE, 4, 1, b"\x00\x00\x00\x02\x88"),
    "settings-flood": frame(SETTINGS, 0, 0) * 3000,
    "ping-flood": frame(PING, 0, 0, bytes(8)) * 5000,
    "continuations": frame(1, 0, 1, b"\x88") + frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b") * 600,
    "empty-data": frame(1, 4, 1, b"\x88") + frame(0, 0, 1) * 3000,
    "unknown-frames": frame(0xBE, 0, 0, bytes(16_384)) * 800,
    "priorities": frame(2, 0, 1, b"\x00\x00\x00\x03\x10") * 5000,
    "window-updates": frame(8, 0, 0, b"\x00\x00\x00\x01") * 5000,
    "window-overflow": frame(8, 0, 0, b"\x7f\xff\xff\xff") * 2,
    "zero-window-update": frame(8, 0, 0, bytes(4)),
    "bad-compression": frame(1, 5, 1, b"\xff\xff\xff\xff\xff\xff\x00"),
    "headers-of-nobody": frame(1, 5, 3, b"\x88"),
    "data-before-head": frame(0, 0, 1, b"body"),
    "too-large-a-frame": frame(0, 0, 1, bytes(20_000)),
    "header-bomb": frame(1, 0, 1, b"\x40\x01a\x7f\x81\x1e" + b"x" * 4000) + frame(CONTINUATION, 0, 1, b"\xbe" * 16_000) * 7,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_upstream_is_left(gateway: Gateway, upstream: Upstream, name: str) -> None:
    """The connection ends, memory stays bounded, and the next request gets a new one."""
    client = gateway.client().send(GET)
    up = accept(gateway, upstream)
    up.request()
    before = gateway.alive()["buffer_bytes"]
    view = memoryview(HOSTILE[name])
    worst = 0
    while view and not up.peer.poll().end:
        view = view[up.peer.try_send(view[:16384]) :]
        gateway.turn()
        worst = max(worst, gateway.alive()["buffer_bytes"])
    up.peer.data.clear()
    assert up.peer.until_end()
    assert worst - before <= 512 << 10
    gateway.until(lambda: bool(client.poll().end) or b" 502 " in client.data)
    client = gateway.client().send(GET)
    other = accept(gateway, upstream)
    other.answer(other.request()[0])
    assert client.response().status == 200


def test_more_than_the_window_holds(gateway: Gateway, upstream: Upstream) -> None:
    """A client that does not read, and an upstream that does not care: that answer ends, and no other."""
    client = gateway.client(receive_bytes=4096).send(GET)
    up = accept(gateway, upstream)
    stream, _ = up.request()
    view = memoryview(frame(1, 4, stream, b"\x88") + frame(0, 0, stream, bytes(16_384)) * 1000)
    worst = 0
    while view:
        view = view[up.peer.try_send(view[:16384]) :]
        gateway.turn()
        worst = max(worst, gateway.alive()["buffer_bytes"])
    assert worst <= 1 << 20
    assert client.until_end()
    assert gateway.rejected() == {}
    client = gateway.client().send(GET)
    up.answer(up.request()[0])
    assert client.response().status == 200
    assert gateway.counter("FGW_C_UPSTREAM_CONNECTS") == 1


def test_ping_keeps_an_eye_on_the_upstream(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream, protocol="http2", ping_interval_ms=10_000, ping_timeout_ms=2_000)
    client, up, stream = asked(gateway, upstream)
    for _ in range(3):
        gateway.pass_ms(10_100)
        up.poll()
        gateway.settle()
    assert sum(type(event).__name__ == "PingReceived" for event in up.events) == 3
    assert not client.poll().data
    gateway.pass_ms(10_100)
    gateway.pass_ms(2_500)
    answer = client.response()
    assert (answer.status, b"connection termination" in answer.body) == (503, True)
    assert stream


def test_idle_connections_end(gateway: Gateway, upstream: Upstream) -> None:
    client, up, stream = asked(gateway, upstream)
    up.answer(stream)
    assert client.response().status == 200
    gateway.pass_ms(61_000)
    up.until(lambda p: p.peer.end, "the end of the connection")
    assert up.goaway is not None and up.goaway.error_code == 0
    assert gateway.pool.idle == 0


def test_no_answer_in_time(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits={"upstream_response_timeout_ms": 1000})
    upstream = gateway.upstream()
    gateway.serve(upstream, protocol="http2")
    client, up, _ = asked(gateway, upstream)
    other = gateway.client()
    gateway.pass_ms(1500)
    assert client.response().status == 504
    other.send(GET)
    up.answer(up.request()[0])
    assert other.response().status == 200


def test_an_answer_that_goes_silent(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits={"stream_idle_timeout_ms": 1000})
    upstream = gateway.upstream()
    gateway.serve(upstream, protocol="http2")
    client, up, stream = asked(gateway, upstream)
    up.h2.send_headers(stream, HEAD)
    for _ in range(3):
        up.h2.send_data(stream, b"some")
        up.flush()
        gateway.pass_ms(700)
    assert not client.poll().end
    gateway.pass_ms(2000)
    assert client.until_end() and not client.data.endswith(b"0\r\n\r\n")


def test_draining(gateway: Gateway, upstream: Upstream) -> None:
    """What is under way is finished, then the connection ends."""
    client, up, stream = asked(gateway, upstream)
    idle = gateway.client().send(GET)
    up.answer(up.request()[0])
    assert idle.response().status == 200
    gateway.context.set_draining()
    gateway.pool.close_idle()
    up.answer(stream, b"last")
    assert client.response().body == b"last"
    up.until(lambda p: p.peer.end, "the end of the connection")
    assert up.goaway is not None


def test_the_upstream_starts_again_under_load(gateway: Gateway, upstream: Upstream) -> None:
    clients = [gateway.client().send(GET) for _ in range(30)]
    for _ in range(3):
        up = accept(gateway, upstream)
        up.until(lambda p: len(p.requests) >= 30, "30 requests")
        for stream in up.streams(30):
            up.answer(stream, b"x")
        assert {client.response().status for client in clients} == {200}
        up.peer.close()
        for client in clients:
            client.send(GET)
    up = accept(gateway, upstream)
    for stream in up.streams(30):
        up.answer(stream)
    assert {client.response().status for client in clients} == {200}


def test_protocols_of_two_clusters_do_not_mix(gateway: Gateway, upstream: Upstream) -> None:
    client, up, stream = asked(gateway, upstream)
    up.answer(stream)
    assert client.response().status == 200
    gateway.serve(upstream)
    client.send(GET)
    plain = upstream.accept(gateway)
    plain.request()
    plain.send(OK)
    assert client.response().body == b"ok"
