"""consistentHash as requests meet it: the same key, the same endpoint; the cookie that a client is given (Q3 to Q6)."""

from __future__ import annotations

import re
from collections import Counter

import msgspec
import pytest
from dataplane_support import OK, Gateway, Message, Peer, Upstream, make_plan, tcp_chain

from fastgw.image.layout import lib
from fastgw.model.plan import Action, Cluster, Endpoint, HashKey, Plan, Policy, Sticky, WeightedDestination

COOKIE = HashKey("cookie", "who", "; Max-Age=60; Path=/shop; HttpOnly")


class Farm:
    """Endpoints of the cluster "c" that answer by themselves; ``ask`` says which one did."""

    def __init__(self, gateway: Gateway, count: int) -> None:
        self.gateway = gateway
        self.ups: list[Upstream] = [gateway.upstream() for _ in range(count)]
        self.taken: dict[int, list[Peer]] = {up.port: [] for up in self.ups}

    def cluster(self, key: HashKey, lb: str = "ring_hash") -> Cluster:
        endpoints = [Endpoint("127.0.0.1", up.port) for up in self.ups]
        return Cluster("c", "c", 80, endpoints=endpoints, lb=lb, policy=Policy(hash_key=key))

    def serve(self, key: HashKey, lb: str = "ring_hash") -> None:
        self.gateway.attach(make_plan([self.cluster(key, lb)]))

    def ask(self, client: Peer, target: str = "/", *lines: str) -> tuple[int, Message]:
        client.send("\r\n".join([f"GET {target} HTTP/1.1", "Host: a.test", *lines, "", ""]).encode())
        port = self.answer()
        return port, client.response()

    def answer(self) -> int:
        for up in self.ups:
            if up.has_connection(self.gateway):
                self.taken[up.port].append(self.gateway.peers[-1])
            for peer in self.taken[up.port]:
                if peer.poll().data:
                    peer.request()
                    peer.send(OK)
                    return up.port
        raise AssertionError("nobody got the request")


@pytest.mark.parametrize("lb", ["ring_hash", "maglev"])
def test_a_header_leads_to_one_endpoint_from_every_connection(gateway: Gateway, lb: str) -> None:
    farm = Farm(gateway, 5)
    farm.serve(HashKey("header", "x-user"), lb)
    found = {user: {farm.ask(gateway.client(), "/", f"X-User: {user}")[0] for _ in range(4)} for user in map(str, range(40))}
    assert all(len(ports) == 1 for ports in found.values())
    assert len(set.union(*found.values())) == 5


def test_without_the_header_any_endpoint_will_do(gateway: Gateway) -> None:
    farm = Farm(gateway, 3)
    farm.serve(HashKey("header", "x-user"))
    client = gateway.client()
    assert len(Counter(farm.ask(client)[0] for _ in range(60))) == 3


def test_a_query_parameter_and_the_clients_address(gateway: Gateway) -> None:
    farm = Farm(gateway, 4)
    farm.serve(HashKey("query", "user"))
    client = gateway.client()
    assert len({farm.ask(client, "/?user=ann&x=1")[0] for _ in range(6)}) == 1
    assert len({farm.ask(client, f"/?user={n}")[0] for n in range(30)}) == 4
    farm.serve(HashKey("source_ip"))
    assert len({farm.ask(gateway.client())[0] for _ in range(8)}) == 1


def test_a_client_without_the_cookie_is_given_one_that_leads_back(gateway: Gateway) -> None:
    farm = Farm(gateway, 6)
    farm.serve(COOKIE)
    for _ in range(5):
        client = gateway.client()
        port, answer = farm.ask(client)
        given = re.fullmatch(r'who="([0-9a-f]{16})"; Max-Age=60; Path=/shop; HttpOnly', answer["set-cookie"])
        assert given
        again = farm.ask(client)[1]["set-cookie"]
        assert again == answer["set-cookie"], "made of the connection's addresses"
        for quoted in (f'"{given[1]}"', given[1]):
            back, with_cookie = farm.ask(gateway.client(), "/", f"Cookie: a=b; who={quoted}")
            assert back == port and with_cookie.values("set-cookie") == []


def test_without_a_ttl_no_cookie_is_given(gateway: Gateway) -> None:
    farm = Farm(gateway, 3)
    farm.serve(HashKey("cookie", "who"))
    client = gateway.client()
    found = [farm.ask(client) for _ in range(40)]
    assert len({port for port, _ in found}) == 3
    assert all(answer.values("set-cookie") == [] for _, answer in found)
    assert len({farm.ask(client, "/", "Cookie: who=me")[0] for _ in range(5)}) == 1


def test_the_cookie_goes_well_with_sticky_destinations_and_header_edits(gateway: Gateway) -> None:
    """Each has its own Set-Cookie, beside those of the upstream."""
    farm = Farm(gateway, 2)
    plan = make_plan([farm.cluster(COOKIE)])
    action = Action(
        "route",
        (WeightedDestination("c", 1), WeightedDestination("c", 1)),
        sticky=Sticky("cookie", "version", 60),
    )
    use(plan, action)
    gateway.attach(plan)
    cookies = farm.ask(gateway.client())[1].values("set-cookie")
    assert sorted(text.partition("=")[0] for text in cookies) == ["version", "who"]


def use(plan: Plan, action: Action) -> None:
    host = plan.route_tables["http.80"].virtual_hosts[0]
    host.rules = [msgspec.structs.replace(host.rules[0], action=action)]


def test_answers_of_the_gateway_give_no_cookie(gateway: Gateway) -> None:
    farm = Farm(gateway, 1)
    farm.serve(COOKIE)
    gateway.cell(farm.ups[0].port).flags = lib.FGW_CELL_EJECTED
    answer = gateway.client().send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").response()
    assert answer.status == 503 and answer.values("set-cookie") == []


def test_a_connection_at_layer_4_has_its_clients_address_as_the_key(gateway: Gateway) -> None:
    farm = Farm(gateway, 5)
    gateway.attach_chains([tcp_chain()], [farm.cluster(HashKey("source_ip"))])
    ports = set()
    for _ in range(8):
        client = gateway.client()
        gateway.settle()
        ports |= {up.port for up in farm.ups if up.has_connection(gateway)}
        client.close()
    assert len(ports) == 1
