"""A worker with too much to do, or too little memory: what it refuses, what it spares, and that it is over when it is over."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator

import pytest
from dataplane_support import GET, LISTENER, OK, Gateway, Upstream, free_port, post
from h2_support import H2Peer
from http2_upstream_support import accept
from tls_support import credential, give_credentials, https_chain, server_pair, tls_plan
from wire import h2

from fastgw.dataplane import buffers
from fastgw.dataplane.loop import CallbackWatcher
from fastgw.image.layout import lib

MakeGateway = Callable[..., Gateway]
MEMORY = 8
"""The hold of a worker without memory."""
ALL = int(lib.FGW_SHEDDER_ALL)
PROGRAM = [("text", '["'), ("code", ""), ("text", '","'), ("flags", ""), ("text", '","'), ("details", ""), ("text", '"]\n')]


class Busy:
    """Keeps the loop turning; each turn takes so much of its clock."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    def turns(self, count: int, turn_ms: int) -> None:
        near, far = socket.socketpair()
        far.send(b"x")
        loop = self.gateway.loop
        watcher = CallbackWatcher(loop, near.fileno(), 1, lambda events: loop.skip_ms(turn_ms), lambda: None)
        for _ in range(count):
            self.gateway.turn()
        loop.forget(watcher)
        near.close()
        far.close()


@pytest.fixture
def logged(make_gateway: MakeGateway) -> Iterator[tuple[Gateway, Callable[[], list[list[str]]]]]:
    """A gateway and its log so far: code, flags, details."""
    with tempfile.TemporaryFile() as file:
        gateway = make_gateway(log=PROGRAM, log_fd=file.fileno(), limits={"spare_paths": ["/healthz"]})

        def lines() -> list[list[str]]:
            gateway.log.flush()
            return [json.loads(line) for line in os.pread(file.fileno(), 1 << 20, 0).splitlines()]

        yield gateway, lines


@pytest.fixture
def busy(gateway: Gateway) -> Busy:
    return Busy(gateway)


UseMemory = Callable[[Gateway, float], None]


@pytest.fixture
def use_memory() -> Iterator[UseMemory]:
    """Have the control group use so much of its limit (a megabyte), in percent, and the worker look. A good part of it is in the
    worker's buffers. To be asked for last, since these are given back before the gateway ends."""
    ballast = buffers.Buffer()
    ballast.put(bytes(100_000))

    def use(gateway: Gateway, percent: float) -> None:
        gateway.state.memory_limit = 1_000_000
        gateway.state.memory_used = int(percent * 10_000)
        gateway.state.memory_read_ms = 1 << 60
        gateway.pass_ms(300)

    yield use
    ballast.drop(100_000)


def step(gateway: Gateway) -> int:
    return gateway.counter("FGW_G_MEMORY_STEP")


# ---- too much to do


def test_while_events_wait_too_long_new_requests_are_refused(gateway: Gateway, busy: Busy) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    begun = gateway.client().send(GET)
    up = upstream.accept(gateway)
    up.request()
    for _ in range(12):
        if not gateway.context.late:
            busy.turns(1, 150)
    assert gateway.context.late and gateway.context.refuse_share == 0, "a warning"
    busy.turns(100, 150)
    assert gateway.context.refuse_share == ALL // 32 * 31
    assert gateway.counter("FGW_G_SHED_SHARE") == ALL // 32 * 31 and gateway.counter("FGW_G_LOOP_DELAY_US") >= 150_000
    clients = [gateway.client() for _ in range(40)]
    for client in clients:
        client.sock.send(GET)
    gateway.turn()
    gateway.turn()
    refused = [client for client in clients if client.poll().data.startswith(b"HTTP/1.1 503")]
    assert len(refused) >= 20, "31 of 32, on average"
    answer = refused[0].response()
    assert (answer.body, answer["retry-after"]) == (b"envoy overloaded", "1") and not answer.values("x-envoy-overloaded")
    assert gateway.counter("FGW_C_SHED_DELAY") == len(refused)
    up.send(OK)
    assert begun.response().status == 200, "what has begun is spared"


def test_it_is_over_when_events_are_served_in_time(gateway: Gateway, busy: Busy) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    busy.turns(100, 150)
    busy.turns(400, 10)
    assert (gateway.context.refuse_share, gateway.context.late) == (0, False)
    client = gateway.client().send(GET)
    upstream.accept(gateway).send(OK)
    assert client.response().status == 200


def test_a_stall_is_no_overload(gateway: Gateway, busy: Busy) -> None:
    for _ in range(20):
        busy.turns(1, 5000)
        busy.turns(3, 20)
    assert (gateway.context.refuse_share, gateway.context.late) == (0, False)


def test_a_target_of_0_switches_it_off(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(limits={"shed_target_ms": 0})
    Busy(gateway).turns(100, 1000)
    assert (gateway.context.refuse_share, gateway.context.late) == (0, False)


def test_more_events_than_a_turn_takes_wait_longer_than_the_turn(gateway: Gateway) -> None:
    """epoll tells of 256 at a time; each of these costs a millisecond."""
    pairs = [socket.socketpair() for _ in range(600)]
    watchers = []
    for near, far in pairs:
        far.send(b"x")
        watchers.append(CallbackWatcher(gateway.loop, near.fileno(), 1, lambda events: gateway.loop.skip_ms(1), lambda: None))
    for _ in range(50):
        gateway.turn()
    waited_us = gateway.counter("FGW_G_LOOP_DELAY_US")
    for watcher in watchers:
        gateway.loop.forget(watcher)
    for near, far in pairs:
        near.close()
        far.close()
    assert waited_us >= 500_000, "two turns and a part of the third"
    assert gateway.context.refuse_share > 0


def test_spared_paths_and_what_the_log_says(logged: tuple[Gateway, Callable[[], list[list[str]]]], use_memory: UseMemory) -> None:
    gateway, lines = logged
    upstream = gateway.upstream()
    gateway.serve(upstream)
    spared, other = gateway.client(), gateway.client()
    use_memory(gateway, 96)
    spared.send(b"GET /healthz?deep=1 HTTP/1.1\r\nHost: a.test\r\n\r\n")
    upstream.accept(gateway).send(OK)
    assert spared.response().status == 200
    assert other.send(b"GET /healthz/x HTTP/1.1\r\nHost: a.test\r\n\r\n").response().status == 503
    assert lines() == [["200", "-", "via_upstream"], ["503", "OM", "overload"]]
    assert (gateway.counter("FGW_C_SHED_MEMORY"), gateway.counter("FGW_C_SHED_DELAY")) == (1, 0)


def test_a_refused_call_is_unavailable(gateway: Gateway, use_memory: UseMemory) -> None:
    gateway.serve(gateway.upstream())
    client = H2Peer(gateway)
    use_memory(gateway, 96)
    fields = h2.head("POST", "/a.B/C", ("content-type", "application/grpc"), ("te", "trailers"))
    client.send(h2.headers(1, fields))
    answer = client.stream().fields
    assert (answer[":status"], answer["grpc-status"], answer["grpc-message"]) == ("200", "14", "envoy overloaded")


def test_no_request_is_sent_again_meanwhile(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(limits={"spare_paths": ["/"]})
    gateway.serve(free_port(), free_port())
    assert gateway.client().send(GET).response().status == 503
    retried = gateway.counter("FGW_C_UPSTREAM_RETRIES")
    Busy(gateway).turns(60, 150)
    answer = gateway.client().send(GET).response()
    assert answer.status == 503 and answer["x-envoy-overloaded"] == "true" and b"upstream connect error" in answer.body
    assert gateway.counter("FGW_C_UPSTREAM_RETRIES") == retried > 0


def test_handshakes_are_begun_one_a_turn(gateway: Gateway, busy: Busy) -> None:
    upstream = gateway.upstream()
    give_credentials(gateway, {"cert": credential(server_pair())})
    gateway.attach(tls_plan([upstream.port], [https_chain()]))
    busy.turns(5, 150)
    assert gateway.context.late
    crowd = [socket.socket() for _ in range(20)]
    for sock in crowd:
        sock.connect(gateway.addresses[LISTENER])
    taken = gateway.counter("FGW_C_CLIENT_CONNECTIONS")
    for i in range(3):
        gateway.turn()
        assert gateway.counter("FGW_C_CLIENT_CONNECTIONS") == taken + i + 1
    assert gateway.counter("FGW_C_HANDSHAKES_DEFERRED") == 3
    busy.turns(200, 1)
    gateway.pass_ms(1000)
    assert gateway.counter("FGW_C_CLIENT_CONNECTIONS") == taken + 20
    for sock in crowd:
        sock.close()


# ---- too little memory


def test_idle_connections_have_less_time(gateway: Gateway, use_memory: UseMemory) -> None:
    gateway.serve(gateway.upstream())
    idle, other = gateway.client().send(b"BAD\r\n\r\n"), H2Peer(gateway)
    upstream = gateway.upstreams[0]
    idle = gateway.client().send(GET)
    upstream.accept(gateway).send(OK)
    assert idle.response().status == 200
    use_memory(gateway, 84)
    assert step(gateway) == 0 and gateway.context.idle_timeout_ms == 75_000
    use_memory(gateway, 90)
    assert step(gateway) == 1 and gateway.context.idle_timeout_ms == 38_500 and gateway.context.http2_idle_timeout_ms == 151_000
    gateway.pass_ms(30_000)
    assert idle.poll().end == ""
    gateway.pass_ms(9_000)
    assert idle.poll().end == "fin" and other.settled().goaway == ""
    use_memory(gateway, 80)
    assert step(gateway) == 0 and gateway.context.idle_timeout_ms == 75_000 and gateway.context.http2_idle_timeout_ms == 300_000
    assert gateway.counter("FGW_C_MEMORY_STEPS") == 1
    use_memory(gateway, 95)
    assert gateway.context.idle_timeout_ms == 2_000 == gateway.context.http2_idle_timeout_ms
    gateway.pass_ms(3_000)
    assert other.settled().goaway == "NO_ERROR"


def test_connections_end_after_the_answer(gateway: Gateway, use_memory: UseMemory) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client, multi = gateway.client(), H2Peer(gateway)
    use_memory(gateway, 93)
    assert step(gateway) == 2
    client.send(GET)
    upstream.accept(gateway).send(OK)
    assert client.response()["connection"] == "close" and client.until_end() == "fin"
    multi.send(h2.headers(1, h2.head()))
    upstream.accept(gateway).send(OK)
    assert multi.stream().status == 200, "with GOAWAY the request is served all the same"
    assert multi.settled().goaway == "NO_ERROR"
    fresh = gateway.client().send(GET)
    upstream.accept(gateway).send(OK)
    assert fresh.response()["connection"] == "close", "new connections are still accepted"
    use_memory(gateway, 88)
    client = gateway.client().send(GET)
    upstream.accept(gateway).send(OK)
    assert not client.response().values("connection")


def answer_one(gateway: Gateway, upstream: Upstream, protocol: str = "http2") -> Callable[[], str]:
    """A request, answered. How the upstream connection ends, "" as long as it does not."""
    client = gateway.client().send(GET)
    if protocol == "http2":
        multi = accept(gateway, upstream)
        multi.answer(multi.request()[0], b"")
        peer = multi.peer
    else:
        peer = upstream.accept(gateway)
        peer.request()
        peer.send(OK)
    assert client.response().status == 200
    return lambda: peer.poll().end


@pytest.mark.parametrize("protocol", ["http1", "http2"])
def test_what_is_idle_to_upstreams_has_less_time(gateway: Gateway, use_memory: UseMemory, protocol: str) -> None:
    """Those that are idle already, and those that become so meanwhile."""
    gateway.serve(upstream := gateway.upstream(), protocol=protocol)
    before = answer_one(gateway, upstream, protocol)
    use_memory(gateway, 90)
    assert gateway.context.upstream_idle_timeout_ms == 60_000 and gateway.context.upstream_idle_most_ms == 31_000
    gateway.pass_ms(30_000)
    assert before() == "" and gateway.pool.idle == 1
    gateway.pass_ms(2_000)
    assert before() == "fin" and gateway.pool.idle == 0
    after = answer_one(gateway, upstream, protocol)
    gateway.pass_ms(32_000)
    assert after() == "fin" and gateway.counter("FGW_C_SHED_UPSTREAM_IDLE") == 2
    use_memory(gateway, 80)
    calm = answer_one(gateway, upstream, protocol)
    gateway.pass_ms(32_000)
    assert calm() == "" and gateway.context.upstream_idle_most_ms == 0
    gateway.pass_ms(32_000)
    assert calm() == "fin" and gateway.counter("FGW_C_SHED_UPSTREAM_IDLE") == 2, "its own time was over"


@pytest.mark.parametrize("protocol", ["http1", "http2"])
def test_nothing_is_kept_idle_to_upstreams(gateway: Gateway, use_memory: UseMemory, protocol: str) -> None:
    gateway.serve(upstream := gateway.upstream(), protocol=protocol)
    idle = answer_one(gateway, upstream, protocol)
    use_memory(gateway, 93)
    assert step(gateway) == 2 and idle() == "fin" and gateway.pool.idle == 0
    assert answer_one(gateway, upstream, protocol)() == "fin" and gateway.pool.idle == 0
    assert gateway.counter("FGW_C_SHED_UPSTREAM_IDLE") == 2 == gateway.counter("FGW_C_UPSTREAM_CLOSED")
    use_memory(gateway, 80)
    assert answer_one(gateway, upstream, protocol)() == "" and gateway.pool.idle == 1


def test_what_is_under_way_goes_on(gateway: Gateway, use_memory: UseMemory) -> None:
    """Connections to upstreams with requests on them are not idle; those of before that answer now are closed after it."""
    gateway.serve(upstream := gateway.upstream())
    client = gateway.client().send(GET)
    up = upstream.accept(gateway)
    use_memory(gateway, 93)
    assert up.poll().end == "" and gateway.counter("FGW_G_UPSTREAM_ACTIVE") == 1
    up.send(OK)
    assert client.response().status == 200 and up.until_end() == "fin"


def test_what_was_kept_to_be_used_again_is_given_back(gateway: Gateway, use_memory: UseMemory) -> None:
    gateway.serve(upstream := gateway.upstream(), protocol="http2")
    multi = H2Peer(gateway)
    multi.send(*(h2.headers(1 + 2 * i, h2.head()) for i in range(50)))
    up = accept(gateway, upstream)
    for _ in range(50):
        up.answer(up.request()[0], b"")
    gateway.pass_ms(300)
    assert gateway.pool.spare_streams == 50 == gateway.server.spare_streams
    use_memory(gateway, 86)
    assert gateway.pool.spare_streams == 0 == gateway.server.spare_streams
    client = gateway.client().send(GET)
    up.answer(up.request()[0], b"")
    assert client.response().status == 200


def test_nothing_new_is_taken(gateway: Gateway, use_memory: UseMemory) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    before, begun, multi = gateway.client(), gateway.client().send(GET), H2Peer(gateway)
    up = upstream.accept(gateway)
    use_memory(gateway, 96)
    assert step(gateway) == 3 and gateway.server.admission.holds == MEMORY
    assert before.send(GET).response().status == 503
    multi.send(h2.headers(1, h2.head()))
    assert (multi.stream().status, multi.stream().fields["retry-after"]) == (503, "1")
    waiting = gateway.client().send(GET)
    up.send(OK)
    assert begun.response().status == 200
    assert not waiting.poll().data and not upstream.has_connection(gateway)
    use_memory(gateway, 93)
    assert step(gateway) == 3, "three hundredths below"
    use_memory(gateway, 91)
    assert step(gateway) == 2 and gateway.server.admission.holds == 0
    upstream.accept(gateway).send(OK)
    assert waiting.response().status == 200
    assert gateway.counter("FGW_C_SHED_MEMORY") == 2


def test_the_largest_streams_are_reset(logged: tuple[Gateway, Callable[[], list[list[str]]]]) -> None:
    gateway, lines = logged
    upstream = gateway.upstream()
    gateway.serve(upstream)
    up = []
    small = gateway.client().send(GET)
    up.append(upstream.accept(gateway))
    multi = H2Peer(gateway)
    multi.send(h2.headers(1, h2.head("POST"), end=False), *(h2.data(1, bytes(10_000)) for _ in range(3)))
    up.append(upstream.accept(gateway))
    multi.send(h2.headers(3, h2.head("POST"), end=False), h2.data(3, bytes(500)))
    up.append(upstream.accept(gateway))
    large = gateway.client().send(post(60_000) + bytes(50_000))
    up.append(upstream.accept(gateway))

    def use(percent: float) -> None:
        gateway.state.memory_limit, gateway.state.memory_read_ms = 400_000, 1 << 60
        gateway.state.memory_used = int(percent * 4_000)
        gateway.pass_ms(260)

    use(99)
    assert large.until_end() == "reset" and gateway.counter("FGW_C_SHED_STREAMS") == 1
    assert lines() == [["0", "OM", "overload"]]
    use(99)
    assert multi.stream(1).end == "INTERNAL" and gateway.counter("FGW_C_SHED_STREAMS") == 2
    use(99)
    assert gateway.counter("FGW_C_SHED_STREAMS") == 2, "the others hold too little"
    assert multi.settled().streams.get(3) is None and small.poll().end == ""
    use(50)
    up[0].send(OK)
    assert small.response().status == 200
    up[2].send(OK)
    assert multi.stream(3).status == 200


def test_a_heap_that_nobody_uses_is_no_reason_to_refuse(make_gateway: MakeGateway) -> None:
    """The budget is far below what this process has, but connections hold nearly nothing."""
    gateway = make_gateway(limits={"memory_bytes": 20_000_000})
    gateway.serve(gateway.upstream())
    gateway.pass_ms(300)
    assert step(gateway) == 2 and gateway.counter("FGW_G_MEMORY_BYTES") > 20_000_000 == gateway.counter("FGW_G_MEMORY_BUDGET")
    holders = []
    for _ in range(30):
        holders.append(gateway.client().send(post(70_000) + bytes(50_000)))
        gateway.upstreams[0].accept(gateway)
    gateway.pass_ms(300)
    assert gateway.counter("FGW_G_BUFFER_BYTES") > 20_000_000 // 16 or step(gateway) == 4
    assert gateway.counter("FGW_C_SHED_STREAMS") > 0


def test_what_the_supervisor_wrote_long_ago_is_not_believed(gateway: Gateway) -> None:
    gateway.state.memory_limit, gateway.state.memory_used = 100_000, 99_000
    gateway.state.memory_read_ms = int(time.monotonic() * 1000) - 10_000
    gateway.pass_ms(300)
    assert step(gateway) == 0
    gateway.state.memory_read_ms = int(time.monotonic() * 1000)
    gateway.pass_ms(300)
    assert step(gateway) == 2, "all of it is held by others: refusing would free nothing"
    gateway.state.memory_sockets, gateway.state.memory_read_ms = 7_000, int(time.monotonic() * 1000)
    gateway.pass_ms(300)
    assert step(gateway) == 4, "the kernel has some of it for connections"
    gateway.pass_ms(4000)
    assert step(gateway) == 0
