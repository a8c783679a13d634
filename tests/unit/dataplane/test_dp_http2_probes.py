"""Probes of HTTP/2: malformed messages, broken frames, floods; each says what becomes of the stream or the connection."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

import pytest
from dataplane_support import Gateway
from h2_support import H2Peer, serve
from wire import Case, h2, load

from fastgw.image.layout import ffi, lib

REASONS = {ffi.string(lib.fgw_reason_name(code)).decode(): code for code in range(lib.FGW_R_COUNT)}
GET = h2.headers(1, h2.head())
OPEN = h2.headers(1, h2.head("POST", "/"), end=False)


@pytest.mark.parametrize("case", load("h2_requests"), ids=lambda c: c.id)
def test_requests(gateway: Gateway, case: Case) -> None:
    """What the rules refuse reaches no upstream: a malformed message resets its stream, another one is answered."""
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    open_body = case.data[:1] == b"+"
    client.send(h2.long_headers(1, h2.fields_of(case.data), end=not open_body))
    if case.verdict == "ok":
        if open_body:
            client.send(h2.data(1, b"hello", end=True))
        assert serve(upstream.accept(gateway)).whole
        assert client.stream().status == 200
        return
    if case.id == "name-long":  # longer than the library decodes
        assert client.until(lambda seen: bool(seen.goaways)).goaway == "COMPRESSION"
        return
    code = REASONS[case.verdict]
    stream = client.stream()
    if lib.fgw_h2_malformed(code):
        assert (stream.heads, stream.end) == ([], "PROTOCOL")
    else:
        assert (stream.status, stream.end) == (lib.fgw_reason_status(code), "end")
    assert gateway.rejected() == {case.verdict: 1}
    assert not upstream.has_connection(gateway)
    client.send(h2.headers(3, h2.head()))  # the connection, and its compression, go on
    serve(upstream.accept(gateway))
    assert client.stream(3).status == 200


class Probe(NamedTuple):
    """Bytes behind the client's greeting, and what comes of them: the code of GOAWAY, or of stream 1's end (a status or a code)."""

    data: bytes
    goaway: str = ""
    stream: str = ""
    hello: bytes = h2.hello()


def increment(n: int) -> bytes:
    return struct.pack(">I", n)


CUT = h2.block(h2.head())
PROBES: dict[str, Probe] = {
    "even-stream": Probe(h2.headers(2, h2.head()), "PROTOCOL"),
    "stream0-headers": Probe(h2.headers(0, h2.head()), "PROTOCOL"),
    "lower-id": Probe(h2.headers(5, h2.head()) + h2.headers(3, h2.head()), "STREAM_CLOSED"),
    "data-idle": Probe(h2.data(1, b"x"), "PROTOCOL"),
    "data-stream0": Probe(h2.data(0, b"x"), "PROTOCOL"),
    "rst-idle": Probe(h2.rst_stream(1), "PROTOCOL"),
    "wu-idle": Probe(h2.window_update(1, 1), "PROTOCOL"),
    "wu-zero-conn": Probe(h2.window_update(0, 0), "PROTOCOL"),
    "wu-zero-stream": Probe(OPEN + h2.window_update(1, 0), "PROTOCOL"),
    "wu-overflow-conn": Probe(h2.window_update(0, 2**31 - 1), "FLOW_CONTROL"),
    "wu-overflow-stream": Probe(OPEN + h2.window_update(1, 2**31 - 1), stream="FLOW_CONTROL"),
    "wu-length": Probe(h2.frame(h2.WINDOW_UPDATE, 0, 0, b"abc"), "FRAME_SIZE"),
    "prio-self": Probe(h2.frame(h2.PRIORITY, 0, 1, struct.pack(">IB", 1, 1)) + GET, stream="503"),
    "prio-length": Probe(h2.frame(h2.PRIORITY, 0, 1, b"abcd"), "FRAME_SIZE"),
    "push": Probe(h2.frame(h2.PUSH_PROMISE, h2.END_HEADERS, 1, increment(2) + CUT), "PROTOCOL"),
    "settings-ack-payload": Probe(h2.frame(h2.SETTINGS, h2.ACK, 0, bytes(6)), "FRAME_SIZE"),
    "settings-length": Probe(h2.frame(h2.SETTINGS, 0, 0, bytes(5)), "FRAME_SIZE"),
    "settings-stream": Probe(h2.frame(h2.SETTINGS, 0, 1, bytes(6)), "PROTOCOL"),
    "settings-push2": Probe(h2.settings({h2.ENABLE_PUSH: 2}), "PROTOCOL"),
    "settings-window": Probe(h2.settings({h2.INITIAL_WINDOW_SIZE: 2**31}), "FLOW_CONTROL"),
    "settings-frame": Probe(h2.settings({h2.MAX_FRAME_SIZE: 16383}), "PROTOCOL"),
    "settings-unknown": Probe(h2.settings({0x4242: 1}) + GET, stream="503"),
    "ping-length": Probe(h2.frame(h2.PING, 0, 0, bytes(7)), "FRAME_SIZE"),
    "ping-stream": Probe(h2.frame(h2.PING, 0, 1, bytes(8)), "PROTOCOL"),
    "goaway-stream": Probe(h2.frame(h2.GOAWAY, 0, 1, bytes(8)), "PROTOCOL"),
    "unknown": Probe(h2.frame(0x42, 0x42, 0, b"anything") + GET, stream="503"),
    "too-big": Probe(OPEN + h2.data(1, bytes(16385)), "FRAME_SIZE"),
    "headers-17k": Probe(h2.headers(1, h2.head("GET", "/", ("x", "y" * 17000))), "FRAME_SIZE"),
    "data-pad": Probe(OPEN + h2.frame(h2.DATA, h2.PADDED, 1, b"\x0aabc"), "PROTOCOL"),
    "headers-pad": Probe(h2.frame(h2.HEADERS, h2.PADDED | h2.END_HEADERS, 1, b"\xff" + CUT), "PROTOCOL"),
    "cont-alone": Probe(h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, CUT), "PROTOCOL"),
    "cont-other": Probe(h2.headers(1, h2.head(), flags=0) + h2.frame(h2.CONTINUATION, h2.END_HEADERS, 3, b""), "PROTOCOL"),
    "cont-interleave": Probe(h2.headers(1, h2.head(), flags=0) + h2.frame(h2.PING, 0, 0, bytes(8)), "PROTOCOL"),
    "cont-8": Probe(
        h2.headers(1, h2.head(), flags=0)
        + b"".join(h2.frame(h2.CONTINUATION, 0, 1, h2.block([("x", "y")])) for _ in range(7))
        + h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1),
        stream="503",
    ),
    "cont-9": Probe(
        h2.headers(1, h2.head(), flags=0) + b"".join(h2.frame(h2.CONTINUATION, 0, 1, h2.block([("x", "y")])) for _ in range(9)),
        "ENHANCE_CALM",
    ),
    "cont-20-empty": Probe(h2.headers(1, h2.head(), flags=0) + h2.frame(h2.CONTINUATION, 0, 1) * 20, "ENHANCE_CALM"),
    "cont-600": Probe(h2.headers(1, h2.head(), flags=0) + h2.frame(h2.CONTINUATION, 0, 1, bytes(200)) * 600, "ENHANCE_CALM"),
    "headers-empty-first": Probe(
        h2.frame(h2.HEADERS, h2.END_STREAM, 1) + h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, CUT), stream="503"
    ),
    "hpack-bad": Probe(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, b"\xff\xff\xff\xff\xff\xff\xff"), "COMPRESSION"),
    "hpack-index0": Probe(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, b"\x80"), "COMPRESSION"),
    "hpack-table": Probe(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, h2.integer(65536, 5, 0x20) + CUT), "COMPRESSION"),
    "hpack-huffman-lf": Probe(  # X20: 0x0a is 30 bits long
        h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, CUT + b"\0\x01x\x84\xff\xff\xff\xf3"), stream="PROTOCOL"
    ),
    "hpack-bomb": Probe(  # one entry of 3.9 kB, 2000 times: 8 MB
        h2.frame(
            h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, CUT + b"\x40" + h2.text("x") + h2.text("y" * 3900) + b"\xbe" * 2000
        ),
        "ENHANCE_CALM",
    ),
    "hpack-bomb-count": Probe(
        h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, CUT + b"\x40" + h2.text("x") + h2.text("y") + b"\xbe" * 8000),
        "ENHANCE_CALM",
    ),
    "hpack-bomb-small": Probe(
        h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, CUT + b"\x40" + h2.text("x") + h2.text("y") + b"\xbe" * 1000),
        stream="431",
    ),
    "second-headers-after-end": Probe(GET + GET, "STREAM_CLOSED"),
    "data-after-end": Probe(h2.headers(1, h2.head("POST", "/"), end=True) + h2.data(1, b"x"), "STREAM_CLOSED"),
    "no-settings": Probe(b"", "PROTOCOL", hello=h2.PREFACE + h2.frame(h2.PING, 0, 0, bytes(8))),
    "bad-preface": Probe(b"", "PROTOCOL", hello=h2.PREFACE[:22] + b"XX" + h2.settings()),
}


@pytest.mark.parametrize("name", PROBES)
def test_frames(gateway: Gateway, name: str) -> None:
    """A connection error is told with GOAWAY, counted with one reason, and the connection ends; others are not harmed."""
    probe = PROBES[name]
    gateway.serve()
    other = H2Peer(gateway)
    client = H2Peer(gateway, hello=probe.hello)
    client.send(probe.data)
    if probe.goaway:
        assert client.until(lambda seen: bool(seen.goaways)).goaway == probe.goaway
        assert len(client.seen.goaways) == 1
        assert client.until_end() == "fin"
        assert sum(gateway.rejected().values()) == 1
    else:
        stream = client.stream()
        assert (str(stream.status) if stream.end == "end" else stream.end) == probe.stream
        client.send(h2.headers(5, h2.head()))
        assert client.stream(5).status == 503
    other.send(GET)
    assert other.stream().status == 503


class Flood(NamedTuple):
    make: Callable[[int], bytes]
    reason: str
    """Of the end."""
    harmless: int
    """So many are answered or ignored."""
    times: int


FLOODS: dict[str, Flood] = {
    "rapid-reset": Flood(lambda i: h2.headers(2 * i + 1, h2.head()) + h2.rst_stream(2 * i + 1), "h2_rapid_reset", 900, 1500),
    "made-you-reset": Flood(
        lambda i: h2.headers(2 * i + 1, h2.head("POST", "/"), end=False) + h2.window_update(2 * i + 1, 2**31 - 1),
        "h2_rapid_reset",
        900,
        1500,
    ),
    "malformed": Flood(lambda i: h2.headers(2 * i + 1, [("x", "y")]), "h2_resets_without_answer", 400, 1500),
    "ping": Flood(lambda i: h2.frame(h2.PING, 0, 0, bytes(8)), "h2_ping_flood", 900, 5000),
    "settings": Flood(lambda i: h2.settings(), "h2_settings_flood", 400, 3000),
    "table-size": Flood(lambda i: h2.settings({h2.HEADER_TABLE_SIZE: 65536 * (i % 2)}), "h2_settings_flood", 400, 3000),
    "priority": Flood(lambda i: h2.frame(h2.PRIORITY, 0, 2 * i + 1, struct.pack(">IB", 0, 1)), "h2_priority_flood", 90, 5000),
    "window-update": Flood(lambda i: h2.window_update(0, 1), "h2_window_update_flood", 90, 5000),
    "unknown": Flood(lambda i: h2.frame(0x42, 0, 0, b"x"), "h2_unknown_frames", 900, 5000),
    "priority-update": Flood(lambda i: h2.frame(0x10, 0, 0, increment(2 * i + 1) + b"u=1"), "h2_unknown_frames", 900, 5000),
    "large-unknown": Flood(lambda i: h2.frame(0x42, 0, 0, bytes(16384)), "h2_mostly_overhead", 400, 900),
}


@pytest.mark.parametrize("name", FLOODS)
def test_floods(gateway: Gateway, name: str) -> None:
    flood = FLOODS[name]
    gateway.serve()
    client, other = H2Peer(gateway), H2Peer(gateway)
    client.send(b"".join(flood.make(i) for i in range(flood.harmless)))
    assert client.settled().goaway == ""
    client.send(b"".join(flood.make(i) for i in range(flood.harmless, flood.times)))
    client.until(lambda seen: bool(seen.goaways) or client.peer.end != "")
    assert client.seen.goaway in ("ENHANCE_CALM", "")
    assert client.until_end() in ("fin", "reset")
    assert gateway.rejected().get(flood.reason) == 1
    other.send(GET)
    assert other.stream().status == 503


@pytest.mark.parametrize("empty", [h2.data(1), h2.frame(h2.DATA, h2.PADDED, 1, b"\x04" + bytes(4))], ids=["plain", "padded"])
def test_empty_data_frames(gateway: Gateway, empty: bytes) -> None:
    """F8: ten in a row, then the end; what has content counts anew."""
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(OPEN, empty * 10, h2.data(1, b"x"), empty * 10)
    assert client.settled().goaway == ""
    client.send(empty)
    assert client.until(lambda seen: bool(seen.goaways)).goaway == "ENHANCE_CALM"
    assert gateway.rejected() == {"h2_empty_frames": 1}


def test_gentle_resets_are_no_flood(gateway: Gateway) -> None:
    """F2: a client that cancels now and then, for hours."""
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    for i in range(1200):
        number = 2 * i + 1
        client.peer.sock.send(h2.headers(number, h2.head("POST", "/"), end=False))
        gateway.turn()
        if i % 3 == 0:  # these are answered
            upstream.accept(gateway).send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        gateway.loop.skip_ms(1100 if i % 3 else 100)
        client.peer.sock.send(h2.rst_stream(number))
        gateway.turn()
    assert client.settled().goaway == ""


def test_http1_bytes_where_http2_was_agreed_on(gateway: Gateway) -> None:
    """X18; by prior knowledge the preface decides."""
    client = gateway.client()
    client.send(b"PRI * HTTP/2.0\r\nX: y\r\n\r\n")
    assert client.until_end() in ("fin", "reset")
    assert gateway.rejected()["h2_bad_preface"] == 1


def test_a_request_before_the_preface(make_gateway: Callable[..., Gateway]) -> None:
    """Only the first bytes of a connection may be HTTP/2's."""
    gateway = make_gateway()
    gateway.serve()
    client = gateway.client()
    client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n" + h2.hello() + GET)
    assert client.response().status == 503
    client.until_end()
    assert gateway.rejected() == {"h2_preface": 1}
    assert not client.data


def test_identifiers_end(gateway: Gateway) -> None:
    """X9: the last identifier there is, and none after it."""
    gateway.serve()
    client = H2Peer(gateway)
    client.send(h2.headers(2**31 - 1, h2.head()))
    assert client.stream(2**31 - 1).status == 503
    client.send(h2.headers(1, h2.head()))
    assert client.until(lambda seen: bool(seen.goaways)).goaway == "STREAM_CLOSED"
