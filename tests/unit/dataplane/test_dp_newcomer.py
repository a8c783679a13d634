"""The first bytes of a connection choose its chain, and whoever serves it gets them all (requirements G2 to G4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dataplane_support import GET, LISTENER, OK, Gateway, Peer, Upstream, make_plan, tcp_chain
from wire.hellos import Hello, load, named

from fastgw.model.plan import Chain, Cluster, Endpoint, Listener, Plan

PLAIN = named("plain").data
OTHER = named("other").data
UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"
SERVERS = {"A": ("a.test",), "B": ("b.test",), "D": ("*",)}


def passthrough(gateway: Gateway, names: str = "ABD", extra: tuple[Chain, ...] = ()) -> dict[str, Upstream]:
    """A chain and an upstream for each of these servers."""
    ups = {name: gateway.upstream() for name in names}
    chains = [tcp_chain(name, [(name, 1)], tls="passthrough", server_names=SERVERS[name]) for name in names]
    clusters = [Cluster(name, name, 443, endpoints=[Endpoint("127.0.0.1", up.port)]) for name, up in ups.items()]
    gateway.attach_chains([*chains, *extra], clusters)
    return ups


def taken(gateway: Gateway, ups: dict[str, Upstream]) -> tuple[str, Peer] | None:
    """Who has got a connection."""
    gateway.settle()
    for name, up in ups.items():
        if up.has_connection(gateway):
            return name, gateway.peers[-1]
    return None


def say(client: Peer, segments: list[bytes]) -> None:
    for segment in segments:
        if not client.poll().end:
            client.send(segment)


@pytest.mark.parametrize("case", load(), ids=lambda case: case.name)
def test_who_gets_a_hello(gateway: Gateway, case: Hello) -> None:
    ups = passthrough(gateway)
    client = gateway.client()
    say(client, case.segments)
    found = taken(gateway, ups)
    if found is None and case.stall and not client.poll().end:
        gateway.pass_ms(5_500)
    outcome = "close" if found is None else found[0]
    assert outcome in case.expect
    if found is None:
        assert client.until_end() and not client.data
        assert gateway.counter("FGW_C_HELLO_REFUSED") + gateway.counter("FGW_C_HELLO_TIMEOUTS") == 1
    else:
        found[1].until(lambda data: bytes(data) == case.data)


def test_a_hello_split_at_every_byte(gateway: Gateway) -> None:
    ups = passthrough(gateway)
    for cut in range(1, len(PLAIN)):
        client = gateway.client()
        client.send(PLAIN[:cut])
        assert taken(gateway, ups) is None
        client.send(PLAIN[cut:] + b"and more")
        found = taken(gateway, ups)
        assert found is not None and found[0] == "A", cut
        found[1].until(lambda data: bytes(data) == PLAIN + b"and more")
        client.close()
        found[1].close()


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_at_any_byte(gateway: Gateway, how: str) -> None:
    ups = passthrough(gateway)
    for cut in range(len(PLAIN)):
        client = gateway.client()
        client.send(PLAIN[:cut])
        getattr(client, how)()
        assert taken(gateway, ups) is None
        gateway.until(lambda: not gateway.server.clients)
    assert gateway.counter("FGW_C_CLIENT_CONNECTIONS_CLOSED") == len(PLAIN)


def test_the_answer_comes_back(gateway: Gateway) -> None:
    ups = passthrough(gateway)
    client = gateway.client().send(OTHER)
    found = taken(gateway, ups)
    assert found is not None
    found[1].send(b"server hello")
    client.until(lambda data: data == b"server hello")


def test_names_that_nobody_has_are_closed(gateway: Gateway) -> None:
    """Also a hello without a name: only a server for every host takes it."""
    ups = passthrough(gateway, "AB")
    for name in ("unknown", "no-sni", "no-extensions", "sni-ip"):
        client = gateway.client().send(named(name).data)
        assert client.until_end() and bytes(client.data) == UNRECOGNIZED_NAME and taken(gateway, ups) is None
    assert gateway.counter("FGW_C_TLS_NO_CHAIN") == 4 and gateway.counter("FGW_C_HELLO_REFUSED") == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [("garbage", "not_tls"), ("http", "not_tls"), ("sni-two-ext", "hello_malformed"), ("hello-60k-4rec", "hello_too_large")],
)
def test_refusals_are_counted_by_reason(gateway: Gateway, name: str, reason: str) -> None:
    passthrough(gateway)
    client = gateway.client().send(named(name).data)
    assert client.until_end()
    assert gateway.rejected() == {reason: 1}


def test_what_is_no_tls_is_refused_at_its_first_byte(gateway: Gateway) -> None:
    passthrough(gateway)
    assert gateway.client().send(b"G").until_end()


@pytest.mark.parametrize("sent", [b"", PLAIN[:1], PLAIN[:-1]])
def test_a_slow_hello_is_cut_whatever_its_progress(gateway: Gateway, sent: bytes) -> None:
    ups = passthrough(gateway)
    client = gateway.client()
    for i in range(len(sent)):
        client.send(sent[i : i + 1])
        gateway.loop.skip_ms(4_000 // len(sent))
    gateway.settle()
    assert not client.poll().end
    gateway.pass_ms(5_500)
    assert client.until_end() and taken(gateway, ups) is None
    assert gateway.counter("FGW_C_HELLO_TIMEOUTS") == 1


def test_a_hello_in_time_has_no_deadline_left(gateway: Gateway) -> None:
    ups = passthrough(gateway)
    client = gateway.client().send(PLAIN)
    found = taken(gateway, ups)
    gateway.pass_ms(60_000)
    assert found is not None and not client.poll().end
    client.send(b"more")
    found[1].until(lambda data: bytes(data) == PLAIN + b"more")


def test_memory_of_a_hello_is_bounded(gateway: Gateway) -> None:
    passthrough(gateway)
    hello = named("hello-60k-4rec").data
    client = gateway.client()
    at = 0
    while not client.poll().end and at < len(hello):
        client.send(hello[at : at + 1000])
        at += 1000
        assert gateway.alive()["buffer_bytes"] <= 65_536
    assert at < 40_000


# ---- beside other chains


def beside_http(gateway: Gateway) -> tuple[dict[str, Upstream], Upstream]:
    """A passthrough server, and plain HTTP on the same port (C5)."""
    web, secure = gateway.upstream(), gateway.upstream()
    clusters = {n: Cluster(n, n, 80, endpoints=[Endpoint("127.0.0.1", u.port)]) for n, u in (("c", web), ("A", secure))}
    plan = make_plan(clusters.values())
    chains = [
        tcp_chain("A", [("A", 1)], tls="passthrough", server_names=("a.test",)),
        Chain("http.80", route_table="http.80"),
    ]
    gateway.attach(Plan([Listener(LISTENER, "", 80, "TLS", [], chains)], plan.route_tables, clusters))
    return {"A": secure}, web


def test_plain_http_beside_passthrough(gateway: Gateway) -> None:
    secure, web = beside_http(gateway)
    client = gateway.client().send(GET)
    up = web.accept(gateway)
    up.request()
    up.send(OK)
    assert client.response().body == b"ok"
    gateway.client().send(PLAIN)
    found = taken(gateway, secure)
    assert found is not None and found[0] == "A"


def test_a_request_and_the_end_of_its_client_in_one_packet(gateway: Gateway) -> None:
    """The connection changes hands while it is being read; its new owner must see the end as well."""
    _, web = beside_http(gateway)
    client = gateway.client()
    client.try_send(GET)
    client.finish()
    gateway.until(lambda: not gateway.server.clients)
    assert not web.has_connection(gateway) or gateway.peers[-1].until_end()


def test_a_first_packet_that_fills_the_whole_scratch_buffer(gateway: Gateway) -> None:
    ups = passthrough(gateway)
    data = PLAIN + bytes(200_000)
    client = gateway.client()
    sent = client.try_send(data)
    found = taken(gateway, ups)
    assert found is not None and sent > 32_768
    client.send(data[sent:])
    found[1].until(lambda got: bytes(got) == data)


def test_a_listener_without_tls_waits_for_nothing(gateway: Gateway) -> None:
    gateway.relay(gateway.upstream())
    gateway.client()
    gateway.upstreams[0].accept(gateway).send(b"first")
    gateway.peers[0].until(lambda data: data == b"first")


def test_newcomers_stay_through_a_change_and_a_drain(gateway: Gateway) -> None:
    passthrough(gateway, "AB")
    client = gateway.client().send(PLAIN[:50])
    ups = passthrough(gateway, "ABD")
    gateway.server.drain()
    client.send(PLAIN[50:])
    found = taken(gateway, ups)
    assert found is not None and found[0] == "A"


def test_newcomers_of_a_listener_that_goes_are_closed(gateway: Gateway) -> None:
    passthrough(gateway)
    client = gateway.client().send(PLAIN[:50])
    gateway.attach(Plan())
    client.send(PLAIN[50:])
    assert client.until_end()


def test_the_server_name_is_in_the_log(make_gateway: Callable[..., Gateway], tmp_path: Any) -> None:
    with (tmp_path / "log").open("w+b", buffering=0) as file:
        program = [("requested_server_name", ""), ("text", " "), ("route_name", ""), ("text", "\n")]
        gateway = make_gateway(log=program, log_fd=file.fileno())
        ups = passthrough(gateway)
        for name in ("sni-upper", "no-sni"):
            client = gateway.client().send(named(name).data)
            taken(gateway, ups)
            client.reset()
        gateway.until(lambda: not gateway.server.clients)
        gateway.log.flush()
        assert (tmp_path / "log").read_text() == "a.test A\n- D\n"
