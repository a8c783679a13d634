"""Every wait has an end. The loop's clock jumps, so that no test waits."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from dataplane_support import GET, OK, Gateway, Peer, make_plan, post

from fastgw.model.plan import Cluster, Endpoint

MakeGateway = Callable[..., Gateway]
UNHEALTHY = b"no healthy upstream"


def test_a_head_that_is_not_finished_is_answered_with_408(gateway: Gateway) -> None:
    client = gateway.client().send(b"GET / HTTP/1.1\r\nHo")
    gateway.pass_ms(9_900)
    assert not client.poll().data and not client.end
    gateway.pass_ms(300)
    answer = client.response()
    assert (answer.status, answer["connection"]) == (408, "close")
    assert client.until_end() == "fin"
    assert gateway.rejected() == {"head_timeout": 1} and gateway.counter("FGW_C_CLIENT_TIMEOUTS_HEAD") == 1


def test_bytes_that_trickle_in_do_not_move_the_heads_deadline(gateway: Gateway) -> None:
    client = gateway.client()
    for byte in GET[:12]:
        client.send(bytes([byte]))
        gateway.pass_ms(1_000)
    assert client.response().status == 408


def test_the_second_head_of_a_connection_has_its_own_deadline(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(GET)
    upstream.accept(gateway).send(OK)
    assert client.response().status == 200
    gateway.pass_ms(60_000)
    client.send(b"G")
    gateway.pass_ms(9_500)
    assert not client.poll().data
    gateway.pass_ms(1_000)
    assert client.response().status == 408


def test_a_connection_that_says_nothing_is_closed_silently(gateway: Gateway) -> None:
    client = gateway.client()
    gateway.pass_ms(9_800)
    assert not client.poll().end
    gateway.pass_ms(400)
    assert client.until_end() == "fin" and not client.data
    assert gateway.counter("FGW_C_CLIENT_TIMEOUTS_IDLE") == 1


def test_an_idle_kept_alive_connection_is_closed_silently(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(GET)
    upstream.accept(gateway).send(OK)
    client.response()
    gateway.pass_ms(74_500)
    assert not client.poll().end
    gateway.pass_ms(700)
    assert client.until_end() == "fin" and not client.data


def begun_upload(gateway: Gateway, length: int = 100_000) -> tuple[Peer, Peer]:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(post(length) + b"x")
    up = upstream.accept(gateway)
    up.until(lambda data: data.endswith(b"\r\n\r\nx"))
    return client, up


def assert_late_body(gateway: Gateway, client: Peer, up: Peer) -> None:
    answer = client.response()
    assert (answer.status, answer["connection"]) == (408, "close")
    assert up.until_end() == "reset", "the upstream must see an aborted request"
    assert gateway.rejected() == {"body_timeout": 1} and gateway.counter("FGW_C_CLIENT_TIMEOUTS_BODY") == 1


def test_a_body_that_falls_silent_is_answered_with_408(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(limits={"body_min_bytes_per_s": 0})
    client, up = begun_upload(gateway)
    gateway.pass_ms(30_000)
    client.send(b"x")
    gateway.pass_ms(59_500)
    assert not client.poll().data
    gateway.pass_ms(700)
    assert_late_body(gateway, client, up)


def trickle(gateway: Gateway, client: Peer, bytes_each: int, seconds: int) -> None:
    for _ in range(seconds):
        client.send(b"y" * bytes_each)
        gateway.pass_ms(1_000)


def test_a_body_that_trickles_is_answered_with_408(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(limits={"body_timeout_ms": 10_000})
    client, up = begun_upload(gateway)
    trickle(gateway, client, 200, 58)
    assert not client.poll().data, "there is a grace of a minute"
    trickle(gateway, client, 200, 15)
    assert_late_body(gateway, client, up)


def test_a_body_above_the_least_rate_may_take_its_time(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(limits={"body_timeout_ms": 10_000})
    client, up = begun_upload(gateway, 1 + 300 * 100)
    trickle(gateway, client, 300, 100)
    up.request()
    up.send(OK)
    assert client.response().status == 200


def test_a_request_may_have_an_overall_limit(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(limits={"request_timeout_ms": 5_000})
    client, up = begun_upload(gateway)
    trickle(gateway, client, 5_000, 4)
    assert not client.poll().data
    trickle(gateway, client, 5_000, 2)
    assert_late_body(gateway, client, up)


def test_a_body_that_the_upstream_does_not_take_is_not_the_clients_fault(gateway: Gateway) -> None:
    upstream = gateway.upstream(receive_bytes=4096)
    gateway.serve(upstream)
    client = gateway.client().send(post(50_000_000))
    up = upstream.accept(gateway)
    for _ in range(200):
        client.try_send(b"x" * 65536)
        gateway.turn()
    gateway.pass_ms(100_000)
    assert not client.poll().data and not client.end
    up.close()
    assert client.response().status == 503


def test_zero_switches_a_deadline_off(make_gateway: MakeGateway) -> None:
    names = ("head_timeout_ms", "idle_timeout_ms", "body_timeout_ms", "write_timeout_ms", "body_min_bytes_per_s")
    gateway = make_gateway(limits=dict.fromkeys(names, 0))
    head = gateway.client().send(b"GET")
    client, _up = begun_upload(gateway)
    gateway.pass_ms(1_000_000)
    assert not client.poll().end and not head.poll().end and not client.data and not head.data


def test_a_client_that_does_not_read_is_reset(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client(receive_bytes=4096).send(GET)
    up = upstream.accept(gateway)
    up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    for _ in range(200):
        up.try_send(b"x" * 65536)
        gateway.turn()
    gateway.pass_ms(59_000)
    assert gateway.alive()["clients"] == 1
    gateway.pass_ms(2_000)
    assert gateway.alive()["clients"] == 0 and gateway.alive()["buffer_bytes"] == 0
    assert client.until_end() == "reset" and up.until_end()
    assert gateway.counter("FGW_C_CLIENT_TIMEOUTS_WRITE") == 1


def test_a_client_that_reads_a_little_is_not(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client(receive_bytes=4096).send(GET)
    up = upstream.accept(gateway)
    up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    for _ in range(200):
        up.try_send(b"x" * 65536)
        gateway.turn()
    for _ in range(6):
        for _ in range(400):  # the kernel's own buffer hides small sips
            client.poll(65536)
            gateway.turn()
        gateway.pass_ms(40_000)
    assert not client.end and gateway.counter("FGW_C_CLIENT_TIMEOUTS_WRITE") == 0
    client.close()


def test_a_lingering_close_ends(gateway: Gateway) -> None:
    client = gateway.client().send(b"BAD\r\n\r\n")
    assert client.response().status == 400 and client.until_end() == "fin"
    client.sock.send(b"more")
    gateway.pass_ms(1_500)
    assert gateway.alive()["clients"] == 1
    gateway.pass_ms(1_000)
    assert gateway.alive()["clients"] == 0


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port whose accept queue is full: the kernel drops further SYNs, a connect never ends."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]
        for filler in fillers:
            filler.close()


def test_a_connect_that_takes_too_long_is_tried_again_then_answered(make_gateway: MakeGateway, black_hole: int) -> None:
    gateway = make_gateway(limits={"connect_attempts": 2})
    gateway.serve(black_hole, connect_timeout_ms=1_000)
    client = gateway.client().send(GET)
    gateway.pass_ms(1_900)
    assert not client.poll().data
    gateway.pass_ms(500)
    answer = client.response()
    assert (answer.status, answer["content-type"]) == (503, "text/plain")
    assert answer.body == (
        b"upstream connect error or disconnect/reset before headers. retried and the latest reset reason: connection timeout"
    )
    assert gateway.counter("FGW_C_UPSTREAM_CONNECT_TIMEOUTS") == 2 and gateway.cell(black_hole).failures == 2


def test_another_endpoint_is_taken_after_a_connect_timeout(gateway: Gateway, black_hole: int) -> None:
    upstream = gateway.upstream()
    gateway.serve(black_hole, upstream, connect_timeout_ms=1_000)
    clients = [gateway.client().send(GET) for _ in range(2)]  # in turn: one of them meets the black hole first
    gateway.pass_ms(1_300)
    ups = [upstream.accept(gateway) for _ in range(2)]
    assert sorted(up.request()["x-envoy-attempt-count"] for up in ups) == ["1", "2"]
    for up in ups:
        up.send(OK)
    assert [client.response().status for client in clients] == [200, 200]


def test_a_body_waits_while_the_connect_is_under_way(gateway: Gateway, black_hole: int) -> None:
    gateway.serve(black_hole, connect_timeout_ms=100_000)
    client = gateway.client().send(post(1_000_000))
    for _ in range(100):
        client.try_send(b"x" * 65536)
        gateway.turn()
    assert gateway.alive()["buffer_bytes"] <= 256 << 10
    gateway.pass_ms(90_000)
    assert not client.poll().data, "what we do not read is not late"
    client.reset()
    assert gateway.alive()["exchanges"] == 0


def test_an_idle_upstream_connection_is_closed_in_time(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(GET)
    up = upstream.accept(gateway)
    up.send(OK)
    client.response()
    gateway.pass_ms(59_500)
    assert not up.poll().end and gateway.pool.idle == 1
    gateway.pass_ms(700)
    assert up.until_end() == "fin" and gateway.pool.idle == 0


def test_an_upstream_that_does_not_answer_in_time_is_a_504(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(limits={"upstream_response_timeout_ms": 3_000})
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(GET)
    up = upstream.accept(gateway)
    up.send(b"HTTP/1.1 200 OK\r\nContent-")
    gateway.pass_ms(2_900)
    assert not client.poll().data
    gateway.pass_ms(300)
    answer = client.response()
    assert (answer.status, answer.body) == (504, b"upstream request timeout")
    assert up.until_end() and gateway.counter("FGW_C_UPSTREAM_TIMEOUTS") == 1
    client.send(GET)
    up = upstream.accept(gateway)
    up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsl")
    gateway.pass_ms(10_000)
    up.send(b"ow")
    assert client.response().body == b"slow", "the limit is for the answer's head"


# ---- answers that take their time


def begun_answer(gateway: Gateway, framing: bytes = b"Transfer-Encoding: chunked") -> tuple[Peer, Peer]:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(GET)
    up = upstream.accept(gateway)
    up.request()
    up.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + framing + b"\r\n\r\n")
    client.until(lambda data: data.endswith(b"\r\n\r\n"))
    client.data.clear()
    return client, up


def test_silence_within_an_answer_ends_nothing_by_default(gateway: Gateway) -> None:
    client, up = begun_answer(gateway)
    gateway.pass_ms(600_000)
    up.send(b"3\r\n: \n\r\n")
    client.until(lambda data: data == b"3\r\n: \n\r\n")


def test_a_long_poll_waits_as_long_as_it_likes(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(limits={"stream_idle_timeout_ms": 1_000, "request_timeout_ms": 1_000})
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(GET)
    up = upstream.accept(gateway)
    gateway.pass_ms(600_000)
    up.send(OK)
    assert client.response().body == b"ok", "that time is --upstream-response-timeout's"


def test_events_may_come_for_longer_than_the_idle_time_out(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(limits={"stream_idle_timeout_ms": 5_000})
    client, up = begun_answer(gateway)
    for _ in range(20):
        gateway.pass_ms(4_500)
        up.send(b"3\r\n: \n\r\n")
    assert client.poll().data == b"3\r\n: \n\r\n" * 20 and not client.end
    gateway.pass_ms(5_200)
    assert client.until_end() == "fin" and not client.data.endswith(b"0\r\n\r\n"), "cut, not ended"
    assert up.until_end() and gateway.counter("FGW_C_STREAM_TIMEOUTS") == 1


def test_a_slow_client_is_not_a_silent_upstream(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(limits={"stream_idle_timeout_ms": 1_000, "write_timeout_ms": 0})
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client(receive_bytes=4096).send(GET)
    up = upstream.accept(gateway)
    up.request()
    up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n")
    sent = 0
    while (taken := up.try_send(bytes(1 << 16))) or gateway.turn():
        sent += taken
    gateway.pass_ms(60_000)
    assert not client.end and gateway.counter("FGW_C_STREAM_TIMEOUTS") == 0
    while sent < 9_000_000:
        sent += up.try_send(bytes(min(1 << 16, 9_000_000 - sent)))
        client.poll()
        gateway.turn()
    client.until(lambda data: len(data) > 9_000_000)


# ---- names


@pytest.fixture
def by_name(gateway: Gateway) -> Gateway:
    gateway.attach(make_plan([Cluster("d", "d.test", 80, discovery="dns", endpoints=[Endpoint("d.test", 80, lookup="all")])]))
    return gateway


def test_a_name_that_stays_unknown_is_a_503_after_5_seconds(by_name: Gateway) -> None:
    client = by_name.client().send(GET)
    by_name.pass_ms(4_900)
    assert not client.poll().data
    by_name.pass_ms(300)
    answer = client.response()
    assert (answer.status, answer.body) == (503, UNHEALTHY)


def test_a_request_waits_for_a_name_to_be_resolved(by_name: Gateway) -> None:
    upstream = by_name.upstream()
    client = by_name.client().send(post(5) + b"hello")
    by_name.pass_ms(2_000)
    assert not client.poll().data
    by_name.answer_dns("d", "OK", (upstream.port, 200_000))
    by_name.pass_ms(200)
    up = upstream.accept(by_name)
    request = up.request()
    assert (request.body, request["x-envoy-attempt-count"]) == (b"hello", "1")
    assert by_name.state.cells[200_000].active == 1
    up.send(OK)
    assert client.response().status == 200
    client.send(GET)
    up.request()
    up.send(OK)
    assert client.response().status == 200, "at once from now on, on the pooled connection"


def test_a_name_that_failed_is_a_503_at_once(by_name: Gateway) -> None:
    by_name.answer_dns("d", "FAILED")
    answer = by_name.client().send(GET).response()
    assert (answer.status, answer.body) == (503, UNHEALTHY)


def test_a_name_that_fails_while_a_request_waits(by_name: Gateway) -> None:
    client = by_name.client().send(GET + GET)
    by_name.pass_ms(500)
    by_name.answer_dns("d", "FAILED")
    by_name.pass_ms(200)
    assert [client.response().status for _ in range(2)] == [503, 503]


def test_a_client_may_leave_while_its_request_waits_for_a_name(by_name: Gateway) -> None:
    client = by_name.client().send(GET)
    by_name.pass_ms(500)
    client.close()
    assert by_name.alive()["exchanges"] == 0
    by_name.pass_ms(6_000)
