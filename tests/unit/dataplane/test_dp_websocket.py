"""WebSockets, byte by byte: who gets one, what is relayed when, and how each end comes to know of the other's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from dataplane_support import GET, LISTENER, OK, Gateway, Peer, Upstream
from test_dp_flow import SMALL, narrow, pattern

MakeGateway = Callable[..., Gateway]

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ASK = (
    b"GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)
AGREE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLBMiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
)


def asked(gateway: Gateway, data: bytes = ASK, **options: int) -> tuple[Peer, Peer, Upstream]:
    """Client and upstream, with the request on its way."""
    upstream = gateway.upstream(**options)
    gateway.serve(upstream)
    client = gateway.client().send(data)
    up = upstream.accept(gateway)
    up.until(lambda data: b"\r\n\r\n" in data)
    return client, up, upstream


def opened(gateway: Gateway, **options: int) -> tuple[Peer, Peer]:
    client, up, _ = asked(gateway, **options)
    up.request()
    up.send(AGREE)
    assert client.response().status == 101
    return client, up


def test_a_websocket_is_relayed_both_ways(gateway: Gateway) -> None:
    client, up, _ = asked(gateway)
    request = up.request()
    assert (request["connection"], request["upgrade"]) == ("upgrade", "websocket")
    assert (request["sec-websocket-key"], request["sec-websocket-version"]) == (KEY.decode(), "13")
    assert not request.values("content-length") and not request.values("transfer-encoding")
    up.send(AGREE)
    answer = client.response()
    assert answer.start == "HTTP/1.1 101 Switching Protocols"
    assert (answer["connection"], answer["upgrade"]) == ("upgrade", "websocket")
    assert (answer["sec-websocket-accept"], answer["sec-websocket-protocol"]) == ("s3pPLBMiTxaQ9kYGzzhZRbK+xOo=", "chat")
    assert not answer.values("content-length") and not answer.values("transfer-encoding")
    client.send(b"\x81\x85mask....")
    up.until(lambda data: data == b"\x81\x85mask....")
    up.send(b"\x81\x02hi")
    client.until(lambda data: data == b"\x81\x02hi")
    assert (gateway.counter("FGW_C_WEBSOCKETS"), gateway.counter("FGW_G_WEBSOCKETS_ACTIVE")) == (1, 1)
    client.close()
    assert up.until_end() == "fin"
    up.close()
    gateway.settle()
    assert gateway.counter("FGW_G_WEBSOCKETS_ACTIVE") == 0


def test_nothing_goes_upstream_before_the_upstream_has_agreed(gateway: Gateway) -> None:
    """Requirement A19: what follows the head is neither a request nor bytes of a WebSocket yet."""
    client, up, _ = asked(gateway, ASK + b"GET /evil HTTP/1.1\r\nHost: a.test\r\n\r\n")
    assert up.request().start == "GET /chat HTTP/1.1"
    client.send(b"more")
    assert not up.poll().data
    up.send(AGREE + b"first")
    assert client.response().status == 101
    client.until(lambda data: data == b"first")
    up.until(lambda data: data == b"GET /evil HTTP/1.1\r\nHost: a.test\r\n\r\nmore")


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nSec-WebSocket-Version: 8\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
)
def test_another_answer_is_relayed_and_ends_the_connection(gateway: Gateway, answer: bytes) -> None:
    client, up, _ = asked(gateway, ASK + b"GET /evil HTTP/1.1\r\nHost: a.test\r\n\r\n")
    up.request()
    up.send(answer)
    got = client.response()
    assert (got.status, got["connection"]) == (int(answer.split(b" ")[1]), "close")
    assert client.until_end() == "fin" and not client.data
    assert up.until_end() in ("fin", "reset") and not up.data, "the connection is not used again"


@pytest.mark.parametrize(
    "answer",
    [
        AGREE.replace(b"WebSocket\r\n", b"h2c\r\n"),
        AGREE.replace(b"WebSocket\r\n", b"websocket, h2c\r\n"),
        AGREE.replace(b"Upgrade: WebSocket\r\n", b""),
        AGREE.replace(b"Connection: Upgrade\r\n", b""),
        AGREE.replace(b"Upgrade: WebSocket\r\n", b"Upgrade: websocket\r\nUpgrade: websocket\r\n"),
    ],
)
def test_a_101_that_names_something_else_is_502(gateway: Gateway, answer: bytes) -> None:
    client, up, _ = asked(gateway)
    up.request()
    up.send(answer)
    assert client.response().status == 502
    assert gateway.rejected() == {"unexpected_1xx": 1} and gateway.counter("FGW_C_WEBSOCKETS") == 0


def test_a_101_to_a_plain_request_is_502(gateway: Gateway) -> None:
    client, up, _ = asked(gateway, GET)
    up.request()
    up.send(AGREE + b"bytes")
    assert client.response().status == 502
    assert client.until_end() == "fin" and not client.data
    assert up.until_end() in ("fin", "reset")


@pytest.mark.parametrize(
    "head",
    [
        ASK.replace(b"websocket\r\n", b"foo/2\r\n", 1),
        ASK.replace(b"websocket\r\n", b"websocket, foo\r\n", 1),
        ASK.replace(b"websocket\r\n", b"websocket, h2c\r\n", 1),
        ASK.replace(b"Upgrade: websocket\r\n", b"Upgrade: websocket\r\nUpgrade: foo\r\n"),
        ASK.replace(b"GET", b"POST", 1),
    ],
)
def test_other_upgrades_are_403(gateway: Gateway, head: bytes) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(head + b"GET /evil HTTP/1.1\r\nHost: a.test\r\n\r\n")
    answer = client.response()
    assert (answer.status, answer["connection"], client.until_end()) == (403, "close", "fin")
    assert gateway.rejected() == {"upgrade_not_allowed": 1} and not upstream.has_connection(gateway)
    assert not client.data


def test_an_upgrade_to_nobody_ends_the_connection(gateway: Gateway) -> None:
    """Whatever the answer, what follows is not taken for a request (A19)."""
    client = gateway.client().send(ASK + GET)
    answer = client.response()
    assert (answer.status, answer["connection"], client.until_end()) == (404, "close", "fin")
    assert not client.data


def test_h2c_is_not_an_upgrade(gateway: Gateway) -> None:
    head = (
        b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
    )
    client, up, _ = asked(gateway, head)
    request = up.request()
    assert not request.values("upgrade") and not request.values("connection") and not request.values("http2-settings")
    up.send(OK)
    assert client.response().status == 200
    client.send(GET)
    up.request()
    up.send(OK)
    assert client.response().status == 200, "the connection goes on"


def test_a_stale_connection_is_replaced_before_the_handshake(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    first = gateway.client().send(GET)
    up = upstream.accept(gateway)
    up.request()
    up.send(OK)
    first.response()
    client = gateway.client().send(ASK)
    up.request()
    up.close()
    again = upstream.accept(gateway)
    again.request()
    again.send(AGREE)
    assert client.response().status == 101


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_half_closes_are_passed_on(gateway: Gateway, first: str) -> None:
    client, up = opened(gateway)
    one, other = (client, up) if first == "client" else (up, client)
    one.send(b"bye").finish()
    assert other.until_end() == "fin" and bytes(other.data) == b"bye"
    other.send(b"and more")
    one.until(lambda data: data == b"and more")
    other.finish()
    assert one.until_end() == "fin"
    assert gateway.counter("FGW_G_WEBSOCKETS_ACTIVE") == 0


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_resets_are_passed_on(gateway: Gateway, first: str) -> None:
    client, up = opened(gateway)
    one, other = (client, up) if first == "client" else (up, client)
    one.reset()
    assert other.until_end() == "reset"
    assert gateway.counter("FGW_G_WEBSOCKETS_ACTIVE") == 0


def test_a_half_closed_websocket_does_not_wait_for_ever(gateway: Gateway) -> None:
    client, up = opened(gateway)
    up.finish()
    assert client.until_end() == "fin"
    gateway.pass_ms(20_000)
    client.send(b"x")
    up.until(lambda data: data == b"x")
    gateway.pass_ms(29_000)
    assert gateway.counter("FGW_G_WEBSOCKETS_ACTIVE") == 1
    gateway.pass_ms(2_000)
    assert gateway.counter("FGW_G_WEBSOCKETS_ACTIVE") == 0


def test_silence_ends_nothing_by_default(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(limits={"upstream_response_timeout_ms": 1_000, "request_timeout_ms": 1_000})
    client, up = opened(gateway)
    gateway.pass_ms(600_000)
    up.send(b"still here")
    client.until(lambda data: data == b"still here")


def test_the_stream_idle_time_out(make_gateway: MakeGateway, tmp_path: Path) -> None:
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    wanted = ("code", "flags", "details", "bytes_received", "bytes_sent")
    log = [step for name in wanted for step in ((name, ""), ("text", "\n" if name == wanted[-1] else " "))]
    gateway = make_gateway(limits={"stream_idle_timeout_ms": 5_000}, log=log, log_fd=fd)
    client, up = opened(gateway)
    for _ in range(4):
        gateway.pass_ms(4_000)
        client.send(b"ab")
        gateway.pass_ms(4_000)
        up.send(b"abc")
    gateway.pass_ms(4_000)
    assert not client.poll().end
    gateway.pass_ms(1_500)
    assert client.until_end() == "fin" and up.until_end() in ("fin", "reset")
    assert gateway.counter("FGW_C_STREAM_TIMEOUTS") == 1
    gateway.log.flush()
    os.close(fd)
    assert path.read_text() == "101 SI stream_idle_timeout 8 12\n"


def test_large_transfers_both_ways_past_slow_readers(gateway: Gateway) -> None:
    narrow(gateway)
    data = pattern(600_000)
    client, up, _ = asked(gateway, receive_bytes=SMALL)
    up.request()
    up.send(AGREE)
    client.response()
    for one, other in ((client, up), (up, client)):
        one.sock.setblocking(False)
        at = 0
        while len(other.data) < len(data):
            at += one.try_send(data[at : at + 30_000])
            gateway.turn()
            other.poll(9_000)
            assert gateway.alive()["buffer_bytes"] < 256 << 10
        assert bytes(other.data) == data
        other.data.clear()


def test_drain_leaves_websockets_and_the_end_cuts_them(gateway: Gateway) -> None:
    client, up = opened(gateway)
    gateway.context.set_draining()
    gateway.server.drain()
    gateway.pass_ms(3_000)
    up.send(b"on we go")
    client.until(lambda data: data == b"on we go")
    gateway.server.cut()
    assert client.until_end() == "fin" and up.until_end() in ("fin", "reset")


def test_a_listener_that_goes_leaves_its_websockets(gateway: Gateway) -> None:
    client, up = opened(gateway)
    gateway.server.listen([])
    gateway.server.on_image()
    up.send(b"on we go")
    client.until(lambda data: data == b"on we go")
    assert LISTENER


def test_every_split_of_the_handshake(make_gateway: MakeGateway) -> None:
    """The upstream's agreement and its first bytes come in two pieces, cut anywhere."""
    gateway = make_gateway()
    upstream = gateway.upstream()
    gateway.serve(upstream)
    whole = AGREE + b"tail"
    for cut in range(1, len(whole)):
        client = gateway.client().send(ASK + b"early")
        up = upstream.accept(gateway)
        up.until(lambda data: data.endswith(b"\r\n\r\n"))
        up.data.clear()
        up.send(whole[:cut])
        up.send(whole[cut:])
        assert client.response().status == 101
        client.until(lambda data: data == b"tail")
        up.until(lambda data: data == b"early")
        client.close()
        assert up.until_end() == "fin"
        up.close()
