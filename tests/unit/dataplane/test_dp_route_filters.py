"""Faults, CORS and mirrors of routes (section N)."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator

import msgspec
import pytest
from dataplane_support import GET, OK, Gateway, Message, Upstream, free_port, make_plan, post

from fastgw.dataplane import buffers
from fastgw.model.plan import (
    Cluster,
    Cors,
    Endpoint,
    ErrorPage,
    Fault,
    MirrorTarget,
    PathMatch,
    Predicate,
    RoutePolicy,
    VirtualHost,
)

PROGRAM = [("text", '["'), ("code", ""), ("text", '","'), ("flags", ""), ("text", '","'), ("details", ""), ("text", '"]\n')]
ALL = 1_000_000
HERE = "http://a.test"
ORIGIN = Predicate("header", "exact", "origin", HERE)


@pytest.fixture
def logged(make_gateway: Callable[..., Gateway]) -> Iterator[tuple[Gateway, Callable[[], list[list[str]]]]]:
    """A gateway and its log: code, flags, details."""
    with tempfile.TemporaryFile() as file:
        gateway = make_gateway(log=PROGRAM, log_fd=file.fileno())

        def lines() -> list[list[str]]:
            gateway.log.flush()
            return [json.loads(line) for line in os.pread(file.fileno(), 1 << 20, 0).splitlines()]

        yield gateway, lines


def served(gateway: Gateway, policy: RoutePolicy) -> Upstream:
    upstream = gateway.upstream()
    gateway.serve(upstream, route=policy)
    return upstream


def ask(gateway: Gateway, upstream: Upstream, request: bytes, answer: bytes = OK) -> tuple[Message, Message]:
    """What the upstream got, what the client got."""
    client = gateway.client().send(request)
    up = upstream.accept(gateway)
    got = up.request()
    up.send(answer)
    return got, client.response(request.split(b" ")[0].decode())


def request(method: str, *fields: str, path: str = "/x", host: str = "a.test") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode()


# --- faults ---


def test_an_abort(logged: tuple[Gateway, Callable[[], list[list[str]]]]) -> None:
    gateway, lines = logged
    upstream = served(gateway, RoutePolicy(fault=Fault(abort_status=418, abort_per_million=ALL)))
    answer = gateway.client().send(GET).response()
    assert (answer.status, answer.body) == (418, b"fault filter abort")
    assert lines() == [["418", "FI", "fault_filter_abort"]]
    assert not upstream.has_connection(gateway)


@pytest.mark.parametrize(("grpc", "status"), [(5, 404), (14, 503), (0, 200), (1, 499)])
def test_an_abort_with_a_status_of_grpc(gateway: Gateway, grpc: int, status: int) -> None:
    """N4: HTTP's word for it, but to calls."""
    served(gateway, RoutePolicy(fault=Fault(abort_grpc=grpc, abort_per_million=ALL)))
    assert gateway.client().send(GET).response().status == status
    call = post(0).replace(b"Host: a.test\r\n", b"Host: a.test\r\nContent-Type: application/grpc\r\n")
    answer = gateway.client().send(call).response()
    assert (answer.status, answer["grpc-status"]) == (200, str(grpc))


def test_a_delay(logged: tuple[Gateway, Callable[[], list[list[str]]]]) -> None:
    gateway, lines = logged
    upstream = served(gateway, RoutePolicy(fault=Fault(delay_ms=3000, delay_per_million=ALL)))
    client = gateway.client().send(post(3) + b"abc")
    gateway.pass_ms(2900)
    assert not upstream.has_connection(gateway)
    gateway.pass_ms(300)
    up = upstream.accept(gateway)
    assert up.request().body == b"abc"
    up.send(OK)
    assert client.response().status == 200
    assert lines() == [["200", "DI", "via_upstream"]]


def test_a_delay_and_an_abort(logged: tuple[Gateway, Callable[[], list[list[str]]]]) -> None:
    """N3: first the one, then the other."""
    gateway, lines = logged
    served(gateway, RoutePolicy(fault=Fault(3000, ALL, 503, None, ALL)))
    client = gateway.client().send(GET)
    gateway.pass_ms(2900)
    assert client.poll().data == b""
    gateway.pass_ms(300)
    assert client.response().status == 503
    assert set(lines()[0][1].split(",")) == {"DI", "FI"}


def test_a_client_that_does_not_wait_for_the_delay(gateway: Gateway) -> None:
    upstream = served(gateway, RoutePolicy(fault=Fault(delay_ms=60_000, delay_per_million=ALL)))
    gateway.client().send(GET).close()
    assert gateway.alive()["exchanges"] == 0
    gateway.pass_ms(61_000)
    assert not upstream.has_connection(gateway)


def test_the_time_of_a_route_begins_after_the_delay(gateway: Gateway) -> None:
    upstream = served(gateway, RoutePolicy(timeout_ms=1000, fault=Fault(3000, ALL)))
    client = gateway.client().send(GET)
    gateway.pass_ms(3200)
    up = upstream.accept(gateway)
    up.request()
    up.send(OK)
    assert client.response().status == 200


@pytest.mark.parametrize("per_million", [0, 100_000, 500_000, ALL])
def test_shares(gateway: Gateway, per_million: int) -> None:
    """1000 requests: within five standard deviations, so that one run in a million fails by chance."""
    gateway.serve(free_port(), route=RoutePolicy(fault=Fault(0, 0, 418, None, per_million), timeout_ms=1))
    client = gateway.client()
    share = per_million / ALL
    aborted = 0
    for _ in range(1000):
        client.send(GET)
        gateway.pass_ms(200)
        aborted += client.response().status == 418
    deviation = (1000 * share * (1 - share)) ** 0.5
    assert abs(aborted - 1000 * share) <= 5 * deviation


# --- CORS ---


def cors(*origins: Predicate, methods: str = "GET,POST", headers: str = "x-a", expose: str = "x-b", age: str = "60",
         credentials: bool = True, ignore: bool = False) -> RoutePolicy:  # fmt: skip
    return RoutePolicy(cors=Cors(origins or (ORIGIN,), methods, headers, expose, age, credentials, ignore))


def told(answer: Message) -> dict[str, str]:
    return {name.removeprefix("access-control-"): value for name, value in answer.fields if name.startswith("access-control-")}


PREFLIGHT = request("OPTIONS", f"Origin: {HERE}", "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-c")


def test_a_preflight(logged: tuple[Gateway, Callable[[], list[list[str]]]]) -> None:
    """N7."""
    gateway, lines = logged
    upstream = served(gateway, cors())
    answer = gateway.client().send(PREFLIGHT).response("OPTIONS")
    assert (answer.status, answer.body) == (200, b"")
    fixed = {"allow-methods": "GET,POST", "allow-headers": "x-a", "max-age": "60"}
    assert told(answer) == {"allow-origin": HERE, "allow-credentials": "true", **fixed}
    assert lines() == [["200", "-", "cors_response"]]
    assert not upstream.has_connection(gateway)


def test_stars_stand_for_what_is_asked(gateway: Gateway) -> None:
    served(gateway, cors(Predicate("header", "present", "origin"), methods="*", headers="*", age="", credentials=False))
    answer = gateway.client().send(PREFLIGHT).response("OPTIONS")
    assert told(answer) == {"allow-origin": HERE, "allow-methods": "PUT", "allow-headers": "x-c"}


@pytest.mark.parametrize(
    "asked",
    [
        PREFLIGHT.replace(b"a.test\r\nAccess", b"b.test\r\nAccess"),
        request("OPTIONS", f"Origin: {HERE}"),
        request("OPTIONS", "Access-Control-Request-Method: PUT"),
        request("GET", f"Origin: {HERE}", "Access-Control-Request-Method: PUT"),
    ],
)
def test_what_is_no_preflight_for_us_goes_on(gateway: Gateway, asked: bytes) -> None:
    upstream = served(gateway, cors())
    got, answer = ask(gateway, upstream, asked)
    assert (got.start.split(" ")[1], answer.body) == ("/x", b"ok")


def test_a_preflight_of_another_origin_may_be_answered_here(gateway: Gateway) -> None:
    """N8."""
    served(gateway, cors(ignore=True))
    answer = gateway.client().send(PREFLIGHT.replace(b"a.test\r\nAccess", b"b.test\r\nAccess")).response("OPTIONS")
    assert answer.status == 200
    assert "allow-origin" not in told(answer) and told(answer)["allow-methods"] == "GET,POST"


def test_an_actual_request(gateway: Gateway) -> None:
    """N9: the upstream's own words are replaced."""
    upstream = served(gateway, cors())
    own = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Max-Age: 1\r\n\r\nok"
    _, answer = ask(gateway, upstream, request("GET", f"Origin: {HERE}"), own)
    assert told(answer) == {"max-age": "1", "allow-origin": HERE, "allow-credentials": "true", "expose-headers": "x-b"}
    assert answer.values("vary") == []


def test_an_answer_to_another_origin_stays_as_it_is(gateway: Gateway) -> None:
    upstream = served(gateway, cors())
    own = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: *\r\n\r\nok"
    for asked in (request("GET", "Origin: http://b.test"), GET):
        _, answer = ask(gateway, upstream, asked, own.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert told(answer) == {"allow-origin": "*"}


def test_the_gateways_own_answers_behind_cors_can_be_read(gateway: Gateway) -> None:
    gateway.serve(free_port(), route=RoutePolicy(timeout_ms=1000, cors=cors().cors))
    client = gateway.client().send(request("GET", f"Origin: {HERE}"))
    gateway.pass_ms(1500)
    answer = client.response()
    assert (answer.status, told(answer)["allow-origin"]) == (503, HERE)


def test_an_aborted_request_carries_nothing_of_cors(gateway: Gateway) -> None:
    """N2."""
    served(gateway, RoutePolicy(cors=cors().cors, fault=Fault(abort_status=503, abort_per_million=ALL)))
    for asked in (PREFLIGHT, request("GET", f"Origin: {HERE}")):
        answer = gateway.client().send(asked).response()
        assert (answer.status, told(answer)) == (503, {})


# --- mirrors ---


class Mirrored:
    """A route with a mirror; ``mirror_port`` in place of a listening one."""

    def __init__(self, gateway: Gateway, per_million: int = ALL, mirror_port: int = 0, timeout_ms: int = 0) -> None:
        self.gateway = gateway
        self.main, self.mirror = gateway.upstream(), gateway.upstream()
        ports = {"c": self.main.port, "m": mirror_port or self.mirror.port}
        clusters = [Cluster(name, name, 80, endpoints=[Endpoint("127.0.0.1", port)]) for name, port in ports.items()]
        policy = RoutePolicy(mirrors=(MirrorTarget("m", per_million), MirrorTarget("gone", ALL)), timeout_ms=timeout_ms)
        gateway.attach(make_plan(clusters, policy=policy))

    def count(self) -> tuple[int, int]:
        return self.gateway.counter("FGW_C_MIRRORED"), self.gateway.counter("FGW_C_MIRRORS_LOST")


def test_a_mirror_gets_a_copy(gateway: Gateway) -> None:
    world = Mirrored(gateway)
    client = gateway.client().send(post(6) + b"abc")
    up, copy = world.main.accept(gateway), world.mirror.accept(gateway)
    client.send(b"def")
    got, copied = up.request(), copy.request()
    assert (copied.start, copied.body, copied["host"]) == (got.start, b"abcdef", "a.test")
    assert copied.stable() == got.stable()
    up.send(OK)
    assert client.response().body == b"ok", "nobody waits for the mirror"
    copy.send(b"HTTP/1.1 500 X\r\nContent-Length: 3\r\n\r\nbad")
    assert client.poll().data == b""
    gateway.settle()
    assert gateway.alive()["exchanges"] == 0
    assert world.count() == (1, 0)


@pytest.mark.parametrize("how", ["close", "reset", "garbage"])
def test_whatever_a_mirror_does_is_its_own_affair(gateway: Gateway, how: str) -> None:
    world = Mirrored(gateway)
    client = gateway.client().send(GET)
    up, copy = world.main.accept(gateway), world.mirror.accept(gateway)
    copy.request()
    if how == "garbage":
        copy.send(b"\0" * 100)
    else:
        getattr(copy, how)()
    up.request()
    up.send(OK)
    assert client.response().status == 200
    gateway.pass_ms(1000)
    assert not world.mirror.has_connection(gateway), "no retries"


def test_an_overloaded_worker_makes_no_copies(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits={"spare_paths": ["/"]})
    world = Mirrored(gateway)
    client = gateway.client()
    ballast = buffers.Buffer()
    ballast.put(bytes(100_000))
    gateway.state.memory_limit, gateway.state.memory_used, gateway.state.memory_read_ms = 1_000_000, 960_000, 1 << 60
    gateway.pass_ms(300)
    client.send(GET)
    world.main.accept(gateway).send(OK)
    assert client.response().body == b"ok"
    ballast.drop(100_000)
    assert not world.mirror.has_connection(gateway) and gateway.counter("FGW_C_MIRRORS_LOST") == 1


def test_a_mirror_that_cannot_be_reached(gateway: Gateway) -> None:
    world = Mirrored(gateway, mirror_port=free_port())
    assert ask(gateway, world.main, GET)[1].status == 200


def test_a_mirror_that_does_not_keep_up_loses_its_copy(gateway: Gateway) -> None:
    world = Mirrored(gateway)
    size = 8 << 20
    client = gateway.client().send(post(size))
    up = world.main.accept(gateway)
    world.mirror.accept(gateway)  # and does not read
    sent = received = 0
    while received < size:
        if sent < size:
            sent += client.try_send(b"x" * min(65536, size - sent))
        gateway.turn()
        received = len(up.poll().data.partition(b"\r\n\r\n")[2])
    up.send(OK)
    assert client.response().status == 200
    assert world.count() == (1, 1)


def test_a_request_that_breaks_off_takes_its_copy_along(gateway: Gateway) -> None:
    world = Mirrored(gateway)
    client = gateway.client().send(post(6) + b"abc")
    world.main.accept(gateway)
    copy = world.mirror.accept(gateway)
    client.close()
    assert copy.until_end() == "reset"
    assert gateway.alive()["exchanges"] == 0


@pytest.mark.parametrize(("timeout_ms", "passes_ms"), [(1000, 1500), (0, 61_000)])
def test_a_mirror_does_not_answer_for_ever(gateway: Gateway, timeout_ms: int, passes_ms: int) -> None:
    world = Mirrored(gateway, timeout_ms=timeout_ms)
    assert ask(gateway, world.main, GET)[1].status == 200
    copy = world.mirror.accept(gateway)
    copy.request()
    copy.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
    gateway.pass_ms(passes_ms)
    assert copy.until_end() == "reset"


def test_a_share_is_mirrored(gateway: Gateway) -> None:
    """400 requests, half of them: within five standard deviations."""
    world = Mirrored(gateway, 500_000, mirror_port=free_port())
    client = gateway.client()
    up = None
    for _ in range(400):
        client.send(GET)
        up = up or world.main.accept(gateway)
        up.request()
        up.send(OK)
        assert client.response().status == 200
    assert abs(world.count()[0] - 200) <= 50


# --- error pages ---

PAGES = (
    ErrorPage(503, 503, "text/html; charset=utf-8", "<p>Busy"),
    ErrorPage(503, 503, "application/json", "{}"),
    ErrorPage(400, 499, "text/plain", "no"),
)


@pytest.mark.parametrize(
    ("accept", "body"),
    [
        ("", b"<p>Busy"),
        ("application/json", b"{}"),
        ("APPLICATION/JSON;q=0.5, text/*;q=0.4", b"{}"),
        ("application/json;q=0.5, text/*;q=0.75", b"<p>Busy"),
        ("text/html;q=0, */*", b"{}"),
        ("*/*", b"<p>Busy"),
        ("image/png", b"<p>Busy"),
        (",;q=1,,*", b"<p>Busy"),
    ],
)
def test_an_error_page_by_what_the_client_accepts(gateway: Gateway, accept: str, body: bytes) -> None:
    gateway.serve(route=RoutePolicy(pages=PAGES))
    answer = gateway.client().send(request("GET", *([f"Accept: {accept}"] if accept else []))).response()
    assert (answer.status, answer.body) == (503, body)
    assert answer["content-type"] == ("application/json" if body == b"{}" else "text/html; charset=utf-8")


@pytest.mark.parametrize(("status", "body"), [(404, b"no"), (499, b"no"), (503, b"<p>Busy"), (500, b"fault filter abort")])
def test_an_error_page_by_status(gateway: Gateway, status: int, body: bytes) -> None:
    served(gateway, RoutePolicy(pages=PAGES, fault=Fault(abort_status=status, abort_per_million=ALL)))
    answer = gateway.client().send(GET).response()
    assert (answer.status, answer.body) == (status, body)


def test_the_page_of_a_status_is_not_mixed_with_those_of_its_class(gateway: Gateway) -> None:
    """400 is the lowest of 4xx."""
    pages = (ErrorPage(400, 400, "text/html", "own"), ErrorPage(400, 499, "application/json", "class"))
    served(gateway, RoutePolicy(pages=pages, fault=Fault(abort_status=400, abort_per_million=ALL)))
    answer = gateway.client().send(request("GET", "Accept: application/json")).response()
    assert (answer.status, answer.body) == (400, b"own")
    assert not [value for name, value in answer.fields if name == "vary"]


def with_pages(gateway: Gateway, *upstreams: Upstream) -> None:
    """The host a.test has pages, its one rule is for /known; nobody else has any."""
    endpoints = [Endpoint("127.0.0.1", upstream.port) for upstream in upstreams]
    plan = make_plan([Cluster("c", "c", 80, endpoints=endpoints)])
    [rule] = plan.route_tables["http.80"].virtual_hosts[0].rules
    known = msgspec.structs.replace(rule, path=PathMatch("exact", "/known"))
    plan.route_tables["http.80"].virtual_hosts = [
        VirtualHost("a.test:80", ["a.test"], [known], pages=PAGES),
        VirtualHost("b.test:80", ["b.test"], [known]),
        VirtualHost("c.test:80", ["c.test"], [known], pages=PAGES[:1], gateway_pages=(ErrorPage(404, 404, "text/plain", "c"),)),
    ]
    plan.route_tables["http.80"].pages = (ErrorPage(400, 499, "text/plain", "nobody"),)
    gateway.attach(plan)


@pytest.mark.parametrize(("host", "body"), [("a.test", b"no"), ("b.test", b""), ("c.test", b"c"), ("unknown.test", b"nobody")])
def test_the_page_of_a_host_where_no_rule_matches(gateway: Gateway, host: str, body: bytes) -> None:
    with_pages(gateway)
    answer = gateway.client().send(request("GET", host=host)).response()
    assert (answer.status, answer.body) == (404, body)
    assert [value for name, value in answer.fields if name == "content-type"] == (["text/plain"] if body else [])


def test_the_pages_of_a_host_are_not_for_its_routes(gateway: Gateway) -> None:
    with_pages(gateway)
    answer = gateway.client().send(request("GET", path="/known", host="a.test")).response()
    assert (answer.status, answer.body) == (503, b"no healthy upstream")


def test_an_upstreams_own_error_is_not_touched(gateway: Gateway) -> None:
    upstream = served(gateway, RoutePolicy(pages=PAGES))
    _, answer = ask(gateway, upstream, GET, b"HTTP/1.1 503 X\r\nContent-Length: 4\r\n\r\nmine")
    assert answer.body == b"mine"
