"""Connections that are relayed as bytes: both directions, their ends, faults, deadlines, and what is counted and logged."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest
from dataplane_support import Gateway, Peer, free_port, tcp_chain

from fastgw.dataplane import pipes
from fastgw.image.layout import lib
from fastgw.model.plan import Cluster, Endpoint, Sticky

BULK = 4 << 20


def opened(gateway: Gateway, **options: Any) -> tuple[Peer, Peer]:
    """A client and its upstream connection."""
    if not gateway.generation:
        gateway.relay(gateway.upstream(), **options)
    client = gateway.client()
    return client, gateway.upstreams[0].accept(gateway)


def noise(size: int, seed: int = 0) -> bytes:
    return Random(seed).randbytes(size)


def series(gateway: Gateway) -> dict[int, tuple[int, int, int, int]]:
    """flags -> (opened, closed, sent, received)"""
    found: dict[int, tuple[int, int, int, int]] = {}
    for one in gateway.stats.tcp_series:
        if one.key:
            found[int(one.key) >> 16 & 0xFFFF] = (one.opened, one.closed, one.sent_bytes, one.received_bytes)
    return found


# ---- relaying


def test_bytes_go_both_ways(gateway: Gateway) -> None:
    client, up = opened(gateway)
    client.send(b"ping")
    up.until(lambda data: data == b"ping")
    up.send(b"pong")
    client.until(lambda data: data == b"pong")


def test_the_server_may_speak_first(gateway: Gateway) -> None:
    client, up = opened(gateway)
    up.send(b"\x4a\x00\x00\x00\x0a8.0.36\x00")
    client.until(lambda data: bytes(data) == b"\x4a\x00\x00\x00\x0a8.0.36\x00")


def test_what_the_client_sends_before_the_upstream_is_there_waits(gateway: Gateway) -> None:
    gateway.relay(gateway.upstream())
    client = gateway.client()
    client.try_send(b"early")
    up = gateway.upstreams[0].accept(gateway)
    up.until(lambda data: data == b"early")


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("size", [1, 32767, 32768, 32769, 65536, BULK + 1])
def test_every_byte_arrives_once_and_in_order(gateway: Gateway, direction: str, size: int) -> None:
    client, up = opened(gateway)
    source, sink = (client, up) if direction == "up" else (up, client)
    data = noise(size)
    transfer(gateway, source, sink, data)
    assert bytes(sink.data) == data
    sink.send(b"thanks")
    source.until(lambda data: data == b"thanks")


def transfer(gateway: Gateway, source: Peer, sink: Peer, data: bytes) -> None:
    """Send while the other end reads."""
    view = memoryview(data)
    while len(sink.data) < len(data):
        if view:
            view = view[source.try_send(view) :]
        gateway.turn()
        sink.poll()
        assert not sink.end and gateway.bugs == []


def test_both_directions_at_once_in_random_pieces(gateway: Gateway) -> None:
    client, up = opened(gateway)
    chance = Random(7)
    there, back = noise(BULK, 1), noise(BULK, 2)
    unsent = {client: memoryview(there), up: memoryview(back)}
    while len(up.data) < len(there) or len(client.data) < len(back):
        for peer in chance.sample([client, up], k=2):
            size = chance.choice([1, 100, 5000, 40_000, 300_000])
            unsent[peer] = unsent[peer][peer.try_send(unsent[peer][:size]) :]
            if chance.random() < 0.7:
                peer.poll(chance.choice([10, 10_000, 1 << 20]))
            if chance.random() < 0.6:
                gateway.turn()
    assert bytes(up.data) == there and bytes(client.data) == back


def test_bulk_goes_through_pipes_and_gives_them_back(gateway: Gateway) -> None:
    gateway.relay(gateway.upstream(receive_bytes=20_000))  # a window that fills, whatever the machine's
    client, up = opened(gateway)
    data, sent = noise(1 << 20) * 64, 0
    for _ in range(100):  # more than the kernel's buffers take
        sent += client.try_send(memoryview(data)[sent:])
        gateway.settle()
    assert sent < len(data) and gateway.alive()["pipes"] == 1
    while len(up.data) < sent:
        up.poll(1 << 20)
        gateway.turn()
    gateway.settle()
    assert bytes(up.data) == data[:sent] and gateway.alive()["pipes"] == 0
    client.send(b"x")  # and small pieces are relayed again as before
    up.until(lambda data: data[-1:] == b"x" and len(data) == sent + 1)


def test_without_a_pipe_left_bytes_are_copied(gateway: Gateway) -> None:
    """More directions are full than there may be pipes."""
    pairs = [opened(gateway) for _ in range(pipes.pipe_limit() + 3)]
    data, sent = noise(1 << 20) * 8, [0] * len(pairs)
    for i, (client, _) in enumerate(pairs):
        for _ in range(8):
            sent[i] += client.try_send(memoryview(data)[sent[i] :])
            gateway.settle()
    assert gateway.alive()["pipes"] == pipes.pipe_limit()
    for i, (_, up) in enumerate(pairs):
        while len(up.data) < sent[i]:
            up.poll()
            gateway.turn()
        assert bytes(up.data) == data[: sent[i]]
        up.close()


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_sink_that_does_not_read_stops_the_source(gateway: Gateway, direction: str) -> None:
    client, up = opened(gateway)
    source, sink = (client, up) if direction == "up" else (up, client)
    data, sent = noise(1 << 20) * 64, 0
    for _ in range(200):
        sent += source.try_send(memoryview(data)[sent : sent + (1 << 20)])
        gateway.settle()
    assert sent < 32 << 20, "the gateway and four kernel buffers took it all"
    assert gateway.alive()["buffer_bytes"] <= 65536
    while len(sink.data) < sent:
        sink.poll(1 << 20)
        gateway.turn()
    assert bytes(sink.data) == data[:sent]


# ---- ends


@pytest.mark.parametrize("size", [0, 5, 300_000])
def test_a_fin_is_passed_on_and_the_other_direction_stays_open(gateway: Gateway, size: int) -> None:
    client, up = opened(gateway)
    data = noise(size)
    transfer(gateway, client, up, data)
    client.finish()
    assert up.until_end() == "fin" and bytes(up.data) == data
    up.send(b"the answer")
    client.until(lambda data: data == b"the answer")
    assert not client.end and gateway.alive()["tunnels"] == 1
    up.finish()
    assert client.until_end() == "fin"
    gateway.until(lambda: gateway.alive()["tunnels"] == 0)
    assert series(gateway) == {0: (1, 1, 10, size)}


def test_the_server_may_end_first(gateway: Gateway) -> None:
    client, up = opened(gateway)
    up.send(b"bye").finish()
    assert client.until_end() == "fin" and client.data == b"bye"
    client.send(b"still here")
    up.until(lambda data: data == b"still here")
    client.finish()
    assert up.until_end() == "fin"


def test_what_waits_before_a_fin_is_not_lost(gateway: Gateway) -> None:
    """The source has sent all and its FIN, its other direction has ended too, and the sink has not read yet."""
    client, up = opened(gateway)
    up.finish()
    client.until_end()
    data, sent = noise(16 << 20), 0
    for _ in range(200):
        sent += client.try_send(memoryview(data)[sent:])
        gateway.settle()
    client.finish()
    gateway.pass_ms(1000)
    while not up.end:
        up.poll(1 << 20)
        gateway.turn()
    assert up.end == "fin" and bytes(up.data) == data[:sent]


def test_a_client_that_ended_before_the_upstream_was_there(gateway: Gateway) -> None:
    gateway.relay(gateway.upstream())
    client = gateway.client()
    client.try_send(b"question")
    client.finish()
    up = gateway.upstreams[0].accept(gateway)
    assert up.until_end() == "fin" and up.data == b"question"
    up.send(b"answer").finish()
    assert client.until_end() == "fin" and client.data == b"answer"


@pytest.mark.parametrize("who", ["client", "upstream"])
def test_a_reset_is_passed_on(gateway: Gateway, who: str) -> None:
    client, up = opened(gateway)
    client.send(b"x")
    up.until(lambda data: data == b"x")
    breaks, other = (client, up) if who == "client" else (up, client)
    breaks.reset()
    assert other.until_end() == "reset"
    gateway.settle()
    assert series(gateway) == {0: (1, 1, 0, 1)}


@pytest.mark.parametrize("who", ["client", "upstream"])
@pytest.mark.parametrize("how", ["reset", "close"])
def test_an_end_at_any_byte(gateway: Gateway, who: str, how: str) -> None:
    data = noise(64)
    for cut in range(len(data) + 1):
        client, up = opened(gateway)
        breaks, other = (client, up) if who == "client" else (up, client)
        breaks.send(data[:cut])
        getattr(breaks, how)()
        assert other.until_end() == ("reset" if how == "reset" else "fin")
        assert bytes(other.data) == data[:cut] or (how == "reset" and data.startswith(other.data))
        other.close()
        gateway.until(lambda: gateway.alive()["tunnels"] == 0)


@pytest.mark.parametrize("who", ["client", "upstream"])
@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("cut", [0, 1, 100_000])
def test_an_end_while_the_other_direction_is_full(gateway: Gateway, who: str, how: str, cut: int) -> None:
    """What was not read is lost, and so both ends must learn of it."""
    client, up = opened(gateway)
    breaks, other = (client, up) if who == "client" else (up, client)
    load, sent, data = bytes(64 << 20), 0, noise(cut)
    for _ in range(50):
        sent += other.try_send(memoryview(load)[sent:])
        gateway.settle()
    assert sent < len(load)
    breaks.send(data)
    getattr(breaks, how)()
    assert other.until_end() == "reset" and data.startswith(other.data)
    gateway.until(lambda: gateway.alive()["tunnels"] == 0)


def test_a_reset_in_the_middle_of_bulk_leaves_nothing_in_a_pipe(gateway: Gateway) -> None:
    for who in (0, 1):
        pair = opened(gateway)
        client, up = pair
        data = noise(8 << 20)
        sent = client.try_send(data)
        gateway.settle()
        client.try_send(data[sent:])
        gateway.settle()
        assert gateway.alive()["pipes"] == 1
        pair[who].reset()
        pair[1 - who].until_end()
        gateway.until(lambda: gateway.alive()["tunnels"] == 0)
        assert gateway.alive()["pipes"] == 0
    client, up = opened(gateway)
    transfer(gateway, client, up, noise(1 << 20, 5))
    assert bytes(up.data) == noise(1 << 20, 5)


# ---- no upstream


def failed(gateway: Gateway) -> int:
    """A client that is turned away; the flags."""
    client = gateway.client()
    assert client.until_end() == "reset"
    (flags, counts), *others = series(gateway).items()
    assert counts == (1, 1, 0, 0) and not others
    return flags


def test_a_connect_that_fails(gateway: Gateway) -> None:
    gateway.relay(free_port())
    assert failed(gateway) == lib.FGW_F_UF | lib.FGW_F_URX
    assert gateway.counter("FGW_C_UPSTREAM_CONNECT_FAILURES") == 3 and gateway.counter("FGW_C_UPSTREAM_RETRIES") == 2


def test_another_endpoint_is_tried(gateway: Gateway) -> None:
    up = gateway.upstream()
    gateway.relay(free_port(), up)
    for _ in range(4):
        client = gateway.client()
        client.try_send(b"hello")
        peer = up.accept(gateway)
        peer.until(lambda data: data == b"hello")
    assert gateway.counter("FGW_C_UPSTREAM_CONNECT_FAILURES") >= 1


def test_a_connect_that_takes_too_long(gateway: Gateway) -> None:
    full = gateway.upstream(backlog=0)
    fill = [gateway.client_of(full.port) for _ in range(3)]  # its queue is full, and further SYNs are dropped
    gateway.relay(full, connect_timeout_ms=100)
    client = gateway.client()
    for _ in range(3):
        gateway.pass_ms(300)
    assert client.until_end() == "reset"
    assert gateway.counter("FGW_C_UPSTREAM_CONNECT_TIMEOUTS") == 3
    assert len(fill) == 3


def test_the_client_leaves_while_the_upstream_is_connected_to(gateway: Gateway) -> None:
    full = gateway.upstream(backlog=0)
    for _ in range(3):
        gateway.client_of(full.port)
    gateway.relay(full)
    gateway.client().reset()
    gateway.until(lambda: gateway.alive()["tunnels"] == 0)
    assert series(gateway) == {lib.FGW_F_DC: (1, 1, 0, 0)}


def test_no_healthy_endpoint(gateway: Gateway) -> None:
    gateway.relay()
    assert failed(gateway) == lib.FGW_F_UH


def test_an_unknown_cluster(gateway: Gateway) -> None:
    gateway.relay(chains=[tcp_chain(destinations=[("elsewhere", 1)])])
    assert failed(gateway) == lib.FGW_F_NC


def test_no_route(gateway: Gateway) -> None:
    chain = tcp_chain()
    chain.action = None
    gateway.relay(chains=[chain])
    assert failed(gateway) == lib.FGW_F_NR


def test_a_name_that_is_resolved_a_little_later(gateway: Gateway) -> None:
    up = gateway.upstream()
    gateway.relay(discovery="dns", endpoints=[Endpoint("db.test", up.port, lookup="all")])
    client = gateway.client()
    client.try_send(b"hello")
    gateway.pass_ms(1000)
    assert not client.poll().end
    gateway.answer_dns("c", "OK", (up.port, 200_000))
    gateway.pass_ms(200)
    up.accept(gateway).until(lambda data: data == b"hello")


def test_a_name_that_is_never_resolved(gateway: Gateway) -> None:
    gateway.relay(discovery="dns", endpoints=[Endpoint("db.test", 1, lookup="all")])
    client = gateway.client()
    gateway.pass_ms(6000)
    assert client.until_end() == "reset"
    assert series(gateway) == {lib.FGW_F_UH: (1, 1, 0, 0)}


def test_destinations_by_weight(gateway: Gateway) -> None:
    ups = {name: gateway.upstream() for name in ("a", "b")}
    gateway.relay_to(ups, {"a": 9, "b": 1})
    counts = dict.fromkeys(ups, 0)
    for _ in range(200):
        gateway.client().close()
        for name, up in ups.items():
            counts[name] += up.has_connection(gateway)
        gateway.peers.pop().close()
    assert sum(counts.values()) == 200 and 150 < counts["a"] < 198


# ---- deadlines


def test_silence_ends_a_tunnel(gateway: Gateway) -> None:
    client, up = opened(gateway, chains=[tcp_chain(idle_timeout_ms=10_000)])
    for speaker in (client, up, client):
        gateway.pass_ms(9_000)
        speaker.send(b"x")
    gateway.pass_ms(9_000)
    assert not client.poll().end and not up.poll().end
    gateway.pass_ms(2_000)
    assert (client.until_end(), up.until_end()) == ("fin", "fin")
    assert gateway.counter("FGW_C_TUNNEL_TIMEOUTS") == 1


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_a_half_closed_tunnel_may_be_silent_for_less(gateway: Gateway, first: str) -> None:
    client, up = opened(gateway, chains=[tcp_chain(idle_timeout_ms=3_600_000)])
    one, other = (client, up) if first == "client" else (up, client)
    gateway.pass_ms(100_000)
    one.finish()
    assert other.until_end() == "fin"
    for _ in range(3):
        gateway.pass_ms(20_000)
        other.send(b"x")
    one.until(lambda data: data == b"xxx")
    gateway.pass_ms(31_000)
    assert one.until_end() == "fin" and gateway.counter("FGW_C_TUNNEL_TIMEOUTS") == 1


def test_a_half_closed_tunnel_with_a_limit_of_its_own_keeps_it(gateway: Gateway) -> None:
    client, up = opened(gateway, chains=[tcp_chain(idle_timeout_ms=100_000)])
    client.finish()
    assert up.until_end() == "fin"
    gateway.pass_ms(90_000)
    assert not client.poll().end
    gateway.pass_ms(11_000)
    assert client.until_end() == "fin"


def test_without_a_time_out_silence_is_fine(gateway: Gateway) -> None:
    client, up = opened(gateway, chains=[tcp_chain(idle_timeout_ms=0)])
    gateway.pass_ms(1)
    gateway.loop.skip_ms(48 * 3_600_000)
    gateway.settle()
    client.send(b"x")
    up.until(lambda data: data == b"x")


def test_bytes_of_an_open_connection_show_in_the_metrics(gateway: Gateway) -> None:
    client, up = opened(gateway)
    client.send(b"12345")
    up.send(b"123")
    assert series(gateway) == {0: (1, 0, 0, 0)}
    gateway.pass_ms(6_000)
    assert series(gateway) == {0: (1, 0, 3, 5)}
    gateway.pass_ms(6_000)
    client.send(b"67")
    gateway.pass_ms(6_000)
    assert series(gateway) == {0: (1, 0, 3, 7)}


# ---- around it


def test_it_outlives_the_image_it_began_with(gateway: Gateway) -> None:
    client, up = opened(gateway)
    for _ in range(3):
        gateway.relay(gateway.upstreams[0])
    assert gateway.counter("FGW_G_IMAGES_ALIVE") <= 2
    client.send(b"still")
    up.until(lambda data: data == b"still")
    gateway.relay(chains=[tcp_chain("another")])
    client.send(b" there")
    up.until(lambda data: data == b"still there")


def test_a_drain_lets_it_live_and_its_end_cuts_it(gateway: Gateway) -> None:
    client, up = opened(gateway)
    gateway.context.set_draining()
    gateway.server.drain()
    client.send(b"x")
    up.until(lambda data: data == b"x")
    gateway.server.cut()
    assert client.until_end() and up.until_end()
    assert series(gateway) == {0: (1, 1, 0, 1)}


def test_the_connection_limit_counts_it(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits={"max_connections": 2})
    gateway.relay(gateway.upstream())
    first, _second = gateway.client(), gateway.client()
    assert gateway.server.holders.full == 1
    first.close()
    for up in (gateway.upstreams[0].accept(gateway), gateway.upstreams[0].accept(gateway)):
        up.finish()
    gateway.until(lambda: gateway.server.holders.full == 0)


def test_a_sticky_route_keeps_the_destination_of_an_address(gateway: Gateway) -> None:
    """All connections of this client go one way, whatever the weights draw."""
    ups = {name: gateway.upstream() for name in "abcd"}
    clusters = [Cluster(name, name, 80, endpoints=[Endpoint("127.0.0.1", up.port)]) for name, up in ups.items()]
    chain = tcp_chain(destinations=[(name, 1) for name in ups])
    assert chain.action is not None
    chain.action = msgspec.structs.replace(chain.action, sticky=Sticky("source_ip"))
    gateway.attach_chains([chain], clusters)
    chosen = set()
    for _ in range(12):
        client = gateway.client()
        found: list[str] = []
        gateway.until(
            lambda found=found: bool(found.extend(n for n, up in ups.items() if up.has_connection(gateway))) or bool(found)
        )
        chosen.update(found)
        client.close()
    assert len(chosen) == 1
