"""connectionPool: what waits, what is refused, and what other workers' shares mean (Q11, Q12, I7)."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
from dataplane_support import GET, OK, Gateway, Message, Upstream

from fastgw.model.plan import Keepalive, Policy, Pool


def shares(gateway: Gateway) -> Any:
    return gateway.state.clusters[gateway.numbers.cluster_of("c")]


def own(gateway: Gateway) -> Any:
    return gateway.state.workers[0].shares[gateway.numbers.cluster_of("c")]


def serve(gateway: Gateway, *ups: Upstream, lb: str = "round_robin", **pool: Any) -> None:
    gateway.serve(*ups, lb=lb, policy=Policy(pool=Pool(**pool)))


def is_overflow(answer: Message) -> bool:
    text = b"upstream connect error or disconnect/reset before headers. reset reason: overflow"
    return answer.status == 503 and answer.body == text and answer["x-envoy-overloaded"] == "true"


def counts(gateway: Gateway) -> tuple[int, int, int]:
    everybodys = shares(gateway).all
    return everybodys.connections, everybodys.pending, everybodys.requests


# --- http2MaxRequests, of any protocol ---


def test_requests_beyond_the_limit_are_refused(gateway: Gateway) -> None:
    up = gateway.upstream()
    serve(gateway, up, max_requests=2)
    clients = [gateway.client().send(GET) for _ in range(3)]
    assert is_overflow(clients[2].response())
    ups = [up.accept(gateway), up.accept(gateway)]
    assert counts(gateway)[2] == 2 and shares(gateway).overflows == 1
    for peer, client in zip(ups, clients, strict=False):
        peer.request()
        peer.send(OK)
        assert client.response().status == 200
    assert counts(gateway)[2] == 0
    assert gateway.counter("FGW_C_OVERFLOW_REQUESTS") == 1


def test_what_other_workers_have_counts_as_well(gateway: Gateway) -> None:
    up = gateway.upstream()
    serve(gateway, up, max_requests=2)
    shares(gateway).all.requests = 2
    assert is_overflow(gateway.client().send(GET).response())
    shares(gateway).all.requests = 1
    client = gateway.client().send(GET)
    peer = up.accept(gateway)
    peer.request()
    assert own(gateway).requests == 1
    peer.send(OK)
    assert client.response().status == 200 and counts(gateway)[2] == 1
    shares(gateway).all.requests = 0


def test_a_client_that_leaves_gives_its_place_back(gateway: Gateway) -> None:
    up = gateway.upstream()
    serve(gateway, up, max_requests=1)
    client = gateway.client().send(GET)
    up.accept(gateway).request()
    client.close()
    gateway.settle()
    assert counts(gateway)[2] == 0


# --- maxConnections and the line ---


def test_a_request_waits_for_the_only_connection(gateway: Gateway) -> None:
    up = gateway.upstream()
    serve(gateway, up, max_connections=1)
    first, second, third = (gateway.client().send(GET) for _ in range(3))
    peer = up.accept(gateway)
    assert not up.has_connection(gateway) and counts(gateway) == (1, 2, 0)
    for client in (first, second, third):
        peer.request()
        peer.send(OK)
        assert client.response().status == 200, "first come, first served"
    assert not up.has_connection(gateway) and counts(gateway) == (1, 0, 0)


def test_who_waits_too_long_is_refused(gateway: Gateway) -> None:
    up = gateway.upstream()
    gateway.serve(up, policy=Policy(pool=Pool(max_connections=1)), connect_timeout_ms=2000)
    first, second = gateway.client().send(GET), gateway.client().send(GET)
    peer = up.accept(gateway)
    peer.request()
    gateway.pass_ms(1500)
    assert second.poll().data == b""
    gateway.pass_ms(700)
    assert is_overflow(second.response())
    assert counts(gateway)[1] == 0 and gateway.counter("FGW_C_OVERFLOW_TIMEOUTS") == 1
    peer.send(OK)
    assert first.response().status == 200


def test_a_client_that_waits_and_leaves_is_passed_over(gateway: Gateway) -> None:
    up = gateway.upstream()
    serve(gateway, up, max_connections=1)
    first, second, third = (gateway.client().send(GET) for _ in range(3))
    peer = up.accept(gateway)
    peer.request()
    second.close()
    assert counts(gateway) == (1, 1, 0)
    peer.send(OK)
    assert first.response().status == 200
    peer.request()
    peer.send(OK)
    assert third.response().status == 200


def test_a_connection_that_closes_makes_room_for_another(gateway: Gateway) -> None:
    up = gateway.upstream()
    serve(gateway, up, max_connections=1)
    first, second = gateway.client().send(GET), gateway.client().send(GET)
    peer = up.accept(gateway)
    peer.request()
    peer.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert first.response().status == 200
    again = up.accept(gateway)
    again.request()
    again.send(OK)
    assert second.response().status == 200


def test_an_idle_connection_to_another_endpoint_is_given_up(gateway: Gateway) -> None:
    ups = [gateway.upstream(), gateway.upstream()]
    serve(gateway, *ups, max_connections=1)
    client = gateway.client()
    for _ in range(4):
        client.send(GET)
        up = next(each for each in ups if each.has_connection(gateway))
        peer = gateway.peers[-1]
        peer.request()
        peer.send(OK)
        assert client.response().status == 200 and counts(gateway)[0] == 1
        assert up


def test_idle_connections_are_given_up_when_other_workers_wait(make_gateway: Any) -> None:
    gateway = make_gateway(workers=2)
    up = gateway.upstream()
    serve(gateway, up, max_connections=1)
    client = gateway.client().send(GET)
    peer = up.accept(gateway)
    peer.request()
    peer.send(OK)
    assert client.response().status == 200 and counts(gateway)[0] == 1
    shares(gateway).all.pending = 1  # of the other worker
    gateway.pass_ms(200)
    assert counts(gateway)[0] == 0 and peer.until_end()
    shares(gateway).all.pending = 0


def test_a_connection_that_comes_free_elsewhere_is_noticed(gateway: Gateway) -> None:
    up = gateway.upstream()
    serve(gateway, up, max_connections=1)
    shares(gateway).all.connections = 1  # another worker's
    client = gateway.client().send(GET)
    assert not up.has_connection(gateway)
    shares(gateway).all.connections = 0
    gateway.pass_ms(200)
    peer = up.accept(gateway)
    peer.request()
    peer.send(OK)
    assert client.response().status == 200


def test_without_a_limit_nothing_is_counted(gateway: Gateway) -> None:
    up = gateway.upstream()
    gateway.serve(up)
    client = gateway.client().send(GET)
    peer = up.accept(gateway)
    peer.request()
    assert counts(gateway) == (0, 0, 0)
    peer.send(OK)
    client.response()


# --- http1MaxPendingRequests ---


def test_no_more_may_wait_than_the_limit_says(gateway: Gateway) -> None:
    up = gateway.upstream()
    serve(gateway, up, max_connections=1, max_pending=1)
    first, second, third = (gateway.client().send(GET) for _ in range(3))
    assert is_overflow(third.response())
    peer = up.accept(gateway)
    for client in (first, second):
        peer.request()
        peer.send(OK)
        assert client.response().status == 200
    assert gateway.counter("FGW_C_OVERFLOW_PENDING") == 1 and counts(gateway)[1] == 0


def test_a_connection_being_made_counts_as_waiting(gateway: Gateway) -> None:
    """Nobody answers there: the connects stay under way."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        fill = [socket.socket() for _ in range(3)]
        for sock in fill:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        gateway.serve(port, policy=Policy(pool=Pool(max_pending=2)))
        clients = [gateway.client().send(GET) for _ in range(3)]
        assert is_overflow(clients[2].response()) and counts(gateway)[1] == 2
        for client in clients:
            client.close()
        gateway.settle()
        assert counts(gateway)[1] == 0
        for sock in fill:
            sock.close()


# --- one connection ---


def test_a_connection_carries_so_many_requests_and_says_which_is_the_last(gateway: Gateway) -> None:
    up = gateway.upstream()
    serve(gateway, up, max_requests_per_connection=2)
    client = gateway.client()
    for _ in range(2):
        client.send(GET)
        peer = up.accept(gateway)
        assert peer.request().values("connection") == []
        peer.send(OK)
        client.response()
        client.send(GET)
        assert peer.request().values("connection") == ["close"]
        peer.send(OK)
        assert client.response().status == 200 and peer.until_end()


def test_an_old_connection_is_not_used_again(gateway: Gateway) -> None:
    up = gateway.upstream()
    serve(gateway, up, max_connection_ms=10_000)
    client = gateway.client().send(GET)
    peer = up.accept(gateway)
    peer.request()
    gateway.pass_ms(11_000)
    peer.send(OK)
    assert client.response().status == 200 and peer.until_end()
    client.send(GET)
    peer = up.accept(gateway)
    peer.request()
    peer.send(OK)
    client.response()
    gateway.pass_ms(9000)
    assert peer.poll().end == ""
    gateway.pass_ms(1500)
    assert peer.until_end()


@pytest.mark.parametrize(("ms", "lives"), [(2000, False), (0, True), (None, True)])
def test_idle_connections_live_as_long_as_the_policy_says(gateway: Gateway, ms: int | None, lives: bool) -> None:
    up = gateway.upstream()
    serve(gateway, up, idle_timeout_ms=ms)
    client = gateway.client().send(GET)
    peer = up.accept(gateway)
    peer.request()
    peer.send(OK)
    client.response()
    gateway.pass_ms(2500)
    assert (peer.poll().end == "") is lives


def test_tcp_keepalive_is_set(gateway: Gateway) -> None:
    up = gateway.upstream()
    serve(gateway, up, keepalive=Keepalive(77, 11, 5))
    gateway.client().send(GET)
    peer = up.accept(gateway)
    ours = fd_to(peer.sock.getpeername())
    with socket.socket(fileno=ours) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        assert [sock.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [77, 11, 5]


def test_a_machine_that_is_gone_is_noticed(gateway: Gateway) -> None:
    up = gateway.upstream()
    serve(gateway, up)
    gateway.client().send(GET)
    peer = up.accept(gateway)
    with socket.socket(fileno=fd_to(peer.sock.getpeername())) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_USER_TIMEOUT)
        assert [sock.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [60, 15, 30_000]


def fd_to(local: tuple[str, int]) -> int:
    """A duplicate of this process's descriptor whose own address this is."""
    for name in os.listdir("/proc/self/fd"):
        try:
            duplicate = os.dup(int(name))
        except OSError:
            continue
        try:
            with socket.socket(fileno=duplicate) as sock:
                if sock.family == socket.AF_INET and sock.getsockname() == local:
                    return os.dup(sock.fileno())
        except OSError:
            continue
    raise AssertionError(f"no socket {local}")


# --- layer 4 ---


def test_connections_beyond_the_limit_are_reset_at_layer_4(gateway: Gateway) -> None:
    up = gateway.upstream()
    gateway.relay(up, policy=Policy(pool=Pool(max_connections=1)))
    first = gateway.client()
    peer = up.accept(gateway)
    second = gateway.client()
    assert second.until_end() == "reset" and counts(gateway)[0] == 1
    first.close()
    peer.close()
    gateway.settle()
    assert counts(gateway)[0] == 0
    third = gateway.client()
    up.accept(gateway)
    third.close()


def test_a_relayed_connection_ends_when_it_is_too_old(gateway: Gateway) -> None:
    up = gateway.upstream()
    gateway.relay(up, policy=Policy(pool=Pool(max_connection_ms=5000)))
    client = gateway.client()
    peer = up.accept(gateway)
    for _ in range(9):
        client.send(b"x")
        gateway.pass_ms(500)
    assert client.poll().end == ""
    gateway.pass_ms(600)
    assert client.until_end() and peer.until_end()
