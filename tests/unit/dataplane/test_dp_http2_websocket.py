"""WebSockets of HTTP/2 clients (RFC 8441), to an HTTP/1.1 upstream."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import pytest
from dataplane_support import Gateway, Message, Peer
from h2_support import H2Peer, serve
from wire import h2

CONNECT = [*h2.head("CONNECT", "/chat", ("sec-websocket-version", "13")), (":protocol", "websocket")]
CONNECT.sort(key=lambda field: not str(field[0]).startswith(":"))
ON = {"http2_websockets": True}


def accept(request: Message) -> bytes:
    key = request["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    proof = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    return (
        f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {proof}\r\n"
        "Sec-WebSocket-Protocol: chat\r\n\r\n"
    ).encode()


def opened(make_gateway: Callable[..., Gateway], **limits: int) -> tuple[Gateway, H2Peer, Peer]:
    gateway = make_gateway(limits={**ON, **limits})
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    assert client.settled().settings[h2.EXTENDED_CONNECT] == 1
    client.send(h2.headers(1, CONNECT, end=False))
    up = upstream.accept(gateway)
    up.send(accept(up.request()))
    client.until(lambda seen: seen.streams.get(1, h2.Stream()).status == 200)
    return gateway, client, up


def test_bytes_go_both_ways(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits=ON)
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(h2.headers(1, CONNECT, end=False), h2.data(1, b"early"))
    up = upstream.accept(gateway)
    request = up.request()
    assert request.start == "GET /chat HTTP/1.1"
    assert (request["upgrade"], request["connection"], request["sec-websocket-version"]) == ("websocket", "upgrade", "13")
    assert not up.poll().data  # X17: what comes before 101 is held
    up.send(accept(request) + b"hello")
    client.until(lambda seen: seen.streams[1].body == b"hello")
    fields = client.seen.streams[1].fields
    assert (fields[":status"], fields["sec-websocket-protocol"]) == ("200", "chat")
    assert not {"sec-websocket-accept", "upgrade", "connection", "content-length", "transfer-encoding"} & set(fields)
    up.until(lambda data: data == b"early")
    client.send(h2.data(1, b" later"))
    up.until(lambda data: data == b"early later")
    client.send(h2.data(1, b"", end=True))
    assert up.until_end() == "fin"
    up.send(b" bye")
    up.close()
    stream = client.stream()
    assert (stream.body, stream.end) == (b"hello bye", "end")
    client.send(h2.headers(3, h2.head()))
    serve(upstream.accept(gateway))
    assert client.stream(3).status == 200


def test_the_upstream_ends_first(make_gateway: Callable[..., Gateway]) -> None:
    _, client, up = opened(make_gateway)
    up.send(b"last words").finish()
    client.until(lambda seen: seen.streams[1].end == "end")
    client.send(h2.data(1, b"mine", end=True))
    up.until(lambda data: data.endswith(b"mine"))
    up.until_end()


def test_a_client_that_resets(make_gateway: Callable[..., Gateway]) -> None:
    _, client, up = opened(make_gateway)
    client.send(h2.rst_stream(1))
    assert up.until_end() in ("reset", "fin")


def test_silence_is_no_slow_body(make_gateway: Callable[..., Gateway]) -> None:
    gateway, client, up = opened(make_gateway, body_timeout_ms=2000, write_timeout_ms=2000)
    gateway.pass_ms(120_000)
    client.send(h2.data(1, b"still here"))
    up.until(lambda data: data.endswith(b"still here"))
    client.send(h2.rst_stream(1))


def test_a_refusal_is_an_answer(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits=ON)
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    client.send(h2.headers(1, CONNECT, end=False))
    serve(upstream.accept(gateway), b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
    client.until(lambda seen: any(f.kind == h2.RST_STREAM for f in seen.frames))
    assert (client.seen.streams[1].status, client.seen.streams[1].body) == (403, b"no")


@pytest.mark.parametrize("case", ["h2c", "no scheme", "with length", "ended", "off"])
def test_what_is_refused(make_gateway: Callable[..., Gateway], case: str) -> None:
    """X17"""
    gateway = make_gateway(limits={} if case == "off" else ON)
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = H2Peer(gateway)
    fields = [(n, "h2c") if (n, case) == (":protocol", "h2c") else (n, v) for n, v in CONNECT]
    if case == "no scheme":
        fields = [field for field in fields if field[0] != ":scheme"]
    if case == "with length":
        fields.append(("content-length", "5"))
    client.send(h2.headers(1, fields, end=case == "ended"))
    stream = client.stream()
    assert (stream.end, stream.status) in (("PROTOCOL", 0), ("end", 400))
    assert not upstream.has_connection(gateway)
    assert (h2.EXTENDED_CONNECT in client.seen.settings) == (case != "off")


def test_the_end_of_the_process_is_told(make_gateway: Callable[..., Gateway]) -> None:
    gateway, client, _ = opened(make_gateway)
    gateway.server.drain()
    gateway.server.cut()
    stream = client.stream()
    assert stream.end == "end"
