"""Faults, CORS, mirrors, WebSockets and Expect (section N), over both versions on both sides, with counts at the upstreams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection
from wire.h2 import data, headers

from .support.bench import CLIENTS, LEGS, Answer, Bench, Leg, both, rule, running_bench, to
from .support.chance import assert_share
from .support.client import request_bytes
from .support.config import Document, service_entry, virtual_service
from .support.poll import eventually, in_time
from .support.scripted import Say, ScriptedOrigin
from .support.websocket import WebSocketOrigin, websocket

every_leg = pytest.mark.parametrize("leg", LEGS, ids=str)
every_client = pytest.mark.parametrize("client", CLIENTS, ids=str)

ALWAYS = {"value": 100}
SHARES = (1, 10, 50, 99)
DRAWS = 500
CALL = ("Content-Type: application/grpc", "TE: trailers")
GOOD, EVIL = "https://good.test", "https://evil.test"
FLAGS = {"headers": {"response": {"set": {"x-flags": "%RESPONSE_FLAGS%"}}}}
# of each name of a status of gRPC its number, and HTTP's word for it
GRPC = {
    "CANCELLED": (1, 499), "UNKNOWN": (2, 500), "INVALID_ARGUMENT": (3, 400), "DEADLINE_EXCEEDED": (4, 504), "NOT_FOUND": (5, 404),
    "PERMISSION_DENIED": (7, 403), "RESOURCE_EXHAUSTED": (8, 429), "UNIMPLEMENTED": (12, 501), "UNAVAILABLE": (14, 503),
    "UNAUTHENTICATED": (16, 401),
}  # fmt: skip


def abort(status: int = 418, share: float = 100) -> Document:
    return {"abort": {"httpStatus": status, "percentage": {"value": share}}}


def delay(share: float = 100, time: str = "0.001s") -> Document:
    return {"delay": {"fixedDelay": time, "percentage": {"value": share}}}


def copy_to(name: str, share: float | None = None) -> Document:
    one: Document = {"destination": {"host": name, "port": {"number": 8080}}}
    return one if share is None else {**one, "percentage": {"value": share}}


def cors(origin: Document, **rest: object) -> Document:
    return {"allowOrigins": [origin], "allowMethods": ["GET", "PUT"], "allowHeaders": ["x-a", "x-b"], **rest}


def rules(service: str) -> list[Document]:
    target = to(service)
    good = {"exact": GOOD}
    full = cors(good, allowCredentials=True, maxAge="90s", exposeHeaders=["x-c", "x-d"])
    any_of = {"allowOrigins": [{"exact": "*"}], "allowMethods": ["*"], "allowHeaders": ["*"]}
    grpc = {name: {"abort": {"grpcStatus": name, "percentage": ALWAYS}} for name in GRPC}
    retried = {"attempts": 2, "retryOn": "5xx,418", "backoff": "1ms"}
    return [
        rule("/fault/cors", fault=abort(), corsPolicy=full, route=target),
        rule("/fault/alone", fault=abort(503), retries=retried, mirrors=[copy_to("mirror")], route=target),
        rule("/fault/both", fault={**abort(share=50), **delay(50)}, **FLAGS, route=target),
        *(rule(f"/fault/abort/{share}/", fault=abort(share=share), route=target) for share in SHARES),
        *(rule(f"/fault/delay/{share}/", fault=delay(share), **FLAGS, route=target) for share in SHARES),
        rule("/fault/old", fault={"delay": {"fixedDelay": "0.001s", "percent": 100}}, **FLAGS, route=target),
        rule("/fault/none", fault={"delay": {"fixedDelay": "60s"}, "abort": {"httpStatus": 418}}, **FLAGS, route=target),
        rule("/fault/zero", fault={**delay(0, "60s"), **abort(share=0)}, **FLAGS, route=target),
        *(rule(f"/grpc/{name}/", fault=fault, route=target) for name, fault in grpc.items()),
        rule("/cors/full", corsPolicy=full, route=target),
        rule("/cors/any", corsPolicy=any_of, route=target),
        rule("/cors/prefix", corsPolicy=cors({"prefix": "https://good"}), route=target),
        rule("/cors/regex", corsPolicy=cors({"regex": "https://go*d[.]test"}), route=target),
        rule("/cors/ignore", corsPolicy={**full, "unmatchedPreflights": "IGNORE"}, route=target),
        rule("/cors/forward", corsPolicy={**full, "unmatchedPreflights": "FORWARD"}, route=target),
        rule("/cors/down", corsPolicy=full, route=to("empty")),
        rule("/cors/delegated", corsPolicy=full, delegate={"name": f"delegate-{service}", "namespace": "default"}),
        rule("/mirror/all", mirrors=[copy_to("mirror")], route=target),
        rule("/mirror/old", mirror=copy_to("mirror")["destination"], mirrorPercentage={"value": 100}, route=target),
        rule("/mirror/http2", mirrors=[copy_to("h2-mirror")], route=target),
        rule("/mirror/none", mirrors=[copy_to("mirror", 0)], route=target),
        rule("/mirror/some", mirrors=[copy_to("mirror", 30), copy_to("second", 70)], route=target),
        rule("/mirror/nobody", mirrors=[copy_to("no-such-service"), copy_to("empty")], route=target),
        rule("/mirror/retried", mirrors=[copy_to("mirror")], retries=retried, route=target),
        rule("/timed", timeout="0.15s", route=target),
        rule("/ws", timeout="0.15s", route=to("sockets")),
        rule("/", route=target),
    ]


def delegates() -> list[Document]:
    """N10: with a policy of their own."""
    found = []
    for service in ("one", "two"):
        own = [
            rule("/cors/delegated/own", corsPolicy=cors({"exact": EVIL}), route=to(service)),
            rule("/cors/delegated", route=to(service)),
        ]
        made = virtual_service(f"delegate-{service}", [], own)
        made["spec"] = {"http": own}
        found.append(made)
    return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with WebSocketOrigin() as sockets:

        def documents(_: dict[str, ScriptedOrigin]) -> list[Document]:
            entries = [service_entry("empty", []), service_entry("sockets", [("127.0.0.1", sockets.port)])]
            return [*both(rules), *delegates(), *entries]

        with running_bench(tmp_path_factory.mktemp("filters"), documents, "mirror", "second", "h2-mirror") as running:
            yield running


@pytest.fixture(autouse=True)
def _as_before(bench: Bench) -> Iterator[None]:
    yield
    for origin in (*bench.origins.values(), *bench.others.values()):
        origin.reset()


def marked(answer: Answer) -> dict[str, str]:
    """What an answer says about other origins."""
    told = {name.removeprefix("access-control-"): value for name, value in answer.fields if name.startswith("access-control-")}
    assert "vary" not in {name for name, _ in answer.fields}
    return told


def preflight(bench: Bench, leg: Leg, target: str, origin: str, *fields: str) -> Answer:
    return bench.ask(leg, target, f"Origin: {origin}", "Access-Control-Request-Method: DELETE", *fields, method="OPTIONS")


# --- faults


@every_leg
def test_n1_n2_faults_come_before_cors(bench: Bench, leg: Leg) -> None:
    mark = bench.origin(leg).mark()
    for answer in (preflight(bench, leg, "/fault/cors", GOOD), bench.ask(leg, "/fault/cors", f"Origin: {GOOD}")):
        assert (answer.status, answer.body, marked(answer)) == (418, b"fault filter abort", {})
    assert bench.origin(leg).since(mark) == []


@every_client
@pytest.mark.parametrize("share", SHARES)
def test_n3_shares_of_aborts(bench: Bench, client: Leg, share: int) -> None:
    """Fails by chance once in 1e9 runs, as all shares here; the others reach the upstream."""
    mark = bench.origin(client).mark()
    statuses = Counter(answer.status for answer in bench.many(client, [f"/fault/abort/{share}/"] * DRAWS))
    assert_share(statuses[418], DRAWS, share / 100)
    assert statuses[418] + statuses[200] == DRAWS and len(bench.origin(client).since(mark)) == statuses[200]


@every_client
@pytest.mark.parametrize("share", SHARES)
def test_n3_shares_of_delays(bench: Bench, client: Leg, share: int) -> None:
    flags = Counter(answer.value("x-flags") for answer in bench.many(client, [f"/fault/delay/{share}/"] * DRAWS))
    assert_share(flags["DI"], DRAWS, share / 100)


@every_client
def test_n3_each_is_drawn_for_itself(bench: Bench, client: Leg) -> None:
    answers = bench.many(client, ["/fault/both"] * DRAWS)
    drawn = Counter((answer.status, answer.value("x-flags")) for answer in answers)
    assert drawn.keys() == {(418, "DI,FI"), (418, "FI"), (200, "DI"), (200, None)}
    for count in drawn.values():
        assert_share(count, DRAWS, 0.25)


@every_client
def test_n3_what_is_no_fault(bench: Bench, client: Leg) -> None:
    """Without a percentage, or with 0; ``percent`` is the old name of one."""
    for target in ("/fault/none", "/fault/zero"):
        assert [(a.status, a.value("x-flags")) for a in bench.many(client, [target] * 20)] == [(200, None)] * 20
    assert bench.ask(client, "/fault/old").value("x-flags") == "DI"


@every_client
@pytest.mark.parametrize("name", GRPC)
def test_n4_aborts_with_a_status_of_grpc(bench: Bench, client: Leg, name: str) -> None:
    number, status = GRPC[name]
    call = bench.ask(client, f"/grpc/{name}/", *CALL, method="POST", body=b"")
    assert (call.status, call.value("grpc-status"), call.body) == (200, str(number), b"")
    plain = bench.ask(client, f"/grpc/{name}/")
    assert (plain.status, plain.body) == (status, b"fault filter abort")


@every_leg
def test_n5_an_aborted_request_goes_nowhere(bench: Bench, leg: Leg) -> None:
    """Neither to the upstream nor to a mirror, and is not tried again."""
    marks = bench.origin(leg).mark(), bench.others["mirror"].mark()
    answer, line = bench.ask_logged(leg, "/fault/alone")
    assert (answer.status, line.flags, line.attempts) == (503, {"FI"}, 0)
    bench.ask(leg, "/mirror/all")  # copies go out in order: if there was one, it is there before this one
    eventually(lambda: len(bench.others["mirror"].since(marks[1])) == 1, "the copy")
    assert [asked.target for asked in bench.origin(leg).since(marks[0])] == ["/mirror/all"]
    assert [asked.target for asked in bench.others["mirror"].since(marks[1])] == ["/mirror/all"]


# --- CORS


@every_leg
def test_n6_without_an_origin_nothing_happens(bench: Bench, leg: Leg) -> None:
    bench.origin(leg).always(fields=[("access-control-allow-origin", "upstream")])
    for method in ("GET", "OPTIONS"):
        mark = bench.origin(leg).mark()
        answer = bench.ask(leg, "/cors/full", "Access-Control-Request-Method: GET", method=method)
        assert (answer.status, marked(answer)) == (200, {"allow-origin": "upstream"})
        assert [asked.method for asked in bench.origin(leg).since(mark)] == [method]


@every_leg
def test_n7_preflights_are_answered_here(bench: Bench, leg: Leg) -> None:
    mark = bench.origin(leg).mark()
    own = bench.own("/cors/full")
    answer = preflight(bench, leg, own, GOOD, "Access-Control-Request-Headers: x-z")
    line = bench.logged(own)
    assert (answer.status, answer.body, line.flags, line.details) == (200, b"", set(), "cors_response")
    assert marked(answer) == {
        "allow-origin": GOOD,
        "allow-credentials": "true",
        "allow-methods": "GET,PUT",
        "allow-headers": "x-a,x-b",
        "max-age": "90",
    }
    answer = preflight(bench, leg, "/cors/any", EVIL, "Access-Control-Request-Headers: x-z, x-y")
    assert marked(answer) == {"allow-origin": EVIL, "allow-methods": "DELETE", "allow-headers": "x-z, x-y"}
    assert bench.origin(leg).since(mark) == []


@every_client
@pytest.mark.parametrize("kind", ["prefix", "regex"])
def test_n7_ways_to_name_origins(bench: Bench, client: Leg, kind: str) -> None:
    allowed = {
        origin: marked(preflight(bench, client, f"/cors/{kind}", origin)).get("allow-origin") == origin
        for origin in (GOOD, "https://goood.test", "https://goodness.test", f"{GOOD}.evil.test", EVIL, "https://GOOD.test")
    }
    good = {"prefix": {GOOD, "https://goodness.test", f"{GOOD}.evil.test"}, "regex": {GOOD, "https://goood.test"}}
    assert {origin for origin, found in allowed.items() if found} == good[kind]


@every_leg
def test_n7_other_questions_are_forwarded(bench: Bench, leg: Leg) -> None:
    """OPTIONS without the method that is asked about is no preflight."""
    mark = bench.origin(leg).mark()
    answer = bench.ask(leg, "/cors/full", f"Origin: {GOOD}", method="OPTIONS")
    assert (answer.body, marked(answer)["allow-origin"]) == (b"hello", GOOD)
    assert [asked.method for asked in bench.origin(leg).since(mark)] == ["OPTIONS"]


@every_leg
def test_n8_preflights_of_other_origins(bench: Bench, leg: Leg) -> None:
    for target in ("/cors/full", "/cors/forward"):
        mark = bench.origin(leg).mark()
        answer = preflight(bench, leg, target, EVIL)
        assert (answer.body, marked(answer)) == (b"hello", {})
        assert [asked.method for asked in bench.origin(leg).since(mark)] == ["OPTIONS"]
    mark = bench.origin(leg).mark()
    answer = preflight(bench, leg, "/cors/ignore", EVIL)
    assert (answer.status, answer.body, bench.origin(leg).since(mark)) == (200, b"", [])
    assert marked(answer) == {"allow-credentials": "true", "allow-methods": "GET,PUT", "allow-headers": "x-a,x-b", "max-age": "90"}


@every_leg
def test_n9_answers_to_other_requests_are_marked(bench: Bench, leg: Leg) -> None:
    own = {"allow-origin": "upstream", "allow-credentials": "no", "expose-headers": "x-z", "allow-methods": "PATCH"}
    bench.origin(leg).always(fields=[(f"access-control-{name}", value) for name, value in own.items()])
    mark = bench.origin(leg).mark()
    answer = bench.ask(leg, "/cors/full", f"Origin: {GOOD}")
    wanted = {"allow-origin": GOOD, "allow-credentials": "true", "expose-headers": "x-c,x-d", "allow-methods": "PATCH"}
    assert marked(answer) == wanted
    assert marked(bench.ask(leg, "/cors/full", f"Origin: {EVIL}")) == own
    assert len(bench.origin(leg).since(mark)) == 2


@every_client
def test_n9_answers_of_the_gateway_are_marked_as_well(bench: Bench, client: Leg) -> None:
    answer = bench.ask(client, "/cors/down", f"Origin: {GOOD}")
    assert (answer.status, marked(answer)["allow-origin"]) == (503, GOOD)


@every_leg
def test_n10_the_policy_of_a_delegate_wins(bench: Bench, leg: Leg) -> None:
    for target, allowed, refused in (
        ("/cors/delegated/own", EVIL, GOOD),
        ("/cors/delegated", GOOD, EVIL),
        ("/cors/full", GOOD, EVIL),
    ):
        assert marked(bench.ask(leg, target, f"Origin: {allowed}"))["allow-origin"] == allowed
        assert marked(bench.ask(leg, target, f"Origin: {refused}")) == {}


# --- mirrors


@every_leg
def test_n11_copies_are_what_the_upstream_gets(bench: Bench, leg: Leg) -> None:
    """The host is not changed, the answer is not looked at, and nothing is tried again."""
    mirrors = [("/mirror/all?q", "mirror"), ("/mirror/old?q", "mirror"), ("/mirror/http2?q", "h2-mirror")]
    for said in (Say(503, body=b"mirror"), Say(end="cut")):
        for target, name in mirrors:
            mirror = bench.others[name]
            mirror.say = lambda asked, said=said: said
            mark = mirror.mark()
            body = b"b" * 20_000
            asked = bench.seen(leg, target, "x-mine: 1", method="POST", body=body)
            eventually(lambda mirror=mirror, mark=mark: len(mirror.since(mark)) == 1, "the copy")
            (copy,) = mirror.since(mark)
            assert (copy.method, copy.target, copy.body) == (asked.method, asked.target, asked.body) == ("POST", target, body)
            assert (copy.value("host"), copy.value("x-mine"), copy.value("x-request-id")) == (
                leg.host,
                "1",
                asked.value("x-request-id"),
            )


@every_client
def test_n11_shares_of_copies(bench: Bench, client: Leg) -> None:
    """Each mirror is drawn for itself. Copies of one request more come last, so that all have arrived when it has."""
    marks = {name: bench.others[name].mark() for name in ("mirror", "second")}
    answers = bench.many(client, ["/mirror/some"] * DRAWS)
    assert {answer.status for answer in answers} == {200}
    total = bench.gateway.metrics()

    def arrived() -> list[int]:
        return [len(bench.others[name].since(mark)) for name, mark in marks.items()]

    assert total.total("fastgw_mirrors_lost_total") == 0
    bench.wait_idle()
    first, second = arrived()
    assert_share(first, DRAWS, 0.3)
    assert_share(second, DRAWS, 0.7)


@every_leg
def test_n11_no_copies(bench: Bench, leg: Leg) -> None:
    """With 0 %, to services that are not there or have nobody, and of further tries."""
    mark = bench.others["mirror"].mark()
    for target in ("/mirror/none", "/mirror/nobody"):
        assert {answer.status for answer in bench.many(leg, [target] * 20)} == {200}
    bench.origin(leg).say = lambda asked: Say(503) if asked.attempt < 3 else Say()
    assert bench.ask(leg, "/mirror/retried").status == 200
    bench.wait_idle()
    assert [asked.target for asked in bench.others["mirror"].since(mark)] == ["/mirror/retried"]


# --- upgrades, Expect


def test_n12_a_websocket_outlives_the_time_of_its_route(bench: Bench) -> None:
    leg = Leg("HTTP/1.1")
    bench.origin(leg).always(end="silence")
    peer = in_time(lambda: opened(bench, leg), late=lambda made: made is None)
    assert peer is not None
    with peer:
        assert bench.ask(leg, "/timed").status == 504, "as much time as the route allows has passed"
        peer.send("still here")
        assert peer.recv() == "still here"


def opened(bench: Bench, leg: Leg) -> ClientConnection | None:
    """None: the time of the route was over before the handshake was."""
    try:
        return websocket(bench.gateway.port(), leg.host, "/ws")
    except InvalidStatus as refused:
        assert refused.response.status_code == 504
        return None


@pytest.mark.parametrize("word", ["foo", "TLS/1.0", "websocket2", "h2c, foo"])
def test_n12_other_upgrades_are_refused(bench: Bench, word: str) -> None:
    leg = Leg("HTTP/1.1")
    answer, line = bench.ask_logged(leg, "/", "Connection: upgrade", f"Upgrade: {word}")
    assert (answer.status, answer.body, line.flags, line.details) == (403, b"", set(), "upgrade_failed")


def test_n12_h2c_is_left_out(bench: Bench) -> None:
    asked = bench.seen(Leg("HTTP/1.1"), "/", "Connection: upgrade, http2-settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    assert not {name for name, _ in asked.fields} & {"upgrade", "http2-settings", "connection"}


@every_leg
def test_n13_who_expects_a_word_before_its_body_gets_it(bench: Bench, leg: Leg) -> None:
    """From the gateway, as soon as it begins to read; the upstream is not asked to."""
    mark = bench.origin(leg).mark()
    if leg.client == "HTTP/1.1":
        with bench.gateway.client() as client:
            client.send(request_bytes("POST", "/", leg.host, ["Expect: 100-continue", "Content-Length: 5"]))
            eventually(lambda: client._receive() and b"HTTP/1.1 100 Continue\r\n\r\n" in client.received, "100")
            client.send(b"hello")
            assert client.response("POST").status == 200
    else:
        with bench.wire(leg.host) as wire:
            wire.start().send(headers(1, wire.request((b"expect", b"100-continue"), method=b"POST"), end=False))
            wire.read_until(lambda: 1 in wire.reader.streams and bool(wire.reader.streams[1].heads))
            assert dict(wire.reader.streams[1].heads[0])[":status"] == "100"
            wire.send(data(1, b"hello", end=True))
            wire.read_until(lambda: wire.answered(1))
            assert wire.status(1) == 200
    (asked,) = bench.origin(leg).since(mark)
    assert (asked.body, asked.values("expect")) == (b"hello", [])
