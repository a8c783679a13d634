"""Large bodies, small socket buffers, slow readers: bytes arrive unchanged and memory stays bounded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from dataplane_support import LISTENER, OK, Gateway, Peer, make_plan, post, read_message

from fastgw.model.plan import Plan, VirtualHost

SMALL = 4096
STALL_LIMIT_BYTES = 256 << 10
SIZE = 3_000_000


def pattern(size: int) -> bytes:
    """Bytes without a period that a buffer's size could hide."""
    block = b"".join(hashlib.sha256(i.to_bytes(4, "big")).digest() for i in range(size // 32 + 1))
    return block[:size]


DATA = pattern(SIZE)


def narrow(gateway: Gateway) -> None:
    """Replace the listener by one whose connections have tiny buffers."""
    gateway.server.listen([(LISTENER, gateway.open_listener(LISTENER, send_bytes=SMALL))])


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("sip", [700, 1 << 20])
def test_a_large_upload_arrives_unchanged(gateway: Gateway, framing: str, sip: int) -> None:
    narrow(gateway)
    upstream = gateway.upstream(receive_bytes=SMALL)
    gateway.serve(upstream)
    data = DATA[: 400_000 if sip < 1000 else SIZE]
    head = post(len(data)) if framing == "length" else b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = data if framing == "length" else b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces(data)) + b"0\r\n\r\n"
    client = gateway.client(send_bytes=SMALL).send(head)
    up = upstream.accept(gateway)
    worst = pump_until_whole(gateway, client, body, up, sip)
    assert hashlib.sha256(up.request().body).digest() == hashlib.sha256(data).digest()
    assert worst <= STALL_LIMIT_BYTES
    up.send(OK)
    assert client.response().body == b"ok"


def pieces(data: bytes) -> list[bytes]:
    """Cut at many different lengths, one byte among them."""
    sizes, at = [1, 5, 4095, 4096, 4097, 40_000, 100], 0
    out: list[bytes] = []
    while at < len(data):
        size = sizes[len(out) % len(sizes)]
        out.append(data[at : at + size])
        at += size
    return out


def pump_until_whole(gateway: Gateway, source: Peer, data: bytes, sink: Peer, sip: int) -> int:
    sent = worst = 0
    turns = 0

    def step() -> bool:
        nonlocal sent, worst, turns
        sent += source.try_send(data[sent : sent + 65536])
        gateway.turn()
        turns += 1
        worst = max(worst, gateway.alive()["buffer_bytes"])
        sink.poll(sip)
        if sent < len(data) or turns % 50:
            return False
        message = read_message(bytes(sink.data), None if sink.data[:4] == b"POST" else "GET", False)
        return message is not None and message.whole

    gateway.until(step)
    return worst


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("sip", [700, 1 << 20])
def test_a_large_download_arrives_unchanged(gateway: Gateway, framing: str, sip: int) -> None:
    narrow(gateway)
    upstream = gateway.upstream()
    gateway.serve(upstream)
    data = DATA[: 400_000 if sip < 1000 else SIZE]
    client = gateway.client(receive_bytes=SMALL).send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    up = upstream.accept(gateway)
    up.request()
    head = {"length": f"Content-Length: {len(data)}\r\n", "chunked": "Transfer-Encoding: chunked\r\n", "close": ""}[framing]
    body = data if framing != "chunked" else b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces(data)) + b"0\r\n\r\n"
    sent = worst = 0

    def step() -> bool:
        nonlocal sent, worst
        if sent < len(body):
            sent += up.try_send(body[sent : sent + 65536])
            if sent == len(body) and framing == "close":
                up.sock.close()
        gateway.turn()
        worst = max(worst, gateway.alive()["buffer_bytes"])
        client.poll(sip)
        return sent == len(body) and len(client.data) >= len(data)

    up.send(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode())
    gateway.until(step)
    assert hashlib.sha256(client.response().body).digest() == hashlib.sha256(data).digest()
    assert worst <= STALL_LIMIT_BYTES


def stalled(gateway: Gateway, push: Callable[[], int]) -> int:
    """Push until nothing is taken any more; bytes taken."""
    taken, idle = 0, 0
    while idle < 20:
        n = push()
        taken += n
        gateway.turn()
        idle = 0 if n else idle + 1
        assert taken < 100 << 20, "the push is never stopped"
    return taken


def test_a_client_that_does_not_read_stops_the_upstream(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client(receive_bytes=SMALL).send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    up = upstream.accept(gateway)
    up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    taken = stalled(gateway, lambda: up.try_send(DATA[:65536]))
    assert 0 < taken < 50 << 20
    assert 0 < gateway.alive()["buffer_bytes"] <= STALL_LIMIT_BYTES
    client.close()
    assert up.until_end()


def test_an_upstream_that_does_not_read_stops_the_client(gateway: Gateway) -> None:
    upstream = gateway.upstream(receive_bytes=SMALL)
    gateway.serve(upstream)
    client = gateway.client().send(post(1_000_000_000))
    up = upstream.accept(gateway)
    taken = stalled(gateway, lambda: client.try_send(DATA[:65536]))
    assert 0 < taken < 50 << 20
    assert 0 < gateway.alive()["buffer_bytes"] <= STALL_LIMIT_BYTES
    up.close()
    assert client.response().status == 503


@pytest.mark.parametrize("answered_by", ["gateway", "upstream"])
def test_pipelined_requests_of_a_client_that_does_not_read_are_not_answered_without_end(gateway: Gateway, answered_by: str) -> None:
    """Small requests with larger answers may not pile the answers up."""
    narrow(gateway)
    upstream = gateway.upstream()
    if answered_by == "upstream":
        gateway.serve(upstream)
    else:
        gateway.attach(empty_plan())
    client = gateway.client(receive_bytes=SMALL)
    request = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + DATA[:20_000]
    ups: list[Peer] = []
    served = 0

    def push() -> int:
        nonlocal served
        n = client.try_send(request * 2000)
        if answered_by == "upstream":
            if not ups and upstream.has_connection(gateway):
                ups.append(gateway.peers[-1])
            for up in ups:
                if bytes(up.poll().data).endswith(b"\r\n\r\n"):
                    up.data.clear()
                    n += up.try_send(answer)
                    served += 1
        return n

    stalled(gateway, push)
    assert gateway.bugs == []
    assert gateway.alive()["buffer_bytes"] <= STALL_LIMIT_BYTES
    status = 200 if answered_by == "upstream" else 404
    for _ in range(30):
        message = client.response()
        assert message.status == status
        for up in ups:
            if bytes(up.poll().data).endswith(b"\r\n\r\n"):
                up.data.clear()
                up.send(answer)


def empty_plan() -> Plan:
    plan = make_plan([])
    plan.route_tables["http.80"].virtual_hosts = [VirtualHost("no.test:80", ["no.test"], [])]
    return plan


def test_a_slow_reader_gets_the_whole_last_answer(gateway: Gateway) -> None:
    """The connection is to end after this answer; that must not cut what is still queued, however long it takes."""
    narrow(gateway)
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client(receive_bytes=SMALL).send(post(100) + b"x")
    up = upstream.accept(gateway)
    body = DATA[:100_000]
    up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + body)
    while not client.end:
        client.poll(3000)
        gateway.pass_ms(700)
    answer = client.response()
    assert (answer.body == body, answer["connection"]) == (True, "close")


def test_a_cut_answer_to_a_slow_reader_leaves_no_connection_behind(gateway: Gateway) -> None:
    narrow(gateway)
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client(receive_bytes=SMALL).send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    up = upstream.accept(gateway)
    up.request()
    up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + DATA[:60_000])
    up.close()
    gateway.until(lambda: gateway.alive()["upstreams"] == 0 or bool(client.poll(3000)))
    client.until_end()
    assert len(client.data) >= 60_000, "what had come before the cut arrives"
    gateway.pass_ms(70_000)
    assert gateway.alive()["clients"] == 0
