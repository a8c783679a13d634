"""HTTP/2 clients: what an upstream sees of their requests, and they of its answers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest
from dataplane_support import GET, OK, Gateway
from h2_support import H2Peer, serve
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from wire import h2

HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


def test_a_request_and_its_answer(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(h2.headers(1, h2.head("GET", "/a?b=c", ("x-one", "1"), ("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers"))))
    seen = serve(upstream.accept(gateway))
    assert seen.start == "GET /a?b=c HTTP/1.1"
    assert (seen["host"], seen["x-one"], seen["cookie"]) == ("a.test", "1", "a=1; b=2")
    assert not {"content-length", "transfer-encoding", "connection"} & {name for name, _ in seen.fields}
    stream = client.stream()
    assert (stream.status, stream.body, stream.end) == (200, b"ok", "end")
    assert [name for name, _ in stream.heads[0]] == [
        ":status", "content-length", "date", "x-envoy-upstream-service-time", "server",
    ]  # fmt: skip
    assert [f.kind for f in stream.frames] == [h2.HEADERS, h2.DATA]
    assert client.seen.settings == {h2.MAX_CONCURRENT_STREAMS: 100, h2.MAX_HEADER_LIST_SIZE: 61440, 9: 1}


def test_what_does_not_come_again_stays_out_of_the_table(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    up = None
    for number in (1, 3):
        client.send(h2.headers(number, h2.head("GET", "/")))
        up = up or upstream.accept(gateway)
        serve(up)
        block = client.stream(number).frames[0].payload
        name = bytes(HUFFMAN.encode(b"x-envoy-upstream-service-time"))
        assert bytes([0x10, 0x80 | len(name)]) + name in block


BODIES: dict[str, tuple[bytes, bytes]] = {
    "none": (h2.headers(1, h2.head("POST", "/p")), b""),
    "length": (
        h2.headers(1, h2.head("POST", "/p", ("content-length", "11")), end=False) + h2.data(1, b"hello world", end=True),
        b"hello world",
    ),
    "open": (
        h2.headers(1, h2.head("POST", "/p"), end=False) + h2.data(1, b"hello ") + h2.data(1, b"world") + h2.data(1, end=True),
        b"hello world",
    ),
    "padded": (
        h2.headers(1, h2.head("POST", "/p"), end=False)
        + h2.frame(h2.DATA, h2.PADDED | h2.END_STREAM, 1, b"\x04hello world" + bytes(4)),
        b"hello world",
    ),
    "empty": (h2.headers(1, h2.head("POST", "/p"), end=False) + h2.data(1, end=True), b""),
    "trailers": (
        h2.headers(1, h2.head("POST", "/p"), end=False) + h2.data(1, b"hello world") + h2.headers(1, [("x-t", "1")]),
        b"hello world",
    ),
    "continuation": (
        h2.headers(1, h2.head("POST", "/p")[:2], end=True, flags=0)
        + h2.frame(h2.CONTINUATION, 0, 1, h2.block(h2.head("POST", "/p")[2:3]))
        + h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, h2.block(h2.head("POST", "/p")[3:])),
        b"",
    ),
}


def splits(data: bytes) -> Iterator[list[bytes]]:
    """Cut once at every place, and byte by byte."""
    for i in range(1, len(data)):
        yield [data[:i], data[i:]]
    yield [data[i : i + 1] for i in range(len(data))]


@pytest.mark.parametrize("name", BODIES)
def test_requests_arrive_the_same_however_they_are_cut(gateway: Gateway, name: str) -> None:
    data, body = BODIES[name]
    upstream = gateway.upstream()
    gateway.serve(upstream)
    up = None
    for pieces in splits(h2.hello() + data):
        client = H2Peer(gateway, hello=b"")
        for piece in pieces:
            client.peer.sock.send(piece)
            gateway.turn()
        up = up or upstream.accept(gateway)
        seen = serve(up)
        assert (seen.start, seen.body, seen.whole) == ("POST /p HTTP/1.1", body, True)
        stream = client.stream()
        assert (stream.status, stream.body, stream.end) == (200, b"ok", "end")
        client.peer.close()


def test_both_protocols_on_one_port(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    one, other = H2Peer(gateway), gateway.client()
    one.send(h2.headers(1, h2.head()))
    serve(up := upstream.accept(gateway))
    assert one.stream().status == 200
    other.send(GET)
    serve(up)
    assert other.response().status == 200


ANSWERS: dict[str, tuple[str, bytes, int, bytes, list[int]]] = {
    "length": ("GET", OK, 200, b"ok", [h2.HEADERS, h2.DATA]),
    "chunked": (
        "GET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        200,
        b"ok",
        [h2.HEADERS, h2.DATA],
    ),
    "head": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n", 200, b"", [h2.HEADERS]),
    "204": ("GET", b"HTTP/1.1 204 X\r\n\r\n", 204, b"", [h2.HEADERS]),
    "304": ("GET", b"HTTP/1.1 304 X\r\nContent-Length: 77\r\n\r\n", 304, b"", [h2.HEADERS]),
    "empty": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"", [h2.HEADERS]),
    "early hints": ("GET", b"HTTP/1.1 103 X\r\nLink: a\r\n\r\n" + OK, 200, b"ok", [h2.HEADERS, h2.HEADERS, h2.DATA]),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(gateway: Gateway, name: str) -> None:
    method, answer, status, body, kinds = ANSWERS[name]
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(h2.headers(1, h2.head(method)))
    serve(upstream.accept(gateway), answer)
    stream = client.stream()
    assert (stream.status, stream.body, [f.kind for f in stream.frames]) == (status, body, kinds)
    assert stream.frames[-1].flags & h2.END_STREAM
    if name in ("head", "304"):
        assert stream.fields["content-length"] == "77"


def test_no_connection_fields_come_through(gateway: Gateway) -> None:
    """X12, X13: names in lower case, nothing that is about a connection."""
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(h2.headers(1, h2.head()))
    serve(
        upstream.accept(gateway),
        b"HTTP/1.1 200 OK\r\nX-UPPER: Case\r\nConnection: x-listed\r\nX-Listed: 1\r\nKeep-Alive: 1\r\nUpgrade: h2c\r\n"
        b"Proxy-Connection: x\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n0\r\n\r\n",
    )
    names = [name for name, _ in client.stream().heads[0]]
    assert names == [":status", "x-upper", "set-cookie", "set-cookie", "date", "x-envoy-upstream-service-time", "server"]


def test_a_malformed_answer_is_502(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(h2.headers(1, h2.head()))
    serve(upstream.accept(gateway), b"HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 0\r\n\r\n")
    assert client.stream().status == 502


def test_an_answer_that_breaks_off_is_a_reset(gateway: Gateway) -> None:
    """X14"""
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(h2.headers(1, h2.head()))
    up = upstream.accept(gateway)
    up.request()
    up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    client.until(lambda seen: seen.streams[1].status == 200)
    up.close()
    assert client.stream().end == "INTERNAL"


def test_a_client_reset_reaches_the_upstream(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(h2.headers(1, h2.head()))
    up = upstream.accept(gateway)
    up.request()
    client.send(h2.rst_stream(1))
    assert up.until_end() == "reset"


def test_continue_is_sent_when_the_upstream_is_there(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(h2.headers(1, h2.head("PUT", "/", ("expect", "100-continue"), ("content-length", "4")), end=False))
    up = upstream.accept(gateway)
    client.until(lambda seen: 1 in seen.streams and len(seen.streams[1].heads) == 1)
    assert client.seen.streams[1].heads[0] == [(":status", "100")]
    client.send(h2.data(1, b"body", end=True))
    assert serve(up).body == b"body"
    assert client.stream().status == 200


def test_a_body_that_nobody_wants_is_stopped(gateway: Gateway) -> None:
    """RFC 9113 section 8.1: the whole answer, then RST_STREAM(NO_ERROR)."""
    gateway.serve(1)
    client = H2Peer(gateway)
    client.send(h2.headers(1, h2.head("POST", "/"), end=False), h2.data(1, b"some"))
    client.until(lambda seen: any(f.kind == h2.RST_STREAM for f in seen.frames))
    stream = client.seen.streams[1]
    assert (stream.status, stream.end, stream.frames[-1].code) == (503, "end", "NO_ERROR")
    client.send(h2.data(1, b"more"), h2.headers(3, h2.head()))
    assert client.stream(3).status == 503
    assert client.seen.goaway == ""


@pytest.mark.parametrize(
    ("length", "frames", "reached"),
    [
        (10, [b"hello", b""], True),
        (4, [b"hello", b""], False),
        (0, [b"a", b""], True),
    ],
)
def test_length_and_data_must_agree(gateway: Gateway, length: int, frames: list[bytes], reached: bool) -> None:
    """F13: the upstream sees an aborted request, or none of the bytes that are too many."""
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(h2.headers(1, h2.head("POST", "/", ("content-length", str(length))), end=False))
    up = upstream.accept(gateway)
    client.send(*(h2.data(1, body, end=not body) for body in frames))
    assert client.stream().end == "PROTOCOL"
    assert up.until_end() == "reset"
    assert b"\r\n\r\n" in up.data and (reached or not up.data.endswith(b"hello"))
    assert gateway.rejected() == {"h2_body_length": 1}


def test_trailers_that_cut_the_body_short(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(h2.headers(1, h2.head("POST", "/", ("content-length", "9")), end=False))
    up = upstream.accept(gateway)
    client.send(h2.data(1, b"half"), h2.headers(1, [("x-t", "1")]))
    assert client.stream().end == "PROTOCOL"
    assert up.until_end() == "reset"


BAD_TRAILERS: dict[str, tuple[bytes, str]] = {
    "pseudo": (h2.headers(1, [(":path", "/x")]), "h2_pseudo_header"),
    "open": (h2.headers(1, [("x-t", "1")], end=False), "h2_trailers_open"),
    "te": (h2.headers(1, [("te", "trailers")]), "h2_connection_field"),
    "upper": (h2.headers(1, [("X-T", "1")]), "h2_upper_case_name"),
}


@pytest.mark.parametrize("name", BAD_TRAILERS)
def test_malformed_trailers(gateway: Gateway, name: str) -> None:
    data, reason = BAD_TRAILERS[name]
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(h2.headers(1, h2.head("POST", "/"), end=False))
    up = upstream.accept(gateway)
    client.send(h2.data(1, b"half"), data)
    assert client.stream().end == "PROTOCOL"
    assert up.until_end() == "reset"
    assert gateway.rejected() == {reason: 1}


def test_streams_over_the_limit_are_refused(gateway: Gateway) -> None:
    upstream = gateway.upstream(backlog=256)
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(*(h2.headers(2 * i + 1, h2.head("POST", "/"), end=False) for i in range(120)))
    client.until(lambda seen: sum(s.end == "REFUSED" for s in seen.streams.values()) == 20)
    client.send(*(h2.data(2 * i + 1, b"x", end=True) for i in range(120)))  # those of the refused ones may be on their way
    ups = [upstream.accept(gateway) for _ in range(100)]
    for up in ups:
        serve(up)
    client.until(lambda seen: sum(s.end == "end" for s in seen.streams.values()) == 100)
    assert client.seen.goaway == ""


def test_the_window_opens_as_the_upstream_takes(gateway: Gateway) -> None:
    """A stream holds at most its window; the connection goes on."""
    upstream = gateway.upstream(receive_bytes=4096)
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(h2.headers(1, h2.head("POST", "/"), end=False))
    up = upstream.accept(gateway)
    sent = given = 0
    while True:
        room = 65535 + given - sent
        if room < 1000:
            break
        client.send(h2.data(1, bytes(1000)))
        sent += 1000
        given = sum(f.number for f in client.settled().frames if f.kind == h2.WINDOW_UPDATE and f.stream == 1)
        assert sent < 20_000_000
    held = sent - given
    assert held <= 65535
    while given < sent - 40000:
        up.poll()
        gateway.settle()
        given = sum(f.number for f in client.settled().frames if f.kind == h2.WINDOW_UPDATE and f.stream == 1)
    client.send(h2.rst_stream(1))


def test_a_slow_reader_stops_the_upstream(gateway: Gateway) -> None:
    """Of an answer that the client does not let come, a bounded part is read."""
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway, hello=h2.hello({h2.INITIAL_WINDOW_SIZE: 0}))
    client.send(h2.headers(1, h2.head()), h2.headers(3, h2.head()))
    up, fast = upstream.accept(gateway), upstream.accept(gateway)
    up.request()
    up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
    quiet = total = 0
    while quiet < 10:
        gateway.settle()
        n = up.try_send(bytes(65536))
        total += n
        quiet = 0 if n else quiet + 1
    assert gateway.alive()["buffer_bytes"] <= 131072
    serve(fast)
    client.send(h2.window_update(3, 100))
    assert client.stream(3).body == b"ok"
    client.send(h2.window_update(1, 20_000_000), h2.window_update(0, 20_000_000))
    while total < 10_000_000:
        total += up.try_send(bytes(min(65536, 10_000_000 - total)))
        client.settled()
    stream = client.stream(1)
    assert (len(stream.body), stream.end) == (10_000_000, "end")
    assert max(len(f.payload) for f in stream.frames) <= 16384


def test_a_large_answer_is_whole(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(
        gateway, hello=h2.hello({h2.INITIAL_WINDOW_SIZE: 1 << 30, h2.MAX_FRAME_SIZE: (1 << 24) - 1}) + h2.window_update(0, 1 << 30)
    )
    client.send(h2.headers(1, h2.head()))
    up = upstream.accept(gateway)
    up.request()
    body = bytes(range(256)) * 8192
    up.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
    at = 0
    while at < len(body):
        at += up.try_send(body[at : at + 100000])
        client.settled()
    stream = client.stream()
    assert stream.body == body
    assert max(len(f.payload) for f in stream.frames) <= 16384


@pytest.mark.parametrize("close", ["fin", "reset"])
def test_a_client_that_goes_away_leaves_nothing(gateway: Gateway, close: str) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(h2.headers(1, h2.head()), h2.headers(3, h2.head("POST", "/"), end=False), h2.data(3, b"x"))
    ups = [upstream.accept(gateway), upstream.accept(gateway)]
    client.peer.close() if close == "fin" else client.peer.reset()
    for up in ups:
        up.until_end()


def test_drain_says_goaway_twice_and_loses_nothing(gateway: Gateway) -> None:
    """F15, X15"""
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(h2.headers(1, h2.head()))
    up = upstream.accept(gateway)
    up.request()
    gateway.context.set_draining()
    gateway.server.drain()
    client.until(lambda seen: len(seen.goaways) == 1)
    assert (client.seen.goaways[0].number, client.seen.goaway) == (2**31 - 1, "NO_ERROR")
    client.send(h2.headers(3, h2.head("GET", "/late")))  # it was on its way
    late = upstream.accept(gateway)
    assert late.request().start == "GET /late HTTP/1.1"
    ping = next(f for f in client.seen.frames if f.kind == h2.PING)
    client.send(h2.frame(h2.PING, h2.ACK, 0, ping.payload))
    client.until(lambda seen: len(seen.goaways) == 2)
    assert client.seen.goaways[1].number == 3
    up.send(OK)
    late.send(OK)
    assert [client.stream(n).body for n in (1, 3)] == [b"ok", b"ok"]
    assert client.until_end() == "fin"


def test_a_client_of_http2_hears_at_once_of_a_drain_that_is_patient(gateway: Gateway) -> None:
    """Nothing can be lost by a notice. To HTTP/1 there is nothing to say but the end: a connection that is idle stays, and what it
    brings is answered."""
    upstream = gateway.upstream()
    gateway.serve(upstream)
    plain = gateway.client().send(GET)
    serve(up := upstream.accept(gateway))
    assert plain.response().status == 200
    client = H2Peer(gateway)
    client.send(h2.headers(1, h2.head()))
    up.request()
    gateway.context.set_draining()
    gateway.server.forewarn()
    client.until(lambda seen: len(seen.goaways) == 1)
    assert (client.seen.goaways[0].number, client.seen.goaway) == (2**31 - 1, "NO_ERROR")
    up.send(OK)
    assert client.stream(1).body == b"ok"
    plain.send(GET)
    serve(upstream.accept(gateway))
    answer = plain.response()
    assert (answer.status, answer["connection"]) == (200, "close")
    gateway.server.forewarn()
    gateway.server.drain()
    assert len(client.settled().goaways) == 1, "it is said once"


def test_a_client_that_does_not_answer_our_ping_is_told_after_a_second(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits={"max_requests_per_connection": 2})
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(h2.headers(1, h2.head()))
    serve(up := upstream.accept(gateway))
    assert client.stream().status == 200 and not client.seen.goaways
    client.send(h2.headers(3, h2.head()))
    serve(up)
    assert client.stream(3).status == 200 and len(client.seen.goaways) == 1
    gateway.pass_ms(1200)
    assert client.until_end() == "fin"
    assert [f.number for f in client.seen.goaways] == [2**31 - 1, 3]


def test_a_client_says_goaway(gateway: Gateway) -> None:
    """X8: what is under way ends, nothing new begins."""
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(h2.headers(1, h2.head("POST", "/"), end=False), h2.frame(h2.GOAWAY, 0, 0, bytes(8)))
    up = upstream.accept(gateway)
    client.send(h2.headers(3, h2.head()), h2.data(1, b"rest", end=True))
    assert client.stream(3).end == "REFUSED"
    assert serve(up).body == b"rest"
    assert client.stream().status == 200
    assert client.until_end() == "fin"


def test_requests_without_end_in_one_turn(gateway: Gateway) -> None:
    """F16: all are served, but not before others had their turn."""
    gateway.serve()
    client = H2Peer(gateway)
    client.peer.sock.send(b"".join(h2.headers(2 * i + 1, h2.head()) for i in range(90)))
    gateway.turn()
    assert gateway.counter("FGW_C_CLIENT_REQUESTS") <= 33
    client.until(lambda seen: sum(s.end == "end" for s in seen.streams.values()) == 90)
    assert {s.status for n, s in client.seen.streams.items()} == {503}


def test_pings_are_answered(gateway: Gateway) -> None:
    client = H2Peer(gateway)
    client.send(h2.frame(h2.PING, 0, 0, b"12345678"))
    assert client.until(lambda seen: bool(seen.pongs)).pongs == [b"12345678"]


def test_window_of_a_stream_changed_by_settings(gateway: Gateway) -> None:
    """X6 and RFC 9113 section 6.9.2: too large a window. The library ends the stream, not the connection."""
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(h2.headers(1, h2.head()))
    upstream.accept(gateway)
    client.send(h2.window_update(1, 2**31 - 1 - 65535), h2.settings({h2.INITIAL_WINDOW_SIZE: 65536}))
    assert client.stream().end == "FLOW_CONTROL"


def test_priority_frames_are_ignored(gateway: Gateway) -> None:
    gateway.serve()
    client = H2Peer(gateway)
    client.send(h2.frame(h2.PRIORITY, 0, 5, struct.pack(">IB", 5, 1)), h2.headers(1, h2.head()))
    assert client.stream().status == 503
