"""Time-outs and retries of routes on a virtual clock (sections I and J)."""

from __future__ import annotations

import json
import os
import select
import tempfile
from collections.abc import Callable, Iterator

import pytest
from dataplane_support import GET, OK, Gateway, Peer, Upstream, free_port, post

from fastgw.model.plan import Endpoint, Policy, Pool, Retries, RetryBudget, RoutePolicy

MakeGateway = Callable[..., Gateway]
PROGRAM = [("text", '["'), ("code", ""), ("text", '","'), ("flags", ""), ("text", '","'), ("details", ""), ("text", '","')]
PROGRAM += [("attempts", ""), ("text", '"]\n')]
PREFIX = b"upstream connect error or disconnect/reset before headers. "


def answer(status: int, *fields: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


def retries(attempts: int = 2, *on: str, grpc: tuple[str, ...] = (), statuses: tuple[int, ...] = (), timeout_ms: int = 0,
            per_try_ms: int = 0, avoid: bool | None = None) -> RoutePolicy:  # fmt: skip
    return RoutePolicy(timeout_ms=timeout_ms, retries=Retries(attempts, on, grpc, statuses, per_try_ms, avoid_tried=avoid))


class Logged:
    """A gateway and its access log: code, flags, details, attempts."""

    def __init__(self, gateway: Gateway, fd: int) -> None:
        self.gateway, self._fd = gateway, fd

    def lines(self) -> list[list[str]]:
        self.gateway.log.flush()
        return [json.loads(line) for line in os.pread(self._fd, 1 << 20, 0).splitlines()]


@pytest.fixture
def logged(make_gateway: MakeGateway) -> Iterator[Callable[..., Logged]]:
    with tempfile.TemporaryFile() as file:

        def make(**limits: object) -> Logged:
            return Logged(make_gateway(log=PROGRAM, log_fd=file.fileno(), limits=limits), file.fileno())

        yield make


def served(gateway: Gateway, route: RoutePolicy, **cluster: object) -> Upstream:
    upstream = gateway.upstream()
    gateway.serve(upstream, route=route, **cluster)
    return upstream


def next_try(gateway: Gateway, upstream: Upstream) -> Peer:
    """The next attempt's connection, after whatever pause it takes."""
    gateway.pass_ms(700)
    return upstream.accept(gateway)


# --- what is retried ---


@pytest.mark.parametrize(
    ("policy", "first"),
    [
        (retries(1, "5xx"), answer(500)),
        (retries(1, "5xx"), answer(503)),
        (retries(1, "gateway-error"), answer(502)),
        (retries(1, "gateway-error"), answer(504)),
        (retries(1, "retriable-4xx"), answer(409)),
        (retries(1, statuses=(404, 500)), answer(404)),
        (retries(1, "envoy-ratelimited"), answer(429, "x-envoy-ratelimited: true")),
        (retries(1, grpc=("UNAVAILABLE",)), answer(200, "grpc-status: 14")),
        (retries(1, grpc=("CANCELLED", "DEADLINE_EXCEEDED")), answer(200, "grpc-status: 4")),
    ],
)
def test_an_answer_that_is_retried(logged: Callable[..., Logged], policy: RoutePolicy, first: bytes) -> None:
    world = logged()
    upstream = served(world.gateway, policy)
    client = world.gateway.client().send(GET)
    up = upstream.accept(world.gateway)
    assert up.request()["x-envoy-attempt-count"] == "1"
    up.send(first)
    assert client.poll().data == b"", "nothing of it reaches the client"
    up = next_try(world.gateway, upstream)
    assert up.request()["x-envoy-attempt-count"] == "2"
    up.send(OK)
    assert client.response().body == b"ok"
    assert world.lines() == [["200", "-", "via_upstream", "2"]]
    assert world.gateway.counter("FGW_C_UPSTREAM_RETRIES") == 1


@pytest.mark.parametrize(
    ("policy", "first"),
    [
        (retries(1, "gateway-error"), answer(500)),
        (retries(1, "5xx"), answer(404)),
        (retries(1, "reset"), answer(503)),
        (retries(1, "connect-failure"), answer(503)),
        (retries(1, "retriable-4xx"), answer(429)),
        (retries(1, statuses=(404,)), answer(503)),
        (retries(0), answer(503)),
        (RoutePolicy(timeout_ms=1000), answer(503)),
        (retries(1, "5xx"), answer(503, "x-envoy-ratelimited: true")),
        (retries(1, grpc=("UNAVAILABLE",)), answer(200, "grpc-status: 13")),
        (retries(1, grpc=("UNAVAILABLE",)), answer(200, "grpc-status: 140")),
    ],
)
def test_an_answer_that_is_not_retried(gateway: Gateway, policy: RoutePolicy, first: bytes) -> None:
    upstream = served(gateway, policy)
    client = gateway.client().send(GET)
    up = upstream.accept(gateway)
    up.request()
    up.send(first)
    assert client.response().status == int(first[9:12])
    gateway.pass_ms(700)
    assert not upstream.has_connection(gateway)


@pytest.mark.parametrize("word", ["5xx", "gateway-error", "reset"])
def test_no_answer_at_all(gateway: Gateway, word: str) -> None:
    upstream = served(gateway, retries(1, word))
    client = gateway.client().send(GET)
    up = upstream.accept(gateway)
    up.request()
    up.close()
    up = next_try(gateway, upstream)
    up.request()
    up.send(OK)
    assert client.response().status == 200


@pytest.mark.parametrize("word", ["connect-failure", "reset-before-request", "reset", "5xx"])
def test_a_failed_connect_is_repeated_at_once(gateway: Gateway, word: str) -> None:
    upstream = gateway.upstream()
    gateway.serve(free_port(), upstream, route=retries(1, word))
    for _ in range(4):
        client = gateway.client().send(GET)
        up = upstream.accept(gateway)
        up.request()
        up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        assert client.response().status == 200


def test_without_its_condition_a_failed_connect_is_not_repeated(logged: Callable[..., Logged]) -> None:
    world = logged()
    world.gateway.serve(free_port(), free_port(), route=retries(3, "retriable-4xx"))
    assert world.gateway.client().send(GET).response().status == 503
    assert [line[1] for line in world.lines()] == ["UF"]


def test_when_all_tries_have_failed(logged: Callable[..., Logged]) -> None:
    """I10: the upstream's own answer, and URX."""
    world = logged()
    upstream = served(world.gateway, retries(2, "5xx"))
    client = world.gateway.client().send(GET)
    up = upstream.accept(world.gateway)
    for _ in range(2):
        up.request()
        up.send(answer(503))
        up = next_try(world.gateway, upstream)
    up.request()
    up.send(answer(503, "x-mine: 1", body=b"busy"))
    got = client.response()
    assert (got.status, got.body, got["x-mine"]) == (503, b"busy", "1")
    assert world.lines() == [["503", "URX", "via_upstream", "3"]]


def test_when_all_connects_have_failed(logged: Callable[..., Logged]) -> None:
    """I4."""
    world = logged()
    world.gateway.serve(free_port(), route=retries(2, "connect-failure"))
    client = world.gateway.client().send(GET)
    world.gateway.pass_ms(700)
    assert client.response().body == PREFIX + b"retried and the latest reset reason: remote connection failure"
    flags, details = world.lines()[0][1:3]
    assert (set(flags.split(",")), details) == (
        {"UF", "URX"},
        "upstream_reset_before_response_started{remote_connection_failure}",
    )


# --- what is safe ---


@pytest.mark.parametrize("method", ["POST", "PATCH", "M-SEARCH"])
@pytest.mark.parametrize("any_method", [False, True])
def test_methods_that_are_not_idempotent(make_gateway: MakeGateway, method: str, any_method: bool) -> None:
    gateway = make_gateway(limits={"retry_any_method": any_method})
    upstream = served(gateway, retries(1, "5xx"))
    client = gateway.client().send(post(3, method=method) + b"abc")
    up = upstream.accept(gateway)
    up.request()
    up.send(answer(503))
    gateway.pass_ms(700)
    if any_method:
        up = upstream.accept(gateway)
        assert up.request().body == b"abc"
        up.send(OK)
    assert client.response().status == (200 if any_method else 503)


def test_calls_of_grpc_are_retried_where_the_route_names_their_status(gateway: Gateway) -> None:
    upstream = served(gateway, retries(1, grpc=("UNAVAILABLE",)))
    client = gateway.client().send(post(3) + b"abc")
    up = upstream.accept(gateway)
    up.request()
    up.send(answer(200, "grpc-status: 14"))
    up = next_try(gateway, upstream)
    assert up.request().body == b"abc"
    up.send(OK)
    assert client.response().body == b"ok"


def test_a_large_body_is_streamed_and_not_retried(gateway: Gateway) -> None:
    upstream = served(gateway, retries(1, "5xx"))
    body = b"a" * 70_000
    client = gateway.client().send(post(len(body), method="PUT") + body)
    up = upstream.accept(gateway)
    assert up.request().body == body
    up.send(answer(503))
    assert client.response().status == 503


def test_an_answer_that_has_begun_is_never_retried(gateway: Gateway) -> None:
    """J8."""
    upstream = served(gateway, retries(1, "5xx", "reset"))
    client = gateway.client().send(GET)
    up = upstream.accept(gateway)
    up.request()
    up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    up.close()
    assert client.until_end() == "fin"
    assert client.data.endswith(b"abc")
    gateway.pass_ms(700)
    assert not upstream.has_connection(gateway)


def test_endpoints_that_have_been_tried(gateway: Gateway) -> None:
    """J10: three endpoints, two retries: each once."""
    upstreams = [gateway.upstream() for _ in range(3)]
    gateway.serve(*upstreams, lb="random", route=retries(2, "5xx"))
    for _ in range(5):
        client = gateway.client().send(GET)
        left = list(upstreams)
        while left:
            gateway.pass_ms(700)
            taken = next(upstream for upstream in left if upstream.has_connection(gateway))
            left.remove(taken)
            up = gateway.peers[-1]
            up.request()
            up.send(answer(503) if left else b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        assert client.response().status == 200


# --- time ---


def test_the_time_of_a_route(logged: Callable[..., Logged]) -> None:
    """I8, J2: from the end of the request."""
    world = logged()
    upstream = served(world.gateway, RoutePolicy(timeout_ms=2000))
    client = world.gateway.client().send(post(6) + b"abc")
    world.gateway.pass_ms(5000)
    up = upstream.accept(world.gateway)
    client.send(b"def")
    world.gateway.pass_ms(1900)
    assert client.poll().data == b""
    up.request()
    world.gateway.pass_ms(400)
    got = client.response()
    assert (got.status, got.body) == (504, b"upstream request timeout")
    assert up.until_end() == "reset"
    assert world.lines() == [["504", "UT", "upstream_response_timeout", "1"]]


def test_the_time_is_for_the_whole_answer(logged: Callable[..., Logged]) -> None:
    world = logged()
    upstream = served(world.gateway, RoutePolicy(timeout_ms=2000))
    client = world.gateway.client().send(GET)
    up = upstream.accept(world.gateway)
    up.request()
    up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    world.gateway.pass_ms(2300)
    client.until_end()
    assert client.data.endswith(b"abc")
    assert world.lines() == [["200", "UT", "upstream_response_timeout", "1"]]


def test_the_time_covers_retries_and_pauses(logged: Callable[..., Logged]) -> None:
    world = logged()
    upstream = served(world.gateway, retries(5, "5xx", timeout_ms=2000))
    client = world.gateway.client().send(GET)
    up = upstream.accept(world.gateway)
    up.request()
    world.gateway.pass_ms(1500)
    up.send(answer(503))
    world.gateway.pass_ms(300)
    up = upstream.accept(world.gateway)
    up.request()
    world.gateway.pass_ms(400)
    assert client.response().status == 504
    assert world.lines() == [["504", "UT", "upstream_response_timeout", "2"]]


def test_the_time_of_a_try(logged: Callable[..., Logged]) -> None:
    """I9, J11."""
    world = logged()
    upstream = served(world.gateway, retries(1, "5xx", per_try_ms=500))
    client = world.gateway.client().send(GET)
    first = upstream.accept(world.gateway)
    first.request()
    world.gateway.pass_ms(700)
    assert first.until_end() == "reset"
    second = next_try(world.gateway, upstream) if not client.poll().data else None
    if second is not None:
        second.request()
    world.gateway.pass_ms(1000)
    got = client.response()
    assert (got.status, got.body) == (504, b"upstream request timeout")
    code, flags, details, attempts = world.lines()[0]
    assert (code, set(flags.split(",")), details, attempts) == ("504", {"UT", "URX"}, "upstream_per_try_timeout", "2")


def test_the_time_of_a_try_without_a_condition_that_covers_it(gateway: Gateway) -> None:
    upstream = served(gateway, retries(3, "connect-failure", per_try_ms=500))
    client = gateway.client().send(GET)
    upstream.accept(gateway).request()
    gateway.pass_ms(700)
    assert client.response().status == 504
    assert not upstream.has_connection(gateway)


def test_an_answer_that_has_begun_has_the_routes_time(gateway: Gateway) -> None:
    upstream = served(gateway, retries(1, "5xx", per_try_ms=500))
    client = gateway.client().send(GET)
    up = upstream.accept(gateway)
    up.request()
    up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
    gateway.pass_ms(2000)
    up.send(b"k")
    assert client.response().body == b"ok"


def test_a_client_that_goes_away_in_a_pause(gateway: Gateway) -> None:
    upstream = served(gateway, RoutePolicy(retries=Retries(1, ("5xx",), backoff_ms=60_000)))
    client = gateway.client().send(GET)
    up = upstream.accept(gateway)
    up.request()
    up.send(answer(503))
    client.close()
    gateway.pass_ms(1000)
    assert gateway.alive()["exchanges"] == 0
    gateway.pass_ms(60_000)
    assert not upstream.has_connection(gateway)


# --- budget ---


def fail_all(gateway: Gateway, upstream: Upstream, clients: int) -> int:
    """So many requests at a time, which all fail once: how many are sent again before the first of them is answered."""
    waiting = [gateway.client().send(GET) for _ in range(clients)]
    ups = [upstream.accept(gateway) for _ in range(clients)]
    for up in ups:
        up.request()
    for up in ups:
        up.send(answer(503, "Connection: close"))
    gateway.pass_ms(700)
    again = []
    while upstream.has_connection(gateway):
        again.append(gateway.peers[-1])
    for up in again:
        up.request()
        up.send(OK)
    statuses = sorted(client.response().status for client in waiting)
    assert statuses == sorted([200] * len(again) + [503] * (clients - len(again)))
    return len(again)


@pytest.mark.parametrize(("clients", "percent"), [(2, 20), (10, 20), (40, 20), (40, 50), (40, 0)])
def test_the_budget(make_gateway: MakeGateway, clients: int, percent: int) -> None:
    """So many percent of what is under way, three at least. One after another fails, and leaves fewer under way."""
    gateway = make_gateway(limits={"retry_budget_percent": percent})
    upstream = served(gateway, retries(1, "5xx"))
    wanted = next((k for k in range(clients) if k >= max(3, (clients - k + 1) * percent // 100)), clients) if percent else clients
    assert fail_all(gateway, upstream, clients) == wanted
    assert gateway.state.clusters[0].all.retries == gateway.stats.shares[0].retries == 0
    assert gateway.counter("FGW_C_OVERFLOW_RETRIES") == clients - gateway.counter("FGW_C_UPSTREAM_RETRIES")


def test_max_retries_of_a_destination_rule(logged: Callable[..., Logged]) -> None:
    world = logged(retry_budget_percent=20)
    upstream = served(world.gateway, retries(1, "5xx"), policy=Policy(pool=Pool(max_retries=1)))
    assert fail_all(world.gateway, upstream, 6) == 1
    assert sorted(line[1] for line in world.lines()) == ["-"] + ["UO"] * 5


@pytest.mark.parametrize(
    ("percent", "least", "wanted"), [(0.0, 0, 0), (0.0, 2, 2), (20.0, 3, 3), (25.0, 0, 2), (100.0, 0, 6)], ids=str
)
def test_the_budget_of_a_destination_rule(make_gateway: MakeGateway, percent: float, least: int, wanted: int) -> None:
    """J15: in place of maxRetries and the gateway's. Of ten that fail one after another fewer and fewer are under way."""
    gateway = make_gateway(limits={"retry_budget_percent": 50})
    pool = Pool(max_retries=9, retry_budget=RetryBudget(percent, least))
    assert fail_all(gateway, served(gateway, retries(1, "5xx"), policy=Policy(pool=pool)), 10) == wanted


# --- retryRemoteLocalities ---


def levels_tried(gateway: Gateway, levels: list[Upstream], attempts: int) -> list[int]:
    """The level of every attempt of a request that always fails."""
    client, found, sockets = gateway.client().send(GET), [], [upstream.sock for upstream in levels]
    for _ in range(attempts):
        gateway.until(lambda: bool(select.select(sockets, [], [], 0)[0]))
        level = sockets.index(select.select(sockets, [], [], 0)[0][0])
        up = levels[level].accept(gateway)
        up.request()
        up.send(answer(503, "Connection: close"))
        found.append(level)
        gateway.pass_ms(700)
    assert client.response().status == 503
    return found


@pytest.mark.parametrize(
    ("other_localities", "levels"), [(True, [0, 0, 1, 1, 2, 2, 0, 0]), (False, [0, 0, 0, 0, 0, 0, 0, 0])], ids=["on", "off"]
)
def test_retries_go_to_other_localities(gateway: Gateway, other_localities: bool, levels: list[int]) -> None:
    """Envoy's previous priorities, with Istio's update frequency of 2: every two attempts the levels tried so far are left out,
    and when there is no other, it begins anew."""
    upstreams = [gateway.upstream() for _ in range(3)]
    endpoints = [Endpoint("127.0.0.1", upstream.port, priority=level) for level, upstream in enumerate(upstreams)]
    route = RoutePolicy(retries=Retries(7, ("5xx",), other_localities=other_localities))
    gateway.serve(endpoints=endpoints, route=route)
    assert levels_tried(gateway, upstreams, 8) == levels


def test_a_locality_that_cannot_be_used_is_no_place_to_go(gateway: Gateway) -> None:
    """Of three levels the second is not ready."""
    upstreams = [gateway.upstream() for _ in range(3)]
    endpoints = [
        Endpoint("127.0.0.1", upstream.port, priority=level, healthy=level != 1) for level, upstream in enumerate(upstreams)
    ]
    gateway.serve(endpoints=endpoints, route=RoutePolicy(retries=Retries(4, ("5xx",), other_localities=True)))
    assert levels_tried(gateway, upstreams, 5) == [0, 0, 2, 2, 0]
