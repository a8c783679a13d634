"""Which endpoint and which destination a request goes to."""

from __future__ import annotations

import socket
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from dataplane_support import GET, OK, Gateway, Peer, Upstream, make_plan

from fastgw.image.layout import lib
from fastgw.model.plan import Cluster, Endpoint

EJECTED = lib.FGW_CELL_EJECTED
UNHEALTHY = lib.FGW_CELL_UNHEALTHY


def some(gateway: Gateway, count: int, lb: str, weights: list[int] | None = None) -> list[Upstream]:
    """Endpoints of the cluster "c", with these weights."""
    ups = [gateway.upstream() for _ in range(count)]
    endpoints = [Endpoint("127.0.0.1", u.port, weight) for u, weight in zip(ups, weights or [1] * count, strict=True)]
    gateway.attach(make_plan([Cluster("c", "c", 80, endpoints=endpoints, lb=lb)]))
    return ups


@pytest.fixture
def count(gateway: Gateway) -> Callable[[list[Upstream], int], list[int]]:
    """Send requests one after the other, each answered at once: how many each endpoint got."""
    taken: dict[int, list[Peer]] = defaultdict(list)

    def run(ups: list[Upstream], requests: int) -> list[int]:
        client = gateway.client()
        before = [int(gateway.cell(u.port).requests) for u in ups]
        for _ in range(requests):
            client.send(GET)
            answer(gateway, ups, taken)
            assert client.response().status == 200
        client.close()
        return [int(gateway.cell(u.port).requests) - n for u, n in zip(ups, before, strict=True)]

    return run


def answer(gateway: Gateway, ups: list[Upstream], taken: dict[int, list[Peer]]) -> int:
    """Answer the one request that is waiting; the port of the endpoint that has got it."""
    for up in ups:
        for peer in taken[up.port]:
            if peer.poll().data:
                peer.request()
                peer.send(OK)
                return up.port
    for up in ups:
        if up.has_connection(gateway):
            taken[up.port].append(gateway.peers[-1])
            gateway.peers[-1].request()
            gateway.peers[-1].send(OK)
            return up.port
    raise AssertionError("nobody got the request")


def test_round_robin_goes_round(gateway: Gateway, count: Callable[..., list[int]]) -> None:
    ups = some(gateway, 3, "round_robin")
    assert count(ups, 1) in ([1, 0, 0], [0, 1, 0], [0, 0, 1])
    for _ in range(5):
        assert count(ups, 3) == [1, 1, 1]


def test_round_robin_leaves_out_who_is_ejected_and_takes_them_back(gateway: Gateway, count: Callable[..., list[int]]) -> None:
    ups = some(gateway, 3, "round_robin")
    gateway.cell(ups[1].port).flags = EJECTED
    assert count(ups, 10) == [5, 0, 5]
    gateway.cell(ups[1].port).flags = 0
    assert min(count(ups, 9)) == 3


@pytest.mark.parametrize("lb", ["round_robin", "random", "least_request"])
def test_unhealthy_endpoints_get_nothing(gateway: Gateway, count: Callable[..., list[int]], lb: str) -> None:
    ups = some(gateway, 4, lb)
    gateway.cell(ups[0].port).flags = EJECTED
    gateway.cell(ups[2].port).flags = UNHEALTHY
    gateway.cell(ups[3].port).flags = EJECTED | UNHEALTHY
    assert count(ups, 20) == [0, 20, 0, 0]


def test_endpoints_that_the_configuration_calls_unhealthy_get_nothing(gateway: Gateway, count: Callable[..., list[int]]) -> None:
    ups = [gateway.upstream(), gateway.upstream()]
    endpoints = [Endpoint("127.0.0.1", ups[0].port, healthy=False), Endpoint("127.0.0.1", ups[1].port)]
    gateway.attach(make_plan([Cluster("c", "c", 80, endpoints=endpoints)]))
    assert count(ups, 10) == [0, 10]


@pytest.mark.parametrize("lb", ["round_robin", "random", "least_request"])
def test_nobody_left_is_a_503_and_counts_nowhere(gateway: Gateway, lb: str) -> None:
    ups = some(gateway, 2, lb)
    for up in ups:
        gateway.cell(up.port).flags = EJECTED
    answer = gateway.client().send(GET).response()
    assert (answer.status, answer.body) == (503, b"no healthy upstream")
    assert [int(gateway.cell(u.port).requests) for u in ups] == [0, 0]


def test_a_cluster_without_endpoints_is_a_503(gateway: Gateway) -> None:
    gateway.attach(make_plan([Cluster("c", "c", 80)]))
    answer = gateway.client().send(GET).response()
    assert (answer.status, answer.body) == (503, b"no healthy upstream")


def test_least_request_takes_the_one_with_less_in_flight(gateway: Gateway, count: Callable[..., list[int]]) -> None:
    """Of two endpoints both are always compared, so the busier one gets nothing at all."""
    ups = some(gateway, 2, "least_request")
    gateway.cell(ups[0].port).active += 3  # as if another worker had requests there
    assert count(ups, 20) == [0, 20]
    gateway.cell(ups[1].port).active += 9
    assert count(ups, 20) == [20, 0]
    gateway.cell(ups[0].port).active -= 3
    gateway.cell(ups[1].port).active -= 9


def test_least_request_sees_what_this_worker_has_in_flight(gateway: Gateway) -> None:
    ups = some(gateway, 2, "least_request")
    for _ in range(10):
        gateway.client().send(GET)
    assert [int(gateway.cell(u.port).active) for u in ups] == [5, 5]
    assert [int(gateway.stats.active[gateway.numbers.cell_of("c", "127.0.0.1", u.port)]) for u in ups] == [5, 5]


def test_least_request_of_many_avoids_the_busiest(gateway: Gateway, count: Callable[..., list[int]]) -> None:
    ups = some(gateway, 5, "least_request")
    gateway.cell(ups[4].port).active += 100
    found = count(ups, 200)
    gateway.cell(ups[4].port).active -= 100
    assert found[4] == 0 and min(found[:4]) > 15


def test_least_request_weighs(gateway: Gateway) -> None:
    ups = some(gateway, 2, "least_request", [3, 1])
    for _ in range(16):
        gateway.client().send(GET)
    found = [int(gateway.cell(u.port).active) for u in ups]
    assert sum(found) == 16 and 10 <= found[0] <= 14


@pytest.mark.parametrize("lb", ["random", "round_robin"])
def test_weights_are_shares(gateway: Gateway, count: Callable[..., list[int]], lb: str) -> None:
    ups = some(gateway, 3, lb, [1, 2, 7])
    found = count(ups, 1000)
    assert sum(found) == 1000
    assert 50 <= found[0] <= 160 and 130 <= found[1] <= 280 and 600 <= found[2] <= 800


def test_random_is_even(gateway: Gateway, count: Callable[..., list[int]]) -> None:
    found = count(some(gateway, 4, "random"), 800)
    assert all(130 <= n <= 280 for n in found)


def test_more_endpoints_than_one_choice_looks_at(gateway: Gateway) -> None:
    """300 endpoints, 299 of them ejected in turn: the healthy one may be anywhere, and is found when it is within reach."""
    upstream = gateway.upstream()
    endpoints = [Endpoint("127.0.0.2", 1 + i) for i in range(299)] + [Endpoint("127.0.0.1", upstream.port)]
    gateway.attach(make_plan([Cluster("c", "c", 80, endpoints=endpoints, lb="random")]))
    for i in range(299):
        gateway.state.cells[gateway.numbers.cell_of("c", "127.0.0.2", 1 + i)].flags = EJECTED
    client = gateway.client().send(GET)
    up = upstream.accept(gateway)
    for _ in range(20):
        up.request()
        up.send(OK)
        assert client.response().status == 200
        client.send(GET)
    up.request()
    up.send(OK)
    assert client.response().status == 200


def shared(gateway: Gateway, weights: dict[str, int], requests: int) -> dict[str, int]:
    """Destinations with these weights: how many requests each got, by the requests its only endpoint counts."""
    ups = {name: gateway.upstream() for name in weights}
    clusters = [Cluster(name, name, 80, endpoints=[Endpoint("127.0.0.1", up.port)]) for name, up in ups.items()]
    gateway.attach(make_plan(clusters, list(weights.items())))
    client = gateway.client()
    taken: dict[int, list[Peer]] = {up.port: [] for up in ups.values()}
    for _ in range(requests):
        client.send(GET)
        answer(gateway, list(ups.values()), taken)
        assert client.response().status == 200
    return {name: int(gateway.cell(up.port, name).requests) for name, up in ups.items()}


def test_destinations_share_by_weight(gateway: Gateway) -> None:
    found = shared(gateway, {"a": 80, "b": 20, "c": 0}, 1000)
    assert found["c"] == 0 and 720 <= found["a"] <= 870 and 130 <= found["b"] <= 280


def test_weights_need_not_add_up_to_100(gateway: Gateway) -> None:
    found = shared(gateway, {"a": 1, "b": 1}, 400)
    assert 140 <= found["a"] <= 260


def test_a_destination_that_does_not_exist_is_a_503(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.attach(make_plan([Cluster("c", "c", 80, endpoints=[Endpoint("127.0.0.1", upstream.port)])], [("c", 50), ("gone", 50)]))
    client = gateway.client()
    statuses: Counter[int] = Counter()
    ups: list[Peer] = []
    for _ in range(60):
        client.send(GET)
        if not ups and upstream.has_connection(gateway):
            ups.append(gateway.peers[-1])
        if ups and ups[0].poll().data:
            ups[0].request()
            ups[0].send(OK)
        message = client.response()
        assert message.body == (b"ok" if message.status == 200 else b"")
        statuses[message.status] += 1
    assert set(statuses) == {200, 503} and min(statuses.values()) > 10


def test_an_address_of_ipv6_and_of_a_unix_socket(gateway: Gateway, tmp_path: Path) -> None:
    """The IPv6 address is a mapped one, which works where the machine has no IPv6."""
    with socket.socket() as four, socket.socket(socket.AF_UNIX) as unix, socket.socket(socket.AF_UNIX) as abstract:
        four.bind(("127.0.0.1", 0))
        unix.bind(str(tmp_path / "s"))
        abstract.bind(f"\0fastgw-test-{tmp_path.name}")
        addresses = ["::ffff:127.0.0.1", f"unix:{tmp_path / 's'}", f"unix:@fastgw-test-{tmp_path.name}"]
        for sock, address in zip([four, unix, abstract], addresses, strict=True):
            sock.listen(4)
            port = sock.getsockname()[1] if sock is four else 0
            gateway.attach(make_plan([Cluster("c", "c", 80, endpoints=[Endpoint(address, port)])]))
            client = gateway.client().send(GET)
            sock.settimeout(10)
            up = Peer(gateway, sock.accept()[0])
            assert up.request().start == "GET / HTTP/1.1"
            up.send(OK)
            assert client.response().body == b"ok"


def named(gateway: Gateway, *endpoints: Endpoint, lb: str = "round_robin") -> None:
    gateway.attach(make_plan([Cluster("c", "c", 80, discovery="dns", endpoints=list(endpoints), lb=lb)]))


NAME = Endpoint("c.test", 80, lookup="all")


@pytest.mark.parametrize("lb", ["round_robin", "random", "least_request"])
def test_addresses_and_names_are_chosen_from_alike(gateway: Gateway, lb: str) -> None:
    ups = [gateway.upstream() for _ in range(3)]
    named(gateway, NAME, Endpoint("127.0.0.1", ups[0].port), lb=lb)
    gateway.answer_dns("c", "OK", (ups[1].port, 200_001), (ups[2].port, 200_002))
    requests = drawn(gateway, ups, 60)
    assert sum(requests) == 60 and min(requests) >= (20 if lb == "round_robin" else 3)


def test_an_address_is_used_while_the_names_are_not_known(gateway: Gateway) -> None:
    up = gateway.upstream()
    named(gateway, NAME, Endpoint("127.0.0.1", up.port))
    client = gateway.client().send(GET)
    up.accept(gateway).send(OK)
    assert client.response().status == 200


def test_names_have_weights(gateway: Gateway) -> None:
    ups = [gateway.upstream() for _ in range(2)]
    named(gateway, NAME, lb="random")
    gateway.answer_dns("c", "OK", (ups[0].port, 200_001), (ups[1].port, 200_002), weights=[1, 9])
    light, heavy = drawn(gateway, ups, 200)
    assert light < 50 < heavy  # 20 expected: 50 is more than six standard deviations away


@pytest.mark.parametrize("status", ["OK", "FAILED"])
def test_names_without_an_address_are_a_503(gateway: Gateway, status: str) -> None:
    named(gateway, NAME)
    gateway.answer_dns("c", status)
    answer = gateway.client().send(GET).response()
    assert (answer.status, answer.body) == (503, b"no healthy upstream")


def test_an_address_of_a_name_that_is_unhealthy_gets_nothing(gateway: Gateway) -> None:
    ups = [gateway.upstream() for _ in range(3)]
    named(gateway, NAME, Endpoint("127.0.0.1", ups[2].port))
    gateway.answer_dns("c", "OK", (ups[0].port, 200_001), (ups[1].port, 200_002))
    gateway.state.cells[200_001].flags = UNHEALTHY
    assert drawn(gateway, ups, 10)[0] == 0
    gateway.state.cells[200_001].flags = 0


def drawn(gateway: Gateway, ups: list[Upstream], requests: int) -> list[int]:
    """How many of these requests each got, one after the other."""
    taken: dict[int, list[Peer]] = defaultdict(list)
    counts = Counter[int]()
    client = gateway.client()
    for _ in range(requests):
        client.send(GET)
        counts[answer(gateway, ups, taken)] += 1
        assert client.response().status == 200
    client.close()
    return [counts[up.port] for up in ups]
