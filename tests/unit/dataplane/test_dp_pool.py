"""Idle upstream connections: when one is used again, and what burns it."""

from __future__ import annotations

import pytest
from dataplane_support import GET, OK, Gateway, Peer, Upstream, make_plan, post

from fastgw.model.plan import Cluster, Endpoint


def warmed(gateway: Gateway, answer: bytes = OK, method: str = "GET") -> tuple[Peer, Upstream, Peer]:
    """A client, the upstream and its connection after one exchange."""
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(f"{method} / HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
    up = upstream.accept(gateway)
    up.request()
    up.send(answer)
    assert client.response(method).status < 400
    return client, upstream, up


def test_a_connection_is_used_again(gateway: Gateway) -> None:
    client, upstream, up = warmed(gateway)
    for i in range(5):
        assert gateway.pool.idle == 1
        client.send(f"GET /{i} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
        assert gateway.pool.idle == 0
        assert up.request().start == f"GET /{i} HTTP/1.1"
        up.send(OK)
        client.response()
    other = gateway.client().send(GET)
    up.request()
    up.send(OK)
    assert other.response().status == 200
    assert (gateway.counter("FGW_C_UPSTREAM_CONNECTS"), gateway.counter("FGW_C_UPSTREAM_REUSED")) == (1, 6)
    assert not upstream.has_connection(gateway)


BURNING = {
    "connection-close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    "connection-list": b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok",
    "http10": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "extra-bytes": OK + b"X",
    "extra-response": OK + OK,
    "extra-after-chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nX",
    "body-of-204": b"HTTP/1.1 204 No Content\r\n\r\nbody",
}


@pytest.mark.parametrize("name", BURNING)
def test_an_answer_that_burns_its_connection(gateway: Gateway, name: str) -> None:
    client, upstream, up = warmed(gateway, BURNING[name])
    assert up.until_end() and gateway.pool.idle == 0
    client.send(GET)
    upstream.accept(gateway).send(OK)
    assert client.response().body == b"ok", "and nothing of the first connection is seen by the second request"


def test_a_body_after_head_burns_the_connection(gateway: Gateway) -> None:
    _, _, up = warmed(gateway, OK, "HEAD")
    assert up.until_end() and gateway.pool.idle == 0


@pytest.mark.parametrize("answer", [OK, b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n\r\n"])
def test_an_answer_that_keeps_its_connection(gateway: Gateway, answer: bytes) -> None:
    _, _, up = warmed(gateway, answer)
    assert gateway.pool.idle == 1 and not up.poll().end


@pytest.mark.parametrize("how", ["bytes", "close", "reset"])
def test_an_idle_connection_that_says_something_or_ends_is_dropped(gateway: Gateway, how: str) -> None:
    client, upstream, up = warmed(gateway)
    if how == "bytes":
        up.send(OK)
    else:
        getattr(up, how)()
    assert gateway.pool.idle == 0
    client.send(GET)
    upstream.accept(gateway).send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew")
    assert client.response().body == b"new"
    assert gateway.counter("FGW_C_UPSTREAM_RETRIES") == 0


def test_a_request_and_the_end_of_the_idle_connection_in_one_turn(gateway: Gateway) -> None:
    """The hang-up is seen first, whatever the order of the descriptors."""
    client, upstream, up = warmed(gateway)
    client.sock.send(post(0))
    up.sock.close()
    gateway.settle()
    new = upstream.accept(gateway)
    new.request()
    new.send(OK)
    assert client.response().status == 200 and gateway.counter("FGW_C_UPSTREAM_RETRIES") == 0


def test_an_early_answer_burns_the_connection_even_when_the_upload_ends_at_once(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(post(4) + b"ab")
    up = upstream.accept(gateway)
    up.until(lambda data: data.endswith(b"ab"))
    up.send(OK)
    client.send(b"cd")
    assert client.response().status == 200
    assert up.until_end() and gateway.pool.idle == 0


def test_the_last_connection_put_back_is_the_first_taken(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    clients = [gateway.client().send(GET) for _ in range(3)]
    ups = [upstream.accept(gateway) for _ in clients]
    for i in (1, 0, 2):
        ups[i].request()
        ups[i].send(OK)
        clients[i].response()
    assert gateway.pool.idle == 3
    for client, expected in zip(clients, (2, 0, 1), strict=True):
        client.send(GET)
        assert ups[expected].request().start == "GET / HTTP/1.1"
    for up in ups:
        up.send(OK)


def test_a_middle_connection_leaves_the_list_whole(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    clients = [gateway.client().send(GET) for _ in range(4)]
    ups = [upstream.accept(gateway) for _ in clients]
    for up, client in zip(ups, clients, strict=True):
        up.request()
        up.send(OK)
        client.response()
    ups[1].close()
    ups[3].close()
    assert gateway.pool.idle == 2
    clients[0].send(GET)
    clients[1].send(GET)
    assert [bool(ups[i].poll().data) for i in (0, 2)] == [True, True] and gateway.pool.idle == 0
    ups[0].send(OK)
    ups[2].send(OK)


def test_connections_to_an_earlier_address_of_a_cell_are_closed(gateway: Gateway) -> None:
    """DNS may give a cell another address; what is pooled for the old one may not be used for the new one."""
    gateway.attach(make_plan([Cluster("d", "d.test", 80, discovery="dns", endpoints=[Endpoint("d.test", 80, lookup="all")])]))
    old, new = gateway.upstream(), gateway.upstream()
    gateway.answer_dns("d", "OK", (old.port, 200_001))
    client = gateway.client().send(GET)
    up = old.accept(gateway)
    up.send(OK)
    client.response()
    gateway.answer_dns("d", "OK", (new.port, 200_001))
    client.send(GET)
    new.accept(gateway).send(OK)
    assert client.response().status == 200
    assert up.until_end() == "fin" and gateway.pool.idle == 1


def test_draining_keeps_nothing(gateway: Gateway) -> None:
    client, _, up = warmed(gateway)
    gateway.context.set_draining()
    gateway.server.drain()
    gateway.pool.close_idle()
    gateway.settle()
    assert up.until_end() == "fin" and gateway.pool.idle == 0
    assert client.until_end() == "fin"


def test_a_connection_made_while_draining_has_time_for_its_request(gateway: Gateway) -> None:
    """Its request is under way, and no answer has told the client that the connection ends."""
    upstream = gateway.upstream()
    gateway.serve(upstream)
    gateway.context.set_draining()
    asks, silent = gateway.client(), gateway.client()
    gateway.settle()
    gateway.server.drain()
    gateway.settle()
    assert asks.poll().end == "" and silent.poll().end == ""
    asks.send(GET)
    upstream.accept(gateway).send(OK)
    answer = asks.response()
    assert (answer.body, answer["connection"]) == (b"ok", "close") and asks.until_end() == "fin"
    gateway.loop.skip_ms(2000)
    gateway.settle()
    gateway.server.drain()
    assert silent.until_end() == "fin"


def test_an_exchange_that_ends_while_draining_closes_both_sides(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(GET)
    up = upstream.accept(gateway)
    gateway.context.set_draining()
    gateway.server.drain()
    gateway.pool.close_idle()
    up.send(OK)
    answer = client.response()
    assert (answer.body, answer["connection"]) == (b"ok", "close")
    assert client.until_end() == "fin" and up.until_end() == "fin" and gateway.pool.idle == 0


def test_an_endpoint_keeps_a_limited_number_of_idle_connections(gateway: Gateway) -> None:
    upstream = gateway.upstream(backlog=2048)
    gateway.attach(make_plan([Cluster("c", "c", 80, endpoints=[Endpoint("127.0.0.1", upstream.port)])]))
    clients = [gateway.client() for _ in range(1030)]
    for client in clients:
        client.sock.send(GET)
    ups = [upstream.accept(gateway) for _ in clients]
    for up in ups:
        up.sock.send(OK)
    gateway.settle()
    gateway.until(lambda: gateway.alive()["exchanges"] == 0)
    assert gateway.pool.idle == 1024


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("first", ["request", "bytes"])
def test_bytes_that_were_there_before_the_request_are_not_its_answer(gateway: Gateway, method: str, first: str) -> None:
    """Both are seen in one turn; in either order of the descriptors the bytes are nobody's."""
    client, upstream, up = warmed(gateway)
    request, evil = GET if method == "GET" else post(0), b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    sends = [(client, request), (up, evil)]
    for peer, data in sends if first == "request" else reversed(sends):
        peer.sock.send(data)
    gateway.settle()
    if upstream.has_connection(gateway):
        gateway.peers[-1].send(OK)
        assert client.response().body == b"ok"
    else:
        assert method == "POST" and client.response().status == 503, "it may have been sent already: not again"
    assert up.until_end()


def test_an_answer_of_exactly_one_read_does_no_harm(gateway: Gateway) -> None:
    """32 KiB: the receive buffer is full, so nobody knows whether more is there."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
    size = 32768 - len(head) - 3
    answer = head % size + b"x" * size
    assert len(answer) == 32768
    client, upstream, up = warmed(gateway, answer)
    assert up.until_end() and gateway.pool.idle == 0
    client.send(GET)
    upstream.accept(gateway).send(OK)
    assert client.response().body == b"ok"
