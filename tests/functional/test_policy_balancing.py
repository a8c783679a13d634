"""Load balancing, ejection, limits and protocols of upstreams (section Q), over both versions on both sides."""

from __future__ import annotations

import re
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress

import pytest

from .support.bench import (
    CLIENTS,
    LEGS,
    Answer,
    Bench,
    Leg,
    both,
    destination_rule,
    entry_of,
    rule,
    running_bench,
    to,
    under_policy,
)
from .support.chance import assert_share, bounds
from .support.client import request_bytes
from .support.config import NETWORKING, Document, gateway_of, http_server, service_entry
from .support.poll import eventually
from .support.ports import free_port
from .support.scripted import Say, ScriptedOrigin

every_leg = pytest.mark.parametrize("leg", LEGS, ids=str)
every_client = pytest.mark.parametrize("client", CLIENTS, ids=str)

ENDPOINTS = {"one": ("a", "b"), "two": ("h2-a", "h2-b")}
STRICT = {"name": "SameSite", "value": "Strict"}
USERS = [f"user-{number}" for number in range(40)]


def hashed(**key: object) -> Document:
    return {"loadBalancer": {"consistentHash": key}}


def ejecting(**detection: object) -> Document:
    return {"outlierDetection": {"baseEjectionTime": "10m", "maxEjectionPercent": 100, **detection}}


def failing_over(**setting: object) -> Document:
    return {**ejecting(), "loadBalancer": {"localityLbSetting": setting}}


def pool(**settings: object) -> Document:
    return {"connectionPool": {"http": settings}}


# of every name a service with two endpoints, for upstreams of either version
BALANCED = {
    "default": {},
    "robin": {"loadBalancer": {"simple": "ROUND_ROBIN"}},
    "random": {"loadBalancer": {"simple": "RANDOM"}},
    "weighted": {"loadBalancer": {"simple": "RANDOM"}},
    "weighted-robin": {"loadBalancer": {"simple": "ROUND_ROBIN"}},
    "header": hashed(httpHeaderName="x-user"),
    "maglev": hashed(httpHeaderName="x-user", maglev={"tableSize": 65537}),
    "query": hashed(httpQueryParameterName="user"),
    "address": hashed(useSourceIp=True),
    "ttl": hashed(
        httpCookie={"name": "who", "path": "/app", "ttl": "60s", "attributes": [{"name": "SameSite", "value": "Strict"}]}
    ),
    "session": hashed(httpCookie={"name": "who", "ttl": "0s"}),
    "no-ttl": hashed(httpCookie={"name": "who"}),
    "places": {
        "loadBalancer": {
            "simple": "RANDOM",
            "localityLbSetting": {"distribute": [{"from": "eu/*", "to": {"eu/*": 80, "us/*": 20}}]},
        }
    },
    "regions": failing_over(failover=[{"from": "eu", "to": "ap"}]),
    "labels": failing_over(failoverPriority=["tier=gold"]),
    **{f"failover{number}": ejecting(consecutive5xxErrors=1) for number in (1, 2)},
}
# and of these one with one endpoint, which is the scripted upstream itself
EJECTED = {
    "five": ejecting(),
    "three": ejecting(consecutive5xxErrors=3),
    "never": ejecting(consecutive5xxErrors=0),
    "gateway": ejecting(consecutive5xxErrors=0, consecutiveGatewayErrors=2),
    "codes": ejecting(consecutive5xxErrors=2, outlierDetectionHttpErrorCodes=[429]),
    "local": ejecting(splitExternalLocalOriginErrors=True, consecutiveLocalOriginFailures=2),
}
REFUSED = {
    f"{name}{number}": policy for name, policy in {"refused": ejecting(), "split": EJECTED["local"]}.items() for number in (1, 2)
}
OTHER = {
    "zeros": {
        "connectionPool": {
            "tcp": {"maxConnections": 0},
            "http": {"http1MaxPendingRequests": 0, "http2MaxRequests": 0, "maxRequestsPerConnection": 0},
        }
    },
    "queue": {"connectionPool": {"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 1}}},
    "once": pool(maxRequestsPerConnection=1),
}


def rules(service: str) -> list[Document]:
    names = (*BALANCED, *EJECTED, *OTHER)
    split = [{**to(f"{service}-{name}")[0], "weight": 50} for name in ("header", "maglev")]
    return [
        *(rule(f"/{name}/", route=to(f"{service}-{name}")) for name in names),
        rule("/drawn/", route=split),
        *(rule(f"/{name}/", route=to(name), retries={"attempts": 0}) for name in REFUSED),
        rule("/shares/", route=[{**to(service)[0], "weight": 90}, {**to("a")[0], "weight": 10}]),
        rule("/as-client/one", route=to("as-client-one")),
        rule("/as-client/two", route=to("as-client-two")),
        rule("/upgrade", route=to("upgrade")),
        rule("/unnamed", route=to("unnamed")),
    ]


def documents(origins: dict[str, ScriptedOrigin]) -> list[Document]:
    found = both(rules)
    for service, endpoints in ENDPOINTS.items():
        for name, policy in BALANCED.items():
            host = f"{service}-{name}"
            entry = pair(host, [origins[one] for one in endpoints])
            if name in ("weighted", "weighted-robin"):
                for endpoint, weight in zip(entry["spec"]["endpoints"], (3, 1), strict=True):
                    endpoint["weight"] = weight
            if name.startswith(("places", "failover")):
                for endpoint, place in zip(entry["spec"]["endpoints"], ("eu/1", "us/1"), strict=True):
                    endpoint["locality"] = place
            if name == "regions":
                for endpoint, place in zip(entry["spec"]["endpoints"], ("us/1", "ap/1"), strict=True):
                    endpoint["locality"] = place
            if name == "labels":
                entry["spec"]["endpoints"][1]["labels"] = {"tier": "gold"}
            found += [entry, destination_rule(host, policy)] if policy else [entry]
        for name, policy in {**EJECTED, **OTHER}.items():
            found += under_policy(origins[service], f"{service}-{name}", policy)
    for service in ENDPOINTS:
        found += [
            plain(origins[service], f"as-client-{service}"),
            destination_rule(f"as-client-{service}", pool(useClientProtocol=True)),
        ]
    found += [plain(origins["two"], "upgrade"), destination_rule("upgrade", pool(h2UpgradePolicy="UPGRADE"))]
    for host, policy in REFUSED.items():
        found += [service_entry(host, [("127.0.0.1", free_port())]), destination_rule(host, policy)]
    unnamed = plain(origins["one"], "unnamed")
    unnamed["spec"]["ports"][0]["protocol"] = "TCP"
    return [*found, unnamed, *relays()]


def pair(host: str, endpoints: Sequence[ScriptedOrigin]) -> Document:
    made = entry_of(endpoints[0], host)
    made["spec"]["endpoints"] += entry_of(endpoints[1], host)["spec"]["endpoints"]
    return made


def plain(origin: ScriptedOrigin, host: str) -> Document:
    """An upstream that is not said to speak HTTP/2."""
    return service_entry(host, [("127.0.0.1", origin.port)])


def relays() -> list[Document]:
    """Port 9000 to an endpoint where nobody listens."""
    server = {**http_server(["*"], 9000), "port": {"number": 9000, "name": "tcp", "protocol": "TCP"}}
    tcp = [{"route": to("dead")}]
    service = {"hosts": ["*"], "gateways": ["tcp"], "tcp": tcp}
    return [
        gateway_of("tcp", [server]),
        {"apiVersion": NETWORKING, "kind": "VirtualService", "metadata": {"name": "tcp"}, "spec": service},
        service_entry("dead", [("127.0.0.1", free_port())]),
        destination_rule("dead", ejecting(consecutive5xxErrors=3)),
    ]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    labels = {"labels": {"istio": "ingressgateway", "istio-locality": "eu.1"}}
    folder = tmp_path_factory.mktemp("balancing")
    with running_bench(folder, documents, "a", "b", "h2-a", "h2-b", settings=labels, ports=(80, 9000)) as running:
        yield running


@pytest.fixture(autouse=True)
def _as_before(bench: Bench) -> Iterator[None]:
    yield
    for origin in (*bench.origins.values(), *bench.others.values()):
        origin.reset()


def who(answer: Answer) -> str:
    assert answer.status == 200, answer
    return answer.value("x-origin") or ""


def drawn(bench: Bench, leg: Leg, target: str, n: int, *fields: str) -> Counter[str]:
    """Who answers requests of one connection, one after the other."""
    return Counter(who(answer) for answer in bench.many(leg, [target] * n, *fields, at_once=1))


# --- simple


@every_leg
def test_q1_the_default_looks_at_what_is_under_way(bench: Bench, leg: Leg) -> None:
    """An endpoint that is held up gets what two draws of the same one would give it at the most."""
    first, second = (bench.others[name] for name in ENDPOINTS[leg.service])
    assert set(drawn(bench, leg, "/default/", 60)) == {first.name, second.name}
    marks = first.mark(), second.mark()
    first.always(end="silence")
    with ExitStack() as held:
        while not first.since(marks[0]):
            before = len(second.since(marks[1]))
            held.enter_context(bench.begun(leg, "/default/"))
            eventually(lambda before=before: first.since(marks[0]) or len(second.since(marks[1])) > before, "it has come")
        first.say = first.hello
        assert drawn(bench, leg, "/default/", 100)[first.name] <= bounds(100, 0.25)[1]
        first.release()


@every_leg
def test_q2_round_and_at_random(bench: Bench, leg: Leg) -> None:
    """Shares fail by chance once in 1e9 runs."""
    first, second = ENDPOINTS[leg.service]
    robin = drawn(bench, leg, "/robin/", 40)
    assert robin == {first: 20, second: 20}
    assert_share(drawn(bench, leg, "/random/", 200)[first], 200, 0.5)
    assert_share(drawn(bench, leg, "/weighted/", 300)[first], 300, 0.75)
    assert_share(drawn(bench, leg, "/weighted-robin/", 300)[first], 300, 0.75)


@every_client
def test_h5_weights_of_destinations(bench: Bench, client: Leg) -> None:
    answers = bench.many(client, ["/shares/"] * 500)
    assert_share(sum(who(answer) == "a" for answer in answers), 500, 0.1)


# --- consistentHash


@every_leg
@pytest.mark.parametrize(
    ("target", "field"),
    [("/header/", "x-user: {}"), ("/maglev/", "x-user: {}"), ("/query/?user={}&user=other", "x-no: 1")],
    ids=["header", "maglev", "query"],
)
def test_q3_q6_a_key_has_one_endpoint(bench: Bench, leg: Leg, target: str, field: str) -> None:
    """Of 40 users all at one endpoint come once in 5e11 runs. Of a parameter the first counts."""
    found = {user: set(drawn(bench, leg, target.format(user), 3, field.format(user))) for user in USERS}
    assert all(len(names) == 1 for names in found.values())
    assert set.union(*found.values()) == set(ENDPOINTS[leg.service])


@every_leg
def test_q3_without_a_key_any_endpoint(bench: Bench, leg: Leg) -> None:
    for target in ("/header/", "/query/", "/no-ttl/"):
        assert set(drawn(bench, leg, target, 40)) == set(ENDPOINTS[leg.service])


@every_leg
def test_q4_a_weighted_route_hashes_within_what_was_drawn(bench: Bench, leg: Leg) -> None:
    """The destination is drawn each time, the endpoint of each is the same: 40 requests to one of them come once in 5e11 runs."""
    homes: dict[str, set[str]] = {}
    for user in USERS:  # whose endpoints in the two are not the same
        homes = {name: set(drawn(bench, leg, f"/{name}/", 1, f"x-user: {user}")) for name in ("header", "maglev")}
        if homes["header"] != homes["maglev"]:
            break
    assert set(drawn(bench, leg, "/drawn/", 40, f"x-user: {user}")) == homes["header"] | homes["maglev"]


COOKIES = {
    "ttl": r'who="([0-9a-f]+)"; Max-Age=60; Path=/app; SameSite=Strict; HttpOnly',
    "session": r'who="([0-9a-f]+)"; HttpOnly',
}


@every_leg
@pytest.mark.parametrize("name", COOKIES)
def test_q5_a_cookie_is_given_to_who_has_none(bench: Bench, leg: Leg, name: str) -> None:
    for _ in range(5):
        first = bench.ask(leg, f"/{name}/")
        given = re.fullmatch(COOKIES[name], first.value("set-cookie") or "")
        assert given, first.fields
        again = bench.many(leg, [f"/{name}/"] * 4, f'cookie: other=1; who="{given[1]}"')
        assert {(who(answer), answer.value("set-cookie")) for answer in again} == {(who(first), None)}


@every_leg
def test_q5_without_a_ttl_none_is_given(bench: Bench, leg: Leg) -> None:
    assert bench.ask(leg, "/no-ttl/").values("set-cookie") == []
    assert len(drawn(bench, leg, "/no-ttl/", 20, "cookie: who=me")) == 1


def from_address(bench: Bench, leg: Leg, target: str, address: str) -> str:
    """Who answers a client with this address; H2Wire and Client send from 127.0.0.1."""
    with socket.create_connection(("127.0.0.1", bench.gateway.port()), 20, (address, 0)) as sock:
        sock.sendall(request_bytes("GET", target, leg.host, ["Connection: close"]))
        data = b""
        while piece := sock.recv(65536):
            data += piece
    found = re.search(rb"x-origin: (\S+)", data)
    assert found, data
    return found[1].decode()


@pytest.mark.parametrize("leg", [leg for leg in LEGS if leg.client == "HTTP/1.1"], ids=str)
def test_q6_the_address_of_the_connection(bench: Bench, leg: Leg) -> None:
    """40 addresses at one endpoint: once in 5e11 runs."""
    found = {n: {from_address(bench, leg, "/address/", f"127.0.1.{n}") for _ in range(2)} for n in range(1, 41)}
    assert all(len(names) == 1 for names in found.values()) and len(set.union(*found.values())) == 2


@every_leg
def test_q6_what_a_client_says_of_its_address_does_not_count(bench: Bench, leg: Leg) -> None:
    assert len({who(bench.ask(leg, "/address/", f"x-forwarded-for: 10.0.0.{n}")) for n in range(20)}) == 1


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    def documents(origins: dict[str, ScriptedOrigin]) -> list[Document]:
        found = both(lambda service: [rule("/", route=to(f"{service}-address"))])
        for service, endpoints in ENDPOINTS.items():
            host = f"{service}-address"
            found += [pair(host, [origins[name] for name in endpoints]), destination_rule(host, BALANCED["address"])]
        return found

    folder = tmp_path_factory.mktemp("behind")
    with running_bench(folder, documents, "a", "b", "h2-a", "h2-b", settings={"trusted-hops": 1}) as running:
        yield running


@every_leg
def test_q6_what_a_trusted_proxy_says_does(behind: Bench, leg: Leg) -> None:
    found = {n: {who(behind.ask(leg, "/", f"x-forwarded-for: 10.0.0.{n}")) for _ in range(2)} for n in range(40)}
    assert all(len(names) == 1 for names in found.values()) and len(set.union(*found.values())) == 2


# --- localities


@every_leg
def test_q7_shares_of_localities(bench: Bench, leg: Leg) -> None:
    assert_share(drawn(bench, leg, "/places/", 400)[ENDPOINTS[leg.service][0]], 400, 0.8)


@every_leg
def test_q7_failover(bench: Bench, leg: Leg) -> None:
    """The own locality serves alone, until its endpoint is ejected. Each client has a service of its own, since ejections last."""
    near, far = ENDPOINTS[leg.service]
    target = f"/failover{leg.client[5]}/"
    assert drawn(bench, leg, target, 20) == {near: 20}
    bench.others[near].always(500)
    assert bench.ask(leg, target).status == 500
    bench.others[near].reset()
    eventually(lambda: drawn(bench, leg, target, 20) == {far: 20}, "all workers know")


@every_leg
@pytest.mark.parametrize("name", ["regions", "labels"])
def test_q7_who_comes_next(bench: Bench, leg: Leg, name: str) -> None:
    """The region that ``failover`` names, or endpoints with the labels of ``failoverPriority``."""
    assert drawn(bench, leg, f"/{name}/", 20) == {ENDPOINTS[leg.service][1]: 20}


# --- outlierDetection


def until_ejected(bench: Bench, leg: Leg, name: str, said: Say, most: int = 12) -> int | None:
    """How many requests the only endpoint gets before it is out; None: it never is."""
    origin = bench.origin(leg)
    origin.say = lambda asked: said
    mark = origin.mark()
    for _ in range(most):
        answer = bench.ask(leg, f"/{name}/", method="POST", body=b"")
        if answer.body == b"no healthy upstream":
            return len(origin.since(mark))
    return None


@pytest.mark.parametrize("leg", [LEGS[0], LEGS[3]], ids=str)
def test_q8_q9_what_ejects_an_endpoint(bench: Bench, leg: Leg) -> None:
    """Of one leg for each upstream, since ejections last. Nobody else is there then: UH."""
    assert until_ejected(bench, leg, "never", Say(500)) is None
    assert until_ejected(bench, leg, "gateway", Say(500)) is None
    assert until_ejected(bench, leg, "gateway", Say(502)) == 2
    assert until_ejected(bench, leg, "five", Say(404)) is None
    assert until_ejected(bench, leg, "five", Say(503)) == 5
    assert until_ejected(bench, leg, "three", Say(end="cut")) == 3
    assert until_ejected(bench, leg, "codes", Say(500)) is None
    assert until_ejected(bench, leg, "codes", Say(429)) == 2
    assert until_ejected(bench, leg, "local", Say(503), most=4) is None
    answer, line = bench.ask_logged(leg, "/five/")
    assert (answer.status, line.flags, line.details) == (503, {"UH"}, "no_healthy_upstream")


@every_client
def test_q8_failures_to_connect(bench: Bench, client: Leg) -> None:
    """As 5xx, or in a row of their own."""
    for name, most in (("refused", 5), ("split", 2)):
        bodies = [bench.ask(client, f"/{name}{client.client[5]}/").body for _ in range(most + 1)]
        assert all(b"remote connection failure" in body for body in bodies[:most])
        assert bodies[most:] == [b"no healthy upstream"]


def test_q10_connections_that_cannot_be_relayed_count(bench: Bench) -> None:
    def ejections() -> float:
        return bench.gateway.metrics().total("fastgw_outlier_ejections_total")

    before = ejections()

    def one_more() -> bool:
        with suppress(ConnectionResetError), bench.gateway.client(9000) as client:
            assert client.wait_closed()
        return ejections() == before + 1

    eventually(one_more, "an ejection")


# --- connectionPool


@every_leg
def test_q11_zero_is_no_limit(bench: Bench, leg: Leg) -> None:
    origin = bench.origin(leg)
    origin.always(end="silence")
    mark = origin.mark()
    with bench.gateway.client() as one, bench.gateway.client() as two, bench.gateway.client() as three:
        for client in (one, two, three):
            client.send(request_bytes("GET", "/zeros/", leg.host))
        eventually(lambda: len(origin.since(mark)) == 3, "all are there at once")
        origin.release()
        assert [client.response().status for client in (one, two, three)] == [200] * 3


@pytest.mark.parametrize("leg", [leg for leg in LEGS if leg.upstream == "HTTP/1.1"], ids=str)
def test_q11_one_waits_and_the_next_is_too_many(bench: Bench, leg: Leg) -> None:
    """Limits of connections and waiting requests are those of HTTP/1.1 (I7 has HTTP/2's)."""
    origin = bench.origin(leg)
    origin.always(end="silence")
    mark = origin.mark()
    with bench.begun(leg, "/queue/1") as first:
        eventually(lambda: origin.since(mark), "the first is there")
        with bench.begun(leg, "/queue/2") as second:
            eventually(lambda: bench.gateway.metrics().total("fastgw_cluster_pending") == 1, "the second waits")
            answer, line = bench.ask_logged(leg, "/queue/3")
            assert (answer.status, answer.value("x-envoy-overloaded"), line.flags) == (503, "true", {"UO"})
            origin.say = origin.hello
            origin.release()
            assert (first.answer().status, second.answer().status) == (200, 200)
    assert [asked.target for asked in origin.since(mark)] == ["/queue/1", "/queue/2"]


@every_leg
def test_q12_a_connection_for_each_request(bench: Bench, leg: Leg) -> None:
    def made() -> float:
        return bench.gateway.metrics().total("fastgw_upstream_connections_total")

    before = made()
    mark = bench.origin(leg).mark()
    bench.many(leg, ["/once/"] * 6, at_once=1)
    assert made() == before + 6
    if leg.upstream == "HTTP/1.1":
        assert {asked.value("connection") for asked in bench.origin(leg).since(mark)} == {"close"}


# --- protocols


@every_client
def test_q16_what_is_spoken_to_an_upstream(bench: Bench, client: Leg) -> None:
    """Of the protocol of its port, every test of this file is one; without one it is HTTP/1.1."""
    assert who(bench.ask(client, "/upgrade")) == "two"
    assert who(bench.ask(client, "/unnamed")) == "one"
    same, other = ("one", "two") if client.client == "HTTP/1.1" else ("two", "one")
    assert who(bench.ask(client, f"/as-client/{same}")) == same
    assert bench.ask(client, f"/as-client/{other}").status in (502, 503), "it does not speak the client's"
