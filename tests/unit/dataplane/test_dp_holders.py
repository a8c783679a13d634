"""Limits of client connections: a listener that is full waits, a source address that has enough is closed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dataplane_support import GET, LISTENER, OK, Gateway, Peer, make_plan

from fastgw.model.cidr import cidr_set, parse_network
from fastgw.model.plan import Cluster, Endpoint, Plan

MakeGateway = Callable[..., Gateway]
OTHER = "0.0.0.0_81"
HOLD_LISTENER = 16


def plan_of(gateway: Gateway, listeners: tuple[str, ...] = (LISTENER,)) -> Plan:
    endpoints = [Endpoint("127.0.0.1", gateway.upstream().port)]
    return make_plan([Cluster("c", "c", 80, endpoints=endpoints)], listeners=listeners)


def is_served(gateway: Gateway, client: Peer) -> bool:
    gateway.settle()
    client.send(b"BAD\r\n\r\n")
    return bytes(client.poll().data).startswith(b"HTTP/1.1 400")


def test_a_full_listener_waits_and_others_go_on(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(limits={"max_connections": 20}, listeners=(LISTENER, OTHER))
    gateway.attach(plan_of(gateway, (LISTENER, OTHER)))
    inside = [gateway.client() for _ in range(20)]
    late = gateway.client()
    full, other = gateway.server.listeners
    assert (full.holds, other.holds) == (HOLD_LISTENER, 0) and gateway.counter("FGW_G_LISTENERS_FULL") == 1
    assert not is_served(gateway, late) and gateway.turn(0) == 0, "it waits, and nothing spins"
    assert is_served(gateway, gateway.client(OTHER))
    inside[0].close()
    assert full.holds and not late.poll().data, "one in sixteen has to be free"
    inside[1].close()
    assert late.until_end() and late.data.startswith(b"HTTP/1.1 400")
    gateway.pass_ms(300)
    assert full.holds == 0 and gateway.counter("FGW_G_LISTENERS_FULL") == 0


def test_connections_that_end_elsewhere_are_noticed(make_gateway: MakeGateway) -> None:
    """Another worker's are in the state segment only."""
    gateway = make_gateway(limits={"max_connections": 2}, workers=2)
    gateway.attach(plan_of(gateway))
    first = gateway.client()
    place = next(i for i in range(1024) if gateway.state.listeners[i].connections)
    gateway.state.listeners[place].connections += 1
    late = gateway.client()
    assert not is_served(gateway, late)
    gateway.state.listeners[place].connections -= 1
    gateway.pass_ms(300)
    assert late.until_end() and late.data.startswith(b"HTTP/1.1 400")
    assert is_served(gateway, first)


def test_a_gateway_asks_for_limits_of_its_own(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(limits={"max_connections": 1, "max_connections_per_source": 1})
    plan = plan_of(gateway)
    plan.listeners[0].max_connections, plan.listeners[0].max_per_source = 3, 2
    gateway.attach(plan)
    clients = [gateway.client() for _ in range(2)]
    assert gateway.client().until_end() and gateway.rejected() == {"connections_per_source": 1}
    plan.listeners[0].max_per_source = 0
    gateway.attach(plan)
    clients += [gateway.client(), gateway.client()]
    assert gateway.server.listeners[0].holds == HOLD_LISTENER
    plan.listeners[0].max_connections = 0
    gateway.attach(plan)
    assert gateway.server.listeners[0].holds == 0 and all(is_served(gateway, client) for client in clients)


@pytest.mark.parametrize("tls", [False, True])
def test_a_source_that_has_enough_is_closed_at_once(make_gateway: MakeGateway, tls: bool) -> None:
    gateway = make_gateway(limits={"max_connections_per_source": 3})
    gateway.attach(plan_of(gateway))
    inside = [gateway.client() for _ in range(3)]
    for _ in range(4):
        late = gateway.client()
        late.try_send(b"\x16\3\1\2\0" if tls else GET)
        assert late.until_end() and not late.data
    assert gateway.rejected() == {"connections_per_source": 4} and gateway.counter("FGW_C_CLIENT_CONNECTIONS") == 7
    assert gateway.counter("FGW_C_CLIENT_REQUESTS") == 0
    inside[0].close()
    assert is_served(gateway, gateway.client())
    assert is_served(gateway, inside[1])


def told(gateway: Gateway, address: str) -> Peer:
    return gateway.client().send(f"PROXY TCP4 {address} 198.51.100.3 4711 443\r\n".encode())


def test_behind_the_proxy_protocol_the_address_that_is_told_counts(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(limits={"max_connections_per_source": 2})
    plan = plan_of(gateway)
    plan.listeners[0].proxy_protocol = True
    gateway.attach(plan)
    waiting = [gateway.client() for _ in range(5)]  # whose they are is not known yet
    inside = [told(gateway, address) for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2")]
    assert told(gateway, "192.0.2.1").until_end() and gateway.rejected() == {"connections_per_source": 1}
    assert told(gateway, "192.0.2.2").poll().end == ""
    inside[0].close()
    assert is_served(gateway, told(gateway, "192.0.2.1"))
    for client in waiting:  # the proxy itself
        assert is_served(gateway, client.send(b"PROXY UNKNOWN\r\n"))


def test_a_proxy_that_only_carries_others_is_not_counted(make_gateway: MakeGateway) -> None:
    networks = cidr_set([(parse_network("127.0.0.0/8"), 1)])
    gateway = make_gateway(limits={"max_connections_per_source": 1, "trusted_proxies": networks})
    gateway.attach(plan_of(gateway))
    assert all(is_served(gateway, client) for client in [gateway.client() for _ in range(4)])


def test_a_connection_counts_once_through_all_its_protocols(make_gateway: MakeGateway) -> None:
    """HTTP/1, then HTTP/2 by prior knowledge, whose streams are no connections."""
    gateway = make_gateway(limits={"max_connections_per_source": 1})
    gateway.attach(plan_of(gateway))
    client = gateway.client().send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
    assert gateway.counter("FGW_C_HTTP2_CONNECTIONS") == 1
    assert gateway.client().until_end()
    client.close()
    gateway.until(lambda: not gateway.server.clients)
    second = gateway.client().send(GET)
    up = gateway.upstreams[0].accept(gateway)
    up.request()
    up.send(OK)
    assert second.response().status == 200
