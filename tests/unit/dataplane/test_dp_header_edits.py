"""Header fields that a route changes on the way (section K), seen on the wire."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from random import Random

import msgspec
import pytest
from dataplane_support import GET, OK, OWNER, Gateway, Message, make_plan

from fastgw.image.asked import ask
from fastgw.image.edited import edited_fields
from fastgw.model.log_program import Program
from fastgw.model.plan import NO_EDITS, Action, Cluster, Edits, Endpoint, HeaderEdit, Rule, WeightedDestination
from fastgw.model.values import parse_format
from fastgw.supervisor.log_format import compile_format

MakeGateway = Callable[..., Gateway]
ONE, TWO = "outbound|80||one.example", "outbound|80||two.example"


def remove(name: str) -> HeaderEdit:
    return HeaderEdit("remove", name)


def set_(name: str, value: str) -> HeaderEdit:
    return HeaderEdit("set", name, tuple(parse_format(value)))


def add(name: str, value: str) -> HeaderEdit:
    return HeaderEdit("add", name, tuple(parse_format(value)))


def serve(gateway: Gateway, *ports: int, route: Edits, own: tuple[Edits, ...] = ()) -> None:
    """One destination a port, the first one alone by default; ``own``: their edits."""
    clusters = [
        Cluster(name, name, 80, endpoints=[Endpoint("127.0.0.1", port)]) for name, port in zip((ONE, TWO), ports, strict=False)
    ]
    plan = make_plan(clusters, [(name, 1) for name in (ONE, TWO)[: max(len(own), 1)]])
    rule = plan.route_tables["http.80"].virtual_hosts[0].rules[0]
    destinations = tuple(
        msgspec.structs.replace(d, edits=edits) for d, edits in zip(rule.action.destinations, own or (Edits(),), strict=True)
    )
    action = msgspec.structs.replace(rule.action, destinations=destinations, edits=route)
    plan.route_tables["http.80"].virtual_hosts[0].rules[0] = msgspec.structs.replace(rule, action=action)
    gateway.attach(plan)


def exchange(gateway: Gateway, route: Edits, lines: str = "", answer: bytes = OK, own: Edits = NO_EDITS) -> tuple[Message, Message]:
    """(the request as the upstream sees it, the answer as the client sees it)"""
    upstream = gateway.upstream()
    serve(gateway, upstream.port, route=route, own=(own,))
    client = gateway.client().send(f"GET /p?q=1 HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n".encode("latin-1"))
    up = upstream.accept(gateway)
    request = up.request()
    up.send(answer)
    return request, client.response()


def request_of(gateway: Gateway, *edits: HeaderEdit, lines: str = "", authority: str = "") -> Message:
    return exchange(gateway, Edits(request=edits, authority=authority), lines)[0]


def answer_with(lines: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\n{lines}content-length: 2\r\n\r\nok".encode()


def test_removals_then_sets_then_additions(gateway: Gateway) -> None:
    seen = request_of(
        gateway,
        remove("x-old"),
        remove("x-absent"),
        set_("x-user", "me"),
        set_("x-new", "1"),
        add("x-user", "too"),
        lines="X-Old: 1\r\nx-OLD: 2\r\nX-User: them\r\nx-user: others\r\nX-Kept: k\r\n",
    )
    assert seen.values("x-old") == []
    assert seen.values("x-user") == ["me", "too"]
    assert (seen["x-new"], seen["x-kept"]) == ("1", "k")


def test_values_see_removals_but_no_sets(gateway: Gateway) -> None:
    seen = request_of(
        gateway,
        remove("x-gone"),
        set_("x-a", "new"),
        set_("x-from-a", "%REQ(x-a)%"),
        set_("x-from-gone", "<%REQ(x-gone)%>"),
        lines="X-A: old\r\nX-Gone: g\r\n",
    )
    assert (seen["x-a"], seen["x-from-a"], seen["x-from-gone"]) == ("new", "old", "<>")


def test_an_empty_value_changes_nothing(gateway: Gateway) -> None:
    """K4."""
    seen = request_of(gateway, set_("x-a", "%REQ(x-none)%"), add("x-b", "%RESP(x)%%ROUTE_NAME:0%"), lines="X-A: theirs\r\n")
    assert seen["x-a"] == "theirs"
    assert seen.values("x-b") == []


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ("%REQ(:METHOD)% %REQ(:PATH)% %REQ(:AUTHORITY)% %REQ(:SCHEME)% %PROTOCOL%", "GET /p[?]q=1 a.test http HTTP/1.1"),
        ("100%% %REQ(x-one):2% %REQ(x-none?x-two)%", "100% on two"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "127.0.0.1"),
        ("%DOWNSTREAM_REMOTE_ADDRESS%", r"127\.0\.0\.1:\d+"),
        ("%DOWNSTREAM_LOCAL_ADDRESS%", r"127\.0\.0\.1:\d+"),
        ("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_PORT%", r"127\.0\.0\.1 \d+"),
        ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_PORT%", r"127\.0\.0\.1:(\d+) \1"),
        ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", r"127\.0\.0\.1"),
        ("%REQ(X-REQUEST-ID)%/%STREAM_ID%", r"([0-9a-f-]{36})/\1"),
        ("%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%", r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ"),
        ("%ROUTE_NAME% %VIRTUAL_SERVICE% %UPSTREAM_CLUSTER%", "all default/shop outbound\\|80\\|\\|one.example"),
        ("%REQ(x-quoted)%", 'a "b" \\\\ c'),
        ("[%UPSTREAM_HOST%%RESPONSE_FLAGS%%REQUESTED_SERVER_NAME%%DOWNSTREAM_PEER_SUBJECT%]", r"\[\]"),
    ],
)
def test_operators(gateway: Gateway, value: str, seen: str) -> None:
    lines = 'X-One: one\r\nX-Two: two\r\nX-Quoted: a "b" \\ c\r\n'
    found = request_of(gateway, set_("x-v", value), lines=lines)["x-v"]
    assert re.fullmatch(seen, found), found


def test_the_gateways_own_fields_can_be_changed(gateway: Gateway) -> None:
    seen = request_of(
        gateway, remove("x-envoy-attempt-count"), set_("x-forwarded-proto", "https"), add("x-forwarded-for", "9.9.9.9")
    )
    assert seen.values("x-envoy-attempt-count") == []
    assert seen.values("x-forwarded-proto") == ["https"]
    assert seen.values("x-forwarded-for") == ["127.0.0.1", "9.9.9.9"]


def test_another_host_for_the_upstream(gateway: Gateway) -> None:
    seen = request_of(gateway, set_("x-host", "%REQ(:AUTHORITY)%"), authority="b.example.com:8443")
    assert seen.values("host") == ["b.example.com:8443"]
    assert seen["x-host"] == "a.test"


def test_the_destinations_edits_come_before_the_routes(gateway: Gateway) -> None:
    """K6: what the route sets wins."""
    route = Edits(request=(remove("x-own"), set_("x-both", "route")), response=(set_("x-both", "route"),))
    own = Edits(
        request=(set_("x-both", "own"), set_("x-own", "1"), set_("x-kept", "1")),
        response=(set_("x-both", "own"), add("x-own", "1")),
        authority="own.example.com",
    )
    request, answer = exchange(gateway, route, own=own)
    assert (request["x-both"], request.values("x-own"), request["x-kept"]) == ("route", [], "1")
    assert request["host"] == "own.example.com"
    assert (answer["x-both"], answer["x-own"]) == ("route", "1")


def test_each_destination_has_its_own(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    own = tuple(Edits(request=(set_("x-to", name),), response=(set_("x-from", name),), authority=name) for name in ("one", "two"))
    serve(gateway, upstream.port, upstream.port, route=Edits(), own=own)
    seen = set()
    for _ in range(40):
        client = gateway.client().send(GET)
        up = upstream.accept(gateway)
        request = up.request()
        up.send(answer_with("connection: close\r\n"))
        answer = client.response()
        assert request["host"] == request["x-to"] == answer["x-from"]
        seen.add(request["host"])
        client.close()
    assert seen == {"one", "two"}


def test_answers(gateway: Gateway) -> None:
    _, answer = exchange(
        gateway,
        Edits(
            response=(
                remove("x-powered-by"),
                remove("x-envoy-upstream-service-time"),
                set_("cache-control", "no-store"),
                set_("x-status", "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESP(x-a)% %REQ(x-id)% %UPSTREAM_HOST%"),
                add("set-cookie", "b=2"),
            )
        ),
        lines="X-Id: 7\r\n",
        answer=answer_with("X-Powered-By: php\r\nCache-Control: public\r\nx-a: A\r\nset-cookie: a=1\r\ndate: today\r\n"),
    )
    assert answer.values("x-powered-by") == [] and answer.values("x-envoy-upstream-service-time") == []
    assert answer["cache-control"] == "no-store"
    assert re.fullmatch(r"200 via_upstream A 7 127\.0\.0\.1:\d+", answer["x-status"])
    assert answer.values("set-cookie") == ["a=1", "b=2"]
    assert (answer["date"], answer.body) == ("today", b"ok")


def test_the_service_time_can_be_set_and_the_date_comes_back(gateway: Gateway) -> None:
    edits = (remove("date"), set_("x-envoy-upstream-service-time", "0"))
    _, answer = exchange(gateway, Edits(response=edits), answer=answer_with("date: today\r\n"))
    assert answer.values("x-envoy-upstream-service-time") == ["0"]
    assert [len(date) for date in answer.values("date")] == [29]


def test_answers_of_the_gateway_itself(gateway: Gateway) -> None:
    """K1: of a route that matched."""
    edits = (set_("x-why", "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"), set_("content-type", "text/html"))
    serve(gateway, route=Edits(response=edits))
    answer = gateway.client().send(GET).response()
    assert answer.status == 503
    assert answer["x-why"] == "NC cluster_not_found"
    serve(gateway, 1, route=Edits(response=edits))
    answer = gateway.client().send(GET).response()
    assert (answer.status, answer.values("content-type")) == (503, ["text/html"])
    assert answer["x-why"] == "UF,URX upstream_reset_before_response_started{remote_connection_failure}"
    answer = gateway.client().send(b"GET / HTTP/1.1\r\n\r\n").response()
    assert (answer.status, answer.values("x-why")) == (400, [])


def test_many_and_long_fields(gateway: Gateway) -> None:
    """More than what is free at the end of the head: the block grows."""
    edits = tuple(add(f"x-{i}", f"%REQ(x-long)%-{i}") for i in range(60))
    seen = request_of(gateway, *edits, lines=f"X-Long: {'v' * 900}\r\nX-Last: l\r\n")
    assert all(seen[f"x-{i}"] == f"{'v' * 900}-{i}" for i in range(60))
    assert (seen.start, seen["x-last"], seen["host"]) == ("GET /p?q=1 HTTP/1.1", "l", "a.test")


def test_a_request_that_becomes_too_large(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    edits = tuple(add(f"x-{i}", "%REQ(x-long)%") for i in range(9))
    serve(gateway, upstream.port, route=Edits(request=edits, response=(set_("x-why", "%RESPONSE_CODE_DETAILS%"),)))
    long = f"GET / HTTP/1.1\r\nHost: a\r\nX-Long: {'v' * 8000}\r\n\r\n".encode()
    client = gateway.client()
    for _ in range(2):
        answer = client.send(long).response()
        assert (answer.status, answer["x-why"]) == (500, "request_headers_too_large")
    assert not upstream.has_connection(gateway)


def test_an_answer_that_becomes_too_large(gateway: Gateway) -> None:
    edits = tuple(add(f"x-{i}", "%RESP(x-long)%") for i in range(9))
    _, answer = exchange(gateway, Edits(response=edits), answer=answer_with(f"x-long: {'v' * 8000}\r\n"))
    assert (answer.status, answer.body) == (500, b"")
    assert gateway.bugs == []


def test_the_log_shows_what_was_sent(make_gateway: MakeGateway) -> None:
    read, write = os.pipe()
    program: Program = compile_format("%REQ(x-a)% %REQ(x-b)% %REQ(:AUTHORITY)% %RESP(x-c)% %RESP(x-d)%")
    gateway = make_gateway(log=program, log_fd=write)
    edits = Edits(request=(remove("x-b"), set_("x-a", "new")), response=(remove("x-d"), set_("x-c", "set")), authority="other")
    exchange(gateway, edits, lines="X-A: old\r\nX-B: b\r\n", answer=answer_with("x-c: c\r\nx-d: d\r\n"))
    gateway.log.flush()
    assert os.read(read, 4096) == b"new - other set -\n"
    os.close(read)
    os.close(write)


def test_a_request_that_is_sent_again_is_edited_once(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    edits = Edits(request=(add("x-n", "1"),))
    serve(gateway, upstream.port, route=edits)
    client = gateway.client()
    client.send(GET)
    up = upstream.accept(gateway)
    assert up.request().values("x-n") == ["1"]
    up.send(OK)
    client.response()
    client.send(GET)
    assert up.request().values("x-n") == ["1"]
    up.reset()
    again = upstream.accept(gateway)
    seen = again.request()
    assert (seen.values("x-n"), seen["x-envoy-attempt-count"]) == (["1"], "2")
    again.send(OK)
    assert client.response().status == 200


NAMES = ["x-a", "x-b", "x-c", "x-longer-name", "user-agent", "cache-control"]
VALUES = ["1", "two words", "%REQ(x-a)%", "<%REQ(X-B?x-c):3%>", "%RESP(x-a)%", "%REQ(:METHOD)%%REQ(x-none)%", "%PROTOCOL%"]


def some_block(random: Random) -> tuple[HeaderEdit, ...]:
    """In the order in which the compiler puts edits."""
    kinds = sorted(
        (random.choice(["remove", "set", "add"]) for _ in range(random.randint(0, 6))), key=["remove", "set", "add"].index
    )
    written = {"set": set_, "add": add}
    return tuple(
        remove(random.choice(NAMES)) if kind == "remove" else written[kind](random.choice(NAMES), random.choice(VALUES))
        for kind in kinds
    )


def some_fields(random: Random) -> list[tuple[str, str]]:
    return [(random.choice(NAMES), random.choice(["u", "some text", "", "a,b"])) for _ in range(random.randint(0, 6))]


def test_what_explain_foretells_comes_true(gateway: Gateway) -> None:
    """The edits of a worker against the plain ones of fastgw.image.edited, on random blocks and messages."""
    random = Random(11)
    upstream = gateway.upstream()
    client, up = gateway.client(), None
    for _ in range(150):
        route, own = (Edits(some_block(random), some_block(random)) for _ in range(2))
        serve(gateway, upstream.port, route=route, own=(own,))
        rule = gateway_rule(route, own)
        asked = ask("GET", "http://a.test/p?q=1", some_fields(random))
        fields, answered = list(asked.headers), some_fields(random)
        client.send("".join(["GET /p?q=1 HTTP/1.1\r\nHost: a.test\r\n", *(f"{n}: {v}\r\n" for n, v in fields), "\r\n"]).encode())
        up = up or upstream.accept(gateway)
        request = up.request()
        up.send(answer_with("".join(f"{name}: {value}\r\n" for name, value in answered)))
        answer = client.response()
        after, back = edited_fields(asked, rule, rule.action.destinations[0], "", answered)
        for name in NAMES:
            wanted = [value for field, value in after if field == name]
            assert request.values(name) == wanted, (name, fields, own.request, route.request)
            wanted = [value for field, value in back if field == name]
            assert answer.values(name) == wanted, (name, answered, own.response, route.response)


def gateway_rule(route: Edits, own: Edits) -> Rule:
    action = Action("route", (WeightedDestination(ONE, 1, edits=own),), edits=route)
    return Rule("all", OWNER, 0, 0, action)
