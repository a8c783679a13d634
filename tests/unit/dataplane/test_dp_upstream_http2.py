"""HTTP/2 towards upstreams: requests and answers of HTTP/1 clients, one after the other and many at once."""

from __future__ import annotations

from collections.abc import Iterator

import h2.settings
import pytest
from dataplane_support import GET, Gateway, Peer, Upstream, post
from http2_upstream_support import OK, Headers, accept, frame

from fastgw.dataplane import upstream_http2

Codes = h2.settings.SettingCodes


@pytest.fixture
def upstream(gateway: Gateway) -> Upstream:
    upstream = gateway.upstream()
    gateway.serve(upstream, protocol="http2")
    return upstream


def clients(gateway: Gateway, count: int) -> list[Peer]:
    return [gateway.client().send(f"GET /{i} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode()) for i in range(count)]


def test_a_request_and_its_answer(gateway: Gateway, upstream: Upstream) -> None:
    client = gateway.client().send(b"GET /a?b=c HTTP/1.1\r\nHost: a.test\r\nX-One: 1\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n")
    up = accept(gateway, upstream)
    stream, request = up.request()
    assert request.names == [
        ":method", ":scheme", ":authority", ":path", "x-one", "x-forwarded-for", "x-forwarded-proto",
        "x-envoy-external-address", "x-request-id", "x-envoy-attempt-count", "cookie",
    ]  # fmt: skip
    assert [request[n] for n in (":method", ":scheme", ":authority", ":path", "cookie")] == [
        "GET", "http", "a.test", "/a?b=c", "a=1; b=2",
    ]  # fmt: skip
    up.answer(stream, b"hello", [*OK, ("content-length", "5"), ("x-up", "y")])
    answer = client.response()
    assert (answer.status, answer.body, answer["content-length"], answer["x-up"]) == (200, b"hello", "5", "y")


def test_secrets_and_ids_stay_out_of_the_table(gateway: Gateway, upstream: Upstream) -> None:
    gateway.client().send(b"GET / HTTP/1.1\r\nHost: a.test\r\nCookie: a=1\r\nAuthorization: x\r\nX-One: 1\r\n\r\n")
    stream, request = (up := accept(gateway, upstream)).request()
    kept_out = {field[0] for field in request.headers if not field.indexable}  # type: ignore[attr-defined]
    assert kept_out == {"cookie", "authorization", "x-request-id"}
    up.answer(stream, b"")


@pytest.mark.parametrize("size", [0, 1, 65536, 1 << 20])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_bodies_both_ways(gateway: Gateway, upstream: Upstream, framing: str, size: int) -> None:
    body = bytes(i % 251 for i in range(size))
    client = gateway.client()
    if framing == "length":
        client.send(post(size))
    else:
        client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
    up = accept(gateway, upstream)
    up.head()
    view = memoryview(body if framing == "length" else (b"%x\r\n%b\r\n" % (size, body) if size else b"") + b"0\r\n\r\n")
    while view:
        view = view[client.try_send(view[:65536]) :]
        gateway.turn()
        up.poll()
    stream, request = up.request()
    assert bytes(request.body) == body
    assert ("content-length" in request.names) is (framing == "length")
    up.answer(stream, body, [*OK, ("content-length", str(size))] if framing == "length" else OK)
    assert client.response().body == body


RESPONSES: dict[str, tuple[str, Headers, bytes, Headers | None, tuple[int, bytes, list[str], list[str]]]] = {
    # name: (method, headers, body, trailers, (status, body, content-length, transfer-encoding))
    "length": ("GET", [*OK, ("content-length", "2")], b"ok", None, (200, b"ok", ["2"], [])),
    "open": ("GET", OK, b"ok", None, (200, b"ok", [], ["chunked"])),
    "empty": ("GET", OK, b"", None, (200, b"", ["0"], [])),
    "head": ("HEAD", [*OK, ("content-length", "99")], b"", None, (200, b"", ["99"], [])),
    "head-open": ("HEAD", OK, b"", None, (200, b"", [], [])),
    "no-content": ("GET", [(":status", "204")], b"", None, (204, b"", [], [])),
    "not-modified": ("GET", [(":status", "304"), ("content-length", "7")], b"", None, (304, b"", ["7"], [])),
    "trailers": ("GET", OK, b"ok", [("x-sum", "1")], (200, b"ok", [], ["chunked"])),
}


@pytest.mark.parametrize("name", RESPONSES)
def test_what_the_client_is_told_of_framing(gateway: Gateway, upstream: Upstream, name: str) -> None:
    method, headers, body, trailers, expected = RESPONSES[name]
    client = gateway.client().send(f"{method} / HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
    up = accept(gateway, upstream)
    up.answer(up.request()[0], body, headers, trailers)
    answer = client.response(method)
    assert (answer.status, answer.body, answer.values("content-length"), answer.values("transfer-encoding")) == expected
    client.send(GET)
    up.answer(up.request()[0], b"again")
    assert client.response().body == b"again"
    assert gateway.counter("FGW_C_UPSTREAM_CONNECTS") == 1


def test_interim_answers(gateway: Gateway, upstream: Upstream) -> None:
    client = gateway.client().send(GET)
    up = accept(gateway, upstream)
    stream, _ = up.request()
    up.h2.send_headers(stream, [(":status", "103"), ("link", "</a>")])
    up.answer(stream, b"ok")
    assert [client.response().status for _ in range(2)] == [103, 200]


def test_expect_is_answered_here(gateway: Gateway, upstream: Upstream) -> None:
    client = gateway.client().send(post(4, extra="Expect: 100-continue\r\n"))
    up = accept(gateway, upstream)
    assert client.response().status == 100
    client.send(b"body")
    stream, request = up.request()
    assert "expect" not in request.names and bytes(request.body) == b"body"
    up.answer(stream)
    assert client.response().status == 200


def pieces_of(data: bytes) -> Iterator[list[bytes]]:
    yield [data]
    for i in range(1, len(data)):
        yield [data[:i], data[i:]]
    yield [data[i : i + 1] for i in range(len(data))]


def test_answers_arrive_the_same_however_they_are_cut(gateway: Gateway, upstream: Upstream) -> None:
    """Interim, head, body in two frames, trailers, with a PING and a SETTINGS frame in between."""
    client = gateway.client().send(GET)
    up = accept(gateway, upstream)
    first: list[object] = []
    count = 0

    def answer(stream: int) -> bytes:
        up.h2.send_headers(stream, [(":status", "103"), ("link", "</a>")])
        up.h2.ping(b"12345678")
        up.h2.send_headers(stream, [*OK, ("x-a", "1" * 40)])
        up.h2.send_data(stream, b"hello ")
        up.h2.update_settings({Codes.MAX_CONCURRENT_STREAMS: 100})
        up.h2.send_data(stream, b"world")
        up.h2.send_headers(stream, [("x-t", "1")], end_stream=True)
        return bytes(up.h2.data_to_send())

    stream, _ = up.request()
    wire = answer(stream)
    while True:
        length = len(wire)
        pieces = list(pieces_of(wire))[count] if count <= length else None
        if pieces is None:
            break
        for piece in pieces:
            up.peer.send(piece)
        messages = [client.response(), client.response()]
        stable = [m.stable() for m in messages]
        assert (messages[0].status, messages[1].body) == (103, b"hello world")
        assert (first or stable) == stable
        first = stable
        count += 1
        client.send(GET)
        stream, _ = up.request()
        wire = answer(stream)
        if count > len(wire):
            break
    up.peer.send(wire)
    assert gateway.counter("FGW_C_UPSTREAM_CONNECTS") == 1


def test_many_at_once_share_a_connection(gateway: Gateway, upstream: Upstream) -> None:
    all_clients = clients(gateway, 100)
    up = accept(gateway, upstream)
    for stream in reversed(up.streams(100)):
        up.answer(stream, up.requests[stream][":path"].encode())
    for i, client in enumerate(all_clients):
        assert client.response().body == f"/{i}".encode()
    assert gateway.counter("FGW_C_UPSTREAM_CONNECTS") == 1
    assert gateway.pool.idle == 1


def test_more_than_a_connection_takes(gateway: Gateway, upstream: Upstream) -> None:
    all_clients = clients(gateway, 150)
    ups = [accept(gateway, upstream), accept(gateway, upstream)]
    gateway.until(lambda: sum(len(up.poll().requests) for up in ups) == 150)
    assert [len(up.requests) for up in ups] == [100, 50]
    for up in ups:
        for stream in list(up.requests):
            up.answer(stream)
    assert {client.response().status for client in all_clients} == {200}


def test_the_upstreams_limit_of_streams(gateway: Gateway, upstream: Upstream) -> None:
    """Known before the requests come: as many connections as are needed, one stream each."""
    client = gateway.client().send(GET)
    first = accept(gateway, upstream, {Codes.MAX_CONCURRENT_STREAMS: 1})
    first.answer(first.request()[0])
    assert client.response().status == 200
    all_clients = clients(gateway, 3)
    ups = [first]
    while len(ups) < 3:
        ups.append(accept(gateway, upstream, {Codes.MAX_CONCURRENT_STREAMS: 1}))
    gateway.until(lambda: sum(len(up.poll().requests) for up in ups) == 3)
    assert [len(up.requests) for up in ups] == [1, 1, 1]
    for up in ups:
        up.answer(up.request()[0])
    assert {client.response().status for client in all_clients} == {200}


def test_the_own_limit_of_streams(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream, protocol="http2", max_streams=2)
    all_clients = clients(gateway, 5)
    ups = [accept(gateway, upstream) for _ in range(3)]
    gateway.until(lambda: sum(len(up.poll().requests) for up in ups) == 5)
    assert sorted(len(up.requests) for up in ups) == [1, 2, 2]
    for up in ups:
        for stream in list(up.requests):
            up.answer(stream)
    assert {client.response().status for client in all_clients} == {200}


def test_a_limit_that_is_lowered_and_raised(gateway: Gateway, upstream: Upstream) -> None:
    all_clients = clients(gateway, 2)
    up = accept(gateway, upstream)
    streams = up.streams(2)
    up.h2.update_settings({Codes.MAX_CONCURRENT_STREAMS: 2})
    up.flush()
    all_clients += clients(gateway, 1)
    other = accept(gateway, upstream)
    other.answer(other.request()[0])
    up.h2.update_settings({Codes.MAX_CONCURRENT_STREAMS: 50})
    up.flush()
    for stream in streams:
        up.answer(stream)
    assert {client.response().status for client in all_clients} == {200}


def test_connections_to_an_endpoint_are_bounded(gateway: Gateway) -> None:
    """Requests beyond that wait until a stream ends."""
    upstream = gateway.upstream(backlog=256)
    gateway.serve(upstream, protocol="http2", max_streams=1)
    all_clients = clients(gateway, 66)
    ups = [accept(gateway, upstream) for _ in range(64)]
    assert not upstream.has_connection(gateway)
    for _ in range(2):
        gateway.until(lambda: all(up.poll().requests for up in ups[:2]))
        for up in ups[:2]:
            up.answer(up.request()[0])
    for up in ups[2:]:
        up.answer(up.request()[0])
    assert {client.response().status for client in all_clients} == {200}


def test_no_room_for_too_long(gateway: Gateway) -> None:
    upstream = gateway.upstream(backlog=256)
    gateway.serve(upstream, protocol="http2", max_streams=1, connect_timeout_ms=1000)
    busy = clients(gateway, 64)
    ups = [accept(gateway, upstream) for _ in range(64)]
    late = gateway.client().send(GET)
    gateway.pass_ms(5000)
    assert late.response().status == 503
    for up in ups:
        up.answer(up.request()[0])
    assert {client.response().status for client in busy} == {200}


def test_stream_ids_run_out(gateway: Gateway, upstream: Upstream) -> None:
    upstream_http2.begin_stream_ids_at(0x7FFFFFF0 - 1)
    try:
        client = gateway.client().send(GET)
        up = accept(gateway, upstream)
        up.answer(up.request()[0], b"1")
        assert client.response().body == b"1"
        client.send(GET)
        up.answer(up.request()[0], b"2")
        assert client.response().body == b"2"
        up.until(lambda p: p.peer.end, "the end of the connection")
        assert up.goaway is not None
    finally:
        upstream_http2.begin_stream_ids_at(1)
    client.send(GET)
    up = accept(gateway, upstream)
    up.answer(up.request()[0], b"3")
    assert client.response().body == b"3"


def test_streams_are_used_again(gateway: Gateway, upstream: Upstream) -> None:
    """No object is made for a request when there was one before."""
    client = gateway.client()
    up = None
    for _ in range(20):
        client.send(GET)
        up = up or accept(gateway, upstream)
        up.answer(up.request()[0], b"ok")
        assert client.response().body == b"ok"
    assert gateway.pool.spare_streams == 1


def test_unknown_frames_and_a_flood_of_settings(gateway: Gateway, upstream: Upstream) -> None:
    client = gateway.client().send(GET)
    up = accept(gateway, upstream)
    stream, _ = up.request()
    up.raw(frame(0xBE, 0, stream, b"what") * 3)
    for i in range(50):
        up.h2.update_settings({Codes.INITIAL_WINDOW_SIZE: 60000 + i, Codes.MAX_CONCURRENT_STREAMS: 10 + i})
    up.flush()
    up.answer(stream, b"ok")
    assert client.response().body == b"ok"
