"""What happens to header fields between client and upstream, seen on the wire."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import pytest
from dataplane_support import GET, OK, Gateway, Message, Peer, make_plan, post

from fastgw.model.plan import Cluster, VirtualHost

OWN = ["host", "x-forwarded-for", "x-forwarded-proto", "x-envoy-external-address", "x-request-id", "x-envoy-attempt-count"]
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
MakeGateway = Callable[..., Gateway]


def relayed(gateway: Gateway, lines: str = "", *, start: str = "GET / HTTP/1.1", host: str = "Host: a.test\r\n") -> Message:
    """The request as the upstream sees it."""
    upstream = gateway.upstream()
    gateway.serve(upstream)
    gateway.client().send(f"{start}\r\n{host}{lines}\r\n".encode("latin-1"))
    return upstream.accept(gateway).request()


def extra(message: Message) -> list[tuple[str, str]]:
    return [(name, value) for name, value in message.fields if name not in OWN]


def test_the_gateways_own_fields(gateway: Gateway) -> None:
    seen = relayed(gateway)
    assert [name for name, _ in seen.fields] == OWN
    assert (seen["host"], seen["x-forwarded-for"], seen["x-forwarded-proto"]) == ("a.test", "127.0.0.1", "http")
    assert (seen["x-envoy-external-address"], seen["x-envoy-attempt-count"]) == ("127.0.0.1", "1")
    assert UUID4.fullmatch(seen["x-request-id"])


def test_request_ids_differ(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(GET)
    up = upstream.accept(gateway)
    ids = set()
    for _ in range(300):
        request_id = up.request()["x-request-id"]
        assert UUID4.fullmatch(request_id)
        ids.add(request_id)
        up.send(OK)
        client.response()
        client.send(GET)
    assert len(ids) == 300
    assert {i[19] for i in ids} == set("89ab") and len({i[0] for i in ids}) == 16


@pytest.mark.parametrize(
    "line",
    [
        "Connection: close", "Connection: x-private\r\nX-Private: 1", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive",
        "TE: gzip", "Trailer: x-t", "HTTP2-Settings: AAMAAABkAAQAAP__", "Proxy: http://evil", "X-Forwarded-Proto: https",
        "X-Forwarded-Client-Cert: Hash=1", "X-Request-Id: mine", "X-Envoy-Retry-On: 5xx", "X-Envoy-Internal: true",
        "x-envoy-original-path: /admin", "X-Envoy-Upstream-Service-Time: 1", "X-Envoy-Attempt-Count: 9",
        "X-Envoy-External-Address: 9.9.9.9", "X_Under: 1", "Content-Length: 0",
    ],
)  # fmt: skip
def test_fields_that_do_not_go_upstream(gateway: Gateway, line: str) -> None:
    seen = relayed(gateway, f"X-Kept: yes\r\n{line}\r\n")
    assert [pair for pair in extra(seen) if pair[0] != "content-length"] == [("x-kept", "yes")]
    assert seen["x-forwarded-proto"] == "http" and seen["x-envoy-attempt-count"] == "1"
    assert seen["x-request-id"] != "mine" and seen["x-envoy-external-address"] == "127.0.0.1"


@pytest.mark.parametrize("name", ["Host", "X-Forwarded-For", "X-Request-Id", "X-Forwarded-Proto", "X-Real-IP", "Forwarded"])
def test_connection_cannot_name_away_what_the_gateway_says(gateway: Gateway, name: str) -> None:
    seen = relayed(gateway, f"Connection: {name}\r\nX-Real-IP: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\n")
    assert [n for n, _ in seen.fields if n in OWN] == OWN
    assert extra(seen) == [("x-real-ip", "1.1.1.1"), ("forwarded", "for=1.1.1.1")]


def test_repeated_fields(gateway: Gateway) -> None:
    lines = "X-A: 1\r\nCookie: a=1\r\nX-A: 2\r\nCookie: b=2\r\nReferer: /x\r\nX-Forwarded-For: 1.1.1.1\r\nCookie: c=3\r\n"
    seen = relayed(gateway, lines + "Referer: /y\r\nX-Forwarded-For: 2.2.2.2, 3.3.3.3\r\n")
    assert extra(seen) == [("x-a", "1"), ("x-a", "2"), ("cookie", "a=1; b=2; c=3")]
    assert seen["x-forwarded-for"] == "1.1.1.1,2.2.2.2, 3.3.3.3,127.0.0.1"


def test_an_empty_forwarded_for(gateway: Gateway) -> None:
    assert relayed(gateway, "X-Forwarded-For:\r\nX-Forwarded-For:  \r\n")["x-forwarded-for"] == "127.0.0.1"


def test_names_and_values_are_kept_as_they_are(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    gateway.client().send(b"GET / HTTP/1.1\r\nhOsT: A.Test:80\r\nX-MiXed:  a b\t\r\nX-High: \xe9\xff\r\nX-Empty:\r\n\r\n")
    raw = bytes(upstream.accept(gateway).until(lambda data: data.endswith(b"\r\n\r\n")).data)
    assert raw.startswith(b"GET / HTTP/1.1\r\nhost: A.Test:80\r\n")
    lines = raw.lower().split(b"\r\n")
    assert {b"x-mixed: a b", b"x-high: \xe9\xff", b"x-empty: "} <= set(lines)


@pytest.mark.parametrize(
    ("mode", "status", "relayed_names"), [("drop", 200, []), ("reject", 400, None), ("allow", 200, ["x_forwarded_for"])]
)
def test_names_with_an_underscore(make_gateway: MakeGateway, mode: str, status: int, relayed_names: list[str] | None) -> None:
    gateway = make_gateway(limits={"underscores": mode})
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(b"GET / HTTP/1.1\r\nHost: a.test\r\nX_Forwarded_For: 1.1.1.1\r\n\r\n")
    if relayed_names is not None:
        up = upstream.accept(gateway)
        assert [name for name, _ in extra(up.request())] == relayed_names
        up.send(OK)
    assert client.response().status == status
    assert gateway.counter("FGW_C_UNDERSCORE_FIELDS_DROPPED") == (1 if mode == "drop" else 0)


@pytest.mark.parametrize(
    ("hops", "forwarded", "external", "proto"),
    [
        (1, "10.0.0.1, 10.0.0.2", "10.0.0.2", "https"),
        (2, "10.0.0.1, 10.0.0.2 , 10.0.0.3", "10.0.0.2", "https"),
        (2, "::1,10.0.0.3", "::1", "https"),
        (3, "10.0.0.1, 10.0.0.2", "127.0.0.1", "https"),
        (1, "not-an-address", "127.0.0.1", "https"),
        (1, "", "127.0.0.1", "https"),
        (0, "10.0.0.1", "127.0.0.1", "http"),
    ],
)
def test_trusted_hops(make_gateway: MakeGateway, hops: int, forwarded: str, external: str, proto: str) -> None:
    gateway = make_gateway(limits={"trusted_hops": hops})
    seen = relayed(gateway, f"X-Forwarded-For: {forwarded}\r\nX-Forwarded-Proto: https\r\n")
    assert (seen["x-envoy-external-address"], seen["x-forwarded-proto"]) == (external, proto)
    assert seen["x-forwarded-for"] == (f"{forwarded},127.0.0.1" if forwarded else "127.0.0.1")


def test_expect_is_answered_here(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(post(2, extra="Expect: 100-Continue\r\n"))
    up = upstream.accept(gateway)
    assert client.response().status == 100
    client.send(b"ab")
    request = up.request()
    assert request.body == b"ab" and not request.values("expect")
    up.send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    assert client.response().status == 200


def test_no_100_before_an_answer_of_the_gateway(gateway: Gateway) -> None:
    client = gateway.client().send(post(2, extra="Expect: 100-continue\r\n"))
    assert client.response().status == 404


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a/./b/../c", "/a/c"), ("/a%2fb", "/a%2fb"), ("/%61%7e%20", "/a~%20"), ("/a//b", "/a//b"), ("/a/..?x=/../y", "/?x=/../y"),
        ("http://a.test/x/../y?q", "/y?q"), ("http://a.test", "/"), ("http://a.test?q", "/?q"), ("/%2e%2E/../a", None),
    ],
)  # fmt: skip
def test_paths_are_normalised(gateway: Gateway, target: str, path: str | None) -> None:
    if path is not None:
        assert relayed(gateway, start=f"GET {target} HTTP/1.1").start == f"GET {path} HTTP/1.1"
        return
    answer = gateway.client().send(f"GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode()).response()
    assert (answer.status, answer["connection"]) == (400, "close")


def test_the_largest_head_with_everything_rewritten(make_gateway: MakeGateway) -> None:
    """Room for the gateway's own fields is never short: long forwarded-for, cookies and a path that has to be normalised."""
    gateway = make_gateway()
    target = "/x/../" + "p" * 8_000 + "?" + "q" * 8_000
    lines = "".join(f"X-Forwarded-For: 1.1.1.{i % 250}{' ' * 200}\r\n" for i in range(48))
    lines += "".join(f"Cookie: c{i}={'v' * 600}\r\n" for i in range(48))
    seen = relayed(gateway, lines, start=f"GET {target} HTTP/1.1")
    assert seen.start == f"GET /{'p' * 8_000}?{'q' * 8_000} HTTP/1.1"
    assert seen["cookie"].count("; ") == 47 and seen["x-forwarded-for"].count(",") == 48


# ---- answers


def answered(gateway: Gateway, head: str, body: bytes = b"", request: bytes = GET) -> Message:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(request)
    up = upstream.accept(gateway)
    up.request()
    up.send(head.encode("latin-1") + b"\r\n" + body)
    return client.response()


def test_answer_fields(gateway: Gateway) -> None:
    dropped = (
        "Connection: x-private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nServer: secret/1.0\r\n"
        "X-Envoy-Upstream-Service-Time: 999\r\nUpgrade: h2c\r\n"
    )
    head = f"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\n{dropped}Set-Cookie: b=2\r\nX-High: \xe9\r\nContent-Length: 1\r\n"
    seen = answered(gateway, head, b"x")
    assert [name for name, _ in seen.fields] == [
        "set-cookie", "set-cookie", "x-high", "content-length", "date", "x-envoy-upstream-service-time", "server",
    ]  # fmt: skip
    assert (seen.values("set-cookie"), seen["server"], seen["x-high"]) == (["a=1", "b=2"], "fastgw", "\xe9")
    assert int(seen["x-envoy-upstream-service-time"]) < 60_000


def test_the_upstreams_date_is_kept(gateway: Gateway) -> None:
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    assert answered(gateway, f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 0\r\n")["date"] == date


def test_our_own_date_is_now(gateway: Gateway) -> None:
    client = gateway.client()
    for _ in range(3):
        client = gateway.client().send(GET)
        text = client.response()["date"]
        assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", text)
        assert abs(parsedate_to_datetime(text).timestamp() - time.time()) < 3
        gateway.pass_ms(1_500)


def test_the_servers_name_may_be_another(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(limits={"server_name": "edge-7"})
    assert gateway.client().send(GET).response()["server"] == "edge-7"


@pytest.mark.parametrize(("status", "phrase"), [(299, "Unknown"), (418, "I'm a Teapot"), (599, "Unknown"), (204, "No Content")])
def test_reason_phrases_are_our_own(gateway: Gateway, status: int, phrase: str) -> None:
    seen = answered(gateway, f"HTTP/1.1 {status} whatever they say\r\nContent-Length: 0\r\n")
    assert seen.start.lower() == f"http/1.1 {status} {phrase}".lower()


def test_http10_is_refused_unless_allowed(gateway: Gateway) -> None:
    answer = gateway.client().send(b"GET / HTTP/1.0\r\n\r\n").response()
    assert (answer.start, answer["connection"]) == ("HTTP/1.1 426 Upgrade Required", "close")


@pytest.mark.parametrize(("lines", "kept"), [("", False), ("Connection: keep-alive\r\n", True)])
def test_http10_when_it_is_served(make_gateway: MakeGateway, lines: str, kept: bool) -> None:
    gateway = make_gateway(limits={"http10": True})
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(f"GET / HTTP/1.0\r\nHost: a.test\r\n{lines}\r\n".encode())
    up = upstream.accept(gateway)
    assert up.request().start == "GET / HTTP/1.1"
    up.send(OK)
    answer = client.response()
    assert (answer.body, answer["connection"]) == (b"ok", "keep-alive" if kept else "close")
    gateway.settle()
    assert bool(client.poll().end) is not kept


def test_http10_gets_no_chunks(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(limits={"http10": True})
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(b"GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n")
    up = upstream.accept(gateway)
    up.send(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    assert client.until_end() == "fin"
    answer = client.response()
    assert (answer.status, answer.body, answer["connection"]) == (200, b"hello", "close")
    assert not answer.values("transfer-encoding")


def test_a_connection_serves_a_limited_number_of_requests(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(limits={"max_requests_per_connection": 3})
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(GET * 5)
    ups: list[Peer] = []
    for i in range(3):
        if not ups:
            ups.append(upstream.accept(gateway))
        ups[0].request()
        ups[0].send(OK)
        assert client.response().values("connection") == (["close"] if i == 2 else [])
    assert client.until_end() == "fin" and not client.data


def test_an_upgrade_is_refused(gateway: Gateway) -> None:
    upstream = gateway.upstream()
    gateway.serve(upstream)
    client = gateway.client().send(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n")
    answer = client.response()
    assert (answer.status, answer["connection"], client.until_end()) == (403, "close", "fin")
    assert gateway.rejected() == {"upgrade_not_allowed": 1} and not upstream.has_connection(gateway)


def test_a_redirect_to_https(gateway: Gateway) -> None:
    plan = make_plan([Cluster("c", "c", 80)])
    table = plan.route_tables["http.80"]
    table.virtual_hosts = [VirtualHost("*:80", ["*"], [], require_tls=True)]
    gateway.attach(plan)
    client = gateway.client().send(b"GET /a/../b?c=%20 HTTP/1.1\r\nHost: A.test:8080\r\n\r\n")
    answer = client.response()
    assert (answer.status, answer["location"], answer.body) == (301, "https://A.test:8080/b?c=%20", b"")
    client.send(GET)
    assert client.response().status == 301, "the connection goes on"


def test_requests_are_counted_by_label_set(gateway: Gateway) -> None:
    answered(gateway, "HTTP/1.1 201 Created\r\nContent-Length: 3\r\n", b"abc", post(2) + b"xy")
    series = [s for s in gateway.stats.series[0:8192] if s.key]
    assert len(series) == 1 and series[0].requests == 1
    assert (gateway.counter("FGW_C_CLIENT_REQUESTS"), gateway.counter("FGW_C_UPSTREAM_REQUESTS")) == (1, 1)
    assert gateway.counter("FGW_C_CLIENT_BYTES_IN") > 2 and gateway.counter("FGW_C_CLIENT_BYTES_OUT") > 3
